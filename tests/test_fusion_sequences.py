"""Fused recurrent layers and embeddings against the layers that they replace."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import xpnn
from fusion_cases import Own
from tolerances import assert_close
from xpnn import layers as L
from xpnn.errors import DataError, DivergenceError, ShapeError
from xpnn.gradient_check import check_derivative

pytest.importorskip("numba")

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
KINDS: dict[str, Any] = {"RNN": L.RNN, "LSTM": L.LSTM, "GRU": L.GRU}
each_kind = pytest.mark.parametrize("kind", KINDS)


def pair(make: Callable[[], list[L.Layer]], **settings: Any) -> tuple[Any, Any]:
    """The same network twice, fused and not."""
    settings = {"optimizer": lambda: xpnn.SGD(0.05, momentum=0.9), "seed": 5, **settings}
    optimizer = settings.pop("optimizer")
    loss = settings.pop("loss", xpnn.MeanSquaredError)
    fused, plain = (
        xpnn.Sequential(make(), loss(), optimizer=optimizer(), fuse=fuse, **settings)
        for fuse in (True, False)
    )
    return fused, plain


def drawn(shape: tuple[int, ...], stream: xpnn.random.Stream) -> Any:
    """Biases that are not zero."""
    return stream.normal(shape)


def assert_fused(network: xpnn.Network, *kinds: str) -> None:
    remarks = [step.remark for step in xpnn.fusion.plan(network).steps]
    for kind in kinds:
        assert any(f"fused by Numba: {kind}" in remark for remark in remarks)


# ------------------------------------------------------------------ recurrent layers


@each_kind
@each_dtype
@hypothesis.settings(max_examples=30, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=st.data())
def test_everything_that_a_recurrent_layer_tells(kind, dtype, data):
    """Outputs, states, and gradients of the input, the first states and all parameters."""
    n, t = data.draw(st.integers(1, 40), label="N"), data.draw(st.integers(1, 7), label="T")
    d, h = data.draw(st.integers(1, 35), label="D"), data.draw(st.integers(1, 70), label="H")
    settings = {
        "reverse": data.draw(st.booleans(), label="reverse"),
        "return_sequences": data.draw(st.booleans(), label="return_sequences"),
    }
    rng = np.random.default_rng(data.draw(st.integers(0, 99), label="seed"))
    fused, plain = pair(
        lambda: [L.Linear(d, d), KINDS[kind](d, h, bias_initializer=drawn, **settings)],
        dtype=dtype,
    )
    x = rng.standard_normal((n, t, d))
    y = rng.standard_normal((n, t, h) if settings["return_sequences"] else (n, h))
    ragged, begun = data.draw(st.booleans(), label="mask"), data.draw(st.booleans(), label="begun")
    mask = rng.random((n, t)) < 0.6
    names = KINDS[kind].state_names
    states = {name: rng.standard_normal((n, h)).astype(dtype) for name in names}
    for network in (fused, plain):
        network.layers[1].mask = mask if ragged else None
        network.layers[1].initial = states if begun else {}
    for _ in range(2):
        output, loss = fused.train(x, y)
        expected_output, expected = plain.train(x, y)
        assert_close(output, expected_output, dtype, 10)
        assert_close(loss, expected, dtype, 10)
        assert_close(fused.parameters.grads.array, plain.parameters.grads.array, dtype, 20)
        for told in ("final", "dinitial"):
            ours, theirs = (getattr(network.layers[1], told) for network in (fused, plain))
            assert ours.keys() == theirs.keys() == set(names)
            for name in names:
                assert_close(ours[name], theirs[name], dtype, 20)
    assert_close(fused.eval(x), plain.eval(x), dtype, 10)
    assert_close(fused.layers[1].final["h"], plain.layers[1].final["h"], dtype, 10)
    assert_fused(fused, kind)


@each_dtype
@pytest.mark.parametrize("kind", KINDS)
def test_fused_training_is_that_of_the_layers(kind, dtype):
    """200 steps: losses within 1e-5, float64 1e-11."""
    fused, plain = pair(
        lambda: [
            KINDS[kind](3, 20),
            L.Dropout(0.2),
            KINDS[kind](20, 17, reverse=True),
            L.LastStep(),
            L.Linear(17, 3),
        ],
        loss=xpnn.SoftmaxCrossEntropy,
        optimizer=lambda: xpnn.Adam(1e-3, epsilon=1e-2),
        dtype=dtype,
    )
    assert xpnn.fusion.plan(fused).together
    rng = np.random.default_rng(0)
    for step in range(200):
        rows = 16 if step % 10 else 5
        x = rng.standard_normal((rows, 6, 3))
        y = (x[:, :, 0].sum(axis=1) > 0) + (x[:, 0, 1] > 0)
        loss, expected = (float(network.train(x, y)[1]) for network in (fused, plain))
        assert math.isclose(loss, expected, rel_tol={"float32": 1e-5, "float64": 1e-11}[dtype])
    assert_close(fused.parameters.values.array, plain.parameters.values.array, dtype, 20)


@each_dtype
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_would_share_a_set_of_the_cache_lie_apart(kind, dtype):
    """Widths of 4096 bytes: of the input, the state, and the gates."""
    from xpnn.kernels.numba import recurrent

    size = np.dtype(dtype).itemsize
    assert recurrent.row_length(4096 // size, size) == 4160 // size
    assert recurrent.row_length(4032 // size, size) == 4032 // size
    hidden = 4096 // size // (KINDS[kind].gates if kind != "GRU" else 1)
    fused, plain = pair(lambda: [KINDS[kind](4096 // size, hidden)], dtype=dtype)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 2, 4096 // size)), rng.standard_normal((3, 2, hidden))
    for _ in range(2):
        output, _ = fused.train(x, y)
        assert_close(output, plain.train(x, y)[0], dtype, 50)
        assert_close(fused.parameters.grads.array, plain.parameters.grads.array, dtype, 100)
    for told in ("final", "dinitial"):
        ours, theirs = (getattr(network.layers[0], told) for network in (fused, plain))
        assert_close(ours["h"], theirs["h"], dtype, 100)


@each_kind
def test_gradients_agree_with_differences(kind):
    net = xpnn.Sequential(
        [L.Linear(2, 3), KINDS[kind](3, 4, bias_initializer=drawn)],
        xpnn.MeanSquaredError(),
        lr=1e-30,  # stays where it is
        dtype="float64",
        seed=1,
    )
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 6, 2)), rng.standard_normal((5, 6, 4))
    net.layers[1].lengths = [6, 1, 0, 3, 5]
    net.train(x, y)
    flat = net.parameters.values
    values, gradient = flat.copy(), net.parameters.grads.copy()

    def loss(vector: Any) -> Any:
        flat.array = vector
        return net.train(x, y)[1]

    check_derivative(loss, values, gradient, kind, np.random.default_rng(1))


@each_kind
def test_the_number_of_threads_changes_nothing_in_the_gradients(kind, monkeypatch):
    """However the rows are shared out, sums over them are taken in one order."""
    from xpnn.fusion import recurrence
    from xpnn.fusion.threads import Team

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((13, 9, 5)), rng.standard_normal((13, 9, 40))
    found = []
    for parts, pool in itertools.product((1, 2, 3, 40), (False, True)):
        net = xpnn.Sequential([KINDS[kind](5, 40)], xpnn.MeanSquaredError(), lr=0.1, seed=0)
        monkeypatch.setattr(recurrence, "team", lambda p=parts, q=pool: Team(p, q, {}))
        output, _ = net.train(x, y)
        found.append((output, net.parameters.grads.copy()))
    for output, gradient in found[1:]:
        np.testing.assert_array_equal(output, found[0][0])
        np.testing.assert_array_equal(gradient, found[0][1])


@each_dtype
@pytest.mark.parametrize("shape", [(5, 7), (64, 32), (33, 50), (20, 64), (130, 100)])
def test_weights_are_packed_as_they_are_and_transposed(shape, dtype):
    from xpnn.kernels.numba import recurrent
    from xpnn.kernels.numba.blocked_product import panel

    depth, columns = shape
    width = 2 * panel(dtype).lanes
    w, last = (np.random.default_rng(0).normal(size=s).astype(dtype) for s in (shape, columns))
    for transposed, rows in ((0, np.vstack([w, last])), (1, np.vstack([w.T, np.zeros(depth)]))):
        count = -(-rows.shape[1] // width)
        packed = [np.full((count * len(rows), width), np.nan, dtype) for _ in range(2)]
        recurrent.prepare[dtype, False](w, last, packed[0], w, last, packed[1], transposed, 2)
        expected = np.zeros((len(rows), count * width))
        expected[:, : rows.shape[1]] = rows
        for found in packed:
            found = found.reshape(count, len(rows), width).swapaxes(0, 1)
            np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@each_kind
def test_states_go_on_and_outputs_are_kept(kind):
    """A sequence in two parts; what the network gives is not overwritten by the next step."""
    net = xpnn.Sequential([KINDS[kind](2, 3)], xpnn.MeanSquaredError(), lr=0.1, seed=0)
    x = np.random.default_rng(0).standard_normal((2, 6, 2)).astype("float32")
    whole = net.eval(x)
    first = net.eval(x[:, :4])
    net.layers[0].initial = net.layers[0].final
    np.testing.assert_allclose(np.concatenate([first, net.eval(x[:, 4:])], 1), whole, atol=1e-6)
    net.layers[0].initial = {}
    output, _ = net.train(x, whole)
    kept, last = output.copy(), net.layers[0].final["h"].copy()
    final = net.layers[0].final["h"]
    net.train(2 * x, whole)
    np.testing.assert_array_equal(output, kept)
    np.testing.assert_array_equal(final, last)
    assert net.eval(np.zeros((0, 4, 2))).shape == (0, 4, 3)


@each_kind
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_numbers_are_reported(kind, bad):
    fused, plain = pair(lambda: [KINDS[kind](2, 3), L.Linear(3, 1)])
    x = np.random.default_rng(0).standard_normal((4, 3, 2))
    x[1, 1, 0] = bad
    ours, theirs = fused.eval(x), plain.eval(x)
    np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(theirs))
    before = fused.parameters.values.copy()
    for network in (fused, plain):
        with pytest.raises(DivergenceError):
            network.train(x, np.zeros((4, 3, 1)))
        np.testing.assert_array_equal(network.parameters.values.array, before)


def test_wrong_sequences_are_refused():
    net = xpnn.Sequential([L.LSTM(2, 3)], xpnn.MeanSquaredError(), lr=0.1, seed=0)
    layer, y = net.layers[0], np.zeros((2, 4, 3))
    for shape in ((2, 2), (2, 4, 3), (2, 0, 2)):
        with pytest.raises(ShapeError, match=r"layer 0 \(LSTM\): expected input of shape"):
            net.train(np.zeros(shape), y)
    layer.lengths = [4, 5]
    with pytest.raises(DataError, match=r"expected lengths of 0 \.\.\. 4, got 5"):
        net.train(np.zeros((2, 4, 2)), y)
    layer.lengths, layer.initial = None, {"c": np.zeros((3, 3))}
    with pytest.raises(ShapeError, match="initial c"):
        net.eval(np.zeros((2, 4, 2)))


@each_kind
def test_the_plan_says_why_it_is_not_fused(kind):
    net = xpnn.Sequential(
        [L.Recompute([KINDS[kind](2, 3), Own()]), KINDS[kind](3, 2)],
        xpnn.MeanSquaredError(),
        lr=0.1,
    )
    assert "the layer itself: not a class of xpnn's" in str(xpnn.fusion.plan(net))
    text = str(xpnn.fusion.plan(net, kernels=False))
    assert f"{kind}(3, 2)" in text
    assert text.count("kernels are not wanted") >= 2


# ------------------------------------------------------------------ both directions


@each_kind
@each_dtype
@pytest.mark.parametrize("merge", ["concat", "sum"])
@pytest.mark.parametrize("sequences", [True, False])
def test_both_directions(kind, dtype, merge, sequences):
    """Outputs, states, and the gradients of everything; with some steps missing and without."""
    d, h = 5, 9
    width = 2 * h if merge == "concat" else h
    fused, plain = pair(
        lambda: [
            L.Linear(d, d),
            L.Bidirectional(KINDS[kind](d, h, sequences, bias_initializer=drawn), merge),
            L.Linear(width, width),
        ],
        dtype=dtype,
    )
    assert "both directions" in str(xpnn.fusion.plan(fused))
    rng = np.random.default_rng(0)
    for n, t in ((7, 6), (1, 1), (40, 3)):
        x, y = rng.standard_normal((n, t, d)), rng.standard_normal((n, t, width))
        y = y if sequences else y[:, 0]
        for mask in (None, rng.random((n, t)) < 0.6):
            for network in (fused, plain):
                for _, way in network.layers[1].sublayers():
                    way.mask = mask
            output, loss = fused.train(x, y)
            expected_output, expected = plain.train(x, y)
            assert_close(output, expected_output, dtype, 10)
            assert_close(loss, expected, dtype, 10)
            assert_close(fused.parameters.grads.array, plain.parameters.grads.array, dtype, 20)
            for ours, theirs in zip(
                *(net.layers[1].sublayers() for net in (fused, plain)), strict=True
            ):
                assert_close(ours[1].final["h"], theirs[1].final["h"], dtype, 10)
                assert_close(ours[1].dinitial["h"], theirs[1].dinitial["h"], dtype, 20)
            assert_close(fused.eval(x), plain.eval(x), dtype, 10)


def test_both_directions_train_like_the_layers_for_200_steps():
    fused, plain = pair(
        lambda: [
            L.Bidirectional(L.LSTM(3, 8)),
            L.Dropout(0.2),
            L.Bidirectional(L.GRU(16, 5, return_sequences=False), "sum"),
            L.Linear(5, 2),
        ],
        loss=xpnn.SoftmaxCrossEntropy,
        dtype="float64",
    )
    rng = np.random.default_rng(1)
    for _ in range(200):
        x = rng.standard_normal((6, 5, 3))
        loss, expected = (float(net.train(x, x[:, 0, 0] > 0)[1]) for net in (fused, plain))
        assert math.isclose(loss, expected, rel_tol=1e-11)


# ------------------------------------------------------------------ embeddings


@each_dtype
@pytest.mark.parametrize("padding_idx", [None, 0, 6])
@pytest.mark.parametrize("shape", [(1,), (40,), (5, 9), (700, 3)])
def test_embeddings(shape, padding_idx, dtype):
    fused, plain = pair(lambda: [L.Embedding(7, 5, padding_idx)], dtype=dtype)
    assert_fused(fused, "Embedding")
    rng = np.random.default_rng(0)
    for _ in range(3):
        ids, y = rng.integers(0, 7, shape), rng.standard_normal((*shape, 5))
        (output, loss), (expected_output, expected) = (net.train(ids, y) for net in (fused, plain))
        assert_close(output, expected_output, dtype, 5)
        assert_close(loss, expected, dtype, 5)
        assert_close(fused.parameters.grads.array, plain.parameters.grads.array, dtype, 20)
        assert_close(fused.eval(ids), plain.eval(ids), dtype, 5)
    if padding_idx is not None:
        assert (fused.layers[0].grads["W"][padding_idx] == 0).all()


def test_rows_of_an_embedding_are_added_up_in_one_order(monkeypatch):
    from xpnn.fusion import lookup, steps
    from xpnn.fusion.threads import Team

    rng = np.random.default_rng(0)
    ids, y = rng.integers(0, 50, 3000), rng.standard_normal((3000, 16))
    found = []
    for parts, pool in itertools.product((1, 2, 3, 60), (False, True)):
        net = xpnn.Sequential([L.Embedding(50, 16)], xpnn.MeanSquaredError(), lr=0.1, seed=0)
        for module in (steps, lookup):
            monkeypatch.setattr(module, "team", lambda p=parts, q=pool: Team(p, q, {}))
        net.train(ids, y)
        found.append(net.parameters.grads.copy())
    for gradient in found[1:]:
        np.testing.assert_array_equal(gradient, found[0])


def test_large_outputs_of_an_embedding_are_the_same(monkeypatch):
    from xpnn.fusion import lookup

    rng = np.random.default_rng(0)
    ids, y = rng.integers(0, 50, 3000), rng.standard_normal((3000, 16))
    found = []
    for large in (1 << 40, 0):
        monkeypatch.setattr(lookup, "_LARGE", large)
        net = xpnn.Sequential([L.Embedding(50, 16)], xpnn.MeanSquaredError(), lr=0.1, seed=0)
        output, loss = net.train(ids, y)
        found.append((output, loss, net.parameters.grads.copy()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_embeddings_train_like_the_layers_for_200_steps():
    fused, plain = pair(
        lambda: [L.Embedding(20, 6), L.LSTM(6, 9), L.LastStep(), L.Linear(9, 2)],
        loss=xpnn.SoftmaxCrossEntropy,
        dtype="float64",
    )
    rng = np.random.default_rng(1)
    for _ in range(200):
        ids = rng.integers(0, 20, (8, 5))
        loss, expected = (float(net.train(ids, ids[:, 0] % 2)[1]) for net in (fused, plain))
        assert math.isclose(loss, expected, rel_tol=1e-11)


@pytest.mark.parametrize("wrong", [-1, 7])
def test_wrong_ids_are_refused_before_anything_changes(wrong):
    fused, _ = pair(lambda: [L.Embedding(7, 3), L.Linear(3, 1)])
    before = fused.parameters.values.copy()
    with pytest.raises(DataError, match=rf"expected ids of 0 \.\.\. 6, got {wrong}"):
        fused.train(np.asarray([1, wrong]), np.zeros((2, 1)))
    np.testing.assert_array_equal(fused.parameters.values.array, before)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_gradient_that_is_no_number_reaches_the_check():
    fused, _ = pair(lambda: [L.Embedding(4, 3), L.Linear(3, 1)])
    fused.layers[0].params["W"][2] = math.nan
    with pytest.raises(DivergenceError):
        fused.train(np.asarray([1, 2]), np.zeros((2, 1)))
