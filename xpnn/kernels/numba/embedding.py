"""Vectors of ids, and the sums of gradients by id."""

from __future__ import annotations

import numba

from ._compile import bound, kernel, outlined

__all__ = ["add_up", "look_up"]

_prange = numba.prange


@outlined
def _look_up(weight, ids, output, first, last):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        output[i] = weight[ids[i]]


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
def _add_up(dout, ids, gradient, skipped, first, last):  # type: ignore[no-untyped-def]
    width = gradient.shape[1]
    gradient[first:last] = 0.0
    for i in range(ids.size):
        number = ids[i]
        if first <= number < last and number != skipped:
            to, row = gradient[number], dout[i]
            for j in range(width):
                to[j] += row[j]


@kernel("matrix indices matrix! integer integer")
def add_up(dout, ids, gradient, skipped, parts):  # type: ignore[no-untyped-def]
    """Set each row of ``gradient`` to the sum of the rows of ``dout`` that have its id.

    They are added in their order, whoever does it: each part has some of the ids for itself, and
    goes through all. The row of ``skipped`` is 0; there may be none such.
    """
    for part in _prange(parts):
        _add_up(
            dout,
            ids,
            gradient,
            skipped,
            bound(part, parts, gradient.shape[0], 1),
            bound(part + 1, parts, gradient.shape[0], 1),
        )
