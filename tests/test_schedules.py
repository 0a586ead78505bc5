"""Learning rates by step: values against the formulas and against PyTorch's schedulers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from xpnn.errors import ConfigurationError
from xpnn.schedules import (
    Constant,
    Cosine,
    Exponential,
    LinearWarmup,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    Step,
)

# Rounding only; PyTorch computes some of its schedules by recurrence.
CLOSE = {"rel": 1e-12, "abs": 1e-15}


def torch_rates(make, steps, lr=0.1):
    """Learning rates of a scheduler of PyTorch in ``steps`` training steps."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def rates(schedule, steps, total=None):
    return [schedule(step, total) for step in range(steps)]


# ----------------------------------------------------------------------- against PyTorch


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (Constant(0.1), lambda m, o: m.LambdaLR(o, lambda step: 1.0)),
        (Step(0.1, 7, factor=0.5), lambda m, o: m.StepLR(o, 7, gamma=0.5)),
        (Step(0.1, 30), lambda m, o: m.StepLR(o, 30)),
        (Exponential(0.1, 0.9), lambda m, o: m.ExponentialLR(o, 0.9)),
        (Exponential(0.1, 0.9, 4), lambda m, o: m.ExponentialLR(o, 0.9**0.25)),
        (Cosine(0.1, 101), lambda m, o: m.CosineAnnealingLR(o, 101)),
        (Cosine(0.1, 101, 0.02), lambda m, o: m.CosineAnnealingLR(o, 101, eta_min=0.02)),
        (OneCycle(0.1, 100), lambda m, o: m.OneCycleLR(o, 0.1, total_steps=100)),
        (OneCycle(0.1, 101), lambda m, o: m.OneCycleLR(o, 0.1, total_steps=101)),
        (
            OneCycle(0.3, 101, 0.11, 10, 100),
            lambda m, o: m.OneCycleLR(
                o, 0.3, total_steps=101, pct_start=0.11, div_factor=10, final_div_factor=100
            ),
        ),
        (
            LinearWarmup(Constant(0.1), 20),
            lambda m, o: m.LinearLR(o, start_factor=1 / 20, total_iters=19),
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, Schedule) else "",
)
def test_equals_pytorch(schedule, make):
    assert rates(schedule, 100) == pytest.approx(torch_rates(make, 100), **CLOSE)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("patience", [0, 2])
@pytest.mark.parametrize("min_delta", [0.0, 0.05])
def test_plateau_equals_pytorch(mode, patience, min_delta):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode=mode,
        factor=0.3,
        patience=patience,
        threshold=min_delta,
        threshold_mode="abs",
        min_lr=1e-3,
        eps=0.0,
    )
    schedule = ReduceOnPlateau(0.1, 0.3, patience, min_delta, min_lr=1e-3, mode=mode)
    values = np.random.default_rng(0).normal(size=60).round(2)
    values[20] = math.nan
    for value in values.tolist():
        reference.step(value)
        schedule.observe(value)
        assert schedule(0) == pytest.approx(optimizer.param_groups[0]["lr"], **CLOSE)
    assert schedule(0) == 1e-3


# ------------------------------------------------------------------------------ formulas


def test_constant():
    assert rates(Constant(0.3), 3) == [0.3, 0.3, 0.3]


def test_step():
    assert rates(Step(8.0, 2, factor=0.5), 6) == [8.0, 8.0, 4.0, 4.0, 2.0, 2.0]


def test_exponential():
    assert rates(Exponential(8.0, 0.25, 2), 5) == pytest.approx([8.0, 4.0, 2.0, 1.0, 0.5])


def test_exponential_may_grow():
    # A learning-rate range test: from 1e-6 to 1 in 60 steps.
    assert Exponential(1e-6, 10, 10)(60) == pytest.approx(1.0)


@pytest.mark.parametrize("schedule", [Exponential(0.1, 10.0), Step(0.1, 1, 10.0)], ids=repr)
def test_a_rate_that_grows_beyond_all_bounds_is_an_error(schedule):
    with pytest.raises(ConfigurationError, match=r"overflows at step 100000"):
        schedule(100_000)


def test_cosine():
    middle = 0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2
    expected = [1.0, middle, 0.6, 1.2 - middle, 0.2, 0.2, 0.2]
    assert rates(Cosine(1.0, 4, final_lr=0.2), 7) == pytest.approx(expected)


def test_one_cycle():
    # Up over steps 0 ... 4, the maximum at step 0.5 * 10 - 1, down over steps 4 ... 9.
    schedule = OneCycle(1.0, 10, 0.5, initial_divisor=5, final_divisor=4)
    expected = [0.2 + 0.8 * (1 - math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    expected += [0.05 + 0.95 * (1 + math.cos(math.pi * step / 5)) / 2 for step in range(6)]
    assert rates(schedule, 12) == pytest.approx([*expected, 0.05, 0.05])


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.3, 0.5, 0.99])
def test_one_cycle_of_few_steps(steps, fraction):
    schedule = OneCycle(1.0, steps, fraction)
    values = rates(schedule, steps + 2)
    assert all(4e-6 <= value <= 1.0 for value in values)
    assert values[steps - 1 :] == pytest.approx([4e-6] * 3)


def test_linear_warmup():
    schedule = LinearWarmup(Step(8.0, 2, factor=0.5), 4)
    assert rates(schedule, 9) == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0, 4.0, 4.0, 2.0]


def test_linear_warmup_leaves_the_rest_of_the_training_to_its_schedule():
    schedule = LinearWarmup(Cosine(1.0), 4)
    expected = [0.25, 0.5, 0.75, 1.0, *rates(Cosine(1.0, 6), 6)]
    assert rates(schedule, 10, 10) == pytest.approx(expected)
    # Steps of the schedule's own are counted from the end of the warm-up, too.
    assert rates(LinearWarmup(Cosine(1.0, 6), 4), 10) == pytest.approx(expected)


def test_linear_warmup_longer_than_the_training():
    assert rates(LinearWarmup(Cosine(1.0), 4), 3, 3) == [0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    "schedule", [Cosine(0.1), OneCycle(0.1), LinearWarmup(Cosine(0.1), 2)], ids=repr
)
def test_length_of_the_training(schedule):
    with pytest.raises(ConfigurationError, match=r"steps must be .* length of the training"):
        schedule(0)
    for step in range(10):
        assert schedule(step, 10) > 0


def test_own_steps_win_over_the_training():
    assert Cosine(0.1, 4)(2, 100) == pytest.approx(0.05)


def test_rates_are_python_floats():
    for schedule in (
        Constant(np.float32(0.5)),
        Step(1, np.int64(2)),
        Exponential(1, np.float64(0.5)),
        Cosine(1, np.int32(9), 0),
        OneCycle(1, 9),
        LinearWarmup(Constant(1), 3),
        ReduceOnPlateau(1),
    ):
        assert type(schedule(np.int64(1))) is float


# ------------------------------------------------------------------------------- plateau


def test_plateau():
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=1, min_lr=0.3)
    seen = []
    for value in [5, 4, 4, 4, 3, 3, 3, 3, 3]:
        schedule.observe(value)
        seen.append(schedule(0))
    assert seen == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3]


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_plateau_asks_for_more_than_min_delta(mode, sign):
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=0, min_delta=0.25, mode=mode)
    seen = []
    for value in [1.0, 0.875, 0.75, 0.625, 0.5]:
        schedule.observe(sign * value)
        seen.append(schedule(0))
    # From the best value, 1, only 0.625 is further away than 0.25.
    assert seen == [1.0, 0.5, 0.25, 0.25, 0.125]


def test_plateau_counts_a_value_that_is_no_number_as_no_improvement():
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=0)
    schedule.observe(math.nan)
    assert schedule(0) == 0.5
    schedule.observe(1e9)
    assert schedule(0) == 0.5


@pytest.mark.parametrize("wrap", [lambda inner: inner, lambda inner: LinearWarmup(inner, 3)])
def test_state_survives_a_json_file(wrap):
    values = np.random.default_rng(1).normal(size=40).tolist()
    whole, first, second = (wrap(ReduceOnPlateau(1.0, 0.7, patience=1)) for _ in range(3))
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    for value in values[:20]:
        whole.observe(value)
        first.observe(value)
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    for value in values[20:]:
        whole.observe(value)
        second.observe(value)
        assert second(50) == whole(50)
    assert whole(50) < 0.5


def test_state_holds_the_count_of_calls_without_improvement():
    first, second = (ReduceOnPlateau(1.0, factor=0.5, patience=1) for _ in range(2))
    for value in (1.0, 2.0):
        first.observe(value)
    second.restore(first.state())
    second.observe(3.0)
    assert second(0) == 0.5


def test_state_is_checked():
    schedule = ReduceOnPlateau(1.0)
    state = schedule.state()
    with pytest.raises(ConfigurationError, match="ReduceOnPlateau: state must have"):
        schedule.restore({})
    with pytest.raises(ConfigurationError, match="ReduceOnPlateau: state must have"):
        schedule.restore({**state, "more": 1})
    with pytest.raises(ConfigurationError, match="ReduceOnPlateau: lr must"):
        schedule.restore({**state, "lr": -1.0})


def test_formulas_have_no_state():
    schedule = Cosine(0.1, 5)
    schedule.observe(3.0)
    assert schedule.state() == {}
    schedule.restore({})
    with pytest.raises(ConfigurationError, match="Cosine: state must have no entries"):
        schedule.restore({"lr": 1.0})


# ---------------------------------------------------------------------------- arguments


def test_representation():
    assert repr(Cosine(1)) == "Cosine(lr=1.0, steps=None, final_lr=0.0)"
    assert (
        repr(LinearWarmup(Constant(0.5), 3))
        == "LinearWarmup(schedule=Constant(lr=0.5), warmup_steps=3)"
    )
    plateau = ReduceOnPlateau(1, patience=0)
    plateau.observe(math.nan)
    assert repr(plateau) == (
        "ReduceOnPlateau(lr=1.0, factor=0.1, patience=0, min_delta=0.0, min_lr=0.0, mode='min')"
    )


def test_a_schedule_of_ones_own():
    class Zigzag(Schedule):
        def __call__(self, step, total_steps=None):
            return 0.1 if step % 2 else 0.2

    assert rates(LinearWarmup(Zigzag(), 2), 4) == [0.1, 0.2, 0.2, 0.1]
    with pytest.raises(TypeError, match="abstract"):
        Schedule()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(0), r"Constant: lr must be a number in \(0, inf\), got 0"),
        (lambda: Constant(-0.1), "Constant: lr must"),
        (lambda: Constant(math.nan), "Constant: lr must"),
        (lambda: Constant("0.1"), "Constant: lr must"),
        (lambda: Step(0, 3), "Step: lr must"),
        (lambda: Step(0.1, 0), "Step: step_size must be an integer of at least 1, got 0"),
        (lambda: Step(0.1, 2.5), "Step: step_size must"),
        (lambda: Step(0.1, True), "Step: step_size must"),
        (lambda: Step(0.1, 3, 0), "Step: factor must"),
        (lambda: Exponential(0.1, -1), "Exponential: factor must"),
        (lambda: Exponential(0.1, 0.9, 0), "Exponential: steps_per_factor must"),
        (lambda: Cosine(0.1, 0), "Cosine: steps must"),
        (lambda: Cosine(0.1, 5, -0.1), "Cosine: final_lr must"),
        (lambda: OneCycle(0.0), "OneCycle: max_lr must"),
        (lambda: OneCycle(0.1, 5, 1.0), "OneCycle: warmup_fraction must"),
        (lambda: OneCycle(0.1, 5, 0.3, 0.5), "OneCycle: initial_divisor must"),
        (lambda: OneCycle(0.1, 5, 0.3, 25, 0), "OneCycle: final_divisor must"),
        (lambda: LinearWarmup(0.1, 5), "LinearWarmup: schedule must be a Schedule, got 0.1"),
        (lambda: LinearWarmup(Constant(0.1), 0), "LinearWarmup: warmup_steps must"),
        (lambda: ReduceOnPlateau(0.1, 1.0), "ReduceOnPlateau: factor must"),
        (lambda: ReduceOnPlateau(0.1, patience=-1), "ReduceOnPlateau: patience must"),
        (lambda: ReduceOnPlateau(0.1, min_delta=-1), "ReduceOnPlateau: min_delta must"),
        (lambda: ReduceOnPlateau(0.1, min_lr=0.2), "ReduceOnPlateau: min_lr must"),
        (lambda: ReduceOnPlateau(0.1, mode="mni"), "ReduceOnPlateau: unknown mode 'mni'.*'min'"),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


@pytest.mark.parametrize("step", [-1, 1.5, "0", None, True])
@pytest.mark.parametrize(
    "schedule",
    [
        Constant(0.1),
        Step(0.1, 2),
        Exponential(0.1, 0.9),
        Cosine(0.1, 5),
        OneCycle(0.1, 5),
        LinearWarmup(Constant(0.1), 2),
        ReduceOnPlateau(0.1),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_the_step_is_checked(schedule, step):
    with pytest.raises(ConfigurationError, match="step must be an integer of at least 0"):
        schedule(step)
