"""What ``--only`` means."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from .competitors import COMPETITORS
from .workloads import WORKLOADS

#: What is measured in processes of their own, by the names that ``--only`` knows.
ALONE = {
    "start": "Start of a process, to the end of its first training step",
    "memory": "Peak memory of a process that trains an epoch, above its data (CPU)",
    "size": "Size of what has to be installed (CPU)",
    "launches": "Kernel launches of a training step (CUDA)",
}


#: What only one kind of device has.
ONLY_ON = {"memory": "cpu", "size": "cpu", "launches": "cuda"}


def select(only: Iterable[str], device: str = "cpu") -> tuple[list[str], list[str], list[str]]:
    """Return the names of competitors, workloads and measurements alone that are wanted.

    Parameters
    ----------
    only : iterable of str
        Names, or patterns such as "step-*". Without the name of a competitor all take part;
        without the name of anything to measure, everything is measured.
    device : str
        "cpu" or "cuda".

    Raises
    ------
    ValueError
        If a pattern fits nothing.
    """
    everything = {**COMPETITORS, **WORKLOADS, **ALONE}
    wanted: set[str] = set()
    for pattern in only:
        found = fnmatch.filter(everything, pattern)
        if not found:
            raise ValueError(f"there is nothing named {pattern!r}: see --list")
        wanted |= set(found)
    competitors = [key for key in COMPETITORS if key in wanted] or list(COMPETITORS)
    workloads = [name for name in WORKLOADS if name in wanted]
    alone = [name for name in ALONE if name in wanted]
    if not workloads and not alone:
        workloads, alone = list(WORKLOADS), list(ALONE)
    return competitors, workloads, [n for n in alone if ONLY_ON.get(n, device) == device]
