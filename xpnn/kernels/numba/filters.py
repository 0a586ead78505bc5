"""The filters of a convolution, in the orders in which its products read and write them."""

from __future__ import annotations

from numba import prange

from . import geometry as g
from ._compile import kernel, part

__all__ = ["collect", "pack", "pack_turned"]


@kernel("indices integer matrix vector!")
def pack(table, lanes, weights, packed):  # type: ignore[no-untyped-def]
    """Order filters as the forward product reads them.

    Parameters
    ----------
    weights : (F, C / groups * taps)
    packed : (F * C / groups * taps,)
        For each group and each ``2 * lanes`` of its filters: (tap, channel, filter).
    """
    filters = table[g.FILTERS] // table[g.GROUPS]
    chunks = (filters + 2 * lanes - 1) // (2 * lanes)
    for index in prange(table[g.GROUPS] * chunks):
        first = index % chunks * 2 * lanes
        width = min(2 * lanes, filters - first)
        _pack(weights, packed, table[g.TAPS], index // chunks * filters + first, width)


@part
def _pack(weights, packed, taps, first, width):  # type: ignore[no-untyped-def]
    rows = weights.shape[1]
    depth = rows // taps
    out = packed[first * rows : (first + width) * rows]
    for f in range(width):
        filter = weights[first + f]
        for c in range(depth):
            for tap in range(taps):
                out[(tap * depth + c) * width + f] = filter[c * taps + tap]


@kernel("indices integer matrix vector!")
def pack_turned(table, lanes, weights, packed):  # type: ignore[no-untyped-def]
    """Order filters as the product for the gradient of the input reads them.

    Parameters
    ----------
    weights : (F, C / groups * taps)
    packed : (F * C / groups * taps,)
        For each phase, each group and each ``2 * lanes`` of its channels: (tap, filter, channel).
    """
    for index in prange(table[g.PHASE_COUNT]):
        _pack_turned(table, lanes, weights, packed, table[g.PHASES] + g.PHASE * index)


@part
def _pack_turned(table, lanes, weights, packed, phase):  # type: ignore[no-untyped-def]
    groups, taps = table[g.GROUPS], table[g.TAPS]
    filters = weights.shape[0] // groups
    depth = weights.shape[1] // taps
    first, count = table[phase + 4] * table[g.BACK_RUN], table[phase + 5] * table[g.BACK_RUN]
    start = first * filters * depth * groups
    for group in range(groups):
        for channel in range(0, depth, 2 * lanes):
            width = min(2 * lanes, depth - channel)
            out = packed[start : start + count * filters * width]
            start += count * filters * width
            for number in range(count):
                place = table[g.BACK_TAPS] + 2 * (first + number)
                tap = table[place] * table[g.ACROSS] + table[place + 1]
                for f in range(filters):
                    row = weights[group * filters + f]
                    for c in range(width):
                        out[(number * filters + f) * width + c] = row[(channel + c) * taps + tap]


@kernel("indices matrix! matrix! vector!")
def collect(table, partial, dweights, dbias):  # type: ignore[no-untyped-def]
    """Add up the parts of `backward`.

    Parameters
    ----------
    partial : (parts, F * C / groups * taps + F)
    dweights : (F, C / groups * taps)
    dbias : (F,)
    """
    rows = dweights.shape[1]
    for row in prange(rows + 1):
        _collect(partial, dweights, dbias, row, table[g.TAPS])


@part
def _collect(partial, dweights, dbias, row, taps):  # type: ignore[no-untyped-def]
    filters, rows = dweights.shape
    first = partial[0, row * filters : (row + 1) * filters]
    for index in range(1, partial.shape[0]):
        other = partial[index, row * filters : (row + 1) * filters]
        for f in range(filters):
            first[f] += other[f]
    if row == rows:
        for f in range(filters):
            dbias[f] = first[f]
        return
    depth = rows // taps
    place = row % depth * taps + row // depth
    for f in range(filters):
        dweights[f, place] = first[f]
