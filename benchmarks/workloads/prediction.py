"""Output of a trained network in test mode, for many rows and for a single one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..workload import Workload
from .training_step import INPUTS, TrainingStep


@dataclass(frozen=True, kw_only=True)
class Prediction(Workload):
    """Rows in batches; a step returns all scores."""

    kind = "prediction"
    steps_to_check = 1

    rows: int
    batch: int
    net: TrainingStep

    def small(self) -> Self:
        """Return few rows and a tiny network."""
        return replace(self, rows=min(self.rows, 40), batch=16, net=self.net.small())

    def inputs(self) -> np.ndarray:
        """Return (rows, 784) of float32."""
        return self.random().standard_normal((self.rows, INPUTS), dtype=np.float32)


_NET = TrainingStep(
    name="", group="", column="", batch=128, width=512, optimizer="sgd", dropout=0.5
)

WORKLOADS = [
    Prediction(
        name=f"prediction-{rows}",
        group="Prediction, 784-512-512-10",
        column=column,
        rows=rows,
        batch=256,
        net=_NET,
    )
    for rows, column in ((10_000, "10 000 rows"), (1, "1 row"))
]
