"""The matrix products of a step alone: the floor under whoever uses this BLAS."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..clock import cupy_clock
from ..competitor import Competitor, Task
from ..workload import norm
from ..workloads.products import Products
from ..workloads.training_step import TrainingStep


class NumPyProducts(Competitor):
    """``matmul`` into arrays that are there, by NumPy or CuPy."""

    key = "products"
    title = "matrix products alone"
    modules = ("numpy",)
    distributions = ("numpy",)
    devices = ("cpu", "cuda")
    floor = True

    def __init__(self, device: str, threads: int) -> None:
        super().__init__(device, threads)
        self.xp: Any = np
        if device != "cpu":
            import cupy

            self.xp = cupy

    @classmethod
    def needs(cls, device: str) -> tuple[str, ...]:
        """NumPy, or CuPy for a GPU."""
        return cls.modules if device == "cpu" else ("cupy",)

    def clock(self) -> Any:
        """Return events for a GPU."""
        return super().clock() if self.device == "cpu" else cupy_clock()

    def training_step(self, work: TrainingStep) -> Task:
        """Return the products of the step and nothing else of it."""
        return self.products(
            Products(name="", group="", column="", batch=work.batch, width=work.width)
        )

    plain_training_step = training_step

    def products(self, work: Products) -> Task:
        """Write the results where those of the last step are."""
        xp = self.xp
        hidden, weights = ([xp.asarray(a) for a in arrays] for arrays in work.matrices())
        outputs = [xp.empty_like(h) for h in hidden]
        gradients = [xp.empty_like(w) for w in weights]

        def step() -> Any:
            for i, weight in enumerate(weights):
                xp.matmul(hidden[i], weight, out=outputs[i + 1])
            for i in reversed(range(len(weights))):
                xp.matmul(hidden[i].T, hidden[i + 1], out=gradients[i])
                if i:
                    xp.matmul(hidden[i + 1], weights[i].T, out=outputs[i])
            return gradients[0]

        return Task(step, lambda last: [norm(last if xp is np else last.get())])
