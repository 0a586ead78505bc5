"""Vectors of ids, and the sums of gradients by id."""

from __future__ import annotations

import numba
import numpy as np

from ._compile import bound, kernel, outlined
from ._memory import clear, copy, copy_past, fetch, settle

__all__ = ["add_up", "look_up", "room"]

_prange = numba.prange

#: So many rows before one is needed it is fetched: ids come in no order that a processor foresees.
_AHEAD = 16

_LINE = 64  # bytes of a line of the caches


@outlined
def _look_up(weight, ids, output, past, first, last):  # type: ignore[no-untyped-def]
    size = weight.shape[1] * weight.itemsize
    source, to = weight.ctypes.data, output.ctypes.data
    whole = past != 0 and (to | size) % _LINE == 0
    for i in range(first, last):
        fetch(source + size * ids[min(i + _AHEAD, last - 1)], size)
        if whole:
            copy_past(to + size * i, source + size * ids[i], size)
        else:
            copy(to + size * i, source + size * ids[i], size)
    if whole:
        settle()


@kernel("matrix indices matrix! integer integer")
def look_up(weight, ids, output, past, parts):  # type: ignore[no-untyped-def]
    """Do ``output = weight[ids]`` and return True; nothing and False if an id is not of a row.

    With ``past`` the output goes past the caches, if its rows are whole lines of them.
    """
    largest = np.uint64(0)
    for i in range(ids.size):  # one look for both ends: less than 0 is large without a sign
        largest = max(largest, np.uint64(ids[i]))
    if largest >= np.uint64(weight.shape[0]):
        return False
    for part in _prange(0, parts):
        _look_up(
            weight,
            ids,
            output,
            past,
            bound(part, parts, ids.size, 1),
            bound(part + 1, parts, ids.size, 1),
        )
    return True


@outlined
def _sort(ids, first, last, ends, own, order):  # type: ignore[no-untyped-def]
    """Order the places in ``ids`` of those from ``first`` to ``last``; return how many there are.

    ``ends`` becomes where each id's places end in ``order``; ``own`` is room. There is no branch:
    what a processor has to guess takes longer.
    """
    most = np.uint64(last - first)
    count = 0
    for i in range(ids.size):
        own[count] = i
        count += int(np.uint64(ids[i] - first) < most)
    ends[:] = 0
    for k in range(count):
        ends[np.uint64(ids[np.uint64(own[k])] - first)] += 1
    total = 0
    for j in range(ends.size):
        here = ends[j]
        ends[j] = total
        total += here
    for k in range(count):
        place = np.uint64(own[k])
        number = np.uint64(ids[place] - first)
        order[np.uint64(ends[number])] = place
        ends[number] += 1
    return count


@outlined
def _add_up(dout, ids, gradient, skipped, ends, own, order, first, last):  # type: ignore[no-untyped-def]
    width = gradient.shape[1]
    size = width * gradient.itemsize
    source, to = dout.ctypes.data, gradient.ctypes.data
    count = _sort(ids, first, last, ends, own, order)
    k = 0
    for number in range(first, last):
        end = ends[number - first]
        if k == end or number == skipped:
            clear(to + size * number, size)
            k = end
            continue
        begin = k
        while k < end:
            fetch(source + size * order[min(k + _AHEAD, count - 1)], size)
            if k == begin:
                copy(to + size * number, source + size * order[k], size)
            else:
                total, row = gradient[number], dout[order[k]]
                for j in range(width):
                    total[j] += row[j]
            k += 1


@kernel("matrix indices matrix! integer indices! integer")
def add_up(dout, ids, gradient, skipped, places, parts):  # type: ignore[no-untyped-def]
    """Set each row of ``gradient`` to the sum of the rows of ``dout`` that have its id.

    They are added in their order, whoever does it: each part has some of the ids for itself, and
    looks at all. The row of ``skipped`` is 0; there may be none such. ``places`` has `room`.
    """
    count, rows = ids.size, gradient.shape[0]
    for part in _prange(0, parts):
        first, last = bound(part, parts, rows, 1), bound(part + 1, parts, rows, 1)
        own = rows + 2 * part * count
        _add_up(
            dout,
            ids,
            gradient,
            skipped,
            places[first:last],
            places[own : own + count],
            places[own + count : own + 2 * count],
            first,
            last,
        )


def room(rows: int, ids: int, parts: int) -> int:
    """Return how many numbers `add_up` needs to sort so many ids."""
    return rows + 2 * parts * ids
