"""What is known of a workload on a competitor when all rounds are over."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Timing:
    """Samples of the seconds that a step takes, by rounds.

    Rounds in which other programs were busy count only if there are no others.

    Attributes
    ----------
    rounds : list of list of float
        A list of samples for each round.
    disturbed : set of int
        In which rounds other programs were busy, however often they were repeated.
    """

    rounds: list[list[float]] = field(default_factory=list)
    disturbed: set[int] = field(default_factory=set)

    @property
    def counted(self) -> list[int]:
        """The rounds that count."""
        return _undisturbed(len(self.rounds), self.disturbed)

    @property
    def medians(self) -> list[float]:
        """The median of each round."""
        return [statistics.median(samples) for samples in self.rounds]

    @property
    def median(self) -> float:
        """The median of the medians."""
        medians = self.medians
        return statistics.median(medians[index] for index in self.counted)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Lower and upper quartile of the samples."""
        return quartiles([sample for index in self.counted for sample in self.rounds[index]])


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one is as another: median and quartiles over the rounds."""

    value: float
    low: float
    high: float


def ratio(slower: Timing, faster: Timing) -> Ratio:
    """Compare round by round, since what slows down a whole round slows down both."""
    pairs = list(zip(slower.medians, faster.medians, strict=True))
    counted = _undisturbed(len(pairs), slower.disturbed | faster.disturbed)
    ratios = [pairs[index][0] / pairs[index][1] for index in counted]
    return Ratio(statistics.median(ratios), *quartiles(ratios))


def _undisturbed(rounds: int, disturbed: set[int]) -> list[int]:
    """Return the numbers of the rounds that are not disturbed; of all if there are none."""
    return [index for index in range(rounds) if index not in disturbed] or list(range(rounds))


def fastest(timings: dict[str, Timing], keys: Sequence[str]) -> str | None:
    """Return which of some has the smallest median; None if there is none."""
    return min((k for k in keys if k in timings), key=lambda k: timings[k].median, default=None)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the lower and the upper quartile, also of a single value."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
