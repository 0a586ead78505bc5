"""What a layer does for itself when it is used alone, without a network.

It then behaves like layer 0 of a network of its own seed.
"""

from __future__ import annotations

from typing import Any

from .._standard import Array, array_namespace, from_host
from ..errors import DataError
from ..random import Stream, fresh_seed
from .layer import Layer

__all__ = ["build_alone", "expect_floating", "mask_stream"]


def build_alone(
    layer: Layer, seed: int | None, input: Array, dtype: Any = None, number: int = 0
) -> None:
    """Draw the parameters and buffers that are missing, with the device and dtype of ``input``.

    It is done as for layer ``number`` of a network of the seed.

    Raises
    ------
    DataError
        If that dtype is none of floating-point numbers: weights of integers would nearly all be 0.
    """
    dtype = dtype or input.dtype
    expect_floating(layer.name, input, dtype)
    given = {*layer.params, *layer.buffers}
    layer.build(Stream(_seed(seed), 2 * number + 1))
    for arrays in (layer.params, layer.buffers):
        for name, value in arrays.items():
            if name not in given:
                arrays[name] = from_host(value, like=input, dtype=dtype)


def expect_floating(owner: str, input: Array, dtype: Any = None) -> None:
    """Raise DataError unless an input, or another dtype of its library, is of floating point."""
    dtype = dtype or input.dtype
    if not array_namespace(input).isdtype(dtype, "real floating"):
        raise DataError(f"{owner}: expected floating-point numbers, got an array of {dtype}")


def mask_stream(seed: int | None) -> Stream:
    """Return the stream of the masks."""
    return Stream(_seed(seed), 2)


def _seed(seed: int | None) -> int:
    return fresh_seed() if seed is None else seed
