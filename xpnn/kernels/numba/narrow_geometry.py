"""Sizes of a convolution of few channels: a table for its kernels, made once for each shape."""

from __future__ import annotations

import numpy as np

from ..._standard import Array
from .blocked_product import Panel, tiles
from .geometry import Geometry

__all__ = ["room", "table"]

# What is where in the table. ROWS are channels times taps, BAND the rows of the output that are
# laid out at a time; LENGTH and BREADTH are how many pixels and rows there is room for.
(
    GROUPS, DEPTH, KERNEL_DOWN, KERNEL_ACROSS, STRIDE_DOWN, STRIDE_ACROSS, DILATION_DOWN,
    DILATION_ACROSS, TOP, LEFT, DOWN, ACROSS, ROWS, BAND, LENGTH, BREADTH, ZERO, FORWARD, FORWARDS,
    WEIGHT, WEIGHTS, BACK, BACKS, HEADER,
) = range(24)  # fmt: skip

#: Numbers that are laid out at a time, about: with their transpose they stay in the second cache.
_NUMBERS = 1 << 15

#: Rows of the gradient this many bytes apart share one set of the first cache, which has fewer
#: places than the highest tiles have rows.
_CONFLICT, _HIGHEST = 4096, 8


def table(geometry: Geometry, panel: Panel, size: int) -> Array:
    """Return the sizes of a convolution and its tiles, for numbers of so many bytes."""
    heights = panel.heights
    rows = geometry.depth * geometry.taps
    filters = geometry.filters // geometry.groups
    down, across = geometry.count
    breadth = (rows + 16) // 16 * 16  # one more, of ones
    band = min(down, max(1, _NUMBERS // (breadth * across)))
    length = (band * across + 15) // 16 * 16
    (top, _), (left, _) = geometry.margins
    low = tuple(h for h in heights if h <= _HIGHEST or down * across * size % _CONFLICT)
    found = [
        geometry.groups, geometry.depth, *geometry.kernel, *geometry.stride, *geometry.dilation,
        top, left, down, across, rows, band, length, breadth, 0,
    ]  # fmt: skip
    pixels = band * across
    covers = (
        panel.covers(filters, pixels, True),
        tiles(filters, low, False),
        panel.covers(rows, pixels, True),
    )
    start = HEADER
    for cover in covers:
        found += [start, len(cover)]
        start += cover.size
    return np.concatenate([np.asarray(found, np.int64), *(cover.ravel() for cover in covers)])


def room(table: Array) -> int:
    """Return how many numbers of scratch a thread needs."""
    return int(2 * table[LENGTH] * table[BREADTH])
