"""Group normalization."""

from __future__ import annotations

import math

from .._checks import checked, checked_number
from .._standard import Array, array_namespace
from ..errors import ConfigurationError, ShapeError
from ..initializers import Ones, Zeros
from ..random import Stream
from ._alone import build_alone
from ._shapes import checked_width
from ._windows import CHANNELS_LAST
from .layer import Layer

__all__ = ["GroupNorm"]


class GroupNorm(Layer):
    """Normalize each sample over groups of its channels, then scale and shift each channel.

    With the channels of a sample, and all that is behind them, cut into groups of n numbers::

        mean       = sum of a group / n
        variance   = sum of (group - mean) ** 2 / n
        inverse    = 1 / sqrt(variance + epsilon)
        normalized = (input - mean) * inverse
        output     = gamma * normalized + beta

        dgamma = sum of dout * normalized over the batch and all pixels
        dbeta  = sum of dout over the same
        dnormalized = dout * gamma
        dinput = inverse * (dnormalized - mean of dnormalized over the group
                            - normalized * mean of dnormalized * normalized over the group)

    Unlike `BatchNorm2d` it does the same for every size of the batch. One group normalizes a whole
    sample, as many groups as channels normalize each channel of a sample alone.

    Parameters
    ----------
    groups : int
        Number of groups, >= 1.
    dim : int
        Number of channels, >= 1, divisible by ``groups``.
    epsilon : float
        What is added to the variance, > 0.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range, or dim is not divisible by the groups.
    ShapeError
        In the forward pass, unless the input is (N, dim) or (N, dim, ...), with at least one pixel.

    Notes
    -----
    Arrays: input and output (N, dim, ...), such as images (N, dim, H, W), gamma (dim,) at first 1,
    beta (dim,) at first 0, all of one floating-point dtype. Both modes do the same. The variance is
    the biased one, divided by n.

    Cost in FLOPs an element: 7 forward, 11 backward. The cache keeps ``normalized``, as large as
    the input, and ``inverse``, one number a group.

    Source: Wu and He, "Group Normalization", ECCV 2018, equations 1, 2, 6 and 7.

    Examples
    --------
    >>> import numpy as np
    >>> layer = GroupNorm(2, dim=4, epsilon=1e-12)
    >>> layer.forward(np.asarray([[1.0, 3.0, 9.0, 7.0]])).round(6).tolist()
    [[-1.0, 1.0, 1.0, -1.0]]
    """

    epsilon: float = checked(checked_number, low=0.0, open_low=True)

    def __init__(self, groups: int, dim: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.groups = checked_width(self.name, "groups", groups)
        self.dim = checked_width(self.name, "dim", dim)
        if self.dim % self.groups:
            raise ConfigurationError(
                f"{self.name}: dim must be divisible by groups = {self.groups}, got {self.dim}"
            )
        self.epsilon = epsilon

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (N, dim, ...), the shape of the input."""
        if len(input_shape) < 2 or input_shape[1] != self.dim or 0 in input_shape[2:]:
            order = remedy = ""
            if len(input_shape) > 2 and input_shape[-1] == self.dim != input_shape[1]:
                order, remedy = CHANNELS_LAST
            raise ShapeError(
                f"{self.name}: expected input of shape (N, {self.dim}, ...){order}, "
                f"got {tuple(input_shape)}{remedy}"
            )
        return input_shape

    def build(self, rng: Stream) -> None:
        """Make gamma and beta where they are missing."""
        if "gamma" not in self.params:
            self.params["gamma"] = Ones()((self.dim,), rng)
        if "beta" not in self.params:
            self.params["beta"] = Zeros()((self.dim,), rng)

    def forward(self, input: Array) -> Array:
        """Return ``gamma * normalized + beta``."""
        shape = self.output_shape(input.shape)
        if len(self.params) < 2:
            build_alone(self, None, input)
        xp = array_namespace(input)
        grouped = self._grouped(input)
        centered = grouped - xp.mean(grouped, axis=-1, keepdims=True)
        variance = xp.mean(centered * centered, axis=-1, keepdims=True)
        inverse = (variance + self.epsilon) ** -0.5
        centered *= inverse
        normalized = xp.reshape(centered, shape)
        output = normalized * self._along(self.params["gamma"], len(shape))
        output += self._along(self.params["beta"], len(shape))
        self.cache = {"normalized": normalized, "inverse": inverse}
        return output

    def backward(self, dout: Array) -> Array:
        """Return the gradient of the input, and write those of gamma and beta."""
        normalized, inverse = self.saved("normalized"), self.saved("inverse")
        xp = array_namespace(dout)
        others = (0, *range(2, dout.ndim))
        self.grads["gamma"] = xp.sum(dout * normalized, axis=others)
        self.grads["beta"] = xp.sum(dout, axis=others)
        dnormalized = self._grouped(dout * self._along(self.params["gamma"], dout.ndim))
        normalized = self._grouped(normalized)
        dinput = dnormalized - xp.mean(dnormalized, axis=-1, keepdims=True)
        dinput -= normalized * xp.mean(dnormalized * normalized, axis=-1, keepdims=True)
        dinput *= inverse
        return xp.reshape(dinput, dout.shape)

    def _grouped(self, input: Array) -> Array:
        """(N, dim, ...) as (N, groups, n)."""
        n = math.prod(input.shape[1:]) // self.groups
        return array_namespace(input).reshape(input, (input.shape[0], self.groups, n))

    def _along(self, vector: Array, axes: int) -> Array:
        """Give a vector (dim,) a shape that is broadcast against an input of some axes."""
        return array_namespace(vector).reshape(vector, (self.dim, *(1 for _ in range(axes - 2))))
