"""Layers that follow one another inside of another layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .._standard import Array
from ..errors import ConfigurationError
from .layer import Layer

__all__ = ["Chain", "every_layer"]


class Chain:
    """Some layers, the output of one being the input of the next.

    Parameters
    ----------
    owner, name : str
        Whose argument they are, and how it is called.
    layers : Layer or sequence of Layer
        What the user gave.

    Raises
    ------
    ConfigurationError
        If there is something else.
    """

    def __init__(self, owner: str, name: str, layers: Layer | Sequence[Layer]) -> None:
        self.layers: list[Layer] = []
        for layer in layers if isinstance(layers, list | tuple) else [layers]:
            if not isinstance(layer, Layer):
                raise ConfigurationError(f"{owner}: {name}: expected layers, got {layer!r}")
            self.layers.append(layer)

    @property
    def takes_ids(self) -> bool:
        """Whether the first layer takes ids."""
        return bool(self.layers) and self.layers[0].takes_ids

    def check_ids(self, ids: Array) -> None:
        """Let the first layer check its ids."""
        if self.takes_ids:
            self.layers[0].check_ids(ids)

    def named(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield the layers with their positions."""
        for index, layer in enumerate(self.layers):
            yield f"{prefix}{index}", layer

    def output_shape(self, shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """Pass a shape through the layers, as far as they can tell."""
        for layer in self.layers:
            if shape is None:
                return None
            shape = layer.output_shape(shape)
        return shape

    def forward(self, input: Array) -> Array:
        """Return the output of the last layer."""
        for layer in self.layers:
            input = layer.forward(input)
        return input

    def backward(self, dout: Array) -> Array:
        """Return the gradient by the input of the first layer."""
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout


def every_layer(layer: Layer) -> Iterator[Layer]:
    """Yield a layer and all that it is made of."""
    for _, inner in layer.sublayers():
        yield from every_layer(inner)
    yield layer
