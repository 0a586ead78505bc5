"""The base class of what is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One thing to measure. It has the data; competitors know how it is done.

    Attributes
    ----------
    name : str
        What ``--only`` and ``--list`` call it.
    group : str
        Heading of the table that it is a column of.
    column : str
        Heading of the column.
    goal : float or None
        How many times as fast as the fastest rival xpnn is meant to be.
    against : tuple of str
        Keys of the competitors that the goal is about, if not all rivals.
    kind : str
        Name of the method by which a competitor does it.
    tolerance : float
        Relative difference that the check of equal results allows.
    steps_to_check : int
        Number of steps whose results are compared.
    """

    kind: ClassVar[str]
    tolerance: ClassVar[float] = 1e-4
    steps_to_check: ClassVar[int] = 4

    name: str
    group: str
    column: str
    goal: float | None = None
    against: tuple[str, ...] = ()

    def small(self) -> Self:
        """Return a version for the check: tiny, and without chance."""
        return self

    def placed(self, folder: str) -> Self:
        """Return a version that finds its files in a folder."""
        return replace(self, folder=folder) if hasattr(self, "folder") else self

    def random(self, stream: int = 0) -> np.random.Generator:
        """Return a source of random numbers: the same ones for all competitors."""
        return np.random.default_rng((2017, stream))


def norm(array: Any) -> float:
    """Return the Euclidean norm of a NumPy array, summed in double precision."""
    return float(np.linalg.norm(np.asarray(array, dtype=np.float64)))
