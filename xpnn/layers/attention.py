"""Attention."""

from __future__ import annotations

import math
from typing import ClassVar

from .._checks import checked_flag
from .._standard import Array, arange, array_namespace
from ..errors import ConfigurationError
from ..initializers import Initializer
from ..initializers import get as get_initializer
from ..random import Stream
from ._alone import build_alone
from ._sequence import SequenceLayer, expect_sequences
from ._shapes import checked_width

__all__ = ["MultiHeadAttention"]

#: The score of a step that must not be seen: its exponential is 0 beside any other.
_UNSEEN = -1e30


class MultiHeadAttention(SequenceLayer):
    """Let each step of a sequence look at all steps, several times side by side.

    ::

        q, k, v = the three parts of input @ W + b, each cut into heads of d = dim / heads features
        scores  = q @ k.T / sqrt(d)                   for each sequence and each head: (T, T)
        weights = softmax(scores, axis=-1)            over the steps that may be seen
        output  = [weights @ v of all heads side by side] @ Wo + bo

        dweights = dheads @ v.T, where dheads = dout @ Wo.T; dv = weights.T @ dheads
        dscores  = weights * (dweights - sum(dweights * weights, axis=-1)),
                   whose sum is sum(dheads * heads, axis=-1)
        dq = dscores @ k / sqrt(d), dk = dscores.T @ q / sqrt(d)
        dinput = [dq, dk, dv] @ W.T, dW = input.T @ [dq, dk, dv], db = sum of [dq, dk, dv]
        dWo = heads.T @ dout, dbo = sum of dout

    Parameters
    ----------
    dim : int
        Number of features of a step, before and after, >= 1.
    heads : int
        How many times, >= 1; divides ``dim``.
    causal : bool
        Whether a step sees only itself and the steps before it.
    weight_initializer, bias_initializer : str or initializer
        How the first W and Wo, b and bo are drawn; see `xpnn.initializers`.
    seed : int, optional
        Draw from this seed, 0 <= seed < 2**64, and not from the network's. A layer that is used
        alone and has no seed draws from fresh entropy.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range, or dim is not divisible by the heads.
    ShapeError
        In the forward pass, unless the input is (N, T, dim) with T >= 1, or if a mask or lengths
        are for another batch.
    DataError
        In the forward pass, if a length is longer than the sequence.

    Notes
    -----
    Arrays: input and output (N, T, dim), W (dim, 3 dim), b (3 dim,), Wo (dim, dim), bo (dim,), all
    of one floating-point dtype. By default W is uniform with variance 2 / (4 dim), Wo with variance
    1 / dim, b and bo are zero. Both modes do the same.

    Sequences of several lengths: see `Masked`, or set ``lengths``. No step looks at one that is not
    there; a step that may see none gets bo.

    Cost in FLOPs a sequence: 8 T dim**2 + 4 T**2 dim forward, twice that backward. The cache keeps
    the weights, T**2 numbers for each head and sequence, q, k, v and the input.

    Source: Vaswani et al., "Attention Is All You Need", NIPS 2017, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> MultiHeadAttention(8, heads=2).forward(np.zeros((1, 3, 8))).shape
    (1, 3, 8)
    """

    roles: ClassVar[dict[str, str]] = {"W": "weight", "b": "bias", "Wo": "weight", "bo": "bias"}

    def __init__(
        self,
        dim: int,
        heads: int,
        causal: bool = False,
        weight_initializer: str | Initializer = "glorot_uniform",
        bias_initializer: str | Initializer = "zeros",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.dim = checked_width(self.name, "dim", dim)
        self.heads = checked_width(self.name, "heads", heads)
        if self.dim % self.heads:
            raise ConfigurationError(
                f"{self.name}: dim must be divisible by heads = {self.heads}, got {self.dim}"
            )
        self.causal = checked_flag(self.name, "causal", causal)
        for initializer in (weight_initializer, bias_initializer):
            get_initializer(initializer)  # mistakes show here, not at the first step
        self.weight_initializer = weight_initializer
        self.bias_initializer = bias_initializer
        self.seed = None if seed is None else Stream(seed).seed

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (N, T, dim), the shape of the input."""
        expect_sequences(self.name, self.dim, input_shape)
        return input_shape

    def cache_size(self, input_shape: tuple[int, ...]) -> int:
        """N T (4 dim + heads T): q, k, v and what the heads have seen; the weights."""
        n, t, _ = input_shape
        return n * t * (4 * self.dim + self.heads * t)

    def build(self, rng: Stream) -> None:
        """Draw W, b, Wo and bo where they are missing."""
        dim = self.dim
        for part, (name, shape) in enumerate(
            {"W": (dim, 3 * dim), "b": (3 * dim,), "Wo": (dim, dim), "bo": (dim,)}.items()
        ):
            if name not in self.params:
                weight = self.roles[name] == "weight"
                draw = get_initializer(self.weight_initializer if weight else self.bias_initializer)
                self.params[name] = draw(shape, rng.at(part))

    def forward(self, input: Array) -> Array:
        """Return what the steps have seen."""
        shape = self.output_shape(input.shape)
        if len(self.params) < 4:
            build_alone(self, self.seed, input)
        xp = array_namespace(input)
        rows = xp.reshape(input, (-1, self.dim))
        products = rows @ self.params["W"]
        products += self.params["b"]
        q, k, v = (
            self._split(products[:, i * self.dim : (i + 1) * self.dim], shape) for i in range(3)
        )
        q = q * self._scale
        scores = q @ xp.matrix_transpose(k)
        seen = self._seen(input)
        if seen is not None:
            scores = xp.where(seen, scores, _UNSEEN)
        scores -= xp.max(scores, axis=-1, keepdims=True)
        weights = xp.exp(scores)
        del scores  # as large as the weights, and not needed any more
        if seen is not None:
            weights *= xp.astype(seen, weights.dtype)
        # The sum is at least 1, or 0 where nothing is seen.
        weights /= xp.maximum(xp.sum(weights, axis=-1, keepdims=True), 0.5)
        heads = self._join(weights @ v)
        self.cache = {"rows": rows, "parts": (q, k, v), "weights": weights, "heads": heads}
        output = heads @ self.params["Wo"]
        output += self.params["bo"]
        return xp.reshape(output, shape)

    def backward(self, dout: Array) -> Array:
        """Return the gradient of the input, and write those of the parameters."""
        rows, (q, k, v) = self.saved("rows"), self.saved("parts")
        weights, heads = self.saved("weights"), self.saved("heads")
        xp = array_namespace(dout)
        transpose = xp.matrix_transpose
        drows = xp.reshape(dout, heads.shape)
        self.grads["Wo"] = transpose(heads) @ drows
        self.grads["bo"] = xp.sum(drows, axis=0)
        djoined = drows @ transpose(self.params["Wo"])
        dheads = self._split(djoined, dout.shape)
        dscores = dheads @ transpose(v)
        # The sum of dweights * weights over the steps is that of dheads * heads over the features.
        sums = xp.sum(self._split(djoined * heads, dout.shape), axis=-1, keepdims=True)
        dscores -= sums
        dscores *= weights
        dq = dscores @ k
        dq *= self._scale
        parts = (dq, transpose(dscores) @ q, transpose(weights) @ dheads)
        # The heads of q, then those of k and v, side by side for each step.
        beside = xp.concat([xp.permute_dims(part, (0, 2, 1, 3)) for part in parts], axis=2)
        dproducts = xp.reshape(beside, (rows.shape[0], 3 * self.dim))
        self.grads["W"] = transpose(rows) @ dproducts
        self.grads["b"] = xp.sum(dproducts, axis=0)
        return xp.reshape(dproducts @ transpose(self.params["W"]), dout.shape)

    @property
    def _scale(self) -> float:
        return 1.0 / math.sqrt(self.dim / self.heads)

    def _seen(self, input: Array) -> Array | None:
        """Tell which steps (last axis) each step (the axis before) sees; None for all."""
        there = self._steps_there(input)
        seen = None if there is None else there[:, None, None, :]
        if self.causal:
            numbers = arange(input.shape[1], like=input)
            past = numbers[None, :] <= numbers[:, None]
            seen = past if seen is None else array_namespace(input).logical_and(seen, past)
        return seen

    def _split(self, rows: Array, shape: tuple[int, ...]) -> Array:
        """Rows (N T, dim) as (N, heads, T, d)."""
        xp = array_namespace(rows)
        heads = (*shape[:2], self.heads, self.dim // self.heads)
        return xp.permute_dims(xp.reshape(rows, heads), (0, 2, 1, 3))

    def _join(self, heads: Array) -> Array:
        """Undo `_split`."""
        xp = array_namespace(heads)
        rows = (heads.shape[0] * heads.shape[2], self.dim)
        return xp.reshape(xp.permute_dims(heads, (0, 2, 1, 3)), rows)
