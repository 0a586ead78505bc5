"""What a process of its own is needed for: start, peak memory, kernel launches, install size."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .competitor import Competitor
from .process import Process, WorkerError

#: What a fresh process trains its first step on: the first of these that it can do.
FIRST_STEPS = ("step-sgd-64x128", "plain-adam-128x512")
EPOCH = "epoch"


@dataclass(frozen=True)
class Start:
    """Seconds from the start of a process to the end of its first training step."""

    whole: float
    importing: float
    first_step: float


def start(
    kind: type[Competitor], device: str, threads: int, workload: str, caches: Path | None
) -> Start:
    """Start a process whose compilers keep their results in a folder, or where they always do."""
    environment = {name: str(caches / name) for name in kind.caches} if caches else {}
    process = Process(kind.key, device, threads, environment)
    try:
        about = process.greet()
        answer = process.ask("prepare", workload=workload)
        whole = time.perf_counter() - process.started
        return Start(whole, about["import_seconds"], answer["first_seconds"])
    finally:
        process.close()


def starts(
    kind: type[Competitor], device: str, threads: int, workload: str, rounds: int
) -> dict[str, Start]:
    """Return the start with empty caches, and the median of some with full ones."""
    with tempfile.TemporaryDirectory() as folder:
        cold = start(kind, device, threads, workload, Path(folder))
        several = [start(kind, device, threads, workload, Path(folder)) for _ in range(rounds)]
    several.sort(key=lambda one: one.whole)
    return {"cold": cold, "warm": several[len(several) // 2]}


def peak_above_data(
    kind: type[Competitor], device: str, threads: int, folder: Path, small: bool
) -> int:
    """Return the peak memory of a process that trains an epoch, less the bytes of its data."""
    process = Process(kind.key, device, threads, patience=1200.0)
    try:
        process.greet()
        process.ask("prepare", workload=EPOCH, folder=str(folder), small=small)
        peak = int(process.ask("memory")["peak"])
    finally:
        process.close()
    arrays = (np.load(folder / "arrays" / f"{name}.npy", mmap_mode="r") for name in "xy")
    return peak - sum(array.nbytes for array in arrays)


def launches(kind: type[Competitor], threads: int, workload: str, small: bool) -> float | None:
    """Return the kernels that a step launches on a GPU, in a process that may import PyTorch."""
    process = Process(kind.key, "cuda", threads)
    try:
        process.greet()
        process.ask("prepare", workload=workload, small=small)
        answer = process.ask("launches")["launches"]
        return None if answer is None else float(answer)
    finally:
        process.close()


def install_size(kind: type[Competitor]) -> int:
    """Return the bytes of its distributions, of all that they require, and of its packages."""
    seen: dict[str, importlib.metadata.Distribution] = {}
    waiting = list(kind.distributions)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        # What a marker asks for on other systems only is not installed here.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            seen[name] = found = importlib.metadata.distribution(name)
            for requirement in found.requires or []:
                if not re.search(r"\bextra\s*==", requirement):
                    waiting.append(re.match(r"[\w.-]+", requirement)[0])  # type: ignore[index]
    files = [file.locate() for found in seen.values() for file in found.files or []]
    for package in kind.packages:
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or []) if spec else []:
            # Numba's compiled kernels lie there as well, but are not what is installed.
            files += [f for f in Path(place).rglob("*") if f.suffix not in (".nbi", ".nbc")]
    return sum(Path(str(file)).stat().st_size for file in set(files) if Path(str(file)).is_file())


def attempt(action: Callable[[], object], failures: list[str], what: str) -> object:
    """Return what an action returns; None, and an entry in a list, if its worker fails."""
    try:
        return action()
    except WorkerError as error:
        failures.append(f"{what}: {error}")
        return None
