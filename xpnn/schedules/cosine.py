"""A learning rate that falls along a cosine."""

from __future__ import annotations

from .._checks import checked_number
from ._numbers import count, duration, half_cosine, positive
from .schedule import Schedule

__all__ = ["Cosine"]


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
        self.lr = positive("Cosine", "lr", lr)
        self.steps = None if steps is None else count("Cosine: steps", steps, 1)
        self.final_lr = checked_number("Cosine", "final_lr", final_lr, low=0.0)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``."""
        steps = duration("Cosine", self.steps, total_steps)
        return half_cosine(self.lr, self.final_lr, count("step", step, 0) / steps)
