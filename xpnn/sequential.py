"""The network whose layers follow one another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ._checks import expect_kind
from ._standard import Array
from .backend import Backend
from .errors import ConfigurationError
from .layers.layer import Layer, find_layers
from .losses import Loss
from .network import Network
from .optimizers import Optimizer
from .regularization import Regularization

__all__ = ["Sequential"]


class Sequential(Network):
    """A network whose layers follow one another.

    Parameters
    ----------
    layers : sequence of Layer
        In the order of the forward pass.
    loss, lr, regularization, optimizer, device, backend, dtype, seed, fuse
        As for `Network`.

    Examples
    --------
    >>> import xpnn
    >>> net = xpnn.Sequential(
    ...     [xpnn.Linear(2, 8), xpnn.ReLU(), xpnn.Linear(8, 2)],
    ...     xpnn.SoftmaxCrossEntropy(),
    ...     lr=0.5,
    ...     seed=0,
    ... )
    >>> x, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> losses = [float(net.train(x, y)[1]) for _ in range(200)]
    >>> losses[-1] < 0.1 < losses[0]
    True
    >>> net.eval(x).argmax(axis=1).tolist()
    [0, 1, 1, 0]
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        loss: Loss,
        lr: float | None = None,
        regularization: Regularization | None = None,
        *,
        optimizer: Optimizer | None = None,
        device: str | None = None,
        backend: str | Backend | None = None,
        dtype: Any = "float32",
        seed: int | None = None,
        fuse: bool = True,
    ) -> None:
        super().__init__(
            loss,
            lr,
            regularization,
            optimizer=optimizer,
            device=device,
            backend=backend,
            dtype=dtype,
            seed=seed,
            fuse=fuse,
        )
        if isinstance(layers, Layer) or not isinstance(layers, Iterable):
            raise ConfigurationError(f"layers: expected a list of layers, got {layers!r}")
        self.layers = list(layers)
        for index, layer in enumerate(self.layers):
            expect_kind(f"layers[{index}]", layer, Layer)
        _ = self.parameters  # mistakes show here, not at the first step

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.layers!r}, {self.loss!r})"

    def named_layers(self) -> Iterator[tuple[str, Layer]]:
        """Yield every layer with its position as its key."""
        for index, layer in enumerate(self.layers):
            if type(layer).sublayers is Layer.sublayers:  # most have none
                yield str(index), layer
            else:
                yield from find_layers(str(index), layer)

    def input_layer(self) -> Layer | None:
        """Return the first layer."""
        return self.layers[0] if self.layers else None

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Pass a shape through the layers, as far as they can tell."""
        shape: tuple[int, ...] | None = input_shape
        for layer in self.layers:
            if shape is None:
                return None
            shape = layer.output_shape(shape)
        return shape

    def forward(self, input: Array) -> Array:
        """Return the output of the last layer."""
        if not self.backend.owns(input):  # called by somebody, rather than by `train` or `eval`
            input = self.prepare_input(input)
        for layer in self.layers:
            input = layer.forward(input)
        return input

    def backward(self, dout: Array) -> Array:
        """Return the gradient by the input of the first layer."""
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout
