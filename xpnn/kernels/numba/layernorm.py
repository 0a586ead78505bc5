"""Layer normalization: its statistics, and the last step of its gradient.

The scale and the shift are applied together with the activation that follows: see `activations`,
where ``centre`` is zero and ``x`` is what `normalize` makes.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ._compile import UNIT, bound, kernel, part, summing_part

__all__ = ["finish", "normalize"]


@summing_part
def _normalize_part(x, bias, epsilon, normalized, inverse, top, bottom):  # type: ignore[no-untyped-def]
    T = x.dtype.type
    width = x.shape[1]
    share = T(1) / T(width)
    for i in range(top, bottom):
        xi, ni = x[i], normalized[i]
        total = T(0)
        for c in range(width):
            value = xi[c] + bias[c]
            ni[c] = value
            total += value
        mean = total * share
        squares = T(0)
        for c in range(width):
            centered = ni[c] - mean
            ni[c] = centered
            squares += centered * centered
        scale = T(1) / np.sqrt(squares * share + T(epsilon))
        inverse[i] = scale
        for c in range(width):
            ni[c] *= scale


@kernel("matrix vector real matrix! vector! integer")
def normalize(x, bias, epsilon, normalized, inverse, parts):  # type: ignore[no-untyped-def]
    """Give each row of ``x + bias`` the mean 0 and the variance 1; ``inverse`` is (N,).

    Parts are rows.
    """
    for index in prange(parts):
        top, bottom = bound(index, parts, x.shape[0], 1), bound(index + 1, parts, x.shape[0], 1)
        _normalize_part(x, bias, epsilon, normalized, inverse, top, bottom)


@summing_part
def _finish_part(normalized, inverse, gamma, dx, top, bottom):  # type: ignore[no-untyped-def]
    T = dx.dtype.type
    width = dx.shape[1]
    share = T(1) / T(width)
    for i in range(top, bottom):
        ni, di = normalized[i], dx[i]
        total, product = T(0), T(0)
        for c in range(width):
            d = di[c] * gamma[c]
            total += d
            product += d * ni[c]
        total *= share
        product *= share
        scale = inverse[i]
        for c in range(width):
            di[c] = scale * (di[c] * gamma[c] - total - ni[c] * product)


@part
def _sum_part(dx, dbias, left, right):  # type: ignore[no-untyped-def]
    sums = dbias[left:right]
    sums[:] = dx.dtype.type(0)
    for i in range(dx.shape[0]):
        di = dx[i, left:right]
        for c in range(di.size):
            sums[c] += di[c]


@kernel("matrix vector vector matrix! vector! integer integer")
def finish(normalized, inverse, gamma, dx, dbias, has_bias, parts):  # type: ignore[no-untyped-def]
    """Make the gradient by x of that by the scaled and shifted values, in place.

    ::

        d  = t * gamma                                                     dx comes as t
        dx = inverse * (d - mean(d) - normalized * mean(d * normalized))   means over the row
        dbias = sum(dx, axis=0)                                            if has_bias is 1

    Parts are rows, of the sum columns.
    """
    for index in prange(parts):
        top, bottom = bound(index, parts, dx.shape[0], 1), bound(index + 1, parts, dx.shape[0], 1)
        _finish_part(normalized, inverse, gamma, dx, top, bottom)
    if has_bias:
        for index in prange(parts):
            left = bound(index, parts, dx.shape[1], UNIT)
            right = bound(index + 1, parts, dx.shape[1], UNIT)
            _sum_part(dx, dbias, left, right)
