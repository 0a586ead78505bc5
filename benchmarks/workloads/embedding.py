"""Embedding, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..workload import Workload


@dataclass(frozen=True, kw_only=True)
class EmbeddingLookup(Workload):
    """A step looks up some ids and computes the gradient by all vectors, zeros included."""

    kind = "embedding"
    steps_to_check = 1

    num: int
    dim: int
    ids: int

    def small(self) -> Self:
        """Return few ids."""
        return replace(self, num=7, dim=3, ids=20)

    def inputs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ids (ids,), the vectors (num, dim) and the gradient of the output (ids, dim)."""
        random = self.random()
        ids = random.integers(0, self.num, self.ids)
        vectors = random.standard_normal((self.num, self.dim), dtype=np.float32)
        return ids, vectors, random.standard_normal((self.ids, self.dim), dtype=np.float32)


WORKLOADS = [
    EmbeddingLookup(
        name=f"embedding-{num}x{dim}-{ids}",
        group="Embedding, forward and backward",
        column=f"{num} x {dim}, {ids} ids",
        goal=2.5,
        num=num,
        dim=dim,
        ids=ids,
    )
    for num, dim, ids in ((10_000, 64, 2_048), (10_000, 128, 16_384))
]
