"""Runs of steps: in Python, recorded, and replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._standard import Array
from ..errors import ShapeError
from ..kernels.recording import Recording, recorded
from .memory import empty
from .steps import PlanStep, Step

if TYPE_CHECKING:
    from ..kernels.numba.program import Program

__all__ = ["RecordedRun", "ReplayedRun", "Run"]

#: Axes of images (N, C, H, W) as (N, H, W, C), and back.
_LAST, _FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


class Run:
    """Some steps that follow one another.

    Parameters
    ----------
    steps : sequence of PlanStep
        In the order of the forward pass.
    learns : bool
        Whether they need a backward pass.
    """

    def __init__(self, steps: Sequence[PlanStep], learns: bool) -> None:
        self.steps = steps
        self.learns = learns
        self.replays = all(step.replays for step in steps)

    def forward(self, input: Array) -> Array:
        """Return the output in training mode."""
        for step in self.steps:
            input = step.forward(input)
        return input

    def backward(self, dout: Any) -> Any:
        """Write the gradients of the parameters; return that of the input if it is wanted."""
        for step in reversed(self.steps):
            if self.learns:
                dout = step.backward(dout)
            else:
                step.forget()
        return dout

    def forget(self) -> None:
        """Drop what `forward` left, as there will be no backward pass."""
        for step in self.steps:
            step.forget()

    def refresh(self) -> None:
        """Write what differs from step to step to where the kernels read it."""
        for step in self.steps:
            step.refresh()

    def renew(self) -> None:
        """Take other memory from now on."""
        for step in self.steps:
            step.renew()

    def hand_outs(self, number: int) -> list[Callable[[], None]]:
        """Return what gives people the results of a pass that are no output or gradient."""
        return [each for step in self.steps for each in step.hand_outs(number)]

    def evaluate(self, input: Array) -> Array:
        """Return the output in test mode."""
        for step in self.steps:
            input = step.evaluate(input)
        return input


class _Form(NamedTuple):
    """What arrays have in common whose memory is laid out alike.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    channels_last : bool
        Whether they are images (N, C, H, W) with channels last in memory, rather than in C order.
    """

    shape: tuple[int, ...]
    dtype: Any
    channels_last: bool

    @classmethod
    def of(cls, array: Array) -> _Form:
        """Return the form of an array."""
        last = not array.flags.c_contiguous and array.ndim == 4
        last = last and bool(array.transpose(_LAST).flags.c_contiguous)
        return cls(array.shape, array.dtype, last)

    def fits(self, array: Array) -> bool:
        """Tell whether an array has this form."""
        inside = array.transpose(_LAST) if self.channels_last else array
        flags = inside.flags
        return array.dtype == self.dtype and bool(flags.c_contiguous and flags.aligned)

    def given(self, array: Any) -> Array:
        """Return an array of this shape in this form: itself if it has it."""
        array = np.asarray(array)
        return array if self.fits(array) else self.copied(array)

    def copied(self, array: Array) -> Array:
        """Return a copy of an array of this shape in this form."""
        inside = array.transpose(_LAST) if self.channels_last else array
        inside = np.array(inside, dtype=self.dtype, order="C")
        return inside.transpose(_FIRST) if self.channels_last else inside


class RecordedRun:
    """A run in Python, whose calls of kernels are recorded."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._calls = Recording(), Recording()
        self._arrays: list[Any] = []
        self._hand_outs: list[list[Callable[[], None]]] = []

    def forward(self, input: Array) -> Array:
        """Return the output in training mode."""
        # Memory of its own, so that what has its address is this array and no other one.
        input = _Form.of(input).copied(input)
        with recorded(self._calls[0]):
            output = self._run.forward(input)
        self._arrays += [input, output]
        self._hand_outs = [self._run.hand_outs(0)]
        return output

    def backward(self, dout: Any) -> Any:
        """Write the gradients of the parameters; return that of the input if it is wanted."""
        if self._run.learns:
            output = self._arrays[1]
            dout = _Form(output.shape, dout.dtype, _Form.of(output).channels_last).copied(dout)
        with recorded(self._calls[1]):
            dinput = self._run.backward(dout)
        self._arrays += [dout, dinput]
        self._hand_outs.append(self._run.hand_outs(1) if self._run.learns else [])
        return dinput

    def forget(self) -> None:
        """Drop what `forward` left, as there will be no backward pass."""
        self._run.forget()
        self._arrays.clear()

    def finished(self) -> Run | ReplayedRun:
        """Return what does the same from now on: the run in Python if nothing else can."""
        arrays, self._arrays = self._arrays, []
        if not all(recording.whole for recording in self._calls):
            return self._run
        from ..kernels.numba.program import Program  # loads Numba

        forward, backward = (Program(recording.calls) for recording in self._calls)
        try:
            return ReplayedRun(self._run, forward, backward, self._hand_outs, *arrays)
        except _Fixed:
            return self._run


class _Fixed(Exception):
    """An array has to be the same in every step, so the run stays in Python."""


class _Spot:
    """Where programs take an array that is another one in every step.

    Its memory is nobody else's in the programs: all that has its address is this array.

    Parameters
    ----------
    array : array
        The one that was recorded.
    needed : Program
        Has to use it.
    other : Program, optional
        May use it, too.

    Raises
    ------
    _Fixed
        If it cannot be another one.
    """

    def __init__(self, array: Array, needed: Program, other: Program | None = None) -> None:
        self.form = _Form.of(array)
        self._where: list[tuple[Program, list[int]]] = []
        for program in (needed, other):
            if program is None:
                continue
            places = program.places(array)
            unused = program is needed and not places
            if places is None or unused or not self.form.fits(array):
                raise _Fixed
            self._where.append((program, places))

    def leave(self) -> None:
        """Hold the recorded array no longer."""
        for program, places in self._where:
            program.leave(places)

    def put(self, array: Array) -> None:
        """Let the programs use an array, which must live until they have run."""
        for program, places in self._where:
            program.point(places, array)

    def fresh(self) -> Array:
        """Return a new array, and let the programs use it."""
        array = empty(self.form.shape, self.form.dtype)
        self.put(array)
        return array


class ReplayedRun:
    """A run as two programs.

    Parameters
    ----------
    run : Run
        That was recorded.
    forward, backward : Program
        What it called.
    hand_outs : pair of sequence of callable
        What gives people the other results of each pass.
    input, output, dout, dinput : array
        What came and went. The gradients are None where the run learns nothing, the last one also
        where nobody wants it.

    Raises
    ------
    _Fixed
        If it cannot do the same with other arrays.
    """

    def __init__(
        self,
        run: Run,
        forward: Program,
        backward: Program,
        hand_outs: Sequence[Sequence[Callable[[], None]]],
        input: Array,
        output: Array,
        dout: Any,
        dinput: Any,
    ) -> None:
        self._run = run
        self._programs = forward, backward
        self._hand_outs = hand_outs
        self._told = [s for s in run.steps if type(s).as_recorded is not PlanStep.as_recorded]
        self._refreshed = [s for s in run.steps if type(s).refresh is not PlanStep.refresh]
        self._held: Any = None  # what the backward program needs of input and output
        # What comes out is a buffer, the same in every step, or a new array.
        # Layers at the ends show the memory of the step beside them.
        steps = [step for step in run.steps if isinstance(step, Step)]
        keeps = bool(steps) and steps[-1].keeps_output
        keeps_gradient = dinput is None or (bool(steps) and steps[0].keeps_gradient)
        self._entry = _Spot(input, forward, backward)
        self._exit = None if keeps else _Spot(output, forward, backward)
        self._gradient = _Spot(dout, backward) if run.learns else None
        self._result = None
        if run.learns and not keeps_gradient:
            self._result = _Spot(dinput, backward)
        new = [spot for spot in (self._exit, self._result) if spot is not None]
        if any(spot.form.channels_last for spot in new):
            raise _Fixed
        try:
            for spot in (self._entry, self._gradient, *new):
                if spot is not None:
                    spot.leave()
        except KeyError:  # two of them are the same memory
            raise _Fixed from None
        self._output = output if keeps else None
        self._dinput = dinput if keeps_gradient else None

    def forward(self, input: Array) -> Array:
        """Return the output in training mode."""
        form = self._entry.form
        same = input.shape == form.shape and input.dtype == form.dtype
        if not same or not all(step.as_recorded() for step in self._told):
            return self._run.forward(input)  # a layer of somebody's own may come to this
        for step in self._refreshed:
            step.refresh()
        input = form.given(input)
        self._entry.put(input)
        output = self._output if self._exit is None else self._exit.fresh()
        self._held = input, output
        self._programs[0].run()
        for hand_out in self._hand_outs[0]:
            hand_out()
        return output

    def backward(self, dout: Any) -> Any:
        """Write the gradients of the parameters; return that of the input if it is wanted."""
        held, self._held = self._held, None
        if held is None or self._gradient is None:
            return self._run.backward(dout)
        form, dout = self._gradient.form, np.asarray(dout)
        if dout.shape != form.shape:
            name = self._run.steps[-1].layers[-1].name
            raise ShapeError(f"{name}: expected a gradient of shape {form.shape}, got {dout.shape}")
        dout = form.given(dout)
        self._gradient.put(dout)
        dinput = self._dinput if self._result is None else self._result.fresh()
        self._programs[1].run()
        for hand_out in self._hand_outs[1]:
            hand_out()
        return dinput

    def forget(self) -> None:
        """Drop what `forward` left, as there will be no backward pass."""
        self._held = None
        self._run.forget()
