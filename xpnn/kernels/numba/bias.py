"""What a linear layer does with its bias."""

from __future__ import annotations

from numba import prange

from ._compile import UNIT, bound, kernel, part

__all__ = ["add", "sum_rows"]


@part
def _add_row(bias, row):  # type: ignore[no-untyped-def]
    for c in range(row.size):
        row[c] += bias[c]


@kernel("vector matrix! integer")
def add(bias, output, parts):  # type: ignore[no-untyped-def]
    """Do ``output += bias``. Parts are rows."""
    rows = output.shape[0]
    for index in prange(0, parts):
        for i in range(bound(index, parts, rows, 1), bound(index + 1, parts, rows, 1)):
            _add_row(bias, output[i])


@part
def _sum_part(dout, dbias, left, right):  # type: ignore[no-untyped-def]
    sums = dbias[left:right]
    sums[:] = dout.dtype.type(0)
    for i in range(dout.shape[0]):
        row = dout[i, left:right]
        for c in range(row.size):
            sums[c] += row[c]


@kernel("matrix vector! integer")
def sum_rows(dout, dbias, parts):  # type: ignore[no-untyped-def]
    """Do ``dbias = sum(dout, axis=0)``. Parts are columns, so that each has one order."""
    for index in prange(0, parts):
        left = bound(index, parts, dout.shape[1], UNIT)
        right = bound(index + 1, parts, dout.shape[1], UNIT)
        _sum_part(dout, dbias, left, right)
