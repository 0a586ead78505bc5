"""What follows a convolution: scale, shift, activation and pooling, forward and backward.

Images are flat arrays (N, H, W, C), those of the output with margins for the next convolution.
Parts of the work are images, and sums are taken image by image, so results do not depend on the
number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ._compile import Kernel, inlined, outlined
from .activations import _IDENTITY, _RELU, KINDS, activate
from .moments import cleared, folded, tiled
from .pooled_pairs import activate_pairs, spread_pairs

__all__ = ["AVERAGE", "BACKWARD", "FORWARD", "MAXIMUM", "NONE"]

NONE, MAXIMUM, AVERAGE = range(3)

# What is where in ``sizes``: the images before pooling, those with margins and where in them the
# others begin, the pooled ones, and the window: 1 at the end if averages count the padding.
(
    HEIGHT, WIDTH, CHANNELS, TALL, WIDE, TOP, LEFT, DOWN, ACROSS, KERNEL_DOWN, KERNEL_ACROSS,
    STRIDE_DOWN, STRIDE_ACROSS, PADDING_DOWN, PADDING_ACROSS, COUNT_PADDING,
) = range(16)  # fmt: skip


@inlined
def _in_pairs(kind, pool, sizes, itemsize):  # type: ignore[no-untyped-def]
    """Tell whether the kernels of `pooled_pairs` do it: every pixel is in one window of 2 x 2."""
    window = sizes[KERNEL_DOWN] == 2 and sizes[KERNEL_ACROSS] == 2
    steps = sizes[STRIDE_DOWN] == 2 and sizes[STRIDE_ACROSS] == 2
    cover = sizes[HEIGHT] == 2 * sizes[DOWN] and sizes[WIDTH] == 2 * sizes[ACROSS]
    padded = sizes[PADDING_DOWN] != 0 or sizes[PADDING_ACROSS] != 0
    fill = sizes[CHANNELS] * itemsize % 64 == 0
    known = kind in (_IDENTITY, _RELU)
    return known and pool == MAXIMUM and window and steps and cover and fill and not padded


@outlined
def _finish(kind, x, centre, scale, shift, a, pool, sizes, output, codes, begin, end):  # type: ignore[no-untyped-def]
    """Activate images row by row, and pool each image while it is in the cache."""
    T = x.dtype.type
    setting = T(a)
    height, width, channels = sizes[HEIGHT], sizes[WIDTH], sizes[CHANNELS]
    length = width * channels
    centres, scales, shifts = tiled(centre, width), tiled(scale, width), tiled(shift, width)
    if _in_pairs(len(kind), pool, sizes, x.itemsize):
        size = sizes[DOWN] * sizes[ACROSS] * channels
        for n in range(begin, end):
            start = ((n * sizes[TALL] + sizes[TOP]) * sizes[WIDE] + sizes[LEFT]) * channels
            activate_pairs(
                kind, x, n * height * length, width, centre, scale, shift, output, start,
                sizes[WIDE] * channels, codes, n * size, sizes[DOWN], sizes[ACROSS],
            )  # fmt: skip
        return
    inner = np.empty(height * length if pool != NONE else 0, x.dtype)
    for n in range(begin, end):
        for i in range(height):
            source = x[(n * height + i) * length : (n * height + i + 1) * length]
            start = ((n * sizes[TALL] + sizes[TOP] + i) * sizes[WIDE] + sizes[LEFT]) * channels
            if pool == NONE:
                target = output[start : start + length]
            else:
                target = inner[i * length : (i + 1) * length]
            for c in range(length):
                z = (source[c] - centres[c]) * scales[c] + shifts[c]
                y, _ = activate(len(kind), z, setting, T)
                target[c] = y
        if pool != NONE:
            _pool(inner, pool, sizes, output, codes, n)


@outlined
def _pool(inner, pool, sizes, output, codes, n):  # type: ignore[no-untyped-def]
    T = inner.dtype.type
    height, width, channels = sizes[HEIGHT], sizes[WIDTH], sizes[CHANNELS]
    for oy in range(sizes[DOWN]):
        y = oy * sizes[STRIDE_DOWN] - sizes[PADDING_DOWN]
        first, last = max(-y, 0), min(sizes[KERNEL_DOWN], height - y)
        for ox in range(sizes[ACROSS]):
            x = ox * sizes[STRIDE_ACROSS] - sizes[PADDING_ACROSS]
            begin, end = max(-x, 0), min(sizes[KERNEL_ACROSS], width - x)
            place = (n * sizes[TALL] + sizes[TOP] + oy) * sizes[WIDE] + sizes[LEFT] + ox
            best = output[place * channels : (place + 1) * channels]
            place = (n * sizes[DOWN] + oy) * sizes[ACROSS] + ox
            code = codes[place * channels : (place + 1) * channels]
            for i in range(first, last):
                for j in range(begin, end):
                    place = (y + i) * width + x + j
                    pixel = inner[place * channels : (place + 1) * channels]
                    tap = np.uint8(i * sizes[KERNEL_ACROSS] + j)
                    if i == first and j == begin:
                        for c in range(channels):
                            best[c] = pixel[c]
                            code[c] = tap
                    elif pool == AVERAGE:
                        for c in range(channels):
                            best[c] += pixel[c]
                    else:
                        for c in range(channels):
                            p, b = pixel[c], best[c]
                            # Of equal ones the first is taken, and NaN stays.
                            larger = (not p <= b) and b == b
                            best[c] = p if larger else b
                            code[c] = tap if larger else code[c]
            if pool == AVERAGE:
                count = (last - first) * (end - begin)
                if sizes[COUNT_PADDING]:
                    count = sizes[KERNEL_DOWN] * sizes[KERNEL_ACROSS]
                for c in range(channels):
                    best[c] /= T(count)


@outlined
def _spread(  # type: ignore[no-untyped-def]
    kind, dout, codes, x, centre, scale, shift, a, pool, sizes, gradient, sums, begin, end
):
    """Bring the gradient back through pooling, then row by row through the activation."""
    T = x.dtype.type
    setting = T(a)
    height, width, channels = sizes[HEIGHT], sizes[WIDTH], sizes[CHANNELS]
    length, image = width * channels, sizes[TALL] * sizes[WIDE] * channels
    centres, scales, shifts = tiled(centre, width), tiled(scale, width), tiled(shift, width)
    totals, products = np.empty(length, x.dtype), np.empty(length, x.dtype)
    pairs = _in_pairs(len(kind), pool, sizes, x.itemsize)
    for n in range(begin, end):
        cleared(gradient[n * image : (n + 1) * image])
        cleared(totals)
        cleared(products)
        if pairs:
            start = ((n * sizes[TALL] + sizes[TOP]) * sizes[WIDE] + sizes[LEFT]) * channels
            spread_pairs(
                kind, dout, codes, n * sizes[DOWN] * sizes[ACROSS] * channels, x,
                n * height * length, width, centre, scale, shift, gradient, start,
                sizes[WIDE] * channels, totals, products, sizes[DOWN], sizes[ACROSS],
            )  # fmt: skip
            folded(totals, sums, 2 * n * channels, channels)
            folded(products, sums, (2 * n + 1) * channels, channels)
            continue
        if pool != NONE:
            _unpool(dout, codes, pool, sizes, gradient, n)
        for i in range(height):
            pixel = x[(n * height + i) * length : (n * height + i + 1) * length]
            start = ((n * sizes[TALL] + sizes[TOP] + i) * sizes[WIDE] + sizes[LEFT]) * channels
            line = gradient[start : start + length]
            given = line
            if pool == NONE:
                given = dout[(n * height + i) * length : (n * height + i + 1) * length]
            for c in range(length):
                away = pixel[c] - centres[c]
                _, slope = _activate_with_slope(len(kind), away * scales[c] + shifts[c], setting, T)
                t = given[c] * slope
                line[c] = t
                totals[c] += t
                products[c] += t * away
        folded(totals, sums, 2 * n * channels, channels)
        folded(products, sums, (2 * n + 1) * channels, channels)


@outlined
def _unpool(dout, codes, pool, sizes, gradient, n):  # type: ignore[no-untyped-def]
    T = dout.dtype.type
    height, width, channels = sizes[HEIGHT], sizes[WIDTH], sizes[CHANNELS]
    for oy in range(sizes[DOWN]):
        y = oy * sizes[STRIDE_DOWN] - sizes[PADDING_DOWN]
        first, last = max(-y, 0), min(sizes[KERNEL_DOWN], height - y)
        for ox in range(sizes[ACROSS]):
            x = ox * sizes[STRIDE_ACROSS] - sizes[PADDING_ACROSS]
            begin, end = max(-x, 0), min(sizes[KERNEL_ACROSS], width - x)
            place = (n * sizes[DOWN] + oy) * sizes[ACROSS] + ox
            given = dout[place * channels : (place + 1) * channels]
            code = codes[place * channels : (place + 1) * channels]
            count = (last - first) * (end - begin)
            if sizes[COUNT_PADDING]:
                count = sizes[KERNEL_DOWN] * sizes[KERNEL_ACROSS]
            for i in range(first, last):
                for j in range(begin, end):
                    place = (n * sizes[TALL] + sizes[TOP] + y + i) * sizes[WIDE]
                    place += sizes[LEFT] + x + j
                    line = gradient[place * channels : (place + 1) * channels]
                    if pool == AVERAGE:
                        for c in range(channels):
                            line[c] += given[c] / T(count)
                    else:
                        tap = i * sizes[KERNEL_ACROSS] + j
                        for c in range(channels):
                            line[c] += given[c] if code[c] == tap else T(0)


@inlined
def _activate_with_slope(kind, z, a, T):  # type: ignore[no-untyped-def]
    """Return f(z) and f'(z)."""
    if kind == _RELU:  # for which `activate` has no slope: it is told from the output
        return z, (T(1) if z > T(0) else T(0))
    return activate(kind, z, a, T)


def _make_forward(kind: int) -> Kernel:
    tag = (0,) * kind

    def finish(  # type: ignore[no-untyped-def]
        x, centre, scale, shift, a, pool, sizes, output, codes, images, parts
    ):
        for index in prange(0, parts):
            begin, end = index * images // parts, (index + 1) * images // parts
            _finish(tag, x, centre, scale, shift, a, pool, sizes, output, codes, begin, end)

    arguments = "vector vector vector vector real integer indices vector! bytes! integer integer"
    return Kernel(finish, arguments)


def _make_backward(kind: int) -> Kernel:
    tag = (0,) * kind

    def spread(  # type: ignore[no-untyped-def]
        dout, codes, x, centre, scale, shift, a, pool, sizes, gradient, sums, images, parts
    ):
        for index in prange(0, parts):
            begin, end = index * images // parts, (index + 1) * images // parts
            _spread(
                tag, dout, codes, x, centre, scale, shift, a, pool, sizes, gradient, sums, begin,
                end,
            )  # fmt: skip

    arguments = "vector bytes vector vector vector vector real integer indices vector! vector!"
    return Kernel(spread, arguments + " integer integer")


#: ``(x, centre, scale, shift, a, pool, sizes, output, codes, images, parts)``, by the activation:
#: ``f((x - centre) * scale + shift)``, pooled, into images with margins, all of them flat.
#: ``codes`` (N, H', W', C) is the number of the tap that is the maximum.
FORWARD = {name: _make_forward(kind) for name, kind in KINDS.items() if name != "dropout"}

#: ``(dout, codes, x, centre, scale, shift, a, pool, sizes, gradient, sums, images, parts)``: the
#: gradient t behind the normalization, with zeros around, and for each image the sums (N, 2 C) of t
#: and of ``t * (x - centre)``.
BACKWARD = {name: _make_backward(kind) for name, kind in KINDS.items() if name != "dropout"}
