"""Softmax and cross-entropy with labels, forward and backward in one launch."""

from __future__ import annotations

from ..._standard import Array
from ._launch import Counters, dtype_name, nullable, row_grid, u32
from .loader import function

__all__ = ["cross_entropy"]


def cross_entropy(
    logits: Array, labels: Array, gradient: Array, loss: Array, counters: Counters
) -> None:
    """Write the mean cross-entropy and its gradient.

    Parameters
    ----------
    logits : array, (N, K)
    labels : array of int64, (N,)
        One that is no class makes the loss NaN.
    gradient : array, (N, K)
        Where the gradient goes.
    loss : array, 0-d
        Where the loss goes, in nats.
    counters : Counters
        At rest.

    Notes
    -----
    One launch: a warp takes a row of up to 1024 classes, a block a longer one. Bytes moved: 4 read
    and 4 written an element (float32); the row is read twice more from the cache. The costs of the
    rows are added in float64, in a fixed order.
    """
    import cupy

    rows, classes = logits.shape
    grid, block = row_grid(rows, classes)
    partial = nullable(None) if grid[0] == 1 else cupy.empty(grid[0], dtype=cupy.float64)
    kernel = function("cross_entropy", "cross_entropy", dtype_name(logits))
    sizes = u32(rows), u32(classes)
    arguments = (logits, labels, *sizes, gradient, loss, partial, counters.get(1))
    kernel(grid, block, arguments)
