"""What is known of a workload on a competitor when all rounds are over."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Timing:
    """Samples of the seconds that a step takes, by rounds.

    Attributes
    ----------
    rounds : list of list of float
        A list of samples for each round.
    disturbed : int
        Number of rounds in which other programs were busy, however often they were repeated.
    """

    rounds: list[list[float]] = field(default_factory=list)
    disturbed: int = 0

    @property
    def medians(self) -> list[float]:
        """The median of each round."""
        return [statistics.median(samples) for samples in self.rounds]

    @property
    def median(self) -> float:
        """The median of the medians."""
        return statistics.median(self.medians)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Lower and upper quartile of all samples."""
        return quartiles([sample for samples in self.rounds for sample in samples])


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one is as another: median and quartiles over the rounds."""

    value: float
    low: float
    high: float


def ratio(slower: Timing, faster: Timing) -> Ratio:
    """Compare round by round, since what slows down a whole round slows down both."""
    pairs = zip(slower.medians, faster.medians, strict=True)
    ratios = [a / b for a, b in pairs]
    return Ratio(statistics.median(ratios), *quartiles(ratios))


def fastest(timings: dict[str, Timing], keys: Sequence[str]) -> str | None:
    """Return which of some has the smallest median; None if there is none."""
    return min((k for k in keys if k in timings), key=lambda k: timings[k].median, default=None)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the lower and the upper quartile, also of a single value."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
