"""Updates of all parameters: penalty, clipping, weight decay and the optimizer's rule in one pass.

The parameters are one vector cut into segments. Segment s ends before ``ends[s]`` and has its own
factors: ``l1[s]`` and ``l2[s]`` of the penalty ``l1 sum(abs(w)) + l2 sum(w**2)``, and ``decay[s]``,
which multiplies the parameters before they are updated. In all rules the gradient is ::

    g = clip(gradient + 2 * l2 * w + l1 * sign(w), -bound, bound) * factor
"""

from __future__ import annotations

import numpy as np

from ._compile import inlined, kernel

__all__ = ["adagrad", "adam", "inspect", "momentum_rmsprop", "momentum_sgd", "rmsprop", "sgd"]

# Loops go over slices from 0 on: an index that might be negative keeps LLVM from vector code.

# So many numbers are added in the type of the vector, such sums in float64.
_BLOCK = 2048


@inlined
def _penalized(g, w, l1, l2, T):  # type: ignore[no-untyped-def]
    sign = (T(1) if w > T(0) else T(0)) - (T(1) if w < T(0) else T(0))
    return g + T(2) * l2 * w + l1 * sign


@inlined
def _clipped(g, bound):  # type: ignore[no-untyped-def]
    g = bound if g > bound else g
    return -bound if g < -bound else g


@kernel("vector vector indices numbers numbers real")
def inspect(values, grads, ends, l1, l2, bound):  # type: ignore[no-untyped-def]
    """Return the penalty, the sum of the gradients, and that of their squares once clipped.

    The sum is finite only if every gradient is. Nothing is changed.
    """
    T = values.dtype.type
    limit = T(bound)
    penalty, witness, squares = 0.0, 0.0, 0.0
    start = 0
    for s in range(ends.size):
        a, b = T(l1[s]), T(l2[s])
        for begin in range(start, ends[s], _BLOCK):
            end = min(begin + _BLOCK, ends[s])
            ws, gs = values[begin:end], grads[begin:end]
            total, square, size, power = T(0), T(0), T(0), T(0)
            if l1[s] == 0.0 and l2[s] == 0.0:
                for i in range(gs.size):
                    g = gs[i]
                    total += g
                    g = _clipped(g, limit)
                    square += g * g
            else:
                for i in range(gs.size):
                    w = ws[i]
                    size += abs(w)
                    power += w * w
                    g = _penalized(gs[i], w, a, b, T)
                    total += g
                    g = _clipped(g, limit)
                    square += g * g
            penalty += l1[s] * size + l2[s] * power
            witness += total
            squares += square
        start = ends[s]
    return penalty, witness, squares


@kernel("vector! vector indices numbers numbers numbers real real real")
def sgd(values, grads, ends, l1, l2, decay, bound, factor, lr):  # type: ignore[no-untyped-def]
    """``w -= lr * g``."""
    T = values.dtype.type
    limit, scale, rate = T(bound), T(factor), T(lr)
    start = 0
    for s in range(ends.size):
        a, b, kept = T(l1[s]), T(l2[s]), T(decay[s])
        end = ends[s]
        ws, gs = values[start:end], grads[start:end]
        for i in range(ws.size):
            w = ws[i]
            g = _clipped(_penalized(gs[i], w, a, b, T), limit) * scale
            ws[i] = kept * w - rate * g
        start = end


@kernel("vector! vector vector! indices numbers numbers numbers real real real real real real")
def momentum_sgd(  # type: ignore[no-untyped-def]
    values, grads, velocity, ends, l1, l2, decay, bound, factor, lr, momentum, old, new
):
    """``v = momentum * v + g``, then ``w -= lr * (old * v + new * g)``: Nesterov's needs both."""
    T = values.dtype.type
    limit, scale, rate, m = T(bound), T(factor), T(lr), T(momentum)
    from_velocity, from_gradient = T(old), T(new)
    start = 0
    for s in range(ends.size):
        a, b, kept = T(l1[s]), T(l2[s]), T(decay[s])
        end = ends[s]
        ws, gs = values[start:end], grads[start:end]
        vs = velocity[start:end]
        for i in range(ws.size):
            w = ws[i]
            g = _clipped(_penalized(gs[i], w, a, b, T), limit) * scale
            v = m * vs[i] + g
            vs[i] = v
            ws[i] = kept * w - rate * (from_velocity * v + from_gradient * g)
        start = end


@kernel(
    "vector! vector vector! vector! indices numbers numbers numbers real real real real real real"
)
def adam(  # type: ignore[no-untyped-def]
    values, grads, mean, square, ends, l1, l2, decay, bound, factor, lr, beta1, beta2, epsilon
):
    """Update by both moments; ``lr`` and ``epsilon`` come with the corrections of the step.

    ``m = beta1 m + (1 - beta1) g``; ``s = beta2 s + (1 - beta2) g**2``;
    ``w -= lr * m / (sqrt(s) + epsilon)``.
    """
    T = values.dtype.type
    limit, scale, rate, small = T(bound), T(factor), T(lr), T(epsilon)
    kept1, kept2, new1, new2 = T(beta1), T(beta2), T(1.0 - beta1), T(1.0 - beta2)
    start = 0
    for k in range(ends.size):
        a, b, kept = T(l1[k]), T(l2[k]), T(decay[k])
        end = ends[k]
        ws, gs = values[start:end], grads[start:end]
        ms, ss = mean[start:end], square[start:end]
        for i in range(ws.size):
            w = ws[i]
            g = _clipped(_penalized(gs[i], w, a, b, T), limit) * scale
            m = kept1 * ms[i] + new1 * g
            s = kept2 * ss[i] + new2 * (g * g)
            ms[i] = m
            ss[i] = s
            ws[i] = kept * w - rate * m / (np.sqrt(s) + small)
        start = end


@kernel("vector! vector vector! indices numbers numbers numbers real real real real real")
def rmsprop(  # type: ignore[no-untyped-def]
    values, grads, square, ends, l1, l2, decay, bound, factor, lr, rho, epsilon
):
    """``s = rho * s + (1 - rho) * g**2``; ``w -= lr * g / (sqrt(s) + epsilon)``."""
    T = values.dtype.type
    limit, scale, rate, small = T(bound), T(factor), T(lr), T(epsilon)
    old, new = T(rho), T(1.0 - rho)
    start = 0
    for k in range(ends.size):
        a, b, kept = T(l1[k]), T(l2[k]), T(decay[k])
        end = ends[k]
        ws, gs = values[start:end], grads[start:end]
        ss = square[start:end]
        for i in range(ws.size):
            w = ws[i]
            g = _clipped(_penalized(gs[i], w, a, b, T), limit) * scale
            s = old * ss[i] + new * (g * g)
            ss[i] = s
            ws[i] = kept * w - rate * g / (np.sqrt(s) + small)
        start = end


@kernel(
    "vector! vector vector! vector! indices numbers numbers numbers real real real real real real"
)
def momentum_rmsprop(  # type: ignore[no-untyped-def]
    values, grads, square, velocity, ends, l1, l2, decay, bound, factor, lr, rho, epsilon, momentum
):
    """`rmsprop` with ``v = momentum * v + g / (sqrt(s) + epsilon)``; ``w -= lr * v``."""
    T = values.dtype.type
    limit, scale, rate, small = T(bound), T(factor), T(lr), T(epsilon)
    old, new, m = T(rho), T(1.0 - rho), T(momentum)
    start = 0
    for k in range(ends.size):
        a, b, kept = T(l1[k]), T(l2[k]), T(decay[k])
        end = ends[k]
        ws, gs = values[start:end], grads[start:end]
        ss, vs = square[start:end], velocity[start:end]
        for i in range(ws.size):
            w = ws[i]
            g = _clipped(_penalized(gs[i], w, a, b, T), limit) * scale
            s = old * ss[i] + new * (g * g)
            ss[i] = s
            v = m * vs[i] + g / (np.sqrt(s) + small)
            vs[i] = v
            ws[i] = kept * w - rate * v
        start = end


@kernel("vector! vector vector! indices numbers numbers numbers real real real real")
def adagrad(  # type: ignore[no-untyped-def]
    values, grads, square, ends, l1, l2, decay, bound, factor, lr, epsilon
):
    """``s += g**2``; ``w -= lr * g / (sqrt(s) + epsilon)``."""
    T = values.dtype.type
    limit, scale, rate, small = T(bound), T(factor), T(lr), T(epsilon)
    start = 0
    for k in range(ends.size):
        a, b, kept = T(l1[k]), T(l2[k]), T(decay[k])
        end = ends[k]
        ws, gs = values[start:end], grads[start:end]
        ss = square[start:end]
        for i in range(ws.size):
            w = ws[i]
            g = _clipped(_penalized(gs[i], w, a, b, T), limit) * scale
            s = ss[i] + g * g
            ss[i] = s
            ws[i] = kept * w - rate * g / (np.sqrt(s) + small)
        start = end
