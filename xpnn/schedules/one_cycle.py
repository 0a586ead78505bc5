"""A learning rate that rises and falls once."""

from __future__ import annotations

from .._checks import checked_number
from ._numbers import count, duration, half_cosine, positive
from .schedule import Schedule

__all__ = ["OneCycle"]


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
        self.max_lr = positive("OneCycle", "max_lr", max_lr)
        self.steps = None if steps is None else count("OneCycle: steps", steps, 1)
        self.warmup_fraction = checked_number(
            "OneCycle", "warmup_fraction", warmup_fraction, low=0.0, high=1.0, open_high=True
        )
        self.initial_divisor = checked_number(
            "OneCycle", "initial_divisor", initial_divisor, low=1.0
        )
        self.final_divisor = positive("OneCycle", "final_divisor", final_divisor)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``."""
        step = count("step", step, 0)
        last = duration("OneCycle", self.steps, total_steps) - 1
        # Not rounded, so the maximum may lie between two steps; nor need it be after step 0.
        peak = self.warmup_fraction * (last + 1) - 1
        first_lr = self.max_lr / self.initial_divisor
        if step < peak:
            return half_cosine(first_lr, self.max_lr, step / peak)
        return half_cosine(
            self.max_lr, first_lr / self.final_divisor, (step - peak) / (last - peak)
        )
