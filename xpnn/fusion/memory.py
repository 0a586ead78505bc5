"""Memory for what the kernels compute: it begins at a cache line.

NumPy's arrays mostly begin 16 bytes behind such a line. Every vector of 64 bytes then lies in two
lines, and passes over what the caches hold take up to twice the time.
"""

from __future__ import annotations

import ctypes
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
    size, width = math.prod(shape), dtype.itemsize
    if size * width < _SMALL:
        return np.empty(shape, dtype)
    memory: Any = np.empty(size + CACHE_LINE // width, dtype)
    # NumPy's own ways to the address take three times as long.
    address = ctypes.addressof(ctypes.c_byte.from_buffer(memory))
    start = -address % CACHE_LINE // width
    return memory[start : start + size].reshape(shape)
