"""Checks of widths and shapes that several layers share."""

from __future__ import annotations

import operator

from ..errors import ConfigurationError, ShapeError

__all__ = ["checked_width", "expect_last_axis"]


def checked_width(owner: str, name: str, value: object) -> int:
    """Return a number of features as an int if it is a whole number of at least one.

    Raises
    ------
    ConfigurationError
        With one line that names the layer, the argument and what was received.

    Examples
    --------
    >>> checked_width("Linear", "input_dim", 784)
    784
    """
    try:
        width = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        width = 0
    if width < 1 or isinstance(value, bool):
        raise ConfigurationError(
            f"{owner}: {name} must be a whole number of at least 1, got {value!r}"
        )
    return width


def expect_last_axis(owner: str, width: int, shape: tuple[int, ...]) -> None:
    """Raise ShapeError unless an input has a batch axis, and a last axis of ``width``.

    Examples
    --------
    >>> expect_last_axis("Linear", 784, (32, 784))
    >>> expect_last_axis("Linear", 784, (32, 100))
    Traceback (most recent call last):
        ...
    xpnn.errors.ShapeError: Linear: expected input of shape (N, 784), got (32, 100)
    """
    if len(shape) < 2 or shape[-1] != width:
        axes = f"N, {width}" if len(shape) <= 2 else f"N, ..., {width}"
        raise ShapeError(f"{owner}: expected input of shape ({axes}), got {tuple(shape)}")
