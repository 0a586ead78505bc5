"""`MultiHeadAttention` as a step, by Numba's kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._standard import Array
from ..kernels.numba import attention
from ..kernels.numba.blocked_product import Panel, panel, tiles
from ..layers import MultiHeadAttention
from .memory import empty
from .products import multiply
from .steps import Scratch, Step, as_rows
from .threads import team

__all__ = ["AttentionStep"]


class AttentionStep(Step):
    """Attention with all that it can: masks, lengths, causal or not.

    Parameters
    ----------
    layer : MultiHeadAttention
        Of exactly this class.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of a plan.
    remark : str
        For people.
    """

    def __init__(
        self, layer: MultiHeadAttention, dtype: str, scratch: Scratch, remark: str
    ) -> None:
        super().__init__((layer,), dtype, scratch, remark)
        self._layer = layer
        self._panel: Panel = panel(dtype)
        self._table: tuple[int, Array] = 0, np.zeros(1, np.int64)
        self._kept: Any = None

    def forward(self, input: Array) -> Array:
        """Return what the steps have seen, and keep what `backward` needs."""
        layer, shape = self._layer, self._checked(input.shape)
        n, steps, dim = shape
        rows = as_rows(input, dim, self._dtype)
        products = self._buffer("products", n * steps, 3 * dim)
        weights = self._buffer("weights", n * layer.heads * steps, steps)
        heads = self._buffer("heads", n * steps, dim)
        self._attend(input, rows, products, weights, heads)
        self._kept = rows, products, weights, heads, shape
        return self._project(heads, self._result(n * steps, dim)).reshape(shape)

    def backward(self, dout: Array) -> Array | None:
        """Write the gradients of the parameters; return that of the input if it is wanted."""
        rows, products, weights, heads, shape = self._kept
        self._kept = None
        layer, (_, steps, dim) = self._layer, shape
        drows = as_rows(dout, dim, self._dtype)
        multiply(heads, drows, layer.grads["Wo"], transpose_a=True)
        np.add.reduce(drows, axis=0, out=layer.grads["bo"])
        dheads = self._scratch.inner.matrix(len(rows), dim)
        multiply(drows, layer.params["Wo"], dheads, transpose_b=True)
        dproducts = self._buffer("dproducts", len(rows), 3 * dim)
        parts, parallel = team().share(weights.size)
        scores = self._buffer("scores", parts * steps, steps)
        attention.backward[self._name, parallel](
            products, weights, heads, dheads, dproducts, scores,
            self._panels(parts, steps), *self._common(steps), parts,
        )  # fmt: skip
        multiply(rows, dproducts, layer.grads["W"], transpose_a=True)
        np.add.reduce(dproducts, axis=0, out=layer.grads["b"])
        if not self.wants_gradient:
            return None
        dinput = self._gradient(*rows.shape)
        return multiply(dproducts, layer.params["W"], dinput, transpose_b=True).reshape(shape)

    def forget(self) -> None:
        """Drop what `forward` left."""
        self._kept = None

    def evaluate(self, input: Array) -> Array:
        """Return what the steps have seen, in new memory: threads may share a network."""
        shape = self._layer.output_shape(input.shape)
        n, steps, dim = shape
        parts, _ = team().share(n * self._layer.heads * steps * steps)
        products, heads, output = (
            empty((n * steps, width), self._dtype) for width in (3 * dim, dim, dim)
        )
        weights = empty((parts * steps, steps), self._dtype)
        self._attend(input, as_rows(input, dim, self._dtype), products, weights, heads)
        return self._project(heads, output).reshape(shape)

    # ---------------------------------------------------------------- details

    def _attend(
        self, input: Array, rows: Array, products: Array, weights: Array, heads: Array
    ) -> None:
        layer, steps = self._layer, input.shape[1]
        mask = layer._steps_there(input)
        there = np.empty((0, 0), np.uint8)
        if mask is not None:
            there = np.array(mask, dtype=bool, order="C").view(np.uint8)
        multiply(rows, layer.params["W"], products)
        parts, parallel = team().share(len(input) * layer.heads * steps * steps)
        attention.forward[self._name, parallel](
            products, layer.params["b"], there, weights, heads, self._panels(parts, steps),
            *self._common(steps), parts,
        )  # fmt: skip

    def _project(self, heads: Array, output: Array) -> Array:
        multiply(heads, self._layer.params["Wo"], output)
        output += self._layer.params["bo"]
        return output

    def _panels(self, parts: int, steps: int) -> Array:
        """Return room for the keys or values of a head, transposed, for each part."""
        width = 2 * self._panel.lanes
        depth = self._layer.dim // self._layer.heads
        return empty((parts * -(-steps // width) * (depth + 1), width), self._dtype)

    def _common(self, steps: int) -> tuple[Any, ...]:
        layer = self._layer
        known, table = self._table
        if known != steps:
            found = tiles(steps, self._panel.heights, False)
            table = np.concatenate([found.ravel(), [0]])
            self._table = steps, table
        return layer._scale, layer.heads, steps, int(layer.causal), self._panel.address, table
