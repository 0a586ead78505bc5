"""Pack matrices into panels, as the blocked product reads them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

from ._compile import inlined, outlined
from ._memory import emit_fetch
from .blocked_product import vector_bytes
from .squares import copy_row, transpose

__all__ = ["pack", "pack_rows", "pack_transposed"]

#: So many rows before a piece of one is copied it is fetched: the next pieces lie far apart.
_AHEAD = 8

# A matrix w (K, M) is cut into panels of as many columns as two vectors have lanes. ``panels`` is
# (panels * (K + 1), columns): K rows of w and one more for each, what the product starts from.
# Missing columns are zeros.


@outlined
def pack(w, last, panels, part, parts):  # type: ignore[no-untyped-def]
    """Pack a share of ``w`` (K, M) and, as the last row, of ``last`` (M,)."""
    depth, columns = w.shape
    width, size, real = panels.shape[1], w.itemsize, w.dtype.type(0)
    count = panels.shape[0] // (depth + 1)
    first, final = part * count // parts, (part + 1) * count // parts
    for k in range(depth + 1):  # in the order of the memory of w, which comes from far away
        source = last.ctypes.data if k == depth else w.ctypes.data + size * k * columns
        for number in range(first, final):
            to = panels.ctypes.data + size * (number * (depth + 1) + k) * width
            here = min(width, columns - number * width)
            copy_row(real, source + size * number * width, to, here)
            for j in range(here, width):
                panels[number * (depth + 1) + k, j] = 0.0


@outlined
def pack_transposed(w, panels, part, parts):  # type: ignore[no-untyped-def]
    """Pack a share of the transpose of ``w`` (M, K); the last row is 0.

    ``w`` may be columns of a matrix.
    """
    columns, depth = w.shape
    width, size, real = panels.shape[1], w.itemsize, w.dtype.type(0)
    count = panels.shape[0] // (depth + 1)
    side = 64 // size
    for number in range(part * count // parts, (part + 1) * count // parts):
        to = panels[number * (depth + 1) : (number + 1) * (depth + 1)]
        to[depth] = 0.0
        for j in range(0, width, side):
            column = number * width + j
            whole = 0
            if side <= width and column + side <= columns:
                whole = depth // side * side
            for k in range(0, whole, side):
                transpose(
                    real,
                    w.ctypes.data + w.strides[0] * column + size * k,
                    w.strides[0],
                    to.ctypes.data + size * (k * width + j),
                    size * width,
                )
            for i in range(j, min(j + side, width)):
                for k in range(whole, depth):
                    to[k, i] = w[number * width + i, k] if number * width + i < columns else 0.0


@intrinsic  # type: ignore[untyped-decorator]
def _pack_columns(
    typing_context: Any, number: Any, rows: Any, source: Any, distance: Any, to: Any, sums: Any
) -> Any:
    """Copy as many columns as a panel has, and store the sum of each. All but the first are bytes.

    ``number`` tells the type. ``distance`` is that from a row of the source to the next one.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        real, rows, source, distance, to, sums = arguments
        size = signature.args[0].bitwidth // 8
        vector = ir.VectorType(real.type, vector_bytes() // size)
        wide = ir.IntType(64)

        def place(address: Any, part: int) -> Any:
            moved = builder.add(address, wide(part * vector_bytes()))
            return builder.inttoptr(moved, vector.as_pointer())

        zeros = ir.Constant(vector, None)
        totals = [cgutils.alloca_once_value(builder, zeros) for _ in range(2)]
        with cgutils.for_range(builder, rows) as loop:
            row = builder.add(source, builder.mul(loop.index, distance))
            ahead = builder.add(row, builder.mul(distance, wide(_AHEAD)))
            for line in range(0, 2 * vector_bytes(), 64):
                emit_fetch(builder, builder.add(ahead, wide(line)), 0)
            packed = builder.add(to, builder.mul(loop.index, wide(2 * vector_bytes())))
            for part, total in enumerate(totals):
                value = builder.load(place(row, part), align=size)
                builder.store(value, place(packed, part), align=size)
                builder.store(builder.fadd(builder.load(total), value), total)
        for part, total in enumerate(totals):
            builder.store(builder.load(total), place(sums, part), align=size)
        return context.get_dummy_value()

    return types.void(number, *[types.int64] * 5), generate


@inlined
def pack_rows(a, start, count, first, panel, sums):  # type: ignore[no-untyped-def]
    """Pack ``a[start : start + count, first:]``, one panel, and put the columns' sums in ``sums``.

    Nothing is done of the columns that ``a`` has not. ``sums`` has a number for each of a panel's,
    which are added up row by row: the order does not depend on who compiles it.
    """
    width = panel.shape[1]
    here = min(width, a.shape[1] - first)
    if here == width:
        size = a.itemsize
        _pack_columns(
            a.dtype.type(0),
            count,
            a.ctypes.data + size * (start * a.shape[1] + first),
            size * a.shape[1],
            panel.ctypes.data,
            sums.ctypes.data,
        )
        return
    sums[:here] = 0.0
    for k in range(count):
        row, to = a[start + k], panel[k]
        for j in range(here):
            to[j] = row[first + j]
            sums[j] += row[first + j]
