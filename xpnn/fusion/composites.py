"""What the steps of layers that are made of layers have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._standard import Array
from ..layers.layer import Layer
from .runs import Run
from .steps import PlanStep, Scratch, Step

__all__ = ["CompositeStep", "tell"]


class CompositeStep(Step):
    """A layer that is made of layers, by the steps of these; the base class of such steps.

    Parameters
    ----------
    layers : tuple of Layer
        The composite, all of whose layers are xpnn's own, and what is done together with it.
    ways : sequence of sequence of PlanStep
        What stands for the layers inside: chains from the input on, which may be empty. Their
        buffers are not those of the plan around them, nor of each other.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of the plan around.
    remark : str
        For people.
    names : sequence of str
        Those of the ways, for people.
    """

    def __init__(
        self,
        layers: tuple[Layer, ...],
        ways: Sequence[Sequence[PlanStep]],
        dtype: str,
        scratch: Scratch,
        remark: str,
        names: Sequence[str] = ("",),
    ) -> None:
        super().__init__(layers, dtype, scratch, remark)
        self.ways = list(zip(names, ways, strict=True))
        self._ways = [Run(way, learns=True) for way in ways]
        self.joins = all(step.joins for way in ways for step in way)

    def forget(self) -> None:
        """Drop what `forward` left."""
        for way in self._ways:
            way.forget()

    def refresh(self) -> None:
        """Write what differs from step to step to where the kernels read it."""
        for way in self._ways:
            way.refresh()

    def as_recorded(self) -> bool:
        """Tell whether it holds for all steps inside."""
        return all(step.as_recorded() for way in self._ways for step in way.steps)

    def hand_outs(self, number: int) -> Sequence[Callable[[], None]]:
        """Return what the steps inside hand out."""
        return [each for way in self._ways for each in way.hand_outs(number)]

    def renew(self) -> None:
        """Take other memory from now on."""
        super().renew()
        for way in self._ways:
            way.renew()

    def _gradients(self, gradients: Sequence[Array]) -> list[Any]:
        """Return the gradients by the input that the ways bring, each from its own."""
        for way in self._ways:
            if way.steps:
                way.steps[0].wants_gradient = self.wants_gradient
        return [way.backward(dout) for way, dout in zip(self._ways, gradients, strict=True)]

    def _leaving(self, output: Array, input: Array) -> Array:
        """Return the output, which may leave the plan, in other memory than the input then.

        The step before counts on this one for its output, which is in a buffer.
        """
        return output if self.keeps_output else self._apart(output, input)

    @staticmethod
    def _apart(result: Any, given: Array) -> Any:
        """Return the gradient by the input, or the output, in other memory than what was given.

        The steps inside may all hand on what they get, but the steps around share two buffers for
        gradients in turn, each counting on this one for its turn.
        """
        if result is None or not np.may_share_memory(result, given):
            return result
        return np.copy(result, order="K")


def tell(steps: Sequence[PlanStep], **settings: bool) -> None:
    """Set attributes of `Step` in those that are one."""
    for step in steps:
        if isinstance(step, Step):
            for name, value in settings.items():
                setattr(step, name, value)
