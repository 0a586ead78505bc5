"""The code of one tile of a product, whose sums stay in registers: vectors in LLVM's language."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

from .vectors import Vectors

__all__ = ["tile"]

_INT = ir.IntType(64)
_INDEX = ir.IntType(32)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def tile(
    typing_context: Any, bits: Any, lanes: Any, height: Any, vectors: Any, common: Any, rest: Any
) -> Any:
    """Emit the product of ``height`` rows by ``vectors`` vectors, the last of ``rest[0]`` lanes."""
    rows, across, width = height.literal_value, vectors.literal_value, lanes.literal_value
    real = types.float32 if bits.literal_value == 32 else types.float64
    size = bits.literal_value // 8

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = [v for pack in arguments[4:] for v in cgutils.unpack_tuple(builder, pack)]
        a, a_row, a_step, offsets, b, b_step, b_block, c, c_row, start, start_row = numbers[:11]
        last, steps, blocks = numbers[11:]
        v = _CutVectors(builder, real, size * width, builder.trunc(last, _INDEX))

        def places(base: Any, row: Any) -> list[list[Any]]:
            stride = builder.mul(row, _INT(size))
            starts = [builder.add(base, builder.mul(stride, _INT(i))) for i in range(rows)]
            return [[builder.add(s, _INT(size * width * j)) for j in range(across)] for s in starts]

        sums = [
            [
                cgutils.alloca_once_value(builder, v.read(place, j == across - 1))
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
            place = builder.add(offsets, builder.mul(outer.index, _INT(8)))
            offset = builder.load(builder.inttoptr(place, _INT.as_pointer()))
            a_block = builder.add(a, builder.mul(offset, _INT(size)))
            b_start = builder.add(b, builder.mul(outer.index, block_bytes))
            with cgutils.for_range(builder, steps) as inner:
                at = builder.add(a_block, builder.mul(inner.index, a_bytes))
                bt = builder.add(b_start, builder.mul(inner.index, b_bytes))
                columns = [
                    v.read(builder.add(bt, _INT(size * width * j)), j == across - 1)
                    for j in range(across)
                ]
                for shift, row in zip(a_rows, sums, strict=True):
                    value = v.spread(builder.add(at, shift))
                    for column, total in zip(columns, row, strict=True):
                        builder.store(v.add_product(value, column, builder.load(total)), total)
        for row, line in zip(places(c, c_row), sums, strict=True):
            for j, (place, total) in enumerate(zip(row, line, strict=True)):
                v.write(builder.load(total), place, j == across - 1)
        return context.get_dummy_value()

    return types.void(bits, lanes, height, vectors, common, rest), generate


class _CutVectors(Vectors):
    """Vectors in a row, of which the last may be cut off, ``last`` lanes of it being there."""

    def __init__(self, builder: Any, real: Any, width: int, last: Any) -> None:
        super().__init__(builder, real, width)
        indices = ir.VectorType(_INDEX, self.lanes)
        numbers = ir.Constant(indices, [_INDEX(i) for i in range(self.lanes)])
        self._there = builder.icmp_signed("<", numbers, self.everywhere(last))

    def read(self, address: Any, cut: bool) -> Any:
        """Load a vector; of the cut one, zeros stand for what is not there."""
        if not cut:
            return self.load(address)
        zeros = ir.Constant(self.kind, None)
        return self._masked("load", self.kind, address, [self._there, zeros])

    def write(self, value: Any, address: Any, cut: bool) -> None:
        """Store a vector, of the cut one only what is there."""
        if cut:
            self._masked("store", ir.VoidType(), address, [self._there], value)
        else:
            self.store(value, address)

    def _masked(self, what: str, result: Any, address: Any, behind: list[Any], *before: Any) -> Any:
        place = self.builder.inttoptr(address, self.kind.as_pointer())
        arguments = [*before, place, _INDEX(self.size), *behind]
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        name = f"llvm.masked.{what}.v{self.lanes}f{8 * self.size}.p0"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, arguments)
