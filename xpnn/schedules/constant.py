"""A learning rate that stays."""

from __future__ import annotations

from ._numbers import count, positive
from .schedule import Schedule

__all__ = ["Constant"]


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
        self.lr = positive("Constant", "lr", lr)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``."""
        count("step", step, 0)
        return self.lr
