"""Cutting arrays in two by a random stream."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_number
from ..errors import ConfigurationError, DataError
from ..random import Stream
from .checks import as_host_array

__all__ = ["split"]

#: The random stream of splits: far from those of a network's layers and its shuffling.
SPLIT_STREAM = 2**32


def split(
    *arrays: ArrayLike,
    fraction: float = 0.2,
    seed: int | Stream = 0,
    stratify: ArrayLike | None = None,
) -> tuple[tuple[NDArray[Any], ...], tuple[NDArray[Any], ...]]:
    """Cut arrays in two along their first axis, at random.

    The second part has ``floor(n * fraction + 1/2)`` rows, at least 1 and at most n - 1.
    With `stratify`, each class gives it its share, to within one row, and keeps at least
    one row in the first, so that many classes of one row can make the second part smaller.
    Equal seeds give equal parts on every machine.

    Parameters
    ----------
    *arrays : array_like, shape (N, ...)
        Samples, targets, weights, ...: cut alike.
    fraction : float
        Share of the rows in the second part, 0 < fraction < 1.
    seed : int or Stream
        A seed, or the stream whose permutation orders the rows.
    stratify : array_like, shape (N,), optional
        Class of each row (numbers or strings).

    Returns
    -------
    first, second : tuple of numpy.ndarray
        Copies of the rows, in random order, one array for each given one.

    Raises
    ------
    ConfigurationError
        If `fraction` is out of range or no array is given.
    DataError
        If the lengths differ, there are fewer than two rows, or each class has one row
        only.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn.data import split
    >>> x, y = np.arange(20.0).reshape(10, 2), np.array([0, 1] * 5)
    >>> (x_train, y_train), (x_validation, y_validation) = split(x, y, stratify=y)
    >>> x_train.shape, sorted(y_validation.tolist())
    ((8, 2), [0, 1])
    """
    if not arrays:
        raise ConfigurationError("split needs at least one array")
    checked_number("split", "fraction", fraction, low=0, high=1, open_low=True, open_high=True)
    parts = [as_host_array(array, f"array {i}") for i, array in enumerate(arrays)]
    labels = None if stratify is None else np.asarray(stratify)
    rows = parts[0].shape[0]
    if labels is not None and labels.ndim != 1:
        raise DataError(f"stratify has shape {labels.shape}; expected one label per row")
    lengths = [part.shape[0] for part in parts] + ([] if labels is None else [labels.shape[0]])
    if len(set(lengths)) != 1:
        raise DataError(f"the arrays to split have different lengths: {lengths}")
    if rows < 2:
        raise DataError(f"{rows} row(s) cannot be split in two")

    wanted = min(max(math.floor(rows * fraction + 0.5), 1), rows - 1)
    stream = seed if isinstance(seed, Stream) else Stream(seed, SPLIT_STREAM)
    order = stream.permutation(rows)
    # Classes in the random order of the rows; without labels all rows are one class.
    classes = np.zeros(rows, dtype=np.int64)
    if labels is not None:
        classes = np.unique(labels, return_inverse=True)[1].reshape(rows)[order]
    second = np.zeros(rows, dtype=bool)
    for k, count in enumerate(_shares(np.bincount(classes), wanted)):
        second[np.flatnonzero(classes == k)[:count]] = True
    if not second.any():
        raise DataError("each class has one row only: nothing is left for the second part")
    return (
        tuple(part[order[~second]] for part in parts),
        tuple(part[order[second]] for part in parts),
    )


def _shares(sizes: NDArray[np.int64], wanted: int) -> list[int]:
    """Share `wanted` rows among classes by largest remainder; each class keeps one row."""
    rows = int(sizes.sum())
    # Integers throughout, so that no rounding can differ between machines. As wanted < rows, a
    # share without its remainder is less than the class.
    shares = [int(size) * wanted // rows for size in sizes]
    remainders = [int(size) * wanted % rows for size in sizes]
    missing = wanted - sum(shares)
    by_remainder = sorted(range(len(shares)), key=lambda k: (-remainders[k], k))
    for k in by_remainder:
        if missing > 0 and shares[k] < int(sizes[k]) - 1:
            shares[k] += 1
            missing -= 1
    return shares
