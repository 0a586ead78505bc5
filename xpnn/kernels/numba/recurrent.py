"""RNN, LSTM and GRU over whole sequences, forward and backward.

The rows of the batch are shared out among the threads. Each goes through the whole sequence with
its rows, as no row needs another one: the threads meet at the end only. `recurrent_weights` then
has the gradients of the weights.

What is kept lies in the order in which the steps are taken: row ``s * n + r`` of ``xs`` and
``gates`` is step s of sequence r, n being the size of the batch. ``hs`` and ``cs`` begin with the
first states: row ``s * n + r`` is the state before the step. With ``slots`` of 1 nothing is kept
but the last two states.

A layer is told by its number of gates: 1 for RNN, 4 for LSTM, 3 for GRU. Arrays that it has not
have no elements. ``there`` (N, T) says which steps are there, and has no elements if all are.

Rows of ``xs``, ``gates`` and ``hs`` may be longer than what is in them; see `row_length`. Memory
that a step will need is fetched some steps ahead, as the rows of a thread lie apart.
"""

from __future__ import annotations

import numba
import numpy as np

from . import _cells as cells
from ._compile import kernel, outlined
from ._memory import fetch_aside
from .blocked_product import call
from .packing import pack, pack_transposed

__all__ = ["CHUNK", "backward", "forward", "prepare", "row_length"]

_prange = numba.prange

#: Steps whose products with the weights of the input are made at once.
CHUNK = 4
#: Rows of a panel that are multiplied with all tiles before the next ones, so that they stay in the
#: nearest cache.
_DEPTH = 128
#: Rows that lie so many bytes apart share the few places of one set of the nearest cache.
_CONFLICT, _LINE = 4096, 64


def row_length(columns: int, itemsize: int) -> int:
    """Return how many numbers apart rows are laid that a product reads side by side."""
    return columns + (0 if columns * itemsize % _CONFLICT else _LINE // itemsize)


@outlined
def _multiply(  # type: ignore[no-untyped-def]
    address, a, a_first, depth, panels, skip, add, c, c_first, columns, table, tiles, offsets
):
    """Do ``c[c_first:, :columns] (+)= a[a_first:, :depth] @ packed``.

    ``packed`` are the rows of the panels from ``skip`` on. ``table`` has the tiles that the rows
    are cut into. Without ``add`` the product begins with the last row of the panels.
    """
    size = a.itemsize
    width = panels.shape[1]
    row = c.shape[1]
    count = -(-columns // width)
    length = panels.shape[0] // count  # rows of a panel
    a_at = np.int64(a.ctypes.data) + size * a_first * a.shape[1]
    for number in range(count):
        first = number * width
        panel_at = np.int64(panels.ctypes.data) + size * number * length * width
        c_at = np.int64(c.ctypes.data) + size * (c_first * row + first)
        for k in range(0, depth, _DEPTH):
            go_on = add or k > 0
            call(
                address,
                a_at + size * k,
                a.shape[1],
                1,
                np.int64(offsets.ctypes.data),
                panel_at + size * (skip + k) * width,
                width,
                0,
                c_at,
                row,
                c_at if go_on else panel_at + size * (length - 1) * width,
                row if go_on else 0,
                np.int64(table.ctypes.data),
                tiles,
                min(width, columns - first),
                min(depth - k, _DEPTH),
                1,
            )


@outlined
def _fetch_row(matrix, row):  # type: ignore[no-untyped-def]
    """Bring a row into the second cache, if the matrix has it."""
    if 0 <= row < matrix.shape[0]:
        size = matrix.itemsize * matrix.shape[1]
        fetch_aside(matrix.ctypes.data + size * row, size)


@outlined
def _go(  # type: ignore[no-untyped-def]
    x, there, xs, px, ph, gates, sums, hn, hs, cs, out, n, steps, width, reverse, begins, sequences,
    slots, address, tables, bounds, part, parts,
):  # fmt: skip
    """Take some rows of the batch through all steps."""
    first, last = part * n // parts, (part + 1) * n // parts
    table, offsets = tables[2 * bounds[part] :], tables[tables.size - 1 :]
    tiles = (bounds[part + 1] - bounds[part]) // CHUNK
    kind = gates.shape[1] // width
    columns, inputs = kind * width, x.shape[1]
    chunk = min(slots, CHUNK)
    if begins:
        hs[first:last] = 0.0
        if kind == 4:
            cs[first:last] = 0.0
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        at, before, after = (s % slots) * n, (s % (slots + 1)) * n, ((s + 1) % (slots + 1)) * n
        if s % chunk == 0:  # the input's part of some steps at once
            now = min(chunk, steps - s)
            for later in range(now):
                moved = steps - 1 - s - later if reverse else s + later
                for r in range(first, last):
                    xs[at + later * n + r, :inputs] = x[r * steps + moved]
            _multiply(address, xs, at + first, inputs, px, 0, False, gates, at + first, columns,
                      table, now * tiles, offsets)  # fmt: skip
        if kind == 3:
            _multiply(address, hs, before + first, width, ph, 0, False, sums, first, columns, table,
                      tiles, offsets)  # fmt: skip
        else:
            _multiply(address, hs, before + first, width, ph, 0, True, gates, at + first, columns,
                      table, tiles, offsets)  # fmt: skip
        for r in range(first, last):
            if slots > 1:
                _fetch_row(gates, at + CHUNK * n + r)
                _fetch_row(hs, after + n + r)
                _fetch_row(cs, after + n + r)
            g, h, skipped = gates[at + r, :columns], hs[after + r, :width], False
            if there.size:
                skipped = there[r, t] == 0
            if kind == 1:
                cells.rnn(g, h)
            elif kind == 4:
                cells.lstm(g, cs[before + r], cs[after + r], h)
            else:
                cells.gru(g, sums[r], hn[at + r], hs[before + r, :width], h)
            if sequences:
                out[r * steps + t] = h
            if skipped:  # the state stays, and the output is 0
                h[:] = hs[before + r, :width]
                if kind == 4:
                    cs[after + r] = cs[before + r]
                if sequences:
                    out[r * steps + t] = 0.0
            if s == steps - 1 and not sequences:
                out[r] = h


@kernel("matrix vector matrix! matrix vector matrix! integer integer")
def prepare(wx, bx, px, wh, bh, ph, transposed, parts):  # type: ignore[no-untyped-def]
    """Pack the weights of the input and of the state: with their biases, or transposed."""
    for part in _prange(0, parts):
        if transposed:
            pack_transposed(wx, px, part, parts)
            pack_transposed(wh, ph, part, parts)
        else:
            pack(wx, bx, px, part, parts)
            pack(wh, bh, ph, part, parts)


@kernel(
    "matrix flags matrix! matrix matrix matrix! matrix! matrix! matrix! matrix! matrix! integer"
    " integer integer integer integer integer integer integer indices indices integer",
)
def forward(  # type: ignore[no-untyped-def]
    x, there, xs, px, ph, gates, sums, hn, hs, cs, out, n, steps, width, reverse, begins, sequences,
    slots, address, table, bounds, parts,
):  # fmt: skip
    """Go through the sequences ``x`` (N * T, D); fill ``out`` (N * T, H), or (N, H) at the end.

    ``width`` is H. With ``begins`` the first states are made 0; otherwise they are there. With
    ``sequences`` the states of all steps go to ``out``. ``px`` and ``ph`` are the packed weights.
    The tiles of a thread's rows are those of ``table`` from ``bounds`` on, for `CHUNK` steps; at
    the end is the 0 that products take as their offset.
    """
    for part in _prange(0, parts):
        _go(
            x, there, xs, px, ph, gates, sums, hn, hs, cs, out, n, steps, width, reverse, begins,
            sequences, slots, address, table, bounds, part, parts,
        )  # fmt: skip


@outlined
def _go_back(  # type: ignore[no-untyped-def]
    dout, there, px, ph, gates, hn, hs, cs, dh, dc, dx, dinput, n, steps, reverse, sequences,
    address, tables, bounds, part, parts,
):  # fmt: skip
    """Take some rows of the batch back through all steps."""
    first, last = part * n // parts, (part + 1) * n // parts
    table, offsets = tables[2 * bounds[part] :], tables[tables.size - 1 :]
    tiles = (bounds[part + 1] - bounds[part]) // CHUNK
    width, inputs = dh.shape[1], dx.shape[1]
    kind = gates.shape[1] // width
    columns = kind * width
    for r in range(first, last):
        if sequences:
            dh[r] = 0.0
        else:
            dh[r] = dout[r]
        if kind == 4:
            dc[r] = 0.0
    for s in range(steps - 1, -1, -1):
        t = steps - 1 - s if reverse else s
        at = s * n
        for r in range(first, last):
            if s > 0:
                _fetch_row(gates, at - n + r)
                _fetch_row(hs, at - n + r)
                _fetch_row(cs, at - n + r)
                place = r * steps + (t + 1 if reverse else t - 1)
                if sequences:
                    _fetch_row(dout, place)
                _fetch_row(dinput, place)
            g, before = gates[at + r, :columns], hs[at + r, :width]
            if there.size and there[r, t] == 0:
                g[:] = 0.0
                if kind == 3:
                    hn[at + r] = 0.0
                continue
            if sequences:
                row, add = dh[r], dout[r * steps + t]
                for j in range(width):
                    row[j] += add[j]
            if kind == 1:
                cells.rnn_back(g, hs[at + n + r, :width], dh[r])
            elif kind == 4:
                cells.lstm_back(g, cs[at + r], cs[at + n + r], dh[r], dc[r])
            else:
                cells.gru_back(g, hn[at + r], before, dh[r])
        known = 2 * width if kind == 3 else columns
        _multiply(address, gates, at + first, known, ph, 0, True, dh, first, width, table, tiles,
                  offsets)  # fmt: skip
        if kind == 3:
            _multiply(address, hn, at + first, width, ph, known, True, dh, first, width, table,
                      tiles, offsets)  # fmt: skip
        if dinput.size and s % CHUNK == 0:
            now = min(CHUNK, steps - s)
            _multiply(address, gates, at + first, columns, px, 0, False, dx, first, inputs, table,
                      now * tiles, offsets)  # fmt: skip
            for later in range(now):
                moved = steps - 1 - s - later if reverse else s + later
                for r in range(first, last):
                    dinput[r * steps + moved] = dx[later * n + r]


@kernel(
    "matrix flags matrix matrix matrix! matrix! matrix matrix matrix! matrix! matrix! matrix! "
    "integer integer integer integer integer indices indices integer",
)
def backward(  # type: ignore[no-untyped-def]
    dout, there, px, ph, gates, hn, hs, cs, dh, dc, dx, dinput, n, steps, reverse, sequences,
    address, table, bounds, parts,
):  # fmt: skip
    """Go back: make the gradients by the sums of ``gates``, those by the state's part in ``hn``.

    ``dout`` is (N * T, H) with ``sequences``, otherwise (N, H). ``dh`` and ``dc`` (N, H) leave with
    the gradients by the first states. ``dx`` is (CHUNK * N, D). ``dinput`` (N * T, D) is filled if
    it has elements.
    """
    for part in _prange(0, parts):
        _go_back(
            dout, there, px, ph, gates, hn, hs, cs, dh, dc, dx, dinput, n, steps, reverse,
            sequences, address, table, bounds, part, parts,
        )  # fmt: skip
