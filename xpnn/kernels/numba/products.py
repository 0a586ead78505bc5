"""Products of matrices, by a BLAS that is called from inside the kernel.

The product is cut into rows or columns, and each part is a call of its own, on one thread. The
address of BLAS's function is an argument: it is another one in every process, and compiled kernels
are kept.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import prange
from numba.core import types
from numba.extending import intrinsic

from ._compile import UNIT, bound, kernel, part

__all__ = ["product"]

# What the functions of CBLAS call them.
_ROW_MAJOR, _AS_IT_IS, _TRANSPOSED = 101, 111, 112


@intrinsic  # type: ignore[untyped-decorator]
def _gemm(
    typing_context: Any,
    real: Any,
    address: Any,
    transpose_a: Any,
    transpose_b: Any,
    m: Any,
    n: Any,
    k: Any,
    a: Any,
    lda: Any,
    b: Any,
    ldb: Any,
    c: Any,
    ldc: Any,
) -> Any:
    """Call ``cblas_?gemm`` with 64-bit sizes at an address: ``c = a @ b``.

    ``real`` is any number of the arrays' type; a, b and c are addresses.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, address, transpose_a, transpose_b, *sizes = arguments
        m, n, k, a, lda, b, ldb, c, ldc = sizes
        small, wide, real = ir.IntType(32), ir.IntType(64), number.type
        pointer = real.as_pointer()
        parameters = [small] * 3 + [wide] * 3 + [real, pointer, wide, pointer, wide, real]
        kind = ir.FunctionType(ir.VoidType(), [*parameters, pointer, wide])
        function = builder.inttoptr(address, kind.as_pointer())
        a, b, c = (builder.inttoptr(array, pointer) for array in (a, b, c))
        order = [small(_ROW_MAJOR), *(builder.trunc(t, small) for t in (transpose_a, transpose_b))]
        builder.call(function, [*order, m, n, k, real(1.0), a, lda, b, ldb, real(0.0), c, ldc])
        return context.get_dummy_value()

    return types.void(real, *[types.int64] * 12), generate


@part
def _part(gemm, a, transpose_a, b, transpose_b, output, top, bottom, left, right):  # type: ignore[no-untyped-def]
    size = output.itemsize
    inner = a.shape[0] if transpose_a else a.shape[1]
    lda, ldb, ldc = a.shape[1], b.shape[1], output.shape[1]
    if bottom > top and right > left:
        _gemm(
            a.dtype.type(0),
            gemm,
            _TRANSPOSED if transpose_a else _AS_IT_IS,
            _TRANSPOSED if transpose_b else _AS_IT_IS,
            bottom - top,
            right - left,
            inner,
            a.ctypes.data + size * (top if transpose_a else top * lda),
            lda,
            b.ctypes.data + size * (left * ldb if transpose_b else left),
            ldb,
            output.ctypes.data + size * (top * ldc + left),
            ldc,
        )


@kernel("integer matrix integer matrix integer matrix! integer integer")
def product(gemm, a, transpose_a, b, transpose_b, output, by_rows, parts):  # type: ignore[no-untyped-def]
    """``output = a @ b``, of which a and b may be given transposed.

    Parameters
    ----------
    gemm : int
        Address of ``cblas_sgemm`` or ``cblas_dgemm`` with 64-bit sizes.
    a : (M, K), or (K, M) if it is transposed
    b : (K, N), or (N, K) if it is transposed
    output : (M, N)
    by_rows : int
        1: parts are rows of the output, 0: columns.
    parts : int
        How many.
    """
    rows, columns = output.shape
    for index in prange(0, parts):
        if by_rows:
            top, bottom = bound(index, parts, rows, UNIT), bound(index + 1, parts, rows, UNIT)
            _part(gemm, a, transpose_a, b, transpose_b, output, top, bottom, 0, columns)
        else:
            left = bound(index, parts, columns, UNIT)
            right = bound(index + 1, parts, columns, UNIT)
            _part(gemm, a, transpose_a, b, transpose_b, output, 0, rows, left, right)
