"""`Embedding` as a step on CuPy, by CUDA kernels."""

from __future__ import annotations

from typing import Any

from .._standard import Array
from ..errors import DataError
from ..kernels.cuda import embedding
from ..layers import Embedding
from .steps import PlanStep

__all__ = ["CudaEmbeddingStep"]


class CudaEmbeddingStep(PlanStep):
    """Look up vectors, and add up their gradients in place: one launch each.

    Ids of the host have been checked there. Of those that are on the device already, one that is
    none gives NaN, as nothing here waits to look at them.

    Parameters
    ----------
    layer : Embedding
        Of exactly this class.
    dtype : str
        "float32" or "float64".
    remark : str
        For people.
    """

    def __init__(self, layer: Embedding, dtype: str, remark: str) -> None:
        super().__init__((layer,), remark)
        self._layer = layer
        self._dtype = dtype
        self._ids: Any = None

    def forward(self, input: Array) -> Array:
        """Return the vectors of the ids."""
        self._ids, output = self._look_up(input)
        return output

    def backward(self, dout: Array) -> None:
        """Write the gradient of W. There is none of the ids."""
        import cupy

        layer, ids = self._layer, self._ids
        self._ids = None
        drows = cupy.ascontiguousarray(dout, dtype=self._dtype).reshape(ids.size, layer.dim)
        skipped = -1 if layer.padding_idx is None else layer.padding_idx
        embedding.add_up(drows, ids, layer.grads["W"], skipped)

    def forget(self) -> None:
        """Drop what `forward` left."""
        self._ids = None

    def evaluate(self, input: Array) -> Array:
        """Return the vectors of the ids."""
        return self._look_up(input)[1]

    def _look_up(self, input: Array) -> tuple[Array, Array]:
        """Return the ids as a vector, and their vectors."""
        import cupy

        layer = self._layer
        shape = layer.output_shape(input.shape)
        if input.dtype.kind not in "iu":
            raise DataError(f"{layer.name}: expected ids, whole numbers, got {input.dtype}")
        ids = cupy.ascontiguousarray(input, dtype=cupy.int64).reshape(input.size)
        output = cupy.empty((ids.size, layer.dim), dtype=self._dtype)
        embedding.look_up(layer.params["W"], ids, output)
        return ids, output.reshape(shape)
