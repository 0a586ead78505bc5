"""The fully connected layer."""

from __future__ import annotations

from .._checks import checked_flag
from .._standard import Array, array_namespace
from ..initializers import Initializer
from ..initializers import get as get_initializer
from ..random import Stream
from ._alone import build_alone
from ._shapes import checked_width, expect_last_axis
from .layer import Layer

__all__ = ["Linear"]


class Linear(Layer):
    """Multiply by a matrix of weights and add a bias: a fully connected layer.

    ::

        output = input @ W + b
        dinput = dout @ W.T
        dW     = input.T @ dout
        db     = sum(dout, axis=0)

    Further axes between the first and the last, such as time, are treated as rows of the batch.

    Parameters
    ----------
    input_dim : int
        Number of features that come in, >= 1.
    output_dim : int
        Number of features that go out, >= 1.
    bias : bool
        Whether there is a b.
    weight_initializer, bias_initializer : str or initializer
        How the first W and b are drawn; see `xpnn.initializers`.
    seed : int, optional
        Draw from this seed, 0 <= seed < 2**64, and not from the network's. A layer that is used
        alone and has no seed draws from fresh entropy.

    Raises
    ------
    ConfigurationError
        If a width is below 1, an initializer is unknown or the seed is out of its range.
    ShapeError
        In the forward pass, unless the input is (N, input_dim) or (N, ..., input_dim).

    Notes
    -----
    Arrays: input (N, ..., input_dim), output (N, ..., output_dim), W (input_dim, output_dim),
    b (output_dim,), all of one floating-point dtype. By default W is normal with variance
    2 / input_dim and b is zero. Both modes do the same.

    Cost in FLOPs a row: 2 input_dim output_dim forward, twice that backward. The cache keeps the
    input, without a copy.

    Source: the initial weights are those of He, Zhang, Ren and Sun, "Delving Deep into
    Rectifiers", ICCV 2015, equation 10.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Linear(3, 2, weight_initializer="ones")
    >>> layer.forward(np.asarray([[1.0, 2.0, 3.0]])).tolist()
    [[6.0, 6.0]]
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        bias: bool = True,
        weight_initializer: str | Initializer = "he_normal",
        bias_initializer: str | Initializer = "zeros",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.input_dim = checked_width(self.name, "input_dim", input_dim)
        self.output_dim = checked_width(self.name, "output_dim", output_dim)
        self.bias = checked_flag(self.name, "bias", bias)
        for initializer in (weight_initializer, bias_initializer):
            get_initializer(initializer)  # mistakes show here, not at the first step
        self.weight_initializer = weight_initializer
        self.bias_initializer = bias_initializer
        self.seed = None if seed is None else Stream(seed).seed

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(N, ..., input_dim) becomes (N, ..., output_dim)."""
        expect_last_axis(self.name, self.input_dim, input_shape)
        return (*input_shape[:-1], self.output_dim)

    def build(self, rng: Stream) -> None:
        """Draw W and b where they are missing."""
        if "W" not in self.params:
            draw = get_initializer(self.weight_initializer)
            self.params["W"] = draw((self.input_dim, self.output_dim), rng.at(0))
        if self.bias and "b" not in self.params:
            draw = get_initializer(self.bias_initializer)
            self.params["b"] = draw((self.output_dim,), rng.at(1))

    def forward(self, input: Array) -> Array:
        """Return ``input @ W + b``."""
        shape = self.output_shape(input.shape)
        if len(self.params) < 1 + self.bias:
            build_alone(self, self.seed, input)
        xp = array_namespace(input)
        rows = xp.reshape(input, (-1, self.input_dim))
        self.cache["rows"] = rows
        output = rows @ self.params["W"]
        if self.bias:
            output += self.params["b"]
        return xp.reshape(output, shape)

    def backward(self, dout: Array) -> Array:
        """Return ``dout @ W.T``, and write the gradients of W and b."""
        rows = self.saved("rows")
        xp = array_namespace(dout)
        drows = xp.reshape(dout, (-1, self.output_dim))
        self.grads["W"] = rows.T @ drows
        if self.bias:
            self.grads["b"] = xp.sum(drows, axis=0)
        dinput = drows @ self.params["W"].T
        return xp.reshape(dinput, (*dout.shape[:-1], self.input_dim))
