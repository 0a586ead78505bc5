"""What the wrappers of the kernels share: how numbers and arrays reach a launch, and its grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._standard import Array

__all__ = ["LARGEST_BLOCK", "Counters", "dtype_name", "nullable", "row_grid", "u32", "u64"]

#: Threads of a block in the kernels that add up over rows or over everything.
LARGEST_BLOCK = 256

# CuPy passes a Python integer as a signed one and a Python float as a double, whatever the kernel
# declares: every number gets its type before.
u32, u64 = np.uint32, np.uint64
_NULL = np.uint64(0)

_NAMES = {np.dtype(name): name for name in ("float32", "float64")}  # NumPy takes 4 us for a name


def dtype_name(array: Array) -> str:
    """Return "float32" or "float64"."""
    return _NAMES[array.dtype]


def nullable(array: Array | None) -> Any:
    """Return an array, or a null pointer for None."""
    return _NULL if array is None else array


def row_grid(rows: int, width: int) -> tuple[tuple[int], tuple[int, int]]:
    """Return grid and block of a kernel that takes a row by a warp, or a long one by a block.

    A thread of a warp gets up to 32 numbers; a block grows with its row up to 256 threads.
    """
    threads = 32
    while threads < LARGEST_BLOCK and threads * 32 < width:
        threads *= 2
    rows_a_block = LARGEST_BLOCK // 32 if threads == 32 else 1
    return (-(-rows // rows_a_block),), (threads, rows_a_block)


class Counters:
    """Integers on the device that are zero between launches: which blocks have come to an end."""

    def __init__(self) -> None:
        self._array: Any = None

    def get(self, count: int) -> Array:
        """Return at least so many of them."""
        import cupy

        if self._array is None or self._array.size < count:
            self._array = cupy.zeros(max(count, 64), dtype=cupy.uint32)
        return self._array
