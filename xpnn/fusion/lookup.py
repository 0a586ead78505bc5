"""`Embedding` as a step, by Numba's kernels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._standard import Array
from ..kernels.numba import embedding
from ..layers import Embedding
from .steps import Scratch, Step, as_rows
from .threads import team

__all__ = ["EmbeddingStep"]


class EmbeddingStep(Step):
    """Look up vectors, and add up their gradients in place.

    Parameters
    ----------
    layer : Embedding
        Of exactly this class.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of a plan.
    remark : str
        For people.
    """

    def __init__(self, layer: Embedding, dtype: str, scratch: Scratch, remark: str) -> None:
        super().__init__((layer,), dtype, scratch, remark)
        self._layer = layer
        self._ids: Any = None
        self._chains = np.empty(0, np.int64)

    def forward(self, input: Array) -> Array:
        """Return the vectors of the ids."""
        ids = self._checked_ids(input)
        self._ids = ids
        output = None
        if self.keeps_output:
            output = self._buffer("output", ids.size, self._layer.dim)
        return self._look_up(ids, output).reshape(*input.shape, self._layer.dim)

    def backward(self, dout: Array) -> None:
        """Write the gradient of W. There is none of the ids."""
        layer, ids = self._layer, self._ids
        self._ids = None
        gradient = layer.grads["W"]
        skipped = -1 if layer.padding_idx is None else layer.padding_idx
        rows = as_rows(dout, layer.dim, self._dtype)
        parts, parallel = team().share(gradient.size)
        needed = layer.num + parts * (ids.size + 1)
        if self._chains.size < needed:
            self._chains = np.empty(needed, np.int64)
        add_up = embedding.add_up[self._name, parallel]
        add_up(rows, ids, gradient, skipped, self._chains, parts)

    def forget(self) -> None:
        """Drop what `forward` left."""
        self._ids = None

    def evaluate(self, input: Array) -> Array:
        """Return the vectors of the ids, in new memory."""
        ids = self._checked_ids(input)
        return self._look_up(ids, None).reshape(*input.shape, self._layer.dim)

    def _checked_ids(self, input: Array) -> Array:
        """Return the ids as a vector that the kernels can go by."""
        self._checked(input.shape)
        if input.dtype.kind not in "iu":
            self._layer.check_ids(input)
        ids = np.array(input, dtype=np.int64, order="C").reshape(math.prod(input.shape))
        # One look for both ends: what is negative is a large number without a sign.
        if np.maximum.reduce(ids.view(np.uint64), initial=0) >= self._layer.num:
            self._layer.check_ids(input)
        return ids

    def _look_up(self, ids: Array, output: Array | None) -> Array:
        weight = self._layer.params["W"]
        if output is None:
            output = np.empty((ids.size, self._layer.dim), self._dtype)
        self._launch(embedding.look_up, output.size, weight, ids, output)
        return output
