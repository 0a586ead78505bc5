"""Fused steps on CuPy against the layers that they replace, there and on NumPy."""

from __future__ import annotations

import math
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import xpnn
from fusion_cases import ACTIVATIONS, NORMS, OPTIMIZERS, PENALTIES, Own, layer_lists, pair
from nets import snapshot
from tolerances import assert_close
from xpnn import layers as L
from xpnn.backend import to_host
from xpnn.fusion.cuda_chain import CudaChainStep
from xpnn.kernels.cuda import Chain, Counters, cross_entropy
from xpnn.random import Stream

pytestmark = pytest.mark.gpu

DTYPES = ("float32", "float64")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def on_cuda(make: Any, *arguments: Any, **settings: Any) -> tuple[Any, Any]:
    """The same network twice on CuPy, fused and not."""
    return pair(make, *arguments, device="cuda", **settings)


def assert_same_state(fused: Any, plain: Any, dtype: str, factor: float = 1.0) -> None:
    actual, expected = snapshot(fused), snapshot(plain)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(actual[name], value, dtype, factor)


def grads_of(network: Any) -> np.ndarray:
    return np.array(to_host(network.parameters.grads.array))


# ------------------------------------------------------------------ the generic test


@each_dtype
@hypothesis.settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],  # a smaller example takes long
)
@hypothesis.given(data=st.data())
def test_fused_training_is_that_of_the_layers(dtype, data):
    """200 steps with the same masks: losses within 1e-5, float64 1e-11, then all that was kept."""
    classes = data.draw(st.booleans(), label="classification")
    recipe = data.draw(layer_lists(4 if classes else 2), label="layers")
    # Of one number LayerNorm leaves rounding errors, which a BatchNorm behind it would enlarge.
    hypothesis.assume((L.LayerNorm, 1) not in recipe)
    optimizer = OPTIMIZERS[data.draw(st.sampled_from(sorted(OPTIMIZERS)), label="optimizer")]
    penalty = PENALTIES[data.draw(st.sampled_from(sorted(PENALTIES)), label="penalty")]
    fused, plain = on_cuda(
        lambda: [kind(*arguments) for kind, *arguments in recipe],
        xpnn.SoftmaxCrossEntropy if classes else xpnn.MeanSquaredError,
        optimizer,
        regularization=penalty(),
        dtype=dtype,
    )
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 6))
    limit = {"float32": 1e-5, "float64": 1e-11}[dtype]
    for step in range(200):
        labels = rng.integers(0, 4, 24 if step % 10 else 7)
        x = centres[labels] + 0.5 * rng.standard_normal((len(labels), 6))
        y = labels if classes else np.stack([np.sin(x[:, 0]), x[:, 1]], axis=1)
        output, loss = fused.train(x, y)
        expected_output, expected = plain.train(x, y)
        assert math.isclose(float(loss), float(expected), rel_tol=limit)
    assert output.dtype == expected_output.dtype == dtype
    assert loss.dtype == expected.dtype
    assert_close(output.get(), expected_output.get(), dtype, 20)
    assert_close(fused.eval(x).get(), plain.eval(x).get(), dtype, 20)
    assert_same_state(fused, plain, dtype, 20)


# ------------------------------------------------------------------ every rule


@each_dtype
@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ["", *ACTIVATIONS])
def test_chain(activation, norm, p, dtype):
    """With and without a Linear before; batches of one and of other sizes; against NumPy."""

    def chain(width: int) -> list[L.Layer]:
        layers = NORMS[norm](width)
        layers += [ACTIVATIONS[activation]()] if activation else []
        return layers + ([L.Dropout(p)] if p else [])

    def make() -> list[L.Layer]:
        return [*chain(5), L.Linear(5, 37), *chain(37), L.Linear(37, 3)]

    def optimizer() -> xpnn.SGD:
        return xpnn.SGD(0.01)

    fused, _ = on_cuda(make, xpnn.MeanSquaredError, optimizer, dtype=dtype)
    _, plain = pair(make, xpnn.MeanSquaredError, optimizer, dtype=dtype)
    rng = np.random.default_rng(1)
    for rows in (8, 1, 101, 8):
        x, y = 2.0 * rng.standard_normal((rows, 5)), rng.standard_normal((rows, 3))
        output, loss = fused.train(x, y)
        expected_output, expected = plain.train(x, y)
        assert_close(output.get(), expected_output, dtype, 5)
        assert_close(loss.get(), expected, dtype, 5)
        assert_close(grads_of(fused), grads_of(plain), dtype, 20)
        assert_close(fused.eval(x).get(), plain.eval(x), dtype, 5)
    assert_same_state(fused, plain, dtype, 5)
    assert fused.eval(np.zeros((0, 5))).shape == (0, 3)


@each_dtype
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("rows", "width"), [(300, 700), (3, 2050), (2000, 3)])
def test_large_and_odd_shapes(rows, width, norm, dtype):
    """More than a block, chunks of rows, rows by blocks; one launch of each kernel is enough."""

    def make() -> list[L.Layer]:
        return [L.Linear(4, width), *NORMS[norm](width), L.SiLU(), L.Dropout(0.3)]

    fused, plain = on_cuda(make, xpnn.MeanSquaredError, lambda: xpnn.SGD(0.01), dtype=dtype)
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((rows, 4)), rng.standard_normal((rows, width))
    for _ in range(2):
        output, _ = fused.train(x, y)
        expected, _ = plain.train(x, y)
        assert_close(output.get(), expected.get(), dtype, 5)
        assert_close(grads_of(fused), grads_of(plain), dtype, 20)
    assert_close(fused.eval(x).get(), plain.eval(x).get(), dtype, 5)


@each_dtype
def test_sequences_images_and_vectors(dtype):
    def sequences() -> list[L.Layer]:
        block = [L.Linear(4, 6), L.LayerNorm(6), L.GELU(), L.Dropout(0.3)]
        return [L.Tanh(), *block, L.Linear(6, 2), L.Sigmoid()]

    def images() -> list[L.Layer]:
        return [L.Dropout(0.2), L.ReLU(), L.Flatten(), L.Linear(12, 2, bias=False)]

    rng = np.random.default_rng(2)
    for make, shape, target in (
        (sequences, (3, 5, 4), (3, 5, 2)),
        (images, (3, 2, 3, 2), (3, 2)),
        (lambda: [L.LeakyReLU()], (7,), (7,)),
        (lambda: [L.Linear(4, 4), Own(), L.Dropout(1.0)], (5, 4), (5, 4)),
    ):
        fused, plain = on_cuda(make, xpnn.MeanSquaredError, dtype=dtype)
        x, y = rng.standard_normal(shape), rng.standard_normal(target)
        for _ in range(3):
            output, loss = fused.train(x, y)
            expected_output, expected = plain.train(x, y)
            assert_close(output.get(), expected_output.get(), dtype, 5)
            assert_close(loss.get(), expected.get(), dtype, 5)
        assert_close(fused.eval(x).get(), plain.eval(x).get(), dtype, 5)
        assert_same_state(fused, plain, dtype, 5)


@each_dtype
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_update(optimizer, penalty, dtype):
    """The rules, with a number of parameters that is no multiple of anything."""
    fused, plain = on_cuda(
        lambda: [L.Linear(6, 5), L.LayerNorm(5), L.Linear(5, 3)],
        optimizer=OPTIMIZERS[optimizer],
        regularization=PENALTIES[penalty](),
        dtype=dtype,
    )
    rng = np.random.default_rng(3)
    for _ in range(4):
        x, y = rng.standard_normal((9, 6)), rng.integers(0, 3, 9)
        assert_close(fused.train(x, y)[1].get(), plain.train(x, y)[1].get(), dtype, 2)
    assert_same_state(fused, plain, dtype, 2)


@each_dtype
@pytest.mark.parametrize("optimizer", ["momentum", "Adam", "Nesterov"])
def test_update_of_many_parameters(optimizer, dtype):
    """More than one block looks at them."""
    fused, plain = on_cuda(
        lambda: [L.Linear(150, 131), L.LayerNorm(131), L.Linear(131, 3)],
        optimizer=OPTIMIZERS[optimizer],
        regularization=xpnn.L2(1e-3),
        dtype=dtype,
    )
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((9, 150)), rng.integers(0, 3, 9)
    for _ in range(2):
        assert_close(fused.train(x, y)[1].get(), plain.train(x, y)[1].get(), dtype, 2)
    assert_same_state(fused, plain, dtype, 5)


@each_dtype
@pytest.mark.parametrize(("rows", "classes"), [(1, 2), (5, 10), (300, 33), (3, 5000)])
def test_cross_entropy(rows, classes, dtype):
    import cupy

    rng = np.random.default_rng(4)
    logits, labels = 5.0 * rng.standard_normal((rows, classes)), rng.integers(0, classes, rows)
    logits[0, 0] = 300.0
    expected = xpnn.SoftmaxCrossEntropy()
    expected_loss = expected.forward(logits.astype(dtype), labels)
    z, loss = cupy.asarray(logits, dtype=dtype), cupy.empty((), dtype=dtype)
    gradient, counters = cupy.empty_like(z), Counters()
    for _ in range(2):  # the counters are at rest again
        cross_entropy(z, cupy.asarray(labels), gradient, loss, counters)
        assert_close(loss.get(), expected_loss, dtype, 2)
        assert_close(gradient.get(), expected.backward(), dtype, 2)
        expected.forward(logits.astype(dtype), labels)
    for bad in (-1, classes):
        labels[rows // 2] = bad
        cross_entropy(z, cupy.asarray(labels), gradient, loss, counters)
        assert math.isnan(float(loss))


def test_what_is_fused_and_what_is_not():
    fused, _ = on_cuda(
        lambda: [L.Linear(4, 4), L.BatchNorm(4), L.ReLU(), Own(), L.Linear(4, 3)],
        lambda: xpnn.SoftmaxCrossEntropy(label_smoothing=0.1),
        regularization=xpnn.L2(1e-3),
    )
    text = str(xpnn.fusion.plan(fused))
    assert "0-2     Linear(4, 4), BatchNorm(4), ReLU()" in text
    assert "fused by CUDA kernels: Linear + BatchNorm + ReLU" in text
    assert "the layer itself: not a class of xpnn's" in text
    assert "the loss itself: the kernel knows no class weights, smoothing, ignored labels" in text
    assert "fused by CUDA kernels\n" in text + "\n"
    assert "kernels are not wanted" not in text
    portable = str(xpnn.fusion.plan(fused, kernels=False))
    assert "CUDA kernels" not in portable


# ------------------------------------------------------------------ masks and repetition


def bits_of(chain: Chain) -> np.ndarray:
    """The mask that a chain has kept, as booleans."""
    assert chain.bits is not None
    unpacked = np.unpackbits(chain.bits.get().view(np.uint8), bitorder="little")
    return unpacked[: chain.x.size].astype(bool).reshape(chain.x.shape)


@each_dtype
@pytest.mark.parametrize("p", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (33, 16), (130, 45), (2, 5000)])
def test_masks_are_those_of_numpy_bit_for_bit(shape, p, dtype):
    layer = L.Dropout(p)
    layer.stream, layer.step = Stream(2**64 - 3, 6), 12
    step = CudaChainStep((layer,), "identity", dtype, Counters(), "")
    import cupy

    output = step.forward(cupy.ones(shape, dtype=dtype))
    expected = layer.stream.at(12).mask(shape, p)
    np.testing.assert_array_equal(bits_of(step._kept[1]), expected)
    np.testing.assert_array_equal(output.get() != 0, expected)


def test_two_hundred_fused_steps_on_digits_are_those_of_numpy():
    """Masks bit for bit at each step; losses, whose rounding differs, to 1e-4."""
    sklearn = pytest.importorskip("sklearn.datasets")
    data, labels = sklearn.load_digits(return_X_y=True)

    def make() -> list[L.Layer]:
        first = [L.Linear(64, 64), L.BatchNorm(64), L.ReLU(), L.Dropout(0.3)]
        return [*first, L.Linear(64, 10)]

    settings: dict[str, Any] = {"regularization": xpnn.L2(1e-4, roles={"weight"})}
    fused, _ = on_cuda(make, **settings)
    _, plain = pair(make, **settings)
    seen: list[np.ndarray] = []
    step = fused._planned(fused.parameters).steps[0]
    forward = step.forward

    def watched(input: Any) -> Any:
        output = forward(input)
        seen.append(bits_of(step._kept[1]))
        return output

    step.forward = watched
    masks: list[np.ndarray] = []
    own = plain.layers[3].forward

    def kept(input: Any) -> Any:
        output = own(input)
        masks.append(plain.layers[3].cache["mask"].copy())
        return output

    plain.layers[3].forward = kept
    losses = []
    for number in range(200):
        rows = Stream(0).at(number).permutation(len(data))[:64]
        x, y = data[rows] / 16.0, labels[rows]
        losses.append([float(net.train(x, y)[1]) for net in (fused, plain)])
        np.testing.assert_array_equal(seen[-1], masks[-1])
    ours, theirs = np.asarray(losses).T
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert ours[-20:].mean() < 0.15 * ours[0]


def test_results_repeat_bit_for_bit():
    results = []
    for _ in range(2):
        net, _ = on_cuda(lambda: [L.Linear(40, 70), L.BatchNorm(70), L.GELU(), L.Linear(70, 5)])
        rng = np.random.default_rng(5)
        for _ in range(3):
            net.train(rng.standard_normal((200, 40)), rng.integers(0, 5, 200))
        results.append(snapshot(net))
    for name, value in results[0].items():
        np.testing.assert_array_equal(results[1][name], value)


# ------------------------------------------------------------------ numbers that are not finite


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ["", *ACTIVATIONS])
def test_bad_numbers_come_through(activation, norm, bad):
    """They are where the layers have them, also behind Dropout."""

    def make() -> list[L.Layer]:
        chain = NORMS[norm](4) + ([ACTIVATIONS[activation]()] if activation else [])
        return [*chain, L.Dropout(0.5)]

    fused, plain = on_cuda(make, xpnn.MeanSquaredError, dtype="float64")
    x = np.random.default_rng(5).standard_normal((6, 4))
    for network in (fused, plain):
        network.train(x, x)
    x[2, 1] = bad
    outputs = [network.train(x, np.zeros((6, 4)))[0].get() for network in (fused, plain)]
    for test in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(test(outputs[0]), test(outputs[1]))


@each_dtype
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_step_that_is_not_finite_changes_nothing_and_stops_the_rest(optimizer, bad, dtype):
    def make() -> list[L.Layer]:
        return [L.Linear(3, 5), L.BatchNorm(5), L.ReLU(), L.Linear(5, 2)]

    network, _ = on_cuda(make, optimizer=OPTIMIZERS[optimizer], dtype=dtype)
    x, y = np.arange(12.0).reshape(4, 3), [0, 1, 0, 1]
    assert math.isfinite(float(network.train(x, y)[1]))
    before = snapshot(network)
    x[1, 1] = bad
    assert math.isnan(float(network.train(x, y)[1]))
    x[1, 1] = 0.0
    assert math.isnan(float(network.train(x, y)[1]))  # the one before was bad
    after = snapshot(network)
    assert after.pop("steps") == before.pop("steps") + 2
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    network.reset_divergence()
    assert math.isfinite(float(network.train(x, y)[1]))


def test_gradient_that_is_not_finite_though_the_loss_is():
    class Loss(xpnn.Loss):
        def forward(self, input, target):
            self.cache["gradient"] = input - target
            return ((input - target) ** 2).sum()

        def backward(self):
            gradient = self.saved("gradient")
            gradient[0, 0] = math.inf
            return gradient

    network, _ = on_cuda(lambda: [L.Linear(3, 2)], Loss)
    before = snapshot(network)
    assert math.isnan(float(network.train(np.ones((2, 3)), np.zeros((2, 2)))[1]))
    np.testing.assert_array_equal(snapshot(network)["value 0.W"], before["value 0.W"])


@pytest.mark.parametrize("width", [3, 4000])
@pytest.mark.parametrize("optimizer", [xpnn.SGD, xpnn.Adam])
def test_clipping_of_a_norm_whose_square_overflows(optimizer, width):
    fused, plain = on_cuda(
        lambda: [L.Linear(2, width)],
        xpnn.MeanSquaredError,
        lambda: optimizer(0.1, clip_norm=0.5),
        regularization=xpnn.L2(0.1),
    )
    x, y = np.asarray([[1e11, 2e11], [3e11, -4e11]]), np.full((2, width), 1e15)
    before = to_host(fused.parameters.values.copy())
    for network in (fused, plain):
        network.train(x, y)
    assert_same_state(fused, plain, "float32")
    moved = np.linalg.norm(to_host(fused.parameters.values.array) - before)
    assert optimizer is xpnn.Adam or math.isclose(moved, 0.05, rel_tol=1e-3)


def test_wrong_label_of_the_host_is_found_and_leaves_no_trace():
    fused, _ = on_cuda(lambda: [L.Linear(3, 4), L.BatchNorm(4), L.ReLU()])
    before = snapshot(fused)
    for labels in ([0, 4], [0, -1]):
        with pytest.raises(xpnn.DataError, match="labels"):
            fused.train(np.ones((2, 3)), np.asarray(labels))
    for labels in ([0, 1, 2], [0]):
        with pytest.raises(xpnn.ShapeError):
            fused.train(np.ones((2, 3)), np.asarray(labels))
    for name, value in snapshot(fused).items():
        np.testing.assert_array_equal(value, before[name])


def test_data_of_every_layout():
    """Not contiguous, not aligned to 16 bytes: copied, or read number by number."""
    net, other = on_cuda(lambda: [L.Linear(5, 6), L.ReLU(), L.Linear(6, 3)])
    rng = np.random.default_rng(6)
    x, y = net.backend.asarray(rng.standard_normal((9, 11))), rng.integers(0, 3, 9)
    flat = net.backend.asarray(rng.standard_normal(46))
    for batch in (x[:, 1::2], x[::-1, :5], flat[1:].reshape(9, 5)):
        loss, expected = net.train(batch, y)[1], other.train(batch.copy(), y)[1]
        assert_close(loss.get(), expected.get(), "float32")


def test_optimizer_state_of_a_wrong_shape():
    net, _ = on_cuda(lambda: [L.Linear(2, 2)])
    net.train(np.ones((2, 2)), [0, 1])
    net.optimizer_state["velocity"] = net.backend.zeros(5)
    with pytest.raises(xpnn.ShapeError, match="'velocity'"):
        net.train(np.ones((2, 2)), [0, 1])


@pytest.mark.parametrize("make", [xpnn.SGD, xpnn.RMSprop])
def test_momentum_may_come_and_go(make):
    nets = on_cuda(lambda: [L.Linear(3, 4)], optimizer=lambda: make(0.1))
    x, y = np.random.default_rng(14).standard_normal((5, 3)), [0, 1, 2, 3, 0]
    for momentum in (0.0, 0.9, 0.9, 0.0, 0.5):
        for network in nets:
            network.optimizer.momentum = momentum
            network.train(x, y)
        assert_same_state(*nets, "float32")
