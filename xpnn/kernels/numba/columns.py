"""Copies between rows and some columns of longer rows: where ways side by side meet and part."""

from __future__ import annotations

from numba import prange

from ._compile import bound, kernel, part

__all__ = ["join", "split"]


@part
def _copy(source, target):  # type: ignore[no-untyped-def]
    for c in range(target.size):
        target[c] = source[c]


@kernel("matrix matrix! integer integer")
def join(source, output, start, parts):  # type: ignore[no-untyped-def]
    """Write a matrix into the columns of another one from ``start`` on. Parts are rows."""
    rows, width = source.shape
    for index in prange(0, parts):
        for i in range(bound(index, parts, rows, 1), bound(index + 1, parts, rows, 1)):
            _copy(source[i], output[i, start : start + width])


@kernel("matrix matrix! integer integer")
def split(source, output, start, parts):  # type: ignore[no-untyped-def]
    """Write the columns of a matrix from ``start`` on into another one, which they fill."""
    rows, width = output.shape
    for index in prange(0, parts):
        for i in range(bound(index, parts, rows, 1), bound(index + 1, parts, rows, 1)):
            _copy(source[i, start : start + width], output[i])
