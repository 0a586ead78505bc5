"""Sums of two arrays, with ReLU or without: where the ways of a residual block meet."""

from __future__ import annotations

from numba import prange

from ._compile import UNIT, bound, kernel, part
from .moments import tiled

__all__ = ["add", "add_normalized", "add_rectified", "rectified_gradient"]


@kernel("vector vector vector! integer integer")
def add(first, second, output, rectify, parts):  # type: ignore[no-untyped-def]
    """``output = first + second``, or ``max(first + second, 0)``."""
    for index in prange(0, parts):
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


@kernel("vector vector vector vector vector vector! integer integer integer")
def add_normalized(  # type: ignore[no-untyped-def]
    x, centre, scale, shift, second, output, width, rectify, parts
):
    """Add what a normalization makes of images (N, H, W, C), flat ones, to others."""
    length = width * centre.size
    for index in prange(0, parts):
        rows = x.size // length
        begin, end = index * rows // parts * length, (index + 1) * rows // parts * length
        _add_normalized(
            x[begin:end], centre, scale, shift, second[begin:end], output[begin:end], width, rectify
        )


@part
def _add_normalized(x, centre, scale, shift, second, output, width, rectify):  # type: ignore[no-untyped-def]
    zero = x.dtype.type(0)
    length = width * centre.size
    centres, scales, shifts = tiled(centre, width), tiled(scale, width), tiled(shift, width)
    for start in range(0, x.size, length):
        source, other = x[start : start + length], second[start : start + length]
        target = output[start : start + length]
        if rectify:
            for c in range(length):
                total = (source[c] - centres[c]) * scales[c] + shifts[c] + other[c]
                target[c] = zero if total <= zero else total  # NaN stays
        else:
            for c in range(length):
                target[c] = (source[c] - centres[c]) * scales[c] + shifts[c] + other[c]


@kernel("vector vector vector vector! integer")
def add_rectified(first, second, values, output, parts):  # type: ignore[no-untyped-def]
    """``output = first + second`` where ``values`` is positive, 0 elsewhere."""
    for index in prange(0, parts):
        begin = bound(index, parts, output.size, UNIT)
        end = bound(index + 1, parts, output.size, UNIT)
        _add_rectified(first[begin:end], second[begin:end], values[begin:end], output[begin:end])


@part
def _add_rectified(first, second, values, output):  # type: ignore[no-untyped-def]
    T = output.dtype.type
    for c in range(output.size):
        output[c] = (first[c] + second[c]) * (T(1) if values[c] > T(0) else T(0))


@kernel("vector vector vector! integer")
def rectified_gradient(dout, output, gradient, parts):  # type: ignore[no-untyped-def]
    """Write ``dout`` where ``output`` is positive, 0 elsewhere."""
    for index in prange(0, parts):
        begin = bound(index, parts, output.size, UNIT)
        end = bound(index + 1, parts, output.size, UNIT)
        _rectified_gradient(dout[begin:end], output[begin:end], gradient[begin:end])


@part
def _rectified_gradient(dout, output, gradient):  # type: ignore[no-untyped-def]
    T = output.dtype.type
    for c in range(output.size):
        gradient[c] = dout[c] * (T(1) if output[c] > T(0) else T(0))
