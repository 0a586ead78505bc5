"""Numbers moved by whole vectors, from address to address: squares turned around, rows added up.

Numba's own loops over parts of an array look at each index whether it is negative.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

from .blocked_product import vector_bytes

__all__ = ["add_row", "copy_row", "transpose"]


@intrinsic  # type: ignore[untyped-decorator]
def transpose(
    typing_context: Any, real: Any, source: Any, stride: Any, target: Any, step: Any
) -> Any:
    """Transpose a square as wide as 64 bytes, of numbers like ``real``.

    Addresses and the distances from row to row, all of them integers, count bytes.
    """
    size = 512 // real.bitwidth

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, source, stride, target, step = arguments
        wide = ir.IntType(64)
        vector = ir.VectorType(number.type, size)
        masks = ir.VectorType(ir.IntType(32), size)

        def place(base: Any, distance: Any, index: int) -> Any:
            address = builder.add(base, builder.mul(distance, wide(index)))
            return builder.inttoptr(address, vector.as_pointer())

        align = 4 if isinstance(number.type, ir.FloatType) else 8
        rows = [builder.load(place(source, stride, i), align=align) for i in range(size)]
        distance = 1
        while distance < size:  # swap blocks of this size beside the diagonal
            low = [i if not i & distance else i - distance + size for i in range(size)]
            high = [i + distance if not i & distance else i + size for i in range(size)]
            swapped = list(rows)
            for i in range(size):
                if not i & distance:
                    pair = rows[i], rows[i + distance]
                    for j, mask in ((i, low), (i + distance, high)):
                        swapped[j] = builder.shuffle_vector(*pair, ir.Constant(masks, mask))
            rows = swapped
            distance *= 2
        for i, row in enumerate(rows):
            builder.store(row, place(target, step, i), align=align)
        return context.get_dummy_value()

    return types.void(real, *[types.int64] * 4), generate


@intrinsic  # type: ignore[untyped-decorator]
def copy_row(typing_context: Any, real: Any, source: Any, target: Any, count: Any) -> Any:
    """Copy so many numbers like ``real`` from an address to another one."""
    return types.void(real, *[types.int64] * 3), _by_vectors(adds=False)


@intrinsic  # type: ignore[untyped-decorator]
def add_row(typing_context: Any, real: Any, source: Any, target: Any, count: Any) -> Any:
    """Add so many numbers like ``real`` at an address to those at another one."""
    return types.void(real, *[types.int64] * 3), _by_vectors(adds=True)


def _by_vectors(adds: bool) -> Any:
    """Make what emits a loop over vectors, and one over the numbers that are left."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, source, target, count = arguments
        size = signature.args[0].bitwidth // 8
        wide = ir.IntType(64)
        lanes = vector_bytes() // size

        def move(kind: Any, index: Any) -> None:
            offset = builder.mul(index, wide(size))
            here, there = (
                builder.inttoptr(builder.add(base, offset), kind.as_pointer())
                for base in (source, target)
            )
            value = builder.load(here, align=size)
            if adds:
                value = builder.fadd(builder.load(there, align=size), value)
            builder.store(value, there, align=size)

        whole = builder.sdiv(count, wide(lanes))
        with cgutils.for_range(builder, whole) as loop:
            move(ir.VectorType(number.type, lanes), builder.mul(loop.index, wide(lanes)))
        done = builder.mul(whole, wide(lanes))
        with cgutils.for_range(builder, builder.sub(count, done)) as loop:
            move(number.type, builder.add(done, loop.index))
        return context.get_dummy_value()

    return generate
