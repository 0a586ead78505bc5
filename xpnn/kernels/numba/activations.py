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
from ._mathematics import exp_of_negative, expm1_of_negative, normal_below, sigmoid, tanh

__all__ = ["BACKWARD", "FORWARD", "STORES_SLOPE"]

_IDENTITY, _RELU, _DROPOUT, _LEAKY_RELU, _ELU, _SIGMOID, _TANH, _SILU, _GELU, _GELU_TANH = range(10)

# Of tanh(_SLOPE * (z + _CUBIC * z**3)), as in `xpnn.GELU`.
_SLOPE, _CUBIC = 0.7978845608028654, 0.044715


@inlined
def _activate(kind, z, a, T):  # type: ignore[no-untyped-def]
    """f(z) and f'(z); ``a`` is the setting of the activation. LLVM keeps one branch of these."""
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
    def forward(x, centre, scale, shift, lanes, threshold, keep, a, output):  # type: ignore[no-untyped-def]
        T = x.dtype.type
        kept, setting = T(keep), T(a)
        step = 0 if lanes.shape[0] == 1 else 1
        for i in range(x.shape[0]):
            xi, oi, li = x[i], output[i], lanes[i * step]
            for c in range(x.shape[1]):
                y, _ = _activate(kind, (xi[c] - centre[c]) * scale[c] + shift[c], setting, T)
                oi[c] = y * (kept if li[c] >= threshold else T(0))

    return Kernel(
        forward, "matrix vector vector vector lanes integer real real matrix!"
    )


def _forward_with_slope(kind: int) -> Kernel:
    def forward(x, centre, scale, shift, lanes, threshold, keep, a, output, slope):  # type: ignore[no-untyped-def]
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

    return Kernel(
        forward,
        "matrix vector vector vector lanes integer real real matrix! matrix!",
    )
