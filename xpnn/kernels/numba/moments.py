"""Batch normalization of images: its statistics and its gradients, from sums over each image."""

from __future__ import annotations

import numpy as np
from numba import prange

from . import geometry as g
from ._compile import inlined, kernel, outlined

__all__ = [
    "cleared",
    "coefficients",
    "folded",
    "gradient_sums",
    "normalize_gradient",
    "statistics",
    "take_moments",
    "tiled",
]

# Channels may be few, and a loop over few numbers costs more than its numbers. So loops run over
# rows of images, beside rows of as many copies of what there is for each channel. Arrays are flat
# and filled by loops: slices of several axes and assignments to slices take seconds to compile.


@outlined
def tiled(vector, count):  # type: ignore[no-untyped-def]
    """Return so many copies of a vector, one behind the other."""
    size = vector.size
    row = np.empty(count * size, vector.dtype)
    for index in range(count):
        for c in range(size):
            row[index * size + c] = vector[c]
    return row


@outlined
def cleared(row):  # type: ignore[no-untyped-def]
    """Fill with zeros."""
    zero = row.dtype.type(0)
    for c in range(row.size):
        row[c] = zero


@outlined
def folded(row, sums, start, size):  # type: ignore[no-untyped-def]
    """Add up what belongs to each of ``size`` channels, into ``sums[start:]``."""
    for c in range(size):
        sums[start + c] = row[c]
    for index in range(1, row.size // size):
        for c in range(size):
            sums[start + c] += row[index * size + c]


@outlined
def take_moments(flat, height, width, filters, moments, n):  # type: ignore[no-untyped-def]
    """Two passes over an image that is still in the cache, row by row."""
    T = flat.dtype.type
    length = width * filters
    row, mean = np.empty(length, flat.dtype), np.empty(filters, flat.dtype)
    cleared(row)
    for y in range(height):
        line = flat[(n * height + y) * length : (n * height + y + 1) * length]
        for c in range(length):
            row[c] += line[c]
    folded(row, mean, 0, filters)
    share = T(1) / T(height * width)
    for c in range(filters):
        mean[c] *= share
        moments[n, c] = mean[c]
    means = tiled(mean, width)
    cleared(row)
    for y in range(height):
        line = flat[(n * height + y) * length : (n * height + y + 1) * length]
        for c in range(length):
            away = line[c] - means[c]
            row[c] += away * away
    folded(row, moments[n], filters, filters)


@kernel("matrix integer vector real real vector! vector! vector! vector! vector!")
def statistics(  # type: ignore[no-untyped-def]
    moments, pixels, gamma, epsilon, momentum, running_mean, running_var, centre, inverse, scale
):
    """Combine the moments of the images, and move the running averages.

    Parameters
    ----------
    moments : (N, 2 C)
        Of each image, of so many pixels: means, and sums of squared differences from them.
    gamma, running_mean, running_var : (C,)
    centre, inverse, scale : (C,)
        The mean, ``1 / sqrt(variance + epsilon)``, and gamma times that.
    """
    T = moments.dtype.type
    images, channels = moments.shape[0], moments.shape[1] // 2
    for c in range(channels):
        total = 0.0
        for n in range(images):
            total += moments[n, c]
        mean = total / images
        squares = 0.0
        for n in range(images):
            away = moments[n, c] - mean
            squares += moments[n, channels + c] + pixels * away * away
        variance = squares / (images * pixels)
        running_mean[c] = T(momentum * running_mean[c] + (1.0 - momentum) * mean)
        running_var[c] = T(momentum * running_var[c] + (1.0 - momentum) * variance)
        centre[c] = T(mean)
        inverse[c] = T(1.0 / np.sqrt(variance + epsilon))
        scale[c] = gamma[c] * inverse[c]


@inlined
def _relu_slope(away, scale, shift, T):  # type: ignore[no-untyped-def]
    """Return the slope of a ReLU behind a normalization of what is so far from the mean.

    As in `images`, so that it is the same at a kink for all.
    """
    return T(1) if away * scale + shift > T(0) else T(0)


@kernel("vector vector vector vector vector integer matrix! integer integer")
def gradient_sums(dout, x, centre, scale, shift, rectify, sums, width, parts):  # type: ignore[no-untyped-def]
    """Take of each image the sums of the gradient t behind a normalization, as `coefficients` does.

    Parameters
    ----------
    dout, x : (N * H * W * C,)
        The gradient that comes, and what is normalized.
    centre, scale, shift : (C,)
    rectify : int
        Whether a ReLU follows, where t is 0 unless ``(x - centre) * scale + shift`` is positive.
    sums : (N, 2 C)
        Of t, and of ``t * (x - centre)``.
    width : int
    """
    for index in prange(0, parts):
        _gradient_sums(dout, x, centre, scale, shift, rectify, sums, width, index, parts)


@outlined
def _gradient_sums(dout, x, centre, scale, shift, rectify, sums, width, index, parts):  # type: ignore[no-untyped-def]
    T = x.dtype.type
    images, channels = sums.shape[0], centre.size
    size, length = x.size // images, width * channels
    centres, scales, shifts = tiled(centre, width), tiled(scale, width), tiled(shift, width)
    totals, products = np.empty(length, x.dtype), np.empty(length, x.dtype)
    for n in range(index * images // parts, (index + 1) * images // parts):
        cleared(totals)
        cleared(products)
        for start in range(n * size, (n + 1) * size, length):
            given, pixel = dout[start : start + length], x[start : start + length]
            if rectify:
                for c in range(length):
                    away = pixel[c] - centres[c]
                    t = given[c] * _relu_slope(away, scales[c], shifts[c], T)
                    totals[c] += t
                    products[c] += t * away
            else:
                for c in range(length):
                    totals[c] += given[c]
                    products[c] += given[c] * (pixel[c] - centres[c])
        folded(totals, sums[n], 0, channels)
        folded(products, sums[n], channels, channels)


@kernel("matrix integer vector vector vector vector vector! vector! matrix!")
def coefficients(  # type: ignore[no-untyped-def]
    sums, pixels, centre, inverse, scale, shift, dgamma, dbeta, factors
):
    """Finish the gradients of a normalization, and say how that of its input is made.

    Parameters
    ----------
    sums : (N, 2 C)
        Of each image: of the gradient t behind the normalization, and of ``t * (x - centre)``.
    factors : (5, W * C)
        The scale s, the mean of t, that of x, a slope k, and the shift, by rows of images: the
        gradient by x is ``s * ((t - mean(t)) - (x - mean(x)) * k)``.
    """
    T = sums.dtype.type
    images, channels = sums.shape[0], sums.shape[1] // 2
    share = T(1) / T(images * pixels)
    for c in range(channels):
        total, product = 0.0, 0.0
        for n in range(images):
            total += sums[n, c]
            product += sums[n, channels + c]
        dbeta[c] = T(total)
        dgamma[c] = T(product) * inverse[c]
        for place in range(c, factors.shape[1], channels):
            factors[0, place] = scale[c]
            factors[1, place] = dbeta[c] * share
            factors[2, place] = centre[c]
            factors[3, place] = inverse[c] * dgamma[c] * share
            factors[4, place] = shift[c]


@outlined
def normalize_gradient(  # type: ignore[no-untyped-def]
    table, given, rectify, flat, tall, wide, output, factors, n, place
):
    """Bring the gradient of an image back through a normalization, and perhaps a ReLU before.

    It is there already, at ``place`` among those with margins, if ``given`` is empty.
    """
    T = flat.dtype.type
    height, length = table[g.OUTPUT_DOWN], table[g.OUTPUT_ACROSS] * table[g.FILTERS]
    scale, shares, means, slopes, shifts = (
        factors[0], factors[1], factors[2], factors[3], factors[4],
    )  # fmt: skip
    for y in range(height):
        start = (place * tall + table[g.GRADIENT_TOP] + y) * wide + table[g.GRADIENT_LEFT]
        row = flat[start * table[g.FILTERS] : start * table[g.FILTERS] + length]
        begin, end = (n * height + y) * length, (n * height + y + 1) * length
        pixel = output[begin:end]
        if given.size == 0:
            for c in range(length):
                row[c] = scale[c] * ((row[c] - shares[c]) - (pixel[c] - means[c]) * slopes[c])
            continue
        source = given[begin:end]
        if rectify:
            for c in range(length):
                away = pixel[c] - means[c]
                t = source[c] * _relu_slope(away, scale[c], shifts[c], T)
                row[c] = scale[c] * ((t - shares[c]) - away * slopes[c])
        else:
            for c in range(length):
                row[c] = scale[c] * ((source[c] - shares[c]) - (pixel[c] - means[c]) * slopes[c])
