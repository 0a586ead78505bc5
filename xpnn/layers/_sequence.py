"""What layers for sequences know of steps that are not there."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .._checks import checked
from .._standard import Array, arange, array_namespace, device
from ..errors import DataError, ShapeError
from .layer import Layer

__all__ = ["SequenceLayer", "ToldOutside", "expect_sequences", "telling"]


def expect_sequences(owner: str, width: int | None, shape: tuple[int, ...]) -> None:
    """Raise ShapeError unless an input is (N, T, width) with at least one step.

    Examples
    --------
    >>> expect_sequences("LSTM", 8, (32, 10, 4))
    Traceback (most recent call last):
        ...
    xpnn.errors.ShapeError: LSTM: expected input of shape (N, T, 8), T >= 1, got (32, 10, 4)
    """
    if len(shape) != 3 or shape[1] == 0 or width not in (None, shape[2]):
        wanted = "D" if width is None else width
        raise ShapeError(
            f"{owner}: expected input of shape (N, T, {wanted}), T >= 1, got {tuple(shape)}"
        )


class _Told(threading.local):
    """What a `Masked` says to layers on one of Python's threads, which may share a network."""

    def __init__(self) -> None:
        self.masks: dict[int, Array] = {}


_TOLD = _Told()


@contextmanager
def telling(layers: Iterable[Layer], mask: Array) -> Iterator[None]:
    """Let layers know meanwhile, on this thread, which steps of their inputs are there."""
    before = _TOLD.masks
    _TOLD.masks = before | {id(layer): mask for layer in layers}
    try:
        yield
    finally:
        _TOLD.masks = before


def _kept(owner: str, name: str, value: Any) -> Any:
    """Return lengths so that they can be read in every pass; `_steps_there` checks them."""
    return list(value) if isinstance(value, Iterator) else value


class SequenceLayer(Layer):
    """A layer for sequences (N, T, D) that can leave steps out; a base class.

    Attributes
    ----------
    mask : array or None
        (N, T) booleans on the device of the input: which steps are there. Inside of a `Masked` it
        is the one that this has found, during a forward pass.
    lengths : sequence of int or None
        Instead of a mask: how many steps of each sequence are there, from the first on. What gives
        them one by one, such as a generator, becomes a list.
    """

    lengths: Sequence[int] | None = checked(_kept, optional=True)

    def __init__(self) -> None:
        super().__init__()
        self._mask: Array | None = None
        self.lengths = None

    @property
    def mask(self) -> Array | None:
        """Which steps are there."""
        return _TOLD.masks.get(id(self), self._mask)

    @mask.setter
    def mask(self, value: Array | None) -> None:
        self._mask = value

    def _steps_there(self, input: Array) -> Array | None:
        """Return the mask (N, T) for an input; None if all steps are there.

        Raises
        ------
        ShapeError
            If the mask or the lengths are for another batch.
        DataError
            If the mask is no array of booleans, or a length no whole number of 0 ... T.
        """
        n, t = input.shape[:2]
        mask = self.mask
        if mask is not None:
            kind = getattr(mask, "dtype", type(mask).__name__)
            if kind != array_namespace(input).bool:
                raise DataError(f"{self.name}: expected a mask of booleans, got {kind}")
            if tuple(mask.shape) != (n, t):
                raise ShapeError(
                    f"{self.name}: expected a mask of shape {(n, t)}, got {tuple(mask.shape)}"
                )
            return mask
        if self.lengths is None:
            return None
        try:
            lengths = [operator.index(length) for length in self.lengths]
        except TypeError:
            raise DataError(
                f"{self.name}: expected lengths, one whole number for each sequence, "
                f"got {self.lengths!r}"
            ) from None
        if len(lengths) != n:
            raise ShapeError(f"{self.name}: expected {n} lengths, got {len(lengths)}")
        for length in lengths:
            if not 0 <= length <= t:
                raise DataError(f"{self.name}: expected lengths of 0 ... {t}, got {length}")
        xp = array_namespace(input)
        ends = xp.asarray(lengths, dtype=input.dtype, device=device(input))
        return arange(t, like=input)[None, :] < ends[:, None]


class ToldOutside:
    """A layer that hands on to layers inside which steps are there; a base class beside `Layer`.

    Attributes
    ----------
    mask : array or None
        As of `SequenceLayer`: that of the layers inside.
    lengths : sequence of int or None
        Likewise.
    """

    _told: tuple[SequenceLayer, ...]

    @property
    def mask(self) -> Array | None:
        """Which steps are there."""
        return self._told[0].mask

    @mask.setter
    def mask(self, value: Array | None) -> None:
        for layer in self._told:
            layer.mask = value

    @property
    def lengths(self) -> Sequence[int] | None:
        """How many steps of each sequence are there."""
        return self._told[0].lengths

    @lengths.setter
    def lengths(self, value: Sequence[int] | None) -> None:
        value = _kept("", "", value)
        for layer in self._told:
            layer.lengths = value
