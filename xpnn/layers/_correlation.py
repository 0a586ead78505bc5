"""The three products of which convolutions and transposed convolutions are made.

Between padded arrays (N, C, ...) and rows of windows (N, groups, F, windows), where a window of
``C / groups`` channels is multiplied by filters (groups, F, C / groups * taps). The taps are laid
out as columns for a matrix product, a tile of a few images or of a part of one image at a time, so
that the columns take a megabyte and stay in the cache, not `taps` times the batch.
"""

from __future__ import annotations

import math

from .._standard import Array, array_namespace, zeros
from ._windows import Sizes, Strip, Window

__all__ = ["correlate", "correlate_transposed", "filter_gradient"]

#: Elements of the columns of a tile.
TILE_ELEMENTS = 1 << 18


def correlate(window: Window, array: Array, filters: Array, count: Sizes) -> Array:
    """Multiply all windows of an array (N, C, ...) by the filters: (N, groups, F, windows)."""
    xp = array_namespace(array)
    pieces = []
    images, strips = _tiles(window, array.shape, count)
    for some in images:
        padded = window.pad(array[some, ...])
        parts = [filters @ _grouped(strip.columns(padded), filters) for strip in strips]
        pieces.append(parts[0] if len(parts) == 1 else xp.concat(parts, axis=3))
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
    images, strips = _tiles(window, shape, count)
    for some in images:
        padded = zeros((some.stop - some.start, *padded_shape), like=rows)
        for strip in strips:
            columns = transposed @ rows[some, :, :, strip.windows]
            layout = (*padded.shape[:2], window.taps, columns.shape[3])
            padded = strip.add_columns(padded, xp.reshape(columns, layout))
        pieces.append(window.crop(padded))
    # Contiguous: the margins are gone from memory, too.
    return xp.concat(pieces, axis=0)


def filter_gradient(
    window: Window, array: Array, rows: Array, filters: Array, count: Sizes
) -> Array:
    """Return the derivative of ``sum(rows * correlate(...))`` by the filters, of their shape."""
    xp = array_namespace(array)
    gradient = zeros(filters.shape, like=array)
    images, strips = _tiles(window, array.shape, count)
    for some in images:
        padded = window.pad(array[some, ...])
        for strip in strips:
            columns = xp.matrix_transpose(_grouped(strip.columns(padded), filters))
            gradient += xp.sum(rows[some, :, :, strip.windows] @ columns, axis=0)
    return gradient


def _tiles(window: Window, shape: Sizes, count: Sizes) -> tuple[list[slice], list[Strip]]:
    """Cut a batch into tiles: of how many images, and of which parts of an image, each is.

    There is at least one tile, if an empty one.
    """
    row = shape[1] * window.taps * math.prod(count[1:])
    step = max(1, TILE_ELEMENTS // (row * count[0]))
    starts = range(0, max(shape[0], 1), step)
    images = [slice(start, min(start + step, shape[0])) for start in starts]
    step = max(1, TILE_ELEMENTS // row)
    starts = range(0, count[0], step)
    strips = [window.strip((min(step, count[0] - start), *count[1:]), start) for start in starts]
    return images, strips


def _grouped(columns: Array, filters: Array) -> Array:
    """(N, C, taps, windows) as (N, groups, C / groups * taps, windows)."""
    n, windows = columns.shape[0], columns.shape[3]
    shape = (n, filters.shape[0], filters.shape[2], windows)
    return array_namespace(columns).reshape(columns, shape)
