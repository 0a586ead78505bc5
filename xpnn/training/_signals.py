"""Signals that end a training after its step, so that it can write a checkpoint."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from ..callbacks import Run
from ..history import History

__all__ = ["Terminated", "interruptible"]

#: Why a training ended, by the name of the signal.
_REASONS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}


class Terminated(SystemExit):
    """The end of a program that got SIGTERM or SIGHUP, after the checkpoint has been written.

    Attributes
    ----------
    code : int
        128 and the number of the signal, as shells count: 143 or 129.
    history : History
        What had been recorded.
    """

    def __init__(self, number: int, history: History) -> None:
        super().__init__(128 + number)
        self.history = history


@contextlib.contextmanager
def interruptible(run: Run, with_checkpoint: bool) -> Iterator[None]:
    """Let the first signal end the run after its step, and the second one end it at once.

    Ctrl-C always; SIGTERM and SIGHUP only where there is a checkpoint to write. A signal that
    somebody else listens to, or that is ignored (nohup), is left alone, and so are all of them
    outside of the main thread.

    Raises
    ------
    Terminated
        At the end, if SIGTERM or SIGHUP came.
    """
    names = ("SIGINT", "SIGTERM", "SIGHUP") if with_checkpoint else ("SIGINT",)
    in_main_thread = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    defaults = {
        number: signal.getsignal(number)
        for number in numbers
        if in_main_thread
        and signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)
    }
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        restore()
        came.append(number)
        run.stop(_REASONS[signal.Signals(number).name])

    def restore() -> None:
        for number, handler in defaults.items():
            signal.signal(number, handler)

    handler: Any = stop
    for number in defaults:
        signal.signal(number, handler)
    try:
        yield
    finally:
        restore()
    if came and came[0] != signal.SIGINT:
        raise Terminated(came[0], run.history)
