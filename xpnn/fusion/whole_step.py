"""On JAX: a whole training step, and a whole evaluation, as one function under ``jax.jit``.

The layers, the loss and the optimizer's rule run once, with stand-ins for their arrays, and XLA
compiles what they do. Parameters, buffers and the optimizer's state go in and out part by part, in
memory that is used again.
"""

from __future__ import annotations

import math
import operator
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .._standard import Array
from ..network import Network
from .fixed_settings import Settings, Untraceable, is_own, owners_of
from .pieces import Slots, changing_numbers, regularized, state_of, updated
from .settings import is_built_in_optimizer
from .traced import Traced, comparable, count_operations, guarded
from .tracing import Masks, borrowed

if TYPE_CHECKING:
    from ..parameters import Parameters

__all__ = ["MOST_OPERATIONS", "MOST_SHAPES", "WholeStep"]

#: For how many shapes of batches a function is compiled. A training has two or three; data with
#: more of them, such as sentences, would be compiling most of the time.
MOST_SHAPES = 16
#: Operations of a forward pass. For a step of so many XLA takes from 3 s (a deep network) to 15 s
#: (a long sequence, where each takes the longer the more there are).
MOST_OPERATIONS = 1_000
#: Stand for the number of the step while it is traced.
_MARKERS = 1_000_003, 1_000_033


class WholeStep:
    """A network's training step and evaluation, compiled when a shape of a batch is first seen.

    Parameters
    ----------
    network : Network
        On JAX.
    parameters : Parameters
        The network's.
    """

    def __init__(self, network: Network, parameters: Parameters) -> None:
        self._parameters = parameters
        self._values = Slots(parameters.values)
        self._buffers = Slots(parameters.buffers)
        self._grads = Slots(parameters.grads)
        self._inputs: dict[Any, Traced] = {}
        self._batches: dict[Any, Traced] = {}
        self._evaluations: dict[Any, Traced] = {}
        self._true = network.backend.asarray(True)
        self._lock = threading.Lock()
        self._own = is_own(network)
        self._settings: Settings | None = None
        self._refusal: str | None = None
        try:
            self._settings = Settings(owners_of(network, parameters))
        except Untraceable as why:
            self._refusal = str(why)
        if not is_built_in_optimizer(network.optimizer):
            self._refusal = "the optimizer is not a class of xpnn's"

    def is_current(self, network: Network) -> bool:
        """Tell whether layers, loss and optimizer are set as they were."""
        if self._settings is not None:
            return self._refusal is not None or self._settings.hold()
        try:
            Settings(owners_of(network, self._parameters))
        except Untraceable:
            return True
        return False

    @property
    def refusal(self) -> str | None:
        """Why the layers do it themselves, at least for a shape that has come; None if none has."""
        found = (self._refusal, *(traced.refusal for traced in self._traced()))
        return next((refusal for refusal in found if refusal is not None), None)

    def __str__(self) -> str:
        if self.refusal is not None:
            return f"the layers one by one: {self.refusal}"
        count = sum(traced.run is not None for traced in self._traced())
        return f"one function under jax.jit for each shape of a batch, {count} compiled so far"

    def _traced(self) -> list[Traced]:
        return [*self._inputs.values(), *self._batches.values(), *self._evaluations.values()]

    # ---------------------------------------------------------------- training

    def train(
        self, network: Network, input: Array, target: Any, sample_weight: Any
    ) -> tuple[Array, Array] | None:
        """Make a training step; None if the layers have to do it.

        Raises
        ------
        ShapeError, DataError
            If the batch cannot be used. Nothing has changed then.
        """
        known = self._look_up(network, self._inputs, (input.shape,), self._trace_input, input)
        if known.refusal is not None:
            return None
        target = network.prepare_target(target, known.shape)
        weight = network.prepare_weight(sample_weight)
        key = (input.shape, target.shape, target.dtype, weight is not None)
        batch = self._look_up(
            network, self._batches, key, self._compile_step, known, input, target, weight
        )
        if batch.run is None:
            return None
        optimizer = network.optimizer
        state = state_of(network, self._parameters.values.parts)
        healthy = self._true if network._healthy is None else network._healthy
        new = batch.run(
            self._values.owned(),
            self._buffers.owned(),
            state.take(optimizer.state_names),
            healthy,
            np.asarray(changing_numbers(network), dtype=network.backend.dtype),
            [draw.mask(_MARKERS[0], network.steps) for draw in known.draws],
            input,
            target,
            weight,
        )
        values, buffers, pieces, grads, network._healthy, output, loss, weight_sum, told = new
        self._values.show(values)
        self._buffers.show(buffers)
        self._grads.show(grads)
        state.put(pieces)
        network.optimizer_state = state
        network.loss.weight_sum = batch.weight_sum if weight_sum is None else weight_sum
        network.steps += 1
        self._tell(batch, told)
        return output, loss

    def _tell(self, traced: Traced, results: list[Any]) -> None:
        """Set the attributes that the layers would have set."""
        layers = list(self._parameters.layers.values()) if results else []
        for (index, name), value in zip(traced.told, results, strict=True):
            setattr(layers[index], name, value)

    def _trace_input(self, network: Network, input: Array) -> Traced:
        """Find out what a forward pass draws and returns."""
        import jax

        masks = Masks()

        def forward(input: Array) -> Array:
            with self._stage(network, "train", _MARKERS[0], masks):
                return network.forward(input)

        trace, output = jax.make_jaxpr(forward, return_shape=True)(input)
        size = count_operations(trace.jaxpr)
        if size > MOST_OPERATIONS:
            return Traced(f"a forward pass has {size} operations, which XLA would be long about")
        return Traced(shape=tuple(output.shape), draws=masks.draws)

    def _compile_step(
        self, network: Network, known: Traced, input: Array, target: Array, weight: Any
    ) -> Traced:
        import jax

        traced = Traced()
        state = state_of(network, self._parameters.values.parts)
        arguments = (
            self._values.peek(),
            self._buffers.peek(),
            state.take(network.optimizer.state_names),
            self._true,
            np.asarray(changing_numbers(network), dtype=network.backend.dtype),
            [np.ones(draw.count, dtype=bool) for draw in known.draws],
            input,
            target,
            weight,
        )
        if self._own:
            first, second = (
                comparable(jax.make_jaxpr(self._step(network, traced, marker))(*arguments))
                for marker in _MARKERS
            )
            if first != second:
                raise Untraceable("something of its own differs from step to step")
        step = jax.jit(self._step(network, traced, _MARKERS[0]), donate_argnums=(0, 1, 2))
        step.trace(*arguments)  # what cannot be traced shows here, before anything is given away
        traced.run = step
        return traced

    def _step(self, network: Network, traced: Traced, marker: int) -> Callable[..., Any]:
        """Return a training step as a function of arrays."""
        xp, parts = network.backend.xp, self._parameters.values.parts
        optimizer = network.optimizer

        def step(
            values: list[Array],
            buffers: list[Array],
            state: dict[str, list[Array]],
            healthy: Array,
            numbers: Array,
            drawn: list[Array],
            input: Array,
            target: Array,
            weight: Array | None,
        ) -> tuple[Any, ...]:
            with self._stage(network, "train", marker, Masks(drawn)) as results:
                self._values.show(values)
                self._buffers.show(buffers)
                # A layer that a step leaves out has no gradient.
                self._grads.show([xp.zeros_like(value) for value in values])
                output = network.forward(input)
                loss, dout = network.loss_and_gradient(output, target, weight)
                network.backward(dout)
                self._parameters.gather_grads()
                self._parameters.sync()
                grads, moved, values = (
                    slots.peek() for slots in (self._grads, self._buffers, self._values)
                )
                weight_sum = network.loss.weight_sum
                penalty, full = regularized(network, parts, values, grads)
            if weight_sum is None or isinstance(weight_sum, int | float):
                traced.weight_sum, weight_sum = weight_sum, None
            loss = loss + penalty
            healthy = xp.logical_and(
                xp.isfinite(loss + sum(xp.sum(gradient) for gradient in full)), healthy
            )
            moved = [xp.where(healthy, a, b) for a, b in zip(moved, buffers, strict=True)]
            full = [xp.where(healthy, gradient, 0.0) for gradient in full]
            lr, *corrections = numbers
            lr = xp.where(healthy, lr, 0.0)
            new, state = updated(optimizer, parts, values, full, state, lr, corrections)
            loss = xp.where(healthy, loss, math.nan)
            # In the order of the arguments: JAX gives their memory to the first results that fit.
            told = list(results.values())
            traced.told = list(results)
            return new, moved, state, grads, healthy, output, loss, weight_sum, told

        return step

    # ---------------------------------------------------------------- evaluation

    def evaluate(self, network: Network, input: Array) -> Array | None:
        """Return the output in test mode; None if the layers have to do it."""
        traced = self._look_up(
            network, self._evaluations, (input.shape,), self._compile_evaluation, input
        )
        if traced.run is None:
            return None
        output, results = traced.run(self._values.peek(), self._buffers.peek(), input)
        self._tell(traced, results)
        return output

    def _compile_evaluation(self, network: Network, input: Array) -> Traced:
        import jax

        traced = Traced()

        def forward(values: list[Array], buffers: list[Array], input: Array) -> Any:
            with self._stage(network, "test", _MARKERS[0], Masks([])) as results:
                self._values.show(values)
                self._buffers.show(buffers)
                output = network.forward(input)
                self._parameters.sync()
                after = [*self._values.peek(), *self._buffers.peek()]
                if not all(map(operator.is_, after, [*values, *buffers])):
                    raise Untraceable("a layer changes its arrays in an evaluation")
            traced.told = list(results)
            return output, list(results.values())

        run = jax.jit(forward)
        trace = run.trace(self._values.peek(), self._buffers.peek(), input)
        if count_operations(trace.jaxpr.jaxpr) > MOST_OPERATIONS:
            return Traced("an evaluation has more operations than XLA is quick about")
        traced.run = run
        return traced

    # ---------------------------------------------------------------- details

    def _stage(self, network: Network, mode: str, marker: int, masks: Masks) -> Any:
        return borrowed(network, self._parameters, mode, marker, masks)

    def _look_up(
        self,
        network: Network,
        known: dict[Any, Traced],
        key: Any,
        make: Callable[..., Traced],
        *arguments: Any,
    ) -> Traced:
        """Return what is known of a shape; trace it if it is new."""
        if self._refusal is not None:
            return Traced(self._refusal)
        found = known.get(key)
        if found is None:
            with self._lock:
                if len(known) >= MOST_SHAPES:
                    return Traced(f"there are more than {MOST_SHAPES} shapes of batches")
                found = known[key] = guarded(make, network, *arguments)
                if found.for_good:
                    self._refusal = found.refusal
        return found
