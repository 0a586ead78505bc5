"""Writing checkpoints during a training, and going on from one."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..callbacks import Callback, Run
from ..checkpoint import Stored, read_training, restore_network, write_training
from ..errors import CheckpointError, ConfigurationError, unknown
from ._checkpoint import Checkpoint
from ._differences import differences
from ._folder import Folder, checkpoints, is_in, refuse_used
from ._loop import Loop, Position
from ._rows import pack, unpack

__all__ = ["Writer", "check_same", "find", "restore"]

#: Reasons to stop that end with the program: a training that is resumed goes on.
_PASSING = ("interrupted", "terminated", "hung up", "diverged")


class Writer:
    """Writes the checkpoints of a training: a `Keeper`.

    Parameters
    ----------
    settings : Checkpoint
        Where and when.
    run : Run
        The training.
    callbacks : list of Callback
        Those whose state is kept.
    made_of : dict
        What the training is made of, for `check_same`.
    folder : Folder, optional
        If it is locked already.
    """

    def __init__(
        self,
        settings: Checkpoint,
        run: Run,
        callbacks: list[Callback],
        made_of: dict[str, Any],
        folder: Folder | None = None,
    ) -> None:
        self.settings = settings
        self.run = run
        self.callbacks = callbacks
        self.made_of = made_of
        self.first = {"step": run.network.steps, "epoch": run.network.epochs}
        default = "val_loss" if "val_loss" in run.columns else "loss"
        self.monitor = settings.monitor or default
        if self.monitor not in run.columns:
            raise ConfigurationError(f"Checkpoint: {unknown('column', self.monitor, run.columns)}")
        self._folder = folder
        self._best: dict[str, Any] = {"value": None, "file": None}
        self._kept: list[str] = []
        self._failure: tuple[CheckpointError, Position, dict[str, Any] | None] | None = None
        self._last = time.monotonic()

    def go_on(self, stored: Stored) -> None:
        """Take over what an earlier writer knew."""
        folder = self._folder
        self.first, self._best = stored.state["first"], stored.state["best"]
        if folder is not None and is_in(folder.path, stored.path):
            last = folder.name(stored.content["steps"]).name
            self._kept = [p.name for p in checkpoints(folder.path) if p.name <= last]

    def begin(self) -> None:
        """Take the folder."""
        if self._folder is None:
            self._folder = Folder(self.settings.folder)
        if not self._kept:
            refuse_used(self._folder.path)
        # Whoever wrote the best one may have died before it had its second name.
        best = self._best["file"]
        if best in self._kept:
            try:
                self._folder.mark_best(self._folder.path / best)
            except CheckpointError as error:
                _tell(self.settings.report, f"{error}; the training goes on")
        self._last = time.monotonic()

    def wanted(self) -> bool:
        """Tell whether it is time for a checkpoint within an epoch."""
        settings, run = self.settings, self.run
        if run.batch == run.steps_per_epoch:
            return False  # the end of the epoch follows
        if settings.every_steps is not None and run.network.steps % settings.every_steps == 0:
            return True
        seconds = settings.every_seconds
        return seconds is not None and time.monotonic() - self._last >= seconds

    def keep(self, position: Position, row: dict[str, Any] | None = None) -> None:
        """Write a checkpoint. One that cannot be written is reported; the training goes on."""
        try:
            self._write(position, row)
        except CheckpointError as error:
            self._failure = error, position, row
            _tell(self.settings.report, f"{error}; the training goes on")
        else:
            self._failure = None
        self._last = time.monotonic()

    def _write(self, position: Position, row: dict[str, Any] | None) -> None:
        folder, run = self._folder, self.run
        assert folder is not None
        path, best = folder.name(run.network.steps), self._best
        if row is not None:
            value = self.settings.sign(self.monitor) * row[self.monitor]
            if math.isfinite(value) and (best["value"] is None or value < best["value"]):
                best = {"value": value, "file": path.name}
        write_training(run.network, path, self.settings.model, self._state(position, best))
        is_best = best is not self._best
        self._best = best
        if path.name not in self._kept:
            self._kept.append(path.name)
        if is_best:
            folder.mark_best(path)
        self._kept = self._kept[-self.settings.keep :]
        folder.prune({*self._kept, str(best["file"])})

    def _state(self, position: Position, best: dict[str, Any]) -> dict[str, Any]:
        run, reason = self.run, self.run.stop_reason
        return {
            "position": vars(position),
            "first": self.first,
            "best": best,
            "history": pack(run.history.rows),
            "best_epoch": run.history.best_epoch,
            "stop_reason": None if reason in _PASSING else reason,
            "callbacks": [
                {"type": type(callback).__name__, "state": state}
                for callback in self.callbacks
                if (state := callback.state())
            ],
            "made_of": self.made_of,
        }

    def finish(self) -> None:
        """Try once more to write what could not be written; raise if it still cannot."""
        if self._failure is not None:
            _, position, row = self._failure
            try:
                self._write(position, row)
            except CheckpointError as error:
                error.history = self.run.history
                raise

    def close(self) -> None:
        """Give the folder back."""
        if self._folder is not None:
            self._folder.close()


def find(path: str | os.PathLike[str], report: Callable[[str], None] | None = None) -> Stored:
    """Read a checkpoint: a file, or the last of a folder that can be read.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    place = Path(path)
    if not place.is_dir():
        return read_training(place)
    names = checkpoints(place)
    if not names:
        raise CheckpointError(f"{place}: there is no checkpoint in it")
    while True:
        try:
            return read_training(names.pop())
        except CheckpointError as error:
            if not names:
                raise
            _tell(report, f"{error}; going on from the checkpoint before")


def check_same(stored: Stored, made_of: dict[str, Any]) -> None:
    """Compare what a training is made of with what it was made of.

    Raises
    ------
    ConfigurationError
        With the list of differences.
    """
    # As JSON has it: without tuples.
    found = list(differences(stored.state["made_of"], json.loads(json.dumps(made_of))))
    if found:
        raise ConfigurationError(
            f"{os.fspath(stored.path)}: the training cannot go on to the same result, since it "
            f"has changed (force=True, or --force, goes on all the same): {'; '.join(found)}"
        )


def restore(loop: Loop, stored: Stored) -> None:
    """Put a training where it was when a checkpoint was written.

    Raises
    ------
    CheckpointError
        If the checkpoint does not fit. Nothing has changed then.
    """
    state, run = stored.state, loop.run
    try:
        position = Position(**state["position"])
        states = _pair(state["callbacks"], loop.callbacks)
        rows = unpack(state["history"])
        reason, best_epoch = state["stop_reason"], state["best_epoch"]
        first_step = int(state["first"]["step"])
        if position.totals is not None and len(position.totals["metrics"]) != len(loop.metrics):
            position.totals = None  # other metrics, by force
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{os.fspath(stored.path)}: damaged: what it says of the training is incomplete"
        ) from error
    restore_network(run.network, stored)
    if run.steps_per_epoch is not None:
        run.network.total_steps = first_step + run.epochs * run.steps_per_epoch
    run.history.rows[:] = rows
    run.history.best_epoch = best_epoch
    run.stop_reason = reason
    loop.states = states
    if position.batch:
        loop.resumed = position


def _tell(report: Callable[[str], None] | None, text: str) -> None:
    if report is not None:
        report(text)
    else:
        warnings.warn(text, RuntimeWarning, stacklevel=4)


def _pair(
    kept: list[dict[str, Any]], callbacks: list[Callback]
) -> list[tuple[Callback, dict[str, Any]]]:
    """Find the callback for each state: the next one of its class."""
    pairs, left = [], [callback for callback in callbacks if callback.state()]
    for entry in kept:
        match = next((c for c in left if type(c).__name__ == entry["type"]), None)
        if match is not None:
            left.remove(match)
            pairs.append((match, entry["state"]))
    return pairs
