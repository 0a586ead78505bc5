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
import math
from collections.abc import Iterable
from typing import Any

__all__ = [
    "BackendError",
    "CheckpointError",
    "ConfigurationError",
    "DataError",
    "DivergenceError",
    "GradientError",
    "OutOfMemoryError",
    "ShapeError",
    "XpnnError",
    "readable_bytes",
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


class OutOfMemoryError(BackendError, MemoryError):
    """A device has too little memory for what was asked of it. The network is as it was before."""


class DivergenceError(XpnnError, ArithmeticError):
    """The loss turned infinite or not a number; the update was not made.

    Attributes
    ----------
    step : int
        Number of updates made before the one that failed.
    epoch : int
        Epoch, counted from 1.
    lr : float
        Learning rate of that step.
    batch : int or None
        Batch of the epoch, counted from 0, where `xpnn.fit` trained.
    culprit : str or None
        What was not finite first: "the samples", "the targets" (also of `Network.train`), or what
        a second pass over the batch found, such as "the output of layer 2 (ReLU)".
    history : History or None
        What `xpnn.fit` had recorded.
    """

    # With defaults, as what is pickled comes back by its message alone, and then its attributes.
    def __init__(
        self, message: str, *, step: int = 0, epoch: int = 1, lr: float = math.nan
    ) -> None:
        super().__init__(message)
        self.step = step
        self.epoch = epoch
        self.lr = lr
        self.batch: int | None = None
        self.culprit: str | None = None
        self.history: Any = None


class GradientError(XpnnError, AssertionError):
    """A gradient differs from the differences of the function that it belongs to."""


class CheckpointError(XpnnError):
    """A model file or checkpoint cannot be written, or is damaged, foreign or refused.

    Attributes
    ----------
    history : History or None
        What `xpnn.fit` had recorded, if it was the last checkpoint that could not be written.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.history: Any = None


def readable_bytes(count: float) -> str:
    """Write a number of bytes as people do.

    Examples
    --------
    >>> readable_bytes(1000), readable_bytes(3 * 2**20)
    ('1000 bytes', '3.0 MiB')
    """
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Say that a name is unknown, the nearest that is known, and all that are.

    Examples
    --------
    >>> print(unknown("optimizer", "adm", ["adam", "sgd"]))
    unknown optimizer 'adm': did you mean 'adam'? Known: adam, sgd
    >>> print(unknown("metric", "acc", ["accuracy", "mae"]))
    unknown metric 'acc': did you mean 'accuracy'? Known: accuracy, mae
    """
    choices = sorted(known)
    folded = {choice.casefold(): choice for choice in choices}
    text = str(name).casefold()
    # An abbreviation has too few letters in common with the whole to count as close.
    begun = [choice for choice in folded if text and choice.startswith(text)]
    near = begun if len(begun) == 1 else difflib.get_close_matches(text, folded, n=1)
    question = f": did you mean {folded[near[0]]!r}?" if near else "."
    return f"unknown {kind} {name!r}{question} Known: {', '.join(choices)}"
