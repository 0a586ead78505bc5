"""Looking up rows of a table by ids, and adding up the gradients of equal ids.

All arrays are CuPy's, on the current device, contiguous, the tables of one floating-point type.
Nothing here waits for the device. Bytes are given with s = 4 for float32 and 8 for float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._standard import Array
from ._launch import dtype_name, u32, u64
from .loader import function

__all__ = ["add_up", "look_up"]

_BLOCK = 256
#: Warps that a launch aims at: what a large GPU holds at a time. It does not depend on the GPU.
_WARPS, _WARPS_A_BLOCK = 2048, 8


def look_up(weight: Array, ids: Array, output: Array) -> None:
    """Write the rows of the ids.

    Parameters
    ----------
    weight : array, (num, dim)
        The table.
    ids : array of int64, (n,)
        Which rows. What is no id, 0 ... num - 1, gives NaN.
    output : array, (n, dim)
        Gets them.

    Notes
    -----
    One launch. Bytes moved for a number of the output: s read, s written; 8 / dim for its id.
    """
    macros, width = _width(weight, output)
    blocks = -(-output.size // (_BLOCK * width))
    if blocks:
        arguments = (weight, ids, u64(ids.size), *map(u32, weight.shape), output)
        function("embedding", "look_up", dtype_name(weight), **macros)(
            (blocks,), (_BLOCK,), arguments
        )


def add_up(drows: Array, ids: Array, gradient: Array, skipped: int) -> None:
    """Write the sums of the rows of each id, in the order of the rows.

    Parameters
    ----------
    drows : array, (n, dim)
        What is added up.
    ids : array of int64, (n,)
        To which row each belongs; one that is no id is left out.
    gradient : array, (num, dim)
        Gets the sums, and 0 for an id that does not occur.
    skipped : int
        An id that is left out; -1 for none.

    Notes
    -----
    One launch, without atomic additions and without sorting. Bytes moved: s read for a number of
    `drows`; s written for one of `gradient`, and up to 2 s more, which meet the cache, each time
    that a warp comes from one of its ids to another. Every block reads all ids, from the cache: for
    10,000 rows of 64 numbers and 2,048 ids 16 KB for each of 256 blocks, against 3 MB of the rest.
    A row that has nearly all of the ids is added up by one warp, eight rows of `drows` on their way
    at a time.
    """
    num, dim = gradient.shape
    macros, width = _width(gradient, drows)
    across = -(-dim // (32 * width))
    share = max(-(-num * across // _WARPS), 1)
    blocks = -(-num // (share * _WARPS_A_BLOCK))
    arguments = (drows, ids, u64(ids.size), u32(num), u32(dim), u32(share))
    function("embedding", "add_up", dtype_name(gradient), **macros)(
        (blocks, across), (_BLOCK,), (*arguments, np.int64(skipped), gradient)
    )


def _width(*arrays: Any) -> tuple[dict[str, str], int]:
    """Return how many numbers a thread takes: 16 bytes, where all rows lie so."""
    pack = 16 // arrays[0].itemsize
    wide = all(a.data.ptr % 16 == 0 and a.shape[-1] % pack == 0 for a in arrays)
    return ({"WIDTH": "PACK"}, pack) if wide else ({"WIDTH": "1"}, 1)
