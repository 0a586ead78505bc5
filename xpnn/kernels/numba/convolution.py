"""Convolution of images (N, H, W, C) that stay so from one step to the next, forward and backward.

Parts of the work are images, and the gradients of the filters are summed image by image in parts
that depend on the shapes alone, so results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from . import geometry as g
from ._compile import kernel, part
from .correlation import (
    add_filters,
    begin_filters,
    bring_back,
    convolve,
    end_filters,
)
from .filters import add_bias, collect, pack, pack_turned, panels, turned_panels
from .moments import cleared, normalize_gradient, take_moments

__all__ = ["backward", "forward"]


@kernel("integer integer indices images matrix vector! vector images! vector matrix! integer")
def forward(  # type: ignore[no-untyped-def]
    panel, lanes, table, padded, weights, packed, bias, output, flat, moments, parts
):
    """Convolve padded images, and take the moments of every image of the output.

    Parameters
    ----------
    panel, lanes : int
        Address and lanes of a `blocked_product.Panel`.
    padded : (N, H + margins, W + margins, C)
    weights : (F, C / groups * taps)
    packed : (geometry.packed_size,)
        Room for the weights in the order of `pack`.
    bias : (F,)
    output, flat : (N, H', W', F), (N * H' * W' * F,)
        The same memory.
    moments : (N, 2 F), or (0, 0) if they are not wanted
        The mean of each channel, and the sum of the squared differences from it.
    """
    for index in prange(0, panels(table, lanes, weights.itemsize)):
        pack(table, lanes, weights, packed, index)
    for index in prange(0, parts):
        _forward(panel, lanes, table, padded, packed, bias, output, flat, moments, index, parts)


@part
def _forward(  # type: ignore[no-untyped-def]
    panel, lanes, table, padded, packed, bias, output, flat, moments, index, parts
):
    images = padded.shape[0]
    room = np.empty(table[g.ROOM], padded.dtype)
    for n in range(index * images // parts, (index + 1) * images // parts):
        convolve(panel, lanes, table, padded, packed, bias, output, n, room)
        if moments.shape[0] > 0:
            take_moments(flat, output.shape[1], output.shape[2], output.shape[3], moments, n)


@kernel(
    "integer integer indices images vector integer images! vector! vector matrix matrix vector! "
    "vector matrix! images! matrix! vector!"
)
def backward(  # type: ignore[no-untyped-def]
    panel, lanes, table, padded, given, rectify, gradient, flat, output, factors, weights, turned,
    zeros, partial, dinput, dweights, dbias,
):  # fmt: skip
    """Write the gradients of the input, the filters and the bias.

    Parameters
    ----------
    padded : (N, H + margins, W + margins, C)
        As in `forward`.
    given, rectify : (N * H' * W' * F,) or (0,), int
        The gradient behind a normalization of the output, and whether a ReLU is between.
    gradient, flat : (N, H' + margins, W' + margins, F), (all of them,)
        The gradient of the output, with zeros around; the same memory. If it is ``given``, room for
        an image of each part.
    output, factors : (N * H' * W' * F,), (5, W' * F) or (0, 0)
        If there are factors, those of `moments.coefficients`, the gradient is that behind a
        normalization.
    weights : (F, C / groups * taps)
    turned : (geometry.turned_size,)
        Room for the weights in the order of `pack_turned`.
    zeros : (C,) or longer
    partial : (parts, F * C / groups * taps + F)
        Room for what each part of the images adds to the gradients of filters (tap, channel,
        filter) and bias.
    dinput : (N, H, W, C), or N = 0 if it is not wanted
    dweights, dbias : (F, C / groups * taps), (F,)
    """
    for index in prange(
        0, turned_panels(table, lanes, weights.itemsize) if dinput.shape[0] > 0 else 0
    ):
        pack_turned(table, lanes, weights, turned, index)
    for index in prange(0, partial.shape[0]):
        _backward(
            panel, lanes, table, padded, given, rectify, gradient, flat, output, factors, turned,
            zeros, partial, dinput, index,
        )  # fmt: skip
    for row in prange(0, dweights.shape[1] + 1):
        collect(table, partial, dweights, dbias, row)


@part
def _backward(  # type: ignore[no-untyped-def]
    panel, lanes, table, padded, given, rectify, gradient, flat, output, factors, turned, zeros,
    partial, dinput, index,
):  # fmt: skip
    parts, images = partial.shape[0], padded.shape[0]
    room = np.empty(table[g.ROOM], padded.dtype)
    sums = np.empty(table[g.FILTER_ROOM], padded.dtype)
    cleared(partial[index])
    waiting = begin_filters(table, sums)
    tall, wide = gradient.shape[1], gradient.shape[2]
    image = tall * wide * gradient.shape[3]
    if given.size > 0:
        cleared(flat[index * image : (index + 1) * image])
    for n in range(index * images // parts, (index + 1) * images // parts):
        place = n if given.size == 0 else index
        if factors.shape[0] > 0:
            normalize_gradient(table, given, rectify, flat, tall, wide, output, factors, n, place)
        else:
            add_bias(table, flat, tall, wide, n, partial[index])
        waiting = add_filters(
            panel, lanes, table, padded, n, gradient, place, partial, index, sums, waiting
        )
        if dinput.shape[0] > 0:
            bring_back(panel, lanes, table, gradient, place, turned, zeros, dinput, n, room)
    end_filters(panel, lanes, table, sums, waiting, partial, index)
