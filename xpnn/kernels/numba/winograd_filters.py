"""The gradient of 3 x 3 filters with fewer products: squares of pixels, as in `winograd`.

What `winograd` does to a filter f and the pixels d, with the gradient g of 2 x 2 pixels of the
output, goes back as::

    df = F' [sum over squares of (A g A') * (B' d B)] F

For all channels and filters the sum is 16 matrix products, of channels by squares and squares by
filters. It goes on from image to image, and is brought back to 3 x 3 numbers at its end.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from ._compile import inlined, outlined
from ._memory import clear
from .blocked_product import call
from .vectors import BYTES, Vectors
from .winograd import SQUARES, both_ways, enter, plane

__all__ = ["add_squares", "begin_squares", "end_squares", "room"]


def _to_products(v: Vectors, g: list[Any]) -> list[Any]:
    """Return A g of a column of two."""
    return [g[0], v.add(g[0], g[1]), v.subtract(g[0], g[1]), v.subtract(v.constant(0.0), g[1])]


def _to_filters(v: Vectors, m: list[Any]) -> list[Any]:
    """Return F' m of a column of four."""
    half = v.constant(0.5)
    both, between = v.multiply(half, v.add(m[1], m[2])), v.multiply(half, v.subtract(m[1], m[2]))
    return [v.add(m[0], both), between, v.add(both, m[3])]


@intrinsic  # type: ignore[untyped-decorator]
def _enter_gradient(
    typing_context: Any, down: Any, across: Any, source: Any, pixel: Any, row: Any, target: Any,
    plane: Any,
) -> Any:  # fmt: skip
    """Write A g A' of a vector of filters. ``down`` and ``across`` multiply its first pixels."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        down, across, source, pixel, row, target, plane = arguments
        v = Vectors(builder, signature.args[0])
        pixels = [[v.load(v.at(source, (row, y), (pixel, x))) for x in range(2)] for y in range(2)]
        down, across = v.everywhere(down), v.everywhere(across)
        pixels[0] = [v.multiply(down, value) for value in pixels[0]]
        for line in pixels:
            line[0] = v.multiply(across, line[0])
        made = both_ways(v, pixels, _to_products)
        for number, value in enumerate(value for line in made for value in line):
            v.store(value, v.at(target, (plane, number)))
        return context.get_dummy_value()

    return types.void(down, across, *[types.int64] * 5), generate


@intrinsic  # type: ignore[untyped-decorator]
def _leave(typing_context: Any, real: Any, source: Any, plane: Any, target: Any, tap: Any) -> Any:
    """Write F' m F of a vector of filters. All are addresses or count bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, source, plane, target, tap = arguments
        v = Vectors(builder, real)
        sums = [[v.load(v.at(source, (plane, 4 * y + x))) for x in range(4)] for y in range(4)]
        for y, line in enumerate(both_ways(v, sums, _to_filters)):
            for x, value in enumerate(line):
                v.store(value, v.at(target, (tap, 3 * y + x)))
        return context.get_dummy_value()

    return types.void(real, *[types.int64] * 4), generate


def room(squares: int, channels: int, filters: int) -> int:
    """Return how many numbers the sums of a share and so many squares have room for."""
    return (
        SQUARES * (channels * filters + squares * (channels + filters) + 2 * BYTES // 4)
        + BYTES // 4
    )


@inlined
def _start(room):  # type: ignore[no-untyped-def]
    """Return the address of the sums, at a line of the caches."""
    return (room.ctypes.data + BYTES - 1) // BYTES * BYTES


@outlined
def begin_squares(channels, filters, room):  # type: ignore[no-untyped-def]
    """Begin sums of zero."""
    clear(_start(room), room.itemsize * SQUARES * channels * filters)


@outlined
def _multiply(  # type: ignore[no-untyped-def]
    panel, lanes, channels, filters, room, squares, filled, offsets, tiles, tile_count
):
    """Add the products of the squares that are there to the sums."""
    size, summed = room.itemsize, _start(room)
    entered = summed + size * SQUARES * channels * filters
    in_plane, out_plane = plane(size * squares * channels), plane(size * squares * filters)
    gradients = entered + SQUARES * in_plane
    for chosen in range(0, filters, 2 * lanes):
        columns = min(2 * lanes, filters - chosen)
        for number in range(SQUARES):
            place = summed + size * (number * channels * filters + chosen)
            call(
                panel,
                entered + number * in_plane,
                1,
                channels,
                offsets,
                gradients + number * out_plane + size * chosen,
                filters,
                0,
                place,
                filters,
                place,
                filters,
                tiles,
                tile_count,
                columns,
                filled,
                1,
            )


@outlined
def add_squares(  # type: ignore[no-untyped-def]
    panel, lanes, one, source, wide, channels, gradient, broad, height, width, filters, room,
    squares, filled, offsets, tiles, tile_count,
):  # fmt: skip
    """Add what an image gives; return how many squares wait for their products.

    Parameters
    ----------
    panel, lanes : int
        Address and lanes of a `blocked_product.Panel`.
    one : float
        Of the type of the arrays.
    source, wide, channels : int
        Address of the first window, pixels of a row, and channels.
    gradient, broad, height, width, filters : int
        The same of the gradient of the output, which is at least 2 x 2.
    room : vector
        As large as `room` says.
    squares, filled : int
        How many get their products at a time, and how many wait from images before.
    offsets, tiles, tile_count : int
        Address of a 0; address and length of a table that covers as many rows as there are
        channels.
    """
    size, zero = room.itemsize, one - one
    entered = _start(room) + size * SQUARES * channels * filters
    in_plane, out_plane = plane(size * squares * channels), plane(size * squares * filters)
    gradients = entered + SQUARES * in_plane
    pixel, row = size * channels, size * channels * wide
    out_pixel, out_row = size * filters, size * filters * broad
    for y in range(0, height, 2):
        top = min(y, height - 2)  # the last square has a row again that another one has had
        down = one if top == y else zero
        for x in range(0, width, 2):
            left = min(x, width - 2)
            across = one if left == x else zero
            place = source + top * row + left * pixel
            for c in range(0, pixel, BYTES):
                enter(one, place + c, pixel, row, entered + filled * pixel + c, in_plane)
            place = gradient + top * out_row + left * out_pixel
            for f in range(0, out_pixel, BYTES):
                _enter_gradient(
                    down, across, place + f, out_pixel, out_row,
                    gradients + filled * out_pixel + f, out_plane,
                )  # fmt: skip
            filled += 1
            if filled == squares:
                _multiply(
                    panel, lanes, channels, filters, room, squares, filled, offsets, tiles,
                    tile_count,
                )  # fmt: skip
                filled = 0
    return filled


@outlined
def end_squares(  # type: ignore[no-untyped-def]
    panel, lanes, one, channels, filters, room, squares, filled, offsets, tiles, tile_count, target
):
    """Do what waits, and write the sums to (9, C, F) at the address ``target``."""
    if filled > 0:
        _multiply(
            panel, lanes, channels, filters, room, squares, filled, offsets, tiles, tile_count
        )
    size, summed = room.itemsize, _start(room)
    far = size * channels * filters
    for place in range(0, far, BYTES):
        _leave(one, summed + place, far, target + place, far)
