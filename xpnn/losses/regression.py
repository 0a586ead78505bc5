"""Losses for targets that are numbers."""

from __future__ import annotations

from .._checks import checked_number
from .._standard import Array, array_namespace, clip, sign
from .elementwise import ElementwiseLoss

__all__ = ["Huber", "MeanAbsoluteError", "MeanSquaredError"]


class MeanSquaredError(ElementwiseLoss):
    """Mean of the squared differences.

    ``loss = mean((input - target) ** 2)``; ``backward = 2 * (input - target) / size``. The mean is
    over all elements; with sample weights w it is ``sum(w_i * mean_j(d_ij ** 2)) / sum(w)``.
    The unit is the square of the target's.

    `forward` takes the output (N, ...), floating-point, and a target of the same shape, or (N,)
    for an output (N, 1).

    Raises
    ------
    ShapeError
        By `forward`, if the shapes do not fit: nothing is broadcast.
    DataError
        By `prepare`, for targets that are not real numbers.

    Notes
    -----
    Cost: 3 FLOPs an element forward, 1 backward. The cache keeps the differences.

    Examples
    --------
    >>> import numpy as np
    >>> loss = MeanSquaredError()
    >>> float(loss.forward(np.asarray([[1.0], [3.0]]), np.asarray([0.0, 1.0])))
    2.5
    >>> loss.backward().tolist()
    [[1.0], [2.0]]
    """

    def cost(self, input: Array, target: Array) -> Array:
        """Return ``(input - target) ** 2``."""
        difference = input - target
        self.cache["difference"] = difference
        return difference * difference

    def slope(self) -> Array:
        """Return ``2 * (input - target)``."""
        difference = self.saved("difference")
        difference *= 2.0
        return difference


class MeanAbsoluteError(ElementwiseLoss):
    """Mean of the absolute differences.

    ``loss = mean(abs(input - target))``; ``backward = sign(input - target) / size``, 0 where they
    are equal. The mean is over all elements; with sample weights w it is
    ``sum(w_i * mean_j(abs(d_ij))) / sum(w)``. The unit is the target's.

    `forward` takes the output (N, ...), floating-point, and a target of the same shape, or (N,)
    for an output (N, 1).

    Raises
    ------
    ShapeError
        By `forward`, if the shapes do not fit: nothing is broadcast.
    DataError
        By `prepare`, for targets that are not real numbers.

    Notes
    -----
    Cost: 3 FLOPs an element forward, 5 backward. The cache keeps the differences.

    Examples
    --------
    >>> import numpy as np
    >>> loss = MeanAbsoluteError()
    >>> float(loss.forward(np.asarray([[1.0], [3.0]]), np.asarray([0.0, 4.0])))
    1.0
    >>> loss.backward().tolist()
    [[0.5], [-0.5]]
    """

    def cost(self, input: Array, target: Array) -> Array:
        """Return ``abs(input - target)``."""
        difference = input - target
        self.cache["difference"] = difference
        return array_namespace(input).abs(difference)

    def slope(self) -> Array:
        """Return ``sign(input - target)``."""
        return sign(self.saved("difference"))


class Huber(ElementwiseLoss):
    """Mean of a cost that is quadratic near 0 and linear far from it.

    With ``d = input - target``: ``loss = mean(d ** 2 / 2)`` where ``abs(d) <= delta``, else
    ``mean(delta * (abs(d) - delta / 2))``; ``backward = clip(d, -delta, delta) / size``. The mean
    is over all elements; sample weights as in `MeanSquaredError`.
    The unit is the square of the target's.

    `forward` takes the output (N, ...), floating-point, and a target of the same shape, or (N,)
    for an output (N, 1).

    Parameters
    ----------
    delta : float
        Difference from which on the cost is linear, finite and > 0, in the target's unit.

    Raises
    ------
    ConfigurationError
        If `delta` is out of its range.
    ShapeError
        By `forward`, if the shapes do not fit: nothing is broadcast.
    DataError
        By `prepare`, for targets that are not real numbers.

    Notes
    -----
    Cost: 7 FLOPs an element forward, 3 backward. The cache keeps the differences.

    Source: Huber, "Robust Estimation of a Location Parameter", Ann. Math. Statist. 35 (1964).

    Examples
    --------
    >>> import numpy as np
    >>> loss = Huber(delta=2.0)
    >>> float(loss.forward(np.asarray([[1.0], [5.0]]), np.asarray([0.0, 0.0])))
    4.25
    >>> loss.backward().tolist()
    [[0.5], [1.0]]
    """

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        self.delta = checked_number("Huber", "delta", delta, low=0.0, open_low=True)

    def cost(self, input: Array, target: Array) -> Array:
        """Return ``c * (abs(d) - c / 2)`` with ``c = min(abs(d), delta)``: both cases in one."""
        xp = array_namespace(input)
        difference = input - target
        self.cache["difference"] = difference
        distance = xp.abs(difference)
        near = xp.minimum(distance, self.delta)
        distance -= 0.5 * near
        distance *= near
        return distance

    def slope(self) -> Array:
        """Return ``clip(d, -delta, delta)``."""
        return clip(self.saved("difference"), -self.delta, self.delta)
