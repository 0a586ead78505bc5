"""Attention of several heads: for each sequence and each head all that lies between two products.

A head of a sequence is T steps by d features: columns of the matrix of products (N T, 3 dim), which
has q, k and v side by side. Its scores (T, T) stay in the nearer caches from the product that makes
them to the one that uses them. Heads are shared out to the threads, as none needs another one.
"""

from __future__ import annotations

import numba
import numpy as np

from ._compile import bound, kernel, outlined, summing_part
from ._mathematics import exp_of_negative, maximum
from .blocked_product import call
from .packing import pack_transposed

__all__ = ["backward", "forward"]

_prange = numba.prange

#: The score of a step that must not be seen: its exponential is 0 beside any other.
_UNSEEN = -1e30


@outlined
def _by_transposed(  # type: ignore[no-untyped-def]
    address, a_at, a_row, b, panels, c_at, c_row, causal, table
):
    """Do ``C = A @ b.T`` for ``b`` (T, d), of which only what is seen if it is ``causal``."""
    steps, depth = b.shape
    size, width = b.itemsize, panels.shape[1]
    pack_transposed(b, panels, 0, 1)
    tiles, table_at = (table.size - 1) // 2, np.int64(table.ctypes.data)
    for number in range(-(-steps // width)):
        first, skip = number * width, 0
        if causal:
            while table[2 * skip] + table[2 * skip + 1] <= first:
                skip += 1
        panel_at = np.int64(panels.ctypes.data) + size * number * (depth + 1) * width
        call(
            address,
            a_at,
            a_row,
            1,
            table_at + 8 * (table.size - 1),
            panel_at,
            width,
            0,
            c_at + size * first,
            c_row,
            panel_at + size * depth * width,
            0,
            table_at + 16 * skip,
            tiles - skip,
            min(width, steps - first),
            depth,
            1,
        )


@outlined
def _by_rows(  # type: ignore[no-untyped-def]
    address, a_at, transposed, b_at, b_row, depth, steps, panels, c_at, c_row, causal, table, size
):
    """Do ``C = A @ B`` or ``A.T @ B`` for A (T, T) and B (T, d); zeros of a causal A are skipped.

    ``panels`` has been used by `_by_transposed`: a row of it is 0.
    """
    width = panels.shape[1]
    zeros_at = np.int64(panels.ctypes.data) + size * depth * width
    tiles, table_at = (table.size - 1) // 2, np.int64(table.ctypes.data)
    together = 1 if causal else tiles
    for tile in range(0, tiles, together):
        begin, end = 0, steps
        if causal and transposed:
            begin = table[2 * tile]
        elif causal:
            end = table[2 * tile] + table[2 * tile + 1]
        for first in range(0, depth, width):
            call(
                address,
                a_at + size * begin * (steps if transposed else 1),
                1 if transposed else steps,
                steps if transposed else 1,
                table_at + 8 * (table.size - 1),
                b_at + size * (begin * b_row + first),
                b_row,
                0,
                c_at + size * first,
                c_row,
                zeros_at,
                0,
                table_at + 16 * tile,
                together,
                min(width, depth - first),
                end - begin,
                1,
            )


@summing_part
def _softmax(scores, there, scale, causal):  # type: ignore[no-untyped-def]
    """Turn scores into weights; ``there`` (T,) has no elements if all steps are there."""
    T = scores.dtype.type
    steps = scores.shape[0]
    for i in range(steps):
        row = scores[i]
        seen = i + 1 if causal else steps
        for j in range(seen):
            row[j] *= T(scale)
        if there.size:
            for j in range(seen):
                row[j] = row[j] if there[j] != 0 else T(_UNSEEN)
        largest = row[0]
        for j in range(1, seen):
            largest = maximum(largest, row[j])
        for j in range(seen):
            row[j] = exp_of_negative(row[j] - largest)
        if there.size:
            for j in range(seen):
                row[j] *= T(there[j])
        total = T(0)
        for j in range(seen):
            total += row[j]
        # The sum is at least 1, or 0 where nothing is seen.
        share = T(1) / maximum(total, T(0.5))
        for j in range(seen):
            row[j] *= share
        row[seen:] = T(0)


@summing_part
def _softmax_back(scores, weights, dheads, heads, scale, causal):  # type: ignore[no-untyped-def]
    """Turn gradients by the weights into those by the products of q and k."""
    T = scores.dtype.type
    steps = scores.shape[0]
    for i in range(steps):
        row, weight, d, head = scores[i], weights[i], dheads[i], heads[i]
        total = T(0)
        for c in range(d.size):
            total += d[c] * head[c]
        seen = i + 1 if causal else steps
        for j in range(seen):
            row[j] = weight[j] * ((row[j] - total) * T(scale))
        row[seen:] = T(0)


@outlined
def _attend(  # type: ignore[no-untyped-def]
    products, bias, there, weights, heads, panels, scale, count, steps, causal, address, table,
    item, slot,
):  # fmt: skip
    """Do one head of one sequence."""
    dim, size = heads.shape[1], heads.itemsize
    depth = dim // count
    n, first = item // count, item % count * depth
    start, row = n * steps, 3 * dim
    for r in range(start, start + steps):
        for part in range(first, row, dim):
            for c in range(part, part + depth):
                products[r, c] += bias[c]
    q_at = np.int64(products.ctypes.data) + size * (start * row + first)
    keys = products[start : start + steps, dim + first : dim + first + depth]
    scores = weights[slot * steps : (slot + 1) * steps]
    scores_at = np.int64(scores.ctypes.data)
    _by_transposed(address, q_at, row, keys, panels, scores_at, steps, causal, table)
    _softmax(scores, there[n if there.size else 0 : n + 1].reshape(-1), scale, causal)
    heads_at = np.int64(heads.ctypes.data) + size * (start * dim + first)
    _by_rows(address, scores_at, False, q_at + 2 * size * dim, row, depth, steps, panels, heads_at,
             dim, causal, table, size)  # fmt: skip


@kernel(
    "matrix! vector flags matrix! matrix! matrix! real integer integer integer integer indices "
    "integer"
)
def forward(  # type: ignore[no-untyped-def]
    products, bias, there, weights, heads, panels, scale, count, steps, causal, address, table,
    parts,
):  # fmt: skip
    """Add the bias to q, k and v; fill ``weights`` and ``heads`` (N T, dim).

    ``weights`` (N count T, T) has those of all heads, or (parts T, T), of which nothing is kept.
    ``panels`` has room for k of a head, transposed, for each part. ``table`` has the tiles of T
    rows, and a 0.
    """
    items = heads.shape[0] // steps * count
    room = panels.shape[0] // parts
    for part in _prange(0, parts):
        for item in range(bound(part, parts, items, 1), bound(part + 1, parts, items, 1)):
            _attend(
                products, bias, there, weights, heads, panels[part * room : (part + 1) * room],
                scale, count, steps, causal, address, table, item,
                item if weights.shape[0] == items * steps else part,
            )  # fmt: skip


@outlined
def _attend_back(  # type: ignore[no-untyped-def]
    products, weights, heads, dheads, dproducts, scores, panels, scale, count, steps, causal,
    address, table, item,
):  # fmt: skip
    """Go back through one head of one sequence."""
    dim, size = heads.shape[1], heads.itemsize
    depth = dim // count
    first, start, row = item % count * depth, item // count * steps, 3 * dim
    last = start + steps
    q_at = np.int64(products.ctypes.data) + size * (start * row + first)
    dq_at = np.int64(dproducts.ctypes.data) + size * (start * row + first)
    d_at = np.int64(dheads.ctypes.data) + size * (start * dim + first)
    further = size * dim
    values = products[start:last, 2 * dim + first : 2 * dim + first + depth]
    seen = weights[item * steps : (item + 1) * steps]
    scores_at, seen_at = np.int64(scores.ctypes.data), np.int64(seen.ctypes.data)
    _by_transposed(address, d_at, dim, values, panels, scores_at, steps, causal, table)
    own = slice(first, first + depth)
    _softmax_back(scores, seen, dheads[start:last, own], heads[start:last, own], scale, causal)
    _by_rows(address, scores_at, False, q_at + further, row, depth, steps, panels, dq_at, row,
             causal, table, size)  # fmt: skip
    _by_rows(address, scores_at, True, q_at, row, depth, steps, panels, dq_at + further, row,
             causal, table, size)  # fmt: skip
    _by_rows(address, seen_at, True, d_at, dim, depth, steps, panels, dq_at + 2 * further, row,
             causal, table, size)  # fmt: skip


@kernel(
    "matrix matrix matrix matrix matrix! matrix! matrix! real integer integer integer integer "
    "indices integer"
)
def backward(  # type: ignore[no-untyped-def]
    products, weights, heads, dheads, dproducts, scores, panels, scale, count, steps, causal,
    address, table, parts,
):  # fmt: skip
    """Fill ``dproducts`` (N T, 3 dim) from ``dheads`` (N T, dim) and what `forward` made.

    ``scores`` (parts T, T) is room, as are ``panels``.
    """
    items = heads.shape[0] // steps * count
    room = panels.shape[0] // parts
    for part in _prange(0, parts):
        for item in range(bound(part, parts, items, 1), bound(part + 1, parts, items, 1)):
            _attend_back(
                products, weights, heads, dheads, dproducts,
                scores[part * steps : (part + 1) * steps],
                panels[part * room : (part + 1) * room], scale, count, steps, causal, address,
                table, item,
            )  # fmt: skip
