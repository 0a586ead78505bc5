"""Cross-entropy of yes-or-no targets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._checks import checked_number, checked_numbers
from .._standard import Array, array_namespace
from ..errors import ConfigurationError, DataError
from .elementwise import ElementwiseLoss
from .targets import Constant

__all__ = ["BinaryCrossEntropy"]


class BinaryCrossEntropy(ElementwiseLoss):
    """Mean cross-entropy between yes-or-no targets and the sigmoid of the outputs (logits).

    With logits z, targets t, ``p = 1 / (1 + exp(-z))`` and the weight q of the positive class::

        loss     = mean(-q * t * log(p) - (1 - t) * log(1 - p))          in nats per element
                 = mean((1 - t) * z + (1 + (q - 1) * t) * log(1 + exp(-z)))
        backward = ((1 - t) * p - q * t * (1 - p)) / size

    The mean is over all elements; with sample weights w it is
    ``sum(w_i * mean_j(cost_ij)) / sum(w)``. No logit overflows.

    `forward` takes logits (N,), (N, 1) or (N, C), floating-point, and targets in [0, 1] of the
    same shape, or (N,) for logits (N, 1). They may be integers, booleans or numbers.

    Parameters
    ----------
    pos_weight : float or sequence of float, optional
        Weight q of the positive class, >= 0: one, or one for each element of the last axis.

    Raises
    ------
    ConfigurationError
        If `pos_weight` is negative or not finite, or (by `forward`) has a wrong length.
    ShapeError
        By `forward`, if the shapes do not fit: nothing is broadcast.
    DataError
        By `prepare`, for targets outside of [0, 1] or that are not real numbers.

    Notes
    -----
    Cost: one exponential, one logarithm and 8 FLOPs an element forward, 8 FLOPs backward. The
    cache keeps logits, targets and ``exp(-abs(z))``. As in PyTorch, `pos_weight` does not enter
    the divisor.

    Examples
    --------
    >>> import numpy as np
    >>> loss = BinaryCrossEntropy()
    >>> round(float(loss.forward(np.asarray([[0.0], [1e4]]), np.asarray([1, 1]))), 6)
    0.346574
    >>> loss.backward().tolist()
    [[-0.25], [0.0]]
    """

    def __init__(self, pos_weight: float | Iterable[float] | None = None) -> None:
        super().__init__()
        self.pos_weight: float | tuple[float, ...] | None = None
        if isinstance(pos_weight, Iterable):
            numbers = checked_numbers("BinaryCrossEntropy", "pos_weight", pos_weight)
            self.pos_weight = numbers
            self._constant = Constant(numbers)
        elif pos_weight is not None:
            self.pos_weight = checked_number(
                "BinaryCrossEntropy", "pos_weight", pos_weight, low=0.0
            )

    def cost(self, input: Array, target: Array) -> Array:
        """Return ``(1 - t) * z + (1 + (q - 1) * t) * log(1 + exp(-z))``."""
        xp = array_namespace(input)
        # exp(-abs(z)) serves the logarithm here and the sigmoid in slope().
        small = xp.exp(-xp.abs(input))
        self.cache |= {"input": input, "target": target, "small": small}
        cost = xp.log1p(small)
        if self.pos_weight is None:
            cost += xp.maximum(input, 0.0)
            cost -= input * target
            return cost
        positive = self._positive_weight(input)
        self.cache["positive"] = positive
        cost -= xp.minimum(input, 0.0)
        cost *= 1.0 + (positive - 1.0) * target
        cost += (1.0 - target) * input
        return cost

    def slope(self) -> Array:
        """Return ``(1 - t) * p - q * t * (1 - p)``."""
        input, target, small = self.saved("input"), self.saved("target"), self.saved("small")
        xp = array_namespace(input)
        gradient = xp.where(input >= 0, 1.0, small)
        small += 1.0
        gradient /= small
        if self.pos_weight is not None:
            gradient *= 1.0 + (self.saved("positive") - 1.0) * target
            target = self._positive_weight(input) * target
        gradient -= target
        return gradient

    def prepare(self, target: Any, output_shape: tuple[int | None, ...] | None) -> Any:
        """Check that targets are numbers in [0, 1] of the output's shape; see `Loss.prepare`."""
        target = super().prepare(target, output_shape)
        bad = ~((target >= 0) & (target <= 1))
        if bad.any():
            row = int(bad.reshape(bad.shape[0], -1).any(axis=1).argmax())
            value = target[row][bad[row]].reshape(-1)[0]
            raise DataError(
                f"BinaryCrossEntropy: expected targets from 0 to 1, got {value} in row {row}"
            )
        return target

    def _positive_weight(self, input: Array) -> Any:
        if not isinstance(self.pos_weight, tuple):
            return self.pos_weight
        if input.ndim < 2 or input.shape[-1] != len(self.pos_weight):
            raise ConfigurationError(
                f"BinaryCrossEntropy: expected {len(self.pos_weight)} columns of logits, as many "
                f"as pos_weight has numbers, got an output of shape {tuple(input.shape)}"
            )
        return self._constant.like(input)
