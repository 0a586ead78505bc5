"""Batch normalization: its statistics, and the last step of its gradient.

The activation that follows is applied together with the scale and the shift: see `activations`.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ._compile import UNIT, bound, kernel, part

__all__ = ["finish", "statistics"]


@part
def _statistics_part(  # type: ignore[no-untyped-def]
    x, bias, gamma, epsilon, momentum, running_mean, running_var, mean, inverse, scale, left, right
):
    T = x.dtype.type
    n = x.shape[0]
    share, kept, moved = T(1) / T(n), T(momentum), T(1.0 - momentum)
    biases, gammas = bias[left:right], gamma[left:right]
    old_means, old_variances = running_mean[left:right], running_var[left:right]
    means, inverses, scales = mean[left:right], inverse[left:right], scale[left:right]
    means[:] = T(0)
    inverses[:] = T(0)
    for i in range(n):
        xi = x[i, left:right]
        for c in range(xi.size):
            means[c] += xi[c]
    for c in range(means.size):
        means[c] *= share
    for i in range(n):
        xi = x[i, left:right]
        for c in range(xi.size):
            centered = xi[c] - means[c]
            inverses[c] += centered * centered
    for c in range(means.size):
        variance = inverses[c] * share
        old_means[c] = kept * old_means[c] + moved * (means[c] + biases[c])
        old_variances[c] = kept * old_variances[c] + moved * variance
        inverses[c] = T(1) / np.sqrt(variance + T(epsilon))
        scales[c] = gammas[c] * inverses[c]


@kernel("matrix vector vector real real vector! vector! vector! vector! vector! integer")
def statistics(  # type: ignore[no-untyped-def]
    x, bias, gamma, epsilon, momentum, running_mean, running_var, mean, inverse, scale, parts
):
    """Take mean and variance of the columns of ``x + bias``, and move the running averages.

    ::

        mean    = sum(x, axis=0) / N                  without the bias, which cancels
        inverse = 1 / sqrt(sum((x - mean)**2, axis=0) / N + epsilon)
        scale   = gamma * inverse

    Parts are columns: each column's sums have one order, whoever adds up.
    """
    for index in prange(0, parts):
        left = bound(index, parts, x.shape[1], UNIT)
        right = bound(index + 1, parts, x.shape[1], UNIT)
        _statistics_part(
            x,
            bias,
            gamma,
            epsilon,
            momentum,
            running_mean,
            running_var,
            mean,
            inverse,
            scale,
            left,
            right,
        )


@part
def _finish_row(xs, means, scales, slopes, shares, dxs):  # type: ignore[no-untyped-def]
    for c in range(xs.size):
        # In this order it is 0 for equal rows, which scale, large for them, leaves alone.
        dxs[c] = scales[c] * ((dxs[c] - shares[c]) - (xs[c] - means[c]) * slopes[c])


@kernel("matrix vector vector vector vector vector! vector! matrix! integer")
def finish(x, mean, inverse, scale, dbeta, dgamma, dbias, dx, parts):  # type: ignore[no-untyped-def]
    """Make the gradient by x of that by the scaled and shifted values, in place.

    ::

        dgamma = dgamma * inverse          it comes as sum(t * (x - mean), axis=0)
        dx     = scale * (t - dbeta / N - (x - mean) * inverse * dgamma / N)      dx comes as t
        dbias  = 0                         a sum would be rounding errors: the mean takes it away

    Parts are rows.
    """
    T = x.dtype.type
    share = T(1) / T(x.shape[0])
    slope, mean_of_t = np.empty(mean.size, x.dtype), np.empty(mean.size, x.dtype)
    dbias[:] = T(0)
    for c in range(mean.size):
        dgamma[c] *= inverse[c]
        slope[c] = inverse[c] * dgamma[c] * share
        mean_of_t[c] = dbeta[c] * share
    for index in prange(0, parts):
        top, bottom = bound(index, parts, x.shape[0], 1), bound(index + 1, parts, x.shape[0], 1)
        for i in range(top, bottom):
            _finish_row(x[i], mean, scale, slope, mean_of_t, dx[i])
