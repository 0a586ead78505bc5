"""Vectors written out, for loops that LLVM does not turn into vectors by itself."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types

from ._functions import multiply_add

__all__ = ["BYTES", "Vectors"]

#: Of a vector. Where those of the processor are shorter, LLVM takes several.
BYTES = 64
_FUSED = ("contract",)
_INT = ir.IntType(64)


class Vectors:
    """Instructions on vectors of a type: for code that is written in LLVM's language.

    Parameters
    ----------
    builder : IRBuilder
        Takes the instructions.
    real : types.float32 or types.float64
        Numba's type of the numbers.
    width : int
        Bytes of a vector.
    """

    def __init__(self, builder: Any, real: Any, width: int = BYTES) -> None:
        self.builder = builder
        bits = 32 if real == types.float32 else 64
        self.size = bits // 8
        self.lanes = width // self.size
        element = ir.FloatType() if bits == 32 else ir.DoubleType()
        self.kind = ir.VectorType(element, self.lanes)

    def constant(self, value: float) -> Any:
        """Return a number in all lanes."""
        return ir.Constant(self.kind, [value] * self.lanes)

    def everywhere(self, number: Any) -> Any:
        """Return a number of the code, of any type, in all lanes."""
        nothing = ir.Constant(ir.VectorType(number.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(nothing, number, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return self.builder.shuffle_vector(first, nothing, zeros)

    def at(self, address: Any, *steps: tuple[Any, int]) -> Any:
        """Return an address so many steps of some bytes further on."""
        for step, count in steps:
            address = self.builder.add(address, self.builder.mul(step, _INT(count)))
        return address

    def load(self, address: Any, kind: Any = None) -> Any:
        """Load a vector, of numbers or of another kind."""
        kind = kind or self.kind
        place = self.builder.inttoptr(address, kind.as_pointer())
        return self.builder.load(place, align=self._alignment(kind))

    def store(self, value: Any, address: Any) -> None:
        """Store a vector."""
        place = self.builder.inttoptr(address, value.type.as_pointer())
        self.builder.store(value, place, align=self._alignment(value.type))

    def _alignment(self, kind: Any) -> int:
        return self.size if kind == self.kind else 1

    def spread(self, address: Any) -> Any:
        """Load one number into all lanes."""
        place = self.builder.inttoptr(address, self.kind.element.as_pointer())
        return self.everywhere(self.builder.load(place, align=self.size))

    def add_product(self, a: Any, b: Any, total: Any) -> Any:
        """Return ``total + a * b``, rounded once where the processor can."""
        return multiply_add(self.builder, a, b, total)

    def add(self, a: Any, b: Any) -> Any:
        """Return ``a + b``, rounded once with a product in it where the processor can."""
        return self.builder.fadd(a, b, flags=_FUSED)

    def subtract(self, a: Any, b: Any) -> Any:
        """Return ``a - b``."""
        return self.builder.fsub(a, b)

    def multiply(self, a: Any, b: Any) -> Any:
        """Return ``a * b``."""
        return self.builder.fmul(a, b, flags=_FUSED)
