"""Elementary functions in LLVM's language, of a number or of a vector of them.

No table, no branch, no call: what is emitted for a number becomes vector code inside of a loop.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils
from numpy.polynomial import chebyshev

from ..._standard import _ERFC_COEFFICIENTS

__all__ = [
    "emit_erfc_series",
    "emit_exp2_of_negative",
    "emit_exp_of_negative",
    "emit_log",
    "emit_split_exp",
    "everywhere",
    "function",
    "integers",
    "multiply_add",
]

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

# 2^r = c0 + c1 r + c2 r^2 + ... for |r| <= 1/2. float32: the least maximum of the relative error,
# 9e-8, with c0 = 1. float64: Taylor's series, whose remainder is 4e-18.
_EXP2 = {
    32: (1.0, 6.9314700e-1, 2.4022242e-1, 5.5507336e-2, 9.6715130e-3, 1.3264727e-3),
    64: tuple(math.log(2.0) ** n / math.factorial(n) for n in range(14)),
}

# (log(1 + f) - f + f^2 / 2 - s f^2 / 2) / (s^3) in powers of s^2, with s = f / (2 + f):
# log((1 + s) / (1 - s)) = 2 s + 2 s^3 / 3 + 2 s^5 / 5 + ..., where |s| < 0.172.
_LOG = {bits: tuple(2.0 / (2 * n + 3) for n in range(terms)) for bits, terms in ((32, 5), (64, 10))}

# erfc(m) exp(m^2) / t, with t = 3 / (3 + m), in powers of u = 2 t - 1. float64: the series of
# `xpnn._standard.erf`. float32: fitted (Lawson's weights) so that erfc(m) / 2 has no error of more
# than 1.2e-8, nor of more than 4e-7 of itself.
_ERFC = {
    32: (
        3.58002354e-1,
        2.94466422e-1,
        1.96739698e-1,
        1.03455573e-1,
        3.99071333e-2,
        9.07827597e-3,
        -7.79659951e-4,
        -8.69821059e-4,
    ),
    64: tuple(chebyshev.cheb2poly(_ERFC_COEFFICIENTS).tolist()),
}
_FACTOR = math.sqrt(math.pi / 8.0)


def everywhere(kind: Any, value: float) -> Any:
    """Return a constant of a type, which may be a vector's."""
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [kind.element(value)] * kind.count)
    return kind(value)


def integers(kind: Any) -> tuple[Any, int, int]:
    """Return the integer type of a real one, the bits of a mantissa, and the exponent of 1."""
    real = getattr(kind, "element", kind)
    bits, mantissa = (32, 23) if isinstance(real, ir.FloatType) else (64, 52)
    integer = ir.IntType(bits)
    if real is not kind:
        integer = ir.VectorType(integer, kind.count)
    return integer, mantissa, (1 << bits - mantissa - 2) - 1


def _bits(kind: Any) -> int:
    return 32 if integers(kind)[1] == 23 else 64


def function(builder: Any, name: str, kind: Any, arity: int) -> Any:
    """Declare a function of LLVM's from ``arity`` numbers or vectors to one."""
    many = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
    shape = ir.FunctionType(kind, [kind] * arity)
    return cgutils.get_or_insert_function(builder.module, shape, f"{name}.{many}f{_bits(kind)}")


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Emit a * b + c, rounded once where the processor can."""
    return builder.call(function(builder, "llvm.fmuladd", c.type, 3), [a, b, c])


def _horner(builder: Any, x: Any, coefficients: tuple[float, ...]) -> Any:
    """Emit c0 + c1 x + c2 x^2 + ..."""
    total = everywhere(x.type, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = multiply_add(builder, total, x, everywhere(x.type, coefficient))
    return total


def emit_split_exp(builder: Any, x: Any) -> tuple[Any, Any]:
    """Emit (2^k, q) for x <= 0; 2^k is 0 where the exponential is too small. NaN gives a NaN q."""
    kind = x.type
    integer, mantissa, bias = integers(kind)
    small = builder.fcmp_ordered("<", x, everywhere(kind, _LOWEST[_bits(kind)]))
    zero = everywhere(kind, 0.0)
    x = builder.select(small, zero, x)
    # Adding this number leaves the integer in the lowest bits of the sum.
    magic = everywhere(kind, 1.5 * 2.0**mantissa)
    shifted = multiply_add(builder, x, everywhere(kind, 1.4426950408889634), magic)
    k = builder.fsub(shifted, magic)
    r = x
    for part in _LOG2[_bits(kind)]:
        r = multiply_add(builder, k, everywhere(kind, -part), r)
    tail = _horner(builder, r, _SERIES[_bits(kind)])
    q = multiply_add(builder, builder.fmul(r, r), tail, r)
    power = builder.add(builder.bitcast(shifted, integer), everywhere(integer, bias))
    power = builder.bitcast(builder.shl(power, everywhere(integer, mantissa)), kind)
    return builder.select(small, zero, power), q


def emit_exp_of_negative(builder: Any, x: Any) -> Any:
    """Emit exp(x) for x <= 0; 0 below the normal numbers."""
    power, q = emit_split_exp(builder, x)
    return multiply_add(builder, power, q, power)


def emit_exp2_of_negative(builder: Any, x: Any) -> Any:
    """Emit 2^x for x <= 0; 0 below the normal numbers. What NaN gives is unknown."""
    kind = x.type
    integer, mantissa, bias = integers(kind)
    magic = everywhere(kind, 1.5 * 2.0**mantissa)
    shifted = builder.fadd(x, magic)
    r = builder.fsub(x, builder.fsub(shifted, magic))
    series = builder.bitcast(_horner(builder, r, _EXP2[_bits(kind)]), integer)
    k = builder.shl(builder.bitcast(shifted, integer), everywhere(integer, mantissa))
    power = builder.bitcast(builder.add(series, k), kind)
    small = builder.fcmp_ordered("<", x, everywhere(kind, 1.0 - bias))
    return builder.select(small, everywhere(kind, 0.0), power)


def emit_erfc_series(builder: Any, u: Any) -> Any:
    """Emit sqrt(pi / 8) erfc(m) exp(m^2) (3 + m) / 3, with u = (3 - m) / (3 + m) and m >= 0."""
    return _horner(builder, u, tuple(_FACTOR * c for c in _ERFC[_bits(u.type)]))


def emit_log(builder: Any, x: Any) -> Any:
    """Emit log(x) for normal x > 0, infinity and NaN.

    With x = 2^k (1 + f), 1 + f from sqrt(1/2) to sqrt(2), and s = f / (2 + f)::

        log(x) = k log(2) + f - (f^2 / 2 - s (f^2 / 2 + s^2 (2/3 + 2/5 s^2 + ...)))

    Source: the C library of FreeBSD, e_log.c, for this order of the terms.
    """
    kind = x.type
    integer, mantissa, _ = integers(kind)
    least = np.asarray(math.sqrt(0.5), f"f{_bits(kind) // 8}").view(f"i{_bits(kind) // 8}")
    raw, shift = builder.bitcast(x, integer), everywhere(integer, mantissa)
    exponent = builder.ashr(builder.sub(raw, everywhere(integer, int(least))), shift)
    k = builder.sitofp(exponent, kind)
    m = builder.bitcast(builder.sub(raw, builder.shl(exponent, shift)), kind)
    f = builder.fsub(m, everywhere(kind, 1.0))
    s = builder.fdiv(f, builder.fadd(f, everywhere(kind, 2.0)))
    square = builder.fmul(s, s)
    half = builder.fmul(builder.fmul(f, f), everywhere(kind, 0.5))
    high, low = (everywhere(kind, part) for part in _LOG2[_bits(kind)])
    series = multiply_add(builder, square, _horner(builder, square, _LOG[_bits(kind)]), half)
    rest = multiply_add(builder, s, series, builder.fmul(k, low))
    result = builder.fsub(f, builder.fsub(half, rest))
    result = multiply_add(builder, k, high, result)
    finite = builder.fcmp_ordered("<", x, everywhere(kind, math.inf))
    return builder.select(finite, result, x)
