"""Drives the workers: the check first, then slices of work in rounds, each competitor in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .agreement import Agreement
from .competitor import Competitor
from .process import Process, WorkerError
from .processors import busy_seconds, process_seconds
from .timing import Timing
from .workload import Workload

#: Between two slices, so that the threads of the one before have gone to sleep, s.
PAUSE = 0.05
#: A slice is repeated if other programs kept this share of one processor busy meanwhile.
DISTURBANCE = 0.12
ATTEMPTS = 3
#: After so many disturbed slices in a row nothing is repeated until there is a quiet one.
RESIGNATION = 12


@dataclass
class Results:
    """What came out, by workload and competitor.

    Attributes
    ----------
    timings : dict
        Workload name to competitor's key to `Timing`.
    faults : dict
        Competitor's key to why it takes no part.
    failures : list of str
        What should have worked and did not.
    """

    timings: dict[str, dict[str, Timing]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)


class Driver:
    """The workers of all competitors, and what they have to do.

    Parameters
    ----------
    competitors : iterable of Competitor classes
        Who takes part, if it is installed.
    device : str
        "cpu" or "cuda".
    threads : int
        Processors of each worker.
    folder, small_folder : Path
        The data for the measurements and for the check.
    say : callable
        Gets lines of text about what is going on.
    """

    def __init__(
        self,
        competitors: Iterable[type[Competitor]],
        device: str,
        threads: int,
        folder: Path,
        small_folder: Path,
        say: Callable[[str], None] = print,
    ) -> None:
        self.kinds = {kind.key: kind for kind in competitors}
        self.folder, self.small_folder = str(folder), str(small_folder)
        self.say = say
        self.results = Results()
        self._disturbed_in_a_row = 0
        self.processes: dict[str, Process] = {}
        for key, kind in self.kinds.items():
            fault = kind.fault(device)
            if fault is None and device not in kind.devices:
                fault = f"not on {device}"
            if fault is None:
                self.processes[key] = Process(key, device, threads)
            else:
                self.results.faults[key] = fault
        for key, process in list(self.processes.items()):
            try:
                self.results.versions[key] = process.greet()["versions"]
            except WorkerError as error:
                self.results.failures.append(f"{key} does not start: {error}")
                self._lose(key, f"does not start: {error}")

    def close(self) -> None:
        """End the workers."""
        for process in self.processes.values():
            process.close()

    def can(self, workload: Workload) -> list[str]:
        """Return who can do a workload."""
        return [key for key in self.processes if self.kinds[key].can(workload.kind)]

    def check(self, workload: Workload, keys: list[str]) -> dict[str, float]:
        """Compare the small version of a workload; return the seconds of its first step."""
        numbers, first = {}, {}
        for key in keys:
            answer = self._ask(
                key,
                workload,
                "prepare",
                workload=workload.name,
                small=True,
                folder=self.small_folder,
                watch=workload.steps_to_check,
            )
            if answer is not None:
                first[key] = answer["first_seconds"]
                if not self.kinds[key].floor or workload.kind == "products":
                    numbers[key] = answer["numbers"]
        agreement = Agreement(workload, numbers)
        self.results.agreements.append(agreement)
        self.say(str(agreement))
        if not agreement.holds:
            self.results.failures.append(f"{workload.group}: the results do not agree")
        return first

    def prepare(self, workload: Workload, keys: list[str]) -> list[str]:
        """Make a workload ready at full size; return who is."""
        arguments = {"workload": workload.name, "folder": self.folder}
        return [k for k in keys if self._ask(k, workload, "prepare", **arguments) is not None]

    def measure(
        self,
        workload: Workload,
        keys: list[str],
        rounds: int,
        seconds: float,
        patient: bool = True,
    ) -> None:
        """Time a workload that is ready, in turn; take no care of others if not patient."""
        timings = {key: Timing() for key in keys}
        for number in range(rounds):
            # Each order as often as the other: a neighbour's heat or cache favours nobody.
            for key in keys if number % 2 == 0 else reversed(keys):
                if key not in timings:
                    continue
                samples, disturbed = self._quiet_slice(key, workload, seconds, patient)
                if samples is None:
                    del timings[key]
                    continue
                timings[key].rounds.append(samples)
                timings[key].disturbed |= {number} if disturbed else set()
        self.results.timings[workload.name] = timings
        for key in timings if patient else ():  # what is tiny may lie there
            self._ask(key, workload, "drop")

    def _quiet_slice(
        self, key: str, workload: Workload, seconds: float, patient: bool
    ) -> tuple[list[float] | None, bool]:
        """Return the samples of a slice, and whether others were busy."""
        process = self.processes[key]
        processors = process.about["processors"]
        best: tuple[float, list[float]] | None = None
        repeatable = patient and self._disturbed_in_a_row < RESIGNATION
        for _ in range(ATTEMPTS if repeatable else 1):
            time.sleep(PAUSE if patient else 0.0)
            begin, busy = time.perf_counter(), busy_seconds(processors)
            own = process_seconds(process.pid)
            answer = self._ask(key, workload, "slice", seconds=seconds)
            if answer is None:
                return None, False
            elapsed = time.perf_counter() - begin
            own = process_seconds(process.pid) - own
            others = (busy_seconds(processors) - busy - own) / elapsed
            if best is None or others < best[0]:
                best = others, answer["samples"]
            if others < DISTURBANCE:
                break
        assert best is not None
        disturbed = best[0] >= DISTURBANCE
        self._disturbed_in_a_row = self._disturbed_in_a_row + 1 if disturbed else 0
        return best[1], disturbed

    def _ask(self, key: str, work: Workload, do: str, /, **arguments: Any) -> Any:
        """Ask a worker; None, and a remark, if it cannot."""
        process = self.processes.get(key)
        if process is None:
            return None
        try:
            return process.ask(do, **arguments)
        except WorkerError as error:
            message = f"{work.name}: {key}: {error}"
            self.results.failures.append(message)
            self.say(f"FAILED {message}")
            if "ended with" in str(error) or "no answer" in str(error):
                self._lose(key, f"lost: {error}")
            return None

    def _lose(self, key: str, reason: str) -> None:
        self.results.faults[key] = reason
        self.processes.pop(key).close()
