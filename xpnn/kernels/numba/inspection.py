"""What is looked at before an update: penalty, norm, and whether all gradients are finite."""

from __future__ import annotations

import numpy as np
from numba import prange

from ._compile import bound, inlined, kernel, summing_part

__all__ = ["BLOCK", "clipped", "inspect", "penalized"]

#: So many numbers are added in the type of the vector, such sums in float64. Parts of a vector are
#: runs of whole blocks.
BLOCK = 2048


@inlined
def penalized(g, w, l1, l2, T):  # type: ignore[no-untyped-def]
    """Add the gradient of the penalty."""
    sign = (T(1) if w > T(0) else T(0)) - (T(1) if w < T(0) else T(0))
    return g + T(2) * l2 * w + l1 * sign


@inlined
def clipped(g, most):  # type: ignore[no-untyped-def]
    """Cut off what is beyond a bound; NaN stays."""
    g = most if g > most else g
    return -most if g < -most else g


@summing_part
def _inspect_part(  # type: ignore[no-untyped-def]
    values, grads, ends, l1, l2, limit, squared, sums, first, last
):
    T = values.dtype.type
    most = T(limit)
    for block in range(first, last):
        penalty, witness, squares = 0.0, 0.0, 0.0
        start = block * BLOCK
        stop = min(start + BLOCK, values.size)
        for s in range(ends.size):
            if ends[s] <= start:
                continue
            end = min(ends[s], stop)
            a, b = T(l1[s]), T(l2[s])
            ws, gs = values[start:end], grads[start:end]
            total, square, size, power = T(0), T(0), T(0), T(0)
            # Loops of their own: one for all cases takes half as long again in the common ones.
            if squared:
                for i in range(gs.size):
                    w = ws[i]
                    size += abs(w)
                    power += w * w
                    total += gs[i]
                    g = clipped(penalized(gs[i], w, a, b, T), most)
                    square += g * g
            elif l1[s] != 0.0:
                for i in range(gs.size):
                    w = ws[i]
                    size += abs(w)
                    power += w * w
                    total += gs[i]
            elif l2[s] != 0.0:
                for i in range(gs.size):
                    power += ws[i] * ws[i]
                    total += gs[i]
            else:
                for i in range(gs.size):
                    total += gs[i]
            if l1[s] != 0.0:
                penalty += l1[s] * size
            if l2[s] != 0.0:
                penalty += l2[s] * power
            witness += total
            squares += square
            start = end
            if start == stop:
                break
        sums[block, 0], sums[block, 1], sums[block, 2] = penalty, witness, squares


@kernel("vector vector indices numbers numbers real integer integer")
def inspect(values, grads, ends, l1, l2, limit, squared, parts):  # type: ignore[no-untyped-def]
    """Return the penalty, the sum of the gradients of the loss, and, if wanted, a sum of squares.

    The sum is finite only if every gradient is. With ``squared`` the last one is that of the
    gradients with the penalty's once clipped, otherwise 0. Nothing is changed. Parts are runs of
    blocks, and the sums of the blocks are added up in their order, whoever has made them.
    """
    blocks = (values.size + BLOCK - 1) // BLOCK
    sums = np.empty((blocks, 3))
    for index in prange(0, parts):
        first, last = bound(index, parts, blocks, 1), bound(index + 1, parts, blocks, 1)
        _inspect_part(values, grads, ends, l1, l2, limit, squared, sums, first, last)
    penalty, witness, squares = 0.0, 0.0, 0.0
    for block in range(blocks):
        penalty += sums[block, 0]
        witness += sums[block, 1]
        squares += sums[block, 2]
    return penalty, witness, squares
