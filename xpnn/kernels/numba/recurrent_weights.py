"""The gradients of the weights of recurrent layers: sums over all steps of all sequences.

The work is shared out by columns of the weights. Each number is summed in one order, so that it is
the same to the last bit however many threads there are. See `recurrent` for the arrays.
"""

from __future__ import annotations

import numba
import numpy as np

from ._compile import kernel, outlined
from ._memory import fetch_aside
from .blocked_product import call
from .packing import pack_rows

__all__ = ["weights"]

_prange = numba.prange


@outlined
def _pack_gradients(gates, hn, split, first, start, count, panel, total):  # type: ignore[no-untyped-def]
    """Pack columns of some rows, those from ``split`` on out of ``hn``; add them to ``total``."""
    sums = panel[panel.shape[0] - 2]
    if first < split:
        pack_rows(gates, start, count, first, panel, sums)
    else:
        pack_rows(hn, start, count, first - split, panel, sums)
    here = min(panel.shape[1], total.size - first)
    if first < split < first + here:
        left = split - first
        sums[left:here] = 0.0
        for k in range(count):
            to, row = panel[k], hn[start + k]
            for j in range(left, here):
                to[j] = row[j - left]
                sums[j] += to[j]
    for j in range(here):
        total[first + j] += sums[j]


@outlined
def _fetch_columns(a, start, count, first, width):  # type: ignore[no-untyped-def]
    """Bring columns of some rows into the second cache, where they will be packed."""
    size = a.itemsize
    line = a.ctypes.data + size * (start * a.shape[1] + first)
    for k in range(min(count, a.shape[0] - start)):
        fetch_aside(line + size * k * a.shape[1], size * width)


@outlined
def _add_product(address, a, start, count, panel, c, c_first, begin, table, tiles, offsets):  # type: ignore[no-untyped-def]
    """Add ``a[start : start + count].T @ panel`` to rows of c; with ``begin`` put it there."""
    size, width = a.itemsize, panel.shape[1]
    c_at = np.int64(c.ctypes.data) + size * c_first * width
    call(
        address,
        np.int64(a.ctypes.data) + size * start * a.shape[1],
        1,
        a.shape[1],
        np.int64(offsets.ctypes.data),
        np.int64(panel.ctypes.data),
        width,
        0,
        c_at,
        width,
        np.int64(panel.ctypes.data) + size * (panel.shape[0] - 1) * width if begin else c_at,
        0 if begin else width,
        np.int64(table.ctypes.data),
        tiles,
        width,
        count,
        1,
    )


@outlined
def _some_weights(  # type: ignore[no-untyped-def]
    xs, hs, gates, hn, panels, products, dwx, dwh, dbx, dbh, address, table, split, part, parts
):
    """Make the gradients of the columns of some panels."""
    length, width, columns = panels.shape[0] // parts, panels.shape[1], dwx.shape[1]
    panel = panels[part * length : (part + 1) * length]
    every = -(-columns // width)
    first, last = part * every // parts, (part + 1) * every // parts
    inputs, hidden, rows = dwx.shape[0], dwh.shape[0], gates.shape[0]
    block = panel.shape[0] - 2
    panel[block + 1] = 0.0
    known = columns if hn.size == 0 else columns - hidden
    offsets = table[table.size - 1 :]
    for number in range(first, last):
        for j in range(number * width, min((number + 1) * width, columns)):
            dbx[j] = 0.0
            if hn.size:
                dbh[j] = 0.0
    for start in range(0, rows, block):
        count, begin = min(block, rows - start), start == 0
        for number in range(first, last):
            place = number * (inputs + hidden)
            at = number * width
            _pack_gradients(gates, hn, columns, at, start, count, panel, dbx)
            if number + 1 < last:
                _fetch_columns(gates, start, count, at + width, width)
            else:
                _fetch_columns(gates, start + block, block, first * width, width)
            _add_product(address, xs, start, count, panel, products, place, begin, table, split,
                         offsets)  # fmt: skip
            if hn.size:
                _pack_gradients(gates, hn, known, at, start, count, panel, dbh)
            _add_product(address, hs, start, count, panel, products, place + inputs, begin,
                         table[2 * split :], (table.size - 1) // 2 - split, offsets)  # fmt: skip
    for number in range(first, last):
        at = number * width
        here = min(width, columns - at)
        for i in range(inputs + hidden):
            row = products[number * (inputs + hidden) + i]
            to = dwx[i] if i < inputs else dwh[i - inputs]
            for j in range(here):
                to[at + j] = row[j]


@kernel(
    "matrix matrix matrix matrix matrix! matrix! matrix! matrix! vector! vector! integer indices "
    "integer integer",
)
def weights(  # type: ignore[no-untyped-def]
    xs, hs, gates, hn, panels, products, dwx, dwh, dbx, dbh, address, table, split, parts
):
    """Make the gradients of the weights and biases from those by the sums.

    ``panels`` has room for ``parts`` packed panels, each with two rows more; ``products`` for the
    gradients by panels. ``table`` has ``split`` tiles of the rows of ``dwx``, then those of
    ``dwh``, then a 0. Only a GRU has ``dbh``.
    """
    for part in _prange(0, parts):
        _some_weights(
            xs, hs, gates, hn, panels, products, dwx, dwh, dbx, dbh, address, table, split, part,
            parts,
        )  # fmt: skip
