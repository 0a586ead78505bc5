"""A network as a table: shapes, parameters, memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._standard import Array
from .errors import ConfigurationError, readable_bytes
from .layers import Recompute

if TYPE_CHECKING:
    from .layers.layer import Layer
    from .network import Network

__all__ = ["StepMemory", "step_memory", "summarize"]


@dataclass(frozen=True)
class StepMemory:
    """Estimated memory of a training step, in bytes.

    Attributes
    ----------
    parameters : int
        Parameters, gradients and the state of the optimizer: there from the first step on.
    activations : int
        The batch, the outputs of the layers, and what they keep besides for the backward pass.
    temporaries : int
        What backward pass and optimizer need for a moment, whichever is more.
    """

    parameters: int
    activations: int
    temporaries: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.parameters + self.activations + self.temporaries


def step_memory(network: Network, input_shape: tuple[int, ...], batch_size: int) -> StepMemory:
    """Estimate what a training step costs, from the shapes of the layers' inputs and outputs.

    ::

        activations = input + sum over the layers of (output + cache_size), in all of the batch
        temporaries = the most of 3 outputs or 1 cache_size of a layer, or what the update needs

    Most layers keep their input or output, or as much; `Layer.cache_size` is what others keep
    besides: gates and states of recurrent layers, the weights of attention, whose gradients are as
    much again for a moment. Fused steps keep a little less, so this is right to a factor of two and
    no more. Layers inside of `Recompute` keep nothing.

    Raises
    ------
    ShapeError
        If the network cannot take samples of this shape.
    """
    return _step_memory(network, _record(network, input_shape), input_shape, batch_size)


def summarize(network: Network, input_shape: tuple[int, ...], batch_size: int = 1) -> str:
    """Describe a network for samples of a shape: the text behind `Network.summary`.

    The key of a layer and the name of a parameter or buffer, "0" and "W", make its name in model
    files and in `Network.state_dict`, "0.W".

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
    records = _record(network, input_shape)
    parameters = network.parameters
    rows = [("layer", "output shape", "parameters", "names")]
    for key, layer in parameters.layers.items():
        record = records.get(key)
        shown = "not used" if record is None else str(("N", *record.shape[1:])).replace("'", "")
        count = sum(math.prod(value.shape) for value in layer.params.values())
        names = ", ".join([*layer.params, *layer.buffers])
        rows.append((f"{key} {layer!r}", shown, f"{count:,}", names))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows
    ]
    rule = "-" * (sum(widths) + 6)
    lines.insert(1, rule)
    count = math.prod(parameters.values.array.shape)
    memory = _step_memory(network, records, input_shape, batch_size)
    return "\n".join(
        [
            *lines,
            rule,
            f"{count:,} parameters; {network.backend}, {network.backend.dtype}",
            f"{readable_bytes(memory.parameters)} for parameters, gradients and optimizer state",
            f"{readable_bytes(memory.activations)} for the outputs of the layers "
            f"and what they keep besides, at batch size {batch_size}",
            f"{readable_bytes(memory.total)} for a training step in all, about",
        ]
    )


@dataclass(frozen=True)
class _Record:
    """What a layer makes of one sample: the shape of its output, and how much it keeps besides."""

    shape: tuple[int, ...]
    besides: int

    @property
    def output(self) -> int:
        return math.prod(self.shape[1:])

    @property
    def kept(self) -> int:
        return self.output + self.besides


def _step_memory(
    network: Network,
    records: dict[str, _Record],
    input_shape: tuple[int, ...],
    batch_size: int,
) -> StepMemory:
    itemsize = 8 if network.backend.dtype == "float64" else 4
    # What is inside of `Recompute` is there for a moment only, that of one block at a time.
    blocks = [
        {key for key in records if key.startswith(f"{outer}.")}
        for outer, layer in network.parameters.layers.items()
        if isinstance(layer, Recompute)
    ]
    passing = set().union(*blocks)
    width = math.prod(input_shape)
    kept = width + sum(records[key].kept for key in records.keys() - passing)
    again = max((sum(records[key].kept for key in block) for block in blocks), default=0)
    most = max(3 * width, *(max(3 * each.output, each.besides) for each in records.values()), 0)
    count = math.prod(network.parameters.values.array.shape)
    vectors = 2 + len(network.optimizer.init(network.backend.zeros(0)))
    plan = network._planned(network.parameters)
    # A portable update makes vectors on its way.
    updating = 0 if plan is not None and plan.update is not None else 4 * count
    return StepMemory(
        parameters=itemsize * vectors * count,
        activations=itemsize * kept * batch_size,
        temporaries=itemsize * max((most + again) * batch_size, updating),
    )


def _record(network: Network, input_shape: tuple[int, ...]) -> dict[str, _Record]:
    """Pass one sample of zeros through the network and note what every layer makes of it."""
    records: dict[str, _Record] = {}

    def recorder(key: str, layer: Layer) -> Callable[[Array], Array]:
        forward = type(layer).forward

        def record(input: Array) -> Array:
            output = forward(layer, input)
            besides = layer.cache_size(tuple(input.shape))
            records[key] = _Record(tuple(output.shape), besides)
            return output

        return record

    layers: dict[str, Any] = dict(network.parameters.layers)
    fuse = network.fuse
    try:
        network.fuse = False  # a fused step would go past the layers' own forward
        for key, layer in layers.items():
            layer.forward = recorder(key, layer)
        network.eval(network.backend.zeros((1, *input_shape)))
    finally:
        network.fuse = fuse
        for layer in layers.values():
            vars(layer).pop("forward", None)
    return records
