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

from ._compile import Kernel, inlined
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


def _forward(kind: int) -> Kernel:
    def forward(  # type: ignore[no-untyped-def]
        x, centre, scale, shift, lanes, threshold, keep, a, output
    ):
        T = x.dtype.type
        kept, setting = T(keep), T(a)
        step = 0 if lanes.shape[0] == 1 else 1
        for i in range(x.shape[0]):
            xi, oi, li = x[i], output[i], lanes[i * step]
            for c in range(x.shape[1]):
                y, _ = _activate(kind, (xi[c] - centre[c]) * scale[c] + shift[c], setting, T)
                oi[c] = y * (kept if li[c] >= threshold else T(0))

    return Kernel(forward, "matrix vector vector vector lanes integer real real matrix!")


def _forward_with_slope(kind: int) -> Kernel:
    def forward(  # type: ignore[no-untyped-def]
        x, centre, scale, shift, lanes, threshold, keep, a, output, slope
    ):
        T = x.dtype.type
        kept, setting = T(keep), T(a)
        step = 0 if lanes.shape[0] == 1 else 1
        for i in range(x.shape[0]):
            xi, oi, si, li = x[i], output[i], slope[i], lanes[i * step]
            for c in range(x.shape[1]):
                y, dy = _activate(kind, (xi[c] - centre[c]) * scale[c] + shift[c], setting, T)
                factor = kept if li[c] >= threshold else T(0)
                oi[c] = y * factor
                si[c] = dy * factor

    return Kernel(forward, "matrix vector vector vector lanes integer real real matrix! matrix!")


def _backward_relu(normalized: bool) -> Kernel:
    """Make the kernel for an output that is positive where the element was kept."""

    def backward(  # type: ignore[no-untyped-def]
        dout, output, keep, x, centre, dx, dshift, dscale
    ):
        T = x.dtype.type
        kept = T(keep)
        dshift[:] = T(0)
        dscale[:] = T(0)
        for i in range(dout.shape[0]):
            di, oi, xi, ti = dout[i], output[i], x[i], dx[i]
            for c in range(dout.shape[1]):
                t = di[c] * (kept if oi[c] > T(0) else T(0))
                ti[c] = t
                dshift[c] += t
                if normalized:
                    dscale[c] += t * (xi[c] - centre[c])

    return Kernel(backward, "matrix matrix real matrix vector matrix! vector! vector!")


def _backward_slope(normalized: bool) -> Kernel:
    def backward(  # type: ignore[no-untyped-def]
        dout, slope, keep, x, centre, dx, dshift, dscale
    ):
        T = x.dtype.type
        dshift[:] = T(0)
        dscale[:] = T(0)
        for i in range(dout.shape[0]):
            di, si, xi, ti = dout[i], slope[i], x[i], dx[i]
            for c in range(dout.shape[1]):
                t = di[c] * si[c]
                ti[c] = t
                dshift[c] += t
                if normalized:
                    dscale[c] += t * (xi[c] - centre[c])

    return Kernel(backward, "matrix matrix real matrix vector matrix! vector! vector!")


def _backward_identity(normalized: bool) -> Kernel:
    def backward(  # type: ignore[no-untyped-def]
        dout, output, keep, x, centre, dx, dshift, dscale
    ):
        T = x.dtype.type
        dshift[:] = T(0)
        dscale[:] = T(0)
        for i in range(dout.shape[0]):
            di, xi, ti = dout[i], x[i], dx[i]
            for c in range(dout.shape[1]):
                t = di[c]
                ti[c] = t
                dshift[c] += t
                if normalized:
                    dscale[c] += t * (xi[c] - centre[c])

    return Kernel(backward, "matrix matrix real matrix vector matrix! vector! vector!")


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

#: ``(x, centre, scale, shift, lanes, threshold, keep, a, output)`` by the activation. ``lanes`` has
#: the shape of x, or one row for all; "identity" means no dropout either.
FORWARD = {name: _forward(kind) for name, kind in _KINDS.items()}

#: The same with a last argument ``slope``, for training.
FORWARD_WITH_SLOPE = {
    name: _forward_with_slope(kind)
    for name, kind in _KINDS.items()
    if name not in ("identity", "relu")
}

#: ``(dout, output or slope, keep, x, centre, dx, dshift, dscale)`` by the activation and by whether
#: dscale is wanted. dx becomes t.
BACKWARD = {
    (name, normalized): make(normalized)
    for name, make in (
        ("identity", _backward_identity),
        ("relu", _backward_relu),
        ("slope", _backward_slope),
    )
    for normalized in (False, True)
}
