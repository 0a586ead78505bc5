"""Convolution of images (N, C, H, W) in memory, forward and backward.

An image after the other is turned around to (H, W, C), convolved and turned back, while it is in
the cache. Parts of the work are images, and the gradients of the filters are summed in shares that
depend on the shapes alone, so results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from . import geometry as g
from ._compile import kernel, outlined, part
from .correlation import add_filters, begin_filters, bring_back, convolve, end_filters
from .filters import add_bias, collect, pack, pack_turned, panels, turned_panels
from .layouts import enter_image, leave_image
from .moments import cleared

__all__ = ["backward", "forward"]


@kernel(
    "integer integer indices images matrix vector! vector images! images! images! integer integer "
    "integer"
)
def forward(  # type: ignore[no-untyped-def]
    panel, lanes, table, x, weights, packed, bias, padded, inner, output, top, left, parts
):
    """Convolve images.

    Parameters
    ----------
    panel, lanes : int
        Address and lanes of a `blocked_product.Panel`.
    x : (N, C, H, W)
    weights : (F, C / groups * taps)
    packed : (geometry.packed_size,)
        Room for the weights in the order of `filters.pack`.
    bias : (F,)
    padded, inner : (parts, H + margins, W + margins, C), (parts, H', W', F)
        Room for an image of each part; the first of them with zeros in its margins.
    output : (N, F, H', W')
    top, left : int
        Margins of the input.
    """
    for index in prange(0, panels(table, lanes, weights.itemsize)):
        pack(table, lanes, weights, packed, index)
    for index in prange(0, parts):
        _forward(
            panel, lanes, table, x, packed, bias, padded, inner, output, top, left, index, parts
        )


@part
def _forward(  # type: ignore[no-untyped-def]
    panel, lanes, table, x, packed, bias, padded, inner, output, top, left, index, parts
):
    images = x.shape[0]
    room = np.empty(table[g.ROOM], x.dtype)
    for n in range(index * images // parts, (index + 1) * images // parts):
        enter_image(x, n, padded, index, top, left)
        convolve(panel, lanes, table, padded, packed, bias, inner, index, room)
        leave_image(inner, index, output, n)


@outlined
def _backward(  # type: ignore[no-untyped-def]
    panel, lanes, table, x, dout, turned, zeros, padded, gradient, flat, inner, partial, dinput,
    margins, number, n, index, room, sums, waiting,
):  # fmt: skip
    """Do an image, and return how many squares wait for their products."""
    enter_image(x, n, padded, index, margins[0], margins[1])
    enter_image(dout, n, gradient, index, margins[2], margins[3])
    add_bias(table, flat, gradient.shape[1], gradient.shape[2], index, partial[number])
    waiting = add_filters(
        panel, lanes, table, padded, index, gradient, index, partial, number, sums, waiting
    )
    if dinput.shape[0] > 0:
        bring_back(panel, lanes, table, gradient, index, turned, zeros, inner, index, room)
        leave_image(inner, index, dinput, n)
    return waiting


@part
def _backward_part(  # type: ignore[no-untyped-def]
    panel, lanes, table, x, dout, turned, zeros, padded, gradient, flat, inner, partial, dinput,
    margins, index, parts,
):  # fmt: skip
    images, shares = x.shape[0], partial.shape[0]
    room = np.empty(table[g.ROOM], x.dtype)
    sums = np.empty(table[g.FILTER_ROOM], x.dtype)
    for number in range(index * shares // parts, (index + 1) * shares // parts):
        cleared(partial[number])
        waiting = begin_filters(table, sums)
        for n in range(number * images // shares, (number + 1) * images // shares):
            waiting = _backward(
                panel, lanes, table, x, dout, turned, zeros, padded, gradient, flat, inner,
                partial, dinput, margins, number, n, index, room, sums, waiting,
            )  # fmt: skip
        end_filters(panel, lanes, table, sums, waiting, partial, number)


@kernel(
    "integer integer indices images images matrix vector! vector images! images! vector! images! "
    "matrix! images! matrix! vector! indices integer"
)
def backward(  # type: ignore[no-untyped-def]
    panel, lanes, table, x, dout, weights, turned, zeros, padded, gradient, flat, inner, partial,
    dinput, dweights, dbias, margins, parts,
):  # fmt: skip
    """Write the gradients of the input, the filters and the bias.

    Parameters
    ----------
    x, dout : (N, C, H, W), (N, F, H', W')
    weights : (F, C / groups * taps)
    turned : (geometry.turned_size,)
        Room for the weights in the order of `filters.pack_turned`.
    zeros : (C,) or longer
    padded, gradient, inner : (parts, H + margins, W + margins, C), ..., (parts, H, W, C)
        Room for an image of each part, for its gradient with other margins, and for the gradient of
        the input; both margins with zeros.
    flat : (gradient.size,)
        The same memory as ``gradient``.
    partial : (shares, F * C / groups * taps + F)
        Room for what each share of the images adds to the gradients of filters and bias.
    dinput : (N, C, H, W), or N = 0 if it is not wanted
    dweights, dbias : (F, C / groups * taps), (F,)
    margins : (4,)
        Top and left of ``padded``, top and left of ``gradient``.
    """
    for index in prange(
        0, turned_panels(table, lanes, weights.itemsize) if dinput.shape[0] > 0 else 0
    ):
        pack_turned(table, lanes, weights, turned, index)
    for index in prange(0, parts):
        _backward_part(
            panel, lanes, table, x, dout, turned, zeros, padded, gradient, flat, inner, partial,
            dinput, margins, index, parts,
        )  # fmt: skip
    for row in prange(0, dweights.shape[1] + 1):
        collect(table, partial, dweights, dbias, row)
