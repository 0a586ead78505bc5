"""Softmax as a layer."""

from __future__ import annotations

from .._standard import Array, array_namespace
from ..errors import ConfigurationError, ShapeError
from .activations import Activation

__all__ = ["Softmax"]


class Softmax(Activation):
    """Turn scores into probabilities: positive, with sum 1 over an axis.

    ::

        output = exp(input) / sum(exp(input), axis)
        dinput = output * (dout - sum(dout * output, axis))

    Parameters
    ----------
    axis : int
        The axis of the sum; any but 0, that of the batch.

    Raises
    ------
    ConfigurationError
        If the axis is 0 or not an integer.
    ShapeError
        In the forward pass, if the input lacks the axis or the axis is that of the batch.

    Notes
    -----
    Arrays: input and output of any one shape of at least two axes and floating-point dtype. Both
    modes do the same. The largest score is subtracted first, so nothing overflows.

    For a classifier train the scores with `SoftmaxCrossEntropy`, which includes the softmax; this
    layer is for probabilities inside a network.

    Cost in FLOPs an element: 4 and an exponential forward, 4 backward. The cache keeps the output.

    Source: Bridle, "Training Stochastic Model Recognition Algorithms as Networks can Lead to
    Maximum Mutual Information Estimation of Parameters", NIPS 1989.

    Examples
    --------
    >>> import numpy as np
    >>> Softmax().forward(np.asarray([[0.0, 0.0, 1000.0], [1.0, 1.0, 1.0]])).round(4).tolist()
    [[0.0, 0.0, 1.0], [0.3333, 0.3333, 0.3333]]
    """

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        if not isinstance(axis, int) or axis == 0:
            raise ConfigurationError(
                f"{self.name}: axis must be a whole number other than 0, the batch axis, "
                f"got {axis!r}"
            )
        self.axis = axis

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input."""
        if not -len(input_shape) < self.axis < len(input_shape):
            raise ShapeError(
                f"{self.name}: expected input of shape (N, ...) with an axis {self.axis} behind "
                f"the first, got {tuple(input_shape)}"
            )
        return input_shape

    def forward(self, input: Array) -> Array:
        """Return ``exp(input) / sum(exp(input), axis)``."""
        self.output_shape(input.shape)
        xp = array_namespace(input)
        output = xp.exp(input - xp.max(input, axis=self.axis, keepdims=True))
        output /= xp.sum(output, axis=self.axis, keepdims=True)
        self.cache["output"] = output
        return output

    def backward(self, dout: Array) -> Array:
        """Return ``output * (dout - sum(dout * output, axis))``."""
        output = self.saved("output")
        xp = array_namespace(dout)
        dinput = dout * output
        dinput -= output * xp.sum(dinput, axis=self.axis, keepdims=True)
        return dinput
