"""Arrays in C order, and images (N, C, H, W) with their channels last in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._standard import Array
from ..kernels.recording import spoil

__all__ = ["flat", "is_last", "laid_out", "shaped"]


def is_last(array: Array) -> bool:
    """Tell whether an array is images with channels last, and not in C order as well."""
    if array.ndim != 4 or array.flags.c_contiguous:
        return False
    return bool(array.transpose(0, 2, 3, 1).flags.c_contiguous)


def laid_out(array: Array, dtype: Any, last: bool) -> Array:
    """Return an array of a type in C order, or images with channels last: itself if it is so."""
    array = np.asarray(array)
    inside = array.transpose(0, 2, 3, 1) if last else array
    if array.dtype == dtype and inside.flags.c_contiguous and inside.flags.aligned:
        return array
    spoil()
    inside = np.array(inside, dtype=dtype, order="C")
    return inside.transpose(0, 3, 1, 2) if last else inside


def flat(array: Array, last: bool) -> Array:
    """Return the memory of an array that is laid out so."""
    return (array.transpose(0, 2, 3, 1) if last else array).reshape(-1)


def shaped(memory: Array, shape: tuple[int, ...], last: bool) -> Array:
    """Return memory as an array of a shape, or as images with channels last in it."""
    if not last:
        return memory.reshape(shape)
    n, channels, height, width = shape
    return memory.reshape(n, height, width, channels).transpose(0, 3, 1, 2)
