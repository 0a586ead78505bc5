"""The layer that makes rows of images and sequences."""

from __future__ import annotations

import math

from .._standard import Array, array_namespace
from ..errors import ShapeError
from .layer import Layer

__all__ = ["Flatten"]


class Flatten(Layer):
    """Make one row of each sample, in C order.

    ::

        output[n] = input[n] as a row
        dinput[n] = dout[n] in the shape of input[n]

    Raises
    ------
    ShapeError
        In the forward pass, if the input has no axis but that of the batch.

    Notes
    -----
    Arrays: input (N, d1, ..., dk) with k >= 1, output (N, d1 ... dk), of any dtype. No parameters.
    Both modes do the same.

    Cost: none; a view where the library has views and the input is contiguous. The cache keeps the
    shape of the input.

    Examples
    --------
    >>> import numpy as np
    >>> Flatten().forward(np.asarray([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    """

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(N, d1, ..., dk) becomes (N, d1 ... dk)."""
        if len(input_shape) < 2:
            raise ShapeError(
                f"{self.name}: expected input of shape (N, ...) with at least two axes, "
                f"got {tuple(input_shape)}"
            )
        return (input_shape[0], math.prod(input_shape[1:]))

    def forward(self, input: Array) -> Array:
        """Return the samples as rows."""
        shape = self.output_shape(input.shape)
        self.cache["shape"] = input.shape
        return array_namespace(input).reshape(input, shape)

    def backward(self, dout: Array) -> Array:
        """Return ``dout`` in the shape of the input."""
        return array_namespace(dout).reshape(dout, self.saved("shape"))
