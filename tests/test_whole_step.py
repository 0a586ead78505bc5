"""The whole step under `jax.jit` against the layers one by one."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xpnn
from nets import snapshot
from tolerances import assert_close
from xpnn import layers as L
from xpnn._standard import from_host
from xpnn.fusion import whole_step
from xpnn.fusion.traced import count_operations
from xpnn.layers import _correlation

jax = pytest.importorskip("jax")


@pytest.fixture(autouse=True)
def single():
    """JAX as most people have it, without float64; a test that needs more asks for it."""
    with jax.enable_x64(False):
        yield


def make(
    layers: list[L.Layer],
    loss: Any = None,
    optimizer: Any = None,
    backend: str = "jax",
    **more: Any,
) -> xpnn.Sequential:
    loss = xpnn.SoftmaxCrossEntropy() if loss is None else loss
    optimizer = xpnn.SGD(0.05) if optimizer is None else optimizer
    return xpnn.Sequential(
        layers, loss, optimizer=optimizer, backend=backend, **{"seed": 5, **more}
    )


def small(**more: Any) -> xpnn.Sequential:
    """A network that is quickly compiled."""
    return make([L.Linear(4, 6), L.Tanh(), L.Linear(6, 3)], **more)


def batch(rows: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 4)), rng.integers(0, 3, rows)


def whole(network: xpnn.Network) -> Any:
    return network._plan.whole


def compiled(network: xpnn.Network) -> int:
    """How many training steps were compiled, and that none was so twice."""
    runs = [traced.run for traced in whole(network)._batches.values()]
    assert all(run._cache_size() == 1 for run in runs)
    return len(runs)


# ------------------------------------------------------------------ the same training


def mlp() -> tuple[list[L.Layer], Any, Any, Any]:
    layers = [L.Linear(6, 16), L.BatchNorm(16), L.ReLU(), L.Dropout(0.5), L.Linear(16, 4)]
    return layers, xpnn.SoftmaxCrossEntropy(), xpnn.SGD(0.02, momentum=0.9), xpnn.L2(1e-3)


def scheduled() -> tuple[list[L.Layer], Any, Any, Any]:
    layers = [L.Dropout(0.1), L.Linear(6, 12), L.LayerNorm(12), L.GELU(), L.Linear(12, 4)]
    optimizer = xpnn.AdamW(xpnn.Cosine(1e-3, steps=150), epsilon=1e-2, clip_norm=0.3)
    loss = xpnn.SoftmaxCrossEntropy(class_weight=[1, 2, 0.5, 1], label_smoothing=0.1)
    return layers, loss, optimizer, xpnn.ElasticNet(1e-4, 1e-3, roles={"weight"})


def images() -> tuple[list[L.Layer], Any, Any, Any]:
    layers = [
        L.Conv2d(2, 3, 3, padding=1),
        L.BatchNorm2d(3),
        L.ReLU(),
        L.MaxPool2d(2),
        L.Dropout2d(0.3),
        L.Flatten(),
        L.Linear(12, 4),
    ]
    optimizer = xpnn.RMSprop(1e-4, epsilon=1e-2, momentum=0.5)
    return layers, xpnn.SoftmaxCrossEntropy(), optimizer, xpnn.L1(1e-4, roles={"weight"})


def sequences() -> tuple[list[L.Layer], Any, Any, Any]:
    inside = [L.LSTM(3, 5), L.LastStep()]
    layers = [L.Masked(inside, padding=9.0), L.Dropout(0.2), L.Linear(5, 4)]
    optimizer = xpnn.Adagrad(1e-2, epsilon=1e-2, clip_value=0.05, weight_decay=0.01)
    return layers, xpnn.SoftmaxCrossEntropy(), optimizer, None


def composites() -> tuple[list[L.Layer], Any, Any, Any]:
    block = L.Residual([L.Linear(6, 6), L.SiLU(), L.Dropout(0.3)])
    layers = [block, L.Parallel([[], [L.Linear(6, 3), Own()]]), L.Linear(9, 4)]
    return layers, xpnn.SoftmaxCrossEntropy(), xpnn.Adam(1e-3, epsilon=1e-2), Cubes(1e-4)


class Own(L.Layer):
    """A layer as users write them, with a parameter and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.params["s"] = np.ones(3)
        self.offset = np.asarray([0.1, -0.2, 0.3], dtype=np.float32)

    def forward(self, input):
        self.cache["input"] = input
        return input * self.params["s"] + self.backend_offset(input)

    def backend_offset(self, input):
        return from_host(self.offset, like=input)

    def backward(self, dout):
        self.grads["s"] = (dout * self.cache.pop("input")).sum(axis=0)
        return dout * self.params["s"]


class Cubes(xpnn.Regularization):
    """A penalty as users write them."""

    def forward(self, param):
        return self.weight * abs(param**3).sum()

    def backward(self, param):
        return 3 * self.weight * param * abs(param)


NETWORKS = {
    "mlp": (mlp, (6,)),
    "scheduled": (scheduled, (6,)),
    "images": (images, (2, 4, 4)),
    "sequences": (sequences, (4, 3)),
    "composites": (composites, (6,)),
}


def assert_same_training(name: str, dtype: str, steps: int, limit: float) -> None:
    """Losses, outputs and all that is kept are those of the layers on NumPy, step by step."""
    recipe, shape = NETWORKS[name]
    networks = []
    for backend, fuse in (("jax", True), ("numpy", False)):
        layers, loss, optimizer, penalty = recipe()
        more = {"regularization": penalty, "dtype": dtype, "fuse": fuse}
        networks.append(make(layers, loss, optimizer, backend, **more))
    fused, plain = networks
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, *shape))
    found, expected = [], []
    for step in range(steps):
        labels = rng.integers(0, 4, 7 if step % 10 == 9 else 24)
        x = centres[labels] + 0.5 * rng.standard_normal((len(labels), *shape))
        if name == "sequences":
            x[::3, 2:] = 9.0
        weight = rng.uniform(size=len(labels)) if name == "scheduled" else None
        output, loss = fused.train(x, labels, weight)
        expected_output, expected_loss = plain.train(x, labels, weight)
        found.append(loss)
        expected.append(expected_loss)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=limit)
    assert_close(output, expected_output, dtype, 20)
    assert_close(fused.eval(x), plain.eval(x), dtype, 20)
    assert compiled(fused) == 2
    assert (fused.steps, [layer.step for layer in fused.layers]) == (
        plain.steps,
        [layer.step for layer in plain.layers],
    )
    assert fused.loss.weight_sum is not None
    assert math.isclose(float(fused.loss.weight_sum), float(plain.loss.weight_sum), rel_tol=1e-6)
    after, before = snapshot(fused), snapshot(plain)
    assert after.keys() == before.keys()
    for key, value in before.items():
        assert_close(after[key], value, dtype, 20)
    for key, layer in fused.parameters.layers.items():
        assert not layer.cache
        if penalty is None:  # whose gradient NumPy adds in place
            for part, value in plain.parameters.layers[key].grads.items():
                assert_close(layer.grads[part], value, dtype, 40)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_is_that_of_the_layers(name):
    assert_same_training(name, "float32", 200, 1e-5)


def test_a_training_in_double_precision():
    with jax.enable_x64(True):
        assert_same_training("mlp", "float64", 200, 1e-11)


def test_masks_are_those_of_the_stream():
    network = make([L.Dropout(0.4)], xpnn.MeanSquaredError(), seed=3)
    ones = np.ones((5, 7))
    for step in range(3):
        output, _ = network.train(ones, ones)
        expected = xpnn.random.Stream(3, 2, step).mask((5, 7), 0.4)
        np.testing.assert_array_equal(np.asarray(output) != 0, expected)
    assert compiled(network) == 1


def test_a_network_of_ones_own():
    class Twice(xpnn.Network):
        def __init__(self, fuse: bool) -> None:
            super().__init__(xpnn.SoftmaxCrossEntropy(), 0.1, backend="jax", seed=1, fuse=fuse)
            self.first, self.second, self.factor = L.Linear(4, 4), L.Linear(4, 3), 2.0

        def forward(self, input):
            return self.second.forward(input + self.factor * self.first.forward(input))

        def backward(self, dout):
            dsum = self.second.backward(dout)
            return dsum + self.first.backward(self.factor * dsum)

    fused, plain = Twice(True), Twice(False)
    for step in range(4):
        if step == 2:
            fused.factor = plain.factor = -1.0  # compiled anew
        assert_close(fused.train(*batch())[1], plain.train(*batch())[1], "float32")
    assert compiled(fused) == 1


# ------------------------------------------------------------------ what is noticed


def test_rates_do_not_compile_anew_and_settings_do():
    network, plain = (
        make(
            [L.Linear(4, 6), L.LeakyReLU(0.1), L.Dropout(0.5), L.Linear(6, 3)],
            optimizer=xpnn.SGD(xpnn.Exponential(0.1, 0.9)),
            backend=backend,
            fuse=backend == "jax",
        )
        for backend in ("jax", "numpy")
    )

    def both(change: Callable[[xpnn.Sequential], object] | None) -> Any:
        for each in (network, plain):
            if change is not None:
                change(each)
        for _ in range(2):
            assert_close(network.train(*batch())[1], plain.train(*batch())[1], "float32")
        return network._plan

    first = both(None)
    assert both(lambda net: setattr(net, "lr", 0.3)) is first
    changes: list[Callable[[xpnn.Sequential], object]] = [
        lambda net: setattr(net.layers[2], "p", 0.25),
        lambda net: setattr(net, "regularization", xpnn.L2(0.1)),
        lambda net: setattr(net.regularization, "weight", 0.2),
        lambda net: setattr(net, "optimizer", xpnn.Adam(1e-2, epsilon=1e-2)),
        lambda net: setattr(net, "loss", xpnn.SoftmaxCrossEntropy(label_smoothing=0.2)),
    ]
    for change in changes:
        plan = both(change)
        assert plan is not first
        first = plan
    network.optimizer = plain.optimizer = xpnn.SGD(0.1)
    for each in (network, plain):
        each.layers[1:2] = [L.Tanh(), L.Sigmoid()]
        each.optimizer_state = {}
    both(None)


@pytest.mark.parametrize("kind", [xpnn.SGD, xpnn.RMSprop])
def test_momentum_may_come_and_go(kind):
    network, plain = (small(optimizer=kind(0.1), backend=name) for name in ("jax", "numpy"))
    plain.fuse = False
    for momentum in (0.0, 0.9, 0.9, 0.0, 0.5):
        for each in (network, plain):
            each.optimizer.momentum = momentum
            each.train(*batch())
        assert network.optimizer_state.keys() == plain.optimizer_state.keys()
        for name, vector in plain.optimizer_state.items():
            assert_close(network.optimizer_state[name], vector, "float32")


def test_parameters_that_somebody_sets_are_used():
    network, plain = small(), small(backend="numpy", fuse=False)
    for each in (network, plain):
        each.train(*batch())
        each.layers[0].params["W"] = 0.5 * np.asarray(each.layers[0].params["W"])
        each.train(*batch())
        each.parameters.values.array = each.parameters.values.array * 0.5
    assert_close(network.train(*batch())[1], plain.train(*batch())[1], "float32")
    assert_close(network.eval(batch()[0]), plain.eval(batch()[0]), "float32")


def test_nothing_that_somebody_holds_is_given_away():
    weights = jax.numpy.ones((4, 6))
    network = small(optimizer=xpnn.Adam())
    network.layers[0].params["W"] = weights
    held: list[Any] = [weights]
    for _ in range(3):
        held += network.train(*batch())
        held += [*network.layers[0].params.values(), dict(network.layers[2].params)["b"]]
        held += [network.parameters.values.array, network.optimizer_state["mean"]]
        held += [network.layers[0].grads["W"], network.eval(batch()[0])]
    network.train(*batch())
    assert all(np.isfinite(np.asarray(array)).all() for array in held)


def test_copies_files_and_moves(tmp_path):
    network = small(optimizer=xpnn.Adam(1e-2))
    network.train(*batch())
    others = [copy.deepcopy(network), pickle.loads(pickle.dumps(network))]
    moved = copy.deepcopy(network).to(backend="numpy")
    network.save(tmp_path / "model.xpnn")
    xpnn.load(tmp_path / "model.xpnn")
    expected = float(network.train(*batch())[1])
    for other in (*others, moved):
        assert math.isclose(float(other.train(*batch())[1]), expected, rel_tol=1e-6)


def test_the_best_weights_come_back():
    x, y = batch(20)
    network = small(optimizer=xpnn.SGD(0.5))
    xpnn.fit(network, (x, y), 6, 8, validation=(x, y), callbacks=[xpnn.EarlyStopping(patience=2)])
    history = xpnn.fit(
        network, (x, y), 4, 8, validation=(x, y), callbacks=[xpnn.EarlyStopping(patience=2)]
    )
    found = xpnn.evaluate(network, (x, y))["loss"]
    assert math.isclose(found, min(history["val_loss"]), rel_tol=1e-5)


def test_divergence_changes_nothing():
    network = small(optimizer=xpnn.Adam(1e-2))
    x, y = batch()
    network.train(x, y)
    before = snapshot(network)
    bad = x.copy()
    bad[2, 1] = math.inf
    for data in (bad, x):  # no update after the first such step
        assert math.isnan(float(network.train(data, y)[1]))
    after = snapshot(network)
    for key, value in before.items():
        if not key.startswith("state") and key != "steps":
            np.testing.assert_array_equal(after[key], value, err_msg=key)
    network.reset_divergence()
    assert math.isfinite(float(network.train(x, y)[1]))
    with pytest.raises(xpnn.DivergenceError):
        xpnn.fit(network, (bad, y), 1, check_finite=False)


def test_clipping_of_a_norm_whose_square_overflows():
    network, plain = (
        make([L.Linear(2, 3)], xpnn.MeanSquaredError(), xpnn.SGD(0.1, clip_norm=0.5), backend=name)
        for name in ("jax", "numpy")
    )
    x, y = np.asarray([[1e11, 2e11], [3e11, -4e11]]), np.full((2, 3), 1e15)
    before = plain.parameters.values.copy()
    for each in (network, plain):
        each.train(x, y)
    assert compiled(network) == 1
    moved = np.asarray(network.parameters.values.array)
    assert_close(moved, plain.parameters.values.array, "float32")
    assert math.isclose(np.linalg.norm(moved - before), 0.05, rel_tol=1e-3)


def test_wrong_batches_leave_no_trace():
    network = small()
    x, y = batch()
    for _ in range(2):  # before and after the first trace
        before = snapshot(network)
        with pytest.raises(xpnn.DataError, match="labels"):
            network.train(x, y + 3)
        for bad in ((x, y[:-1]), (x[:, :3], y)):
            with pytest.raises(xpnn.ShapeError):
                network.train(*bad)
        after = snapshot(network)
        assert all((after[key] == value).all() for key, value in before.items() if key != "steps")
        network.train(x, y)


def test_states_of_a_recurrent_layer_come_out():
    def recurrent(backend: str) -> xpnn.Sequential:
        layers = [L.GRU(2, 3), L.LastStep()]
        return make(layers, xpnn.MeanSquaredError(), backend=backend, fuse=backend == "jax")

    network, plain = recurrent("jax"), recurrent("numpy")
    x, y = np.random.default_rng(1).standard_normal((4, 3, 2)), np.zeros((4, 3))
    for each in (network, plain):
        each.train(x, y)
    for name in ("final", "dinitial"):
        found, expected = (getattr(each.layers[0], name) for each in (network, plain))
        assert_close(found["h"], expected["h"], "float32")
    assert compiled(network) == 1
    for each in (network, plain):  # a state for one batch is nothing to compile for
        each.layers[0].initial = each.layers[0].final
    assert_close(network.train(x, y)[1], plain.train(x, y)[1], "float32")
    assert "'initial' of its own" in str(xpnn.fusion.plan(network))


# ------------------------------------------------------------------ what stays as it is


class Passing(L.Layer):
    """What a user's layer may do; a base class."""

    def forward(self, input):
        return self.work(input)

    def backward(self, dout):
        return dout

    def work(self, input):
        raise NotImplementedError


class Looks(Passing):
    def work(self, input):
        return input if float(input.max()) < 1e9 else input * 0


class CallsNumPy(Passing):
    def work(self, input):
        return jax.numpy.asarray(np.clip(np.asarray(input), -0.5, 0.5))


class Counts(Passing):
    calls = 0

    def work(self, input):
        self.calls += 1
        return input * self.calls


class Records(Passing):
    def __init__(self):
        super().__init__()
        self.seen = []

    def work(self, input):
        self.seen.append(input.shape)
        return input


class Draws(Passing):
    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(0)

    def work(self, input):
        return input * float(self.rng.uniform())


RNG = np.random.default_rng(0)


class DrawsElsewhere(Passing):
    def work(self, input):
        return input * float(RNG.uniform())


class WarmsUp(Passing):
    def work(self, input):
        return input * 0.5 if self.step < 2 else input


class Decays(Passing):
    def work(self, input):
        return input * (1.0 / (1 + self.step))


class Averages(Passing):
    """Changes its buffer in test mode."""

    def __init__(self):
        super().__init__()
        self.buffers["tests"] = np.zeros(1)

    def work(self, input):
        if self.mode == "test":
            self.buffers["tests"] = self.buffers["tests"] + 1
        return input


REASONS = {
    Looks: "layer 1 (Looks) cannot be traced",
    CallsNumPy: "layer 1 (CallsNumPy) cannot be traced",
    Counts: "changes its attribute 'calls'",
    Records: "changes its attribute 'seen'",
    Draws: "its attribute 'rng' is a Generator",
    DrawsElsewhere: "differs from step to step",
    WarmsUp: "depends on the number of the step",
    Decays: "depends on the number of the step",
    Averages: "changes its arrays in an evaluation",
}


@pytest.mark.parametrize("kind", REASONS, ids=lambda kind: kind.__name__)
def test_what_cannot_be_compiled_runs_as_it_is_and_says_why(kind):
    global RNG
    x, y = batch()
    losses, networks = [], []
    for fuse in (True, False):
        RNG = np.random.default_rng(0)
        network = make([L.Linear(4, 6), kind(), L.Dropout(0.3), L.Linear(6, 3)], fuse=fuse)
        losses.append([float(network.train(x, y)[1]) for _ in range(4)])
        if kind is not DrawsElsewhere:  # a trace takes numbers, too
            losses[-1].append(np.asarray(network.eval(x)).sum())
        networks.append(network)
    if kind is not DrawsElsewhere:
        np.testing.assert_allclose(*losses, rtol=1e-5)
    first, second = (network.layers[1] for network in networks)
    assert vars(first).get("calls") == vars(second).get("calls")
    assert vars(first).get("seen") == vars(second).get("seen")
    if kind is Averages:
        assert float(first.buffers["tests"][0]) == 1.0
    assert REASONS[kind] in str(xpnn.fusion.plan(networks[0]))


def test_an_optimizer_of_ones_own():
    class Slower(xpnn.SGD):
        def update(self, values, grads, state, lr, step):
            return super().update(values, grads, state, 0.5 * lr, step)

    network, plain = (small(optimizer=Slower(0.1), fuse=fuse) for fuse in (True, False))
    for _ in range(2):
        assert_close(network.train(*batch())[1], plain.train(*batch())[1], "float32")
    text = str(xpnn.fusion.plan(network))
    assert "the optimizer is not a class of xpnn's" in text
    assert "the layer itself: see the last line" in text
    assert "one function" not in text


def test_there_is_an_end_to_compiling(monkeypatch):
    monkeypatch.setattr(whole_step, "MOST_SHAPES", 1)
    network, plain = small(), small(fuse=False)
    for rows in (4, 5):
        assert_close(network.train(*batch(rows))[1], plain.train(*batch(rows))[1], "float32")
    assert compiled(network) == 1
    monkeypatch.setattr(whole_step, "MOST_OPERATIONS", 3)
    network = small()
    network.train(*batch())
    assert "operations" in str(xpnn.fusion.plan(network))


def test_operations_are_counted_inside_of_functions_too():
    inner = jax.jit(lambda x: jax.lax.sin(jax.lax.cos(x)))
    functions = {
        2: lambda x: x + 1 - x,
        3: lambda x: inner(x) * 2,
        4: lambda x: jax.jit(lambda y: inner(y) * 2)(x) * 2,
        5: lambda x: jax.lax.scan(lambda c, _: (inner(c) * 2 + 1, None), x, None, length=9)[0] + x,
        6: lambda x: jax.lax.cond(x > 0, inner, lambda y: y * 2 + 1, x),  # to choose takes two
    }
    for count, function in functions.items():
        trace = jax.make_jaxpr(function)(1.0)
        assert count_operations(trace.jaxpr) == count, trace


def test_the_plan_says_so_and_fuse_turns_it_off():
    network, plain = small(), small(fuse=False)
    for each in (network, plain):
        each.train(*batch())
        each.eval(batch()[0])
    assert plain._plan is None
    text = str(xpnn.fusion.plan(network))
    assert text.startswith("Plan on jax on cpu, float32\n")
    assert "one function under jax.jit for each shape of a batch, 2 compiled so far" in text
    rows = text.splitlines()[2:-1]
    assert all(row.endswith("  in one function with the rest: see the last line") for row in rows)
    assert xpnn.fusion.plan(network, kernels=False).whole is None


# ------------------------------------------------------------------ convolutions

CONVOLUTIONS: dict[str, tuple[Callable[[], L.Layer], tuple[int, ...]]] = {
    "stride and padding": (lambda: L.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2)), (7, 5)),
    "dilation and groups": (lambda: L.Conv2d(4, 6, 3, dilation=(2, 1), groups=2), (8, 6)),
    "same, uneven": (lambda: L.Conv2d(4, 3, (2, 4), padding="same"), (5, 6)),
    "windows that do not fill": (lambda: L.Conv2d(4, 3, 2, stride=3), (7, 6)),
    "each channel by itself": (lambda: L.Conv2d(4, 8, 3, padding=1, groups=4), (5, 5)),
    "transposed": (lambda: L.ConvTranspose2d(4, 3, 3, stride=2, padding=1), (4, 3)),
    "transposed, and more": (
        lambda: L.ConvTranspose2d(4, 6, 3, stride=3, output_padding=2, groups=2),
        (3, 4),
    ),
    "sequences": (lambda: L.Conv1d(4, 5, 3, stride=2, padding=1, dilation=2), (11,)),
}


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_are_those_of_the_layers(name, fuse, monkeypatch):
    """Output, all gradients and an evaluation, by XLA's convolutions and by NumPy's products."""
    recipe, size = CONVOLUTIONS[name]
    x = np.random.default_rng(0).standard_normal((5, 4, *size))
    kind = L.Conv1d if len(size) == 1 else L.Conv2d
    found = []
    for backend in ("jax", "numpy"):
        # The first one is there so that the other one needs the gradient of its input.
        layers = [kind(4, 4, 1), recipe()]
        network = make(layers, xpnn.MeanSquaredError(), backend=backend, fuse=fuse)
        target = np.ones(network.output_shape(x.shape))
        with monkeypatch.context() as patch:
            if backend == "jax":
                patch.delattr(_correlation, "_tiles")  # which nothing may ask for
            output, _ = network.train(x, target)
        network.parameters.gather_grads()
        to_host = network.backend.to_host
        found.append([to_host(a) for a in (output, network.parameters.grads.array)])
        found[-1].append(to_host(network.eval(x)))
        if backend == "jax" and fuse:
            assert "under jax.jit" in str(network._plan)
    for actual, expected in zip(*found, strict=True):
        assert_close(actual, expected, "float32", 20)
