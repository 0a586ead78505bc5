"""What the schedules share: checks of their settings, and two curves."""

from __future__ import annotations

import math
import operator
from typing import Any

from .._checks import checked_number
from ..errors import ConfigurationError

__all__ = ["count", "duration", "geometric", "half_cosine", "positive"]


def positive(owner: str, name: str, value: object) -> float:
    """Check a number above 0 and make it a float."""
    return checked_number(owner, name, value, low=0.0, open_low=True)


def count(name: str, value: Any, low: int) -> int:
    """Check an integer of at least ``low`` and make it a Python integer."""
    try:
        number = low - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = low - 1
    if number < low:
        raise ConfigurationError(f"{name} must be an integer of at least {low}, got {value!r}")
    return number


def duration(owner: str, steps: int | None, total_steps: int | None) -> int:
    """Return the steps that a schedule was given, or else those of the training."""
    if steps is not None:
        return steps
    if total_steps is None:
        raise ConfigurationError(
            f"{owner}: steps must be given where nobody knows the length of the training"
        )
    return count("total_steps", total_steps, 1)


def geometric(owner: str, lr: float, factor: float, exponent: float, step: int) -> float:
    """Return lr * factor ** exponent; ConfigurationError if that is too large for a float."""
    try:
        rate = lr * math.pow(factor, exponent)
    except OverflowError:
        rate = math.inf
    if math.isinf(rate):
        raise ConfigurationError(f"{owner}: the learning rate overflows at step {step}")
    return rate


def half_cosine(start: float, end: float, progress: float) -> float:
    """Go from ``start`` (progress 0) to ``end`` (progress 1 and more) along half a cosine."""
    if progress >= 1:
        return end
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
