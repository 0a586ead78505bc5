"""Steps: what a plan runs in the place of layers.

A step keeps what its backward pass needs until that has run, as a layer does in its cache. The
buffers that it computes in stay with it. What leaves the plan, or goes to a layer that is not
xpnn's and may keep it, is never in such a buffer: see `Step.keeps_output`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._standard import Array
from ..layers import Linear
from ..layers.layer import Layer

__all__ = ["Buffer", "LayerStep", "LinearStep", "Step", "as_rows"]


class Buffer:
    """Memory for a matrix of changing shape, which grows when it has to."""

    def __init__(self, dtype: Any) -> None:
        self._memory = np.empty(0, dtype)
        self._shown: dict[tuple[int, int], Array] = {}

    def matrix(self, rows: int, columns: int) -> Array:
        """Return (rows, columns) of it, with whatever is there."""
        found = self._shown.get((rows, columns))
        if found is None:
            size = rows * columns
            if self._memory.size < size:
                self._memory = np.empty(size, self._memory.dtype)
                self._shown.clear()
            elif len(self._shown) > 16:
                self._shown.clear()
            found = self._shown[rows, columns] = self._memory[:size].reshape(rows, columns)
        return found


class Step:
    """A run of layers; the base class of steps.

    Attributes
    ----------
    layers : tuple of Layer
        What it does.
    keeps_output, keeps_gradient : bool
        Whether `forward` and `backward` may return a buffer that the next step overwrites.
    wants_gradient : bool
        Whether anybody uses the gradient by the input.
    remark : str
        How it does it, for people.
    """

    def __init__(self, layers: tuple[Layer, ...], remark: str) -> None:
        self.layers = layers
        self.remark = remark
        self.keeps_output = False
        self.keeps_gradient = False
        self.wants_gradient = True

    def forward(self, input: Array) -> Array:
        """Return the output in training mode."""
        raise NotImplementedError

    def backward(self, dout: Array) -> Array | None:
        """Write the gradients of the parameters; return that of the input if it is wanted."""
        raise NotImplementedError

    def evaluate(self, input: Array) -> Array:
        """Return the output in test mode, without a trace."""
        raise NotImplementedError


class LayerStep(Step):
    """A layer as it is."""

    def forward(self, input: Array) -> Array:
        """Return what the layer makes of the input."""
        return self.layers[0].forward(input)

    def backward(self, dout: Array) -> Array:
        """Do the layer's own backward pass."""
        return self.layers[0].backward(dout)

    def evaluate(self, input: Array) -> Array:
        """Return what the layer makes of the input."""
        return self.layers[0].forward(input)


class LinearStep(Step):
    """A `Linear` layer on NumPy that writes into buffers and into the vector of gradients."""

    def __init__(self, layer: Linear, dtype: Any, scratch: Buffer, remark: str) -> None:
        super().__init__((layer,), remark)
        self._layer = layer
        self._dtype = np.dtype(dtype)
        self._output = Buffer(dtype)
        self._scratch = scratch
        self._rows: Any = None

    def forward(self, input: Array) -> Array:
        """Return ``input @ W + b``."""
        layer = self._layer
        shape = layer.output_shape(input.shape)
        rows = self._rows = as_rows(input, layer.input_dim, self._dtype)
        output = None
        if self.keeps_output:
            output = self._output.matrix(rows.shape[0], layer.output_dim)
        output = np.matmul(rows, layer.params["W"], out=output)
        if layer.bias:
            output += layer.params["b"]
        return output if len(shape) == 2 else output.reshape(shape)

    def backward(self, dout: Array) -> Array | None:
        """Write the gradients of W and b where they belong, without a copy."""
        layer, rows = self._layer, self._rows
        self._rows = None
        drows = as_rows(dout, layer.output_dim, self._dtype)
        np.matmul(rows.T, drows, out=layer.grads["W"])
        if layer.bias:
            np.add.reduce(drows, axis=0, out=layer.grads["b"])
        if not self.wants_gradient:
            return None
        dinput = self._scratch.matrix(*rows.shape) if self.keeps_gradient else None
        dinput = np.matmul(drows, layer.params["W"].T, out=dinput)
        return dinput if dout.ndim == 2 else dinput.reshape(*dout.shape[:-1], layer.input_dim)

    def evaluate(self, input: Array) -> Array:
        """Return ``input @ W + b``."""
        output = self._layer.forward(input)
        self._layer.cache.clear()
        return output


def as_rows(array: Array, width: int, dtype: Any) -> Array:
    """Return (rows, width) of a type, in C order and aligned: a view where the array is so."""
    if type(array) is not np.ndarray:
        array = np.asarray(array)
    flags = array.flags
    if array.dtype != dtype or not flags.c_contiguous or not flags.aligned:
        array = np.array(array, dtype=dtype, order="C")
    if array.ndim == 2 and array.shape[1] == width:
        return array
    return array.reshape(math.prod(array.shape) // max(width, 1), width)
