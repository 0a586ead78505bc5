"""The exceptions that xpnn raises for reasons of its own.

All derive from `XpnnError`; each also derives from the built-in exception that a reader
would expect, so ``except ValueError`` catches what it should.

Examples
--------
>>> from xpnn.errors import ShapeError
>>> issubclass(ShapeError, ValueError)
True
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = [
    "BackendError",
    "CheckpointError",
    "ConfigurationError",
    "DataError",
    "DivergenceError",
    "ShapeError",
    "XpnnError",
    "unknown",
]


class XpnnError(Exception):
    """Base of every exception of xpnn."""


class ShapeError(XpnnError, ValueError):
    """An array has the wrong number of axes or the wrong width."""


class DataError(XpnnError, ValueError):
    """Data cannot be used: labels out of range, NaN, empty, unequal lengths, complex numbers."""


class ConfigurationError(XpnnError, ValueError):
    """An argument or a setting is out of its range, unknown, or contradicts another."""


class BackendError(XpnnError, RuntimeError):
    """An array library or a device cannot be used, or an array belongs to another one."""


class DivergenceError(XpnnError, ArithmeticError):
    """The loss turned infinite or not a number; the update was not made.

    Attributes
    ----------
    step : int
        Number of updates made before the one that failed.
    epoch : int
        Epoch, counted from 1.
    history : History or None
        What `xpnn.fit` had recorded.
    """

    def __init__(self, message: str, *, step: int, epoch: int) -> None:
        super().__init__(message)
        self.step = step
        self.epoch = epoch
        self.history: Any = None


class CheckpointError(XpnnError):
    """A model file cannot be written, or is damaged, foreign or refused."""


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Say that a name is unknown, the nearest that is known, and all that are.

    Examples
    --------
    >>> print(unknown("optimizer", "adm", ["adam", "sgd"]))
    unknown optimizer 'adm': did you mean 'adam'? Known: adam, sgd
    """
    choices = sorted(known)
    near = difflib.get_close_matches(str(name), choices, n=1)
    question = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}: {question}Known: {', '.join(choices)}"
