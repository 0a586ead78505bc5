"""What attention does besides the contract of `test_layers.py`: masks, blocks of transformers."""

from __future__ import annotations

import numpy as np
import pytest

import xpnn
from tolerances import assert_close
from xpnn import layers
from xpnn.errors import ConfigurationError, DataError
from xpnn.gradient_check import check_derivative

LENGTHS = [4, 1, 3]


def attention(backend, **settings):
    rng = np.random.default_rng(0)
    layer = layers.MultiHeadAttention(4, 2, **settings)
    shapes = {"W": (4, 12), "b": (12,), "Wo": (4, 4), "bo": (4,)}
    layer.params |= {n: backend.asarray(rng.standard_normal(s)) for n, s in shapes.items()}
    return layer


def batch():
    return np.random.default_rng(1).standard_normal((3, 4, 4))


@pytest.mark.parametrize("causal", [False, True])
def test_lengths_give_what_the_sequences_give_alone(causal, backend):
    layer, x = attention(backend, causal=causal), batch()
    layer.lengths = LENGTHS
    output = backend.to_host(layer.forward(backend.asarray(x)))
    layer.lengths = None
    for row, length in enumerate(LENGTHS):
        alone = backend.to_host(layer.forward(backend.asarray(x[row : row + 1, :length])))
        assert_close(output[row, :length], alone[0], "float32")


def test_gradients_with_lengths_agree_with_differences(backend_float64):
    backend, rng = backend_float64, np.random.default_rng(2)
    layer, x, dout = attention(backend, causal=True), batch(), rng.standard_normal((3, 4, 4))
    layer.lengths = [4, 1, 0]
    layer.forward(backend.asarray(x))
    gradient = backend.to_host(layer.backward(backend.asarray(dout)))

    def loss(value):
        return float(np.sum(backend.to_host(layer.forward(backend.asarray(value))) * dout))

    check_derivative(loss, x, gradient, "input", rng)


def test_who_sees_nothing_gets_the_bias(backend):
    layer = attention(backend)
    layer.lengths = [4, 0, 3]
    output = backend.to_host(layer.forward(backend.asarray(batch())))
    bias = backend.to_host(layer.params["bo"])
    assert_close(output[1], np.broadcast_to(bias, (4, 4)), "float32")


def test_the_past_does_not_see_the_future():
    layer = layers.MultiHeadAttention(4, 2, causal=True, seed=0)
    x = batch()
    before = layer.forward(x)
    x[:, 2:] += 1.0
    after = layer.forward(x)
    np.testing.assert_array_equal(after[:, :2], before[:, :2])
    assert (after[:, 2:] != before[:, 2:]).all()


def test_too_long_lengths_are_refused():
    layer = layers.MultiHeadAttention(4, 2, seed=0)
    layer.lengths = [4, 5, 1]
    with pytest.raises(DataError, match=r"^MultiHeadAttention: expected lengths of 0 ... 4, got 5"):
        layer.forward(batch())


def test_heads_must_divide_the_features():
    with pytest.raises(ConfigurationError, match=r"dim must be divisible by heads = 3, got 4"):
        layers.MultiHeadAttention(4, 3)


def test_waves_are_exact_far_out():
    layer = layers.PositionalEncoding()
    layer.forward(np.zeros((1, 2, 4)))  # fewer steps, then another width
    layer.forward(np.zeros((1, 2, 2)))
    output = layer.forward(np.zeros((1, 5000, 4), np.float32))
    expected = [np.sin(4999), np.cos(4999), np.sin(49.99), np.cos(49.99)]
    np.testing.assert_allclose(output[0, 4999], expected, atol=1e-7)


# A block


def twin_of(block, torch):
    """PyTorch's block with the same parameters."""
    twin = torch.nn.TransformerEncoderLayer(
        8, 2, 12, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    first, second = (dict(inner.sublayers()) for _, inner in block.sublayers())
    norm1, attention, norm2 = first["layers.0"], first["layers.1"], second["layers.0"]
    linear1, linear2 = second["layers.1"], second["layers.3"]
    pairs = [
        (twin.norm1.weight, norm1, "gamma"),
        (twin.norm1.bias, norm1, "beta"),
        (twin.self_attn.in_proj_weight, attention, "W"),
        (twin.self_attn.in_proj_bias, attention, "b"),
        (twin.self_attn.out_proj.weight, attention, "Wo"),
        (twin.self_attn.out_proj.bias, attention, "bo"),
        (twin.norm2.weight, norm2, "gamma"),
        (twin.norm2.bias, norm2, "beta"),
        (twin.linear1.weight, linear1, "W"),
        (twin.linear1.bias, linear1, "b"),
        (twin.linear2.weight, linear2, "W"),
        (twin.linear2.bias, linear2, "b"),
    ]
    rng = np.random.default_rng(3)
    for parameter, layer, name in pairs:
        value = rng.standard_normal(layer.params[name].shape)
        layer.params[name] = value
        parameter.data = torch.tensor(value.T)
    return twin, pairs


@pytest.mark.parametrize("causal", [False, True])
def test_a_block_agrees_with_pytorch(causal):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed here")
    x = np.random.default_rng(4).standard_normal((3, 5, 8))
    dout = np.random.default_rng(5).standard_normal((3, 5, 8))
    block = layers.TransformerBlock(8, 2, hidden_dim=12, causal=causal)
    block.forward(x)
    twin, pairs = twin_of(block, torch)
    output, dinput = block.forward(x), block.backward(dout)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5).double() if causal else None
    input = torch.tensor(x, requires_grad=True)
    expected = twin(input, src_mask=mask)
    expected.backward(torch.tensor(dout))
    assert_close(output, expected.detach().numpy(), "float64", factor=10)
    assert_close(dinput, input.grad.numpy(), "float64", factor=10)
    for parameter, layer, name in pairs:
        assert_close(layer.grads[name], parameter.grad.numpy().T, "float64", factor=100)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("told", ["lengths", "mask"])
def test_a_block_leaves_out_the_steps_that_are_not_there(told, fuse):
    block = layers.TransformerBlock(4, 2)
    net = xpnn.Sequential([block], xpnn.MeanSquaredError(), 0.1, seed=0, fuse=fuse)
    x = np.random.default_rng(0).standard_normal((2, 5, 4))
    lengths = [2, 5]
    value = lengths if told == "lengths" else np.arange(5) < np.asarray(lengths)[:, None]
    setattr(block, told, value)
    assert getattr(block, told) is value
    output = net.eval(x)
    trained, _ = net.train(x, np.zeros((2, 5, 4)))
    assert_close(trained, output, "float32")
    net = xpnn.Sequential(
        [layers.TransformerBlock(4, 2)], xpnn.MeanSquaredError(), 0.1, seed=0, fuse=fuse
    )
    for row, length in enumerate(lengths):
        alone = net.eval(x[row : row + 1, :length])
        assert_close(output[row : row + 1, :length], alone, "float32")


def test_a_block_drops_in_training_only():
    net = xpnn.Sequential(
        [xpnn.TransformerBlock(4, 2, dropout=0.5), xpnn.MeanOverTime()],
        xpnn.MeanSquaredError(),
        lr=1e-12,
        seed=0,
    )
    x, y = batch(), np.zeros((3, 4))
    trained = [net.train(x, y)[0] for _ in range(2)]
    assert not np.allclose(trained[0], trained[1])
    np.testing.assert_allclose(net.eval(x), net.eval(x))
