"""Images in two orders of memory: (N, C, H, W) outside, (N, H, W, C) inside of fused runs."""

from __future__ import annotations

from numba import prange

from ._compile import kernel, part

__all__ = ["enter", "leave", "put"]


@kernel("images images! integer integer integer")
def enter(x, padded, top, left, parts):  # type: ignore[no-untyped-def]
    """Put images (N, C, H, W) into the middle of images (N, H + margins, W + margins, C)."""
    for index in prange(parts):
        for n in range(index * x.shape[0] // parts, (index + 1) * x.shape[0] // parts):
            _enter(x, padded, n, top, left)


@part
def _enter(x, padded, n, top, left):  # type: ignore[no-untyped-def]
    _, channels, height, width = x.shape
    for i in range(height):
        line = padded[n, top + i]
        for c in range(channels):
            row = x[n, c, i]
            for j in range(width):
                line[left + j, c] = row[j]


@kernel("images images! integer integer integer")
def put(x, padded, top, left, parts):  # type: ignore[no-untyped-def]
    """Put images (N, H, W, C) into the middle of larger ones."""
    for index in prange(parts):
        for n in range(index * x.shape[0] // parts, (index + 1) * x.shape[0] // parts):
            _put(x, padded, n, top, left)


@part
def _put(x, padded, n, top, left):  # type: ignore[no-untyped-def]
    _, height, width, channels = x.shape
    for i in range(height):
        source, target = x[n, i], padded[n, top + i]
        for j in range(width):
            for c in range(channels):
                target[left + j, c] = source[j, c]


@kernel("images images! integer")
def leave(x, output, parts):  # type: ignore[no-untyped-def]
    """Write images (N, H, W, C) as (N, C, H, W)."""
    for index in prange(parts):
        for n in range(index * x.shape[0] // parts, (index + 1) * x.shape[0] // parts):
            _leave(x, output, n)


@part
def _leave(x, output, n):  # type: ignore[no-untyped-def]
    _, height, width, channels = x.shape
    for i in range(height):
        line = x[n, i]
        for c in range(channels):
            row = output[n, c, i]
            for j in range(width):
                row[j] = line[j, c]
