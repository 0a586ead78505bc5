"""The three products of a convolution for one image (H, W, C), without laying out the pixels.

All are panels of `blocked_product` over padded images: a row of windows by some filters; a row of
pixels of the input by some channels, where the gradient of the output takes the place of the input;
and the filters themselves, whose tiles stay in registers over all windows of an image. ``table``
says where everything lies: `geometry.Geometry.table`. Most filters of 3 x 3 are left to `winograd`,
`winograd_few` and `winograd_filters`; ``room`` and ``sums`` are for that.
"""

from __future__ import annotations

import numpy as np

from . import geometry as g
from ._compile import inlined, outlined
from ._memory import fetch_aside
from .blocked_product import call
from .winograd import convolve_squares
from .winograd_few import convolve_few
from .winograd_filters import add_squares, begin_squares, end_squares

__all__ = [
    "add_filters",
    "begin_filters",
    "bring_back",
    "convolve",
    "end_filters",
]

#: So many rows of pixels before they are written, their memory is fetched: a tile would have to
#: wait for all of its own at once. What is read is fetched by the processor itself.
_AHEAD = 4


@inlined
def _by_squares(  # type: ignore[no-untyped-def]
    panel, lanes, table, place, source, wide, depth, packed, start, output, n, room
):
    """Make an image of the output from windows that begin at an address.

    ``place`` is where the table has the number of squares, and behind it their tiles.
    """
    _, height, width, columns = output.shape
    if table[g.FEW] > 0:
        convolve_few(
            output.dtype.type(0), source, wide, depth, packed, start.ctypes.data,
            output.ctypes.data + output.itemsize * n * height * width * columns, height, width,
            columns, room, table[place],
        )  # fmt: skip
        return
    convolve_squares(
        panel,
        lanes,
        output.dtype.type(0),
        source,
        wide,
        depth,
        packed,
        start.ctypes.data,
        output.ctypes.data + output.itemsize * n * height * width * columns,
        height,
        width,
        columns,
        room,
        table[place],
        table.ctypes.data + 8 * table[g.FORWARD_OFFSETS],  # the first of which is 0
        table.ctypes.data + 8 * table[place + 1],
        table[place + 2],
    )


@outlined
def convolve(panel, lanes, table, padded, packed, bias, output, n, room):  # type: ignore[no-untyped-def]
    """Convolve an image."""
    size = output.itemsize
    _, height, width, filters = output.shape
    _, tall, wide, channels = padded.shape
    if table[g.SQUARES] > 0:
        source = padded.ctypes.data + size * n * tall * wide * channels
        _by_squares(
            panel, lanes, table, g.SQUARES, source, wide, channels, packed, bias, output, n, room
        )
        return
    groups, length = table[g.GROUPS], table[g.FORWARD_LENGTH]
    rows = packed.size // filters
    for group in range(groups):
        for first in range(
            group * (filters // groups), (group + 1) * (filters // groups), 2 * lanes
        ):
            columns = min(2 * lanes, (group + 1) * (filters // groups) - first)
            for y in range(height):
                if first == 0:
                    row = size * width * filters
                    fetch_aside(output.ctypes.data + (n * height + y + _AHEAD) * row, row)
                pixel = (n * tall + y * table[g.STRIDE_DOWN]) * wide * channels
                call(
                    panel,
                    padded.ctypes.data + size * (pixel + group * (channels // groups)),
                    table[g.STRIDE_ACROSS] * channels,
                    1,
                    table.ctypes.data + 8 * table[g.FORWARD_OFFSETS],
                    packed.ctypes.data + size * first * rows,
                    columns,
                    columns * length,
                    output.ctypes.data + size * ((n * height + y) * width * filters + first),
                    filters,
                    bias.ctypes.data + size * first,
                    0,
                    table.ctypes.data + 8 * table[g.FORWARD_TILES],
                    table[g.FORWARD_TILE_COUNT],
                    columns,
                    length,
                    table[g.FORWARD_BLOCKS],
                )


@outlined
def begin_filters(table, sums):  # type: ignore[no-untyped-def]
    """Begin the sums of a share; return how many squares wait, none."""
    if table[g.FILTER_SQUARES] > 0:
        begin_squares(table[g.CHANNELS], table[g.FILTERS], sums)
    return np.int64(0)  # the literal has a type of its own, for which all that it goes to is made


@outlined
def end_filters(panel, lanes, table, sums, waiting, partial, index):  # type: ignore[no-untyped-def]
    """Write the sums of a share where they are not there yet."""
    if table[g.FILTER_SQUARES] > 0:
        end_squares(
            panel,
            lanes,
            partial.dtype.type(1),
            table[g.CHANNELS],
            table[g.FILTERS],
            sums,
            table[g.FILTER_SQUARES],
            waiting,
            table.ctypes.data + 8 * table[g.FORWARD_OFFSETS],  # the first of which is 0
            table.ctypes.data + 8 * table[g.FILTER_TILES],
            table[g.FILTER_TILE_COUNT],
            partial.ctypes.data + partial.itemsize * index * partial.shape[1],
        )


@outlined
def add_filters(  # type: ignore[no-untyped-def]
    panel, lanes, table, padded, n, gradient, place, partial, index, sums, waiting
):
    """Add what an image gives to the gradients of the filters; return how many squares wait.

    ``place`` is where its gradient is.
    """
    size = gradient.itemsize
    _, tall, wide, channels = padded.shape
    _, high, broad, filters = gradient.shape
    groups = table[g.GROUPS]
    first_pixel = (place * high + table[g.GRADIENT_TOP]) * broad + table[g.GRADIENT_LEFT]
    if table[g.FILTER_SQUARES] > 0:
        return add_squares(
            panel,
            lanes,
            gradient.dtype.type(1),
            padded.ctypes.data + size * n * tall * wide * channels,
            wide,
            channels,
            gradient.ctypes.data + size * first_pixel * filters,
            broad,
            table[g.OUTPUT_DOWN],
            table[g.OUTPUT_ACROSS],
            filters,
            sums,
            table[g.FILTER_SQUARES],
            waiting,
            table.ctypes.data + 8 * table[g.FORWARD_OFFSETS],  # the first of which is 0
            table.ctypes.data + 8 * table[g.FILTER_TILES],
            table[g.FILTER_TILE_COUNT],
        )
    own = partial.ctypes.data + size * index * partial.shape[1]
    for group in range(groups):
        for first in range(
            group * (filters // groups), (group + 1) * (filters // groups), 2 * lanes
        ):
            columns = min(2 * lanes, (group + 1) * (filters // groups) - first)
            for block in range(table[g.WEIGHT_BLOCKS]):
                start = table[g.WEIGHT_STARTS] + 2 * block
                pixel = n * tall * wide * channels + table[start] + group * (channels // groups)
                share = own + size * (table[start + 1] * filters + first)
                for y in range(0, table[g.OUTPUT_DOWN], table[g.WEIGHT_ROWS]):
                    call(
                        panel,
                        padded.ctypes.data + size * pixel,
                        1,
                        table[g.STRIDE_ACROSS] * channels,
                        table.ctypes.data + 8 * (table[g.WEIGHT_OFFSETS] + y),
                        gradient.ctypes.data + size * ((first_pixel + y * broad) * filters + first),
                        filters,
                        broad * filters,
                        share,
                        filters,
                        share,
                        filters,
                        table.ctypes.data + 8 * table[g.WEIGHT_TILES],
                        table[g.WEIGHT_TILE_COUNT],
                        columns,
                        table[g.OUTPUT_ACROSS],
                        min(table[g.WEIGHT_ROWS], table[g.OUTPUT_DOWN] - y),
                    )
    return 0


@outlined
def bring_back(  # type: ignore[no-untyped-def]
    panel, lanes, table, gradient, place, turned, zeros, dinput, n, room
):
    """Make the gradient of an image from that of its output, which is at ``place``."""
    size = gradient.itemsize
    _, high, broad, filters = gradient.shape
    _, height, width, channels = dinput.shape
    if table[g.BACK_SQUARES] > 0:
        pixel = (place * high + table[g.GRADIENT_TOP]) * broad + table[g.GRADIENT_LEFT]
        # The last of the rows of taps, from its leftmost pixel on.
        corner = pixel * filters + table[table[g.BACK_OFFSETS] + 2]
        source = gradient.ctypes.data + size * corner
        _by_squares(
            panel, lanes, table, g.BACK_SQUARES, source, broad, filters, turned, zeros, dinput, n,
            room,
        )  # fmt: skip
        return
    groups, length = table[g.GROUPS], table[g.BACK_LENGTH]
    depth = channels // groups
    for number in range(table[g.PHASE_COUNT]):
        phase = table[g.PHASES] + g.PHASE * number
        blocks = table[phase + 5]
        start = table[phase + 4] * length * depth * groups
        for group in range(groups):
            for first in range(group * depth, (group + 1) * depth, 2 * lanes):
                columns = min(2 * lanes, (group + 1) * depth - first)
                for y in range(table[phase + 1]):
                    if number == 0 and first == 0:
                        row = size * width * channels
                        line = n * height + y * table[g.STRIDE_DOWN] + _AHEAD
                        fetch_aside(dinput.ctypes.data + line * row, table[g.STRIDE_DOWN] * row)
                    pixel = (place * high + table[g.GRADIENT_TOP] + y) * broad + table[
                        g.GRADIENT_LEFT
                    ]
                    line = n * height + table[phase] + y * table[g.STRIDE_DOWN]
                    target = (line * width + table[phase + 2]) * channels + first
                    call(
                        panel,
                        gradient.ctypes.data
                        + size * (pixel * filters + group * (filters // groups)),
                        filters,
                        1,
                        table.ctypes.data + 8 * (table[g.BACK_OFFSETS] + table[phase + 4]),
                        turned.ctypes.data + size * start,
                        columns,
                        columns * length,
                        dinput.ctypes.data + size * target,
                        table[g.STRIDE_ACROSS] * channels,
                        zeros.ctypes.data,
                        0,
                        table.ctypes.data + 8 * table[phase + 6],
                        table[phase + 7],
                        columns,
                        length,
                        blocks,
                    )
                start += blocks * length * columns
