"""Dropout masks, made on the device."""

from __future__ import annotations

import numpy as np

from ..._standard import Array
from ...random import Stream
from .loader import function

__all__ = ["mask"]

#: Elements of a mask that one block of Philox decides, and one thread writes.
_ELEMENTS = 16

_THREADS = 256


def mask(stream: Stream, threshold: int, count: int, start: int, like: Array) -> Array:
    """Return the mask of a stream as `xpnn.random.Stream.mask` does, without the host's help.

    Parameters
    ----------
    stream : xpnn.random.Stream
        Where the bits come from.
    threshold : int, 0 <= threshold <= 65536
        An element is kept where its lane of 16 bits is not below it.
    count : int
        Number of elements.
    start : int, 0 <= start < 2**64
        Place of the first element in the stream's mask.
    like : cupy.ndarray
        Stands for the device.

    Returns
    -------
    cupy.ndarray
        (count,) of bool, contiguous. Nothing is copied from the host, and nothing waits.

    Notes
    -----
    One launch, whatever the start: whole blocks of 16 elements are written, and the result begins
    within the first one. So every thread makes one store of 16 bytes, and no two share a sector.

    Bytes moved: ``count`` written, none read. Some 300 machine instructions for each 16 elements,
    most of them integer products: for large masks it is arithmetic and not memory that limits it.
    """
    import cupy

    first, skipped = divmod(start, _ELEMENTS)
    blocks = -(-(skipped + count) // _ELEMENTS)
    with like.device:
        elements = cupy.empty(blocks * _ELEMENTS, dtype=cupy.bool_)
        if blocks:
            # Each number as the type that the kernel declares: CuPy passes a Python integer as a
            # signed one, and cannot pass those from 2**63 on.
            words = (first, blocks, stream.seed, stream.stream, stream.call)
            arguments = (elements, *map(np.uint64, words), np.uint32(threshold))
            kernel = function("philox", "philox_mask")
            kernel((-(-blocks // _THREADS),), (_THREADS,), arguments)
    return elements[skipped : skipped + count]
