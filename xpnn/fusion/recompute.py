"""`Recompute` as a step: layers in a row that are run again in the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._standard import Array
from ..layers import Recompute
from .composites import CompositeStep, tell
from .steps import PlanStep, Scratch

__all__ = ["RecomputeStep"]


class RecomputeStep(CompositeStep):
    """A `Recompute` by the steps of its layers, which drop their memory after each pass.

    Between the passes it keeps the input, what the layers were told for it, and of the steps
    inside no more than tables and vectors whose size does not depend on the batch. Their buffers
    are new in each pass, and live until the output, or the gradient, has been made: so at most one
    of many such blocks has any.

    Parameters
    ----------
    layer : Recompute
        All of whose layers are xpnn's own.
    steps : sequence of PlanStep
        What stands for its layers, at least one. Their buffers are nobody else's.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of the plan around.
    """

    def __init__(
        self, layer: Recompute, steps: Sequence[PlanStep], dtype: str, scratch: Scratch
    ) -> None:
        remark = "step by step, and again in the backward pass"
        super().__init__((layer,), [steps], dtype, scratch, remark)
        self._layer = layer
        self._kept: Any = None
        self.takes_last = steps[0].takes_last and steps[-1].takes_last

    def forward(self, input: Array) -> Array:
        """Return the output of the last step in training mode, and keep the input."""
        self._checked(input.shape)
        kept = input, self._layer._circumstances()
        output = self._run(input)
        self._release()
        self._kept = kept
        return self._leaving(output, input)

    def backward(self, dout: Array) -> Array | None:
        """Run the steps again, and return the gradient by the input of the first one."""
        input, circumstances = self._kept
        self._kept = None
        (way,) = self._ways
        tell(way.steps[:1], keeps_gradient=self.keeps_gradient, returns_last=self.returns_last)
        with self._layer._once_more(circumstances):
            self._run(input)
            (gradient,) = self._gradients([dout])
        self._release()
        return self._apart(gradient, dout)

    def forget(self) -> None:
        """Drop what `forward` left."""
        self._kept = None
        self._release()

    def evaluate(self, input: Array) -> Array:
        """Return the output of the last step in test mode."""
        self._checked(input.shape)
        self._tell()
        return self._ways[0].evaluate(input)

    def _tell(self) -> None:
        last = self._ways[0].steps[-1:]
        tell(last, keeps_output=self.keeps_output, gives_last=self.gives_last)

    def _run(self, input: Array) -> Array:
        self._tell()
        return self._ways[0].forward(input)

    def _release(self) -> None:
        """Let the steps drop all that they have kept, and their memory."""
        for way in self._ways:
            way.forget()
            way.renew()
