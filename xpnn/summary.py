"""A network as a table: shapes, parameters, memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._standard import Array
from .errors import ConfigurationError

if TYPE_CHECKING:
    from .layers.layer import Layer
    from .network import Network

__all__ = ["summarize"]


def summarize(network: Network, input_shape: tuple[int, ...], batch_size: int = 1) -> str:
    """Describe a network for samples of a shape: the text behind `Network.summary`.

    One sample of zeros passes through the network in test mode, so that the shapes are what the
    layers do and not what they say.

    Raises
    ------
    ConfigurationError
        If the batch size is below 1.
    ShapeError
        If the network cannot take such a sample.
    """
    if batch_size < 1:
        raise ConfigurationError(f"batch_size: expected at least 1, got {batch_size}")
    shapes = _record_shapes(network, input_shape)
    parameters = network.parameters
    itemsize = 8 if network.backend.dtype == "float64" else 4
    rows = [("layer", "output shape", "parameters")]
    for key, layer in parameters.layers.items():
        shape = shapes.get(key)
        shown = "not used" if shape is None else str(("N", *shape[1:])).replace("'", "")
        count = sum(math.prod(value.shape) for value in layer.params.values())
        rows.append((f"{key} {layer!r}", shown, f"{count:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
    lines.insert(1, "-" * len(lines[0]))
    count = math.prod(parameters.values.array.shape)
    state = network.optimizer.init(network.backend.zeros(0))
    activations = sum(math.prod(shape[1:]) for shape in shapes.values()) * batch_size
    kept = count * (2 + len(state)) * itemsize
    return "\n".join(
        [
            *lines,
            "-" * len(lines[0]),
            f"{count:,} parameters; {network.backend}, {network.backend.dtype}",
            f"{_size(kept)} for parameters, gradients and optimizer state",
            f"{_size(activations * itemsize)} for the outputs of the layers "
            f"at batch size {batch_size}",
        ]
    )


def _record_shapes(network: Network, input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Pass one sample of zeros through the network and note the shape of every output."""
    shapes: dict[str, tuple[int, ...]] = {}

    def recorder(key: str, layer: Layer) -> Callable[[Array], Array]:
        forward = type(layer).forward

        def record(input: Array) -> Array:
            output = forward(layer, input)
            shapes[key] = tuple(output.shape)
            return output

        return record

    layers: dict[str, Any] = dict(network.parameters.layers)
    try:
        for key, layer in layers.items():
            layer.forward = recorder(key, layer)
        network.eval(network.backend.zeros((1, *input_shape)))
    finally:
        for layer in layers.values():
            vars(layer).pop("forward", None)
    return shapes


def _size(count: float) -> str:
    """Write a number of bytes as people do."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
