"""A slow beginning before another schedule."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigurationError
from ._numbers import count
from .schedule import Schedule

__all__ = ["LinearWarmup"]


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
    >>> from xpnn.schedules import Constant
    >>> schedule = LinearWarmup(Constant(0.5), warmup_steps=4)
    >>> [schedule(step) for step in range(6)]
    [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    """

    def __init__(self, schedule: Schedule, warmup_steps: int) -> None:
        if not isinstance(schedule, Schedule):
            raise ConfigurationError(f"LinearWarmup: schedule must be a Schedule, got {schedule!r}")
        self.schedule = schedule
        self.warmup_steps = count("LinearWarmup: warmup_steps", warmup_steps, 1)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``."""
        step = count("step", step, 0)
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
