"""The process that a competitor lives in: ``python -m benchmarks.worker KEY DEVICE THREADS``.

It reads one JSON object a line from standard input and answers each with one on the original
standard output; whatever libraries print goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from . import launches
from .processors import pin

#: Time of a sample where a step is short, s. Calls that return early are waited for at its end.
SAMPLE_SECONDS = 0.02
#: Share of a slice that is run before it, not timed.
WARM_UP = 0.3


class Worker:
    """Does what the parent asks for."""

    def __init__(self, key: str, device: str, threads: int) -> None:
        self.processors = pin(threads)
        begin = time.perf_counter()
        from .competitors import COMPETITORS

        self.competitor = COMPETITORS[key](device, threads)
        self.import_seconds = time.perf_counter() - begin
        self.clock = self.competitor.clock()
        self.task: Any = None
        self.step_seconds = 0.0

    def describe(self) -> dict[str, Any]:
        """Say what this is."""
        return {
            "processors": self.processors,
            "versions": self.competitor.versions(),
            "import_seconds": self.import_seconds,
        }

    def prepare(
        self, workload: str, small: bool = False, folder: str = "", watch: int = 0
    ) -> dict[str, Any]:
        """Make a workload ready and do it once; look at the numbers of the first steps."""
        from .workloads import WORKLOADS

        self.task = None
        work = WORKLOADS[workload]
        work = (work.small() if small else work).placed(folder)
        begin = time.perf_counter()
        self.task = getattr(self.competitor, work.kind)(work)
        result = self.task.step()
        self.task.finish(result)
        first = time.perf_counter() - begin
        numbers = []
        for index in range(watch):
            if index:
                result = self.task.step()
            numbers += list(self.task.numbers(result))
        self._settle()
        return {"first_seconds": first, "numbers": numbers}

    def _settle(self) -> None:
        """Run until steps have become as fast as they get, and remember how fast that is."""
        best = float("inf")
        for _ in range(5):
            self.step_seconds = self._sample(1)
            if self.step_seconds > min(0.9 * best, 0.5):
                break
            best = self.step_seconds

    def slice(self, seconds: float) -> dict[str, Any]:
        """Work for about so long; return the seconds of a step, sample by sample."""
        count = max(3, round(SAMPLE_SECONDS / max(self.step_seconds, 1e-9)))
        if self.step_seconds * count > seconds:
            count = 1
        end = time.perf_counter() + WARM_UP * seconds
        while self.step_seconds < WARM_UP * seconds and time.perf_counter() < end:
            self._sample(count)
        samples = []
        end = time.perf_counter() + seconds
        while not samples or time.perf_counter() < end:
            samples.append(self._sample(count) / self.task.steps)
        self.step_seconds = min(samples) * self.task.steps
        return {"samples": samples}

    def _sample(self, count: int) -> float:
        step, result = self.task.step, None
        self.clock.begin()
        for _ in range(count):
            result = step()
        self.task.finish(result)
        return self.clock.end() / count

    def drop(self) -> dict[str, Any]:
        """Forget the workload."""
        self.task = None
        gc.collect()
        return {}

    def memory(self) -> dict[str, Any]:
        """Return the largest memory that this process has had, in bytes."""
        return {"peak": peak_memory()}

    def launches(self) -> dict[str, Any]:
        """Count the kernels that a step launches."""
        return {"launches": launches.count(self.task.step)}


def peak_memory() -> int:
    """Return the largest resident memory so far, in bytes.

    On Linux ``ru_maxrss`` would begin with that of the parent, which a new process has for a
    moment.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(what: Any) -> None:
        print(json.dumps(what), file=answers)

    key, device, threads = sys.argv[1:]
    try:
        worker = Worker(key, device, int(threads))
    except Exception as error:  # whatever a library has to say
        answer(_failure(error))
        return
    answer(worker.describe())
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer(getattr(worker, request.pop("do"))(**request))
        except Exception as error:
            answer(_failure(error))


def _failure(error: Exception) -> dict[str, str]:
    traceback.print_exc()
    message = str(error).strip() or "no message"
    return {"error": f"{type(error).__name__}: {message.splitlines()[0]}"}


if __name__ == "__main__":
    main()
    os._exit(0)  # there is nothing to keep, and some libraries take a second to tidy up
