"""Fused steps against the layers that they replace."""

from __future__ import annotations

import copy
import math
import os
import pickle
import subprocess
import sys
import threading
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import xpnn
from fusion_cases import ACTIVATIONS, NORMS, OPTIMIZERS, PENALTIES, Own, layer_lists, pair
from tolerances import assert_close
from xpnn import layers as L
from xpnn.fusion import planning, steps

pytest.importorskip("numba")

from xpnn.fusion import chain

DTYPES = ("float32", "float64")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def assert_same_state(fused: Any, plain: Any, dtype: str, factor: float = 1.0) -> None:
    for vector in ("values", "buffers"):
        actual, expected = (getattr(n.parameters, vector).array for n in (fused, plain))
        assert_close(actual, expected, dtype, factor)
    assert fused.optimizer_state.keys() == plain.optimizer_state.keys()
    for name, value in plain.optimizer_state.items():
        assert_close(fused.optimizer_state[name], value, dtype, factor)


def steps_of(network: xpnn.Network, kernels: bool = True) -> list[str]:
    """The classes of a plan's steps, as a short text."""
    found = xpnn.fusion.plan(network, kernels).steps
    assert found is not None
    return [f"{type(step).__name__}:{len(step.layers)}" for step in found]


# ------------------------------------------------------------------ the generic test


@each_dtype
@hypothesis.settings(max_examples=12, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=st.data())
def test_fused_training_is_that_of_the_layers(dtype, data):
    """200 steps with the same masks: losses within 1e-5, float64 1e-11, then all that was kept."""
    classes = data.draw(st.booleans(), label="classification")
    recipe = data.draw(layer_lists(4 if classes else 2), label="layers")
    optimizer = OPTIMIZERS[data.draw(st.sampled_from(sorted(OPTIMIZERS)), label="optimizer")]
    penalty = PENALTIES[data.draw(st.sampled_from(sorted(PENALTIES)), label="penalty")]
    fused, plain = pair(
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
    assert_close(output, expected_output, dtype, 20)
    assert_close(fused.eval(x), plain.eval(x), dtype, 20)
    assert_same_state(fused, plain, dtype, 20)
    assert all(not layer.cache for layer in fused.layers)


# ------------------------------------------------------------------ every rule


@each_dtype
@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ["", *ACTIVATIONS])
def test_chain(activation, norm, p, dtype):
    """One step with and without a Linear before; batches of one and of other sizes."""

    def chain(width: int) -> list[L.Layer]:
        layers = NORMS[norm](width)
        layers += [ACTIVATIONS[activation]()] if activation else []
        return layers + ([L.Dropout(p)] if p else [])

    def make() -> list[L.Layer]:
        return [*chain(5), L.Linear(5, 19), *chain(19), L.Linear(19, 3)]

    fused, plain = pair(make, xpnn.MeanSquaredError, lambda: xpnn.SGD(0.01), dtype=dtype)
    rng = np.random.default_rng(1)
    for rows in (8, 8, 1, 33, 8):
        x, y = 2.0 * rng.standard_normal((rows, 5)), rng.standard_normal((rows, 3))
        output, loss = fused.train(x, y)
        expected_output, expected = plain.train(x, y)
        assert_close(output, expected_output, dtype, 5)
        assert_close(loss, expected, dtype, 5)
        assert_close(fused.parameters.grads.array, plain.parameters.grads.array, dtype, 20)
        assert_close(fused.eval(x), plain.eval(x), dtype, 5)
    assert_same_state(fused, plain, dtype, 5)
    assert fused.eval(np.zeros((0, 5))).shape == (0, 3)


@each_dtype
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("activation", [None, L.ReLU, L.SiLU])
@pytest.mark.parametrize(
    ("first", "norm", "shape"),
    [(L.Linear(6, 5), L.BatchNorm, (6,)), (L.Conv2d(3, 5, 2), L.BatchNorm2d, (3, 2, 2))],
    ids=["rows", "images"],
)
def test_no_spread_no_gradient(first, norm, shape, activation, rows, dtype):
    """Rounding would be hundreds of times as large here, and Adam would make full steps of it."""
    layers = [copy.deepcopy(first), norm(5), *([activation()] if activation else [])]
    layers += [L.Flatten(), L.Linear(5, 4)]
    network = xpnn.Sequential(layers, xpnn.SoftmaxCrossEntropy(), lr=0.1, seed=3, dtype=dtype)
    x = np.random.default_rng(0).standard_normal((1, *shape))
    for _ in range(4):  # the last is replayed
        network.train(np.repeat(x, rows, axis=0), np.zeros(rows, int))
        assert layers[-1].grads["b"].any()
        assert not layers[0].grads["W"].any()
        assert not layers[1].grads["gamma"].any()


@each_dtype
def test_sequences_images_and_vectors(dtype):
    def sequences() -> list[L.Layer]:
        block = [L.Linear(4, 6), L.LayerNorm(6), L.GELU(), L.Dropout(0.3)]
        return [L.Tanh(), *block, L.Linear(6, 2), L.Sigmoid()]

    def images() -> list[L.Layer]:
        return [L.Dropout(0.2), L.ReLU(), L.Flatten(), L.Linear(12, 2)]

    rng = np.random.default_rng(2)
    for make, shape, target in (
        (sequences, (3, 5, 4), (3, 5, 2)),
        (images, (3, 2, 3, 2), (3, 2)),
        (lambda: [L.Linear(4, 2), L.Dropout(0.3)], (3, 5, 4), (3, 5, 2)),
        (lambda: [L.LeakyReLU()], (7,), (7,)),
    ):
        fused, plain = pair(make, xpnn.MeanSquaredError, dtype=dtype)
        x, y = rng.standard_normal(shape), rng.standard_normal(target)
        for _ in range(3):
            output, loss = fused.train(x, y)
            expected_output, expected = plain.train(x, y)
            assert_close(output, expected_output, dtype, 5)
            assert_close(loss, expected, dtype, 5)
        assert_close(fused.eval(x), plain.eval(x), dtype, 5)
        assert_same_state(fused, plain, dtype, 5)


@each_dtype
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_update(optimizer, penalty, dtype):
    fused, plain = pair(
        lambda: [L.Linear(6, 5), L.LayerNorm(5), L.Linear(5, 3)],
        optimizer=OPTIMIZERS[optimizer],
        regularization=PENALTIES[penalty](),
        dtype=dtype,
    )
    rng = np.random.default_rng(3)
    for _ in range(4):
        x, y = rng.standard_normal((9, 6)), rng.integers(0, 3, 9)
        assert_close(fused.train(x, y)[1], plain.train(x, y)[1], dtype, 2)
    assert_same_state(fused, plain, dtype, 2)


def test_network_of_ones_own_has_loss_and_update_fused():
    class Residual(xpnn.Network):
        def __init__(self, fuse: bool) -> None:
            super().__init__(xpnn.SoftmaxCrossEntropy(), lr=0.1, seed=1, fuse=fuse)
            self.first, self.second = L.Linear(4, 4), L.Linear(4, 3)

        def forward(self, input):
            return self.second.forward(input + self.first.forward(input))

        def backward(self, dout):
            dsum = self.second.backward(dout)
            return dsum + self.first.backward(dsum)

    fused, plain = Residual(True), Residual(False)
    x, y = np.random.default_rng(4).standard_normal((5, 4)), [0, 1, 2, 1, 0]
    for _ in range(5):
        assert_close(fused.train(x, y)[1], plain.train(x, y)[1], "float32")
    assert_close(fused.eval(x), plain.eval(x), "float32")
    assert_same_state(fused, plain, "float32")
    text = str(xpnn.fusion.plan(fused))
    assert "the network's own" in text
    assert text.count("fused by Numba") == 2


# ------------------------------------------------------------------ numbers that are not finite


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ["", *ACTIVATIONS])
def test_bad_numbers_come_through(activation, norm, bad):
    """They are where the layers have them, also behind Dropout, and leave no trace."""

    def make() -> list[L.Layer]:
        chain = NORMS[norm](4) + ([ACTIVATIONS[activation]()] if activation else [])
        return [*chain, L.Dropout(0.5)]

    fused, plain = pair(make, xpnn.MeanSquaredError, dtype="float64")
    x = np.random.default_rng(5).standard_normal((6, 4))
    fused.train(x, x)
    plain.train(x, x)
    x[2, 1] = bad
    assert np.isfinite(fused.eval(x)).sum() == np.isfinite(plain.eval(x)).sum()
    outputs = []
    for network in (fused, plain):
        network._enter("train", network.parameters)
        if network is fused:
            output = x
            for step in xpnn.fusion.plan(network).steps:
                output = step.forward(output)
        else:
            output = network.forward(x)
        outputs.append(output)
    for test in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(test(outputs[0]), test(outputs[1]))
    for network in pair(make, xpnn.MeanSquaredError):
        before = network.parameters.values.copy(), network.parameters.buffers.copy()
        try:
            network.train(x, np.zeros((6, 4)))
        except xpnn.DivergenceError:
            assert (network.parameters.values.array == before[0]).all()
            assert (network.parameters.buffers.array == before[1]).all()
            assert network.steps == 0
        else:  # an activation that is bounded, or flat
            assert activation in ("ReLU", "Sigmoid", "Tanh", "ELU")
            assert bad in (math.inf, -math.inf)
            assert np.isfinite(outputs[1]).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("penalty", ["none", "L2", "L1"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gradient_that_is_not_finite(optimizer, penalty, bad):
    class Loss(xpnn.Loss):
        spoil = False

        def forward(self, input, target):
            self.cache["gradient"] = input - target
            return ((input - target) ** 2).sum()

        def backward(self):
            gradient = self.saved("gradient")
            if self.spoil:
                gradient[0, 0] = bad
            return gradient

    network, _ = pair(
        lambda: [L.Linear(3, 2)], Loss, OPTIMIZERS[optimizer], regularization=PENALTIES[penalty]()
    )
    x, y = np.ones((2, 3)), np.zeros((2, 2))
    network.train(x, y)
    before = network.parameters.values.copy()
    state = {name: value.copy() for name, value in network.optimizer_state.items()}
    network.loss.spoil = True
    with pytest.raises(xpnn.DivergenceError, match="gradient is not finite"):
        network.train(x, y)
    assert (network.parameters.values.array == before).all()
    for name, value in network.optimizer_state.items():
        assert (value == state[name]).all()
    assert network.steps == 1
    network.loss.spoil = False
    network.train(x, y)
    assert network.steps == 2


def test_penalty_that_overflows_leaves_parameters_alone():
    network, _ = pair(lambda: [L.Linear(3, 2)], regularization=xpnn.L2(1.0))
    network.layers[0].params["W"][:] = 1e30
    with np.errstate(all="ignore"), pytest.raises(xpnn.DivergenceError, match="loss is inf"):
        network.train(np.zeros((2, 3)), [0, 1])
    assert (network.layers[0].params["W"] == np.float32(1e30)).all()


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("optimizer", [xpnn.SGD, xpnn.Adam])
def test_clipping_of_a_norm_whose_square_overflows(optimizer, penalty):
    fused, plain = pair(
        lambda: [L.Linear(2, 2000)],
        xpnn.MeanSquaredError,
        lambda: optimizer(0.1, clip_norm=0.5),
        regularization=PENALTIES[penalty](),
    )
    x, y = np.asarray([[1e11, 2e11], [3e11, -4e11]]), np.full((2, 2000), 1e15)
    before = fused.parameters.values.copy()
    for network in (fused, plain):
        network.train(x, y)
    assert_same_state(fused, plain, "float32")
    moved = np.linalg.norm(fused.parameters.values.array - before)
    assert optimizer is xpnn.Adam or math.isclose(moved, 0.05, rel_tol=1e-3)


def test_wrong_label_is_found_and_leaves_no_trace():
    fused, _ = pair(lambda: [L.Linear(3, 4), L.BatchNorm(4), L.ReLU()])
    before = fused.parameters.values.copy(), fused.parameters.buffers.copy()
    for labels in ([0, 4], [0, -1]):
        with pytest.raises(xpnn.DataError, match="labels"):
            fused.train(np.ones((2, 3)), np.asarray(labels))
    assert (fused.parameters.values.array == before[0]).all()
    assert (fused.parameters.buffers.array == before[1]).all()
    for labels in ([0, 1, 2], [0]):
        with pytest.raises(xpnn.ShapeError):
            fused.train(np.ones((2, 3)), np.asarray(labels))


# ------------------------------------------------------------------ data of every kind


def test_targets_of_every_kind():
    rng = np.random.default_rng(6)
    x, labels = rng.standard_normal((6, 3)), rng.integers(0, 4, 6)
    for target in (
        labels.astype(np.uint8),
        labels.tolist(),
        labels[:, None],
        labels.astype(np.float32),
        np.eye(4)[labels],
        np.repeat(labels, 2)[::2],
    ):
        fused, plain = pair(lambda: [L.Linear(3, 4)])
        assert_close(fused.train(x, target)[1], plain.train(x, target)[1], "float32")
        assert_same_state(fused, plain, "float32")
    fused, plain = pair(lambda: [L.Linear(3, 4)])
    weight = rng.uniform(size=6)
    assert_close(fused.train(x, labels, weight)[1], plain.train(x, labels, weight)[1], "float32")


@each_dtype
def test_labels_of_sequences(dtype):
    """The loss of each step, (N, T, K) and (N, T), by the same kernel."""
    rng = np.random.default_rng(8)
    x, labels = rng.standard_normal((6, 5, 3)), rng.integers(0, 4, (6, 5))
    fused, plain = pair(lambda: [L.Linear(3, 4)], dtype=dtype)
    for _ in range(3):
        for net in (fused, plain):
            net.found = net.train(x, labels)
        assert_close(fused.found[1], plain.found[1], dtype)
        assert fused.found[0].shape == (6, 5, 4)
        assert fused.loss.weight_sum == plain.loss.weight_sum == 30.0
    assert_same_state(fused, plain, dtype)
    assert "fused by Numba" in str(xpnn.fusion.plan(fused))
    labels[4, 2] = 4
    with pytest.raises(xpnn.DataError, match="got 4 in row 4, step 2"):
        fused.train(x, labels)


@pytest.mark.parametrize("first", [lambda: L.Linear(4, 3), lambda: L.BatchNorm(4), L.Tanh])
def test_inputs_of_every_kind(first):
    rng = np.random.default_rng(7)
    x = rng.standard_normal((6, 4)).astype(np.float32)
    read_only = x.copy()
    read_only.flags.writeable = False
    misaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(6, 4)
    variants = {
        "read-only": read_only,
        "Fortran order": np.asfortranarray(x),
        "strided": np.repeat(x, 2, axis=1)[:, ::2],
        "reversed": x[::-1][::-1],
        "misaligned": misaligned,
        "float64": x.astype(np.float64),
        "other byte order": x.astype(">f4"),
        "list": x.tolist(),
    }
    reference, _ = pair(lambda: [first(), L.ReLU()], xpnn.MeanSquaredError)
    y = np.zeros(reference.eval(x).shape)
    expected, loss = reference.train(x, y)
    test = reference.eval(x)
    for name, variant in variants.items():
        network, _ = pair(lambda: [first(), L.ReLU()], xpnn.MeanSquaredError)
        before = copy.deepcopy(variant)
        output, found = network.train(variant, y)
        assert (output == expected).all(), name
        assert found == loss, name
        assert (network.eval(variant) == test).all(), name
        assert np.array_equal(variant, before), name


# ------------------------------------------------------------------ what leaves a plan


class Recorder(L.Layer):
    """Keeps what it sees, as a user's layer may."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, Any]] = []

    def forward(self, input):
        self.seen.append((input, input.copy()))
        return input

    def backward(self, dout):
        self.seen.append((dout, dout.copy()))
        return dout


@pytest.mark.parametrize("kernels", [True, False])
def test_nothing_that_left_is_overwritten(kernels):
    recorder = Recorder()
    layers = [
        L.Linear(4, 5),
        L.ReLU(),
        L.Flatten(),
        recorder,
        L.Flatten(),
        L.Linear(5, 6),
        L.Linear(6, 3),
        L.Flatten(),
        L.Dropout(0.0),
    ]
    network = xpnn.Sequential(layers, xpnn.MeanSquaredError(), lr=0.1, seed=0)
    network.planner = lambda: xpnn.fusion.plan(network, kernels)
    rng = np.random.default_rng(8)
    outputs = []
    for _ in range(4):
        x, y = rng.standard_normal((7, 4)), rng.standard_normal((7, 3))
        for output in (network.train(x, y)[0], network.eval(x)):
            outputs.append((output, output.copy()))
    assert len(recorder.seen) == 12
    for given, then in outputs + recorder.seen:
        assert (given == then).all()


def test_plan_holds_no_data_after_a_step():
    import gc
    import weakref

    network, _ = pair(lambda: [L.Dropout(0.5), L.Linear(4, 3), L.ReLU(), L.Linear(3, 2)])
    x = np.ones((5, 4), np.float32)
    seen = weakref.ref(x)
    network.train(x, [0, 1, 0, 1, 0])
    with pytest.raises(xpnn.DataError):
        network.train(x, [0, 1, 0, 1, 9])
    del x
    gc.collect()
    assert seen() is None


# ------------------------------------------------------------------ what is fused


def test_printed_plan():
    layers = [
        L.Linear(4, 8),
        L.BatchNorm(8),
        L.ReLU(),
        L.Dropout(0.5),
        L.Softplus(),
        Own(),
        L.Linear(8, 3),
    ]
    network = xpnn.Sequential(
        layers, xpnn.SoftmaxCrossEntropy(label_smoothing=0.1), optimizer=xpnn.Adam(), seed=0
    )
    lines = str(xpnn.fusion.plan(network)).splitlines()
    assert lines[0] == "Plan on numpy on cpu, float32"
    assert [line.split()[0] for line in lines[1:]] == [
        "layers",
        "0-3",
        "4",
        "5",
        "6",
        "loss",
        "update",
    ]
    assert lines[2].endswith("fused by Numba: Linear + BatchNorm + ReLU + Dropout")
    assert lines[3].endswith("the layer itself: there is no kernel for it")
    assert lines[4].endswith("the layer itself: not a class of xpnn's")
    assert lines[5].endswith(("into buffers, by BLAS", "into buffers, by xpnn's tiles"))
    assert "the loss itself" in lines[6]
    assert lines[7].endswith("fused by Numba")


def test_longest_rule_first():
    def steps(*layers: L.Layer) -> list[str]:
        return steps_of(xpnn.Sequential(layers, xpnn.MeanSquaredError(), lr=0.1))

    norm, linear = L.BatchNorm(4), L.Linear(4, 4)
    assert steps(linear, norm, L.ReLU(), L.Dropout(0.1)) == ["ChainStep:4"]
    assert steps(linear, L.ReLU(), norm, L.Dropout(0.1)) == ["ChainStep:2", "ChainStep:2"]
    assert steps(norm, linear, L.Linear(4, 4)) == ["ChainStep:1", "LinearStep:1", "LinearStep:1"]
    assert steps(L.Dropout(0.1), L.Tanh(), L.Softmax()) == [
        "ChainStep:1",
        "ChainStep:1",
        "LayerStep:1",
    ]


def test_a_users_own_is_left_alone():
    changed = L.ReLU()
    changed.forward = lambda input: input + 1.0
    changed.backward = lambda dout: dout
    network = xpnn.Sequential(
        [L.Linear(2, 2), Own(), changed], xpnn.MeanSquaredError(), lr=0.1, seed=0
    )
    assert steps_of(network) == ["LinearStep:1", "LayerStep:1", "LayerStep:1"]
    x = np.ones((1, 2))
    expected = 0.5 * network.layers[0].forward(x.astype(np.float32)) + 1.0
    np.testing.assert_array_equal(network.eval(x), expected)
    np.testing.assert_array_equal(network.train(x, np.zeros((1, 2)))[0], expected)

    class Slower(xpnn.SGD):
        def update(self, values, grads, state, lr, step):
            return super().update(values, grads, state, 0.5 * lr, step)

    class Double(xpnn.L2):
        def forward(self, param):
            return 2.0 * super().forward(param)

    class Cost(xpnn.SoftmaxCrossEntropy):
        pass

    plan = xpnn.fusion.plan(xpnn.Sequential([L.Linear(2, 2)], Cost(), optimizer=Slower(0.1)))
    assert plan.loss is None
    assert plan.update is None
    fused, plain = pair(lambda: [L.Linear(2, 2)], regularization=Double(0.1))
    assert_close(fused.train(x, [1])[1], plain.train(x, [1])[1], "float32")
    assert_same_state(fused, plain, "float32")


def test_fuse_false_runs_the_layers(monkeypatch):
    _, plain = pair(lambda: [L.Linear(2, 2), L.ReLU()])
    monkeypatch.setattr(xpnn.Network, "planner", None)
    fused, _ = pair(lambda: [L.Linear(2, 2), L.ReLU()])
    for network in (plain, fused):
        network.train(np.ones((1, 2)), [1])
        network.eval(np.ones((1, 2)))
        assert network._plan is None
    assert plain.fuse is False


def test_changes_are_noticed():
    def make() -> list[L.Layer]:
        return [L.Linear(4, 6), L.LeakyReLU(0.1), L.Dropout(0.5), L.Linear(6, 3)]

    def dropout(network):
        network.layers[2].p = 0.25

    def no_dropout(network):
        network.layers[2].p = 0.0

    def all_dropped(network):
        network.layers[2].p = 1.0

    def slope(network):
        network.layers[1].slope = 0.4

    def momentum(network):
        network.optimizer.momentum = 0.5

    def optimizer(network):
        network.optimizer = xpnn.Adam(1e-3, epsilon=1e-3)

    def penalty(network):
        network.regularization = xpnn.L2(0.01)

    def weaker_penalty(network):
        network.regularization.weight = 0.001

    def loss(network):
        network.loss = xpnn.SoftmaxCrossEntropy(label_smoothing=0.1)

    def smoothing(network):
        network.loss.label_smoothing = 0.0

    def rate(network):
        network.lr = 0.02

    def assigned(network):
        network.layers[0].params["W"] = np.ones((4, 6))
        network.layers[3].params = {"W": np.ones((6, 3)), "b": np.zeros(3)}

    def activation(network):
        network.optimizer_state = {}
        network.layers[1] = L.Tanh()

    def shorter(network):
        network.optimizer_state = {}
        del network.layers[2]

    fused, plain = pair(make)
    rng = np.random.default_rng(9)
    for change in (
        dropout, no_dropout, all_dropped, dropout, slope, momentum, optimizer, penalty,
        weaker_penalty, loss, smoothing, rate, assigned, activation, shorter,
    ):  # fmt: skip
        for network in (fused, plain):
            change(network)
        for _ in range(2):
            x, y = rng.standard_normal((5, 4)), rng.integers(0, 3, 5)
            actual, expected = fused.train(x, y), plain.train(x, y)
            assert_close(actual[0], expected[0], "float32", 10)
            assert_close(actual[1], expected[1], "float32", 10)
        assert_same_state(fused, plain, "float32", 10)


def test_masks_are_those_of_the_stream():
    network, _ = pair(lambda: [L.Linear(7, 5, weight_initializer="ones"), L.Dropout(0.3)])
    for step in range(3):
        output, _ = network.train(np.ones((9, 7)), np.zeros(9, int))
        mask = xpnn.random.Stream(5, 4, step).mask((9, 5), 0.3)
        np.testing.assert_array_equal(output != 0, mask)


def test_other_libraries_are_left_alone(backend):
    network = xpnn.Sequential(
        [L.Linear(3, 4), L.ReLU()], xpnn.SoftmaxCrossEntropy(), lr=0.1, backend=backend.plain
    )
    expected = ["ChainStep:2"] if backend.library == "numpy" else ["LayerStep:1", "LayerStep:1"]
    assert steps_of(network) == expected
    network.train(backend.asarray(np.ones((2, 3))), np.asarray([0, 1]))


# ------------------------------------------------------------------ without Numba


@pytest.fixture
def no_numba(monkeypatch):
    monkeypatch.setattr(planning, "why_no_kernels", lambda: "Numba is not installed")


@pytest.mark.usefixtures("no_numba")
def test_the_plan_says_of_every_layer_that_numba_is_missing():
    layers = [L.Conv2d(1, 2, 3), L.BatchNorm2d(2), L.Residual([L.ReLU()]), L.Recompute([L.Tanh()])]
    layers += [L.MaxPool2d(2), L.Softplus()]
    net = xpnn.Sequential(layers, xpnn.MeanSquaredError(), lr=0.1)
    remarks = [step.remark for step in xpnn.fusion.plan(net).steps]
    assert remarks[:5] == ["the layer itself: Numba is not installed"] * 5
    assert remarks[5] == "the layer itself: there is no kernel for it"


def test_a_numba_that_does_not_work_is_said_and_the_layers_run():
    program = """
import sys, warnings
import numpy as np
sys.modules["numba.core"] = None  # what it needs
import xpnn
net = xpnn.Sequential([xpnn.Linear(2, 2)], xpnn.MeanSquaredError(), lr=0.1, seed=0)
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    for _ in range(2):
        net.train(np.ones((3, 2)), np.ones((3, 2)))
assert [str(each.message)[:17] for each in found] == ["no fused kernels:"]
assert "Numba does not work here" in str(xpnn.fusion.plan(net))
assert "the rest on the thread that calls" in xpnn.fusion.threads.describe()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.usefixtures("no_numba")
@each_dtype
def test_portable_plan(dtype):
    def make() -> list[L.Layer]:
        first = [L.Flatten(), L.Linear(4, 6), L.BatchNorm(6), L.ReLU(), L.Dropout(0.5)]
        return [*first, L.Linear(6, 5, bias=False), L.Linear(5, 3)]

    fused, plain = pair(make, regularization=xpnn.L2(0.01), dtype=dtype)
    kinds = ["LayerStep:1", "LinearStep:1", *["LayerStep:1"] * 3, *["LinearStep:1"] * 2]
    assert steps_of(fused) == kinds
    assert "Numba is not installed" in str(xpnn.fusion.plan(fused))
    rng = np.random.default_rng(10)
    for rows in (8, 8, 1, 12, 8):
        x, y = rng.standard_normal((rows, 2, 2)), rng.integers(0, 3, rows)
        assert_close(fused.train(x, y)[1], plain.train(x, y)[1], dtype, 5)
        assert_close(fused.eval(x), plain.eval(x), dtype, 5)
    assert_same_state(fused, plain, dtype, 5)
    assert all(not layer.cache for layer in fused.layers)


@pytest.mark.parametrize("kernels", [True, False])
def test_no_gradient_by_the_input(monkeypatch, kernels):
    """One product for each Linear forward, two backward, but one for the first."""
    network, _ = pair(lambda: [L.ReLU(), L.Linear(4, 6), L.ReLU(), L.Linear(6, 3)])
    network.planner = lambda: xpnn.fusion.plan(network, kernels)
    calls = []
    for module in (steps, chain):
        multiply = module.multiply
        monkeypatch.setattr(
            module, "multiply", lambda *a, m=multiply, **k: calls.append(1) or m(*a, **k)
        )
    network.train(np.ones((2, 4)), [0, 1])
    assert len(calls) == 5


# ------------------------------------------------------------------ copies and threads


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_go_on_alike(clone):
    network, _ = pair(lambda: [L.Linear(4, 6), L.BatchNorm(6), L.ReLU(), L.Dropout(0.5)])
    rng = np.random.default_rng(11)
    batches = [(rng.standard_normal((5, 4)), rng.integers(0, 6, 5)) for _ in range(6)]
    for x, y in batches[:3]:
        network.train(x, y)
    twin = clone(network)
    for x, y in batches[3:]:
        assert network.train(x, y)[1] == twin.train(x, y)[1]
    assert (network.parameters.values.array == twin.parameters.values.array).all()
    assert (network.parameters.buffers.array == twin.parameters.buffers.array).all()


def test_networks_in_threads():
    """Four networks train at once, and one predicts in four threads."""

    def make() -> list[L.Layer]:
        return [L.Linear(8, 64), L.LayerNorm(64), L.GELU(), L.Dropout(0.5), L.Linear(64, 4)]

    rng = np.random.default_rng(12)
    batches = [(rng.standard_normal((32, 8)), rng.integers(0, 4, 32)) for _ in range(40)]
    x = rng.standard_normal((200, 8)).astype(np.float32)

    def train(network: xpnn.Sequential) -> None:
        for batch in batches:
            network.train(*batch)

    reference, _ = pair(make)
    train(reference)
    expected = reference.eval(x)
    networks = [pair(make)[0] for _ in range(4)]
    predicted: list[Any] = []

    def work(network: xpnn.Sequential) -> None:
        train(network)
        predicted.extend(reference.eval(x) for _ in range(20))

    workers = [threading.Thread(target=work, args=(network,)) for network in networks]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(predicted) == 80
    assert all((output == expected).all() for output in predicted)
    for network in networks:
        assert (network.parameters.values.array == reference.parameters.values.array).all()


def test_number_of_threads():
    before = xpnn.fusion.num_threads()
    if before is None:
        pytest.skip("this NumPy has no OpenBLAS of its own")
    try:
        xpnn.fusion.set_num_threads(2)
        assert xpnn.fusion.num_threads() == 2
        xpnn.fusion.set_num_threads(1)
        assert xpnn.fusion.num_threads() == 1
    finally:
        xpnn.fusion.set_num_threads(before)
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(xpnn.ConfigurationError, match="threads"):
            xpnn.fusion.set_num_threads(wrong)


def test_number_of_threads_from_the_environment():
    if xpnn.fusion.num_threads() is None:
        pytest.skip("this NumPy has no OpenBLAS of its own")

    def run(value: str) -> subprocess.CompletedProcess[str]:
        program = "import xpnn; print(xpnn.fusion.num_threads())"
        environment = {**os.environ, "XPNN_NUM_THREADS": value}
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert run("2").stdout.strip() == "2"
    assert "XPNN_NUM_THREADS: expected a whole number, got 'many'" in run("many").stderr


def test_state_of_another_layout_is_copied_and_of_another_shape_refused():
    fused, plain = pair(lambda: [L.Linear(3, 4)], optimizer=xpnn.Adam)
    x, y = np.ones((2, 3)), [0, 1]
    for network in (fused, plain):
        network.train(x, y)
        strided = np.repeat(network.optimizer_state["mean"], 2)[::2]
        network.optimizer_state["mean"] = strided
        network.train(x, y)
    assert_same_state(fused, plain, "float32")
    fused.optimizer_state["mean"] = np.zeros(3, np.float32)
    with pytest.raises(xpnn.ShapeError, match="'mean' of shape"):
        fused.train(x, y)


@pytest.mark.parametrize("make", [xpnn.SGD, xpnn.RMSprop])
def test_momentum_may_come_and_go(make):
    nets = pair(lambda: [L.Linear(3, 4)], optimizer=lambda: make(0.1, clip_norm=1.0))
    x, y = np.random.default_rng(14).standard_normal((5, 3)), [0, 1, 2, 3, 0]
    for momentum in (0.0, 0.9, 0.9, 0.0, 0.5):
        for network in nets:
            network.optimizer.momentum = momentum
            network.train(x, y)
        assert_same_state(*nets, "float32")


def test_settings_may_be_integers():
    fused, plain = pair(lambda: [L.Linear(3, 4), L.LeakyReLU(0), L.ELU(1), L.Dropout(0)])
    for network in (fused, plain):
        network.layers[1].slope, network.layers[2].alpha = 0, 2
        network.optimizer.lr, network.optimizer.momentum = 1, 0
        network.optimizer.clip_norm = 1
    x = np.random.default_rng(13).standard_normal((2, 3))
    assert_close(fused.train(x, [0, 1])[1], plain.train(x, [0, 1])[1], "float32")
    assert_same_state(fused, plain, "float32")
