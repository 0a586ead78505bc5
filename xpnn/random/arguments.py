"""Checks of what a stream is asked for."""

from __future__ import annotations

import operator
from typing import Any

from ..errors import ConfigurationError

__all__ = ["checked_shape", "unsigned"]


def unsigned(name: str, value: Any) -> int:
    """Check an unsigned 64-bit integer and make it a Python integer."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < 1 << 64:
        raise ConfigurationError(f"{name} must be an integer in [0, 2**64), got {value!r}")
    return number


def checked_shape(method: str, shape: Any) -> tuple[int, ...]:
    """Check the shape of a result and make it a tuple."""
    lengths = shape if isinstance(shape, tuple | list) else (shape,)
    try:
        return tuple(unsigned("length", length) for length in lengths)
    except ConfigurationError:
        raise ConfigurationError(
            f"{method}: shape must be an integer of at least 0 or a tuple of them, got {shape!r}"
        ) from None
