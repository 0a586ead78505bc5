"""What the losses that compare element by element have in common."""

from __future__ import annotations

import math
from typing import Any

from .._standard import Array, array_namespace
from .loss import Loss
from .targets import (
    aligned_target,
    check_real,
    check_target_shape,
    checked_weight,
    reciprocal,
)

__all__ = ["ElementwiseLoss"]


class ElementwiseLoss(Loss):
    """The mean of a cost of each element; the base class of losses that compare like with like.

    ``loss = sum(weight[i] * mean_j(cost[i, j])) / sum(weight)`` over the samples i and the
    elements j of a sample. A subclass defines `cost` and `slope`.
    """

    def cost(self, input: Array, target: Array) -> Array:
        """Return the cost of each element, and leave in `cache` what `slope` needs."""
        raise NotImplementedError(f"{type(self).__name__} does not define cost")

    def slope(self) -> Array:
        """Return the derivative of each element's cost by the input, as a new array."""
        raise NotImplementedError(f"{type(self).__name__} does not define slope")

    def forward(self, input: Array, target: Array, sample_weight: Array | None = None) -> Array:
        """Return the weighted mean of the cost, a 0-d array; see `Loss.forward`.

        Parameters
        ----------
        input : array, (N, ...), floating-point
            The output of the network.
        target : array
            Of the input's shape, or (N,) for an input (N, 1).
        sample_weight : array, (N,), optional
            How much each sample counts, >= 0.

        Raises
        ------
        ShapeError
            If the shapes do not fit.
        """
        xp = array_namespace(input)
        owner = type(self).__name__
        target = aligned_target(owner, input, target)
        self.cache = {}
        cost = self.cost(input, target)
        if sample_weight is None:
            self.weight_sum = float(input.shape[0])
            share = 1.0 / max(math.prod(input.shape), 1)
            loss = xp.sum(cost) * share
            self.cache["share"] = share
            return loss
        weight = checked_weight(owner, input, sample_weight)
        self.weight_sum = xp.sum(weight)
        scale = reciprocal(self.weight_sum) * (1.0 / max(math.prod(input.shape[1:]), 1))
        share = xp.reshape(weight * scale, (input.shape[0],) + (1,) * (input.ndim - 1))
        self.cache["share"] = share
        return xp.sum(cost * share)

    def backward(self) -> Array:
        """Return the gradient of the last `forward` by its input; see `Loss.backward`."""
        share = self.saved("share")
        gradient = self.slope()
        gradient *= share
        return gradient

    def prepare(self, target: Any, output_shape: tuple[int | None, ...] | None) -> Any:
        """Check that targets are real numbers of the output's shape; see `Loss.prepare`.

        Integers and booleans are returned as floats.
        """
        owner = type(self).__name__
        check_real(owner, target)
        check_target_shape(owner, target, output_shape)
        return target if target.dtype.kind == "f" else target.astype("float64")
