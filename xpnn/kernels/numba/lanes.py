"""The random bits of `xpnn.random`, for masks: Philox4x64-10, sixteen lanes a block."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import prange
from numba.core import cgutils, types
from numba.extending import intrinsic

from ._compile import bound, kernel, part

__all__ = ["BLOCK", "fill"]

#: The number of words is a multiple of this.
BLOCK = 8

_MULTIPLIERS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_INCREMENTS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)


@intrinsic  # type: ignore[untyped-decorator]
def _product(typing_context: Any, a: Any, b: Any) -> Any:
    """Return the upper and lower 64 bits of a product: one instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(factor, wide) for factor in arguments))
        halves = [builder.lshr(product, wide(64)), product]
        return cgutils.pack_array(builder, [builder.trunc(h, ir.IntType(64)) for h in halves])

    pair = types.UniTuple(types.uint64, 2)  # type: ignore[attr-defined]
    return pair(types.uint64, types.uint64), generate


@part
def _fill_part(key, words, begin, end):  # type: ignore[no-untyped-def]
    for pair in range(begin, end):
        # Two blocks at a time: the products of one fill the pauses of the other.
        k0, k1 = key[0], key[1]
        c0, c1, c2, c3 = np.uint64(2 * pair), key[2], np.uint64(0), np.uint64(0)
        d0, d1, d2, d3 = np.uint64(2 * pair + 1), key[2], np.uint64(0), np.uint64(0)
        for _ in range(10):
            h0, l0 = _product(_MULTIPLIERS[0], c0)
            h1, l1 = _product(_MULTIPLIERS[1], c2)
            g0, m0 = _product(_MULTIPLIERS[0], d0)
            g1, m1 = _product(_MULTIPLIERS[1], d2)
            c0, c1, c2, c3 = h1 ^ c1 ^ k0, l1, h0 ^ c3 ^ k1, l0
            d0, d1, d2, d3 = g1 ^ d1 ^ k0, m1, g0 ^ d3 ^ k1, m0
            k0 += _INCREMENTS[0]
            k1 += _INCREMENTS[1]
        eight = words[8 * pair : 8 * pair + 8]
        eight[0], eight[1], eight[2], eight[3] = c0, c1, c2, c3
        eight[4], eight[5], eight[6], eight[7] = d0, d1, d2, d3


@kernel("words words! integer")
def fill(key, words, parts):  # type: ignore[no-untyped-def]
    """Fill ``words`` with those of ``Stream(seed, stream, call)``, key being these three.

    The length of ``words`` is a multiple of eight. Read as 16-bit integers on a little-endian
    machine they are the lanes. Half the time of NumPy's Philox. Parts are runs of words.
    """
    pairs = words.size // BLOCK
    for index in prange(0, parts):
        _fill_part(key, words, bound(index, parts, pairs, 1), bound(index + 1, parts, pairs, 1))
