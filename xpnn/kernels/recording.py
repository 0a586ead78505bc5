"""Which kernels a stretch of code calls, so that they can be called again without it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

__all__ = ["Call", "Recording", "current", "recorded", "spoil"]


class Call(NamedTuple):
    """A kernel that was called, and what it was given."""

    kernel: Any
    compiled: Callable[..., None]
    arguments: tuple[Any, ...]


class Recording:
    """The calls of kernels on one of Python's threads, in their order.

    Attributes
    ----------
    calls : list of Call
        What was called.
    whole : bool
        Whether the calls are all that was done to arrays.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.whole = True

    def listening(self, kernel: Any, compiled: Callable[..., Any]) -> Callable[..., Any]:
        """Return a kernel that notes how it is called."""

        def call(*arguments: Any) -> Any:
            result = compiled(*arguments)
            if result is not None:  # what comes next may depend on it
                self.whole = False
            self.calls.append(Call(kernel, compiled, arguments))
            return result

        return call


class _Local(threading.local):
    recording: Recording | None = None


_LOCAL = _Local()


def current() -> Recording | None:
    """Return the recording that is under way on this thread."""
    return _LOCAL.recording


def spoil() -> None:
    """Say that something was done to arrays that is no call of a kernel."""
    recording = _LOCAL.recording
    if recording is not None:
        recording.whole = False


@contextlib.contextmanager
def recorded(recording: Recording) -> Iterator[None]:
    """Record what kernels this thread calls meanwhile."""
    _LOCAL.recording = recording
    try:
        yield
    finally:
        _LOCAL.recording = None
