"""The folder of a run."""

from __future__ import annotations

import contextlib
import json
import math
import re
import time
from pathlib import Path
from typing import Any

from ..callbacks import Callback, CSVLog, Run
from ..checkpoint import sweep, write_file
from ..errors import ConfigurationError
from ..training import Checkpoint
from ._output import note
from ._toml import write_toml

CONFIGURATION = "config.toml"
METRICS = "metrics.csv"
MODEL = "model.safetensors"
CURVES = "curves.png"
RESULTS = "results.json"
CHECKPOINTS = "checkpoints"


#: Seconds after which a checkpoint is written within an epoch.
_SECONDS = 60.0


class RunFolder(Callback):
    """Makes the folder when the training begins, and keeps its log of metrics.

    Parameters
    ----------
    configuration : dict
        Is written to the folder.
    name : str
        What the data are called, for the folder's name.
    out : str, optional
        The folder. By default "runs/NAME-TIME".

    resumed : str, optional
        The folder of a run that goes on.

    Attributes
    ----------
    checkpoint : Checkpoint
        Where and when the run writes checkpoints.

    Raises
    ------
    ConfigurationError
        If ``out`` has a run in it. Nothing is ever overwritten.
    """

    def __init__(
        self,
        configuration: dict[str, Any],
        name: str,
        out: str | None = None,
        resumed: str | None = None,
    ) -> None:
        self.configuration = configuration
        self.name = re.sub(r"[^\w.-]+", "-", name)
        self.out = None if out is None else Path(out)
        self.resumed = None if resumed is None else Path(resumed)
        self.path = self.resumed or self.out or Path("runs")
        self.checkpoint = Checkpoint(
            self.path / CHECKPOINTS,
            every_seconds=_SECONDS,
            report=lambda text: note(f"xpnn: {text}"),
        )
        self._log: CSVLog | None = None
        if self.out is not None:
            refuse_used(self.out)

    def on_train_begin(self, run: Run) -> None:
        """Make the folder: the data and the network have been found to fit."""
        text = write_toml(self.configuration)
        if self.resumed is not None:  # nobody else writes here: the checkpoints are locked
            sweep(self.path)
            write_file(self.path / CONFIGURATION, text.encode())
        else:
            self.path = self._made() if self.out is None else self.out
            self.path.mkdir(parents=True, exist_ok=True)
            refuse_used(self.path)
            try:
                # Of two runs that begin at once, one finds the file there.
                with open(self.path / CONFIGURATION, "x", encoding="utf-8", newline="\n") as file:
                    file.write(text)
            except FileExistsError:
                raise _used(self.path) from None
            self.checkpoint.folder = self.path / CHECKPOINTS
        self._log = CSVLog(self.path / METRICS)
        self._log.on_train_begin(run)

    def on_epoch_end(self, run: Run, row: dict[str, Any]) -> None:
        """Log a row. A full disk does not end the training: it may have room again at the end."""
        if self._log is not None:
            try:
                self._log.on_epoch_end(run, row)
            except OSError as error:
                note(f"xpnn: {self.path / METRICS}: {error.strerror or error}; no more is logged")
                self.on_train_end(run)

    def on_train_end(self, run: Run) -> None:
        """Close the log."""
        if self._log is not None:
            with contextlib.suppress(OSError):  # what it could not write, it has reported
                self._log.on_train_end(run)
            self._log = None

    def write_results(self, results: dict[str, Any]) -> None:
        """Write what came out. Numbers that are not finite become null."""
        finite = {key: _finite(value) for key, value in results.items()}
        write_file(self.path / RESULTS, (json.dumps(finite, indent=2) + "\n").encode())

    def _made(self) -> Path:
        """Make a new folder with a name that nobody has."""
        base = Path("runs") / f"{self.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        base.parent.mkdir(exist_ok=True)
        number = 1
        while True:
            path = base if number == 1 else base.with_name(f"{base.name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
            else:
                return path


def refuse_used(folder: Path) -> None:
    """Raise ConfigurationError if a folder has a run in it, or is none."""
    if folder.is_file():
        raise ConfigurationError(f"{folder}: is a file: choose a folder")
    for name in (CONFIGURATION, METRICS, MODEL, RESULTS):
        if (folder / name).exists():
            raise _used(folder)


def _used(folder: Path) -> ConfigurationError:
    return ConfigurationError(f"{folder}: has a run in it: choose another folder")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
