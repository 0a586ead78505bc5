"""`TransformerBlock` and `Masked` as steps: layers that are made of layers in a row."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from .._standard import Array
from ..layers import Masked
from ..layers.layer import Layer
from .composites import CompositeStep, tell
from .steps import PlanStep, Scratch

__all__ = ["SeriesStep"]


class SeriesStep(CompositeStep):
    """A layer that hands its input through layers, by the steps of these.

    Parameters
    ----------
    layer : TransformerBlock or Masked
        All of whose layers are xpnn's own.
    steps : sequence of PlanStep
        What stands for its layers, at least one. Their buffers are not those of the plan around
        them, nor those of a layer of this kind before or behind.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of the plan around.
    """

    def __init__(
        self, layer: Layer, steps: Sequence[PlanStep], dtype: str, scratch: Scratch
    ) -> None:
        super().__init__((layer,), [steps], dtype, scratch, "step by step")
        self._masked = layer if isinstance(layer, Masked) else None

    def forward(self, input: Array) -> Array:
        """Return the output of the last step in training mode."""
        self._checked(input.shape)
        (way,) = self._ways
        tell(way.steps[-1:], keeps_output=self.keeps_output)
        with self._telling(input):
            return self._leaving(way.forward(input), input)

    def backward(self, dout: Array) -> Array | None:
        """Return the gradient by the input of the first step."""
        (way,) = self._ways
        tell(way.steps[:1], keeps_gradient=self.keeps_gradient)
        (gradient,) = self._gradients([dout])
        return self._apart(gradient, dout)

    def evaluate(self, input: Array) -> Array:
        """Return the output of the last step in test mode."""
        self._checked(input.shape)
        with self._telling(input):
            return self._ways[0].evaluate(input)

    def _telling(self, input: Array) -> Any:
        """Let the layers know, in a `Masked`, which steps of the sequences are there."""
        return nullcontext() if self._masked is None else self._masked._telling(input)
