"""Training steps without the Python between the kernels.

What the steps of a plan do follows from the shape of the batch, the threads, and how the layers are
set. So when the same comes again and again, the calls of kernels of a forward and a backward pass
are recorded, with their arrays. From then on they are made by one call for each run of steps that
are nothing but kernels: only what comes in and what leaves the plan are other arrays every time.

What a layer of somebody's own sets in other layers while a step runs counts from the next step on.
Only what recurrent layers are told of a batch (`initial`, `lengths`, `mask`) counts at once.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

from .._standard import Array
from ..layers.layer import find_layers
from .fixed_settings import Settings, Untraceable
from .runs import RecordedRun, Run
from .steps import PlanStep
from .threads import team

__all__ = ["Passes", "Replays", "make_passes"]

#: How often a shape comes before its passes are recorded: at first kernels are compiled.
_FAMILIAR = 3
#: For how many shapes passes are kept, with memory of their own: a batch, and the last one.
_MOST = 2
#: After so many steps of other shapes those that are known make room.
_GONE = 8
#: Shapes that are counted. More are forgotten: there is no end to those of sentences.
_COUNTED = 64


class Passes:
    """A forward and a backward pass, by runs of steps one after the other."""

    def __init__(self, runs: Sequence[Any]) -> None:
        self.runs = runs

    def forward(self, input: Array) -> Array:
        """Return the output in training mode."""
        for run in self.runs:
            input = run.forward(input)
        return input

    def backward(self, dout: Array) -> None:
        """Write the gradients of the parameters."""
        gradient: Any = dout
        for run in reversed(self.runs):
            gradient = run.backward(gradient)

    def forget(self) -> None:
        """Drop what `forward` left, as there will be no backward pass."""
        for run in self.runs:
            run.forget()


def make_passes(steps: Sequence[PlanStep], idle: int) -> Passes:
    """Cut steps into runs that are replayed and others; the first ``idle`` learn nothing."""
    numbered = itertools.groupby(
        enumerate(steps), key=lambda item: (item[0] >= idle, item[1].replays)
    )
    return Passes([Run([step for _, step in group], learns) for (learns, _), group in numbered])


class _Recorder(Passes):
    """Passes that are recorded, and replayed afterwards."""

    def __init__(self, replays: Replays, key: Any, runs: Sequence[Run]) -> None:
        super().__init__([RecordedRun(run) if run.replays else run for run in runs])
        self._replays = replays
        self._key = key

    def forward(self, input: Array) -> Array:
        """Return the output in training mode."""
        self._replays.renew()
        return super().forward(input)

    def backward(self, dout: Array) -> None:
        """Write the gradients of the parameters."""
        super().backward(dout)
        self._replays.renew()
        runs = [run.finished() if isinstance(run, RecordedRun) else run for run in self.runs]
        self._replays.known[self._key] = Passes(runs)


class Replays:
    """The recorded passes of a plan, by shapes and threads.

    Parameters
    ----------
    passes : Passes
        What is to be recorded. Nothing is replayed once its layers are set otherwise.

    Attributes
    ----------
    known : dict
        What was recorded.
    """

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        steps = [step for run in passes.runs if run.replays for step in run.steps]
        layers = [layer for step in steps for layer in step.layers]
        self._layers = [layer for top in layers for _, layer in find_layers("", top)]
        self._settings: Settings | None = None
        self._seen: dict[Any, int] = {}
        self._missed = 0  # steps since a shape came that is known
        self.known: dict[Any, Passes] = {}

    def passes(self, input: Array) -> Passes:
        """Return how the next passes are to be made."""
        if self._settings is None or not self._settings.hold():
            self.known.clear()
            self._seen.clear()
            try:
                self._settings = Settings(self._layers)
            except Untraceable:
                self._settings = None
                return self._passes
        # Products have memory for each thread of Python's, so a recording is of one thread.
        here = team()
        key = input.shape, here.size, here.parallel, threading.get_ident()
        found = self.known.get(key)
        if found is not None:
            self._missed = 0
            return found
        self._missed += 1
        if self._missed > _GONE:
            self.known.clear()
        if len(self.known) >= _MOST or not input.flags.c_contiguous:
            return self._passes
        count = self._seen[key] = self._seen.get(key, 0) + 1
        if len(self._seen) > _COUNTED:
            self._seen.clear()
        if count < _FAMILIAR:
            return self._passes
        self._missed = 0
        return _Recorder(self, key, self._passes.runs)

    def renew(self) -> None:
        """Give the steps memory that no recording has."""
        for run in self._passes.runs:
            run.renew()
