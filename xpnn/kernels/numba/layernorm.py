"""Layer normalization: its statistics, and the last step of its gradient.

The scale and the shift are applied together with the activation that follows: see `activations`,
where ``centre`` is zero and ``x`` is what `normalize` makes.
"""

from __future__ import annotations

import numpy as np

from ._compile import kernel

__all__ = ["finish", "normalize"]


@kernel("matrix vector real matrix! vector!")
def normalize(x, bias, epsilon, normalized, inverse):  # type: ignore[no-untyped-def]
    """Give each row of ``x + bias`` the mean 0 and the variance 1; ``inverse`` is (N,)."""
    T = x.dtype.type
    n, width = x.shape
    share = T(1) / T(width)
    for i in range(n):
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


@kernel("matrix vector vector matrix! vector!")
def finish(normalized, inverse, gamma, dx, dbias):  # type: ignore[no-untyped-def]
    """Make the gradient by x of that by the scaled and shifted values, in place.

    ::

        d  = t * gamma                                                     dx comes as t
        dx = inverse * (d - mean(d) - normalized * mean(d * normalized))   means over the row
        dbias = sum(dx, axis=0)
    """
    T = dx.dtype.type
    n, width = dx.shape
    share = T(1) / T(width)
    dbias[:] = T(0)
    for i in range(n):
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
            d = scale * (di[c] * gamma[c] - total - ni[c] * product)
            di[c] = d
            dbias[c] += d
