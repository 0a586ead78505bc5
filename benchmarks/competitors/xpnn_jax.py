"""xpnn on JAX: the whole step under ``jax.jit``, as the plan has it."""

from __future__ import annotations

from typing import Any

from ..competitor import Task
from ..workloads.images import Convolution, ImageStep
from ..workloads.training_step import TrainingStep
from .xpnn_fused import Xpnn


class XpnnJAX(Xpnn):
    """``xpnn.Sequential`` with ``backend="jax"``; calls return before the work is done."""

    key = "xpnn-jax"
    title = "xpnn on JAX"
    modules = ("jax", "jaxlib")
    distributions = ("numpy", "array-api-compat", "jax", "jaxlib")
    caches = ()
    quick = ("training_step",)
    # Single operations are not what a whole step is about.
    cross_entropy = adam_update = layernorm_gelu = dropout_mask = None  # type: ignore[assignment]
    lstm = gru = embedding = attention = None  # type: ignore[assignment]

    def __init__(self, device: str, threads: int) -> None:
        super().__init__(device, threads)
        self.backend = self.xpnn.backend("jax", device=device)

    @classmethod
    def needs(cls, device: str) -> tuple[str, ...]:
        """JAX does everything."""
        return cls.modules

    def clock(self) -> Any:
        """Return the host's clock: a task waits for its work itself."""
        return super(Xpnn, self).clock()

    def versions(self) -> dict[str, str]:
        """Name xpnn and JAX."""
        return {"xpnn": self.xpnn.__version__, **super(Xpnn, self).versions()}

    def training_step(self, work: TrainingStep) -> Task:
        """``Network.train``."""
        return _waiting(super().training_step(work))

    plain_training_step = training_step

    def image_step(self, work: ImageStep) -> Task:
        """``Network.train``."""
        return _waiting(super().image_step(work))

    def convolution(self, work: Convolution) -> Task:
        """``Conv2d``, by itself."""
        return _waiting(super().convolution(work))


def _waiting(task: Task) -> Task:
    """Wait for the results when a sample is over."""
    import jax

    return Task(task.step, task.numbers, jax.block_until_ready)
