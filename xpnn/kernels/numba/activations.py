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

from numba import prange

from ._compile import UNIT, Kernel, bound, inlined, part
from ._mathematics import expm1_of_negative, normal_below, sigmoid, tanh

__all__ = ["BACKWARD", "FORWARD", "FORWARD_WITH_SLOPE"]

_IDENTITY, _RELU, _DROPOUT, _LEAKY_RELU, _ELU, _SIGMOID, _TANH, _SILU, _GELU, _GELU_TANH = range(10)

# Of tanh(_SLOPE * (z + _CUBIC * z**3)), as in `xpnn.GELU`.
_SLOPE, _CUBIC = 0.7978845608028654, 0.044715


@inlined
def _activate(kind, z, a, T):  # type: ignore[no-untyped-def]
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


@part
def _forward_part(  # type: ignore[no-untyped-def]
    kind, x, centre, scale, shift, lanes, threshold, keep, a, output, left, right
):
    T = x.dtype.type
    kept, setting = T(keep), T(a)
    step = 0 if lanes.shape[0] == 1 else 1
    centres, scales, shifts = centre[left:right], scale[left:right], shift[left:right]
    for i in range(x.shape[0]):
        xi, oi, li = x[i, left:right], output[i, left:right], lanes[i * step, left:right]
        for c in range(xi.size):
            z = (xi[c] - centres[c]) * scales[c] + shifts[c]
            y, _ = _activate(len(kind), z, setting, T)
            oi[c] = y * (kept if li[c] >= threshold else T(0))


@part
def _forward_with_slope_part(  # type: ignore[no-untyped-def]
    kind, x, centre, scale, shift, lanes, threshold, keep, a, output, slope, left, right
):
    T = x.dtype.type
    kept, setting = T(keep), T(a)
    step = 0 if lanes.shape[0] == 1 else 1
    centres, scales, shifts = centre[left:right], scale[left:right], shift[left:right]
    for i in range(x.shape[0]):
        xi, oi, li = x[i, left:right], output[i, left:right], lanes[i * step, left:right]
        si = slope[i, left:right]
        for c in range(xi.size):
            z = (xi[c] - centres[c]) * scales[c] + shifts[c]
            y, dy = _activate(len(kind), z, setting, T)
            factor = kept if li[c] >= threshold else T(0)
            oi[c] = y * factor
            si[c] = dy * factor


_FROM_IDENTITY, _FROM_OUTPUT, _FROM_SLOPE = range(3)


@part
def _backward_part(  # type: ignore[no-untyped-def]
    way, normalized, dout, told, keep, x, centre, dx, dshift, dscale, left, right
):
    T = x.dtype.type
    kept = T(keep)
    centres, shifts, scales = centre[left:right], dshift[left:right], dscale[left:right]
    shifts[:] = T(0)
    scales[:] = T(0)
    for i in range(dout.shape[0]):
        di, yi, xi = dout[i, left:right], told[i, left:right], x[i, left:right]
        ti = dx[i, left:right]
        for c in range(di.size):
            if len(way) == _FROM_OUTPUT:
                t = di[c] * (kept if yi[c] > T(0) else T(0))
            elif len(way) == _FROM_SLOPE:
                t = di[c] * yi[c]
            else:
                t = di[c]
            ti[c] = t
        # Loops of their own, which find the row in the first cache: one with all these arrays would
        # not become vector code.
        for c in range(di.size):
            shifts[c] += ti[c]
        if len(normalized) == 1:
            for c in range(di.size):
                scales[c] += ti[c] * (xi[c] - centres[c])


def _forward(kind: int) -> Kernel:
    tag = (0,) * kind

    def forward(  # type: ignore[no-untyped-def]
        x, centre, scale, shift, lanes, threshold, keep, a, output, parts
    ):
        for index in prange(parts):
            left = bound(index, parts, x.shape[1], UNIT)
            right = bound(index + 1, parts, x.shape[1], UNIT)
            _forward_part(
                tag, x, centre, scale, shift, lanes, threshold, keep, a, output, left, right
            )

    return Kernel(forward, "matrix vector vector vector lanes integer real real matrix! integer")


def _forward_with_slope(kind: int) -> Kernel:
    tag = (0,) * kind

    def forward_with_slope(  # type: ignore[no-untyped-def]
        x, centre, scale, shift, lanes, threshold, keep, a, output, slope, parts
    ):
        for index in prange(parts):
            left = bound(index, parts, x.shape[1], UNIT)
            right = bound(index + 1, parts, x.shape[1], UNIT)
            _forward_with_slope_part(
                tag, x, centre, scale, shift, lanes, threshold, keep, a, output, slope, left, right
            )

    arguments = "matrix vector vector vector lanes integer real real matrix! matrix! integer"
    return Kernel(forward_with_slope, arguments)


def _backward(way: int, normalized: bool) -> Kernel:
    way_tag, normalized_tag = (0,) * way, (0,) * normalized

    def backward(  # type: ignore[no-untyped-def]
        dout, told, keep, x, centre, dx, dshift, dscale, parts
    ):
        for index in prange(parts):
            left = bound(index, parts, x.shape[1], UNIT)
            right = bound(index + 1, parts, x.shape[1], UNIT)
            _backward_part(
                way_tag,
                normalized_tag,
                dout,
                told,
                keep,
                x,
                centre,
                dx,
                dshift,
                dscale,
                left,
                right,
            )

    return Kernel(backward, "matrix matrix real matrix vector matrix! vector! vector! integer")


_KINDS = {
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
#: columns.
FORWARD = {name: _forward(kind) for name, kind in _KINDS.items()}

#: The same with an argument ``slope`` behind the output, for training.
FORWARD_WITH_SLOPE = {
    name: _forward_with_slope(kind)
    for name, kind in _KINDS.items()
    if name not in ("identity", "relu")
}

#: ``(dout, output or slope, keep, x, centre, dx, dshift, dscale, parts)`` by the activation and by
#: whether dscale is wanted. dx becomes t.
BACKWARD = {
    (name, normalized): _backward(way, normalized)
    for name, way in (
        ("identity", _FROM_IDENTITY),
        ("relu", _FROM_OUTPUT),
        ("slope", _FROM_SLOPE),
    )
    for normalized in (False, True)
}
