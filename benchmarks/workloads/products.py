"""The eight matrix products of a training step, and nothing else: how fast a library's BLAS is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np

from ..workload import Workload
from .training_step import CLASSES, INPUTS


@dataclass(frozen=True, kw_only=True)
class Products(Workload):
    """``h @ W`` forward, ``h.T @ d`` for each W, ``d @ W.T`` for each but the first."""

    kind = "products"

    batch: int
    width: int

    def small(self) -> Self:
        """Return small matrices."""
        return replace(self, batch=32, width=16)

    def matrices(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the inputs of the layers with the last output, (N, d), and the weights."""
        random = self.random()
        widths = INPUTS, self.width, self.width, CLASSES
        hidden = [random.standard_normal((self.batch, d), dtype=np.float32) for d in widths]
        weights = [random.standard_normal(p, dtype=np.float32) for p in pairwise(widths)]
        return hidden, weights


WORKLOADS = [
    Products(
        name=f"products-{batch}x{width}",
        group="Matrix products of a training step",
        column=f"{batch} x {width}",
        batch=batch,
        width=width,
    )
    for batch, width in ((64, 128), (128, 512), (256, 1024))
]
