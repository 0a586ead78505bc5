"""Batch normalization: its statistics, and the last step of its gradient.

The activation that follows is applied together with the scale and the shift: see `activations`.
"""

from __future__ import annotations

import numpy as np

from ._compile import kernel

__all__ = ["finish", "statistics"]


@kernel("matrix vector vector real real vector! vector! vector! vector! vector!")
def statistics(  # type: ignore[no-untyped-def]
    x, bias, gamma, epsilon, momentum, running_mean, running_var, mean, inverse, scale
):
    """Take mean and variance of the columns of ``x + bias``, and move the running averages.

    ::

        mean    = sum(x, axis=0) / N                  without the bias, which cancels
        inverse = 1 / sqrt(sum((x - mean)**2, axis=0) / N + epsilon)
        scale   = gamma * inverse
    """
    T = x.dtype.type
    n, width = x.shape
    share, kept, moved = T(1) / T(n), T(momentum), T(1.0 - momentum)
    mean[:] = T(0)
    inverse[:] = T(0)
    for i in range(n):
        xi = x[i]
        for c in range(width):
            mean[c] += xi[c]
    for c in range(width):
        mean[c] *= share
    for i in range(n):
        xi = x[i]
        for c in range(width):
            centered = xi[c] - mean[c]
            inverse[c] += centered * centered
    for c in range(width):
        variance = inverse[c] * share
        running_mean[c] = kept * running_mean[c] + moved * (mean[c] + bias[c])
        running_var[c] = kept * running_var[c] + moved * variance
        inverse[c] = T(1) / np.sqrt(variance + T(epsilon))
        scale[c] = gamma[c] * inverse[c]


@kernel("matrix vector vector vector vector vector! matrix!")
def finish(x, mean, inverse, scale, dbeta, dgamma, dx):  # type: ignore[no-untyped-def]
    """Make the gradient by x of that by the scaled and shifted values, in place.

    ::

        dgamma = dgamma * inverse          it comes as sum(t * (x - mean), axis=0)
        dx     = scale * (t - dbeta / N - (x - mean) * inverse * dgamma / N)      dx comes as t
    """
    T = x.dtype.type
    n, width = x.shape
    share = T(1) / T(n)
    slope, shift = np.empty_like(mean), np.empty_like(mean)
    for c in range(width):
        dgamma[c] *= inverse[c]
        slope[c] = -scale[c] * inverse[c] * dgamma[c] * share
        shift[c] = -scale[c] * dbeta[c] * share - slope[c] * mean[c]
    for i in range(n):
        xi, di = x[i], dx[i]
        for c in range(width):
            di[c] = di[c] * scale[c] + (xi[c] * slope[c] + shift[c])
