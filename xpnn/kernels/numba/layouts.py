"""Images in two orders of memory: (N, C, H, W) outside, (N, H, W, C) inside of fused runs."""

from __future__ import annotations

import numpy as np
from numba import prange

from ._compile import kernel, outlined, part
from .squares import transpose

__all__ = ["enter", "enter_image", "leave", "leave_image", "put"]


@kernel("images images! integer integer integer")
def enter(x, padded, top, left, parts):  # type: ignore[no-untyped-def]
    """Put images (N, C, H, W) into the middle of images (N, H + margins, W + margins, C)."""
    for index in prange(0, parts):
        for n in range(index * x.shape[0] // parts, (index + 1) * x.shape[0] // parts):
            enter_image(x, n, padded, n, top, left)


@outlined
def enter_image(x, n, padded, place, top, left):  # type: ignore[no-untyped-def]
    """Put an image (C, H, W) into the middle of a larger one (H, W, C).

    Squares of pixels and channels are turned around in registers, if there are enough of both.
    """
    _, channels, height, width = x.shape
    size = x.itemsize
    side, pixels = 64 // size, height * width
    if channels < side or pixels < side:
        for i in range(height):
            line = padded[place, top + i]
            for c in range(channels):
                row = x[n, c, i]
                for j in range(width):
                    line[left + j, c] = row[j]
        return
    strip = np.empty(side * channels, x.dtype)
    image = x.ctypes.data + size * n * channels * pixels
    for each in range(0, pixels, side):
        first = min(each, pixels - side)
        for c in range(0, channels, side):
            c = min(c, channels - side)
            transpose(
                x.dtype.type(0),
                image + size * (c * pixels + first),
                size * pixels,
                strip.ctypes.data + size * c,
                size * channels,
            )
        i, j = first // width, first % width
        for number in range(side):
            pixel = padded[place, top + i, left + j]
            for c in range(channels):
                pixel[c] = strip[number * channels + c]
            j += 1
            if j == width:
                i, j = i + 1, 0


@kernel("images images! integer integer integer")
def put(x, padded, top, left, parts):  # type: ignore[no-untyped-def]
    """Put images (N, H, W, C) into the middle of larger ones."""
    for index in prange(0, parts):
        for n in range(index * x.shape[0] // parts, (index + 1) * x.shape[0] // parts):
            _put(x, padded, n, top, left)


@part
def _put(x, padded, n, top, left):  # type: ignore[no-untyped-def]
    _, height, width, channels = x.shape
    for i in range(height):
        source = x[n, i].reshape(-1)
        target = padded[n, top + i].reshape(-1)[left * channels :]
        for c in range(width * channels):
            target[c] = source[c]


@kernel("images images! integer")
def leave(x, output, parts):  # type: ignore[no-untyped-def]
    """Write images (N, H, W, C) as (N, C, H, W)."""
    for index in prange(0, parts):
        for n in range(index * x.shape[0] // parts, (index + 1) * x.shape[0] // parts):
            leave_image(x, n, output, n)


@outlined
def leave_image(x, n, output, place):  # type: ignore[no-untyped-def]
    """Write an image (H, W, C) as (C, H, W)."""
    _, height, width, channels = x.shape
    size = x.itemsize
    side, pixels = 64 // size, height * width
    if channels < side or pixels < side:
        for i in range(height):
            line = x[n, i]
            for c in range(channels):
                row = output[place, c, i]
                for j in range(width):
                    row[j] = line[j, c]
        return
    image = size * channels * pixels
    source, target = x.ctypes.data + n * image, output.ctypes.data + place * image
    for c in range(0, channels, side):
        c = min(c, channels - side)
        for first in range(0, pixels, side):
            first = min(first, pixels - side)
            transpose(
                x.dtype.type(0),
                source + size * (first * channels + c),
                size * channels,
                target + size * (c * pixels + first),
                size * pixels,
            )
