"""The block of a transformer."""

from __future__ import annotations

from collections.abc import Iterator

from .._checks import checked_flag, checked_number
from .._standard import Array
from ._chain import Chain
from ._sequence import ToldOutside, expect_sequences
from ._shapes import checked_width
from .attention import MultiHeadAttention
from .composites import Residual
from .dropout import Dropout
from .gelu import GELU
from .layer import Layer
from .layernorm import LayerNorm
from .linear import Linear

__all__ = ["TransformerBlock"]


class TransformerBlock(ToldOutside, Layer):
    """Attention, then two fully connected layers, each around a shortcut: a block of a transformer.

    ::

        middle = input + Dropout(MultiHeadAttention(LayerNorm(input)))
        output = middle + Dropout(Linear(GELU(Linear(LayerNorm(middle)))))

    Parameters
    ----------
    dim : int
        Number of features of a step, before and after, >= 1.
    heads : int
        Of the attention, >= 1; divides ``dim``.
    hidden_dim : int, optional
        Width between the two fully connected layers, >= 1. By default 4 dim.
    dropout : float
        Probability of dropping an element of what is added, 0 <= dropout <= 1.
    causal : bool
        Whether a step sees only itself and the steps before it.

    Attributes
    ----------
    mask, lengths
        As of `MultiHeadAttention`, handed on to it.

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
    Arrays: input and output (N, T, dim), of one floating-point dtype. The block is two `Residual`
    layers: in layer 3 the attention has the key "3.0.layers.1". Modes: as `Dropout`. Sequences of
    several lengths: see `Masked`, or set ``lengths``.

    Cost: that of the layers; with hidden_dim = 4 dim, 24 T dim**2 + 4 T**2 dim FLOPs a sequence
    forward and twice that backward.

    Source: Vaswani et al., "Attention Is All You Need", NIPS 2017, section 3.1. The normalization
    comes first in each branch, which makes training stable without a slow start: Xiong et al., "On
    Layer Normalization in the Transformer Architecture", ICML 2020.

    Examples
    --------
    >>> import numpy as np
    >>> TransformerBlock(8, heads=2, causal=True).forward(np.zeros((1, 3, 8))).shape
    (1, 3, 8)
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden_dim: int | None = None,
        dropout: float = 0.0,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.dim = checked_width(self.name, "dim", dim)
        self.heads = checked_width(self.name, "heads", heads)
        width = 4 * self.dim if hidden_dim is None else hidden_dim
        width = checked_width(self.name, "hidden_dim", width)
        self.hidden_dim = None if hidden_dim is None else width
        self.dropout = checked_number(self.name, "dropout", dropout, low=0.0, high=1.0)
        self.causal = checked_flag(self.name, "causal", causal)
        attention = MultiHeadAttention(self.dim, self.heads, self.causal)
        first, last = Linear(self.dim, width), Linear(width, self.dim)
        parts: list[list[Layer]] = [
            [LayerNorm(self.dim), attention, Dropout(self.dropout)],
            [LayerNorm(self.dim), first, GELU(), last, Dropout(self.dropout)],
        ]
        self._layers = Chain(self.name, "layers", [Residual(part) for part in parts])
        self._told = (attention,)

    def sublayers(self) -> Iterator[tuple[str, Layer]]:
        """Yield the two residual layers."""
        yield from self._layers.named()

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (N, T, dim), the shape of the input."""
        expect_sequences(self.name, self.dim, input_shape)
        return input_shape

    def forward(self, input: Array) -> Array:
        """Return the output of the second residual layer."""
        self.output_shape(input.shape)
        self.cache["forward"] = True
        return self._layers.forward(input)

    def backward(self, dout: Array) -> Array:
        """Return the gradient of the input, after the layers have written theirs."""
        self.saved("forward")
        return self._layers.backward(dout)
