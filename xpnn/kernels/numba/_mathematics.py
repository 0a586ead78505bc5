"""Elementary functions that LLVM turns into vector code: no table, no branch, no call.

Numba's own ``exp`` calls the C library for each number, which takes ten times as long.
"""

from __future__ import annotations

from typing import Any

from numba.core import cgutils, types
from numba.extending import intrinsic

from ._compile import inlined
from ._functions import (
    emit_erfc_series,
    emit_exp2_of_negative,
    emit_exp_of_negative,
    emit_log,
    emit_split_exp,
    function,
)

__all__ = [
    "exp_of_negative",
    "expm1_of_negative",
    "log",
    "maximum",
    "normal_below",
    "sigmoid",
    "tanh",
]


def _on_numbers(emit: Any) -> Any:
    """Make a function of one number, for Numba, of what emits it."""

    def declare(typing_context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return emit(builder, arguments[0])

        return x(x), generate

    declare.__doc__ = emit.__doc__
    return intrinsic(declare)


exp_of_negative = _on_numbers(emit_exp_of_negative)
log = _on_numbers(emit_log)
_exp2_of_negative = _on_numbers(emit_exp2_of_negative)
_erfc_series = _on_numbers(emit_erfc_series)


@intrinsic  # type: ignore[untyped-decorator]
def _split_exp(typing_context: Any, x: Any) -> Any:
    """(2^k, q) for x <= 0, as above."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.pack_array(builder, emit_split_exp(builder, arguments[0]))

    return types.UniTuple(x, 2)(x), generate  # type: ignore[attr-defined]


@intrinsic  # type: ignore[untyped-decorator]
def maximum(typing_context: Any, a: Any, b: Any) -> Any:
    """Return the larger of two numbers, NaN if one of them is. Unlike `max`, vector code."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = arguments[0].type
        return builder.call(function(builder, "llvm.maximum", kind, 2), arguments)

    return a(a, a), generate


@inlined
def expm1_of_negative(x, T):  # type: ignore[no-untyped-def]
    """exp(x) - 1 for x <= 0, with full relative precision at 0."""
    power, q = _split_exp(x)
    return power * q + (power - T(1))


@inlined
def sigmoid(x, T):  # type: ignore[no-untyped-def]
    """1 / (1 + exp(-x))."""
    z = exp_of_negative(-abs(x))
    return (z if x < T(0) else T(1)) / (T(1) + z)


@inlined
def tanh(x, T):  # type: ignore[no-untyped-def]
    """Hyperbolic tangent, with full relative precision at 0."""
    z = expm1_of_negative(T(-2) * abs(x), T)
    y = (T(0) - z) / (T(2) + z)
    return -y if x < T(0) else y


@inlined
def normal_below(x, T):  # type: ignore[no-untyped-def]
    """Probability that a normal number is below x, and its density at x.

    ::

        density = 2^(-x^2 log2(e) / 2 - log2(2 pi) / 2)
        P(-|x|) = erfc(|x| / sqrt(2)) / 2 = density * sqrt(pi / 2) * exp(m^2) erfc(m)
    """
    density = _exp2_of_negative(x * x * T(-0.7213475204444817) - T(1.3257480647361592))
    twice = T(2) / (T(1) + abs(x) * T(0.23570226039551587))
    tail = twice * density * _erfc_series(twice - T(1))
    return (tail if x < T(0) else T(1) - tail), density
