"""Products of matrices, by the pool where there is one, otherwise by NumPy."""

from __future__ import annotations

import numpy as np

from .._standard import Array
from .threads import team

__all__ = ["multiply"]

#: Multiplications below which the pool is not woken: some two microseconds of them.
_ENOUGH = 1 << 17
#: Rows or columns that a part has at least.
_LEAST = 16


def multiply(
    a: Array,
    b: Array,
    output: Array | None = None,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> Array:
    """Return ``a @ b``, of which a and b may be given transposed.

    Parameters
    ----------
    a, b : array
        Matrices of float32 or float64 in C order, aligned.
    output : array, optional
        Where the product goes.
    transpose_a, transpose_b : bool
        Whether a stands for ``a.T``, and b for ``b.T``.
    """
    rows, inner = a.shape[::-1] if transpose_a else a.shape
    columns = b.shape[0] if transpose_b else b.shape[1]
    here = team()
    if not here.gemm or not rows * inner * columns:
        left, right = a.T if transpose_a else a, b.T if transpose_b else b
        return np.matmul(left, right, out=output)
    if output is None:
        output = np.empty((rows, columns), a.dtype)
    # BLAS copies its first factor in blocks that stay in a core's cache, and for each of them
    # takes the second one anew: a part should have all of the smaller one.
    by_rows = rows >= columns if not transpose_a else 4 * rows >= columns
    parts, parallel = here.share(rows * inner * columns, _ENOUGH)
    parts = min(parts, -(-(rows if by_rows else columns) // _LEAST))
    dtype = "float32" if a.itemsize == 4 else "float64"
    from ..kernels.numba.products import product  # loads Numba

    kernel = product[dtype, parallel and parts > 1]
    kernel(here.gemm[dtype], a, transpose_a, b, transpose_b, output, by_rows, parts)
    return output
