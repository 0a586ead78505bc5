"""`Parallel` and `Recompute` by the steps of the layers inside, against the layers."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import xpnn
from composite_cases import FIRST, networks
from fusion_cases import Own, pair
from test_fusion import assert_same_state, steps_of
from tolerances import assert_close
from xpnn import layers as L
from xpnn.fusion import planning

pytest.importorskip("numba")

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
LIMIT = {"float32": 1e-5, "float64": 1e-11}


def run(filters: tuple[int, int], size: int = 1, stride: int = 1) -> list[L.Layer]:
    before, after = filters
    conv = L.Conv2d(before, after, size, stride, padding=size // 2, bias=False)
    return [conv, L.BatchNorm2d(after), L.ReLU()]


def inception(channels: int) -> L.Parallel:
    ways = [
        run((channels, 4)),
        [*run((channels, 3)), *run((3, 17), 3)],
        [*run((channels, 2)), *run((2, 3), 5)],
        [L.MaxPool2d(3, stride=1, padding=1), *run((channels, 5))],
    ]
    return L.Parallel(ways)


#: Networks with 3 outputs for images (2, 7, 6), sequences (5, 4) or sequences of ids.
NETS: dict[str, tuple[Callable[[], list[L.Layer]], str]] = {
    "inception": (
        lambda: [
            *run((2, 6), 3),
            inception(6),
            inception(29),
            L.GlobalAvgPool2d(),
            L.Linear(29, 3),
        ],
        "images",
    ),
    "inception alone": (lambda: [inception(2), L.Flatten(), L.Linear(29 * 42, 3)], "images"),
    "convolutions alone": (
        lambda: [
            L.Parallel([L.Conv2d(2, 5, 1), [L.Conv2d(2, 2, 1), L.Conv2d(2, 3, 3, padding=1)], []]),
            L.MaxPool2d(2),
            L.GlobalAvgPool2d(),
            L.Linear(10, 3),
        ],
        "images",
    ),
    "rows of images": (
        lambda: [
            *run((2, 4), 3),
            L.Parallel([run((4, 4)), L.Tanh()], axis=-2),
            L.GlobalAvgPool2d(),
        ],
        "images",
    ),
    "sum in a residual block": (
        lambda: [
            *run((2, 4), 3),
            L.Residual(L.Parallel([run((4, 4), 3), [L.Conv2d(4, 4, 1)], []], merge="sum")),
            L.ReLU(),
            L.Residual([*run((4, 4)), L.Recompute(run((4, 4), 3))]),
            L.GlobalAvgPool2d(),
            L.Linear(4, 3),
        ],
        "images",
    ),
    "residual blocks side by side": (
        lambda: [
            *run((2, 6), 3),
            L.Parallel([L.Residual(run((6, 6))), L.Residual([*run((6, 6), 3), L.Dropout(0.2)])]),
            *run((12, 4)),
            L.GlobalAvgPool2d(),
            L.Linear(4, 3),
        ],
        "images",
    ),
    "one way": (
        lambda: [
            L.Linear(4, 6),
            L.Parallel([[]]),
            L.Parallel([L.Tanh()], merge="sum"),
            L.Parallel([L.Flatten()]),
            L.Linear(30, 3),
        ],
        "sequences",
    ),
    "features of sequences": (
        lambda: [
            L.Linear(4, 6),
            L.Parallel([L.GRU(6, 5), [L.MultiHeadAttention(6, 2), L.Dropout(0.2)], []], axis=-1),
            L.Recompute(L.TransformerBlock(17, 1, hidden_dim=5, dropout=0.2)),
            L.LastStep(),
            L.Linear(17, 3),
        ],
        "sequences",
    ),
    "steps of sequences": (
        lambda: [L.Parallel([L.Linear(4, 3), [L.LSTM(4, 3)]]), L.MeanOverTime()],
        "sequences",
    ),
    "ids": (
        lambda: [
            L.Masked([L.Parallel([L.Embedding(9, 4), L.Embedding(9, 3)], axis=-1), L.GRU(7, 4)]),
            L.MeanOverTime(),
            L.Linear(4, 3),
        ],
        "ids",
    ),
    "ids forward again": (
        lambda: [
            L.Masked(
                [
                    L.Recompute([L.Embedding(9, 4), L.Dropout(0.4), L.GRU(4, 6)]),
                    L.Recompute([L.Recompute(L.LSTM(6, 4)), L.Bidirectional(L.RNN(4, 3))]),
                    L.MaxOverTime(),
                ]
            ),
            L.Recompute([L.BatchNorm(6), L.Linear(6, 6), L.Dropout(0.2), L.Tanh()]),
            L.Recompute([L.Linear(6, 5), L.LayerNorm(5), L.GELU()]),
            L.Linear(5, 3),
        ],
        "ids",
    ),
    "images forward again": (
        lambda: [
            *run((2, 6), 3),
            L.Recompute([inception(6), L.MaxPool2d(2)]),
            L.Recompute([*run((29, 8), 3, 2), *run((8, 8), 3)]),
            L.Recompute([L.GlobalAvgPool2d(), L.Linear(8, 3)]),
        ],
        "images",
    ),
    "begins forward again": (lambda: [L.Recompute([*run((2, 3)), L.GlobalAvgPool2d()])], "images"),
}
each_net = pytest.mark.parametrize("name", NETS)


def batch(kind: str, rows: int, rng: np.random.Generator) -> tuple[Any, Any]:
    labels = rng.integers(0, 3, rows)
    if kind == "ids":
        return rng.integers(0, 9, (rows, 5)), labels
    return rng.standard_normal((rows, 2, 7, 6) if kind == "images" else (rows, 5, 4)), labels


def assert_trains_alike(fused: Any, plain: Any, batches: list[Any], dtype: str) -> None:
    """Outputs, losses, gradients, evaluations; what has left stays as it was."""
    kept = []
    for x, y in batches:
        (output, loss), (expected, value) = fused.train(x, y), plain.train(x, y)
        assert_close(output, expected, dtype, 20)
        assert math.isclose(float(loss), float(value), rel_tol=LIMIT[dtype])
        grads = (network.parameters.grads.array for network in (fused, plain))
        assert_close(*grads, dtype, 50)
        evaluated = fused.eval(x)
        assert_close(evaluated, plain.eval(x), dtype, 20)
        assert evaluated.dtype == output.dtype == dtype
        kept += [(output, output.copy()), (evaluated, evaluated.copy())]
    assert all((given == then).all() for given, then in kept)
    assert_same_state(fused, plain, dtype, 20)
    assert all(not layer.cache for layer in fused.parameters.layers.values())


@each_dtype
@pytest.mark.parametrize("images", [False, True])
@hypothesis.settings(max_examples=20, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=st.data())
def test_random_networks(images, dtype, data):
    make = data.draw(networks(images, 3), label="layers")
    fused, plain = pair(make, optimizer=lambda: xpnn.SGD(0.01), dtype=dtype)
    kinds = {L.Parallel, L.Recompute, L.Residual}
    for step in xpnn.fusion.plan(fused).steps:
        assert type(step).__name__ != "LayerStep" or type(step.layers[0]) not in kinds
    rng = np.random.default_rng(0)
    shape = (FIRST[images], 5, 4) if images else (FIRST[images],)
    batches = [
        (rng.standard_normal((n, *shape)), rng.integers(0, 3, n)) for n in (12, 12, 7, 20, 12)
    ]
    assert_trains_alike(fused, plain, batches, dtype)


@each_dtype
@each_net
def test_networks(name, dtype):
    make, kind = NETS[name]
    fused, plain = pair(make, dtype=dtype, optimizer=lambda: xpnn.SGD(0.02, momentum=0.9))
    rng = np.random.default_rng(1)
    batches = [batch(kind, rows, rng) for rows in (16, 16, 9, 2, 24, 16)]
    assert_trains_alike(fused, plain, batches, dtype)
    x = batches[0][0]
    assert fused.eval(x[:0]).shape == plain.eval(x[:0]).shape


@each_net
def test_plan_says_what_it_does_and_the_pool_works_on_it(name):
    plan = xpnn.fusion.plan(pair(NETS[name][0])[0])
    assert all(step.joins for step in plan.steps)
    for layer, text in ((L.Parallel, "side by side"), (L.Recompute, "again in the backward pass")):
        for step in plan.steps:
            if type(step.layers[0]) is layer:
                assert text in step.remark


def test_plan_in_words(monkeypatch):
    """A row for each step inside, as narrow as it can be."""
    block = L.Residual(
        [L.Conv2d(2, 6, 3, padding=1), L.Parallel([[], L.Tanh()], merge="sum")], L.Conv2d(2, 6, 1)
    )
    monkeypatch.setattr(planning, "by_tiles", lambda: False)
    layers = [block, L.ReLU(), L.Recompute([L.Linear(5, 2), L.Softplus()])]
    lines = str(xpnn.fusion.plan(pair(lambda: layers)[0])).splitlines()[1:-2]
    assert lines == [
        "layers  what                            how",
        "0-1     Residual, ReLU()                step by step, and ReLU with the sum",
        "          layers:",
        "            Conv2d(2, 6, 3, padding=1)  fused by Numba: Conv2d",
        "            Parallel                    side by side",
        "              branch 0:                 the input itself",
        "              branch 1:",
        "                Tanh()                  fused by Numba: Tanh",
        "          shortcut:",
        "            Conv2d(2, 6, 1)             fused by Numba: Conv2d",
        "2       Recompute                       step by step, and again in the backward pass",
        "          Linear(5, 2)                  into buffers, by BLAS",
        "          Softplus()                    the layer itself: there is no kernel for it",
    ]


class Derived(L.Parallel):
    """May do something else."""


@pytest.mark.parametrize(
    "make",
    [
        lambda: L.Parallel([L.Tanh(), [L.Tanh(), Own()]]),
        lambda: L.Recompute([L.Tanh(), Own()]),
        lambda: L.Recompute(L.Parallel([L.Tanh(), Own()])),
        lambda: Derived([L.Tanh(), []]),
        lambda: L.Recompute([]),
    ],
)
def test_what_is_not_xpnns_own_is_left_alone(make):
    network, plain = pair(lambda: [L.Linear(2, 2), make(), L.Flatten()])
    assert steps_of(network) == ["LinearStep:1", "LayerStep:1", "LayerStep:1"]
    x, y = np.random.default_rng(2).standard_normal((4, 2)), np.asarray([0, 1, 1, 0])
    assert_close(network.train(x, y)[0], plain.train(x, y)[0], "float32", 5)


def test_without_kernels_nothing_changes():
    network = pair(NETS["images forward again"][0])[0]
    steps = steps_of(network, kernels=False)
    assert not any(step.startswith(("Parallel", "Recompute")) for step in steps)


def test_wrong_shapes_name_the_layer_and_leave_no_trace():
    fused, plain = pair(NETS["inception"][0])
    rng = np.random.default_rng(3)
    x, y = batch("images", 8, rng)
    with pytest.raises(xpnn.DataError, match="label"):
        fused.train(x, y + 9)
    with pytest.raises(xpnn.ShapeError, match=r"layer 0 \(Conv2d\)"):
        fused.train(x[:, :1], y)
    assert_trains_alike(fused, plain, [(x, y)] * 2, "float32")
    network = pair(lambda: [L.Parallel([L.Conv2d(2, 2, 3), []])])[0]
    with pytest.raises(xpnn.ShapeError, match=r"layer 0 \(Parallel\): expected outputs of the"):
        network.eval(x)


# ------------------------------------------------------------------ Recompute


def as_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a plan run the layers of a `Recompute` once."""
    from xpnn.fusion import composite_rules
    from xpnn.fusion.series import SeriesStep

    monkeypatch.setattr(composite_rules, "RecomputeStep", SeriesStep)


@each_dtype
@pytest.mark.parametrize("name", [name for name in NETS if "again" in name])
def test_forward_again_gives_the_same_bits(name, dtype, monkeypatch):
    """The same masks, and running averages that move once."""
    make, kind = NETS[name]
    found = []
    for once in (False, True):
        if once:
            as_series(monkeypatch)
        network = pair(make, dtype=dtype)[0]
        assert ("backward pass" in str(xpnn.fusion.plan(network))) == (not once)
        rng = np.random.default_rng(4)
        results = [network.train(*batch(kind, rows, rng)) for rows in (12, 5, 12)]
        vectors = (getattr(network.parameters, v).array for v in ("values", "grads", "buffers"))
        found.append([array for pair in results for array in pair] + list(vectors))
    for actual, expected in zip(*found, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_states_and_lengths_are_those_of_the_first_pass():
    """What layers are told for a batch holds for both passes, and is told anew afterwards."""
    fused, plain = pair(
        lambda: [L.Linear(4, 3), L.Recompute([L.GRU(3, 5), L.LastStep()]), L.Linear(5, 3)]
    )
    rng = np.random.default_rng(5)
    for _ in range(3):
        x, y = batch("sequences", 6, rng)
        lengths, first = rng.integers(1, 6, 6), rng.standard_normal((6, 5)).astype(np.float32)
        for network in (fused, plain):
            gru = network.layers[1].layers[0]
            gru.lengths, gru.initial = lengths, {"h": first}
        (output, _), (expected, _) = fused.train(x, y), plain.train(x, y)
        assert_close(output, expected, "float32", 10)
        assert_close(fused.parameters.grads.array, plain.parameters.grads.array, "float32", 20)
        assert fused.layers[1].layers[0].lengths is lengths


def unchanged() -> L.Layer:
    return L.Recompute([L.Dropout2d(0.0)])


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (
            lambda: [
                L.Linear(9, 20),
                L.Linear(20, 12),
                L.Recompute([L.Flatten()]),
                L.Linear(12, 8),
            ],
            (64, 9),
        ),
        (
            lambda: [
                *(L.Linear(8, 20), L.Linear(20, 12)),
                *(L.Masked([L.PositionalEncoding()]), L.Linear(12, 8)),
            ],
            (6, 5, 8),
        ),
        (
            lambda: [
                *(L.Conv2d(2, 16, 3, padding=1), L.Conv2d(16, 8, 3, padding=1)),
                *(unchanged(), L.Conv2d(8, 8, 3, padding=1)),
            ],
            (6, 2, 5, 5),
        ),
        (
            lambda: [
                *(L.Conv2d(2, 6, 3, padding=1), L.Conv2d(6, 3, 3, padding=1)),
                *(unchanged(), L.Conv2d(3, 3, 3, padding=1)),
            ],
            (6, 2, 5, 5),
        ),
        (
            lambda: [
                *run((2, 5)),
                *(L.Conv2d(5, 16, 3), L.BatchNorm2d(16), L.ReLU()),
                *(unchanged(), L.Conv2d(16, 40, 1), L.ReLU()),
            ],
            (6, 2, 3, 3),
        ),
        (
            lambda: [
                *(*run((2, 5), 3), *run((5, 1), 3)),
                *(unchanged(), L.Conv2d(1, 8, 3, padding=1), L.ReLU()),
            ],
            (6, 2, 5, 5),
        ),
    ],
    ids=["linear", "sequences", "convolutions", "few channels", "normalized", "one filter"],
)
def test_a_gradient_that_passes_unchanged_is_not_overwritten(make, shape):
    """The steps around share two buffers in turn: the one before read what it was writing."""
    x = np.random.default_rng(0).standard_normal(shape)
    networks = pair(make, loss=xpnn.MeanSquaredError, dtype="float64")
    target = np.ones(networks[0].output_shape(shape))
    for _ in range(3):
        for network in networks:
            network.train(x, target)
        fused, plain = (network.parameters.grads.array for network in networks)
        assert np.abs(fused - plain).max() < LIMIT["float64"] * np.abs(plain).max()


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: [L.Linear(4, 8), L.Recompute([L.Flatten()])], (5, 4)),
        (lambda: [L.Linear(4, 8), L.Recompute([L.Recompute([L.Flatten()])])], (5, 4)),
        (lambda: [*run((2, 5)), unchanged()], (5, 2, 6, 6)),
        (lambda: [L.GRU(4, 8), L.Recompute([L.Flatten()])], (5, 3, 4)),
    ],
    ids=["linear", "nested", "images", "recurrent"],
)
def test_an_output_that_passes_unchanged_is_not_overwritten(make, shape):
    """What `train` returns belongs to whoever called it; also when steps are replayed."""
    network, _ = pair(make, loss=xpnn.MeanSquaredError)
    rng = np.random.default_rng(0)
    target = np.ones(network.output_shape(shape))
    outputs = [network.train(rng.standard_normal(shape), target)[0] for _ in range(7)]
    copies = [output.copy() for output in outputs]
    network.train(rng.standard_normal(shape), target)
    for output, copy in zip(outputs, copies, strict=True):
        np.testing.assert_array_equal(output, copy)
    assert len({copy.tobytes() for copy in copies}) == len(copies)


@pytest.mark.parametrize("kind", ["vectors", "images", "sequences"])
def test_only_the_inputs_stay_between_the_passes(kind):
    """What blocks hold after a forward pass, and at most in a whole step."""

    def block() -> list[L.Layer]:
        if kind == "images":
            return [*run((16, 16), 3), L.Residual([*run((16, 16), 3), L.Conv2d(16, 16, 1)])]
        if kind == "sequences":
            return [L.Bidirectional(L.GRU(16, 16), merge="sum"), L.TransformerBlock(16, 2)]
        ways = [[L.Linear(64, 64), L.GELU()], [L.Linear(64, 64), L.Tanh()]]
        return [L.Parallel(ways, merge="sum"), L.Linear(64, 64), L.ReLU(), L.Linear(64, 64)]

    shapes = {"images": (32, 16, 16, 16), "vectors": (512, 64), "sequences": (32, 128, 16)}
    x, count = np.ones(shapes[kind], np.float32), 6
    layers = [L.Recompute(block()) for _ in range(count)]
    network = xpnn.Sequential(layers, xpnn.MeanSquaredError(), lr=1e-3, seed=0)
    assert steps_of(network) == ["RecomputeStep:1"] * count
    for _ in range(2):  # with the kernels loaded in the second round
        steps = xpnn.fusion.plan(network).steps
        tracemalloc.start()
        output = x
        for step in steps:
            output = step.forward(output)
        between = tracemalloc.get_traced_memory()[0]
        gradient = output
        for step in reversed(steps):
            gradient = step.backward(gradient)
        del output, gradient
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert between < (count + 1) * x.nbytes
    assert after < x.nbytes
