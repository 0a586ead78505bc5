"""One value everywhere."""

from __future__ import annotations

from dataclasses import dataclass

from .._checks import checked_number
from .._standard import Array
from ..random import Stream

__all__ = ["Constant", "Ones", "Zeros"]


@dataclass(frozen=True)
class Zeros:
    """Zeros, of any shape.

    Examples
    --------
    >>> Zeros()((2,), Stream(0)).tolist()
    [0.0, 0.0]
    """

    def __call__(self, shape: tuple[int, ...], rng: Stream) -> Array:
        """Make zeros; nothing is drawn."""
        return rng.full(shape, 0.0)


@dataclass(frozen=True)
class Ones:
    """Ones, of any shape.

    Examples
    --------
    >>> Ones()((2,), Stream(0)).tolist()
    [1.0, 1.0]
    """

    def __call__(self, shape: tuple[int, ...], rng: Stream) -> Array:
        """Make ones; nothing is drawn."""
        return rng.full(shape, 1.0)


@dataclass(frozen=True)
class Constant:
    """One value everywhere, in any shape.

    Parameters
    ----------
    value : float
        The value.

    Raises
    ------
    ConfigurationError
        If ``value`` is not a finite number.

    Examples
    --------
    >>> Constant(0.5)((2,), Stream(0)).tolist()
    [0.5, 0.5]
    """

    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", checked_number("Constant", "value", self.value))

    def __call__(self, shape: tuple[int, ...], rng: Stream) -> Array:
        """Fill the shape; nothing is drawn."""
        return rng.full(shape, self.value)
