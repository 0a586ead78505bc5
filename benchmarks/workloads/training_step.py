"""One step of training a perceptron 784-H-H-10: forward, loss, backward, update.

The batch lies in memory and is the same at every step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np

from ..workload import Workload

INPUTS, CLASSES = 784, 10


@dataclass(frozen=True, kw_only=True)
class TrainingStep(Workload):
    """A step of the network with BatchNorm, ReLU and Dropout after each hidden product.

    The penalty ``l2 * sum(p**2)`` is on all parameters. ``repeats`` is how many steps a
    competitor may make in one call if calls are dear to it.
    """

    kind = "training_step"
    tolerance = 2e-5

    batch: int
    width: int
    optimizer: str
    normalized: bool = True
    dropout: float = 0.5
    l2: float = 1e-4
    lr: float = 0.01
    momentum: float = 0.9
    repeats: int = 20

    def small(self) -> Self:
        """Return a tiny step without dropout, whose penalty is large enough to be seen."""
        return replace(
            self, batch=32, width=16, dropout=0.0, l2=1000 * self.l2, lr=self.lr * 2, repeats=1
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of the input, of the hidden layers, of the output."""
        return INPUTS, self.width, self.width, CLASSES

    def inputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return a batch: (N, 784) of float32, and labels (N,) of int64."""
        random = self.random()
        x = random.standard_normal((self.batch, INPUTS), dtype=np.float32)
        return x, random.integers(0, CLASSES, self.batch)

    def weights(self) -> list[np.ndarray]:
        """Return the initial matrices, (in, out). Biases begin at 0, scales at 1."""
        random = self.random(1)
        return [
            random.standard_normal((a, b), dtype=np.float32) * np.float32((2 / a) ** 0.5)
            for a, b in pairwise(self.widths)
        ]

    def loss(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """Return the cross-entropy, without the penalty, in double precision."""
        logits = logits.astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        logarithms = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(-logarithms[np.arange(len(labels)), labels].mean())


class PlainTrainingStep(TrainingStep):
    """A step of the network without BatchNorm and Dropout, which more libraries can do."""

    kind = "plain_training_step"


def _steps(optimizer: str, title: str, lr: float) -> list[TrainingStep]:
    return [
        TrainingStep(
            name=f"step-{optimizer}-{batch}x{width}",
            group=f"Training step, {title}",
            column=f"{batch} x {width}",
            goal=1.4,
            batch=batch,
            width=width,
            optimizer=optimizer,
            lr=lr,
        )
        for batch, width in ((64, 128), (128, 512), (256, 1024))
    ]


WORKLOADS = [
    *_steps("sgd", "SGD with momentum", 0.01),
    *_steps("adam", "Adam", 1e-3),
    PlainTrainingStep(
        name="plain-adam-128x512",
        group="Training step of a plain network, Adam",
        column="128 x 512",
        goal=2.0,
        against=("thinc", "sklearn"),
        batch=128,
        width=512,
        optimizer="adam",
        normalized=False,
        dropout=0.0,
        l2=0.0,
        lr=1e-3,
    ),
]
