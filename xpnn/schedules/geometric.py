"""Learning rates that change by a factor, in steps or smoothly."""

from __future__ import annotations

from ._numbers import count, geometric, positive
from .schedule import Schedule

__all__ = ["Exponential", "Step"]


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
        self.lr = positive("Step", "lr", lr)
        self.step_size = count("Step: step_size", step_size, 1)
        self.factor = positive("Step", "factor", factor)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``."""
        step = count("step", step, 0)
        return geometric("Step", self.lr, self.factor, step // self.step_size, step)


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
        self.lr = positive("Exponential", "lr", lr)
        self.factor = positive("Exponential", "factor", factor)
        self.steps_per_factor = count("Exponential: steps_per_factor", steps_per_factor, 1)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``."""
        step = count("step", step, 0)
        exponent = step / self.steps_per_factor
        return geometric("Exponential", self.lr, self.factor, exponent, step)
