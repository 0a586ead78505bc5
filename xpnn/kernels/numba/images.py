"""What surrounds convolutions: layouts, batch normalization, activation and pooling.

Inside of a run of fused steps images are (N, H, W, C), with margins of zeros where the next
convolution wants them; elsewhere they are (N, C, H, W). All loops run over the channels innermost.
Parts of the work are images, and sums are taken image by image and then in the order of the images,
so results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ._compile import Kernel, inlined, kernel, part
from .activations import _KINDS, _RELU, _activate

__all__ = ["AVERAGE", "BACKWARD", "FORWARD", "MAXIMUM", "NONE", "coefficients", "enter", "leave",
           "put", "statistics"]  # fmt: skip

NONE, MAXIMUM, AVERAGE = range(3)

# Channels may be few, and a loop over few numbers costs more than its numbers. So loops run over
# rows of images, beside rows of as many copies of what there is for each channel.


@part
def tiled(vector, count):  # type: ignore[no-untyped-def]
    """Return so many copies of a vector, one behind the other."""
    row = np.empty(count * vector.size, vector.dtype)
    for index in range(count):
        row[index * vector.size : (index + 1) * vector.size] = vector
    return row


@part
def folded(row, vector):  # type: ignore[no-untyped-def]
    """Add up what belongs to each channel."""
    vector[:] = 0
    for index in range(row.size // vector.size):
        piece = row[index * vector.size : (index + 1) * vector.size]
        for c in range(vector.size):
            vector[c] += piece[c]


@kernel("images images! integer integer integer")
def enter(x, padded, top, left, parts):  # type: ignore[no-untyped-def]
    """Put images (N, C, H, W) into the middle of images (N, H + margins, W + margins, C)."""
    for index in prange(parts):
        for n in range(index * x.shape[0] // parts, (index + 1) * x.shape[0] // parts):
            _enter(x, padded, n, top, left)


@part
def _enter(x, padded, n, top, left):  # type: ignore[no-untyped-def]
    _, channels, height, width = x.shape
    for i in range(height):
        line = padded[n, top + i]
        for c in range(channels):
            row = x[n, c, i]
            for j in range(width):
                line[left + j, c] = row[j]


@kernel("images images! integer integer integer")
def put(x, padded, top, left, parts):  # type: ignore[no-untyped-def]
    """Put images (N, H, W, C) into the middle of larger ones."""
    for index in prange(parts):
        for n in range(index * x.shape[0] // parts, (index + 1) * x.shape[0] // parts):
            _put(x, padded, n, top, left)


@part
def _put(x, padded, n, top, left):  # type: ignore[no-untyped-def]
    _, height, width, channels = x.shape
    for i in range(height):
        source, target = x[n, i], padded[n, top + i]
        for j in range(width):
            for c in range(channels):
                target[left + j, c] = source[j, c]


@kernel("images images! integer")
def leave(x, output, parts):  # type: ignore[no-untyped-def]
    """Write images (N, H, W, C) as (N, C, H, W)."""
    for index in prange(parts):
        for n in range(index * x.shape[0] // parts, (index + 1) * x.shape[0] // parts):
            _leave(x, output, n)


@part
def _leave(x, output, n):  # type: ignore[no-untyped-def]
    _, height, width, channels = x.shape
    for i in range(height):
        line = x[n, i]
        for c in range(channels):
            row = output[n, c, i]
            for j in range(width):
                row[j] = line[j, c]


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


@kernel("matrix integer vector vector vector vector! vector! matrix!")
def coefficients(  # type: ignore[no-untyped-def]
    sums, pixels, centre, inverse, scale, dgamma, dbeta, factors
):
    """Finish the gradients of a normalization, and say how that of its input is made.

    Parameters
    ----------
    sums : (N, 2 C)
        Of each image: of the gradient t behind the normalization, and of ``t * (x - centre)``.
    factors : (3, W * C)
        The gradient by x is ``factors[0] * t + factors[1] * x + factors[2]``, by rows of images.
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
        slope = -scale[c] * inverse[c] * dgamma[c] * share
        shift = -scale[c] * dbeta[c] * share - slope * centre[c]
        for place in range(c, factors.shape[1], channels):
            factors[0, place] = scale[c]
            factors[1, place] = slope
            factors[2, place] = shift


# ------------------------------------------------------------------ activation and pooling
#
# A window is (kernel down, kernel across, stride down, stride across, top, left, 1 if the average
# counts pixels of the padding).


@part
def _finish(  # type: ignore[no-untyped-def]
    kind, x, centre, scale, shift, a, pool, window, output, top, left, codes, begin, end
):
    """Activate images row by row, and pool each image while it is in the cache."""
    T = x.dtype.type
    setting = T(a)
    _, height, width, channels = x.shape
    centres, scales, shifts = tiled(centre, width), tiled(scale, width), tiled(shift, width)
    inner = np.empty((height if pool != NONE else 0, width * channels), x.dtype)
    for n in range(begin, end):
        lines = x[n].reshape(height, width * channels)
        targets = output[n].reshape(output.shape[1], output.shape[2] * channels)
        for i in range(height):
            source = lines[i]
            target = targets[top + i, left * channels :] if pool == NONE else inner[i]
            for c in range(source.size):
                z = (source[c] - centres[c]) * scales[c] + shifts[c]
                y, _ = _activate(len(kind), z, setting, T)
                target[c] = y
        if pool == MAXIMUM:
            _take_maximum(inner, window, output[n], top, left, codes[n])
        elif pool == AVERAGE:
            _take_average(inner, window, output[n], top, left, codes[n])


@part
def _take_maximum(inner, window, output, top, left, codes):  # type: ignore[no-untyped-def]
    height, channels = inner.shape[0], codes.shape[2]
    width = inner.shape[1] // channels
    for oy in range(codes.shape[0]):
        y = oy * window[2] - window[4]
        first = max(-y, 0)
        for ox in range(codes.shape[1]):
            x = ox * window[3] - window[5]
            start = max(-x, 0)
            best, code = output[top + oy, left + ox], codes[oy, ox]
            best[:] = inner[y + first, (x + start) * channels : (x + start + 1) * channels]
            code[:] = np.uint8(first * window[1] + start)
            for i in range(first, min(window[0], height - y)):
                for j in range(start, min(window[1], width - x)):
                    if i > first or j > start:
                        pixel = inner[y + i, (x + j) * channels : (x + j + 1) * channels]
                        tap = np.uint8(i * window[1] + j)
                        for c in range(channels):
                            p, b = pixel[c], best[c]
                            # Of equal ones the first is taken, and NaN stays.
                            larger = (not p <= b) and b == b
                            best[c] = p if larger else b
                            code[c] = tap if larger else code[c]


@part
def _take_average(inner, window, output, top, left, codes):  # type: ignore[no-untyped-def]
    T = inner.dtype.type
    height, channels = inner.shape[0], codes.shape[2]
    width = inner.shape[1] // channels
    for oy in range(codes.shape[0]):
        y = oy * window[2] - window[4]
        first, last = max(-y, 0), min(window[0], height - y)
        for ox in range(codes.shape[1]):
            x = ox * window[3] - window[5]
            start, stop = max(-x, 0), min(window[1], width - x)
            mean = output[top + oy, left + ox]
            mean[:] = T(0)
            for i in range(first, last):
                for j in range(start, stop):
                    pixel = inner[y + i, (x + j) * channels : (x + j + 1) * channels]
                    for c in range(channels):
                        mean[c] += pixel[c]
            count = window[0] * window[1] if window[6] else (last - first) * (stop - start)
            for c in range(channels):
                mean[c] /= T(count)


@part
def _spread(  # type: ignore[no-untyped-def]
    kind, dout, codes, x, centre, scale, shift, a, pool, window, gradient, top, left, sums, begin,
    end,
):  # fmt: skip
    """Bring the gradient back through pooling, then row by row through the activation."""
    T = x.dtype.type
    setting = T(a)
    _, height, width, channels = x.shape
    centres, scales, shifts = tiled(centre, width), tiled(scale, width), tiled(shift, width)
    totals, products = np.empty(width * channels, x.dtype), np.empty(width * channels, x.dtype)
    for n in range(begin, end):
        gradient[n] = T(0)
        if pool != NONE:
            _unpool(dout[n], codes[n], pool, window, gradient[n], top, left, height, width)
        lines = x[n].reshape(height, width * channels)
        targets = gradient[n].reshape(gradient.shape[1], gradient.shape[2] * channels)
        totals[:] = T(0)
        products[:] = T(0)
        for i in range(height):
            pixel = lines[i]
            line = targets[top + i, left * channels : (left + width) * channels]
            given = dout[n, i].reshape(line.size) if pool == NONE else line
            for c in range(pixel.size):
                away = pixel[c] - centres[c]
                _, slope = _activate_with_slope(len(kind), away * scales[c] + shifts[c], setting, T)
                t = given[c] * slope
                line[c] = t
                totals[c] += t
                products[c] += t * away
        folded(totals, sums[n, :channels])
        folded(products, sums[n, channels:])


@part
def _unpool(dout, codes, pool, window, gradient, top, left, height, width):  # type: ignore[no-untyped-def]
    T = dout.dtype.type
    down, across, channels = dout.shape
    for oy in range(down):
        y = oy * window[2] - window[4]
        first, last = max(-y, 0), min(window[0], height - y)
        for ox in range(across):
            x = ox * window[3] - window[5]
            start, stop = max(-x, 0), min(window[1], width - x)
            given, code = dout[oy, ox], codes[oy, ox]
            count = window[0] * window[1] if window[6] else (last - first) * (stop - start)
            for i in range(first, last):
                for j in range(start, stop):
                    line = gradient[top + y + i, left + x + j]
                    if pool == AVERAGE:
                        for c in range(channels):
                            line[c] += given[c] / T(count)
                    else:
                        tap = i * window[1] + j
                        for c in range(channels):
                            line[c] += given[c] if code[c] == tap else T(0)


@inlined
def _activate_with_slope(kind, z, a, T):  # type: ignore[no-untyped-def]
    """Return f(z) and f'(z)."""
    if kind == _RELU:  # for which `_activate` has no slope: it is told from the output
        return z, (T(1) if z > T(0) else T(0))
    return _activate(kind, z, a, T)


def _make_forward(kind: int) -> Kernel:
    tag = (0,) * kind

    def finish(  # type: ignore[no-untyped-def]
        x, centre, scale, shift, a, pool, window, output, top, left, codes, parts
    ):
        for index in prange(parts):
            _finish(
                tag, x, centre, scale, shift, a, pool, window, output, top, left, codes,
                index * x.shape[0] // parts, (index + 1) * x.shape[0] // parts,
            )  # fmt: skip

    arguments = "images vector vector vector real integer indices images! integer integer codes!"
    return Kernel(finish, arguments + " integer")


def _make_backward(kind: int) -> Kernel:
    tag = (0,) * kind

    def spread(  # type: ignore[no-untyped-def]
        dout, codes, x, centre, scale, shift, a, pool, window, gradient, top, left, sums, parts
    ):
        for index in prange(parts):
            _spread(
                tag, dout, codes, x, centre, scale, shift, a, pool, window, gradient, top, left,
                sums, index * x.shape[0] // parts, (index + 1) * x.shape[0] // parts,
            )  # fmt: skip

    arguments = "images codes images vector vector vector real integer indices images! integer"
    return Kernel(spread, arguments + " integer matrix! integer")


#: ``(x, centre, scale, shift, a, pool, window, output, top, left, codes, parts)``, by the
#: activation: ``f((x - centre) * scale + shift)``, pooled, into images with margins. ``codes``
#: (N, H', W', C) is the number of the tap that is the maximum.
FORWARD = {name: _make_forward(kind) for name, kind in _KINDS.items() if name != "dropout"}

#: ``(dout, codes, x, centre, scale, shift, a, pool, window, gradient, top, left, sums, parts)``:
#: the gradient t behind the normalization, with zeros around, and for each image the sums (N, 2 C)
#: of t and of ``t * (x - centre)``.
BACKWARD = {name: _make_backward(kind) for name, kind in _KINDS.items() if name != "dropout"}
