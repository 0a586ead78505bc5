"""LSTM and GRU over whole sequences, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..workload import Workload

#: Gates of a cell.
GATES = {"lstm": 4, "gru": 3}


@dataclass(frozen=True, kw_only=True)
class Recurrence(Workload):
    """A step computes all states, and the gradients by the input and all parameters.

    The arrays are in the order of the steps; who wants batches first turns them before.
    """

    kind = "lstm"
    steps_to_check = 1

    cell: str
    steps: int
    batch: int
    inputs: int
    hidden: int

    def small(self) -> Self:
        """Return short sequences."""
        return replace(self, steps=3, batch=5, inputs=4, hidden=6)

    def sequences(self) -> tuple[np.ndarray, np.ndarray]:
        """Return input (T, N, D) and gradient of the output (T, N, H)."""
        random = self.random()
        x, dout = (
            random.standard_normal((self.steps, self.batch, width), dtype=np.float32)
            for width in (self.inputs, self.hidden)
        )
        return x, dout

    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return those of the input, those of the state, and the bias of the input."""
        width = GATES[self.cell] * self.hidden
        scale = self.hidden**-0.5
        wx, wh, b = (
            self.random(1).uniform(-scale, scale, shape).astype(np.float32)
            for shape in ((self.inputs, width), (self.hidden, width), width)
        )
        return wx, wh, b


class GatedRecurrence(Recurrence):
    """The same with GRU: a kind of its own, so that a quick run has both."""

    kind = "gru"


WORKLOADS = [
    kind(
        name=f"{cell}-{'x'.join(map(str, sizes))}",
        group=f"{cell.upper()}, forward and backward (steps x batch x inputs x hidden)",
        column=" x ".join(map(str, sizes)),
        goal=goal,
        cell=cell,
        steps=sizes[0],
        batch=sizes[1],
        inputs=sizes[2],
        hidden=sizes[3],
    )
    for kind, cell, goal in ((Recurrence, "lstm", 1.25), (GatedRecurrence, "gru", 1.8))
    for sizes in ((32, 32, 64, 128), (64, 32, 64, 128), (128, 64, 64, 256))
]
