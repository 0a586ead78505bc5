"""What follows a product of matrices: scale, shift, activation and dropout in one pass each way.

::

    z      = (x - centre) * scale + shift                   by columns
    output = f(z) * factor
    factor = keep where the lane of the element is at least the threshold, else 0

    t      = doutput * f'(z) * factor                       the gradient by z
    dshift = sum(t, axis=0)
    dscale = sum(t * (x - centre), axis=0)

Multiplying by a factor of zero, rather than choosing zero, lets NaN and infinity through. Where
f'(z) cannot be told from the output, the forward pass leaves ``f'(z) * factor`` in ``slope``.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ._compile import UNIT, Kernel, bound, inlined, part
from ._mathematics import expm1_of_negative, normal_below, sigmoid, tanh

__all__ = [
    "BACKWARD",
    "FORWARD",
    "FORWARD_WITH_SLOPE",
    "KINDS",
    "WAYS",
    "activate",
    "add_up",
    "backward_row",
    "blocks",
]

_IDENTITY, _RELU, _DROPOUT, _LEAKY_RELU, _ELU, _SIGMOID, _TANH, _SILU, _GELU, _GELU_TANH = range(10)

# Rows of a block, at least, and blocks, at most.
_ROWS, _BLOCKS = 16, 64

# Of tanh(_SLOPE * (z + _CUBIC * z**3)), as in `xpnn.GELU`.
_SLOPE, _CUBIC = 0.7978845608028654, 0.044715


@inlined
def activate(kind, z, a, T):  # type: ignore[no-untyped-def]
    """Return f(z) and f'(z); ``a`` is the activation's setting. LLVM keeps one of the branches."""
    if kind == _RELU:
        return (T(0) if z <= T(0) else z), T(1)
    if kind == _LEAKY_RELU:
        y = z if z > T(0) else a * z
        return y, (T(1) if y > T(0) else a)
    if kind == _ELU:
        y = z if z > T(0) else a * expm1_of_negative(z, T)
        return y, (T(1) if y > T(0) else y + a)
    if kind == _SIGMOID:
        y = sigmoid(z, T)
        return y, y * (T(1) - y)
    if kind == _TANH:
        y = tanh(z, T)
        return y, T(1) - y * y
    if kind == _SILU:
        gate = sigmoid(z, T)
        y = z * gate
        return y, gate + y * (T(1) - gate)
    if kind == _GELU:
        gate, density = normal_below(z, T)
        return z * gate, gate + z * density
    if kind == _GELU_TANH:
        bend = T(2.0 * _SLOPE * _CUBIC) * z * z
        gate = sigmoid((bend + T(2.0 * _SLOPE)) * z, T)
        slope = (T(3) * bend + T(2.0 * _SLOPE)) * gate * (T(1) - gate)
        return z * gate, gate + z * slope
    return z, T(1)


# What parts are told of the kind is the length of a tuple: as a piece of a type it is known when
# they are compiled, and LLVM keeps one branch.
#
# Parts are rows. With columns for parts, a processor that reads ahead at the end of its piece of a
# row takes lines of memory from another one that is writing there: ten times the time.


@part
def _forward_row(kind, xs, centres, scales, shifts, drawn, threshold, kept, setting, ys):  # type: ignore[no-untyped-def]
    T = xs.dtype.type
    for c in range(xs.size):
        z = (xs[c] - centres[c]) * scales[c] + shifts[c]
        y, _ = activate(len(kind), z, setting, T)
        ys[c] = y * (kept if np.int32(drawn[c]) >= threshold else T(0))


@part
def _forward_with_slope_row(  # type: ignore[no-untyped-def]
    kind, xs, centres, scales, shifts, drawn, threshold, kept, setting, ys, slopes
):
    T = xs.dtype.type
    for c in range(xs.size):
        z = (xs[c] - centres[c]) * scales[c] + shifts[c]
        y, dy = activate(len(kind), z, setting, T)
        factor = kept if np.int32(drawn[c]) >= threshold else T(0)
        ys[c] = y * factor
        slopes[c] = dy * factor


_FROM_IDENTITY, _FROM_OUTPUT, _FROM_SLOPE = range(3)


@part
def backward_row(way, douts, told, kept, dxs, shifts):  # type: ignore[no-untyped-def]
    """Write t of a row to dxs, and add it to ``shifts``."""
    T = douts.dtype.type
    for c in range(douts.size):
        if len(way) == _FROM_OUTPUT:
            t = douts[c] * (kept if told[c] > T(0) else T(0))
        elif len(way) == _FROM_SLOPE:
            t = douts[c] * told[c]
        else:
            t = douts[c]
        dxs[c] = t
        shifts[c] += t


@part
def _scale_row(dxs, xs, centres, scales):  # type: ignore[no-untyped-def]
    for c in range(dxs.size):
        scales[c] += dxs[c] * (xs[c] - centres[c])


@part
def _backward_part(  # type: ignore[no-untyped-def]
    way, normalized, dout, told, keep, x, centre, dx, sums, first, last
):
    T = x.dtype.type
    kept, blocks, rows = T(keep), sums.shape[0] // 2, dout.shape[0]
    for block in range(first, last):
        top, bottom = block * rows // blocks, (block + 1) * rows // blocks
        shifts, scales = sums[2 * block], sums[2 * block + 1]
        shifts[:] = T(0)
        for i in range(top, bottom):
            backward_row(way, dout[i], told[i], kept, dx[i], shifts)
        if len(normalized) == 1:
            # A loop of its own: one with all these arrays would not become vector code.
            scales[:] = T(0)
            for i in range(top, bottom):
                _scale_row(dx[i], x[i], centre, scales)


@part
def add_up(sums, step, offset, totals, left, right):  # type: ignore[no-untyped-def]
    """Add each ``step``-th row of the sums, in their order."""
    totals = totals[left:right]
    totals[:] = totals.dtype.type(0)
    for i in range(offset, sums.shape[0], step):
        addends = sums[i, left:right]
        for c in range(totals.size):
            totals[c] += addends[c]


def _forward(kind: int) -> Kernel:
    tag = (0,) * kind

    def forward(  # type: ignore[no-untyped-def]
        x, centre, scale, shift, lanes, threshold, keep, a, output, parts
    ):
        T = x.dtype.type
        kept, setting, least = T(keep), T(a), np.int32(threshold)
        step = 0 if lanes.shape[0] == 1 else 1
        for index in prange(0, parts):
            top, bottom = bound(index, parts, x.shape[0], 1), bound(index + 1, parts, x.shape[0], 1)
            for i in range(top, bottom):
                _forward_row(
                    tag,
                    x[i],
                    centre,
                    scale,
                    shift,
                    lanes[i * step],
                    least,
                    kept,
                    setting,
                    output[i],
                )

    return Kernel(forward, "matrix vector vector vector lanes integer real real matrix! integer")


def _forward_with_slope(kind: int) -> Kernel:
    tag = (0,) * kind

    def forward_with_slope(  # type: ignore[no-untyped-def]
        x, centre, scale, shift, lanes, threshold, keep, a, output, slope, parts
    ):
        T = x.dtype.type
        kept, setting, least = T(keep), T(a), np.int32(threshold)
        step = 0 if lanes.shape[0] == 1 else 1
        for index in prange(0, parts):
            top, bottom = bound(index, parts, x.shape[0], 1), bound(index + 1, parts, x.shape[0], 1)
            for i in range(top, bottom):
                _forward_with_slope_row(
                    tag,
                    x[i],
                    centre,
                    scale,
                    shift,
                    lanes[i * step],
                    least,
                    kept,
                    setting,
                    output[i],
                    slope[i],
                )

    arguments = "matrix vector vector vector lanes integer real real matrix! matrix! integer"
    return Kernel(forward_with_slope, arguments)


def _backward(way: int, normalized: bool) -> Kernel:
    way_tag, normalized_tag = (0,) * way, (0,) * normalized

    def backward(  # type: ignore[no-untyped-def]
        dout, told, keep, x, centre, dx, dshift, dscale, sums, parts
    ):
        blocks = sums.shape[0] // 2
        for index in prange(0, parts):
            _backward_part(
                way_tag,
                normalized_tag,
                dout,
                told,
                keep,
                x,
                centre,
                dx,
                sums,
                bound(index, parts, blocks, 1),
                bound(index + 1, parts, blocks, 1),
            )
        for index in prange(0, parts):
            left = bound(index, parts, x.shape[1], UNIT)
            right = bound(index + 1, parts, x.shape[1], UNIT)
            add_up(sums, 2, 0, dshift, left, right)
            if normalized:
                add_up(sums, 2, 1, dscale, left, right)

    arguments = "matrix matrix real matrix vector matrix! vector! vector! matrix! integer"
    return Kernel(backward, arguments)


def blocks(rows: int) -> int:
    """Return into how many blocks rows are cut, each of which is added up by itself."""
    return min(_BLOCKS, -(-rows // _ROWS))


#: The activations, as `activate` is told of them.
KINDS = {
    "identity": _IDENTITY,
    "dropout": _DROPOUT,
    "relu": _RELU,
    "leaky_relu": _LEAKY_RELU,
    "elu": _ELU,
    "sigmoid": _SIGMOID,
    "tanh": _TANH,
    "silu": _SILU,
    "gelu": _GELU,
    "gelu_tanh": _GELU_TANH,
}

#: ``(x, centre, scale, shift, lanes, threshold, keep, a, output, parts)`` by the activation.
#: ``lanes`` has the shape of x, or one row for all; "identity" means no dropout either. Parts are
#: rows.
FORWARD = {name: _forward(kind) for name, kind in KINDS.items()}

#: The same with an argument ``slope`` behind the output, for training.
FORWARD_WITH_SLOPE = {
    name: _forward_with_slope(kind)
    for name, kind in KINDS.items()
    if name not in ("identity", "relu")
}

#: From what the derivative is told, as `backward_row` is told of it.
WAYS = {"identity": _FROM_IDENTITY, "relu": _FROM_OUTPUT, "slope": _FROM_SLOPE}

#: ``(dout, output or slope, keep, x, centre, dx, dshift, dscale, sums, parts)`` by the activation
#: and by whether dscale is wanted. dx becomes t; ``sums`` is room for two rows for each of the
#: `blocks`. Parts are blocks of rows, added up in their order, whoever has made their sums.
BACKWARD = {
    (name, normalized): _backward(way, normalized)
    for name, way in WAYS.items()
    for normalized in (False, True)
}
