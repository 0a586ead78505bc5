"""Elementary functions that LLVM turns into vector code: no table, no branch, no call.

Numba's own ``exp`` calls the C library for each number, which takes ten times as long.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.polynomial import chebyshev

from ..._standard import _ERFC_COEFFICIENTS
from ._compile import inlined

__all__ = ["exp_of_negative", "expm1_of_negative", "maximum", "normal_below", "sigmoid", "tanh"]

# exp(x) = 2^k (1 + q(r)), with k the integer next to x / log(2), r = x - k log(2) and the series
# q(r) = exp(r) - 1 = r + r^2 (c0 + c1 r + ...).
# float32: Cephes, expf.c. float64: Taylor's series, whose remainder at r = log(2) / 2 is 1e-17.
_SERIES = {
    32: (
        5.0000001201e-1,
        1.6666665459e-1,
        4.1665795894e-2,
        8.3334519073e-3,
        1.3981999507e-3,
        1.9875691500e-4,
    ),
    64: tuple(
        1.0 / f
        for f in (2, 6, 24, 120, 720, 5040, 40320, 362880, 3628800, 39916800, 479001600, 6227020800)
    ),
}
# log(2) in two parts: k times the first is exact.
_LOG2 = {
    32: (0.693359375, -2.12194440e-4),
    64: (6.93145751953125e-1, 1.42860682030941723212e-6),
}
#: Below these exp(x) is no normal number; it is taken as 0.
_LOWEST = {32: -87.3, 64: -708.3}

# The series of `xpnn._standard.erf` in powers of its argument, as far as the type needs.
_ERFC = {
    bits: tuple(chebyshev.cheb2poly(_ERFC_COEFFICIENTS[:terms]).tolist())
    for bits, terms in ((32, 12), (64, 24))
}


def _intrinsic(builder: Any, name: str, real: Any, arity: int) -> Any:
    """Declare a function of LLVM's from ``arity`` numbers to one."""
    return builder.module.declare_intrinsic(name, [real], ir.FunctionType(real, [real] * arity))


def _horner(builder: Any, x: Any, coefficients: tuple[float, ...]) -> Any:
    """Emit c0 + c1 x + c2 x^2 + ..."""
    muladd = _intrinsic(builder, "llvm.fmuladd", x.type, 3)
    total = x.type(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = builder.call(muladd, [total, x, x.type(coefficient)])
    return total


@intrinsic  # type: ignore[untyped-decorator]
def _split_exp(typing_context: Any, x: Any) -> Any:
    """(2^k, q) for x <= 0; 2^k is 0 where the exponential is too small. NaN gives a NaN q."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        real, bits = x.type, signature.args[0].bitwidth
        integer = ir.IntType(bits)
        mantissa, bias = (23, 127) if bits == 32 else (52, 1023)
        muladd = _intrinsic(builder, "llvm.fmuladd", real, 3)
        small = builder.fcmp_ordered("<", x, real(_LOWEST[bits]))
        x = builder.select(small, real(0.0), x)
        # Adding this number leaves the integer in the lowest bits of the sum.
        magic = real(1.5 * 2.0**mantissa)
        shifted = builder.call(muladd, [x, real(1.4426950408889634), magic])
        k = builder.fsub(shifted, magic)
        r = x
        for part in _LOG2[bits]:
            r = builder.call(muladd, [k, real(-part), r])
        tail = _horner(builder, r, _SERIES[bits])
        q = builder.call(muladd, [builder.fmul(r, r), tail, r])
        power = builder.add(builder.bitcast(shifted, integer), integer(bias))
        power = builder.bitcast(builder.shl(power, integer(mantissa)), real)
        power = builder.select(small, real(0.0), power)
        return cgutils.pack_array(builder, [power, q])

    return types.UniTuple(x, 2)(x), generate  # type: ignore[attr-defined]


@intrinsic  # type: ignore[untyped-decorator]
def _erfc_series(typing_context: Any, u: Any) -> Any:
    """Sum the series in `xpnn._standard.erf`, at u in [-1, 1]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _horner(builder, arguments[0], _ERFC[signature.args[0].bitwidth])

    return u(u), generate


@intrinsic  # type: ignore[untyped-decorator]
def maximum(typing_context: Any, a: Any, b: Any) -> Any:
    """Return the larger of two numbers, NaN if one of them is. Unlike `max`, vector code."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = _intrinsic(builder, "llvm.maximum", arguments[0].type, 2)
        return builder.call(function, arguments)

    return a(a, a), generate


@inlined
def exp_of_negative(x):  # type: ignore[no-untyped-def]
    """exp(x) for x <= 0; 0 below the normal numbers."""
    power, q = _split_exp(x)
    return power + power * q


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
    """Probability that a normal number is below x, and its density at x."""
    magnitude = abs(x) * T(0.7071067811865476)
    exponential = exp_of_negative(-magnitude * magnitude)
    t = T(3) / (T(3) + magnitude)
    tail = T(0.5) * t * exponential * _erfc_series(T(2) * t - T(1))
    return (tail if x < T(0) else T(1) - tail), exponential * T(0.3989422804014327)
