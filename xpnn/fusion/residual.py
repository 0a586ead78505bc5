"""Blocks of residual networks, whose layers and shortcut are steps themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._standard import Array
from ..kernels.numba import sums
from ..layers.layer import Layer
from .composites import CompositeStep, tell
from .convolution import ConvolutionStep
from .orders import flat, is_last, laid_out, shaped
from .runs import Run
from .steps import PlanStep, Scratch

__all__ = ["ResidualStep"]


class ResidualStep(CompositeStep):
    """A `Residual` layer by the steps of its two ways, and the ReLU behind it.

    Images stay with channels last in memory if those that come and go around are so.

    Parameters
    ----------
    layers : tuple of Layer
        The `Residual`, all of whose layers are xpnn's own, and perhaps a `ReLU`.
    ways : pair of sequence of PlanStep
        What stands for its layers and for its shortcut. Their buffers are not those of the plan
        around them, nor of each other: both get the same gradient.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of the plan around.
    """

    takes_last = True

    def __init__(
        self,
        layers: tuple[Layer, ...],
        ways: tuple[Sequence[PlanStep], Sequence[PlanStep]],
        dtype: str,
        scratch: Scratch,
    ) -> None:
        self._rectifies = len(layers) > 1
        remark = "step by step, and ReLU with the sum" if self._rectifies else "step by step"
        super().__init__(layers, ways, dtype, scratch, remark, ("layers", "shortcut"))
        self._output: Any = None  # that of a ReLU
        self._input: Any = None  # the output of a block's ReLU whose gradient is made here
        self._before_rectifies = self._after_takes = False
        self.replays = all(way.replays for way in self._ways)
        for way in ways:  # what they make is added up at once
            tell(way[-1:], keeps_output=True, gives_last=True)
            tell(way[:1], keeps_gradient=True, returns_last=True)

    def meet(self, after: PlanStep) -> None:
        """Leave the gradient of the ReLU to the next block, which writes what comes back here."""
        if self._rectifies and isinstance(after, ResidualStep):
            self._after_takes = after._before_rectifies = True

    def forward(self, input: Array) -> Array:
        """Return the sum of both ways in training mode."""
        shape = self._checked(input.shape)
        inside, beside = self._ways
        last: Any = inside.steps[-1] if self.gives_last and _normalizes(inside.steps) else None
        first = (inside if last is None else Run(inside.steps[:-1], learns=True)).forward(input)
        second = beside.forward(input)
        rows, columns = len(first), math.prod(shape[1:])
        output = self._result(rows, columns)
        if last is None:
            output = self._sum(first, second, output, self.gives_last, self._rectifies)
        else:
            second = flat(laid_out(second, self._dtype, True), True)
            last.forward_onto(first, second, output.reshape(-1), self._rectifies)
            output = shaped(output, shape, True)
        self._output = output if self._rectifies and not self._after_takes else None
        self._input = input if self._before_rectifies else None
        return output

    def backward(self, dout: Array) -> Array | None:
        """Return the sum of the gradients that both ways bring."""
        input, self._input = self._input, None
        if self._rectifies and not self._after_takes:
            dout = self._before_relu(dout)
        first, second = self._gradients([dout, dout])
        if not self.wants_gradient:
            return None
        # The gradient that came may lie where this one goes, in the same order.
        dinput = self._gradient(len(first), math.prod(first.shape[1:]))
        return self._sum(first, second, dinput, self.returns_last, False, input)

    def _before_relu(self, dout: Array) -> Array:
        output, self._output = self._output, None
        gradient = self._buffer("gradient", len(output), math.prod(output.shape[1:]))
        last = not output.flags.c_contiguous
        dout = laid_out(dout, self._dtype, last)
        self._launch(
            sums.rectified_gradient,
            output.size,
            flat(dout, last),
            flat(output, last),
            gradient.reshape(-1),
        )
        return shaped(gradient, output.shape, last)

    def _sum(
        self,
        first: Array,
        second: Array,
        output: Array,
        may_be_last: bool,
        rectify: bool,
        values: Any = None,
    ) -> Array:
        """Add up into new memory, in the order of the first array if that is wanted.

        Where there are values that are not positive, the sum is 0.
        """
        last = may_be_last and is_last(first)
        first, second = laid_out(first, self._dtype, last), laid_out(second, self._dtype, last)
        if values is not None:
            values = flat(laid_out(values, self._dtype, last), last)
            given = flat(first, last), flat(second, last), values, output.reshape(-1)
            self._launch(sums.add_rectified, output.size, *given)
            return shaped(output, first.shape, last)
        self._launch(
            sums.add,
            output.size,
            flat(first, last),
            flat(second, last),
            output.reshape(-1),
            int(rectify),
        )
        return shaped(output, first.shape, last)

    def forget(self) -> None:
        """Drop what `forward` left."""
        super().forget()
        self._output = self._input = None

    def evaluate(self, input: Array) -> Array:
        """Return the sum of both ways in test mode."""
        self._checked(input.shape)
        first, second = (way.evaluate(input) for way in self._ways)
        output = np.empty((len(first), math.prod(first.shape[1:])), self._dtype)
        return self._sum(first, second, output, self.gives_last, self._rectifies)


def _normalizes(steps: Sequence[PlanStep]) -> bool:
    """Tell whether the last of the steps can add its output to something."""
    return bool(steps) and isinstance(steps[-1], ConvolutionStep) and steps[-1].only_normalizes
