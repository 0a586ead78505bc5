"""`Embedding` as a step, by Numba's kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._standard import Array
from ..kernels.numba import embedding
from ..layers import Embedding
from .memory import empty
from .steps import Scratch, Step, as_rows
from .threads import team

__all__ = ["EmbeddingStep"]

#: Bytes from which on an output goes past the caches while a network is trained. They would not be
#: there any more in the backward pass, and what they overwrite would have to be read before.
_LARGE = 1 << 23


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
        self._places = np.empty(0, np.int64)

    def forward(self, input: Array) -> Array:
        """Return the vectors of the ids."""
        ids = self._checked_ids(input)
        output = self._result(ids.size, self._layer.dim)
        self._look_up(input, ids, output, past=output.nbytes >= _LARGE)
        self._ids = ids
        return output if input.ndim == 1 else output.reshape(*input.shape, self._layer.dim)

    def backward(self, dout: Array) -> None:
        """Write the gradient of W. There is none of the ids."""
        layer, ids = self._layer, self._ids
        self._ids = None
        gradient = layer.grads["W"]
        skipped = -1 if layer.padding_idx is None else layer.padding_idx
        rows = as_rows(dout, layer.dim, self._dtype)
        parts, parallel = team().share(gradient.size)
        needed = embedding.room(layer.num, ids.size, parts)
        if self._places.size < needed:
            self._places = np.empty(needed, np.int64)
        add_up = embedding.add_up[self._name, parallel]
        add_up(rows, ids, gradient, skipped, self._places, parts)

    def forget(self) -> None:
        """Drop what `forward` left."""
        self._ids = None

    def evaluate(self, input: Array) -> Array:
        """Return the vectors of the ids, in new memory."""
        ids = self._checked_ids(input)
        output = empty((ids.size, self._layer.dim), self._dtype)
        self._look_up(input, ids, output, past=False)
        return output.reshape(*input.shape, self._layer.dim)

    def _checked_ids(self, input: Array) -> Array:
        """Return the ids as a vector of the kernels' type."""
        self._checked(input.shape)
        if input.dtype.kind not in "iu":
            self._layer.check_ids(input)
        return as_rows(input, 1, np.int64).reshape(-1)

    def _look_up(self, input: Array, ids: Array, output: Array, past: bool) -> None:
        layer = self._layer
        given = layer.params["W"], ids, output, int(past)
        if not self._launch(embedding.look_up, output.size, *given):
            layer.check_ids(input)  # raises
