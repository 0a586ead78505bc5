"""Memory for what the kernels compute: it begins at a cache line.

NumPy's arrays mostly begin 16 bytes behind such a line. Every vector of 64 bytes then lies in two
lines, and passes over what the caches hold take up to twice the time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._standard import CACHE_LINE, Array

__all__ = ["empty"]

#: Bytes for which it is not worth the time.
_SMALL = 1 << 14


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array with whatever is there."""
    dtype = np.dtype(dtype)
    size = math.prod(shape)
    if size * dtype.itemsize < _SMALL:
        return np.empty(shape, dtype)
    more = CACHE_LINE // dtype.itemsize
    memory = np.empty(size + more, dtype)
    start = -memory.ctypes.data % CACHE_LINE // dtype.itemsize
    return memory[start : start + size].reshape(shape)
