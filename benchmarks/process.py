"""The parent's end of a worker."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .processors import unbiased

ROOT = Path(__file__).parents[1]


class WorkerError(Exception):
    """A worker could not do what it was asked for; the message has one line."""


class Process:
    """A worker process.

    Parameters
    ----------
    key, device : str
        Competitor and device.
    threads : int
        How many processors it may use.
    environment : dict of str to str
        Variables to set besides those of this process.
    patience : float
        Seconds after which a worker that does not answer is ended.
    """

    def __init__(
        self,
        key: str,
        device: str,
        threads: int,
        environment: dict[str, str] | None = None,
        patience: float = 300.0,
    ) -> None:
        variables = unbiased(os.environ)
        variables["PYTHONPATH"] = os.pathsep.join(
            [str(ROOT), *filter(None, [variables.get("PYTHONPATH")])]
        )
        if device == "cpu":
            variables["JAX_PLATFORMS"] = "cpu"
        self.patience = patience
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", key, device, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=variables | (environment or {}),
        )
        self._read = b""
        self.about: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def greet(self) -> dict[str, Any]:
        """Wait until the worker is there; return what it says of itself."""
        self.about = self._answer()
        return self.about

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for the answer.

        Raises
        ------
        WorkerError
            If the worker answers with an error, ends, or does not answer.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise WorkerError(self._last_words()) from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + self.patience
        while b"\n" not in self._read:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._process.stdout], [], [], max(left, 0.0))
            if not ready:
                self._process.kill()
                raise WorkerError(f"no answer within {self.patience:g} s")
            piece = os.read(self._process.stdout.fileno(), 1 << 16)
            if not piece:
                raise WorkerError(self._last_words())
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def _last_words(self) -> str:
        status = self._process.wait(10)
        lines = self.errors().strip().splitlines()
        return f"ended with status {status}" + (f": {lines[-1]}" if lines else "")

    def errors(self) -> str:
        """Return what it has written to standard error."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()
