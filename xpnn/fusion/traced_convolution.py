"""Convolutions on JAX: XLA's own, and what JAX derives from it.

As the layers write them for any library they would be many small operations, tile by tile, which
XLA neither puts together again nor does at the same time. Layers that run one by one get the same
products, each compiled for the shapes and the settings that it first sees.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from .._standard import Array
from ..layers._windows import Sizes, Window
from .tracing import is_tracing

__all__ = ["CompiledProducts", "XlaProducts", "products"]


class XlaProducts:
    """What `xpnn.layers._correlation` computes, with the same arguments."""

    def correlate(self, window: Window, array: Array, filters: Array, count: Sizes) -> Array:
        """Multiply all windows of an array (N, C, ...) by the filters: (N, groups, F, windows)."""
        from jax import lax

        groups, width, rows = filters.shape
        kernel = filters.reshape(groups * width, rows // window.taps, *window.kernel)
        output = lax.conv_general_dilated(
            array,
            kernel,
            window_strides=window.stride,
            padding=window.margins,
            rhs_dilation=window.dilation,
            feature_group_count=groups,
        )
        output = output[:, :, *map(slice, count)]
        return output.reshape(array.shape[0], groups, width, math.prod(count))

    def correlate_transposed(
        self, window: Window, rows: Array, filters: Array, count: Sizes, sizes: Sizes
    ) -> Array:
        """Multiply rows by the transposed filters and add them up to an array (N, C, ``sizes``)."""
        channels = filters.shape[0] * filters.shape[2] // window.taps
        shape = (rows.shape[0], channels, *sizes)
        return _transposed(lambda array: self.correlate(window, array, filters, count), shape, rows)

    def filter_gradient(
        self, window: Window, array: Array, rows: Array, filters: Array, count: Sizes
    ) -> Array:
        """Return the derivative of ``sum(rows * correlate(...))`` by the filters."""
        return _transposed(
            lambda other: self.correlate(window, array, other, count), filters.shape, rows
        )


def _transposed(function: Any, shape: tuple[int, ...], rows: Array) -> Array:
    import jax

    (result,) = jax.linear_transpose(function, jax.ShapeDtypeStruct(shape, rows.dtype))(rows)
    return result


class CompiledProducts:
    """The same, each a function under ``jax.jit``: operations by themselves are not compiled."""

    def __init__(self) -> None:
        import jax

        products = XlaProducts()
        # All but arrays is part of what is compiled.
        self.correlate = jax.jit(products.correlate, static_argnums=(0, 3))
        self.correlate_transposed = jax.jit(products.correlate_transposed, static_argnums=(0, 3, 4))
        self.filter_gradient = jax.jit(products.filter_gradient, static_argnums=(0, 4))


@cache
def _compiled() -> CompiledProducts:
    return CompiledProducts()


_PRODUCTS = XlaProducts()


def products() -> XlaProducts | CompiledProducts:
    """Return the products for a step that is traced, or those for layers by themselves."""
    return _PRODUCTS if is_tracing() else _compiled()
