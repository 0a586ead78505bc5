"""Blocks of residual networks, whose layers and shortcut are steps themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._standard import Array
from ..layers import Residual
from .steps import PlanStep, Scratch, Step

__all__ = ["ResidualStep"]


class ResidualStep(Step):
    """A `Residual` layer by the steps of its two ways.

    Parameters
    ----------
    layer : Residual
        All of whose layers are xpnn's own.
    ways : pair of sequence of PlanStep
        What stands for its layers and for its shortcut. Their buffers are not those of the plan
        around them, nor of each other: both get the same gradient.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of the plan around.
    """

    def __init__(
        self,
        layer: Residual,
        ways: tuple[Sequence[PlanStep], Sequence[PlanStep]],
        dtype: str,
        scratch: Scratch,
    ) -> None:
        inside, beside = ("; ".join(step.remark for step in way) for way in ways)
        remark = f"step by step: {inside}" + (f"; shortcut: {beside}" if beside else "")
        super().__init__((layer,), dtype, scratch, remark)
        self._ways = ways
        self.joins = all(step.joins for way in ways for step in way)
        for way in ways:  # what they make is added up at once
            if way and isinstance(way[-1], Step):
                way[-1].keeps_output = True
            if way and isinstance(way[0], Step):
                way[0].keeps_gradient = True

    def forward(self, input: Array) -> Array:
        """Return the sum of both ways in training mode."""
        self._checked(input.shape)
        first, second = input, input
        for step in self._ways[0]:
            first = step.forward(first)
        for step in self._ways[1]:
            second = step.forward(second)
        if not self.keeps_output:
            return np.add(first, second, order="C")
        output = self._buffer("output", len(first), math.prod(first.shape[1:]))
        return np.add(first, second, out=output.reshape(first.shape))

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
        first, second = found
        if not self.wants_gradient:
            return None
        output = self._gradient(len(first), math.prod(first.shape[1:])).reshape(first.shape)
        # The gradient that came may lie where this one goes, in the same order.
        return np.add(first, second, out=output)

    def forget(self) -> None:
        """Drop what `forward` left."""
        for way in self._ways:
            for step in way:
                step.forget()

    def evaluate(self, input: Array) -> Array:
        """Return the sum of both ways in test mode."""
        self._checked(input.shape)
        first, second = input, input
        for step in self._ways[0]:
            first = step.evaluate(first)
        for step in self._ways[1]:
            second = step.evaluate(second)
        return np.add(first, second, order="C")
