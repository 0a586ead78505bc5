r"""Learning rates that change during the training.

A schedule is called as ``schedule(step, total_steps)`` before update ``step``, counted from 0, and
returns the learning rate as a Python float. ``total_steps`` is the length of the whole training,
where the caller knows it; a duration of None means that length. After its end a schedule stays at
its last value.

All but `ReduceOnPlateau` are formulas of the step: a training that resumes at a step goes on as if
it had never stopped.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from typing import Any

from ._checks import checked_number
from .errors import ConfigurationError, unknown

__all__ = [
    "Constant",
    "Cosine",
    "Exponential",
    "LinearWarmup",
    "OneCycle",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
]


class Schedule(ABC):
    """Base of the schedules. One's own implements `__call__`.

    Examples
    --------
    >>> class Halves(Schedule):
    ...     def __call__(self, step, total_steps=None):
    ...         return 0.1 / 2 ** (step // 1000)
    >>> Halves()(2500)
    0.025
    """

    @abstractmethod
    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``, counted from 0.

        Parameters
        ----------
        step : int, step >= 0
            Number of updates made before.
        total_steps : int, optional
            Number of updates of the whole training.

        Raises
        ------
        ConfigurationError
            If ``step`` is no such integer, or if the length of the training is needed and is not
            known.
        """

    def observe(self, value: float) -> None:  # noqa: B027 (most schedules have no use for it)
        """Take notice of what was monitored in an epoch. Formulas of the step ignore it."""

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs, as JSON can hold it: nothing, for a formula of the step."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        if state:
            raise ConfigurationError(
                f"{type(self).__name__}: state must have no entries, got {sorted(state)}"
            )

    def __repr__(self) -> str:
        arguments = (f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({', '.join(arguments)})"


class Constant(Schedule):
    """The same learning rate at every step.

    Parameters
    ----------
    lr : float, lr > 0
        Learning rate.

    Raises
    ------
    ConfigurationError
        If ``lr`` is out of its range.

    Examples
    --------
    >>> Constant(0.1)(1000)
    0.1
    """

    def __init__(self, lr: float) -> None:
        self.lr = _positive("Constant", "lr", lr)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``."""
        _count("step", step, 0)
        return self.lr


class Step(Schedule):
    r"""A learning rate that falls in steps.

    .. math:: lr(t) = lr \cdot factor^{\lfloor t / step\_size \rfloor}

    Parameters
    ----------
    lr : float, lr > 0
        Learning rate of the first step.
    step_size : int, step_size >= 1
        Number of updates with the same rate.
    factor : float, factor > 0
        What the rate is multiplied by then.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range; when called, if the rate overflows.

    Examples
    --------
    >>> schedule = Step(0.5, step_size=100, factor=0.5)
    >>> schedule(99), schedule(100), schedule(200)
    (0.5, 0.25, 0.125)
    """

    def __init__(self, lr: float, step_size: int, factor: float = 0.1) -> None:
        self.lr = _positive("Step", "lr", lr)
        self.step_size = _count("Step: step_size", step_size, 1)
        self.factor = _positive("Step", "factor", factor)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``."""
        step = _count("step", step, 0)
        return _geometric("Step", self.lr, self.factor, step // self.step_size, step)


class Exponential(Schedule):
    r"""A learning rate that falls, or grows, by the same factor in equal times.

    .. math:: lr(t) = lr \cdot factor^{t / steps\_per\_factor}

    With a factor above 1 it makes the range test that finds a learning rate: begin with a very
    small one and see where the loss turns up.

    Parameters
    ----------
    lr : float, lr > 0
        Learning rate of the first step.
    factor : float, factor > 0
        What the rate is multiplied by...
    steps_per_factor : int, steps_per_factor >= 1
        ... in this number of updates, smoothly.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range; when called, if the rate overflows.

    Examples
    --------
    >>> schedule = Exponential(0.5, factor=0.25, steps_per_factor=2)
    >>> schedule(0), schedule(1), schedule(2)
    (0.5, 0.25, 0.125)
    """

    def __init__(self, lr: float, factor: float, steps_per_factor: int = 1) -> None:
        self.lr = _positive("Exponential", "lr", lr)
        self.factor = _positive("Exponential", "factor", factor)
        self.steps_per_factor = _count("Exponential: steps_per_factor", steps_per_factor, 1)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``."""
        step = _count("step", step, 0)
        exponent = step / self.steps_per_factor
        return _geometric("Exponential", self.lr, self.factor, exponent, step)


class Cosine(Schedule):
    r"""A learning rate that falls along half a period of the cosine.

    .. math:: lr(t) = final\_lr + (lr - final\_lr) \frac{1 + \cos(\pi t / steps)}{2},
        \quad t \le steps

    Parameters
    ----------
    lr : float, lr > 0
        Learning rate of the first step.
    steps : int, steps >= 1, optional
        Number of updates until ``final_lr`` is reached: by default the whole training, so that the
        first update after it would have ``final_lr``.
    final_lr : float, final_lr >= 0
        Learning rate at the end.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range; when called, if ``steps`` is None and the length of the
        training is not known.

    Source
    ------
    I. Loshchilov, F. Hutter: SGDR: stochastic gradient descent with warm restarts. ICLR 2017,
    equation 5, without the restarts.

    Examples
    --------
    >>> schedule = Cosine(0.1)
    >>> [round(schedule(step, total_steps=100), 4) for step in (0, 50, 99)]
    [0.1, 0.05, 0.0]
    """

    def __init__(self, lr: float, steps: int | None = None, final_lr: float = 0.0) -> None:
        self.lr = _positive("Cosine", "lr", lr)
        self.steps = None if steps is None else _count("Cosine: steps", steps, 1)
        self.final_lr = checked_number("Cosine", "final_lr", final_lr, low=0.0)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``."""
        steps = _duration("Cosine", self.steps, total_steps)
        return _half_cosine(self.lr, self.final_lr, _count("step", step, 0) / steps)


class OneCycle(Schedule):
    r"""A learning rate that rises to a high maximum and falls far below where it began.

    From max_lr / initial_divisor to max_lr at step warmup_fraction * steps - 1, and down to
    max_lr / (initial_divisor * final_divisor) at step steps - 1, along half a period of the cosine
    each: the values of PyTorch's ``OneCycleLR``. The momentum does not change.

    Parameters
    ----------
    max_lr : float, max_lr > 0
        The maximum.
    steps : int, steps >= 1, optional
        Length of the cycle in updates: by default the whole training.
    warmup_fraction : float, 0 <= warmup_fraction < 1
        Part of the cycle in which the rate rises.
    initial_divisor : float, initial_divisor >= 1
        The maximum divided by the first rate.
    final_divisor : float, final_divisor > 0
        The first rate divided by the last one.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range; when called, if ``steps`` is None and the length of the
        training is not known.

    Source
    ------
    L. Smith, N. Topin: Super-convergence: very fast training of neural networks using large
    learning rates. 2018, arXiv:1708.07120. There the rate changes linearly; the cosine is usual
    since fastai.

    Examples
    --------
    >>> schedule = OneCycle(1.0)
    >>> [round(schedule(step, total_steps=100), 4) for step in (0, 29, 99)]
    [0.04, 1.0, 0.0]
    """

    def __init__(
        self,
        max_lr: float,
        steps: int | None = None,
        warmup_fraction: float = 0.3,
        initial_divisor: float = 25.0,
        final_divisor: float = 1e4,
    ) -> None:
        self.max_lr = _positive("OneCycle", "max_lr", max_lr)
        self.steps = None if steps is None else _count("OneCycle: steps", steps, 1)
        self.warmup_fraction = checked_number(
            "OneCycle", "warmup_fraction", warmup_fraction, low=0.0, high=1.0, open_high=True
        )
        self.initial_divisor = checked_number(
            "OneCycle", "initial_divisor", initial_divisor, low=1.0
        )
        self.final_divisor = _positive("OneCycle", "final_divisor", final_divisor)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``."""
        step = _count("step", step, 0)
        last = _duration("OneCycle", self.steps, total_steps) - 1
        # Not rounded, so the maximum may lie between two steps; nor need it be after step 0.
        peak = self.warmup_fraction * (last + 1) - 1
        first_lr = self.max_lr / self.initial_divisor
        if step < peak:
            return _half_cosine(first_lr, self.max_lr, step / peak)
        return _half_cosine(
            self.max_lr, first_lr / self.final_divisor, (step - peak) / (last - peak)
        )


class LinearWarmup(Schedule):
    r"""Another schedule, after updates in which the learning rate rises linearly.

    .. math::

        lr(t) = \begin{cases} schedule(0) \, (t + 1) / warmup\_steps & t < warmup\_steps \\
        schedule(t - warmup\_steps) & \text{from then on} \end{cases}

    Where ``schedule`` takes its length from the training, it gets what the warm-up leaves.

    Parameters
    ----------
    schedule : Schedule
        What follows.
    warmup_steps : int, warmup_steps >= 1
        Number of updates of the warm-up; the last of them has the full rate.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range; when called, where ``schedule`` raises it.

    Source
    ------
    P. Goyal and others: Accurate, large minibatch SGD: training ImageNet in 1 hour. 2017,
    arXiv:1706.02677, section 2.2.

    Examples
    --------
    >>> schedule = LinearWarmup(Constant(0.5), warmup_steps=4)
    >>> [schedule(step) for step in range(6)]
    [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    """

    def __init__(self, schedule: Schedule, warmup_steps: int) -> None:
        if not isinstance(schedule, Schedule):
            raise ConfigurationError(f"LinearWarmup: schedule must be a Schedule, got {schedule!r}")
        self.schedule = schedule
        self.warmup_steps = _count("LinearWarmup: warmup_steps", warmup_steps, 1)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``."""
        step = _count("step", step, 0)
        # A trial run may be shorter than the warm-up.
        rest = None if total_steps is None else max(1, total_steps - self.warmup_steps)
        if step < self.warmup_steps:
            return self.schedule(0, rest) * (step + 1) / self.warmup_steps
        return self.schedule(step - self.warmup_steps, rest)

    def observe(self, value: float) -> None:
        """Hand on what was monitored to the schedule that follows."""
        self.schedule.observe(value)

    def state(self) -> dict[str, Any]:
        """Return the state of the schedule that follows."""
        return self.schedule.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the schedule that follows."""
        self.schedule.restore(state)


class ReduceOnPlateau(Schedule):
    """A learning rate that falls when what is monitored improves no more.

    It does not depend on the step. `observe` is called once an epoch, say with the validation
    loss; after more than ``patience`` calls in a row that do not better the best value by more than
    ``min_delta``, the rate is multiplied by ``factor`` and the count begins anew. A value that is
    not a number is no improvement.

    Parameters
    ----------
    lr : float, lr > 0
        Learning rate at first.
    factor : float, 0 < factor < 1
        What the rate is multiplied by.
    patience : int, patience >= 0
        Number of calls without improvement that are suffered.
    min_delta : float, min_delta >= 0
        Smallest improvement that counts, absolute.
    min_lr : float, 0 <= min_lr <= lr
        Where the rate stops falling.
    mode : {"min", "max"}
        Whether lower or higher values are better.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range.

    Examples
    --------
    >>> schedule = ReduceOnPlateau(0.1, factor=0.5, patience=1)
    >>> for loss in (0.9, 0.7, 0.8, 0.7):
    ...     schedule.observe(loss)
    >>> schedule(0)
    0.05
    """

    def __init__(
        self,
        lr: float,
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 0.0,
        min_lr: float = 0.0,
        mode: str = "min",
    ) -> None:
        owner = "ReduceOnPlateau"
        self.lr = _positive(owner, "lr", lr)
        self.factor = checked_number(
            owner, "factor", factor, low=0.0, high=1.0, open_low=True, open_high=True
        )
        self.patience = _count(f"{owner}: patience", patience, 0)
        self.min_delta = checked_number(owner, "min_delta", min_delta, low=0.0)
        self.min_lr = checked_number(owner, "min_lr", min_lr, low=0.0, high=self.lr)
        if mode not in ("min", "max"):
            raise ConfigurationError(f"{owner}: {unknown('mode', mode, ('min', 'max'))}")
        self.mode = mode
        self._current = self.lr
        self._best: float | None = None
        self._waited = 0

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``."""
        _count("step", step, 0)
        return self._current

    def observe(self, value: float) -> None:
        """Take notice of a value, and reduce the rate if it is time.

        Parameters
        ----------
        value : float
            What is monitored, once an epoch.
        """
        value = float(value)
        if self._better(value):
            self._best = value
            self._waited = 0
            return
        self._waited += 1
        if self._waited > self.patience:
            self._current = max(self._current * self.factor, self.min_lr)
            self._waited = 0

    def state(self) -> dict[str, Any]:
        """Return the rate, the best value and the count of calls without improvement."""
        return {"lr": self._current, "best": self._best, "waited": self._waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`; ConfigurationError if it is none."""
        if set(state) != set(self.state()):
            raise ConfigurationError(
                f"ReduceOnPlateau: state must have {sorted(self.state())}, got {sorted(state)}"
            )
        current = checked_number("ReduceOnPlateau", "lr", state["lr"], low=0.0)
        waited = _count("ReduceOnPlateau: waited", state["waited"], 0)
        best = state["best"]
        if best is not None:
            best = checked_number("ReduceOnPlateau", "best", best)
        self._current, self._best, self._waited = current, best, waited

    def _better(self, value: float) -> bool:
        if self._best is None:
            return math.isfinite(value)
        if self.mode == "min":
            return value < self._best - self.min_delta
        return value > self._best + self.min_delta


def _positive(owner: str, name: str, value: object) -> float:
    return checked_number(owner, name, value, low=0.0, open_low=True)


def _count(name: str, value: Any, low: int) -> int:
    """Check an integer of at least ``low`` and make it a Python integer."""
    try:
        number = low - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = low - 1
    if number < low:
        raise ConfigurationError(f"{name} must be an integer of at least {low}, got {value!r}")
    return number


def _duration(owner: str, steps: int | None, total_steps: int | None) -> int:
    if steps is not None:
        return steps
    if total_steps is None:
        raise ConfigurationError(
            f"{owner}: steps must be given where nobody knows the length of the training"
        )
    return _count("total_steps", total_steps, 1)


def _geometric(owner: str, lr: float, factor: float, exponent: float, step: int) -> float:
    try:
        rate = lr * math.pow(factor, exponent)
    except OverflowError:
        rate = math.inf
    if math.isinf(rate):
        raise ConfigurationError(f"{owner}: the learning rate overflows at step {step}")
    return rate


def _half_cosine(start: float, end: float, progress: float) -> float:
    """Go from ``start`` (progress 0) to ``end`` (progress 1 and more) along half a cosine."""
    if progress >= 1:
        return end
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
