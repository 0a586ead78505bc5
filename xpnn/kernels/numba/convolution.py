"""Convolution of images (N, H, W, C), forward and backward, without laying out the pixels.

All three products are panels of `blocked_product` over the padded images: a row of windows by some
filters; a row of pixels of the input by some channels, where the gradient of the output takes the
place of the input; and the filters themselves, whose tiles stay in registers over all windows of an
image. ``table`` says where everything lies: `geometry.Geometry.table`.

Parts of the work are images, and the gradients of the filters are summed image by image in parts
that depend on the shapes alone, so results do not depend on the number of threads.
"""

from __future__ import annotations

from numba import prange

from . import geometry as g
from ._compile import kernel, part
from .blocked_product import call
from .moments import cleared, take_moments

__all__ = ["backward", "collect", "forward", "pack", "pack_turned"]

_PHASE = 8  # numbers in a row of the phases


@kernel("indices integer matrix vector!")
def pack(table, lanes, weights, packed):  # type: ignore[no-untyped-def]
    """Order filters as the forward product reads them.

    Parameters
    ----------
    weights : (F, C / groups * taps)
    packed : (F * C / groups * taps,)
        For each group and each ``2 * lanes`` of its filters: (tap, channel, filter).
    """
    filters = table[g.FILTERS] // table[g.GROUPS]
    chunks = (filters + 2 * lanes - 1) // (2 * lanes)
    for index in prange(table[g.GROUPS] * chunks):
        first = index % chunks * 2 * lanes
        width = min(2 * lanes, filters - first)
        _pack(weights, packed, table[g.TAPS], index // chunks * filters + first, width)


@part
def _pack(weights, packed, taps, first, width):  # type: ignore[no-untyped-def]
    rows = weights.shape[1]
    depth = rows // taps
    out = packed[first * rows : (first + width) * rows]
    for f in range(width):
        filter = weights[first + f]
        for c in range(depth):
            for tap in range(taps):
                out[(tap * depth + c) * width + f] = filter[c * taps + tap]


@kernel("indices integer matrix vector!")
def pack_turned(table, lanes, weights, packed):  # type: ignore[no-untyped-def]
    """Order filters as the product for the gradient of the input reads them.

    Parameters
    ----------
    weights : (F, C / groups * taps)
    packed : (F * C / groups * taps,)
        For each phase, each group and each ``2 * lanes`` of its channels: (tap, filter, channel).
    """
    for index in prange(table[g.PHASE_COUNT]):
        _pack_turned(table, lanes, weights, packed, table[g.PHASES] + _PHASE * index)


@part
def _pack_turned(table, lanes, weights, packed, phase):  # type: ignore[no-untyped-def]
    groups, taps = table[g.GROUPS], table[g.TAPS]
    filters = weights.shape[0] // groups
    depth = weights.shape[1] // taps
    first, count = table[phase + 4] * table[g.BACK_RUN], table[phase + 5] * table[g.BACK_RUN]
    start = first * filters * depth * groups
    for group in range(groups):
        for channel in range(0, depth, 2 * lanes):
            width = min(2 * lanes, depth - channel)
            out = packed[start : start + count * filters * width]
            start += count * filters * width
            for number in range(count):
                place = table[g.BACK_TAPS] + 2 * (first + number)
                tap = table[place] * table[g.ACROSS] + table[place + 1]
                for f in range(filters):
                    row = weights[group * filters + f]
                    for c in range(width):
                        out[(number * filters + f) * width + c] = row[(channel + c) * taps + tap]


@kernel("integer integer indices images vector vector images! vector matrix! integer")
def forward(panel, lanes, table, padded, packed, bias, output, flat, moments, parts):  # type: ignore[no-untyped-def]
    """Convolve padded images, and take the moments of every image of the output.

    Parameters
    ----------
    panel, lanes : int
        Address and lanes of a `blocked_product.Panel`.
    padded : (N, H + margins, W + margins, C)
    packed : (F * C / groups * taps,)
        From `pack`.
    bias : (F,)
    output, flat : (N, H', W', F), (N * H' * W' * F,)
        The same memory.
    moments : (N, 2 F), or (0, 0) if they are not wanted
        The mean of each channel, and the sum of the squared differences from it.
    """
    images = padded.shape[0]
    for index in prange(parts):
        for n in range(index * images // parts, (index + 1) * images // parts):
            _forward(panel, lanes, table, padded, packed, bias, output, n)
            if moments.shape[0] > 0:
                take_moments(flat, output.shape[1], output.shape[2], output.shape[3], moments, n)


@part
def _forward(panel, lanes, table, padded, packed, bias, output, n):  # type: ignore[no-untyped-def]
    size = output.itemsize
    _, height, width, filters = output.shape
    _, tall, wide, channels = padded.shape
    groups, length = table[g.GROUPS], table[g.FORWARD_LENGTH]
    rows = packed.size // filters
    for group in range(groups):
        for first in range(
            group * (filters // groups), (group + 1) * (filters // groups), 2 * lanes
        ):
            columns = min(2 * lanes, (group + 1) * (filters // groups) - first)
            for y in range(height):
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


@kernel(
    "integer integer indices images images! vector! vector matrix vector vector matrix! images!"
)
def backward(  # type: ignore[no-untyped-def]
    panel, lanes, table, padded, gradient, flat, output, factors, turned, zeros, partial, dinput
):
    """Write the gradient of the input, and those of filters and bias in parts.

    Parameters
    ----------
    padded : (N, H + margins, W + margins, C)
        As in `forward`.
    gradient, flat : (N, H' + margins, W' + margins, F), (all of them,)
        That of the output, with zeros around; the same memory.
    output, factors : (N * H' * W' * F,), (3, W' * F) or (0, 0)
        If there are factors, one for every number of a row of an image, the gradient first becomes
        ``factors[0] * gradient + factors[1] * output + factors[2]``: that of a normalization.
    turned : (F * C / groups * taps,)
        From `pack_turned`.
    zeros : (F,) or longer
    partial : (parts, F * C / groups * taps + F)
        What each part of the images adds to the gradients of filters (tap, channel, filter) and
        bias.
    dinput : (N, H, W, C), or N = 0 if it is not wanted
    """
    for index in prange(partial.shape[0]):
        _backward(
            panel, lanes, table, padded, gradient, flat, output, factors, turned, zeros, partial,
            dinput, index,
        )  # fmt: skip


@part
def _backward(  # type: ignore[no-untyped-def]
    panel,
    lanes,
    table,
    padded,
    gradient,
    flat,
    output,
    factors,
    turned,
    zeros,
    partial,
    dinput,
    index,
):
    parts, images = partial.shape[0], padded.shape[0]
    cleared(partial[index])
    for n in range(index * images // parts, (index + 1) * images // parts):
        _correct(
            table, flat, gradient.shape[1], gradient.shape[2], output, factors, n, partial[index]
        )
        _add_filters(panel, lanes, table, padded, gradient, n, partial, index)
        if dinput.shape[0] > 0:
            _back(panel, lanes, table, gradient, turned, zeros, dinput, n)


@part
def _correct(table, flat, tall, wide, output, factors, n, sums):  # type: ignore[no-untyped-def]
    """Finish the gradient of an image, and add it up for the bias."""
    height, width, filters = table[g.OUTPUT_DOWN], table[g.OUTPUT_ACROSS], table[g.FILTERS]
    length, last = width * filters, sums.size - filters
    for y in range(height):
        start = (n * tall + table[g.GRADIENT_TOP] + y) * wide + table[g.GRADIENT_LEFT]
        row = flat[start * filters : start * filters + length]
        if factors.shape[0] > 0:
            scale, slope, shift = factors[0], factors[1], factors[2]
            pixel = output[(n * height + y) * length : (n * height + y + 1) * length]
            for c in range(length):
                row[c] = scale[c] * row[c] + (slope[c] * pixel[c] + shift[c])
        else:
            for x in range(width):
                for c in range(filters):
                    sums[last + c] += row[x * filters + c]


@part
def _add_filters(panel, lanes, table, padded, gradient, n, partial, index):  # type: ignore[no-untyped-def]
    size = gradient.itemsize
    _, tall, wide, channels = padded.shape
    _, high, broad, filters = gradient.shape
    groups = table[g.GROUPS]
    first_pixel = (n * high + table[g.GRADIENT_TOP]) * broad + table[g.GRADIENT_LEFT]
    own = partial.ctypes.data + size * index * partial.shape[1]
    for group in range(groups):
        for first in range(
            group * (filters // groups), (group + 1) * (filters // groups), 2 * lanes
        ):
            columns = min(2 * lanes, (group + 1) * (filters // groups) - first)
            for block in range(table[g.WEIGHT_BLOCKS]):
                start = table[g.WEIGHT_STARTS] + 2 * block
                pixel = n * tall * wide * channels + table[start] + group * (channels // groups)
                place = own + size * (table[start + 1] * filters + first)
                call(
                    panel,
                    padded.ctypes.data + size * pixel,
                    1,
                    table[g.STRIDE_ACROSS] * channels,
                    table.ctypes.data + 8 * table[g.WEIGHT_OFFSETS],
                    gradient.ctypes.data + size * (first_pixel * filters + first),
                    filters,
                    broad * filters,
                    place,
                    filters,
                    place,
                    filters,
                    table.ctypes.data + 8 * table[g.WEIGHT_TILES],
                    table[g.WEIGHT_TILE_COUNT],
                    columns,
                    table[g.OUTPUT_ACROSS],
                    table[g.OUTPUT_DOWN],
                )


@part
def _back(panel, lanes, table, gradient, turned, zeros, dinput, n):  # type: ignore[no-untyped-def]
    size = gradient.itemsize
    _, high, broad, filters = gradient.shape
    _, height, width, channels = dinput.shape
    groups, length = table[g.GROUPS], table[g.BACK_LENGTH]
    depth = channels // groups
    for number in range(table[g.PHASE_COUNT]):
        phase = table[g.PHASES] + _PHASE * number
        blocks = table[phase + 5]
        start = table[phase + 4] * length * depth * groups
        for group in range(groups):
            for first in range(group * depth, (group + 1) * depth, 2 * lanes):
                columns = min(2 * lanes, (group + 1) * depth - first)
                for y in range(table[phase + 1]):
                    pixel = (n * high + table[g.GRADIENT_TOP] + y) * broad + table[g.GRADIENT_LEFT]
                    line = n * height + table[phase] + y * table[g.STRIDE_DOWN]
                    place = (line * width + table[phase + 2]) * channels + first
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
                        dinput.ctypes.data + size * place,
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


@kernel("indices matrix! matrix! vector!")
def collect(table, partial, dweights, dbias):  # type: ignore[no-untyped-def]
    """Add up the parts of `backward`.

    Parameters
    ----------
    partial : (parts, F * C / groups * taps + F)
    dweights : (F, C / groups * taps)
    dbias : (F,)
    """
    rows = dweights.shape[1]
    for row in prange(rows + 1):
        _collect(partial, dweights, dbias, row, table[g.TAPS])


@part
def _collect(partial, dweights, dbias, row, taps):  # type: ignore[no-untyped-def]
    filters, rows = dweights.shape
    first = partial[0, row * filters : (row + 1) * filters]
    for index in range(1, partial.shape[0]):
        other = partial[index, row * filters : (row + 1) * filters]
        for f in range(filters):
            first[f] += other[f]
    if row == rows:
        for f in range(filters):
            dbias[f] = first[f]
        return
    depth = rows // taps
    place = row % depth * taps + row // depth
    for f in range(filters):
        dweights[f, place] = first[f]
