"""Before anything is timed: all competitors must compute the same from the same weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .workload import Workload


@dataclass(frozen=True)
class Agreement:
    """Numbers of a workload by competitor, such as the losses of the first steps."""

    workload: Workload
    numbers: dict[str, list[float]]

    @property
    def difference(self) -> float:
        """The largest difference of two, relative to the largest number of its place."""
        worst = 0.0
        columns = list(zip(*self.numbers.values(), strict=True))
        for column in columns:
            if not all(map(math.isfinite, column)):
                return math.inf
            scale = max(map(abs, column))
            worst = max(worst, (max(column) - min(column)) / scale if scale else 0.0)
        return worst

    @property
    def holds(self) -> bool:
        """Whether they are equal but for rounding."""
        return self.difference <= self.workload.tolerance

    def __str__(self) -> str:
        width = max(map(len, self.numbers), default=0)
        verdict = "agree" if self.holds else "DO NOT AGREE"
        verdict += f", relative difference {self.difference:.1e}"
        verdict += f", allowed {self.workload.tolerance:.0e}"
        if len(self.numbers) < 2 and self.holds:
            verdict = "nothing to compare with"
        lines = [f"{self.workload.group}: {verdict}"]
        for key, values in self.numbers.items():
            lines.append(f"  {key:{width}}  " + " ".join(f"{value:.6f}" for value in values))
        return "\n".join(lines)
