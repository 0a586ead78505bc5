"""Optimizers: paths of parameters against PyTorch's, decay, clipping, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xpnn
from tolerances import assert_close
from xpnn.errors import ConfigurationError
from xpnn.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

STEPS, SIZE, LR = 50, 13, 0.05
START = np.random.default_rng(0).normal(size=SIZE)
#: Curvatures of a bowl and one noisy gradient a step: no step is like another.
CURVATURE = np.logspace(-3, 1, SIZE)
NOISE = np.random.default_rng(1).normal(size=(STEPS, SIZE))
ALL = slice(0, SIZE)

#: Optimizer, the name of PyTorch's, and its settings.
TWINS: list[tuple[Callable[[], Optimizer], str, dict[str, Any]]] = [
    (lambda: SGD(LR), "SGD", {}),
    (lambda: SGD(LR, momentum=0.9), "SGD", {"momentum": 0.9}),
    (lambda: SGD(LR, 0.8, nesterov=True), "SGD", {"momentum": 0.8, "nesterov": True}),
    (lambda: Adam(LR), "Adam", {}),
    (lambda: Adam(LR, 0.8, 0.95, 1e-3), "Adam", {"betas": (0.8, 0.95), "eps": 1e-3}),
    (lambda: Adam(LR, beta1=0.0), "Adam", {"betas": (0.0, 0.999)}),
    (lambda: Adam(LR, weight_decay=0.2), "AdamW", {"weight_decay": 0.2}),
    (lambda: AdamW(LR), "AdamW", {}),
    (lambda: AdamW(LR, weight_decay=0.3), "AdamW", {"weight_decay": 0.3}),
    (lambda: RMSprop(LR), "RMSprop", {"alpha": 0.9}),
    (
        lambda: RMSprop(LR, 0.99, 1e-4, momentum=0.7),
        "RMSprop",
        {"alpha": 0.99, "eps": 1e-4, "momentum": 0.7},
    ),
    (lambda: Adagrad(LR), "Adagrad", {}),
    (lambda: Adagrad(LR, 1e-3), "Adagrad", {"eps": 1e-3}),
]
IDS = [f"{name}-{index}" for index, (_, name, _) in enumerate(TWINS)]


def gradient(values: np.ndarray, step: int) -> np.ndarray:
    """Gradient at a point; some elements have none at all, as those of a dead unit."""
    result = CURVATURE * values + 0.5 * NOISE[step]
    result[:2] = 0.0
    return result


def walk(
    backend: Any,
    optimizer: Optimizer,
    gradient: Callable[[np.ndarray, int], np.ndarray] = gradient,
    decay: list[slice] | None = None,
    steps: int = STEPS,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Take steps on a backend and return where they lead, with the state."""
    values = backend.state(START)
    state = optimizer.init(values)
    for step in range(steps):
        host = gradient(backend.to_host(values).astype("float64"), step)
        values, state = optimizer.step(
            values, backend.asarray(host), state, step + 1, optimizer.rate(step), decay or []
        )
    return backend.to_host(values), {name: backend.to_host(part) for name, part in state.items()}


def walk_by_hand(update: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> np.ndarray:
    """The same walk with a rule written in NumPy."""
    values = START.copy()
    for step in range(STEPS):
        values = update(values, gradient(values, step), step)
    return values


def walk_torch(name: str, settings: dict[str, Any]) -> np.ndarray:
    """The same walk by PyTorch in double precision."""
    torch = pytest.importorskip("torch")
    values = torch.tensor(START, requires_grad=True)
    optimizer = getattr(torch.optim, name)([values], lr=LR, **settings)
    for step in range(STEPS):
        values.grad = torch.tensor(gradient(values.detach().numpy(), step))
        optimizer.step()
    return values.detach().numpy()


@pytest.mark.parametrize(("make", "name", "settings"), TWINS, ids=IDS)
def test_path_against_torch(
    backend_float64: Any,
    make: Callable[[], Optimizer],
    name: str,
    settings: dict[str, Any],
) -> None:
    values, state = walk(backend_float64, make(), decay=[ALL])
    np.testing.assert_allclose(values, walk_torch(name, settings), rtol=1e-12, atol=1e-13)
    assert set(state) == set(make().state_names)


@pytest.mark.parametrize(("make", "name", "settings"), TWINS, ids=IDS)
def test_path_in_single_precision(
    backend: Any, make: Callable[[], Optimizer], name: str, settings: dict[str, Any]
) -> None:
    values, state = walk(backend, make(), decay=[ALL])
    assert values.dtype == np.float32
    assert all(part.dtype == np.float32 for part in state.values())
    # Fifty steps, each rounded, and a quotient that magnifies the noise where gradients are small.
    assert_close(values, walk_torch(name, settings), "float32", factor=20)


@pytest.mark.parametrize(("make", "name", "settings"), TWINS, ids=IDS)
def test_gradients_are_not_changed(
    backend: Any, make: Callable[[], Optimizer], name: str, settings: dict[str, Any]
) -> None:
    optimizer = make()
    optimizer.clip_norm, optimizer.clip_value = 0.5, 0.4
    values, host = backend.state(START), NOISE[0].astype("float32")
    grads = backend.state(host)
    optimizer.step(values, grads, optimizer.init(values), 1, LR, [ALL])
    np.testing.assert_array_equal(backend.to_host(grads), host)


@pytest.mark.parametrize(("make", "name", "settings"), TWINS, ids=IDS)
def test_numpy_vectors_are_updated_in_place(
    make: Callable[[], Optimizer], name: str, settings: dict[str, Any]
) -> None:
    """Layers hold views of these vectors."""
    optimizer, values = make(), START.copy()
    state = optimizer.init(values)
    for step in (1, 2):
        after, new_state = optimizer.step(values, NOISE[step], state, step, LR, [slice(0, 5)])
        assert after is values
        assert set(new_state) == set(state)
        assert all(new_state[part] is state[part] for part in state)
    assert not np.array_equal(values, START)


@pytest.mark.parametrize(("make", "name", "settings"), TWINS, ids=IDS)
def test_rate_as_an_array_on_the_device(
    backend: Any, make: Callable[[], Optimizer], name: str, settings: dict[str, Any]
) -> None:
    """A network that must not look at the loss hands over a rate that may be zero."""
    results = []
    for rate in (LR, backend.asarray(LR), 0.0, backend.asarray(0.0)):
        optimizer, values = make(), backend.state(START)
        values, _ = optimizer.step(
            values, backend.asarray(NOISE[0]), optimizer.init(values), 1, rate, [ALL]
        )
        results.append(backend.to_host(values))
    assert_close(results[1], results[0], "float32")
    for result in results[2:]:
        np.testing.assert_array_equal(result, START.astype("float32"))


# ------------------------------------------------------------------------------- decay, clipping


def test_decay_is_decoupled_and_by_slice(backend_float64: Any) -> None:
    slices = [slice(1, 4), slice(6, SIZE - 1)]
    factor = np.ones(SIZE)
    for part in slices:
        factor[part] = 1 - LR * 0.4

    def by_hand(values: np.ndarray, grads: np.ndarray, step: int) -> np.ndarray:
        by_hand.velocity = 0.9 * by_hand.velocity + grads
        return values * factor - LR * by_hand.velocity

    by_hand.velocity = np.zeros(SIZE)
    optimizer = SGD(LR, momentum=0.9, weight_decay=0.4)
    values, _ = walk(backend_float64, optimizer, decay=slices)
    np.testing.assert_allclose(values, walk_by_hand(by_hand), rtol=1e-12, atol=1e-13)


def test_no_slices_no_decay(backend: Any) -> None:
    with_decay, _ = walk(backend, SGD(LR, weight_decay=0.4), decay=[])
    without, _ = walk(backend, SGD(LR), decay=[ALL])
    np.testing.assert_array_equal(with_decay, without)


def test_clipping_by_value_comes_before_clipping_by_norm(backend_float64: Any) -> None:
    def by_hand(values: np.ndarray, grads: np.ndarray, step: int) -> np.ndarray:
        grads = np.clip(grads, -0.6, 0.6)
        return values - LR * grads * min(1.0, 0.9 / np.linalg.norm(grads))

    values, _ = walk(backend_float64, SGD(LR, clip_norm=0.9, clip_value=0.6))
    np.testing.assert_allclose(values, walk_by_hand(by_hand), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("settings", "grads", "expected"),
    [
        ({"clip_value": 1.0}, [3.0, -4.0, 0.5], [1.0, -1.0, 0.5]),
        ({"clip_norm": 1.0}, [3.0, -4.0, 0.0], [0.6, -0.8, 0.0]),
        ({"clip_norm": 10.0}, [3.0, -4.0, 0.0], [3.0, -4.0, 0.0]),
        ({"clip_norm": 1.0}, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        ({"clip_norm": 1.0, "clip_value": 3.0}, [3.0, -4.0, 0.0], [0.5**0.5, -(0.5**0.5), 0.0]),
    ],
)
def test_clipped_step(
    backend: Any, settings: dict[str, float], grads: list[float], expected: list[float]
) -> None:
    optimizer = SGD(1.0, **settings)
    values, _ = optimizer.step(backend.state(np.zeros(3)), backend.asarray(grads), {}, 1, 1.0)
    assert_close(backend.to_host(values), -np.asarray(expected), "float32")


@pytest.mark.parametrize("size", [1e19, 1e25, 1e37, 8e37])
@pytest.mark.parametrize("limit", [0.5, 1e30])
def test_clipping_of_a_norm_whose_square_overflows(size: float, limit: float, backend: Any) -> None:
    grads = backend.asarray(np.asarray([3.0, -4.0, 1e-3]) * size / 5)
    with np.errstate(over="ignore"):
        values, _ = SGD(1.0, clip_norm=limit).step(
            backend.state(np.zeros(3)), grads, {}, step=1, lr=1.0
        )
    expected = np.asarray([-3.0, 4.0, -1e-3]) * min(size, limit) / 5
    np.testing.assert_allclose(backend.to_host(values), expected, rtol=2e-5)


def test_clipping_does_not_hide_what_is_not_a_number(backend: Any) -> None:
    for settings in ({"clip_norm": 1.0}, {"clip_value": 1.0}):
        values, _ = SGD(1.0, **settings).step(
            backend.state(np.zeros(2)), backend.asarray([math.nan, 1.0]), {}, 1, 1.0
        )
        assert np.isnan(backend.to_host(values)[0])


# ------------------------------------------------------------------------------- settings


def test_rate_of_a_number_and_of_a_schedule() -> None:
    assert SGD(0.5).rate(7) == 0.5
    optimizer = SGD(lambda step, total_steps: 1.0 / (step + (total_steps or 0)))
    assert optimizer.rate(4) == 0.25
    assert optimizer.rate(4, 4) == 0.125


def test_defaults() -> None:
    assert (Adam().lr, Adam().weight_decay) == (1e-3, 0.0)
    assert (AdamW().lr, AdamW().weight_decay, AdamW().decay_roles) == (1e-3, 0.01, ("weight",))
    assert (RMSprop().lr, RMSprop().rho, RMSprop().momentum) == (1e-3, 0.9, 0.0)
    assert (Adagrad().lr, Adagrad().epsilon) == (1e-2, 1e-10)
    assert SGD(1, decay_roles={"bias", "weight"}).decay_roles == ("weight", "bias")
    assert repr(Adam(0.5)) == "Adam(lr=0.5)"


def test_state_starts_at_zero(backend: Any) -> None:
    values = backend.state(START)
    state = RMSprop(momentum=0.5).init(values)
    assert sorted(state) == ["square", "velocity"]
    for part in state.values():
        assert backend.plain.owns(part)
        assert part.dtype == values.dtype
        np.testing.assert_array_equal(backend.to_host(part), np.zeros(SIZE))
    assert SGD(1.0).init(values) == {}


def test_state_that_a_setting_calls_for_is_made(backend: Any) -> None:
    values = backend.state(START)
    optimizer = RMSprop(LR)
    state = optimizer.init(values)
    assert optimizer.completed(state, values) is state
    optimizer.momentum = 0.5
    whole = optimizer.completed(state, values)
    assert whole["square"] is state["square"]
    np.testing.assert_array_equal(backend.to_host(whole["velocity"]), np.zeros(SIZE))


def test_the_base_class_leaves_the_rule_to_others() -> None:
    with pytest.raises(NotImplementedError, match="Optimizer does not define update"):
        Optimizer(0.1).step(START.copy(), START, {}, 1, 0.1)


@pytest.mark.parametrize("lr", [0.0, -0.1, math.nan, math.inf, "0.1", None, True])
@pytest.mark.parametrize("kind", [SGD, Adam, AdamW, RMSprop, Adagrad])
def test_bad_rates(kind: type[Optimizer], lr: Any) -> None:
    message = rf"^{kind.__name__}: lr must be a number in \(0, inf\), got "
    with pytest.raises(ConfigurationError, match=message):
        kind(lr)


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW, RMSprop, Adagrad])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight_decay", -0.1),
        ("weight_decay", math.nan),
        ("clip_norm", 0.0),
        ("clip_norm", math.inf),
        ("clip_value", -1.0),
        ("clip_value", "1"),
        ("clip_value", math.nan),
    ],
)
def test_bad_common_settings(kind: type[Optimizer], name: str, value: Any) -> None:
    expect_refusal(kind, name, value, f"^{kind.__name__}: {name} must be a number in ")


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (SGD, "momentum", 1.0),
        (SGD, "momentum", -0.1),
        (SGD, "momentum", math.nan),
        (Adam, "beta1", 1.0),
        (Adam, "beta2", 1.5),
        (AdamW, "beta2", math.nan),
        (Adam, "epsilon", 0.0),
        (RMSprop, "rho", 1.0),
        (RMSprop, "momentum", 1.0),
        (RMSprop, "epsilon", -1e-8),
        (Adagrad, "epsilon", 0.0),
    ],
)
def test_bad_own_settings(kind: Callable[..., Optimizer], name: str, value: float) -> None:
    expect_refusal(kind, name, value, rf": {name} must be a number in .*got {value}")


def expect_refusal(kind: Callable[..., Optimizer], name: str, value: Any, message: str) -> None:
    """Of the constructor, and of an assignment, which changes nothing."""
    with pytest.raises(ConfigurationError, match=message):
        kind(0.1, **{name: value})
    optimizer = kind(0.1)
    with pytest.raises(ConfigurationError, match=message):
        setattr(optimizer, name, value)
    assert vars(optimizer) == vars(kind(0.1))


def test_settings_may_be_assigned() -> None:
    optimizer = SGD(0.1, clip_norm=1.0)
    optimizer.lr, optimizer.momentum, optimizer.nesterov = 1, np.float32(0.5), np.True_
    optimizer.clip_norm, optimizer.decay_roles = None, {"scale", "weight"}
    assert repr(optimizer) == (
        "SGD(1.0, momentum=0.5, nesterov=True, decay_roles=('weight', 'scale'))"
    )
    schedule = xpnn.Cosine(0.1, 20)
    optimizer.lr = schedule
    assert optimizer.lr is schedule
    with pytest.raises(ConfigurationError, match="SGD: lr must be a number"):
        optimizer.lr = -1
    with pytest.raises(ConfigurationError, match="SGD: unknown role 'wieght'"):
        optimizer.decay_roles = ["wieght"]


def test_nesterov_keeps_its_momentum() -> None:
    optimizer = SGD(0.1, 0.9, nesterov=True)
    with pytest.raises(ConfigurationError, match=r"^SGD: nesterov needs a momentum above 0.*off"):
        optimizer.momentum = 0
    assert (optimizer.momentum, optimizer.nesterov) == (0.9, True)
    optimizer.nesterov, optimizer.momentum = False, 0
    with pytest.raises(ConfigurationError, match=r"^SGD: nesterov needs a momentum above 0"):
        optimizer.nesterov = True
    assert (optimizer.momentum, optimizer.nesterov) == (0.0, False)


def test_a_subclass_that_leaves_out_the_constructor() -> None:
    class Own(Optimizer):
        def __init__(self, lr: float) -> None:
            self.lr = lr

        def update(self, values: Any, grads: Any, state: Any, lr: float, step: int) -> Any:
            return values - lr * grads, state

    message = r"^Own: no weight_decay: has it called super\(\).__init__\(...\)\?"
    with pytest.raises(ConfigurationError, match=message):
        Own(0.1).init(START)
    with pytest.raises(ConfigurationError, match=message):
        xpnn.Sequential([xpnn.Linear(1, 1)], xpnn.MeanSquaredError(), optimizer=Own(0.1))
    net = xpnn.Sequential([xpnn.Linear(1, 1)], xpnn.MeanSquaredError(), lr=0.1)
    old = net.optimizer
    with pytest.raises(ConfigurationError, match=message):
        net.optimizer = Own(0.1)
    assert net.optimizer is old


def test_a_subclass_with_settings_of_the_class() -> None:
    class Own(Optimizer):
        lr, weight_decay, decay_roles, clip_norm, clip_value = 0.1, 0.0, (), None, None

        def __init__(self) -> None:
            pass

        def update(self, values: Any, grads: Any, state: Any, lr: float, step: int) -> Any:
            return values - lr * grads, state

    net = xpnn.Sequential([xpnn.Linear(1, 1)], xpnn.MeanSquaredError(), optimizer=Own())
    net.train([[1.0]], [[2.0]])
    assert net.steps == 1


def test_settings_that_contradict() -> None:
    with pytest.raises(ConfigurationError, match="SGD: nesterov needs a momentum above 0"):
        SGD(0.1, nesterov=True)
    with pytest.raises(ConfigurationError, match="Adam: decay_roles must be a set of"):
        Adam(0.1, decay_roles="weight")
    with pytest.raises(ConfigurationError, match="AdamW: unknown role 'wieght': did you mean"):
        AdamW(0.1, decay_roles=["wieght"])
