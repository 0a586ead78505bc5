"""Embedding: look-up, gradient, and ids on their way to the device."""

from __future__ import annotations

import numpy as np
import pytest

import xpnn
from tolerances import assert_close
from xpnn import layers
from xpnn._standard import is_synchronous
from xpnn.checkpoint import load, save
from xpnn.errors import ConfigurationError, DataError, ShapeError


def ids_of(backend, host):
    return backend.asarray(host, dtype=backend.plain.index_dtype)


def prepared(backend, num=7, dim=3, **settings):
    """A layer with parameters, and these on the host."""
    layer = layers.Embedding(num, dim, **settings)
    W = np.random.default_rng(0).standard_normal((num, dim))
    layer.params["W"] = backend.asarray(W)
    return layer, W


@pytest.mark.parametrize("shape", [(5,), (4, 6), (2, 3, 4), (1, 1), (0, 4)])
@pytest.mark.parametrize("padding_idx", [None, 2])
def test_values_and_gradients_agree_with_pytorch(shape, padding_idx, backend_each_dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed here")
    backend, rng = backend_each_dtype, np.random.default_rng(1)
    layer, W = prepared(backend, padding_idx=padding_idx)
    ids, dout = rng.integers(0, 7, shape), rng.standard_normal((*shape, 3))
    weight = torch.tensor(W, dtype=getattr(torch, backend.dtype), requires_grad=True)
    expected = torch.nn.functional.embedding(torch.tensor(ids), weight, padding_idx=padding_idx)
    expected.backward(torch.tensor(dout, dtype=weight.dtype))
    output = layer.forward(ids_of(backend, ids))
    assert_close(backend.to_host(output), expected.detach().numpy(), backend.dtype)
    assert layer.backward(backend.asarray(dout)) is None
    assert layer.cache == {}
    gradient = layer.grads["W"]
    assert gradient.dtype == output.dtype == layer.params["W"].dtype
    assert_close(backend.to_host(gradient), weight.grad.numpy(), backend.dtype)


def test_ids_that_come_often_are_added_up(backend):
    layer, _ = prepared(backend, num=3)
    layer.forward(ids_of(backend, [2] * 1000 + [0]))
    layer.backward(backend.asarray(np.ones((1001, 3))))
    assert backend.to_host(layer.grads["W"])[:, 0].tolist() == [1, 0, 1000]


@pytest.mark.parametrize("wrong", [7, -1])
def test_wrong_ids_are_refused_or_give_nan(wrong, backend):
    """What is on a device whose results nobody waits for cannot raise."""
    layer, _ = prepared(backend)
    layer.name = "layer 3 (so called)"
    ids = ids_of(backend, [0, wrong])
    if is_synchronous(ids):
        expected = rf"^layer 3 \(so called\): expected ids of 0 ... 6, got {wrong}$"
        with pytest.raises(DataError, match=expected):
            layer.forward(ids)
    else:
        output = backend.to_host(layer.forward(ids))
        assert np.isnan(output).all(axis=1).tolist() == [False, True]


def test_training_on_wrong_ids_of_a_device_says_so(backend):
    ids = ids_of(backend, [[0, 1], [7, 2]])
    data = ids, ids_of(backend, [0, 1])
    # Where a look would have to wait for the device, what came of them says so.
    error, where = (DataError, "") if is_synchronous(ids) else (xpnn.DivergenceError, "the batch: ")
    with pytest.raises(error, match=rf"{where}layer 0 .*0 ... 6, got 7"):
        xpnn.fit(network(backend), data, 1, 2)


def network(backend, **settings):
    return xpnn.Sequential(
        [xpnn.Embedding(7, 4), xpnn.MeanOverTime(), xpnn.Linear(4, 2)],
        xpnn.SoftmaxCrossEntropy(),
        optimizer=xpnn.Adam(0.05),
        backend=backend.plain,
        seed=0,
        **settings,
    )


@pytest.mark.parametrize("wrong", [7, -1])
@pytest.mark.parametrize("use", ["train", "eval", "predict", "fit", "evaluate"])
def test_wrong_ids_on_the_host_are_the_same_error_on_every_device(use, wrong, backend):
    net = network(backend)
    x, y = np.asarray([[0, 1], [2, wrong]]), np.asarray([0, 1])
    calls = {
        "train": lambda: net.train(x, y),
        "eval": lambda: net.eval(x),
        "predict": lambda: xpnn.predict(net, x),
        "fit": lambda: xpnn.fit(net, (x, y), epochs=1),
        "evaluate": lambda: xpnn.evaluate(net, (x, y)),
    }
    expected = rf"^layer 0 \(Embedding\): expected ids of 0 ... 6, got {wrong}$"
    with pytest.raises(DataError, match=expected):
        calls[use]()
    assert net.steps == 0


def test_a_network_learns_from_ids(backend):
    """Which of two words is in a sequence."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    x = rng.integers(2, 7, (60, 5))
    x[:, 3] = y
    net = network(backend)
    history = xpnn.fit(net, (x, y), epochs=20, batch_size=20, metrics=["accuracy"])
    assert history["accuracy"][-1] == 1.0
    assert xpnn.evaluate(net, (x, y))["loss"] < history["loss"][0]
    assert (xpnn.predict(net, x).argmax(1) == y).all()
    assert "Embedding(7, 4)" in net.summary((5,))


def test_a_network_of_ids_ends_in_a_model_file(tmp_path):
    net = network(type("Plain", (), {"plain": xpnn.backend()}))
    x = np.asarray([[0, 6, 3]])
    save(net, tmp_path / "model.xpnn")
    again = load(tmp_path / "model.xpnn").network
    np.testing.assert_array_equal(again.eval(x), net.eval(x))


def test_ids_must_be_whole_numbers():
    layer = layers.Embedding(7, 3, seed=0)
    whole = layer.forward(np.asarray([1, 3]))
    for kind in (np.int32, np.uint8):
        np.testing.assert_array_equal(layer.forward(np.asarray([1, 3], kind)), whole)
    net = network(type("Plain", (), {"plain": xpnn.backend()}))
    np.testing.assert_array_equal(net.eval(np.asarray([[1.0]])), net.eval(np.asarray([[1]])))
    with pytest.raises(DataError, match=r"expected ids, whole numbers, got float64"):
        net.eval(np.asarray([[1.5]]))


def test_the_vector_of_padding_is_drawn_as_zero():
    layer = layers.Embedding(5, 3, padding_idx=2, seed=0)
    layer.forward(np.asarray([0]))
    assert (layer.params["W"][2] == 0).all()
    assert (layer.params["W"][[0, 1, 3, 4]] != 0).all()


@pytest.mark.parametrize("padding_idx", [5, -1, 1.5, "a", True, False])
def test_padding_that_is_no_id_is_refused(padding_idx):
    with pytest.raises(ConfigurationError, match=r"padding_idx must be an id"):
        layers.Embedding(5, 3, padding_idx=padding_idx)


def test_a_single_number_is_refused():
    with pytest.raises(ShapeError, match=r"expected input of shape \(N, ...\), got \(\)"):
        layers.Embedding(5, 3).forward(np.asarray(1))
