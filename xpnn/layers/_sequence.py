"""What layers for sequences know of steps that are not there."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from .._standard import Array, arange, array_namespace, device
from ..errors import DataError, ShapeError
from .layer import Layer

__all__ = ["SequenceLayer", "expect_sequences"]


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


class SequenceLayer(Layer):
    """A layer for sequences (N, T, D) that can leave steps out; a base class.

    Attributes
    ----------
    mask : array or None
        (N, T) booleans on the device of the input: which steps are there. `Masked` sets it.
    lengths : sequence of int or None
        Instead of a mask: how many steps of each sequence are there, from the first on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mask: Array | None = None
        self.lengths: Sequence[int] | None = None

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
        if self.mask is not None:
            kind = getattr(self.mask, "dtype", type(self.mask).__name__)
            if kind != array_namespace(input).bool:
                raise DataError(f"{self.name}: expected a mask of booleans, got {kind}")
            if tuple(self.mask.shape) != (n, t):
                raise ShapeError(
                    f"{self.name}: expected a mask of shape {(n, t)}, got {tuple(self.mask.shape)}"
                )
            return self.mask
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
