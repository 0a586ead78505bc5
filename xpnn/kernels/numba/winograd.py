"""Convolution by 3 x 3 filters with fewer products: squares of 4 x 4 pixels, Winograd's way.

For each square of 2 x 2 pixels of the output, with the 4 x 4 pixels d under its windows, filters f
and matrices of small numbers::

    output = A' [sum over channels of (F f F') * (B' d B)] A

    A' = 1  1  1  0    F = 1   0   0     B' = 1  0 -1  0
         0  1 -1 -1        1/2 1/2 1/2        0  1  1  0
                           1/2 -1/2 1/2       0 -1  1  0
                           0   0   1          0  1  0 -1

The product is one of 16 numbers for 4 pixels, where windows have 36. For all squares and channels
it is 16 matrix products, of squares by channels and channels by filters; the rest are sums, which
are done for a vector of channels at a time. The gradient of the input is the same of the gradient
of the output with the filters turned around.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.1:
F(2 x 2, 3 x 3).
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from ._compile import inlined, outlined
from ._memory import fetch_aside
from .blocked_product import call
from .vectors import BYTES, Vectors

__all__ = [
    "SQUARES",
    "both_ways",
    "convolve_squares",
    "enter",
    "following",
    "pack_squares",
    "place_of",
    "plane",
    "room",
    "to_pixels",
]

#: Numbers that stand for a square, and for a filter.
SQUARES = 16
#: Of the room: zeros for a panel to begin with, of up to 256 bytes, and what aligns them.
_LINES = 6 * BYTES // 4


def _to_square(v: Vectors, d: list[Any]) -> list[Any]:
    """Return B' d of a column of four."""
    return [
        v.subtract(d[0], d[2]),
        v.add(d[1], d[2]),
        v.subtract(d[2], d[1]),
        v.subtract(d[1], d[3]),
    ]


def to_pixels(v: Vectors, m: list[Any]) -> list[Any]:
    """Return A' m of a column of four."""
    first, second, third, fourth = m
    both, between = v.add(second, third), v.subtract(second, third)
    return [v.add(first, both), v.subtract(between, fourth)]


def both_ways(v: Vectors, rows: list[list[Any]], change: Any) -> list[list[Any]]:
    """Apply a change to the columns, then to the rows."""
    columns = [change(v, list(column)) for column in zip(*rows, strict=True)]
    return [change(v, list(row)) for row in zip(*columns, strict=True)]


@intrinsic  # type: ignore[untyped-decorator]
def enter(
    typing_context: Any, real: Any, source: Any, pixel: Any, row: Any, target: Any, plane: Any
) -> Any:
    """Write B' d B of a vector of channels. All are addresses or count bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, source, pixel, row, target, plane = arguments
        v = Vectors(builder, real)
        pixels = [[v.load(v.at(source, (row, y), (pixel, x))) for x in range(4)] for y in range(4)]
        made = both_ways(v, pixels, _to_square)
        for number, value in enumerate(value for line in made for value in line):
            v.store(value, v.at(target, (plane, number)))
        return context.get_dummy_value()

    return types.void(real, *[types.int64] * 5), generate


@intrinsic  # type: ignore[untyped-decorator]
def _leave(
    typing_context: Any, real: Any, source: Any, plane: Any, bias: Any, target: Any, pixel: Any,
    row: Any,
) -> Any:  # fmt: skip
    """Write A' m A of a vector of filters, plus the bias. All are addresses or count bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, source, plane, bias, target, pixel, row = arguments
        v = Vectors(builder, real)
        sums = [[v.load(v.at(source, (plane, 4 * y + x))) for x in range(4)] for y in range(4)]
        start = v.load(bias)
        for y, line in enumerate(both_ways(v, sums, to_pixels)):
            for x, value in enumerate(line):
                v.store(v.add(value, start), v.at(target, (row, y), (pixel, x)))
        return context.get_dummy_value()

    return types.void(real, *[types.int64] * 6), generate


def room(squares: int, numbers: int) -> int:
    """Return how many numbers `convolve_squares` has room for, of channels and filters together."""
    return SQUARES * (squares * numbers + 2 * BYTES // 4) + _LINES


@inlined
def plane(size):  # type: ignore[no-untyped-def]
    """Return how far apart planes of so many bytes lie: an odd number of lines of the caches.

    A square is written into 16 planes. At a distance of 2048 or 4096 bytes these would all share
    a few places of the first cache.
    """
    return (size // BYTES | 1) * BYTES


@outlined
def pack_squares(weights, turned, packed, first, width):  # type: ignore[no-untyped-def]
    """Write what stands for some filters, or for some channels of the filters turned around.

    Parameters
    ----------
    weights : (F, C * 9)
    turned : int
        Whether channels take the place of filters, and the last tap that of the first.
    packed : (16 * F * C,)
        For each panel, which ``2 * lanes`` filters share at most: (16, channel, filter).
    first, width : int
        The filters of this panel.
    """
    filters, channels = weights.shape[0], weights.shape[1] // 9
    depth = filters if turned else channels
    out = packed[first * depth * SQUARES : (first + width) * depth * SQUARES]
    at, step = (8, -1) if turned else (0, 1)
    half, far = weights.dtype.type(0.5), depth * width
    for c in range(depth):
        for x in range(4):  # so that not all planes are written at once, which are a page apart
            for f in range(width):
                taps = weights[c if turned else first + f]
                start = 9 * ((first + f) if turned else c) + at
                above = _of_row(half, taps, start, step, x)
                middle = _of_row(half, taps, start + 3 * step, step, x)
                below = _of_row(half, taps, start + 6 * step, step, x)
                both, between = half * (above + below), half * middle
                place = x * far + c * width + f
                out[place] = above
                out[place + 4 * far] = both + between
                out[place + 8 * far] = both - between
                out[place + 12 * far] = below


@inlined
def _of_row(half, taps, start, step, x):  # type: ignore[no-untyped-def]
    """Return a number of F applied to a row of a filter."""
    if x == 0:
        return taps[start]
    if x == 3:
        return taps[start + 2 * step]
    both, middle = half * (taps[start] + taps[start + 2 * step]), half * taps[start + step]
    return both + middle if x == 1 else both - middle


@inlined
def following(y, x, across):  # type: ignore[no-untyped-def]
    """Return row and column of the square behind another one, ``across`` in a row."""
    return (y, x + 1) if x + 1 < across else (y + 1, 0)


@inlined
def place_of(start, y, x, height, width, pixel, row):  # type: ignore[no-untyped-def]
    """Return where square x of row y begins, of those that cover height x width pixels.

    The last ones have pixels again that others have had, where a size is odd.
    """
    return start + min(2 * y, height - 2) * row + min(2 * x, width - 2) * pixel


@outlined
def convolve_squares(  # type: ignore[no-untyped-def]
    panel, lanes, zero, source, wide, channels, packed, bias, target, height, width, filters, room,
    squares, offsets, tiles, tile_count,
):  # fmt: skip
    """Convolve an image.

    Parameters
    ----------
    panel, lanes : int
        Address and lanes of a `blocked_product.Panel`.
    zero : float
        Of the type of the arrays.
    source, wide, channels : int
        Address of the first window, pixels of a row, and channels.
    packed : vector
        As `pack_squares` writes it.
    bias : int
        Address of (F,).
    target, height, width, filters : int
        Address and sizes of the output, at least 2 x 2.
    room : vector
        As large as `room` says.
    squares : int
        How many are done at a time.
    offsets, tiles, tile_count : int
        Address of a 0; address and length of a table that covers ``squares`` rows.
    """
    size = packed.itemsize
    room[:_LINES] = zero
    nothing = (room.ctypes.data + BYTES - 1) // BYTES * BYTES
    entered = nothing + 4 * BYTES
    in_plane, out_plane = plane(size * squares * channels), plane(size * squares * filters)
    summed = entered + SQUARES * in_plane
    across = (width + 1) // 2
    count = (height + 1) // 2 * across
    pixel, row = size * channels, size * channels * wide
    out_pixel, out_row = size * filters, size * filters * width
    line = height * out_row // count
    for start in range(0, count, squares):
        first = min(start, count - squares)
        fetch_aside(target + start * line, squares * line)
        y, x = first // across, first % across
        for number in range(squares):
            place = place_of(source, y, x, height, width, pixel, row)
            for c in range(0, pixel, BYTES):
                enter(zero, place + c, pixel, row, entered + number * pixel + c, in_plane)
            y, x = following(y, x, across)
        for chosen in range(0, filters, 2 * lanes):
            columns = min(2 * lanes, filters - chosen)
            for number in range(SQUARES):
                call(
                    panel,
                    entered + number * in_plane,
                    channels,
                    1,
                    offsets,
                    packed.ctypes.data + size * channels * (chosen * SQUARES + number * columns),
                    columns,
                    0,
                    summed + number * out_plane + size * chosen,
                    filters,
                    nothing,
                    0,
                    tiles,
                    tile_count,
                    columns,
                    channels,
                    1,
                )
        y, x = first // across, first % across
        for number in range(squares):
            place = place_of(target, y, x, height, width, out_pixel, out_row)
            for f in range(0, out_pixel, BYTES):
                made = summed + number * out_pixel + f
                _leave(zero, made, out_plane, bias + f, place + f, out_pixel, out_row)
            y, x = following(y, x, across)
