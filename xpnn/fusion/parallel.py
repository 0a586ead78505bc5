"""`Parallel` as a step: ways side by side, whose layers are steps themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .._standard import Array
from ..kernels.numba import columns as columns_of
from ..kernels.numba import sums
from ..layers import AvgPool2d, MaxPool2d, Parallel
from .composites import CompositeStep, tell
from .memory import empty
from .orders import flat, is_last, laid_out, shaped
from .steps import PlanStep, Scratch

__all__ = ["ParallelStep"]


class ParallelStep(CompositeStep):
    """The ways one after the other, each by its steps, and what they make of it put together.

    Images stay with channels last in memory if those that come and go around may be so.

    Parameters
    ----------
    layer : Parallel
        All of whose layers are xpnn's own.
    ways : sequence of sequence of PlanStep
        What stands for its branches. Their buffers are not those of the plan around them, nor of
        each other: what one makes has to wait for the others.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of the plan around.
    """

    def __init__(
        self, layer: Parallel, ways: Sequence[Sequence[PlanStep]], dtype: str, scratch: Scratch
    ) -> None:
        names = [f"branch {number}" for number in range(len(ways))]
        super().__init__((layer,), ways, dtype, scratch, "side by side", names)
        self._concatenates, self._axis = layer.merge == "concat", layer.axis
        self._widths: list[int] = []
        self.replays = all(way.replays for way in self._ways)
        self.takes_last = all(_takes_last(way[i]) for way in ways if way for i in (0, -1))
        for way in ways:  # what they make is put together at once
            tell(way[-1:], keeps_output=True)
            tell(way[:1], keeps_gradient=True)

    def forward(self, input: Array) -> Array:
        """Return what the ways make of the input, put together, in training mode."""
        shape = self._checked(input.shape)
        self._tell()
        outputs = [way.forward(input) for way in self._ways]
        if self._concatenates:
            self._widths = [output.shape[self._axis] for output in outputs]
        return self._merged(outputs, shape, self._result(shape[0], math.prod(shape[1:])))

    def backward(self, dout: Array) -> Array | None:
        """Return the sum of the gradients that the ways bring."""
        found = self._gradients(self._parted(dout))
        if not self.wants_gradient or found[0] is None:  # there is none of ids
            return None
        shape = found[0].shape
        last = self.returns_last and any(map(is_last, found))
        return self._sum(found, shape, self._gradient(shape[0], math.prod(shape[1:])), last)

    def evaluate(self, input: Array) -> Array:
        """Return what the ways make of the input, put together, in test mode, in new memory."""
        shape = self._checked(input.shape)
        self._tell()
        outputs = [way.evaluate(input) for way in self._ways]
        return self._merged(outputs, shape, empty((math.prod(shape),), self._dtype))

    # ---------------------------------------------------------------- details

    def _tell(self) -> None:
        """Let the ways keep the order of the memory that is wanted outside."""
        for way in self._ways:
            tell(way.steps[-1:], gives_last=self.gives_last)
            tell(way.steps[:1], returns_last=self.returns_last)

    def _merged(self, outputs: list[Array], shape: tuple[int, ...], memory: Array) -> Array:
        last = self.gives_last and any(map(is_last, outputs))
        if not self._concatenates:
            return self._sum(outputs, shape, memory, last)
        rows, inner = self._cut(shape, last)
        whole = memory.reshape(rows, shape[self._axis] * inner)
        start = 0
        for output in outputs:
            columns = output.shape[self._axis] * inner
            piece = flat(laid_out(output, self._dtype, last), last).reshape(rows, columns)
            self._launch(columns_of.join, piece.size, piece, whole, start)
            start += columns
        return shaped(memory, shape, last)

    def _parted(self, dout: Array) -> list[Array]:
        """Return the part of the gradient that each of the ways has made, in the same order."""
        if not self._concatenates:
            return [dout] * len(self._ways)
        last, axis = is_last(dout), self._axis % dout.ndim
        rows, inner = self._cut(dout.shape, last)
        whole = flat(laid_out(dout, self._dtype, last), last)
        whole = whole.reshape(rows, dout.shape[axis] * inner)
        parts = []
        start = 0
        for index, width in enumerate(self._widths):
            part = self._buffer(f"part {index}", rows, width * inner)
            self._launch(columns_of.split, part.size, whole, part, start)
            shape = (*dout.shape[:axis], width, *dout.shape[axis + 1 :])
            parts.append(shaped(part, shape, last))
            start += width * inner
        return parts

    def _cut(self, shape: tuple[int, ...], last: bool) -> tuple[int, int]:
        """Return how many numbers lie before and behind one of the axis in memory."""
        axis = self._axis % len(shape)
        order = (0, 2, 3, 1) if last else tuple(range(len(shape)))
        place = order.index(axis)
        rows = math.prod(shape[each] for each in order[:place])
        return rows, math.prod(shape[each] for each in order[place + 1 :])

    def _sum(self, arrays: list[Array], shape: tuple[int, ...], memory: Array, last: bool) -> Array:
        """Add up arrays in the order in which they are."""
        first, *others = (flat(laid_out(each, self._dtype, last), last) for each in arrays)
        total = memory.reshape(-1)
        if not others:
            self._launch(columns_of.join, total.size, first[None], total[None], 0)
        for other in others:
            self._launch(sums.add, total.size, first, other, total, 0)
            first = total
        return shaped(total, shape, last)


def _takes_last(step: PlanStep) -> bool:
    """Tell whether a step takes images with channels last; the layers of pooling copy them."""
    return step.takes_last or type(step.layers[0]) in (AvgPool2d, MaxPool2d)
