"""Sums of two arrays, with ReLU or without: where the ways of a residual block meet."""

from __future__ import annotations

from numba import prange

from ._compile import UNIT, bound, kernel, part

__all__ = ["add", "rectified_gradient"]


@kernel("vector vector vector! integer integer")
def add(first, second, output, rectify, parts):  # type: ignore[no-untyped-def]
    """``output = first + second``, or ``max(first + second, 0)``."""
    for index in prange(parts):
        begin = bound(index, parts, output.size, UNIT)
        end = bound(index + 1, parts, output.size, UNIT)
        _add(first[begin:end], second[begin:end], output[begin:end], rectify)


@part
def _add(first, second, output, rectify):  # type: ignore[no-untyped-def]
    zero = first.dtype.type(0)
    if rectify:
        for c in range(output.size):
            total = first[c] + second[c]
            output[c] = zero if total <= zero else total  # NaN stays
    else:
        for c in range(output.size):
            output[c] = first[c] + second[c]


@kernel("vector vector vector! integer")
def rectified_gradient(dout, output, gradient, parts):  # type: ignore[no-untyped-def]
    """Write ``dout`` where ``output`` is positive, 0 elsewhere."""
    for index in prange(parts):
        begin = bound(index, parts, output.size, UNIT)
        end = bound(index + 1, parts, output.size, UNIT)
        _rectified_gradient(dout[begin:end], output[begin:end], gradient[begin:end])


@part
def _rectified_gradient(dout, output, gradient):  # type: ignore[no-untyped-def]
    T = output.dtype.type
    for c in range(output.size):
        gradient[c] = dout[c] * (T(1) if output[c] > T(0) else T(0))
