"""Vectors of ids, and the sums of gradients by id."""

from __future__ import annotations

import numba
import numpy as np

from ._compile import bound, kernel, outlined
from ._memory import clear, copy, fetch

__all__ = ["add_up", "look_up"]

_prange = numba.prange

#: So many rows before one is needed it is fetched: ids come in no order that a processor foresees.
_AHEAD = 4


@outlined
def _look_up(weight, ids, output, first, last):  # type: ignore[no-untyped-def]
    size = weight.shape[1] * weight.itemsize
    source, to = weight.ctypes.data, output.ctypes.data
    for i in range(first, last):
        fetch(source + size * ids[min(i + _AHEAD, last - 1)], size)
        copy(to + size * i, source + size * ids[i], size)


@kernel("matrix indices matrix! integer")
def look_up(weight, ids, output, parts):  # type: ignore[no-untyped-def]
    """Do ``output = weight[ids]``; the ids must be those of rows."""
    for part in _prange(parts):
        _look_up(
            weight,
            ids,
            output,
            bound(part, parts, ids.size, 1),
            bound(part + 1, parts, ids.size, 1),
        )


@outlined
def _add_up(dout, ids, gradient, skipped, heads, links, first, last):  # type: ignore[no-untyped-def]
    width = gradient.shape[1]
    size = width * gradient.itemsize
    source, to = dout.ctypes.data, gradient.ctypes.data
    # A chain of places for each id, from its first to its last. All other ids share one more, as
    # what a processor would have to guess takes longer.
    rest = np.uint64(last - first)
    heads[:] = -1
    for i in range(ids.size - 1, -1, -1):
        place = min(np.uint64(ids[i] - first), rest)
        links[i] = heads[place]
        heads[place] = i
    for number in range(first, last):
        fetched = heads[min(number + _AHEAD, last - 1) - first]
        if fetched >= 0:
            fetch(source + size * fetched, size)
        i = heads[number - first]
        if i < 0 or number == skipped:
            clear(to + size * number, size)
            continue
        copy(to + size * number, source + size * i, size)
        i = links[i]
        while i >= 0:
            total, row = gradient[number], dout[i]
            for j in range(width):
                total[j] += row[j]
            i = links[i]


@kernel("matrix indices matrix! integer indices! integer")
def add_up(dout, ids, gradient, skipped, chains, parts):  # type: ignore[no-untyped-def]
    """Set each row of ``gradient`` to the sum of the rows of ``dout`` that have its id.

    They are added in their order, whoever does it: each part has some of the ids for itself, and
    looks at all. The row of ``skipped`` is 0; there may be none such. ``chains`` has room for a
    number for each row and for each part, and one for each place in each part.
    """
    count, rows = ids.size, gradient.shape[0]
    for part in _prange(parts):
        first, last = bound(part, parts, rows, 1), bound(part + 1, parts, rows, 1)
        links = rows + parts + part * count
        _add_up(
            dout,
            ids,
            gradient,
            skipped,
            chains[first + part : last + part + 1],
            chains[links : links + count],
            first,
            last,
        )
