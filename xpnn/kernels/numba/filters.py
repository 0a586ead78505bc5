"""The filters of a convolution and its bias, as its products read and write them.

Filters (F, C / groups * taps) are ordered, and their gradients added up, in the kernels that use
them: they are few, so that a call for itself would cost more than its work.
"""

from __future__ import annotations

from . import geometry as g
from ._compile import inlined, outlined, part
from .vectors import BYTES
from .winograd import pack_squares

__all__ = ["add_bias", "collect", "pack", "pack_turned", "panels", "turned_panels"]


@inlined
def _widest(table, lanes, size):  # type: ignore[no-untyped-def]
    """Return how many filters of numbers of so many bytes a panel has at most."""
    return BYTES // size if table[g.FEW] > 0 else 2 * lanes


@part
def panels(table, lanes, size):  # type: ignore[no-untyped-def]
    """Return how many panels the filters of a forward product are; ``size`` is a number's bytes."""
    filters, most = table[g.FILTERS] // table[g.GROUPS], _widest(table, lanes, size)
    return table[g.GROUPS] * ((filters + most - 1) // most)


@outlined
def pack(table, lanes, weights, packed, index):  # type: ignore[no-untyped-def]
    """Order the filters of a panel as the forward product reads them.

    ``packed`` (F * C / groups * taps,) is for each panel, ``2 * lanes`` filters of a group at most:
    (tap, channel, filter), or what `winograd` makes of them; for `winograd_few` a vector of them.
    """
    filters, most = table[g.FILTERS] // table[g.GROUPS], _widest(table, lanes, weights.itemsize)
    chunks = (filters + most - 1) // most
    first = index % chunks * most
    width = min(most, filters - first)
    if table[g.SQUARES] > 0:
        pack_squares(weights, 0, packed, first, width)
        return
    first += index // chunks * filters
    rows, taps = weights.shape[1], table[g.TAPS]
    depth = rows // taps
    out = packed[first * rows : (first + width) * rows]
    for f in range(width):
        filter = weights[first + f]
        for c in range(depth):
            for tap in range(taps):
                out[(tap * depth + c) * width + f] = filter[c * taps + tap]


@part
def turned_panels(table, lanes, size):  # type: ignore[no-untyped-def]
    """Return into how many parts the filters for the gradient of the input are cut."""
    if table[g.BACK_SQUARES] > 0:
        most = _widest(table, lanes, size)
        return (table[g.CHANNELS] + most - 1) // most
    return table[g.PHASE_COUNT]


@outlined
def pack_turned(table, lanes, weights, packed, index):  # type: ignore[no-untyped-def]
    """Order filters as the product for the gradient of the input reads them in one phase.

    ``packed`` is for each phase, each group and each ``2 * lanes`` of its channels: (tap, filter,
    channel). If `winograd` makes the gradient, it is what that makes of some channels.
    """
    if table[g.BACK_SQUARES] > 0:
        most = _widest(table, lanes, weights.itemsize)
        width = min(most, table[g.CHANNELS] - index * most)
        pack_squares(weights, 1, packed, index * most, width)
        return
    phase = table[g.PHASES] + g.PHASE * index
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


@outlined
def add_bias(table, flat, tall, wide, n, sums):  # type: ignore[no-untyped-def]
    """Add what an image gives to the gradient of the bias, at the end of the sums."""
    filters = table[g.FILTERS]
    last = sums.size - filters
    for y in range(table[g.OUTPUT_DOWN]):
        start = (n * tall + table[g.GRADIENT_TOP] + y) * wide + table[g.GRADIENT_LEFT]
        for x in range(start * filters, (start + table[g.OUTPUT_ACROSS]) * filters, filters):
            for c in range(filters):
                sums[last + c] += flat[x + c]


@outlined
def collect(table, partial, dweights, dbias, row):  # type: ignore[no-untyped-def]
    """Add up one row of the shares (shares, F * C / groups * taps + F); the last is the bias's."""
    filters, rows = dweights.shape
    taps = table[g.TAPS]
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
