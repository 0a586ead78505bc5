"""What the commands print, and what becomes of them when nobody can read it any more."""

from __future__ import annotations

import contextlib
import os
import sys

#: What a shell reports of a program whose reader went away: 128 + SIGPIPE.
BROKEN_PIPE = 141


def ensure_streams() -> None:
    """Give the process a place to print to, if it was started without one."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for the rest of the process)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def complain(message: str, code: int) -> int:
    """Print one line on standard error, and return the exit code."""
    note(f"xpnn: {' '.join(message.split())}")
    return code


def note(text: str) -> None:
    """Print to standard error; go on if that is gone."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print to standard output; go on without it if that is gone.

    For a training, which is worth more than what it prints.
    """
    try:
        print(text, flush=True)
    except UnicodeEncodeError:  # a terminal without the letters of a class name
        encoding = sys.stdout.encoding or "ascii"
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except OSError:
        settle_output()


def settle_output() -> None:
    """Send what cannot be printed to nowhere, so that the end of the process is quiet."""
    try:
        sys.stdout.flush()
    except OSError:
        _give_up_output()


def _give_up_output() -> None:
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # not a file of the system
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
