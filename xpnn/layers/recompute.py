"""Layers that are run again in the backward pass, so that they keep nothing until then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .._standard import Array, array_namespace
from ._chain import Chain, every_layer
from ._sequence import SequenceLayer
from .layer import Layer

__all__ = ["Recompute"]

#: What the layers may be told from outside before a forward pass.
_CIRCUMSTANCES = ("mode", "stream", "step", "lengths", "initial")
_Circumstances = list[tuple[Layer, dict[str, Any]]]


class Recompute(Layer):
    """Run layers, keep their input only, and run them again when the gradient comes back.

    ::

        output = layers(input)
        dinput = gradient of the input by the layers, after another forward pass of theirs

    A block of layers keeps what each of them needs for the backward pass. Inside of this one it
    does so for a moment only: a deep network of such blocks takes less memory, and more time.

    Parameters
    ----------
    layers : Layer or sequence of Layer
        In the order of the forward pass.

    Raises
    ------
    ConfigurationError
        If there is something that is no layer.
    ShapeError
        In the forward pass, by one of the layers.

    Notes
    -----
    Arrays: input and output as the layers have them. The layers of layer 3 have keys such as
    "3.0.W". Both modes do the same.

    Results are those of the layers, bit for bit: masks are drawn from the same place of the random
    stream, the second pass sees the same masks of sequences and the same initial states, and
    buffers, such as the running averages of `BatchNorm`, change in the first pass only. A layer of
    your own has to compute the same when it is run again.

    Cost: that of the layers, whose forward pass counts twice. The cache keeps the input.

    Source: Chen, Xu, Zhang and Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016
    (arXiv:1604.06174), section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn.layers import Tanh
    >>> layer = Recompute([Tanh(), Tanh()])
    >>> layer.forward(np.asarray([[0.5]])).round(4).tolist()
    [[0.4318]]
    >>> layer.backward(np.asarray([[1.0]])).round(4).tolist()
    [[0.6398]]
    """

    def __init__(self, layers: Layer | Sequence[Layer]) -> None:
        super().__init__()
        self.layers = layers
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
        return self._layers.output_shape(input_shape)

    def forward(self, input: Array) -> Array:
        """Return the output of the last layer, and let all of them forget."""
        circumstances = self._circumstances()
        output = self._layers.forward(input)
        for layer, _ in circumstances:
            layer.cache.clear()
        self.cache = {"input": input, "circumstances": circumstances}
        return output

    def backward(self, dout: Array) -> Array:
        """Run the layers again, and return the gradient by the input of the first one."""
        input = self.saved("input")
        with self._once_more(self.saved("circumstances")):
            self._layers.forward(input)
            return self._layers.backward(dout)

    def _circumstances(self) -> _Circumstances:
        """Return what the layers, and all that they are made of, were told from outside.

        It is a copy: what was told may be changed in place until the layers are run again.
        """
        every = (inner for layer in self._layers.layers for inner in every_layer(layer))
        copies: dict[int, Any] = {}
        return [
            (layer, {name: _copied(value, copies) for name, value in _take(layer).items()})
            for layer in every
        ]

    @contextmanager
    def _once_more(self, circumstances: _Circumstances) -> Iterator[None]:
        """Let the layers be as they were told then, and put all but the gradients back."""
        now = [(layer, _take(layer)) for layer, _ in circumstances]
        buffers = [
            (layer, name, array_namespace(value).asarray(value, copy=True))
            for layer, _ in circumstances
            for name, value in layer.buffers.items()
        ]
        try:
            _give(circumstances)
            yield
        finally:
            _give(now)
            for layer, name, value in buffers:
                layer.buffers[name] = value


def _take(layer: Layer) -> dict[str, Any]:
    found = {name: value for name, value in vars(layer).items() if name in _CIRCUMSTANCES}
    if isinstance(layer, SequenceLayer):  # whose mask may be a `Masked`'s around
        found["mask"] = layer.mask
    return found


def _copied(value: Any, copies: dict[int, Any]) -> Any:
    """Copy arrays, also in lists and dictionaries; one that several layers have stays one."""
    if id(value) not in copies:
        if isinstance(value, dict):
            copy: Any = {name: _copied(inner, copies) for name, inner in value.items()}
        elif isinstance(value, list):
            copy = list(value)
        elif hasattr(value, "dtype") and hasattr(value, "shape"):
            copy = array_namespace(value).asarray(value, copy=True)
        else:
            copy = value
        copies[id(value)] = copy
    return copies[id(value)]


def _give(circumstances: _Circumstances) -> None:
    for layer, values in circumstances:
        for name, value in values.items():
            setattr(layer, name, value)
