"""The loop: epochs and batches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..augmentation import Augmenter, augmented
from ..callbacks import Callback, Run
from ..data.batches import Batches
from ..errors import DivergenceError
from ..metrics import Metric
from ..network import Network
from ._totals import Totals

__all__ = ["Keeper", "Loop", "Position", "run_through"]


@dataclass
class Position:
    """Where in an epoch a training is: nowhere, unless a checkpoint was written within one.

    Attributes
    ----------
    batch : int
        Steps made in the epoch.
    seconds : float
        Time spent in it.
    lr : float or None
        Learning rate of its first step.
    totals : dict or None
        What `Totals` had gathered.
    """

    batch: int = 0
    seconds: float = 0.0
    lr: float | None = None
    totals: dict[str, Any] | None = None


class Keeper(Protocol):
    """Who writes checkpoints."""

    def begin(self) -> None:
        """Before the first step, after the callbacks have begun."""

    def wanted(self) -> bool:
        """Tell whether it is time for a checkpoint within an epoch."""

    def keep(self, position: Position, row: dict[str, Any] | None = None) -> None:
        """Write a checkpoint: within an epoch, or after one that has ended with a row."""

    def finish(self) -> None:
        """Make good for a checkpoint that could not be written, or raise."""

    def close(self) -> None:
        """At the end, however it came about."""


@dataclass
class Loop:
    """A training: what `fit` has made of its arguments.

    Attributes
    ----------
    run : Run
        As callbacks see it.
    batches, held_out : Batches
        What to train on; what to validate on, if there is anything.
    metrics, callbacks, augmenters : list
        As given to `fit`.
    keeper : Keeper or None
        Who writes checkpoints.
    resumed : Position or None
        Where in an epoch to begin.
    states : list of (Callback, dict)
        Callbacks that go on from a state.
    """

    run: Run
    batches: Batches
    held_out: Batches | None
    metrics: list[Metric]
    callbacks: list[Callback]
    augmenters: list[Augmenter] = field(default_factory=list)
    keeper: Keeper | None = None
    resumed: Position | None = None
    states: list[tuple[Callback, dict[str, Any]]] = field(default_factory=list)

    def __call__(self) -> None:
        """Train until the last epoch, or until somebody stops it."""
        run, history, keeper = self.run, self.run.history, self.keeper
        started: list[Callback] = []
        try:
            with contextlib.closing(keeper) if keeper is not None else contextlib.nullcontext():
                for callback in self.callbacks:
                    callback.on_train_begin(run)
                    started.append(callback)
                for callback, state in self.states:
                    callback.restore(run, state)
                if keeper is not None:
                    keeper.begin()
                while len(history) < run.epochs and not run.stopping():
                    self._epoch(self.resumed or Position())
                    self.resumed = None
                if keeper is not None:
                    keeper.finish()
            run.stop("finished")
        except DivergenceError as error:
            run.stop("diverged")
            error.history = history
            raise
        except KeyboardInterrupt:
            run.stop("interrupted")
            raise
        finally:
            history.stop_reason = run.stop_reason
            for callback in started:
                callback.on_train_end(run)

    def _epoch(self, position: Position) -> None:
        """Train for an epoch, or for what is left of it, and validate."""
        run, network, metrics = self.run, self.run.network, self.metrics
        begin = time.perf_counter() - position.seconds
        lr = network.lr if position.lr is None else position.lr
        totals = Totals(network, metrics, position.totals)

        def here() -> Position:
            return Position(run.batch, time.perf_counter() - begin, lr, totals.state())

        run.batch = position.batch
        for callback in self.callbacks:
            callback.on_epoch_begin(run)
        self._steps(totals, here)
        interrupted = run.stopping()
        found: dict[str, float] | None = None
        if self.held_out is not None and not interrupted:
            # Only who can go on later leaves a validation before its end.
            stopping = None if self.keeper is None else run.stopping
            found = run_through(network, self.held_out, metrics, stopping)
            interrupted = stopping is not None and run.stopping()
        if interrupted:
            if self.keeper is not None:
                self.keeper.keep(here())
            return
        row: dict[str, Any] = {"epoch": network.epochs + 1} | totals.result()
        row |= {f"val_{name}": value for name, value in (found or {}).items()}
        row |= {"lr": lr, "seconds": time.perf_counter() - begin}
        network.epochs += 1
        run.batch = 0
        run.history.append(row)
        network.observe(row["loss"] if self.held_out is None else row["val_loss"])
        for callback in self.callbacks:
            callback.on_epoch_end(run, row)
        if self.keeper is not None:
            self.keeper.keep(Position(), row)

    def _steps(self, totals: Totals, here: Callable[[], Position]) -> None:
        run, network = self.run, self.run.network
        first_step = network.steps - run.batch
        for x, y, sample_weight in self.batches.epoch(network.epochs, run.batch):
            x = self._augmented(x)
            try:
                output, loss = network.train(x, y, sample_weight)
            except DivergenceError as error:
                self._explain(error, run.batch, (x, y, sample_weight))
                raise
            totals.add(loss, output, y, sample_weight)
            run.batch += 1
            for callback in self.callbacks:
                callback.on_batch_end(run, loss)
            if run.stopping():
                break
            if self.keeper is not None and self.keeper.wanted():
                self._check(totals, first_step)
                self.keeper.keep(here())
        self._check(totals, first_step)

    def _augmented(self, x: Any) -> Any:
        """Change the samples of the next step, if that is wanted."""
        network = self.run.network
        if not self.augmenters:
            return x
        return augmented(self.augmenters, network.prepare_input(x), network.seed, network.steps)

    def _check(self, totals: Totals, first_step: int) -> None:
        """Look at the losses, where nobody looked as they came; updates were left out there."""
        network, losses = self.run.network, totals.losses()
        bad = np.flatnonzero(~np.isfinite(losses))
        if not bad.size:
            return
        batch = int(bad[0])
        network.steps = first_step + batch
        network.reset_divergence()
        error = network.divergence(float(losses[batch]), network.steps, network.lr)
        again = None
        if self.batches.repeatable:
            again = next(iter(self.batches.epoch(network.epochs, batch)), None)
            again = None if again is None else (self._augmented(again[0]), *again[1:])
        self._explain(error, batch, again)
        raise error

    def _explain(self, error: DivergenceError, batch: int, data: Any) -> None:
        """Say where in the epoch it was, and where in the network it began."""
        from ._diagnosis import first_not_finite

        error.batch, where = batch, ""
        if data is not None and error.culprit is None:
            self.run.network.explain(error, *data[:2])
        if data is not None and error.culprit is None:
            error.culprit = first_not_finite(self.run.network, *data)
            where = "" if error.culprit is None else f". First not finite: {error.culprit}"
        error.args = (f"{error.args[0]}. It was batch {batch + 1} of the epoch{where}",)


def run_through(
    network: Network,
    batches: Batches,
    metrics: list[Metric],
    stopping: Callable[[], bool] | None = None,
) -> dict[str, float]:
    """Return the loss and the metrics of a network in test mode; half of it, if it is stopped."""
    totals = Totals(network, metrics)
    for x, y, sample_weight in batches.epoch(0):
        if stopping is not None and stopping():
            break
        output = network.eval(x)
        totals.add(network.data_loss(output, y, sample_weight), output, y, sample_weight)
    return totals.result()
