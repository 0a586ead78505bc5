"""Products of matrices, by the pool where there is one, otherwise by NumPy."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

import numpy as np

from .._standard import Array
from ..kernels.recording import spoil
from .memory import empty
from .threads import Team, team, working

__all__ = ["by_tiles", "multiply"]

#: Multiplications below which the pool is not woken: some two microseconds of them.
_ENOUGH = 1 << 17
#: Rows or columns that a part has at least.
_LEAST = 16
#: Rows whose tiles are chosen with care, behind tiles of the greatest height.
_CAREFUL = 56
#: Shapes whose tiles are remembered.
_REMEMBERED = 256


def multiply(
    a: Array,
    b: Array,
    output: Array | None = None,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> Array:
    """Return ``a @ b``, of which a and b may be given transposed.

    Parameters
    ----------
    a, b : array
        Matrices of float32 or float64 in C order, aligned.
    output : array, optional
        Where the product goes.
    transpose_a, transpose_b : bool
        Whether a stands for ``a.T``, and b for ``b.T``.
    """
    rows, inner = a.shape[::-1] if transpose_a else a.shape
    columns = b.shape[0] if transpose_b else b.shape[1]
    here = team()
    # A row by a matrix takes as long as reading the matrix, once: no tiles, no copies.
    work = rows * inner * columns
    if not here.gemm or rows == 1 or not work:
        spoil()
        left, right = a.T if transpose_a else a, b.T if transpose_b else b
        return np.matmul(left, right, out=output)
    if output is None:
        output = empty((rows, columns), a.dtype)
    if work < _ENOUGH:
        here = Team(1, False, here.gemm)
    dtype = "float32" if a.itemsize == 4 else "float64"
    _choose(dtype)(here, dtype, a, transpose_a, b, transpose_b, output)
    return output


def by_tiles() -> bool:
    """Tell whether xpnn's own tiles make the products of plans that are all kernels, or BLAS."""
    with working(True):
        return bool(team().gemm) and _tiles_are_fastest()


def _tiles_are_fastest() -> bool:
    """With AVX-512 the own panels are, by a tenth to a half."""
    from ..kernels.numba.blocked_product import vector_bytes  # loads Numba

    return vector_bytes() == 64


@lru_cache
def _choose(dtype: str) -> Any:
    """Return what is fastest here."""
    return _Panels(dtype) if _tiles_are_fastest() else _by_blas


class _Panels(threading.local):
    """Products by `xpnn.kernels.numba.panel_product`, with memory of its own for each thread."""

    def __init__(self, dtype: str) -> None:
        from ..kernels.numba import panel_product
        from ..kernels.numba.blocked_product import panel

        self._panel = panel(dtype)
        self._address = self._panel.address
        self._kernel = panel_product.product
        self._ways: dict[Any, tuple[Any, ...]] = {}  # by shape, threads, and whether on the pool
        self._width = 2 * self._panel.lanes
        self._room = panel_product.room(self._width)
        self._zeros = np.zeros(self._width, dtype)
        self._scratch = np.empty((0, self._room), dtype)

    def __call__(
        self, here: Team, dtype: str, a: Array, ta: bool, b: Array, tb: bool, output: Array
    ) -> None:
        found = self._ways.get((output.shape, here.size, here.parallel))
        way = found or self._find_way(here, dtype, output.shape)
        parallel, tiles, by_rows, parts = way
        kernel = self._kernel[dtype, parallel]
        address, width, zeros = self._address, self._width, self._zeros
        kernel(address, width, a, ta, b, tb, output, tiles, zeros, self._scratch, by_rows, parts)

    def _find_way(self, here: Team, dtype: str, shape: tuple[int, int]) -> tuple[Any, ...]:
        """Return and remember on which threads, by which tiles and parts a product is made."""
        tiles = _tiles(shape[0], self._panel.heights)
        panels = -(-shape[1] // self._width)
        by_rows = panels < 2 * here.size and tiles.size > 2 * panels
        parts = min(here.size, tiles.size // 2 if by_rows else panels)
        if len(self._scratch) < parts:
            self._scratch = empty((parts, self._room), dtype)
        if len(self._ways) >= _REMEMBERED:
            self._ways.clear()
        parallel = here.parallel and parts > 1
        way = self._ways[shape, here.size, here.parallel] = parallel, tiles, by_rows, parts
        return way


@lru_cache(_REMEMBERED)
def _tiles(rows: int, heights: tuple[int, ...]) -> Array:
    """Cover rows by tiles: the numbers of a table of first rows and heights."""
    from ..kernels.numba.blocked_product import tiles

    tall = heights[0]
    regular = max(rows - _CAREFUL, 0) // tall * tall
    last = np.add(tiles(rows - regular, heights, False), (regular, 0))
    first = np.arange(0, regular, tall)
    table = np.concatenate([np.stack([first, np.full_like(first, tall)], axis=1), last])
    return table.reshape(-1)


def _by_blas(here: Team, dtype: str, a: Array, ta: bool, b: Array, tb: bool, output: Array) -> None:
    """Cut a product into parts, each by BLAS on one thread."""
    from ..kernels.numba.products import product

    # BLAS copies its first factor in blocks that stay in a core's cache, and for each of them
    # takes the second one anew: a part should have all of the smaller one.
    rows, columns = output.shape
    by_rows = (4 * rows if ta else rows) >= columns
    parts = min(here.size, -(-(rows if by_rows else columns) // _LEAST))
    kernel = product[dtype, here.parallel and parts > 1]
    kernel(here.gemm[dtype], a, ta, b, tb, output, by_rows, parts)
