"""Rules for layers that are made of layers, on NumPy by Numba's kernels.

Each becomes a step by the steps of the layers inside. These have buffers of their own, which
blocks that follow one another share as far as none of them still reads what another one writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..layers import (
    Bidirectional,
    Masked,
    Parallel,
    Recompute,
    ReLU,
    Residual,
    TransformerBlock,
)
from ..layers.layer import Layer
from .directions import BidirectionalStep
from .parallel import ParallelStep
from .recognition import is_built_in
from .recompute import RecomputeStep
from .residual import ResidualStep
from .series import SeriesStep
from .steps import PlanStep, Scratch, Step

__all__ = ["Composites"]


class Composites:
    """Makes the steps of the composites in a list of layers.

    Parameters
    ----------
    make_steps : callable
        Cuts a list of layers into steps.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of the list.
    """

    def __init__(
        self, make_steps: Callable[..., list[PlanStep]], dtype: str, scratch: Scratch
    ) -> None:
        self._make_steps = make_steps
        self._dtype = dtype
        self._scratch = scratch
        self._ways: list[Scratch] = []
        self._series = [Scratch(dtype), Scratch(dtype)]

    def make(self, layers: Sequence[Layer]) -> Step | None:
        """Return a step for the first of the layers, or for it and more; None if it is none."""
        layer = layers[0]
        if not is_built_in(layer):
            return None
        if type(layer) is Residual:
            run = (layer, *_relu(layers[1:2]))
            inside, beside = self._side_by_side([layer._layers.layers, layer._shortcut.layers])
            return ResidualStep(run, (inside, beside), self._dtype, self._scratch)
        if type(layer) is Parallel:
            ways = self._side_by_side([branch.layers for branch in layer._branches])
            return ParallelStep(layer, ways, self._dtype, self._scratch)
        if type(layer) is Bidirectional:
            ways = self._side_by_side([[way] for _, way in layer.sublayers()])
            return BidirectionalStep(layer, ways, self._dtype, self._scratch)
        inner = [each for _, each in layer.sublayers()]
        if type(layer) is Recompute and inner:
            steps = self._steps(inner, Scratch(self._dtype))
            return RecomputeStep(layer, steps, self._dtype, self._scratch)
        if type(layer) in (Masked, TransformerBlock) and inner:
            # Each reads the gradient that the next one has left in its buffers.
            self._series.reverse()
            steps = self._steps(inner, self._series[0])
            return SeriesStep(layer, steps, self._dtype, self._scratch)
        return None

    def _steps(self, layers: Sequence[Layer], scratch: Scratch) -> list[PlanStep]:
        return self._make_steps(layers, self._dtype, None, scratch)

    def _side_by_side(self, ways: Sequence[Sequence[Layer]]) -> list[list[PlanStep]]:
        """Return the steps of ways whose results wait for one another."""
        # What a block makes is in the buffers of the plan around when the next one begins.
        self._ways += [Scratch(self._dtype) for _ in ways[len(self._ways) :]]
        pairs = zip(ways, self._ways, strict=False)
        return [self._steps(way, scratch) for way, scratch in pairs]


def _relu(layers: Sequence[Layer]) -> list[Layer]:
    """Return the first of the layers, if it is a ReLU that the sum of a block can do."""
    return [layer for layer in layers[:1] if type(layer) is ReLU and is_built_in(layer)]
