"""What happens around the steps of a training: progress, early stopping, logs."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from ._checks import checked_number, checked_path
from ._standard import Array
from .data.batches import as_count
from .errors import ConfigurationError, unknown
from .history import History
from .network import Network

__all__ = ["CSVLog", "Callback", "EarlyStopping", "Progress", "Run"]


@dataclass
class Run:
    """A training under way, as callbacks see it.

    Attributes
    ----------
    network : Network
        What is trained.
    epochs : int
        Number of epochs to make.
    steps_per_epoch : int or None
        Batches of an epoch, where it is known.
    columns : tuple of str
        Names of the losses and metrics that each row of the history will have.
    history : History
        The rows so far.
    stop_reason : str or None
        Set by `stop`.
    memory : str or None
        What a step and the data are estimated to take on a device whose memory is known.
    batch : int
        Steps made so far in the epoch under way.
    """

    network: Network
    epochs: int
    steps_per_epoch: int | None
    columns: tuple[str, ...]
    history: History = field(default_factory=History)
    stop_reason: str | None = None
    memory: str | None = None
    batch: int = 0

    def stopping(self) -> bool:
        """Tell whether somebody has asked for the end."""
        return self.stop_reason is not None

    def stop(self, reason: str) -> None:
        """End the training after the step or the epoch under way. The first reason counts."""
        if self.stop_reason is None:
            self.stop_reason = reason


class Callback:
    """Does something at certain moments of a training; the base class of every callback.

    A callback of your own derives from it and defines the moments that it needs.

    Examples
    --------
    >>> class StopAt(Callback):
    ...     def __init__(self, loss):
    ...         self.loss = loss
    ...
    ...     def on_epoch_end(self, run, row):
    ...         if row["loss"] < self.loss:
    ...             run.stop("loss is low enough")
    """

    def on_train_begin(self, run: Run) -> None:
        """Before the first step."""

    def on_epoch_begin(self, run: Run) -> None:
        """Before the first step of an epoch."""

    def on_batch_end(self, run: Run, loss: Array) -> None:
        """After a step. ``loss`` lies on the device: ``float(loss)`` waits for it."""

    def on_epoch_end(self, run: Run, row: dict[str, Any]) -> None:
        """After an epoch, its validation included. ``row`` is the new row of the history."""

    def on_train_end(self, run: Run) -> None:
        """At the end, however it came about."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of this callback: nothing, unless it says otherwise.

        A dictionary of numbers, text, lists, dictionaries, and arrays of float32 or float64. One
        with a state has some at all times.
        """
        return {}

    def restore(self, run: Run, state: dict[str, Any]) -> None:
        """Go on from a `state`, with arrays on the host. Called after `on_train_begin`."""


class EarlyStopping(Callback):
    """Stop when a value no longer improves, and restore the weights that had the best one.

    The best weights are restored however the training ends: also when the last epoch is reached,
    at Ctrl-C and when it diverges.

    Parameters
    ----------
    monitor : str
        Column of the history, such as "val_loss" or "val_accuracy".
    patience : int
        Number of epochs without improvement after which to stop, >= 1.
    min_delta : float
        What counts as an improvement: more than this, >= 0.
    mode : {"min", "max"}, optional
        Whether smaller or larger is better. By default smaller for losses and errors ("loss",
        "mae", "rmse"), larger for the rest.

    Raises
    ------
    ConfigurationError
        For a wrong argument, or at the beginning of a training that does not record ``monitor``.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str | None = None,
    ) -> None:
        name = "EarlyStopping"
        if mode not in (None, "min", "max"):
            raise ConfigurationError(unknown(f"{name} mode", mode, ["min", "max"]))
        if not isinstance(monitor, str):
            raise ConfigurationError(
                f"{name}: monitor: expected the name of a column, got {monitor!r}"
            )
        self.monitor = monitor
        self.patience = as_count(f"{name}: patience", patience)
        self.min_delta = checked_number(name, "min_delta", min_delta, low=0)
        smaller = monitor.removeprefix("val_") in ("loss", "mae", "rmse")
        self.mode = mode
        self.sign = 1.0 if mode == "min" or (mode is None and smaller) else -1.0
        self._best = math.inf
        self._waited = 0
        self._weights: tuple[Array, Array] | None = None

    def on_train_begin(self, run: Run) -> None:
        """Check that the value will be recorded, and forget an earlier training."""
        if self.monitor not in run.columns:
            hint = "; give validation data" if self.monitor.startswith("val_") else ""
            raise ConfigurationError(
                f"EarlyStopping: {unknown('column', self.monitor, run.columns)}{hint}"
            )
        self._best, self._waited, self._weights = math.inf, 0, None

    def on_epoch_end(self, run: Run, row: dict[str, Any]) -> None:
        """Keep the best weights, and stop after too many epochs without better ones."""
        value = self.sign * row[self.monitor]
        if value < self._best - self.min_delta:
            parameters = run.network.parameters
            self._best, self._waited = value, 0
            self._weights = parameters.values.copy(), parameters.buffers.copy()
            run.history.best_epoch = row["epoch"]
            return
        self._waited += 1
        if self._waited >= self.patience:
            run.stop("early stopping")

    def state(self) -> dict[str, Any]:
        """Return the best value, the weights that had it, and how long ago that was."""
        return {"best": self._best, "waited": self._waited, "weights": self._weights}

    def restore(self, run: Run, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        backend = run.network.backend
        self._best, self._waited = float(state["best"]), int(state["waited"])
        self._weights = None
        if state["weights"] is not None:
            with backend.scope():
                values, buffers = (
                    backend.asarray(vector.copy(), dtype=backend.float_dtype)
                    for vector in state["weights"]
                )
            self._weights = values, buffers

    def on_train_end(self, run: Run) -> None:
        """Restore the best weights."""
        if self._weights is not None:
            parameters = run.network.parameters
            parameters.values.array, parameters.buffers.array = self._weights
            self._weights = None


class CSVLog(Callback):
    """Write the rows of the history to a CSV file, each as soon as it is there.

    Parameters
    ----------
    path : str or path
        The file; overwritten. A training that is resumed writes its earlier rows first.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(checked_path("CSVLog: path", path))
        self._file: IO[str] | None = None

    def on_train_begin(self, run: Run) -> None:
        """Open the file, and write the rows that are there."""
        self._file = open(self.path, "w", encoding="utf-8", newline="")  # noqa: SIM115
        for number, row in enumerate(run.history):
            self._write(row, with_names=number == 0)

    def on_epoch_end(self, run: Run, row: dict[str, Any]) -> None:
        """Write a row, below the names of the columns if it is the first."""
        self._write(row, with_names=len(run.history) == 1)

    def _write(self, row: dict[str, Any], with_names: bool) -> None:
        import csv  # not for those who write no log

        if self._file is None:
            return
        writer = csv.writer(self._file)
        if with_names:
            writer.writerow(row)
        writer.writerow(row.values())
        self._file.flush()

    def on_train_end(self, run: Run) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Progress(Callback):
    """Show the progress on standard error: a bar on a terminal, else one line per epoch.

    The bar needs tqdm; without it there are lines. The loss of a step is never looked at, so
    that nothing waits for the device.

    Parameters
    ----------
    write : callable, optional
        Where the lines go, such as ``print`` or the method of a logger.
    """

    def __init__(self, write: Callable[[str], None] | None = None) -> None:
        if not (write is None or callable(write)):
            raise ConfigurationError(f"Progress: write: expected a function, got {write!r}")
        self._write = write if write is not None else _write_line
        self._bar: Any = None

    def on_train_begin(self, run: Run) -> None:
        """Say what memory it will take."""
        if run.memory is not None:
            self._write(run.memory)

    def on_epoch_begin(self, run: Run) -> None:
        """Draw an empty bar."""
        if not sys.stderr.isatty():
            return
        try:
            from tqdm import tqdm
        except ImportError:
            return
        label = f"epoch {len(run.history) + 1}/{run.epochs}"
        self._bar = tqdm(total=run.steps_per_epoch, desc=label, unit="batch", leave=False)
        if run.batch:  # the rest of an epoch
            self._bar.update(run.batch)

    def on_batch_end(self, run: Run, loss: Array) -> None:
        """Move the bar."""
        if self._bar is not None:
            try:
                self._bar.update()
            except (OSError, ValueError):  # the terminal is gone
                self._bar = None

    def on_epoch_end(self, run: Run, row: dict[str, Any]) -> None:
        """Replace the bar by a line."""
        self._close()
        values = "  ".join(f"{name} {row[name]:.4f}" for name in run.columns)
        self._write(f"epoch {len(run.history)}/{run.epochs}  {values}  {row['seconds']:.1f} s")

    def on_train_end(self, run: Run) -> None:
        """Say why the training ended, if it was not because the last epoch was over."""
        self._close()
        if run.stop_reason not in (None, "finished"):  # None: an exception tells the rest
            self._write(f"stopped: {run.stop_reason}")

    def _close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            with contextlib.suppress(OSError, ValueError):
                bar.close()


def _write_line(text: str) -> None:
    # The training is worth more than what it prints: it goes on where nobody can read it.
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
