"""Recurrent layers and embeddings on CuPy by CUDA kernels, against the layers that they replace."""

from __future__ import annotations

import math
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import xpnn
from fusion_cases import pair
from nets import snapshot
from tolerances import assert_close
from xpnn import layers as L
from xpnn.backend import to_host
from xpnn.kernels.cuda import cells, embedding

pytestmark = pytest.mark.gpu

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
KINDS: dict[str, Any] = {"RNN": L.RNN, "LSTM": L.LSTM, "GRU": L.GRU}
each_kind = pytest.mark.parametrize("kind", KINDS)


def on_cuda(make: Any, loss: Any = xpnn.MeanSquaredError, **settings: Any) -> tuple[Any, Any]:
    """The same network twice on CuPy, fused and not."""
    return pair(make, loss, **{"device": "cuda", **settings})


def drawn(shape: tuple[int, ...], stream: xpnn.random.Stream) -> Any:
    """Biases that are not zero."""
    return stream.normal(shape)


def assert_same_step(fused: Any, plain: Any, x: Any, y: Any, dtype: str, at: int) -> None:
    """A step of training and an evaluation, and all that the recurrent layer `at` tells."""
    output, loss = fused.train(x, y)
    expected_output, expected = plain.train(x, y)
    assert output.dtype == dtype
    assert_close(output.get(), expected_output.get(), dtype, 10)
    assert_close(loss.get(), expected.get(), dtype, 10)
    gradients = [to_host(network.parameters.grads.array) for network in (fused, plain)]
    assert_close(*gradients, dtype, 20)
    layer, same = fused.layers[at], plain.layers[at]
    for told in ("final", "dinitial"):
        ours, theirs = getattr(layer, told), getattr(same, told)
        assert ours.keys() == theirs.keys() == set(layer.state_names)
        for name, state in ours.items():
            assert_close(state.get(), theirs[name].get(), dtype, 20)
    assert_close(fused.eval(x).get(), plain.eval(x).get(), dtype, 10)
    assert_close(layer.final["h"].get(), same.final["h"].get(), dtype, 10)


@each_kind
@each_dtype
@hypothesis.settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
@hypothesis.given(data=st.data())
def test_everything_that_a_recurrent_layer_tells(kind, dtype, data):
    """Outputs, states, and gradients of the input, the first states and all parameters."""
    n, t = data.draw(st.integers(1, 20), label="N"), data.draw(st.integers(1, 5), label="T")
    d, h = data.draw(st.integers(1, 9), label="D"), data.draw(st.integers(1, 40), label="H")
    sequences = data.draw(st.booleans(), label="return_sequences")
    settings = {"reverse": data.draw(st.booleans(), label="reverse")}
    rng = np.random.default_rng(data.draw(st.integers(0, 99), label="seed"))
    fused, plain = on_cuda(
        lambda: [
            L.Linear(d, d),
            KINDS[kind](d, h, sequences, bias_initializer=drawn, **settings),
        ],
        dtype=dtype,
    )
    x = rng.standard_normal((n, t, d))
    y = rng.standard_normal((n, t, h) if sequences else (n, h))
    ragged, begun = data.draw(st.booleans(), label="mask"), data.draw(st.booleans(), label="begun")
    asarray = fused.backend.asarray
    mask = asarray(rng.random((n, t)) < 0.6, dtype="bool")
    states = {name: asarray(rng.standard_normal((n, h))) for name in KINDS[kind].state_names}
    for network in (fused, plain):
        network.layers[1].mask = mask if ragged else None
        network.layers[1].initial = states if begun else {}
    for _ in range(2):
        assert_same_step(fused, plain, x, y, dtype, 1)
    text = str(xpnn.fusion.plan(fused))
    assert f"fused by CUDA kernels: {kind}, one launch and one product a step" in text


@each_kind
@each_dtype
@pytest.mark.parametrize("sequences", [True, False])
def test_large_states_by_sixteen_bytes(sequences, dtype, kind, monkeypatch):
    """Many numbers a thread, where all arrays lie well; the other kernel, where one does not."""
    monkeypatch.setattr(cells, "WIDE", 1)
    for hidden, rows in ((12, 33), (10, 5), (7, 5)):
        fused, plain = on_cuda(
            lambda: [KINDS[kind](3, hidden, sequences, bias_initializer=drawn)],  # noqa: B023
            dtype=dtype,
        )
        rng = np.random.default_rng(hidden)
        x = rng.standard_normal((rows, 4, 3))
        y = rng.standard_normal((rows, 4, hidden) if sequences else (rows, hidden))
        for layer in (fused.layers[0], plain.layers[0]):
            layer.lengths = [1, *[4] * (rows - 2), 0]
        for _ in range(2):
            assert_same_step(fused, plain, x, y, dtype, 0)


@each_kind
@each_dtype
def test_fused_training_is_that_of_the_layers(kind, dtype):
    """200 steps: losses within 1e-5, float64 1e-11."""
    fused, plain = on_cuda(
        lambda: [
            KINDS[kind](3, 8),
            L.Dropout(0.2),
            KINDS[kind](8, 5, reverse=True),
            L.LastStep(),
            L.Linear(5, 3),
        ],
        xpnn.SoftmaxCrossEntropy,
        optimizer=lambda: xpnn.Adam(1e-3, epsilon=1e-2),
        dtype=dtype,
    )
    rng = np.random.default_rng(0)
    for step in range(200):
        rows = 8 if step % 10 else 5
        x = rng.standard_normal((rows, 3, 3))
        y = (x[:, :, 0].sum(axis=1) > 0) + (x[:, 0, 1] > 0)
        loss, expected = (float(network.train(x, y)[1]) for network in (fused, plain))
        assert math.isclose(loss, expected, rel_tol={"float32": 1e-5, "float64": 1e-11}[dtype])
    actual, wanted = snapshot(fused), snapshot(plain)
    for name, value in wanted.items():
        assert_close(actual[name], value, dtype, 20)


@each_kind
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_numbers_come_through(kind, bad):
    """They are where the layers have them, and no update is made of them."""
    fused, plain = on_cuda(lambda: [KINDS[kind](2, 3), L.Linear(3, 2)], dtype="float64")
    x = np.random.default_rng(5).standard_normal((6, 4, 2))
    y = np.zeros((6, 4, 2))
    before = snapshot(fused)
    x[2, 1, 0] = bad
    outputs = [to_host(network.train(x, y)[0]) for network in (fused, plain)]
    np.testing.assert_array_equal(np.isnan(outputs[0]), np.isnan(outputs[1]))
    if math.isnan(bad):
        assert np.isnan(outputs[0][2, 1:]).all()
        assert math.isnan(float(fused.train(x, y)[1]))
        for name, value in before.items():
            if name.startswith("value"):
                np.testing.assert_array_equal(snapshot(fused)[name], value)


def test_devices_are_equal_and_steps_repeat():
    """Also with `initial` from the last batch, as in training by pieces of a text."""
    import cupy

    devices = ["cuda:0", "cuda:0", "cuda:1"][: 1 + cupy.cuda.runtime.getDeviceCount()]
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((3, 9, 5, 4)), rng.standard_normal((3, 9, 5, 6))
    results = []
    for device in devices:
        fused, _ = on_cuda(lambda: [L.LSTM(4, 6), L.GRU(6, 6, reverse=True)], device=device)
        for some_x, some_y in zip(x, y, strict=True):
            fused.train(some_x, some_y)
            fused.layers[0].initial = fused.layers[0].final
        results.append(snapshot(fused) | {"output": fused.eval(x[0]).get()})
        assert fused.layers[0].final["c"].device.id == int(device[-1])
    for other in results[1:]:
        for name, value in results[0].items():
            np.testing.assert_array_equal(other[name], value)


def test_empty_batch_and_wrong_shapes():
    net, _ = on_cuda(lambda: [L.GRU(4, 5), L.LSTM(5, 3, False)])
    assert net.eval(np.zeros((0, 6, 4))).shape == (0, 3)
    with pytest.raises(xpnn.ShapeError, match=r"layer 0 \(GRU\): expected input of shape"):
        net.train(np.zeros((2, 6, 3)), np.zeros((2, 3)))
    net.layers[0].lengths = [7, 1]
    with pytest.raises(xpnn.DataError, match="lengths"):
        net.train(np.zeros((2, 6, 4)), np.zeros((2, 3)))


#: Kernels of a whole training step (one recurrent layer, Linear, squares, Adam) that are made once,
#: and for each step of the sequence forward and backward. cuBLAS's products are not counted.
LAUNCHES = {"RNN": (17, 2), "LSTM": (18, 2), "GRU": (19, 2)}


@each_kind
def test_launches_and_no_waiting(kind):
    rig = pytest.importorskip("cupy_on_cpu", reason="launches are counted on the rig")
    counts = {}
    for t in (4, 12):
        net, _ = on_cuda(
            lambda: [L.Linear(4, 4), KINDS[kind](4, 6), L.Linear(6, 2)],
            optimizer=lambda: xpnn.Adam(1e-3),
        )
        x, y = net.backend.zeros((3, t, 4)), net.backend.zeros((3, t, 2))
        net.train(x, y)
        before = rig.stats()
        with rig.no_sync():
            net.train(x, y)
        after = rig.stats()
        counts[t] = after["launches"] - before["launches"]
        for copies in ("host_to_device", "device_to_host"):
            assert after[copies] == before[copies]
    once, each = LAUNCHES[kind]
    assert (counts[12] - counts[4]) / 8 == each
    assert counts[4] <= once + 4 * each


# ------------------------------------------------------------------ embeddings


@each_dtype
@pytest.mark.parametrize(("num", "dim"), [(7, 3), (300, 8), (1, 1), (5000, 130), (3, 260)])
@pytest.mark.parametrize("padding", [None, 0])
def test_embedding(num, dim, padding, dtype):
    """Few ids and many, all equal or none, columns of several warps; the same bits again."""
    fused, plain = on_cuda(
        lambda: [L.Embedding(num, dim, padding), L.Linear(dim, 2)],
        dtype=dtype,
    )
    rng = np.random.default_rng(num)
    for ids in (
        rng.integers(0, num, (5, 6)),
        np.full((1, 1), num - 1),
        np.full((41, 1), num // 2),
        rng.integers(0, num, (2, 700)),
    ):
        y = rng.standard_normal((*ids.shape, 2))
        output, loss = fused.train(ids, y)
        expected_output, expected = plain.train(ids, y)
        assert output.dtype == dtype
        assert_close(output.get(), expected_output.get(), dtype, 5)
        assert_close(loss.get(), expected.get(), dtype, 5)
        ours, theirs = (to_host(network.parameters.grads.array) for network in (fused, plain))
        assert_close(ours, theirs, dtype, 20)
        assert_close(fused.eval(ids).get(), plain.eval(ids).get(), dtype, 5)
    assert "fused by CUDA kernels: Embedding" in str(xpnn.fusion.plan(fused))


def test_sums_of_an_embedding_are_in_the_order_of_the_ids():
    """So they are NumPy's bit for bit, and there is no order that a GPU could choose."""
    import cupy

    rng = np.random.default_rng(0)
    ids, drows = rng.zipf(1.5, 3000) % 50, rng.standard_normal((3000, 12)).astype("float32")
    expected = np.zeros((50, 12), dtype="float32")
    np.add.at(expected, ids, drows)
    expected[3] = 0.0
    gradient = cupy.full((50, 12), 7.0, dtype="float32")
    embedding.add_up(cupy.asarray(drows), cupy.asarray(ids), gradient, 3)
    np.testing.assert_array_equal(gradient.get(), expected)


def test_ids_that_are_none():
    """On the host an error; on the device NaN, where the layer has it, and no update."""
    fused, plain = on_cuda(lambda: [L.Embedding(4, 3), L.Linear(3, 2)])
    y = np.zeros((2, 2, 2))
    with pytest.raises(xpnn.DataError, match=r"expected ids of 0 \.\.\. 3, got 4"):
        fused.train(np.asarray([[0, 4], [1, 2]]), y)
    before = snapshot(fused)
    bad = fused.backend.asarray(np.asarray([[0, 4], [-1, 2]]), dtype="int64")
    outputs = [to_host(network.train(bad, y)[0]) for network in (fused, plain)]
    for output in outputs:
        np.testing.assert_array_equal(np.isnan(output[:, :, 0]), [[False, True], [True, False]])
    np.testing.assert_array_equal(snapshot(fused)["value 0.W"], before["value 0.W"])


def test_embedding_costs_a_launch_each_way():
    rig = pytest.importorskip("cupy_on_cpu", reason="launches are counted on the rig")
    net, _ = on_cuda(lambda: [L.Embedding(50, 8), L.LSTM(8, 8, False), L.Linear(8, 2)])
    ids = net.backend.asarray(np.ones((4, 6)), dtype="int64")
    y = net.backend.zeros((4, 2))
    for _ in range(2):
        before, counted = rig.stats(), dict(rig.launches())
        with rig.no_sync():
            net.train(ids, y)
        after = rig.stats()
    for name in ("look_up", "add_up"):
        assert rig.launches()[name] - counted[name] == 1
    assert after["launches"] - before["launches"] <= 12 + 22
