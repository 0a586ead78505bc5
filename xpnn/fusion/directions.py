"""`Bidirectional` as a step: two recurrent steps over the same sequences."""

from __future__ import annotations

import math

import numpy as np

from .._standard import Array
from ..layers import Bidirectional
from .steps import Scratch, Step

__all__ = ["BidirectionalStep"]


class BidirectionalStep(Step):
    """The two directions one after the other, each by its step.

    Parameters
    ----------
    layer : Bidirectional
        All of whose layers are xpnn's own.
    ways : pair of Step
        What stands for its two layers. Their buffers are not those of the plan around them, nor of
        each other: both get the same gradient.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of the plan around.
    """

    def __init__(
        self, layer: Bidirectional, ways: tuple[Step, Step], dtype: str, scratch: Scratch
    ) -> None:
        super().__init__((layer,), dtype, scratch, f"both directions: {ways[0].remark}")
        self._concatenates = layer.merge == "concat"
        self._ways = ways
        for way in ways:  # what they make is put together at once
            way.keeps_output = way.keeps_gradient = True

    def forward(self, input: Array) -> Array:
        """Return the states of both directions in training mode."""
        shape = self._checked(input.shape)
        rows, columns = math.prod(shape[:-1]), shape[-1]
        output = np.empty((rows, columns), self._dtype)
        if self.keeps_output:
            output = self._buffer("output", rows, columns)
        return self._merged([way.forward(input) for way in self._ways], output.reshape(shape))

    def backward(self, dout: Array) -> Array | None:
        """Return the sum of the gradients that both directions bring."""
        first, second = self._ways
        width = dout.shape[-1] // 2 if self._concatenates else 0
        first.wants_gradient = second.wants_gradient = self.wants_gradient
        # Without `concat` both get all of it.
        one = first.backward(dout[..., :width] if width else dout)
        other = second.backward(dout[..., width:])
        if one is None or other is None:
            return None
        rows = math.prod(one.shape[:-1])
        return np.add(one, other, out=self._gradient(rows, one.shape[-1]).reshape(one.shape))

    def forget(self) -> None:
        """Drop what `forward` left."""
        for way in self._ways:
            way.forget()

    def renew(self) -> None:
        """Take other memory from now on."""
        super().renew()
        for way in self._ways:
            way.renew()

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
