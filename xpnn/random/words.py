"""Words of random bits, and numbers made of them, as `xpnn.random` defines them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from .._standard import Array, from_host
from ..errors import ConfigurationError

__all__ = ["HostArray", "blocks", "cast", "deliver", "unit"]

HostArray: TypeAlias = np.ndarray[Any, Any]


def blocks(key: tuple[int, int], call: int, first: int, count: int) -> HostArray:
    """Return the words of ``count`` blocks from block ``first`` on, by NumPy's own Philox.

    The key is (seed, stream).
    """
    seed, stream = key
    # NumPy increments the counter before it makes a block. Counter and key go in as one integer
    # each, of 256 and 128 bits, least significant word first.
    counter = ((call << 64) + first - 1) % (1 << 256)
    generator = np.random.Philox(key=(stream << 64) + seed, counter=counter)
    return generator.random_raw(4 * count)


def unit(words: HostArray) -> HostArray:
    """Return float64 in [0, 1): the upper 53 bits of a word each."""
    values = (words >> np.uint64(11)).astype(np.float64)
    values *= 2.0**-53
    return values


def deliver(values: HostArray, like: Array | None) -> Array:
    """Bring numbers to the library and device of ``like``."""
    return values if like is None else from_host(values, like=like)


def cast(method: str, values: HostArray, like: Array | None) -> HostArray:
    """Cast host numbers to NumPy's type of the same name as the type of ``like``."""
    if like is None:
        return values
    dtype = str(like.dtype).rpartition(".")[2]
    if dtype not in ("float16", "float32", "float64"):
        raise ConfigurationError(
            f"{method}: like must have dtype float16, float32 or float64, got {like.dtype}"
        )
    return values.astype(dtype, copy=False)
