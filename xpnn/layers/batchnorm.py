"""Batch normalization."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

from .._checks import checked, checked_number
from .._standard import Array, array_namespace
from ..errors import ShapeError
from ..initializers import Ones, Zeros
from ..random import Stream
from ._alone import build_alone
from ._shapes import checked_width
from ._windows import expect_channels
from .layer import Layer

__all__ = ["BatchNorm", "BatchNorm2d"]


class _Normalization(Layer):
    """The mathematics that `BatchNorm` and `BatchNorm2d` share.

    A subclass sets `axes`, over which the statistics are taken, and says how a vector of one number
    for each feature lies along the input.
    """

    axes: ClassVar[tuple[int, ...]]

    epsilon: float = checked(checked_number, low=0.0, open_low=True)
    momentum: float = checked(checked_number, low=0.0, high=1.0)

    def __init__(self, dim: int, epsilon: float = 1e-5, momentum: float = 0.9) -> None:
        super().__init__()
        self.dim = checked_width(self.name, "dim", dim)
        self.epsilon = epsilon
        self.momentum = momentum

    @abstractmethod
    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input."""

    @abstractmethod
    def _along(self, vector: Array) -> Array:
        """Return a vector (dim,) in a shape that is broadcast against the input."""

    def build(self, rng: Stream) -> None:
        """Make gamma, beta and the running averages where they are missing."""
        for arrays, name, initializer in (
            (self.params, "gamma", Ones()),
            (self.params, "beta", Zeros()),
            (self.buffers, "running_mean", Zeros()),
            (self.buffers, "running_var", Ones()),
        ):
            if name not in arrays:
                arrays[name] = initializer((self.dim,), rng)

    def forward(self, input: Array) -> Array:
        """Return ``gamma * (input - mean) * inverse + beta``."""
        shape = self.output_shape(input.shape)
        if self.mode == "train" and 0 in shape:
            raise ShapeError(
                f"{self.name}: expected at least one row in training, got {tuple(input.shape)}"
            )
        if len(self.params) + len(self.buffers) < 4:
            build_alone(self, None, input)
        xp = array_namespace(input)
        if self.mode == "train":
            mean = xp.mean(input, axis=self.axes)
            centered = input - self._along(mean)
            variance = xp.mean(centered * centered, axis=self.axes)
            self._average("running_mean", mean)
            self._average("running_var", variance)
        else:
            centered = input - self._along(self.buffers["running_mean"])
            variance = self.buffers["running_var"]
        inverse = (variance + self.epsilon) ** -0.5
        # The factors of a feature are multiplied first: one pass over the batch less.
        scale = self._along(self.params["gamma"] * inverse)
        output = centered * scale
        output += self._along(self.params["beta"])
        self.cache = {"centered": centered, "inverse": inverse, "scale": scale, "mode": self.mode}
        return output

    def backward(self, dout: Array) -> Array:
        """Return the gradient of the input, and write those of gamma and beta."""
        centered, inverse, scale = (self.saved(name) for name in ("centered", "inverse", "scale"))
        xp = array_namespace(dout)
        dgamma = xp.sum(dout * centered, axis=self.axes) * inverse
        dbeta = xp.sum(dout, axis=self.axes)
        self.grads["gamma"], self.grads["beta"] = dgamma, dbeta
        if self.saved("mode") == "test":
            return dout * scale
        n = math.prod(dout.shape[axis] for axis in self.axes)
        # scale * (dout - dbeta / n - centered * inverse * dgamma / n)
        dinput = centered * self._along(inverse * dgamma / -n)
        dinput += dout
        dinput -= self._along(dbeta / n)
        dinput *= scale
        return dinput

    def _average(self, name: str, value: Array) -> None:
        """Move a running average towards the value of the batch."""
        average = self.buffers[name]  # the layer's own: changed in place where the library can
        average *= self.momentum
        average += (1.0 - self.momentum) * value
        self.buffers[name] = average


class BatchNorm(_Normalization):
    """Normalize each feature over the batch, then scale and shift it.

    ::

        mean     = sum(input, axis=0) / N                    in training; else running_mean
        variance = sum((input - mean) ** 2, axis=0) / N      in training; else running_var
        inverse  = 1 / sqrt(variance + epsilon)
        output   = gamma * (input - mean) * inverse + beta

        normalized = (input - mean) * inverse
        dgamma = sum(dout * normalized, axis=0)
        dbeta  = sum(dout, axis=0)
        dinput = gamma * inverse * (dout - dbeta / N - normalized * dgamma / N)    in training
        dinput = gamma * inverse * dout                                            in test mode

    Parameters
    ----------
    dim : int
        Number of features, >= 1.
    epsilon : float
        What is added to the variance, > 0, in both modes.
    momentum : float
        Fraction of the old running value that is kept, in [0, 1].

    Raises
    ------
    ConfigurationError
        If an argument is out of its range.
    ShapeError
        In the forward pass, unless the input is (N, dim), in training with N >= 1.

    Notes
    -----
    Arrays: input and output (N, dim), parameters gamma (dim,) at first 1 and beta (dim,) at first
    0, buffers running_mean (dim,) at first 0 and running_var (dim,) at first 1, all of one
    floating-point dtype.

    Modes: training normalizes by the mean and variance of the batch, and moves the buffers::

        running_mean = momentum * running_mean + (1 - momentum) * mean
        running_var  = momentum * running_var  + (1 - momentum) * variance

    Test mode normalizes by the buffers and leaves them. Every variance is the biased one, divided
    by N. (PyTorch keeps N / (N - 1) times the variance in its buffer, and its momentum of 0.1 is
    one of 0.9 here.) A batch of one row has variance 0, so in training its output is beta.

    Cost in FLOPs an element: 6 forward, 9 backward. The cache keeps ``input - mean``, as large as
    the input, ``inverse``, and its product with gamma.

    Source: Ioffe and Szegedy, "Batch Normalization", ICML 2015, algorithm 1 and the gradients of
    section 3. The paper takes N / (N - 1) times the mean variance of many batches in the test
    (algorithm 2, step 10); the running averages of the biased one are those of Keras and ONNX.

    Examples
    --------
    >>> import numpy as np
    >>> layer = BatchNorm(1, epsilon=1e-12)
    >>> layer.forward(np.asarray([[1.0], [3.0]])).round(6).tolist()
    [[-1.0], [1.0]]
    >>> layer.buffers["running_mean"].round(6).tolist()
    [0.2]
    """

    axes = (0,)
    batch_statistics = True

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (N, dim), the shape of the input."""
        if len(input_shape) != 2 or input_shape[1] != self.dim:
            raise ShapeError(
                f"{self.name}: expected input of shape (N, {self.dim}), got {tuple(input_shape)}"
            )
        return input_shape

    def _along(self, vector: Array) -> Array:
        return vector


class BatchNorm2d(_Normalization):
    """Normalize each channel over the batch and all pixels, then scale and shift it.

    As `BatchNorm`, with the N H W pixels of a channel in the place of the N rows of a feature::

        mean     = sum(input, axis=(0, 2, 3)) / (N H W)                in training
        variance = sum((input - mean) ** 2, axis=(0, 2, 3)) / (N H W)  in training
        inverse  = 1 / sqrt(variance + epsilon)
        output   = gamma * (input - mean) * inverse + beta

        normalized = (input - mean) * inverse
        dgamma = sum(dout * normalized, axis=(0, 2, 3))
        dbeta  = sum(dout, axis=(0, 2, 3))
        dinput = gamma * inverse * (dout - (dbeta + normalized * dgamma) / (N H W))  in training
        dinput = gamma * inverse * dout                                             in test mode

    Parameters
    ----------
    dim : int
        Number of channels, >= 1.
    epsilon : float
        What is added to the variance, > 0, in both modes.
    momentum : float
        Fraction of the old running value that is kept, in [0, 1].

    Raises
    ------
    ConfigurationError
        If an argument is out of its range.
    ShapeError
        In the forward pass, unless the input is (N, dim, H, W), in training with at least one
        pixel.

    Notes
    -----
    Arrays: input and output (N, dim, H, W), parameters gamma (dim,) at first 1 and beta (dim,) at
    first 0, buffers running_mean (dim,) at first 0 and running_var (dim,) at first 1, all of one
    floating-point dtype.

    Modes: as `BatchNorm`. Training normalizes by the statistics of the batch and moves the buffers;
    test mode normalizes by the buffers and leaves them. Every variance is the biased one, divided
    by N H W.

    Cost in FLOPs an element: 6 forward, 9 backward. The cache keeps ``input - mean``, as large as
    the input.

    Source: Ioffe and Szegedy, "Batch Normalization", ICML 2015, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> layer = BatchNorm2d(1, epsilon=1e-12)
    >>> layer.forward(np.asarray([[[[1.0, 3.0]]], [[[3.0, 1.0]]]])).round(6).tolist()
    [[[[-1.0, 1.0]]], [[[1.0, -1.0]]]]
    >>> layer.buffers["running_mean"].round(6).tolist()
    [0.2]
    """

    axes = (0, 2, 3)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (N, dim, H, W), the shape of the input."""
        expect_channels(self.name, self.dim, input_shape, axes=2)
        return input_shape

    def _along(self, vector: Array) -> Array:
        return vector[:, None, None]
