"""Attention of several heads, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..workload import Workload


@dataclass(frozen=True, kw_only=True)
class Attention(Workload):
    """A step computes what the steps have seen, and the gradients by the input and all parameters.

    The weights of q, k and v are one matrix.
    """

    kind = "attention"
    steps_to_check = 1

    batch: int
    steps: int
    dim: int
    heads: int
    causal: bool

    def small(self) -> Self:
        """Return short sequences."""
        return replace(self, batch=3, steps=5, dim=12, heads=2)

    def sequences(self) -> tuple[np.ndarray, np.ndarray]:
        """Return input and gradient of the output, (batch, steps, dim) both."""
        random = self.random()
        shape = self.batch, self.steps, self.dim
        x, dout = (random.standard_normal(shape, dtype=np.float32) for _ in range(2))
        return x, dout

    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return W (dim, 3 dim), b (3 dim,), Wo (dim, dim) and bo (dim,)."""
        scale, dim = self.dim**-0.5, self.dim
        w, b, wo, bo = (
            self.random(1).uniform(-scale, scale, shape).astype(np.float32)
            for shape in ((dim, 3 * dim), 3 * dim, (dim, dim), dim)
        )
        return w, b, wo, bo


WORKLOADS = [
    Attention(
        name=f"attention-{batch}x{steps}x{dim}-{heads}{'-causal' if causal else ''}",
        group="Attention, forward and backward (batch x steps x features, heads)",
        column=f"{batch} x {steps} x {dim}, {heads}{', causal' if causal else ''}",
        goal=1.25,
        batch=batch,
        steps=steps,
        dim=dim,
        heads=heads,
        causal=causal,
    )
    for batch, steps, dim, heads, causal in (
        (32, 128, 96, 4, True),
        (16, 64, 128, 8, True),
        (8, 256, 256, 8, False),
    )
]
