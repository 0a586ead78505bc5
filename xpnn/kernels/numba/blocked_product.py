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
from numba.core import cgutils, types
from numba.extending import intrinsic

from ..._standard import Array
from ._compile import announced, named_by_sources

__all__ = ["Panel", "call", "panel", "tiles"]

_INT = ir.IntType(64)
_INDEX = ir.IntType(32)
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
    function : object
        What owns the code.
    """

    address: int
    lanes: int
    heights: tuple[int, ...]
    function: Any


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
    source = named_by_sources(_make(bits, lanes, *_HEIGHTS[width]))

    with announced():
        try:
            function = numba.cfunc(signature, cache=True, error_model="numpy")(source)
        except (RuntimeError, OSError):  # there is no folder to write to
            function = numba.cfunc(signature, error_model="numpy")(source)
    return Panel(function.address, lanes, _HEIGHTS[width], function)


@cache
def tiles(rows: int, heights: tuple[int, ...], overlap: bool) -> Array:
    """Cover rows by tiles: a table (count, 2) of first rows and heights.

    Parameters
    ----------
    rows : int
        At least 1.
    heights : tuple of int
        Those of the panel.
    overlap : bool
        Whether rows may be computed twice, which a product that adds to C does not allow.
    """
    # A step of a tile takes as long as its products, its loads, or the latency of an addition.
    costs = {h: max(float(h), h / 2 + 1, 4.0) + 0.5 for h in heights}
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


def _make(bits: int, lanes: int, h0: int, h1: int, h2: int, h3: int, h4: int) -> Callable[..., Any]:
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
                    _tile(bits, lanes, h0, 2, common, rest)
                elif height == h1:
                    _tile(bits, lanes, h1, 2, common, rest)
                elif height == h2:
                    _tile(bits, lanes, h2, 2, common, rest)
                elif height == h3:
                    _tile(bits, lanes, h3, 2, common, rest)
                else:
                    _tile(bits, lanes, h4, 2, common, rest)
            else:
                rest = (width, steps, blocks)
                if height == h0:
                    _tile(bits, lanes, h0, 1, common, rest)
                elif height == h1:
                    _tile(bits, lanes, h1, 1, common, rest)
                elif height == h2:
                    _tile(bits, lanes, h2, 1, common, rest)
                elif height == h3:
                    _tile(bits, lanes, h3, 1, common, rest)
                else:
                    _tile(bits, lanes, h4, 1, common, rest)

    return panel


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def _tile(
    typing_context: Any, bits: Any, lanes: Any, height: Any, vectors: Any, common: Any, rest: Any
) -> Any:
    """Emit the product of ``height`` rows by ``vectors`` vectors, the last of ``rest[0]`` lanes."""
    rows, across, width = height.literal_value, vectors.literal_value, lanes.literal_value
    real = ir.FloatType() if bits.literal_value == 32 else ir.DoubleType()
    size = bits.literal_value // 8
    vector = ir.VectorType(real, width)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = [v for pack in arguments[4:] for v in cgutils.unpack_tuple(builder, pack)]
        a, a_row, a_step, offsets, b, b_step, b_block, c, c_row, start, start_row = numbers[:11]
        last, steps, blocks = numbers[11:]
        emit = _Emitter(builder, vector, size, builder.trunc(last, _INDEX))

        def places(base: Any, row: Any) -> list[list[Any]]:
            stride = builder.mul(row, _INT(size))
            starts = [builder.add(base, builder.mul(stride, _INT(i))) for i in range(rows)]
            return [[builder.add(s, _INT(size * width * j)) for j in range(across)] for s in starts]

        sums = [
            [
                cgutils.alloca_once_value(builder, emit.load(place, j == across - 1))
                for j, place in enumerate(row)
            ]
            for row in places(start, start_row)
        ]
        row_bytes = builder.mul(a_row, _INT(size))
        a_rows = [builder.mul(row_bytes, _INT(i)) for i in range(rows)]
        a_bytes, b_bytes, block_bytes = (
            builder.mul(step, _INT(size)) for step in (a_step, b_step, b_block)
        )
        with cgutils.for_range(builder, blocks) as outer:
            offset = emit.number(builder.add(offsets, builder.mul(outer.index, _INT(8))), _INT)
            a_block = builder.add(a, builder.mul(offset, _INT(size)))
            b_start = builder.add(b, builder.mul(outer.index, block_bytes))
            with cgutils.for_range(builder, steps) as inner:
                at = builder.add(a_block, builder.mul(inner.index, a_bytes))
                bt = builder.add(b_start, builder.mul(inner.index, b_bytes))
                columns = [
                    emit.load(builder.add(bt, _INT(size * width * j)), j == across - 1)
                    for j in range(across)
                ]
                for shift, row in zip(a_rows, sums, strict=True):
                    value = emit.spread(builder.add(at, shift))
                    for column, total in zip(columns, row, strict=True):
                        builder.store(emit.add_product(value, column, builder.load(total)), total)
        for row, line in zip(places(c, c_row), sums, strict=True):
            for j, (place, total) in enumerate(zip(row, line, strict=True)):
                emit.store(builder.load(total), place, j == across - 1)
        return context.get_dummy_value()

    return types.void(bits, lanes, height, vectors, common, rest), generate


class _Emitter:
    """Instructions on vectors, of which the last of a row may be cut off."""

    def __init__(self, builder: Any, vector: Any, size: int, width: Any) -> None:
        self.builder, self.vector, self.size = builder, vector, size
        lanes = vector.count
        indices = ir.VectorType(_INDEX, lanes)
        limit = self._everywhere(width, indices)
        numbers = ir.Constant(indices, [_INDEX(i) for i in range(lanes)])
        self.mask = builder.icmp_signed("<", numbers, limit)

    def load(self, address: Any, cut: bool) -> Any:
        """Load a vector; of the cut one, zeros stand for what is not there."""
        place = self.builder.inttoptr(address, self.vector.as_pointer())
        if not cut:
            return self.builder.load(place, align=self.size)
        zeros = ir.Constant(self.vector, None)
        function = self._function("load", self.vector, [place.type, _INDEX, self.mask.type, zeros])
        return self.builder.call(function, [place, _INDEX(self.size), self.mask, zeros])

    def store(self, value: Any, address: Any, cut: bool) -> None:
        """Store a vector, of the cut one only what is there."""
        place = self.builder.inttoptr(address, self.vector.as_pointer())
        if not cut:
            self.builder.store(value, place, align=self.size)
            return
        function = self._function(
            "store", ir.VoidType(), [self.vector, place.type, _INDEX, self.mask.type]
        )
        self.builder.call(function, [value, place, _INDEX(self.size), self.mask])

    def number(self, address: Any, kind: Any) -> Any:
        """Load one number."""
        place = self.builder.inttoptr(address, kind.as_pointer())
        return self.builder.load(place, align=kind.width // 8 if kind == _INT else self.size)

    def spread(self, address: Any) -> Any:
        """Load one number into all lanes."""
        return self._everywhere(self.number(address, self.vector.element), self.vector)

    def add_product(self, a: Any, b: Any, total: Any) -> Any:
        """Return ``total + a * b``, rounded once where the processor can."""
        name = f"llvm.fmuladd.{self._suffix}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [a, b, total])

    @property
    def _suffix(self) -> str:
        return f"v{self.vector.count}f{8 * self.size}"

    def _function(self, what: str, result: Any, arguments: list[Any]) -> Any:
        kind = ir.FunctionType(result, [getattr(a, "type", a) for a in arguments])
        name = f"llvm.masked.{what}.{self._suffix}.p0"
        return cgutils.get_or_insert_function(self.builder.module, kind, name)

    def _everywhere(self, value: Any, kind: Any) -> Any:
        nothing = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(nothing, value, _INDEX(0))
        zeros = ir.Constant(ir.VectorType(_INDEX, kind.count), None)
        return self.builder.shuffle_vector(first, nothing, zeros)


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
