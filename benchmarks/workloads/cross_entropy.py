"""Softmax and cross-entropy with integer labels: the loss and its gradient by the scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..workload import Workload


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Workload):
    """Mean over the rows. A step returns the loss and the gradient."""

    kind = "cross_entropy"
    steps_to_check = 1

    rows: int
    classes: int

    def small(self) -> Self:
        """Return few rows."""
        return replace(self, rows=32, classes=10)

    def inputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (rows, classes) of float32 and labels (rows,) of int64."""
        random = self.random()
        scores = random.standard_normal((self.rows, self.classes), dtype=np.float32)
        return scores, random.integers(0, self.classes, self.rows)


WORKLOADS = [
    CrossEntropy(
        name=f"cross-entropy-{rows}x{classes}",
        group="Softmax and cross-entropy, forward and backward",
        column=f"{rows} x {classes}",
        goal=goal,
        rows=rows,
        classes=classes,
    )
    for rows, classes, goal in ((128, 10, 5.0), (512, 1000, 2.0))
]
