"""The code of one tile of a product, whose sums stay in registers: vectors in LLVM's language."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["tile"]

_INT = ir.IntType(64)
_INDEX = ir.IntType(32)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def tile(
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
