"""Sequences of several lengths in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from .._checks import checked_number
from .._standard import Array, array_namespace
from ..errors import ShapeError
from ._chain import Chain, every_layer
from ._sequence import SequenceLayer, telling
from .layer import Layer

__all__ = ["Masked"]


class Masked(Layer):
    """Run layers on sequences of several lengths, whose missing steps have been filled up.

    ::

        mask[n, t] = input[n, t] != padding, in at least one feature
        output = layers(input), of which those for sequences leave out the steps with mask 0

    The layers for sequences inside, at any depth, see the mask: recurrent layers leave their state
    as it is at a step that is not there, `LastStep` takes the last one that is, means do not count
    it and `MultiHeadAttention` does not look at it. So the data say themselves which steps are
    there, and go through `fit`, `predict` and files as any other.

    Parameters
    ----------
    layers : Layer or sequence of Layer
        In the order of the forward pass.
    padding : float
        What fills missing steps: an id, or the value of all features. One that no step that is
        there has; 0 often is the id of nothing.

    Raises
    ------
    ConfigurationError
        If there is something that is no layer, or `padding` is no number.
    ShapeError
        In the forward pass, unless the input is ids (N, T) or steps (N, T, D), or by one of the
        layers.

    Notes
    -----
    Arrays: input ids (N, T) or (N, T, D), output as the layers have it. Missing steps may be
    anywhere. A sequence without any step gives the initial state. Layers outside know of no mask:
    close with `LastStep`, a mean over time, or a recurrent layer without ``return_sequences``. The
    layers of layer 3 have keys such as "3.0.W". Both modes do the same.

    Cost: that of the layers, and 1 FLOP an element of the input. The cache keeps nothing besides.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn.layers import MeanOverTime
    >>> layer = Masked([MeanOverTime()], padding=-1)
    >>> layer.forward(np.asarray([[[2.0], [4.0], [-1.0]], [[5.0], [-1.0], [-1.0]]])).tolist()
    [[3.0], [5.0]]
    """

    def __init__(self, layers: Layer | Sequence[Layer], padding: float = 0) -> None:
        super().__init__()
        self.layers = layers
        checked_number(self.name, "padding", padding)
        self.padding = padding
        self._layers = Chain(self.name, "layers", layers)

    def sublayers(self) -> Iterator[tuple[str, Layer]]:
        """Yield the layers."""
        yield from self._layers.named()

    @property
    def takes_ids(self) -> bool:  # type: ignore[override]
        """Whether the first layer takes ids."""
        return self._layers.takes_ids

    def check_ids(self, ids: Array) -> None:
        """Let the first layer check its ids."""
        self._layers.check_ids(ids)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape of the output of the last layer."""
        if len(input_shape) != (2 if self.takes_ids else 3):
            wanted = "(N, T)" if self.takes_ids else "(N, T, D)"
            raise ShapeError(
                f"{self.name}: expected input of shape {wanted}, got {tuple(input_shape)}"
            )
        return self._layers.output_shape(input_shape)

    def forward(self, input: Array) -> Array:
        """Return the output of the last layer."""
        self.output_shape(input.shape)
        self.cache["forward"] = True
        with self._telling(input):
            return self._layers.forward(input)

    def _telling(self, input: Array) -> AbstractContextManager[None]:
        """Let the layers for sequences inside know meanwhile which steps are there."""
        there = input != self.padding
        if input.ndim == 3:
            there = array_namespace(input).any(there, axis=-1)
        inside = [
            layer
            for outer in self._layers.layers
            for layer in every_layer(outer)
            if isinstance(layer, SequenceLayer)
        ]
        return telling(inside, there)

    def backward(self, dout: Array) -> Array:
        """Return the gradient by the input of the first layer."""
        self.saved("forward")
        return self._layers.backward(dout)
