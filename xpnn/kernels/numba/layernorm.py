"""Layer normalization with what follows it, activation and dropout: a pass each way.

::

    n      = (x + bias - mean) * inverse      mean and inverse deviation of the row
    z      = n * gamma + beta                 by columns
    output = f(z) * factor                    see `activations`

    t      = doutput * f'(z) * factor         the gradient by z
    d      = t * gamma
    dx     = inverse * (d - mean(d) - n * mean(d * n))      means over the row
    dbeta  = sum(t, axis=0)
    dgamma = sum(t * n, axis=0)
    dbias  = sum(dx, axis=0)

All that is done to a row is done while the nearest cache has it. The backward pass computes n anew,
which takes less time than to keep it.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ._compile import UNIT, Kernel, bound, part, summing_part
from .activations import KINDS, WAYS, activate, add_up, backward_row

__all__ = ["BACKWARD", "FORWARD"]


@summing_part
def _moments(xs, bias, epsilon):  # type: ignore[no-untyped-def]
    """Return the mean of ``xs + bias``, and 1 / sqrt(variance + epsilon)."""
    T = xs.dtype.type
    share = T(1) / T(xs.size)
    total = T(0)
    for c in range(xs.size):
        total += xs[c] + bias[c]
    mean = total * share
    squares = T(0)
    for c in range(xs.size):
        centered = xs[c] + bias[c] - mean
        squares += centered * centered
    return mean, T(1) / np.sqrt(squares * share + T(epsilon))


@part
def _scale_row(xs, bias, mean, inverse, gamma, beta, zs):  # type: ignore[no-untyped-def]
    for c in range(xs.size):
        zs[c] = (xs[c] + bias[c] - mean) * inverse * gamma[c] + beta[c]


@part
def _activate_row(kind, sloped, ys, drawn, threshold, kept, setting, slopes):  # type: ignore[no-untyped-def]
    # In place: with fewer arrays there are fewer places that may be the same to look at.
    T = ys.dtype.type
    for c in range(ys.size):
        y, dy = activate(len(kind), ys[c], setting, T)
        factor = kept if np.int32(drawn[c]) >= threshold else T(0)
        ys[c] = y * factor
        if len(sloped) == 1:
            slopes[c] = dy * factor


@summing_part
def _sum_row(dxs, xs, bias, mean, inverse, gamma, dgamma):  # type: ignore[no-untyped-def]
    """Add t * n to dgamma; return the means of d and of d * n."""
    T = dxs.dtype.type
    total, product = T(0), T(0)
    for c in range(xs.size):
        n = (xs[c] + bias[c] - mean) * inverse
        dgamma[c] += dxs[c] * n
        d = dxs[c] * gamma[c]
        total += d
        product += d * n
    share = T(1) / T(xs.size)
    return total * share, product * share


@part
def _finish_row(dxs, xs, bias, mean, inverse, gamma, total, product):  # type: ignore[no-untyped-def]
    for c in range(xs.size):
        n = (xs[c] + bias[c] - mean) * inverse
        dxs[c] = inverse * (dxs[c] * gamma[c] - total - n * product)


@part
def _add_row(sums, addends):  # type: ignore[no-untyped-def]
    for c in range(sums.size):
        sums[c] += addends[c]


@part
def _backward_block(  # type: ignore[no-untyped-def]
    way, dout, told, kept, x, bias, mean, inverse, gamma, dx, has_bias, dbeta, dgamma, dbias
):
    for sums in (dbeta, dgamma, dbias):
        sums[:] = dx.dtype.type(0)
    for i in range(dx.shape[0]):
        dxs, xs = dx[i], x[i]
        backward_row(way, dout[i], told[i], kept, dxs, dbeta)
        total, product = _sum_row(dxs, xs, bias, mean[i], inverse[i], gamma, dgamma)
        _finish_row(dxs, xs, bias, mean[i], inverse[i], gamma, total, product)
        if has_bias:
            _add_row(dbias, dxs)


def _forward(kind: int, sloped: bool) -> Kernel:
    kind_tag, sloped_tag = (0,) * kind, (0,) * sloped

    def forward(  # type: ignore[no-untyped-def]
        x,
        bias,
        epsilon,
        gamma,
        beta,
        mean,
        inverse,
        lanes,
        threshold,
        keep,
        a,
        output,
        slope,
        parts,
    ):
        T = x.dtype.type
        kept, setting, least = T(keep), T(a), np.int32(threshold)
        step = 0 if lanes.shape[0] == 1 else 1
        for index in prange(0, parts):
            top, bottom = bound(index, parts, x.shape[0], 1), bound(index + 1, parts, x.shape[0], 1)
            for i in range(top, bottom):
                mean[i], inverse[i] = _moments(x[i], bias, epsilon)
                row, drawn = output[i], lanes[i * step]
                _scale_row(x[i], bias, mean[i], inverse[i], gamma, beta, row)
                if len(kind_tag) > 0:
                    _activate_row(kind_tag, sloped_tag, row, drawn, least, kept, setting, slope[i])

    norm, chance = "vector real vector vector vector! vector!", "lanes integer real real"
    return Kernel(forward, f"matrix {norm} {chance} matrix! matrix! integer")


def _backward(way: int) -> Kernel:
    tag = (0,) * way

    def backward(  # type: ignore[no-untyped-def]
        dout,
        told,
        keep,
        x,
        bias,
        mean,
        inverse,
        gamma,
        dx,
        dbeta,
        dgamma,
        dbias,
        has_bias,
        sums,
        parts,
    ):
        kept, rows, blocks = x.dtype.type(keep), x.shape[0], sums.shape[0] // 3
        for index in prange(0, parts):
            for block in range(bound(index, parts, blocks, 1), bound(index + 1, parts, blocks, 1)):
                top, bottom = block * rows // blocks, (block + 1) * rows // blocks
                _backward_block(
                    tag,
                    dout[top:bottom],
                    told[top:bottom],
                    kept,
                    x[top:bottom],
                    bias,
                    mean[top:bottom],
                    inverse[top:bottom],
                    gamma,
                    dx[top:bottom],
                    has_bias,
                    sums[3 * block],
                    sums[3 * block + 1],
                    sums[3 * block + 2],
                )
        for index in prange(0, parts):
            left = bound(index, parts, x.shape[1], UNIT)
            right = bound(index + 1, parts, x.shape[1], UNIT)
            add_up(sums, 3, 0, dbeta, left, right)
            add_up(sums, 3, 1, dgamma, left, right)
            if has_bias:
                add_up(sums, 3, 2, dbias, left, right)

    norm, sums = "vector vector vector vector", "vector! vector! vector! integer matrix!"
    return Kernel(backward, f"matrix matrix real matrix {norm} matrix! {sums} integer")


#: ``(x, bias, epsilon, gamma, beta, mean, inverse, lanes, threshold, keep, a, output, slope,
#: parts)`` by the activation and by whether ``slope`` is wanted; where it is not, nothing is
#: written there. ``mean`` and ``inverse``, (N,), are for the backward pass. The rest is as in
#: `activations`. Parts are rows.
FORWARD = {
    (name, sloped): _forward(kind, sloped)
    for name, kind in KINDS.items()
    for sloped in (False, True)
}

#: ``(dout, output or slope, keep, x, bias, mean, inverse, gamma, dx, dbeta, dgamma, dbias,
#: has_bias, sums, parts)`` by the activation. dbias is written if ``has_bias``; ``sums`` is room
#: for three rows for each of the blocks, which are those of `activations.BACKWARD`.
BACKWARD = {name: _backward(way) for name, way in WAYS.items()}
