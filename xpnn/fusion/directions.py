"""`Bidirectional` as a step: two recurrent steps over the same sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .._standard import Array
from ..layers import Bidirectional
from .composites import CompositeStep, tell
from .steps import PlanStep, Scratch

__all__ = ["BidirectionalStep"]


class BidirectionalStep(CompositeStep):
    """The two directions one after the other, each by its step.

    Parameters
    ----------
    layer : Bidirectional
        All of whose layers are xpnn's own.
    ways : pair of sequence of PlanStep
        What stands for its two layers, a step each. Their buffers are not those of the plan around
        them, nor of each other: both get the same gradient.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of the plan around.
    """

    def __init__(
        self,
        layer: Bidirectional,
        ways: Sequence[Sequence[PlanStep]],
        dtype: str,
        scratch: Scratch,
    ) -> None:
        names = [name for name, _ in layer.sublayers()]
        super().__init__((layer,), ways, dtype, scratch, "both directions", names)
        self._concatenates = layer.merge == "concat"
        for way in ways:  # what they make is put together at once
            tell(way, keeps_output=True, keeps_gradient=True)

    def forward(self, input: Array) -> Array:
        """Return the states of both directions in training mode."""
        shape = self._checked(input.shape)
        rows, columns = math.prod(shape[:-1]), shape[-1]
        output = self._result(rows, columns).reshape(shape)
        return self._merged([way.forward(input) for way in self._ways], output)

    def backward(self, dout: Array) -> Array | None:
        """Return the sum of the gradients that both directions bring."""
        width = dout.shape[-1] // 2 if self._concatenates else 0
        # Without `concat` both get all of it.
        parts = dout[..., :width] if width else dout, dout[..., width:]
        one, other = self._gradients(parts)
        if one is None or other is None:
            return None
        rows = math.prod(one.shape[:-1])
        return np.add(one, other, out=self._gradient(rows, one.shape[-1]).reshape(one.shape))

    def evaluate(self, input: Array) -> Array:
        """Return the states of both directions in test mode, in new memory."""
        shape = self._checked(input.shape)
        output = np.empty(shape, self._dtype)
        return self._merged([way.evaluate(input) for way in self._ways], output)

    def _merged(self, outputs: list[Array], output: Array) -> Array:
        if self._concatenates:
            return np.concatenate(outputs, axis=-1, out=output)
        first, second = outputs
        return np.add(first, second, out=output)
