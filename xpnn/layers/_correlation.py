"""The three products of which convolutions and transposed convolutions are made.

Between padded arrays (N, C, ...) and rows of windows (N, groups, F, windows), where a window of
``C / groups`` channels is multiplied by filters (groups, F, C / groups * taps). The taps are laid
out as columns for a matrix product, a tile of a few images or of a part of one image at a time, so
that the columns take a megabyte and stay in the cache, not `taps` times the batch. Inside of a tile
the channels come before the images: all windows of the tile are the columns of one product.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .._standard import Array, array_namespace, library_name, zeros
from ._windows import Sizes, Strip, Window

__all__ = ["correlate", "correlate_transposed", "filter_gradient", "set_products"]

#: Elements of the columns of a tile.
TILE_ELEMENTS = 1 << 18

# By library. Filled from outside, as no layer knows a library.
_products: dict[str, Callable[[], Any]] = {}


def set_products(library: str, find: Callable[[], Any]) -> None:
    """Let a library compute the three products by itself.

    Parameters
    ----------
    library : str
        Name of a library as `xpnn.backend` has it, such as "jax".
    find : callable
        ``find()`` returns an object with the three products of this module as its methods; None if
        they are to be made here this time.
    """
    _products[library] = find


def _own_products(array: Array) -> Any:
    find = _products.get(library_name(array)) if _products else None
    return find and find()


def correlate(window: Window, array: Array, filters: Array, count: Sizes) -> Array:
    """Multiply all windows of an array (N, C, ...) by the filters: (N, groups, F, windows)."""
    own = _own_products(array)
    if own is not None:
        return own.correlate(window, array, filters, count)
    xp = array_namespace(array)
    images, strips = _tiles(window, array.shape, count)
    pieces = []
    for some in images:
        padded = window.pad(_turned(array[some, ...]))
        parts = [_apart(filters @ _columns(strip, padded, filters), padded) for strip in strips]
        pieces.append(parts[0] if len(parts) == 1 else xp.concat(parts, axis=3))
    # Contiguous, and in the order of the images.
    return xp.concat(pieces, axis=0)


def correlate_transposed(
    window: Window, rows: Array, filters: Array, count: Sizes, sizes: Sizes
) -> Array:
    """Multiply rows by the transposed filters and add them up to an array (N, C, ``sizes``).

    The transpose of `correlate`: what that one multiplies by a matrix, this one multiplies by the
    transposed matrix.
    """
    own = _own_products(rows)
    if own is not None:
        return own.correlate_transposed(window, rows, filters, count, sizes)
    xp = array_namespace(rows)
    channels = filters.shape[0] * filters.shape[2] // window.taps
    shape = (rows.shape[0], channels, *sizes)
    padded_sizes = tuple(s + sum(m) for s, m in zip(sizes, window.margins, strict=True))
    transposed = xp.matrix_transpose(filters)
    pieces = []
    images, strips = _tiles(window, shape, count)
    for some in images:
        padded = zeros((channels, some.stop - some.start, *padded_sizes), like=rows)
        for strip in strips:
            columns = transposed @ _together(rows[some, :, :, strip.windows])
            layout = (channels, window.taps, padded.shape[1], math.prod(strip.count))
            padded = strip.add_columns(padded, xp.reshape(columns, layout))
        pieces.append(_turned(window.crop(padded)))
    # Contiguous: the margins are gone from memory, too.
    return xp.concat(pieces, axis=0)


def filter_gradient(
    window: Window, array: Array, rows: Array, filters: Array, count: Sizes
) -> Array:
    """Return the derivative of ``sum(rows * correlate(...))`` by the filters, of their shape."""
    own = _own_products(array)
    if own is not None:
        return own.filter_gradient(window, array, rows, filters, count)
    xp = array_namespace(array)
    gradient = zeros(filters.shape, like=array)
    images, strips = _tiles(window, array.shape, count)
    for some in images:
        padded = window.pad(_turned(array[some, ...]))
        for strip in strips:
            columns = xp.matrix_transpose(_columns(strip, padded, filters))
            gradient += _together(rows[some, :, :, strip.windows]) @ columns
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


def _turned(array: Array) -> Array:
    """Give (N, C, ...) as (C, N, ...), or the other way round."""
    return array_namespace(array).permute_dims(array, (1, 0, *range(2, array.ndim)))


def _columns(strip: Strip, padded: Array, filters: Array) -> Array:
    """Return the windows of turned images (C, N, ...): (groups, C / groups * taps, N * windows)."""
    columns = strip.columns(padded)
    shape = (filters.shape[0], filters.shape[2], columns.shape[2] * columns.shape[3])
    return array_namespace(columns).reshape(columns, shape)


def _apart(product: Array, padded: Array) -> Array:
    """Give (groups, F, N * windows) as (N, groups, F, windows)."""
    xp, images = array_namespace(product), padded.shape[1]
    shape = (*product.shape[:2], images, product.shape[2] // max(images, 1))
    return xp.permute_dims(xp.reshape(product, shape), (2, 0, 1, 3))


def _together(rows: Array) -> Array:
    """Give (N, groups, F, windows) as (groups, F, N * windows)."""
    xp = array_namespace(rows)
    shape = (*rows.shape[1:3], rows.shape[0] * rows.shape[3])
    return xp.reshape(xp.permute_dims(rows, (1, 2, 0, 3)), shape)
