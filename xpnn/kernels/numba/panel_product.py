"""Products of matrices by `blocked_product`'s panels, for the layers of a network.

The second factor is copied, a panel of two vectors across and some hundred rows at a time, so that
it stays in the first cache while a panel runs down all rows of the first factor. A number is always
added up in the same order, whatever the number of parts.
"""

from __future__ import annotations

from numba import prange

from ._compile import bound, kernel, outlined, part
from ._memory import copy, fetch_aside, fetch_once
from .blocked_product import call
from .squares import transpose

__all__ = ["DEPTH", "product", "room"]

#: Rows of the second factor that are copied at a time, at most. With more, a panel of them would
#: come from the second cache for each tile; with fewer, the output is read and written more often.
DEPTH = 528

#: Tiles of the first factor that go with a copy: with so many columns they fill the second cache.
_TILES = 32
_ROWS = 14 * _TILES

#: Rows of the first factor that lie this many bytes apart share one set of the first cache, which
#: has not as many places as a tile has rows: they are copied as well.
_CONFLICT = 4096

#: An output of more bytes is not in the second cache when it is written. Its lines are fetched some
#: tiles ahead: a tile would have to wait for all of its own at once.
_FAR = 1 << 19
_AHEAD = 4

#: So many rows before one is copied it is fetched.
_SOON = 8

#: Bytes of a row of a panel: two vectors.
_PANEL = 128


@part
def _copy_panel(b, first, last, left, right, packed, width):  # type: ignore[no-untyped-def]
    """Copy ``b[first:last, left:right]`` to rows of ``width`` numbers."""
    size, columns = b.itemsize, right - left
    line, stride = b.ctypes.data + (first * b.shape[1] + left) * size, b.shape[1] * size
    target = packed.ctypes.data
    if columns * size == _PANEL:  # a number that is known here becomes two moves
        for k in range(last - first):
            fetch_once(line + min(k + _SOON, last - first - 1) * stride, _PANEL)
            copy(target + k * _PANEL, line + k * stride, _PANEL)
    else:
        for k in range(last - first):
            copy(target + k * width * size, line + k * stride, columns * size)


@part
def _transpose_panel(b, first, last, left, right, packed, width):  # type: ignore[no-untyped-def]
    """Copy ``b[left:right, first:last].T`` to rows of ``width`` numbers."""
    size = b.itemsize
    lanes = 64 // size
    stride, step = b.shape[1] * size, width * size
    whole_rows, whole_columns = (last - first) // lanes * lanes, (right - left) // lanes * lanes
    for j in range(0, whole_columns, lanes):
        for k in range(0, whole_rows, lanes):
            source = b.ctypes.data + (left + j) * stride + (first + k) * size
            target = packed.ctypes.data + k * step + j * size
            transpose(b.dtype.type(0), source, stride, target, step)
    for j in range(right - left):
        start = whole_rows if j < whole_columns else 0
        for k in range(start, last - first):
            packed[k * width + j] = b[left + j, first + k]


@part
def _copy_rows(a, top, bottom, first, last, copied, stride):  # type: ignore[no-untyped-def]
    for i in range(bottom - top):
        source, target = a[top + i, first:last], copied[i * stride : i * stride + last - first]
        for k in range(source.size):
            target[k] = source[k]


@outlined
def _part(  # type: ignore[no-untyped-def]
    panel, width, a, transpose_a, b, transpose_b, output, tiles, begin, end, left, right, zeros, own
):
    size = a.itemsize
    inner, columns, a_width = b.shape[1 if transpose_b else 0], output.shape[1], a.shape[1]
    chunks = (inner + DEPTH - 1) // DEPTH
    depth = ((inner + chunks - 1) // chunks + 15) // 16 * 16
    packed, copied = own[: depth * width], own[depth * width :]
    a_row, a_step = 1 if transpose_a else a_width, a_width if transpose_a else 1
    conflict = not transpose_a and a_width * size % _CONFLICT == 0
    if conflict:
        a_row = depth + 16
    ahead = _AHEAD if output.size * size > _FAR else _TILES
    for block in range(begin, end, _TILES):
        block_end = min(block + _TILES, end)
        top, bottom = tiles[2 * block], tiles[2 * block_end - 2] + tiles[2 * block_end - 1]
        for first in range(0, inner, depth):
            last = min(first + depth, inner)
            place = a.ctypes.data + size * first * a_step
            if conflict:
                _copy_rows(a, top, bottom, first, last, copied, a_row)
                place = copied.ctypes.data - size * top * a_row  # tiles count from the first row
            for j in range(left, right, width):
                stop = min(j + width, right)
                if transpose_b:
                    _transpose_panel(b, first, last, j, stop, packed, width)
                else:
                    _copy_panel(b, first, last, j, stop, packed, width)
                target = output.ctypes.data + size * j
                for tile in range(block, block_end, ahead):
                    after = min(tile + ahead, block_end)
                    if after < block_end:
                        end_row = tiles[2 * min(after + ahead, block_end) - 1]
                        end_row += tiles[2 * min(after + ahead, block_end) - 2]
                        for i in range(tiles[2 * after], end_row):
                            fetch_aside(target + size * i * columns, _PANEL)
                    call(
                        panel,
                        place,
                        a_row,
                        a_step,
                        tiles.ctypes.data,  # its first number is 0: one block without an offset
                        packed.ctypes.data,
                        width,
                        0,
                        target,
                        columns,
                        zeros.ctypes.data if first == 0 else target,
                        0 if first == 0 else columns,
                        tiles.ctypes.data + 16 * tile,
                        after - tile,
                        stop - j,
                        last - first,
                        1,
                    )


@kernel(
    "integer integer matrix integer matrix integer matrix! indices vector matrix! integer integer"
)
def product(  # type: ignore[no-untyped-def]
    panel, width, a, transpose_a, b, transpose_b, output, tiles, zeros, scratch, by_rows, parts
):
    """``output = a @ b``, of which a and b may be given transposed.

    Parameters
    ----------
    panel : int
        Address of the panel for the arrays' type.
    width : int
        Columns of a panel: two vectors of 64 bytes.
    a : (M, K), or (K, M) if it is transposed
    b : (K, N), or (N, K) if it is transposed
    output : (M, N)
    tiles : (2 * count,)
        First rows and heights of the tiles that cover the rows.
    zeros : (width,)
    scratch : (parts, `room`)
        A row for each part; ``tiles`` begins with a zero, and their heights are at most 14.
    by_rows : int
        1: parts are tiles of rows, 0: panels of columns.
    parts : int
        How many.
    """
    columns, count = output.shape[1], tiles.size // 2
    for index in prange(0, parts):
        if by_rows:
            begin, end = bound(index, parts, count, 1), bound(index + 1, parts, count, 1)
            left, right = 0, columns
        else:
            begin, end = 0, count
            left = bound(index, parts, columns, width)
            right = bound(index + 1, parts, columns, width)
        if begin < end and left < right:
            _part(
                panel,
                width,
                a,
                transpose_a,
                b,
                transpose_b,
                output,
                tiles,
                begin,
                end,
                left,
                right,
                zeros,
                scratch[index],
            )


def room(width: int) -> int:
    """Return how many numbers of scratch a part needs."""
    return (DEPTH + 16) * width + _ROWS * (DEPTH + 32)
