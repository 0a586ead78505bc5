"""`TransformerBlock` and `Masked` as steps: layers that are made of layers in a row."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from .._standard import Array
from ..layers import Masked
from ..layers.layer import Layer
from .steps import PlanStep, Scratch, Step

__all__ = ["SeriesStep"]


class SeriesStep(Step):
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
        remark = "step by step: " + "; ".join(step.remark for step in steps)
        super().__init__((layer,), dtype, scratch, remark)
        self._masked = layer if isinstance(layer, Masked) else None
        self._steps = steps
        self.joins = all(step.joins for step in steps)

    def forward(self, input: Array) -> Array:
        """Return the output of the last step in training mode."""
        self._checked(input.shape)
        last = self._steps[-1]
        if isinstance(last, Step):
            last.keeps_output = self.keeps_output
        with self._telling(input):
            for step in self._steps:
                input = step.forward(input)
        return input

    def backward(self, dout: Array) -> Array | None:
        """Return the gradient by the input of the first step."""
        first = self._steps[0]
        first.wants_gradient = self.wants_gradient
        if isinstance(first, Step):
            first.keeps_gradient = self.keeps_gradient
        gradient: Any = dout
        for step in reversed(self._steps):
            gradient = step.backward(gradient)
        return gradient

    def forget(self) -> None:
        """Drop what `forward` left."""
        for step in self._steps:
            step.forget()

    def renew(self) -> None:
        """Take other memory from now on."""
        super().renew()
        for step in self._steps:
            step.renew()

    def evaluate(self, input: Array) -> Array:
        """Return the output of the last step in test mode."""
        self._checked(input.shape)
        with self._telling(input):
            for step in self._steps:
                input = step.evaluate(input)
        return input

    def _telling(self, input: Array) -> Any:
        """Let the layers know, in a `Masked`, which steps of the sequences are there."""
        return nullcontext() if self._masked is None else self._masked._telling(input)
