"""Convolution of images of few channels, (N, C, H, W) in memory, forward and backward.

Where a filter sees few channels, or there are few filters, vectors of channels would be mostly
empty. Here they are pixels. Some rows of an image at a time are laid out in the cache, a row of
numbers for each channel and tap of the filter, and three products of `blocked_product` follow: the
filters by these rows; the gradient of the output by their transpose; and the transposed filters by
the gradient of the output, whose rows are added up where they came from.

An image is done at a time, and gradients of the filters are summed in parts that depend on the
shapes alone, so results do not depend on the number of threads.
"""

from __future__ import annotations

from numba import prange

from . import narrow_geometry as g
from ._compile import kernel, outlined, part
from .blocked_product import call
from .squares import add_row, copy_row, transpose

__all__ = ["backward", "forward"]


@part
def _reach(table, j, width):  # type: ignore[no-untyped-def]
    """Return which windows of a row have a pixel under column j of the filter, and its shift."""
    shift, stride = j * table[g.DILATION_ACROSS] - table[g.LEFT], table[g.STRIDE_ACROSS]
    first = min(max(-(shift // stride), 0), table[g.ACROSS])
    return first, min(max((width - 1 - shift) // stride + 1, first), table[g.ACROSS]), shift


@outlined
def _lay_out(table, x, n, group, first, rows, columns):  # type: ignore[no-untyped-def]
    """Lay out what some rows of windows see."""
    T, size = x.dtype.type, x.itemsize
    _, channels, height, width = x.shape
    across, stride = table[g.ACROSS], table[g.STRIDE_ACROSS]
    row = 0
    for c in range(table[g.DEPTH]):
        plane = (n * channels + group * table[g.DEPTH] + c) * height
        for i in range(table[g.KERNEL_DOWN]):
            for j in range(table[g.KERNEL_ACROSS]):
                begin, end, shift = _reach(table, j, width)
                for y in range(rows):
                    to = row * table[g.LENGTH] + y * across
                    line = (
                        (first + y) * table[g.STRIDE_DOWN]
                        + i * table[g.DILATION_DOWN]
                        - table[g.TOP]
                    )
                    if line < 0 or line >= height:
                        for k in range(across):
                            columns[to + k] = T(0)
                        continue
                    for k in range(begin):
                        columns[to + k] = T(0)
                    for k in range(end, across):
                        columns[to + k] = T(0)
                    source = (plane + line) * width + begin * stride + shift
                    if stride == 1:
                        copy_row(
                            T(0),
                            x.ctypes.data + size * source,
                            columns.ctypes.data + size * (to + begin),
                            end - begin,
                        )
                    else:
                        pixels = x.reshape(-1)[source:]
                        for k in range(end - begin):
                            columns[to + begin + k] = pixels[k * stride]
                row += 1


@outlined
def _add_back(table, columns, n, group, first, rows, dinput):  # type: ignore[no-untyped-def]
    """Add numbers that are laid out to the pixels that they belong to."""
    T, size = dinput.dtype.type, dinput.itemsize
    _, channels, height, width = dinput.shape
    across, stride = table[g.ACROSS], table[g.STRIDE_ACROSS]
    row = 0
    for c in range(table[g.DEPTH]):
        plane = (n * channels + group * table[g.DEPTH] + c) * height
        for i in range(table[g.KERNEL_DOWN]):
            for j in range(table[g.KERNEL_ACROSS]):
                begin, end, shift = _reach(table, j, width)
                for y in range(rows):
                    line = (
                        (first + y) * table[g.STRIDE_DOWN]
                        + i * table[g.DILATION_DOWN]
                        - table[g.TOP]
                    )
                    if line < 0 or line >= height:
                        continue
                    source = row * table[g.LENGTH] + y * across + begin
                    to = (plane + line) * width + begin * stride + shift
                    if stride == 1:
                        add_row(
                            T(0),
                            columns.ctypes.data + size * source,
                            dinput.ctypes.data + size * to,
                            end - begin,
                        )
                    else:
                        pixels = dinput.reshape(-1)[to:]
                        for k in range(end - begin):
                            pixels[k * stride] += columns[source + k]
                row += 1


@outlined
def _forward(panel, lanes, table, x, weights, starts, output, n, columns):  # type: ignore[no-untyped-def]
    size = x.itemsize
    filters, pixels = output.shape[1] // table[g.GROUPS], output.shape[2] * output.shape[3]
    for group in range(table[g.GROUPS]):
        for first in range(0, table[g.DOWN], table[g.BAND]):
            rows = min(table[g.BAND], table[g.DOWN] - first)
            _lay_out(table, x, n, group, first, rows, columns)
            count = rows * table[g.ACROSS]
            place = (n * output.shape[1] + group * filters) * pixels + first * table[g.ACROSS]
            for pixel in range(0, count, 2 * lanes):
                call(
                    panel,
                    weights.ctypes.data + size * group * filters * table[g.ROWS],
                    table[g.ROWS],
                    1,
                    table.ctypes.data + 8 * g.ZERO,
                    columns.ctypes.data + size * pixel,
                    table[g.LENGTH],
                    0,
                    output.ctypes.data + size * (place + pixel),
                    pixels,
                    starts.ctypes.data + size * group * filters * 2 * lanes,
                    2 * lanes,
                    table.ctypes.data + 8 * table[g.FORWARD],
                    table[g.FORWARDS],
                    min(2 * lanes, count - pixel),
                    table[g.ROWS],
                    1,
                )


@kernel("integer integer indices images matrix matrix images! matrix! integer")
def forward(panel, lanes, table, x, weights, starts, output, scratch, parts):  # type: ignore[no-untyped-def]
    """Convolve images.

    Parameters
    ----------
    panel, lanes : int
        Address and lanes of a `blocked_product.Panel`.
    x : (N, C, H, W)
    weights : (F, C / groups * taps)
    starts : (F, 2 * lanes)
        The bias of a filter, as often as a panel has columns.
    output : (N, F, H', W')
    scratch : (parts, `narrow_geometry.room`)
    """
    images = x.shape[0]
    for index in prange(0, parts):
        for n in range(index * images // parts, (index + 1) * images // parts):
            _forward(panel, lanes, table, x, weights, starts, output, n, scratch[index])


@outlined
def _backward(  # type: ignore[no-untyped-def]
    panel, lanes, table, x, dout, weights, zeros, partial, number, dinput, n, scratch
):
    """Add what an image gives to the gradients of the filters, and make that of the image."""
    size = x.itemsize
    side = 64 // size
    filters, pixels = dout.shape[1] // table[g.GROUPS], dout.shape[2] * dout.shape[3]
    length, breadth = table[g.LENGTH], table[g.BREADTH]
    columns, turned = scratch[: length * breadth], scratch[length * breadth :]
    if dinput.shape[0] > 0:
        flat = dinput[n].reshape(-1)
        for k in range(flat.size):
            flat[k] = 0.0
    for group in range(table[g.GROUPS]):
        own = number * partial.shape[1] + group * filters * (table[g.ROWS] + 1)
        for first in range(0, table[g.DOWN], table[g.BAND]):
            rows = min(table[g.BAND], table[g.DOWN] - first)
            _lay_out(table, x, n, group, first, rows, columns)
            count = rows * table[g.ACROSS]
            for k in range(table[g.ROWS] * length, table[g.ROWS] * length + count):
                columns[k] = 1.0  # the gradient by the bias is a sum
            for row in range(0, table[g.ROWS] + 1, side):
                for pixel in range(0, count, side):
                    transpose(
                        x.dtype.type(0),
                        columns.ctypes.data + size * (row * length + pixel),
                        size * length,
                        turned.ctypes.data + size * (pixel * breadth + row),
                        size * breadth,
                    )
            given = (n * dout.shape[1] + group * filters) * pixels + first * table[g.ACROSS]
            for row in range(0, table[g.ROWS] + 1, 2 * lanes):
                place = partial.ctypes.data + size * (own + row)
                call(
                    panel,
                    dout.ctypes.data + size * given,
                    pixels,
                    1,
                    table.ctypes.data + 8 * g.ZERO,
                    turned.ctypes.data + size * row,
                    breadth,
                    0,
                    place,
                    table[g.ROWS] + 1,
                    place,
                    table[g.ROWS] + 1,
                    table.ctypes.data + 8 * table[g.WEIGHT],
                    table[g.WEIGHTS],
                    min(2 * lanes, table[g.ROWS] + 1 - row),
                    count,
                    1,
                )
            if dinput.shape[0] == 0:
                continue
            for pixel in range(0, count, 2 * lanes):
                call(
                    panel,
                    weights.ctypes.data + size * group * filters * table[g.ROWS],
                    1,
                    table[g.ROWS],
                    table.ctypes.data + 8 * g.ZERO,
                    dout.ctypes.data + size * (given + pixel),
                    pixels,
                    0,
                    columns.ctypes.data + size * pixel,
                    length,
                    zeros.ctypes.data,
                    0,
                    table.ctypes.data + 8 * table[g.BACK],
                    table[g.BACKS],
                    min(2 * lanes, count - pixel),
                    filters,
                    1,
                )
            _add_back(table, columns, n, group, first, rows, dinput)


@kernel("integer integer indices images images matrix vector matrix! images! matrix! integer")
def backward(  # type: ignore[no-untyped-def]
    panel, lanes, table, x, dout, weights, zeros, partial, dinput, scratch, parts
):
    """Write the gradient of the input, and those of filters and bias in shares.

    Parameters
    ----------
    x, dout, weights, scratch
        As in `forward`; ``dout`` (N, F, H', W').
    zeros : (2 * lanes,) or longer
    partial : (shares, F * (C / groups * taps + 1))
        What each share of the images adds to the gradients of a filter and its bias.
    dinput : (N, C, H, W), or N = 0 if it is not wanted
    """
    images, shares = x.shape[0], partial.shape[0]
    for index in prange(0, parts):
        for number in range(index * shares // parts, (index + 1) * shares // parts):
            for k in range(partial.shape[1]):
                partial[number, k] = 0.0
            for n in range(number * images // shares, (number + 1) * images // shares):
                _backward(
                    panel, lanes, table, x, dout, weights, zeros, partial, number, dinput, n,
                    scratch[index],
                )  # fmt: skip
