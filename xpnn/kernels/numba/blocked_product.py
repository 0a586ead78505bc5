"""A matrix product for one tile of registers after the other, without BLAS.

`panel` multiplies a few columns::

    C[i, j] = start[i, j] + sum of A[i, o, k] * B[o, k, j] over o < blocks, k < steps

    A[i, o, k] lies at a + offsets[o] + i * a_row + k * a_step
    B[o, k, j] lies at b + o * b_block + k * b_step + j
    C[i, j]    lies at c + i * c_row + j
    start[i, j] lies at start + i * start_row + j

A tile of some rows by one or two vectors stays in registers during the whole sum. As A is read
through a table of offsets, one call adds up all taps of a convolution without laying out the
pixels: the rows of A are neighbouring windows, a block is a row of the kernel. `start` with
``start_row`` of 0 is a bias, and C itself makes the call add to what is there.

The vectors are as wide as the processor's: 64 bytes with AVX-512, 32 with AVX, 16 elsewhere. The
panel is compiled once for each type, apart from the kernels that use it: they get its address and
`call` it. A kernel that had it inside would take seconds to compile.

Source: Georganas et al., "High-Performance Deep Learning via a Single Building Block", 2019
(arXiv:1906.06440): the batch-reduce product.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

from ..._standard import Array
from ._compile import announced, named_by_sources
from .tile import tile

__all__ = ["Panel", "call", "panel", "tile_cost", "tiles"]

_INT = ir.IntType(64)
#: The arguments of a panel, all of them 64-bit integers. Addresses count bytes, strides elements.
_ARGUMENTS = [
    "a",
    "a_row",
    "a_step",
    "offsets",
    "b",
    "b_step",
    "b_block",
    "c",
    "c_row",
    "start",
    "start_row",
    "tiles",
    "tile_count",
    "width",
    "steps",
    "blocks",
]

# Rows of a tile, by the bytes of a vector. With two vectors across there are 28 sums in the 32
# registers of AVX-512, and 12 in the 16 of the others.
_HEIGHTS = {64: (14, 8, 4, 2, 1), 32: (6, 4, 3, 2, 1), 16: (6, 4, 3, 2, 1)}

# With one vector across a tile may be higher. Sizes of images and numbers of channels are often
# powers of two.
_TALL = {64: 16, 32: 12, 16: 12}

_LOCK = threading.Lock()


class Panel(NamedTuple):
    """A compiled panel.

    Attributes
    ----------
    address : int
        Where it is, for `call`.
    lanes : int
        Numbers in a vector. A panel has at most ``2 * lanes`` columns.
    heights : tuple of int
        Rows that a tile may have.
    tall : int
        Rows that a tile may have besides where there is only one vector across.
    function : object
        What owns the code.
    """

    address: int
    lanes: int
    heights: tuple[int, ...]
    tall: int
    function: Any

    def covers(self, rows: int, columns: int, overlap: bool) -> Array:
        """Cover rows by tiles for a product of so many columns, all told; see `tiles`."""
        if columns > self.lanes:
            return tiles(rows, self.heights, overlap)
        return tiles(rows, (self.tall, *self.heights), overlap, 1)


@cache
def vector_bytes() -> int:
    """Return the bytes of the widest vectors that this processor multiplies and adds."""
    features = binding.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


def panel(dtype: str, width: int | None = None) -> Panel:
    """Return the panel for "float32" or "float64", compiled when it is first asked for.

    ``width`` is the bytes of a vector, by default those of `vector_bytes`. Every width works on
    every processor.
    """
    with _LOCK:
        return _panel(dtype, width or vector_bytes())


@cache
def _panel(dtype: str, width: int) -> Panel:
    bits = 8 * np.dtype(dtype).itemsize
    lanes = 8 * width // bits
    signature = types.void(*[types.int64] * len(_ARGUMENTS))
    source = _make(bits, lanes, _TALL[width], *_HEIGHTS[width])
    source.__qualname__ += f"_{bits}_{lanes}"  # as for kernels
    source = named_by_sources(source)

    with announced():
        try:
            function = numba.cfunc(signature, cache=True, error_model="numpy")(source)
        except (RuntimeError, OSError):  # there is no folder to write to
            function = numba.cfunc(signature, error_model="numpy")(source)
    return Panel(function.address, lanes, _HEIGHTS[width], _TALL[width], function)


def tile_cost(height: int, vectors: int) -> float:
    """Return about how many cycles a step of a tile takes.

    That is as long as its products, its loads, or the latency of an addition.
    """
    return max(height * vectors / 2, (height + vectors) / 2, 4.0) + 0.5


@cache
def tiles(rows: int, heights: tuple[int, ...], overlap: bool, vectors: int = 2) -> Array:
    """Cover rows by tiles: a table (count, 2) of first rows and heights.

    Parameters
    ----------
    rows : int
        At least 1.
    heights : tuple of int
        Those of the panel.
    overlap : bool
        Whether rows may be computed twice, which a product that adds to C does not allow.
    vectors : int
        How many are across: 1 or 2.
    """
    costs = {height: tile_cost(height, vectors) for height in heights}
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for left in range(1, rows + 1):
        choices = [
            (best[max(left - h, 0)][0] + costs[h], (h, *best[max(left - h, 0)][1]))
            for h in heights
            if h <= left or (overlap and h <= rows)
        ]
        best.append(min(choices))
    table, first = [], 0
    for height in sorted(best[rows][1], reverse=True):
        table.append((min(first, rows - height), height))
        first += height
    return np.asarray(table, np.int64)


# ------------------------------------------------------------------ the code


def _make(
    bits: int, lanes: int, tall: int, h0: int, h1: int, h2: int, h3: int, h4: int
) -> Callable[..., Any]:
    """Make the function that chooses among the tiles."""
    size = bits // 8

    def panel(  # type: ignore[no-untyped-def]
        a, a_row, a_step, offsets, b, b_step, b_block, c, c_row, start, start_row, tiles,
        tile_count, width, steps, blocks,
    ):  # fmt: skip
        for number in range(tile_count):
            first = _integer_at(tiles + 16 * number)
            height = _integer_at(tiles + 16 * number + 8)
            at = a + size * first * a_row
            ct = c + size * first * c_row
            st = start + size * first * start_row
            common = (at, a_row, a_step, offsets, b, b_step, b_block, ct, c_row, st, start_row)
            if width > lanes:
                rest = (width - lanes, steps, blocks)
                if height == h0:
                    tile(bits, lanes, h0, 2, common, rest)
                elif height == h1:
                    tile(bits, lanes, h1, 2, common, rest)
                elif height == h2:
                    tile(bits, lanes, h2, 2, common, rest)
                elif height == h3:
                    tile(bits, lanes, h3, 2, common, rest)
                else:
                    tile(bits, lanes, h4, 2, common, rest)
            else:
                rest = (width, steps, blocks)
                if height == tall:
                    tile(bits, lanes, tall, 1, common, rest)
                elif height == h0:
                    tile(bits, lanes, h0, 1, common, rest)
                elif height == h1:
                    tile(bits, lanes, h1, 1, common, rest)
                elif height == h2:
                    tile(bits, lanes, h2, 1, common, rest)
                elif height == h3:
                    tile(bits, lanes, h3, 1, common, rest)
                else:
                    tile(bits, lanes, h4, 1, common, rest)

    return panel


@intrinsic  # type: ignore[untyped-decorator]
def _integer_at(typing_context: Any, address: Any) -> Any:
    """Read a 64-bit integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], _INT.as_pointer()))

    return types.int64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def call(
    typing_context: Any, address: Any, a: Any, a_row: Any, a_step: Any, offsets: Any, b: Any,
    b_step: Any, b_block: Any, c: Any, c_row: Any, start: Any, start_row: Any, tiles: Any,
    tile_count: Any, width: Any, steps: Any, blocks: Any,
) -> Any:  # fmt: skip
    """Call the panel at an address, from inside of a kernel. Nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_INT] * len(_ARGUMENTS))
        place = builder.inttoptr(arguments[0], kind.as_pointer())
        builder.call(place, arguments[1:])
        return context.get_dummy_value()

    number = types.int64
    return types.void(*[number] * (1 + len(_ARGUMENTS))), generate
