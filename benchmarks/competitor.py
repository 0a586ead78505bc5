"""The base class of what does the work, and of what a piece of work is."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .clock import WallClock


@dataclass(frozen=True)
class Task:
    """A workload made ready: everything is in memory, and weights are the initial ones.

    Attributes
    ----------
    step : callable
        Does the work once and returns what came out, however its library represents it.
    numbers : callable
        Takes what `step` returned; returns a few floats that are the same whoever does the work.
    finish : callable
        Takes what `step` returned last; waits until everything is really done.
    steps : int
        How many steps of the workload a call of `step` makes.
    """

    step: Callable[[], Any]
    numbers: Callable[[Any], Sequence[float]]
    finish: Callable[[Any], object] = lambda result: None
    steps: int = 1


class Competitor:
    """A library, or a way to use one. Its methods are named after kinds of workloads.

    A method takes the workload and returns a `Task`. The constructor imports the library; nothing
    does before.

    Attributes
    ----------
    key, title : str
        Name for ``--only``, and for people.
    modules : tuple of str
        What must be installed.
    distributions : tuple of str
        What its users install. Their versions are reported, and the size of them with all that
        they require.
    packages : tuple of str
        Import packages whose size counts that belong to no distribution.
    devices : tuple of str
        Kinds of devices that it can use.
    rival : bool
        Whether it counts when the fastest rival of xpnn is looked for.
    floor : bool
        Whether it does less than the work that it is named under, so that its results are not
        compared.
    quick : tuple of str, or None
        The kinds of work for which ``--quick`` has it; None for all that it can do. What compiles
        long, or is another one but for a few kinds, has not the time for more.
    caches : tuple of str
        Environment variables that name the folders in which it keeps what it has compiled.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    modules: ClassVar[tuple[str, ...]]
    distributions: ClassVar[tuple[str, ...]]
    packages: ClassVar[tuple[str, ...]] = ()
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    rival: ClassVar[bool] = False
    floor: ClassVar[bool] = False
    quick: ClassVar[tuple[str, ...] | None] = None
    caches: ClassVar[tuple[str, ...]] = ()

    def __init__(self, device: str, threads: int) -> None:
        self.device = device
        self.threads = threads

    @classmethod
    def needs(cls, device: str) -> tuple[str, ...]:
        """Return the modules that must be installed for a device."""
        return cls.modules

    @classmethod
    def fault(cls, device: str) -> str | None:
        """Say why it cannot take part; None if, as far as one sees from outside, it can."""
        missing = [name for name in cls.needs(device) if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(missing)}" if missing else None

    @classmethod
    def can(cls, kind: str) -> bool:
        """Tell whether it can do a kind of work."""
        return callable(getattr(cls, kind, None))

    @classmethod
    def can_quickly(cls, kind: str) -> bool:
        """Tell whether ``--quick`` has it for a kind of work."""
        return cls.can(kind) and (cls.quick is None or kind in cls.quick)

    def clock(self) -> Any:
        """Return what times a slice."""
        return WallClock()

    def versions(self) -> dict[str, str]:
        """Return the versions of its distributions."""
        found = {}
        for name in self.distributions:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[name] = importlib.metadata.version(name)
        return found
