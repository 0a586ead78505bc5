"""Initializers by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from .._standard import Array
from ..errors import ConfigurationError, unknown
from ..random import Stream
from .constant import Ones, Zeros
from .orthogonal import Orthogonal
from .scaled import GlorotNormal, GlorotUniform, HeNormal, HeUniform, LeCunNormal, LeCunUniform

__all__ = ["Initializer", "get"]

#: What makes the initial value of a parameter: ``initializer(shape, rng)`` to a NumPy array.
Initializer: TypeAlias = Callable[[tuple[int, ...], Stream], Array]


_BY_NAME: dict[str, Initializer] = {
    "he_normal": HeNormal(),
    "he_uniform": HeUniform(),
    "glorot_normal": GlorotNormal(),
    "glorot_uniform": GlorotUniform(),
    "lecun_normal": LeCunNormal(),
    "lecun_uniform": LeCunUniform(),
    "orthogonal": Orthogonal(),
    "zeros": Zeros(),
    "ones": Ones(),
}


def get(initializer: str | Initializer) -> Initializer:
    """Return the initializer of a name, or the initializer itself.

    Parameters
    ----------
    initializer : str or callable
        A name such as "he_normal" or "zeros", an instance, or a function of one's own.

    Raises
    ------
    ConfigurationError
        For an unknown name, a class in place of an instance, and anything that cannot be called.

    Examples
    --------
    >>> from xpnn.initializers import Constant
    >>> get("he_normal")
    HeNormal()
    >>> get(Constant(0.1))
    Constant(value=0.1)
    """
    if isinstance(initializer, str):
        if initializer not in _BY_NAME:
            raise ConfigurationError(unknown("initializer", initializer, _BY_NAME))
        return _BY_NAME[initializer]
    if isinstance(initializer, type):
        name = initializer.__name__
        raise ConfigurationError(f"initializer must be an instance, such as {name}(), got a class")
    if not callable(initializer):
        raise ConfigurationError(f"initializer must be a name or a callable, got {initializer!r}")
    return initializer
