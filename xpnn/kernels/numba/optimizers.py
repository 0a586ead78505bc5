"""Updates of all parameters: penalty, clipping, weight decay and the optimizer's rule in one pass.

The parameters are one vector cut into segments. Segment s ends before ``ends[s]`` and has its own
factors: ``l1[s]`` and ``l2[s]`` of the penalty ``l1 sum(abs(w)) + l2 sum(w**2)``, and ``decay[s]``,
which multiplies the parameters before they are updated. In all rules the gradient is ::

    g = clip(gradient + 2 * l2 * w + l1 * sign(w), -limit, limit) * factor
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ._compile import bound, kernel, part
from .inspection import BLOCK, clipped, penalized

__all__ = ["adagrad", "adam", "momentum_rmsprop", "momentum_sgd", "rmsprop", "sgd"]

#: Arguments that all rules share: ``ends, l1, l2, decay, limit, factor``.
_COMMON = "indices numbers numbers numbers real real"

# Loops go over slices from 0 on: an index that might be negative keeps LLVM from vector code.


@part
def _piece(ends, s, index, parts):  # type: ignore[no-untyped-def]
    """Return where the piece of a segment begins and ends that belongs to a part."""
    size = ends[ends.size - 1]
    start, stop = bound(index, parts, size, BLOCK), bound(index + 1, parts, size, BLOCK)
    return max(start, ends[s - 1] if s > 0 else 0), min(stop, ends[s])


@part
def _sgd_part(  # type: ignore[no-untyped-def]
    ws, gs, l1, l2, decay, limit, factor, lr
):
    T = ws.dtype.type
    a, b, kept, most, scale = T(l1), T(l2), T(decay), T(limit), T(factor)
    rate = T(lr)
    for i in range(ws.size):
        w = ws[i]
        g = clipped(penalized(gs[i], w, a, b, T), most) * scale
        ws[i] = kept * w - rate * g


@kernel(f"vector! vector {_COMMON} real integer")
def sgd(  # type: ignore[no-untyped-def]
    values, grads, ends, l1, l2, decay, limit, factor, lr, parts
):
    """``w -= lr * g``."""
    for index in prange(0, parts):
        for s in range(ends.size):
            start, stop = _piece(ends, s, index, parts)
            if start < stop:
                _sgd_part(
                    values[start:stop], grads[start:stop], l1[s], l2[s], decay[s], limit, factor, lr
                )


@part
def _momentum_sgd_part(  # type: ignore[no-untyped-def]
    ws, gs, velocity, l1, l2, decay, limit, factor, lr, momentum, old, new
):
    T = ws.dtype.type
    a, b, kept, most, scale = T(l1), T(l2), T(decay), T(limit), T(factor)
    rate, m = T(lr), T(momentum)
    from_velocity, from_gradient = T(old), T(new)
    for i in range(ws.size):
        w = ws[i]
        g = clipped(penalized(gs[i], w, a, b, T), most) * scale
        v = m * velocity[i] + g
        velocity[i] = v
        ws[i] = kept * w - rate * (from_velocity * v + from_gradient * g)


@kernel(f"vector! vector vector! {_COMMON} real real real real integer")
def momentum_sgd(  # type: ignore[no-untyped-def]
    values, grads, velocity, ends, l1, l2, decay, limit, factor, lr, momentum, old, new, parts
):
    """``v = momentum * v + g``, then ``w -= lr * (old * v + new * g)``: Nesterov's needs both."""
    for index in prange(0, parts):
        for s in range(ends.size):
            start, stop = _piece(ends, s, index, parts)
            if start < stop:
                _momentum_sgd_part(
                    values[start:stop],
                    grads[start:stop],
                    velocity[start:stop],
                    l1[s],
                    l2[s],
                    decay[s],
                    limit,
                    factor,
                    lr,
                    momentum,
                    old,
                    new,
                )


@part
def _adam_part(  # type: ignore[no-untyped-def]
    ws, gs, mean, square, l1, l2, decay, limit, factor, lr, beta1, beta2, epsilon
):
    T = ws.dtype.type
    a, b, kept, most, scale = T(l1), T(l2), T(decay), T(limit), T(factor)
    rate, small = T(lr), T(epsilon)
    kept1, kept2, new1, new2 = T(beta1), T(beta2), T(1.0 - beta1), T(1.0 - beta2)
    for i in range(ws.size):
        w = ws[i]
        g = clipped(penalized(gs[i], w, a, b, T), most) * scale
        m = kept1 * mean[i] + new1 * g
        s = kept2 * square[i] + new2 * (g * g)
        mean[i] = m
        square[i] = s
        ws[i] = kept * w - rate * m / (np.sqrt(s) + small)


@kernel(f"vector! vector vector! vector! {_COMMON} real real real real integer")
def adam(  # type: ignore[no-untyped-def]
    values,
    grads,
    mean,
    square,
    ends,
    l1,
    l2,
    decay,
    limit,
    factor,
    lr,
    beta1,
    beta2,
    epsilon,
    parts,
):
    """Update by both moments; ``lr`` and ``epsilon`` come with the corrections of the step.

    ``m = beta1 m + (1 - beta1) g``; ``s = beta2 s + (1 - beta2) g**2``;
    ``w -= lr * m / (sqrt(s) + epsilon)``.
    """
    for index in prange(0, parts):
        for s in range(ends.size):
            start, stop = _piece(ends, s, index, parts)
            if start < stop:
                _adam_part(
                    values[start:stop],
                    grads[start:stop],
                    mean[start:stop],
                    square[start:stop],
                    l1[s],
                    l2[s],
                    decay[s],
                    limit,
                    factor,
                    lr,
                    beta1,
                    beta2,
                    epsilon,
                )


@part
def _rmsprop_part(  # type: ignore[no-untyped-def]
    ws, gs, square, l1, l2, decay, limit, factor, lr, rho, epsilon
):
    T = ws.dtype.type
    a, b, kept, most, scale = T(l1), T(l2), T(decay), T(limit), T(factor)
    rate, small = T(lr), T(epsilon)
    old, new = T(rho), T(1.0 - rho)
    for i in range(ws.size):
        w = ws[i]
        g = clipped(penalized(gs[i], w, a, b, T), most) * scale
        s = old * square[i] + new * (g * g)
        square[i] = s
        ws[i] = kept * w - rate * g / (np.sqrt(s) + small)


@kernel(f"vector! vector vector! {_COMMON} real real real integer")
def rmsprop(  # type: ignore[no-untyped-def]
    values, grads, square, ends, l1, l2, decay, limit, factor, lr, rho, epsilon, parts
):
    """``s = rho * s + (1 - rho) * g**2``; ``w -= lr * g / (sqrt(s) + epsilon)``."""
    for index in prange(0, parts):
        for s in range(ends.size):
            start, stop = _piece(ends, s, index, parts)
            if start < stop:
                _rmsprop_part(
                    values[start:stop],
                    grads[start:stop],
                    square[start:stop],
                    l1[s],
                    l2[s],
                    decay[s],
                    limit,
                    factor,
                    lr,
                    rho,
                    epsilon,
                )


@part
def _momentum_rmsprop_part(  # type: ignore[no-untyped-def]
    ws, gs, square, velocity, l1, l2, decay, limit, factor, lr, rho, epsilon, momentum
):
    T = ws.dtype.type
    a, b, kept, most, scale = T(l1), T(l2), T(decay), T(limit), T(factor)
    rate, small = T(lr), T(epsilon)
    old, new, m = T(rho), T(1.0 - rho), T(momentum)
    for i in range(ws.size):
        w = ws[i]
        g = clipped(penalized(gs[i], w, a, b, T), most) * scale
        s = old * square[i] + new * (g * g)
        square[i] = s
        v = m * velocity[i] + g / (np.sqrt(s) + small)
        velocity[i] = v
        ws[i] = kept * w - rate * v


@kernel(f"vector! vector vector! vector! {_COMMON} real real real real integer")
def momentum_rmsprop(  # type: ignore[no-untyped-def]
    values,
    grads,
    square,
    velocity,
    ends,
    l1,
    l2,
    decay,
    limit,
    factor,
    lr,
    rho,
    epsilon,
    momentum,
    parts,
):
    """`rmsprop` with ``v = momentum * v + g / (sqrt(s) + epsilon)``; ``w -= lr * v``."""
    for index in prange(0, parts):
        for s in range(ends.size):
            start, stop = _piece(ends, s, index, parts)
            if start < stop:
                _momentum_rmsprop_part(
                    values[start:stop],
                    grads[start:stop],
                    square[start:stop],
                    velocity[start:stop],
                    l1[s],
                    l2[s],
                    decay[s],
                    limit,
                    factor,
                    lr,
                    rho,
                    epsilon,
                    momentum,
                )


@part
def _adagrad_part(  # type: ignore[no-untyped-def]
    ws, gs, square, l1, l2, decay, limit, factor, lr, epsilon
):
    T = ws.dtype.type
    a, b, kept, most, scale = T(l1), T(l2), T(decay), T(limit), T(factor)
    rate, small = T(lr), T(epsilon)
    for i in range(ws.size):
        w = ws[i]
        g = clipped(penalized(gs[i], w, a, b, T), most) * scale
        s = square[i] + g * g
        square[i] = s
        ws[i] = kept * w - rate * g / (np.sqrt(s) + small)


@kernel(f"vector! vector vector! {_COMMON} real real integer")
def adagrad(  # type: ignore[no-untyped-def]
    values, grads, square, ends, l1, l2, decay, limit, factor, lr, epsilon, parts
):
    """``s += g**2``; ``w -= lr * g / (sqrt(s) + epsilon)``."""
    for index in prange(0, parts):
        for s in range(ends.size):
            start, stop = _piece(ends, s, index, parts)
            if start < stop:
                _adagrad_part(
                    values[start:stop],
                    grads[start:stop],
                    square[start:stop],
                    l1[s],
                    l2[s],
                    decay[s],
                    limit,
                    factor,
                    lr,
                    epsilon,
                )
