"""Which processors the workers may use, and how busy others keep them (Linux)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

#: Settings of a shell that may favour or hamper one competitor are not passed on: numbers of
#: threads, and such as OPENBLAS_CORETYPE, which chooses the code of NumPy's matrix products.
SETTINGS = (
    "ATEN_",
    "BLIS_",
    "DNNL_",
    "GOMP_",
    "JAX_",
    "KMP_",
    "MKL_",
    "NUMBA_",
    "OMP_",
    "ONEDNN_",
    "OPENBLAS_",
    "TORCH",
    "XLA_",
    "XPNN_",
)

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "XPNN_NUM_THREADS",
)


def unbiased(variables: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables without those of `SETTINGS`; where caches lie may be set."""
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith(SETTINGS) or name.endswith("CACHE_DIR")
    }


def pin(threads: int) -> list[int]:
    """Restrict this process to a number of cores, so that all pools are of that size.

    Returns the processors, of which no two share a core if there are enough cores; an empty list
    where the system cannot do it. Then the pools are restricted by environment variables.
    """
    if not hasattr(os, "sched_setaffinity"):
        for name in THREAD_VARIABLES:
            os.environ[name] = str(threads)
        return []
    allowed = sorted(os.sched_getaffinity(0))
    chosen: list[int] = []
    taken: set[str] = set()
    for processor in allowed:
        core = _siblings(processor)
        if core not in taken:
            taken.add(core)
            chosen.append(processor)
    chosen += [processor for processor in allowed if processor not in chosen]
    chosen = sorted(chosen[:threads])
    os.sched_setaffinity(0, chosen)
    return chosen


def _siblings(processor: int) -> str:
    """Return what is equal for processors of one core."""
    path = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
    return path.read_text() if path.exists() else str(processor)


def busy_seconds(processors: list[int]) -> float:
    """Return how long some processors have worked since the system started; 0 if unknown."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0.0
    names = {f"cpu{processor}" for processor in processors}
    ticks = 0
    for line in lines:
        name, *fields = line.split()
        if name in names:
            user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(int, fields)
            ticks += user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def process_seconds(pid: int) -> float:
    """Return the processor time of a process so far; 0 if unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
