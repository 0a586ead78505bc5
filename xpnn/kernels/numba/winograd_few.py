"""What `winograd` does, for few channels: squares leave the registers as pixels.

The 16 products of a square are short sums if there are few channels: writing them and reading them
again would take half as long. Three squares at a time are multiplied by a vector of filters, and
one row of four numbers after the other is added to the 2 x 2 pixels, whose rows take of it::

    row 0   +1  0
    row 1   +1 +1
    row 2   +1 -1
    row 3    0 -1

It takes the 32 registers of processors with AVX-512.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

from ._compile import outlined
from ._memory import fetch_aside
from .vectors import BYTES, Vectors
from .winograd import SQUARES, enter, following, place_of, to_pixels

__all__ = ["TOGETHER", "convolve_few", "room", "together"]

#: Squares whose sums are in the registers.
TOGETHER = 3

_WIDE = ir.IntType(64)


@intrinsic  # type: ignore[untyped-decorator]
def _multiply(
    typing_context: Any, real: Any, entered: Any, chunk: Any, chunks: Any, packed: Any, plane: Any,
    bias: Any, targets: Any, pixel: Any, row: Any,
) -> Any:  # fmt: skip
    """Write the pixels of some squares, for a vector of filters. Addresses, and counts of bytes.

    Parameters
    ----------
    real : float
        Of the type of the numbers.
    entered, chunk, chunks : int
        Where the squares are, (chunks, ..., TOGETHER, 16, lanes), and how far apart.
    packed, plane : int
        Where the filters are, (16, channel, lanes), and how far apart their planes.
    bias : int
    targets : tuple of int
        Where the first pixel of each square belongs.
    pixel, row : int
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, entered, chunk, chunks, packed, plane, bias, targets, pixel, row = arguments
        v = Vectors(builder, real)
        places = cgutils.unpack_tuple(builder, targets)
        start = v.load(bias)
        pixels: list[Any] = [[[start, start], [start, start]] for _ in range(TOGETHER)]
        for number in range(4):
            sums = [
                [cgutils.alloca_once_value(builder, v.constant(0.0)) for _ in range(4)]
                for _ in range(TOGETHER)
            ]
            filters = v.at(packed, (plane, 4 * number))
            with cgutils.for_range(builder, chunks) as outer:
                squares = builder.add(entered, builder.mul(outer.index, chunk))
                begin = builder.mul(outer.index, _WIDE(v.lanes * BYTES))
                with cgutils.for_range(builder, _WIDE(v.lanes)) as inner:
                    channel = builder.add(squares, builder.mul(inner.index, _WIDE(v.size)))
                    along = builder.add(begin, builder.mul(inner.index, _WIDE(BYTES)))
                    for x in range(4):
                        several = v.load(builder.add(v.at(filters, (plane, x)), along))
                        for square in range(TOGETHER):
                            place = (square * SQUARES + 4 * number + x) * BYTES
                            value = v.spread(builder.add(channel, _WIDE(place)))
                            total = sums[square][x]
                            added = v.add_product(value, several, builder.load(total))
                            builder.store(added, total)
            for square, line in enumerate(sums):
                left, right = to_pixels(v, [builder.load(total) for total in line])
                above, below = pixels[square]
                if number < 3:
                    above[0], above[1] = v.add(above[0], left), v.add(above[1], right)
                if number == 1:
                    below[0], below[1] = v.add(below[0], left), v.add(below[1], right)
                if number > 1:
                    below[0], below[1] = v.subtract(below[0], left), v.subtract(below[1], right)
        for place, square in zip(places, pixels, strict=True):
            for y, line in enumerate(square):
                for x, value in enumerate(line):
                    v.store(value, v.at(place, (row, y), (pixel, x)))
        return context.get_dummy_value()

    number = types.int64
    places = types.UniTuple(number, TOGETHER)  # type: ignore[attr-defined]
    return types.void(real, *[number] * 6, places, number, number), generate


def together(squares: int) -> int:
    """Return how many squares are done before the next filters are: so many, in full registers."""
    return TOGETHER * max(1, squares // TOGETHER)


def room(squares: int, channels: int) -> int:
    """Return how many numbers `convolve_few` has room for."""
    return SQUARES * squares * channels + BYTES // 4


@outlined
def convolve_few(  # type: ignore[no-untyped-def]
    zero, source, wide, channels, packed, bias, target, height, width, filters, room, squares
):
    """Convolve an image.

    Parameters
    ----------
    zero : float
        Of the type of the arrays.
    source, wide, channels : int
        Address of the first window, pixels of a row, and channels: full vectors of them.
    packed : vector
        As `pack_squares` writes it, for panels of one vector.
    bias : int
        Address of (F,).
    target, height, width, filters : int
        Address and sizes of the output, of at least `TOGETHER` squares.
    room : vector
        As large as `room` says.
    squares : int
        How many are done before the next filters are: a multiple of `TOGETHER`.
    """
    size = packed.itemsize
    entered = (room.ctypes.data + BYTES - 1) // BYTES * BYTES
    across = (width + 1) // 2
    count = (height + 1) // 2 * across
    pixel, row = size * channels, size * channels * wide
    out_pixel, out_row = size * filters, size * filters * width
    square, chunk = SQUARES * BYTES, squares * SQUARES * BYTES
    plane = channels * BYTES
    line = height * out_row // count
    for begin in range(0, count, squares):
        first = max(0, min(begin, count - squares))
        last = min(first + squares, count)
        fetch_aside(target + first * line, squares * line)
        y, x = first // across, first % across
        for number in range(last - first):
            place = place_of(source, y, x, height, width, pixel, row)
            for c in range(pixel // BYTES):
                to = entered + number * square + c * chunk
                enter(zero, place + c * BYTES, pixel, row, to, BYTES)
            y, x = following(y, x, across)
        for f in range(0, out_pixel, BYTES):
            for number in range(first, last, TOGETHER):
                several = min(number, last - TOGETHER)
                y, x = several // across, several % across
                first_place = place_of(target + f, y, x, height, width, out_pixel, out_row)
                y, x = following(y, x, across)
                second_place = place_of(target + f, y, x, height, width, out_pixel, out_row)
                y, x = following(y, x, across)
                third_place = place_of(target + f, y, x, height, width, out_pixel, out_row)
                _multiply(
                    zero,
                    entered + (several - first) * square,
                    chunk,
                    pixel // BYTES,
                    packed.ctypes.data + f // BYTES * SQUARES * plane,
                    plane,
                    bias + f,
                    (first_place, second_place, third_place),
                    out_pixel,
                    out_row,
                )
