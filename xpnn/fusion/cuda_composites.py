"""Blocks of residual networks on CuPy, whose layers and shortcut are steps themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .._standard import Array
from ..layers import Residual
from .steps import PlanStep

__all__ = ["CudaResidualStep"]


class CudaResidualStep(PlanStep):
    """A `Residual` layer by the steps of its two ways, and one launch each way to add them up.

    Parameters
    ----------
    layer : Residual
        All of whose layers are xpnn's own.
    ways : pair of sequence of PlanStep
        What stands for its layers and for its shortcut.
    """

    def __init__(
        self, layer: Residual, ways: tuple[Sequence[PlanStep], Sequence[PlanStep]]
    ) -> None:
        super().__init__((layer,), "step by step")
        self.ways = list(zip(("layers", "shortcut"), ways, strict=True))
        self._ways = ways
        self.channels_last = bool(ways[0]) and ways[0][-1].channels_last

    def forward(self, input: Array) -> Array:
        """Return the sum of both ways in training mode."""
        return self._go(input, lambda step, output: step.forward(output))

    def backward(self, dout: Array) -> Array | None:
        """Return the sum of the gradients that both ways bring."""
        found: list[Any] = []
        for way in self._ways:
            gradient: Any = dout
            if way:
                way[0].wants_gradient = self.wants_gradient
            for step in reversed(way):
                gradient = step.backward(gradient)
            found.append(gradient)
        return _sum(*found) if self.wants_gradient else None

    def forget(self) -> None:
        """Drop what `forward` left."""
        for way in self._ways:
            for step in way:
                step.forget()

    def evaluate(self, input: Array) -> Array:
        """Return the sum of both ways in test mode."""
        return self._go(input, lambda step, output: step.evaluate(output))

    def _go(self, input: Array, run: Callable[[PlanStep, Array], Array]) -> Array:
        """Go both ways with a step's method; return the sum of what comes out."""
        self.layers[0].output_shape(input.shape)
        found = []
        for way in self._ways:
            output = input
            for step in way:
                output = run(step, output)
            found.append(output)
        return _sum(*found)


def _sum(first: Array, second: Array) -> Array:
    """Add up in the order in memory of the first: images go on with their channels last."""
    import cupy

    return cupy.add(first, second, out=cupy.empty_like(first))
