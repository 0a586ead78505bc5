"""The three products of which convolutions and transposed convolutions are made.

Between padded arrays (N, C, ...) and rows of windows (N, groups, F, windows), where a window of
``C / groups`` channels is multiplied by filters (groups, F, C / groups * taps). The taps are laid
out as columns for a matrix product, a tile of a few images or of a part of one image at a time, so
that the columns take half a megabyte and stay in the cache, not `taps` times the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from .._standard import Array, array_namespace, zeros
from ._windows import Sizes, Window

__all__ = ["correlate", "correlate_transposed", "filter_gradient"]

#: Elements of the columns of a tile.
TILE_ELEMENTS = 1 << 17


def correlate(window: Window, array: Array, filters: Array, count: Sizes) -> Array:
    """Multiply all windows of an array (N, C, ...) by the filters: (N, groups, F, windows)."""
    xp = array_namespace(array)
    pieces = []
    for images in _image_tiles(window, array.shape, count):
        padded = window.pad(array[images, ...])
        strips = [
            filters @ _grouped(window.columns(padded, part, first), filters)
            for first, part in _row_tiles(window, array.shape, count)
        ]
        pieces.append(strips[0] if len(strips) == 1 else xp.concat(strips, axis=3))
    return pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=0)


def correlate_transposed(
    window: Window, rows: Array, filters: Array, count: Sizes, sizes: Sizes
) -> Array:
    """Multiply rows by the transposed filters and add them up to an array (N, C, ``sizes``).

    The transpose of `correlate`: what that one multiplies by a matrix, this one multiplies by the
    transposed matrix.
    """
    xp = array_namespace(rows)
    channels = filters.shape[0] * filters.shape[2] // window.taps
    shape = (rows.shape[0], channels, *sizes)
    padded_sizes = (s + sum(m) for s, m in zip(sizes, window.margins, strict=True))
    padded_shape = (channels, *padded_sizes)
    transposed = xp.matrix_transpose(filters)
    pieces = []
    for images in _image_tiles(window, shape, count):
        part_of_rows = rows[images, ...]
        n = part_of_rows.shape[0]
        padded = zeros((n, *padded_shape), like=rows)
        for first, part in _row_tiles(window, shape, count):
            columns = transposed @ part_of_rows[..., _places(first, part)]
            columns = xp.reshape(columns, (n, channels, window.taps, math.prod(part)))
            padded = window.add_columns(padded, columns, part, first)
        pieces.append(window.crop(padded))
    # Contiguous: the margins are gone from memory, too.
    return xp.concat(pieces, axis=0)


def filter_gradient(
    window: Window, array: Array, rows: Array, filters: Array, count: Sizes
) -> Array:
    """Return the derivative of ``sum(rows * correlate(...))`` by the filters, of their shape."""
    xp = array_namespace(array)
    gradient = zeros(filters.shape, like=array)
    for images in _image_tiles(window, array.shape, count):
        padded = window.pad(array[images, ...])
        for first, part in _row_tiles(window, array.shape, count):
            columns = _grouped(window.columns(padded, part, first), filters)
            products = rows[images, ...][..., _places(first, part)] @ xp.matrix_transpose(columns)
            gradient += xp.sum(products, axis=0)
    return gradient


def _image_tiles(window: Window, shape: Sizes, count: Sizes) -> Iterator[slice]:
    """Yield the images of one tile after the other: at least one tile, if an empty one."""
    elements = shape[1] * window.taps * math.prod(count)
    step = max(1, TILE_ELEMENTS // elements)
    for start in range(0, max(shape[0], 1), step):
        yield slice(start, min(start + step, shape[0]))


def _row_tiles(window: Window, shape: Sizes, count: Sizes) -> Iterator[tuple[int, Sizes]]:
    """Yield the first row of windows of each part of an image, and how many windows it has."""
    elements = shape[1] * window.taps * math.prod(count[1:])
    step = max(1, TILE_ELEMENTS // elements)
    for first in range(0, count[0], step):
        yield first, (min(step, count[0] - first), *count[1:])


def _places(first: int, part: Sizes) -> slice:
    """Where a part of an image lies among the windows."""
    width = math.prod(part[1:])
    return slice(first * width, (first + part[0]) * width)


def _grouped(columns: Array, filters: Array) -> Array:
    """(N, C, taps, windows) as (N, groups, C / groups * taps, windows)."""
    n, windows = columns.shape[0], columns.shape[3]
    shape = (n, filters.shape[0], filters.shape[2], windows)
    return array_namespace(columns).reshape(columns, shape)
