"""LayerNorm followed by GELU (the exact one), forward and backward."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..workload import Workload


@dataclass(frozen=True, kw_only=True)
class LayerNormGELU(Workload):
    """A step computes the gradients by the input, gamma and beta, and returns the first."""

    kind = "layernorm_gelu"
    steps_to_check = 1

    rows: int
    columns: int

    def small(self) -> Self:
        """Return few rows."""
        return replace(self, rows=16, columns=32)

    def inputs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return input and gradient of the output (rows, columns), gamma and beta (columns,)."""
        random = self.random()
        shapes = (self.rows, self.columns), (self.rows, self.columns), self.columns, self.columns
        x, dout, gamma, beta = (random.standard_normal(s, dtype=np.float32) for s in shapes)
        return x, dout, gamma, beta


WORKLOADS = [
    LayerNormGELU(
        name=f"layernorm-gelu-{rows}x{columns}",
        group="LayerNorm and GELU, forward and backward",
        column=f"{rows} x {columns}",
        goal=1.3,
        rows=rows,
        columns=columns,
    )
    for rows, columns in ((512, 256), (2048, 512))
]
