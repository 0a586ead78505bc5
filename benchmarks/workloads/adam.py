"""An update by Adam of one vector of parameters, the gradients being there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..workload import Workload


@dataclass(frozen=True, kw_only=True)
class AdamUpdate(Workload):
    """One tensor, which spares the others their loop over many small ones."""

    kind = "adam_update"

    size: int
    lr: float = 1e-3

    def small(self) -> Self:
        """Return a short vector and a large step."""
        return replace(self, size=1000, lr=0.1)

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return parameters and gradients, (size,) of float32."""
        random = self.random()
        values = random.standard_normal(self.size, dtype=np.float32)
        return values, random.standard_normal(self.size, dtype=np.float32)


WORKLOADS = [
    AdamUpdate(
        name=f"adam-{size}",
        group="Update by Adam",
        column=f"{size / 1e6:g} M parameters",
        goal=1.1,
        size=size,
    )
    for size in (670_000, 5_000_000)
]
