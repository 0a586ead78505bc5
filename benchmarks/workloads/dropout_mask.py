"""A mask of random bits, each 1 with probability 1/2, by each library's own generator."""

from __future__ import annotations

from dataclasses import dataclass

from ..workload import Workload


@dataclass(frozen=True, kw_only=True)
class DropoutMask(Workload):
    """A new mask at every step. The check compares the share of ones."""

    kind = "dropout_mask"
    tolerance = 0.01
    steps_to_check = 1

    size: int
    p: float = 0.5


WORKLOADS = [
    DropoutMask(
        name="dropout-mask",
        group="Random mask",
        column="1 M elements",
        goal=5.0,
        against=("torch",),
        size=1 << 20,
    )
]
