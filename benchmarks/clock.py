"""Clocks: the wall's, and events of a GPU.

A GPU works on when a call has returned. Its clocks begin when it is idle, and end with an event
that lies behind all work of the slice and is waited for.
"""

from __future__ import annotations

import time
from typing import Any


class WallClock:
    """Time on the wall. What still runs at the end must have been waited for."""

    def begin(self) -> None:
        """Start."""
        self._start = time.perf_counter()

    def end(self) -> float:
        """Return the seconds since `begin`."""
        return time.perf_counter() - self._start


class EventClock:
    """Time between two events of a GPU.

    Parameters
    ----------
    make_event : callable
        Makes an event that keeps the time: ``record()``, ``synchronize()``.
    milliseconds : callable
        Takes two events; returns the time between them.
    wait : callable
        Waits until the device is idle.
    """

    def __init__(self, make_event: Any, milliseconds: Any, wait: Any) -> None:
        self._make_event = make_event
        self._milliseconds = milliseconds
        self._wait = wait

    def begin(self) -> None:
        """Start, when the device is idle."""
        self._wait()
        self._start = self._make_event()
        self._start.record()

    def end(self) -> float:
        """Return the seconds since `begin`, when all is done that was begun."""
        stop = self._make_event()
        stop.record()
        stop.synchronize()
        return float(self._milliseconds(self._start, stop)) / 1e3


def cupy_clock() -> EventClock:
    """Return a clock of CuPy's current device and stream."""
    import cupy

    return EventClock(cupy.cuda.Event, cupy.cuda.get_elapsed_time, cupy.cuda.Device().synchronize)


def torch_clock() -> EventClock:
    """Return a clock of PyTorch's current CUDA device and stream."""
    import torch

    return EventClock(
        lambda: torch.cuda.Event(enable_timing=True),
        lambda start, stop: start.elapsed_time(stop),
        torch.cuda.synchronize,
    )
