"""Checks of host data before anything is done with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError

__all__ = ["as_host_array", "check_finite", "check_pair", "chunks"]

#: Elements that one step of a chunked pass touches: 32 MB as float64.
CHUNK_ELEMENTS = 1 << 22


def chunks(x: NDArray[Any]) -> Iterator[slice]:
    """Yield slices of rows, each of about `CHUNK_ELEMENTS` elements and at least one row."""
    row_elements = max(1, x.size // max(1, x.shape[0]))
    rows = max(1, CHUNK_ELEMENTS // row_elements)
    for start in range(0, x.shape[0], rows):
        yield slice(start, min(start + rows, x.shape[0]))


def as_host_array(x: ArrayLike, name: str) -> NDArray[Any]:
    """Return `x` as a NumPy array of real numbers with a first axis, or raise `DataError`."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        # np.asarray would drop the mask and use whatever lies beneath it.
        raise DataError(f"{name} has masked values: fill or remove them first")
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise DataError(f"{name} is not a regular array: {error}") from error
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"{name} has dtype {array.dtype}; expected floating point, integer or bool numbers"
        )
    if array.ndim == 0:
        raise DataError(f"{name} is a single number; expected an array with one row per sample")
    return array


def check_finite(x: ArrayLike, name: str = "x") -> None:
    """Raise `DataError` where an array holds NaN or infinity, and say where.

    The array is read in pieces of about four million elements, so the check needs little
    memory whatever the array's size. Integers and booleans pass at once.

    Parameters
    ----------
    x : array_like
        Host data of any rank from 1; float, integer or bool.
    name : str
        What the message calls it.

    Raises
    ------
    DataError
        If a value is NaN or infinite: the message has its row and, from rank 2, its column
        (its position within the row from rank 3), all counted from 0, and how many there
        are. Also for a dtype that holds no real numbers and for a single number.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn.data import check_finite
    >>> check_finite(np.array([[1.0, 2.0], [3.0, np.nan]]), "x")
    Traceback (most recent call last):
      ...
    xpnn.errors.DataError: x has nan at row 1, column 1 (1 of 4 values is not finite)
    """
    array = as_host_array(x, name)
    if array.dtype.kind != "f":
        return
    first: tuple[int, ...] | None = None
    count = 0
    for rows in chunks(array):
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(array[rows].sum()):  # takes half the time; nothing cancels the others
                continue
        bad = ~np.isfinite(array[rows])
        if not bad.any():
            continue
        count += int(np.count_nonzero(bad))
        if first is None:
            position = np.unravel_index(int(np.argmax(bad)), bad.shape)
            first = (rows.start + int(position[0]), *(int(index) for index in position[1:]))
    if first is None:
        return
    place = f"row {first[0]}"
    if len(first) == 2:
        place += f", column {first[1]}"
    elif len(first) > 2:
        place += f", position {first[1:]}"
    verb = "is" if count == 1 else "are"
    raise DataError(
        f"{name} has {array[first]} at {place} ({count} of {array.size} values {verb} not finite)"
    )


def check_pair(
    x: ArrayLike, y: ArrayLike, x_name: str = "x", y_name: str = "y"
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Check that two arrays can be the samples and the targets of one data set.

    Values are not looked at: `check_finite` does that.

    Parameters
    ----------
    x, y : array_like
        Samples (N, ...) and targets (N, ...): float of any width, integer or bool.
    x_name, y_name : str
        What the messages call them.

    Returns
    -------
    tuple of numpy.ndarray
        The two as NumPy arrays, without a copy where they were arrays already.

    Raises
    ------
    DataError
        If the lengths differ, an array is empty or a single number, has masked values, or
        holds complex numbers, strings, dates or Python objects.

    Examples
    --------
    >>> from xpnn.data import check_pair
    >>> check_pair([[1.0], [2.0]], [0, 1, 1])
    Traceback (most recent call last):
      ...
    xpnn.errors.DataError: x has 2 rows, y has 3; expected one target per sample
    """
    samples = as_host_array(x, x_name)
    targets = as_host_array(y, y_name)
    if samples.shape[0] != targets.shape[0]:
        raise DataError(
            f"{x_name} has {samples.shape[0]} rows, {y_name} has {targets.shape[0]}; "
            "expected one target per sample"
        )
    for array, name in ((samples, x_name), (targets, y_name)):
        if array.size == 0:
            raise DataError(f"{name} is empty: its shape is {array.shape}")
    return samples, targets
