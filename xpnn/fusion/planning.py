"""Plans: how a network makes its steps faster than by its layers one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .._standard import Array
from ..layers.layer import Layer
from ..network import Network
from ..parameters import Parameters
from ..sequential import Sequential
from .losses import make_loss
from .products import by_tiles
from .recognition import is_built_in, is_plain
from .replay import Passes, Replays, make_passes
from .rules import make_steps, why_no_kernels
from .steps import LayerStep, PlanStep
from .threads import working
from .update import Update, make_update
from .whole_step import WholeStep

__all__ = ["Plan", "plan"]


class Plan:
    """What a network runs in training and evaluation. Printing it shows what was fused.

    Steps hold the layers and their parameters, gradients and buffers; checkpoints, masks and, but
    for rounding, all results are those of the layers one by one.

    Parameters
    ----------
    network : Network
        What is planned.
    parameters : Parameters
        The network's.
    kernels : bool
        Whether compiled kernels may be used.

    Attributes
    ----------
    steps : list of PlanStep or None
        What stands for the layers; None if the network has a forward pass of its own.
    loss : FusedLoss, CudaLoss or None
        The loss, if there is a kernel for it.
    update : Update, CudaUpdate or None
        What follows the backward pass, if there is a kernel for it.
    together : bool
        Whether the pool of threads works on it, and OpenBLAS's threads do not; see `threads`.
    whole : WholeStep or None
        On JAX, what does all of it in one compiled function.
    """

    def __init__(self, network: Network, parameters: Parameters, kernels: bool = True) -> None:
        backend = network.backend
        on_numpy = backend.name == "numpy"
        lack, counters = None, None
        if backend.name == "cupy" and kernels:
            from ..kernels.cuda import Counters

            counters = Counters()
        elif not on_numpy:
            lack = f"there are no kernels for {backend.name}"
        else:
            lack = why_no_kernels() if kernels else "kernels are not wanted"
        self._parameters = parameters
        self._parts = network.loss, network.optimizer, network.regularization
        self._place = f"{backend}, {backend.dtype}"
        self.whole: WholeStep | None = None
        if kernels and backend.name == "jax" and not backend.synchronous:
            self.whole = WholeStep(network, parameters)
            lack = "see the last line"
        self.steps: list[PlanStep] | None = None
        if isinstance(network, Sequential) and is_plain(network):
            if on_numpy or counters is not None:
                self.steps = make_steps(network.layers, backend.dtype, lack, counters=counters)
            else:
                remark = f"the layer itself: {lack}"
                self.steps = [LayerStep(layer, remark) for layer in network.layers]
        # Before the first parameter nothing learns from a gradient.
        self._first = _count_idle(self.steps) if self.steps and (on_numpy or counters) else 0
        self._may_skip = self.steps is None or not all(
            is_built_in(layer) for step in self.steps for layer in step.layers
        )
        self.loss, self._loss_remark = make_loss(network.loss, backend.dtype, lack, counters)
        self.update, self._update_remark = make_update(
            network.optimizer, network.regularization, parameters, lack, counters
        )
        self.together = (
            lack is None
            and on_numpy
            and self.steps is not None
            and all(step.joins for step in self.steps)
        )
        if isinstance(self.update, Update):
            self.update.together = self.together
        self._passes: Passes | None = None
        self._replays: Replays | None = None
        if self.steps is not None:
            self._passes = make_passes(self.steps, self._first)
            if self.together and any(run.replays for run in self._passes.runs):
                self._replays = Replays(self._passes)

    def fits(self, network: Network, parameters: Parameters) -> bool:
        """Tell whether the network is still what the plan was made for."""
        loss, optimizer, regularization = self._parts
        return (
            parameters is self._parameters
            and network.loss is loss
            and network.optimizer is optimizer
            and network.regularization is regularization
            and (self.update is None or self.update.is_current())
            and (self.whole is None or self.whole.is_current(network))
        )

    def train(
        self, network: Network, input: Array, target: Any, sample_weight: Any
    ) -> tuple[Array, Array] | None:
        """Do a whole training step, with the update; None where it has to be done in pieces."""
        if self.whole is None:
            return None
        return self.whole.train(network, input, target, sample_weight)

    def at_work(self) -> working:
        """Return a context in which the pool works for the plan, if it does: for a whole step.

        After an error, which may be an interrupt at any place, call its `leave`.
        """
        return working(self.together)

    def run(
        self, network: Network, input: Array, target: Any, sample_weight: Any
    ) -> tuple[Array, Array]:
        """Do the forward pass, the loss and the backward pass; return output and loss."""
        if self._may_skip:
            # A layer that a step leaves out has no gradient, and not that of the step before.
            self._parameters.grads.zero()
        with working(self.together):
            passes: Any = self._passes or network
            if self._replays is not None:
                passes = self._replays.passes(input)
            try:
                output = passes.forward(input)
                loss, dout = self._loss_of(network, output, target, sample_weight)
                passes.backward(dout)
            except BaseException:
                if self.steps is not None:
                    passes.forget()
                raise
        return output, loss

    def _loss_of(
        self, network: Network, output: Array, target: Any, sample_weight: Any
    ) -> tuple[Array, Array]:
        """Return the loss and its gradient."""
        found = None
        if self.loss is not None:
            found = self.loss(network, output, target, sample_weight)
        return found or network.loss_and_gradient(output, target, sample_weight)

    def evaluate(self, network: Network, input: Array) -> Array:
        """Return the output in test mode."""
        if self.whole is not None:
            output = self.whole.evaluate(network, input)
            if output is not None:
                return output
        if self.steps is None:
            return network.forward(input)
        work = self.at_work()
        try:
            with work:
                for step in self.steps:
                    input = step.evaluate(input)
        except BaseException:
            work.leave()
            raise
        return input

    def __str__(self) -> str:
        rows = [("layers", "what", "how")]
        if self.steps is None:
            rows.append(("-", "forward and backward", "the network's own"))
        start, tiles = 0, self.together and by_tiles()
        for step in self.steps or []:
            stop = start + len(step.layers) - 1
            where = str(start) if stop == start else f"{start}-{stop}"
            inner = (("", what, how) for what, how in _inner_rows(step, tiles))
            rows += [(where, *_row(step, tiles)), *inner]
            start = stop + 1
        loss, optimizer, regularization = self._parts
        rows.append(("loss", repr(loss), self._loss_remark))
        what = repr(optimizer) if regularization is None else f"{optimizer!r}, {regularization!r}"
        rows.append(("update", what, self._update_remark))
        if self.whole is not None:
            if self.whole.refusal is None:
                # Layers, loss and optimizer run only while they are traced.
                how = "in one function with the rest: see the last line"
                rows[1:] = [(where, what, how) for where, what, _ in rows[1:]]
            rows.append(("all", "training steps and evaluations", str(self.whole)))
        first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
        lines = [f"{a:<{first}}  {b:<{second}}  {c}".rstrip() for a, b, c in rows]
        return "\n".join([f"Plan on {self._place}", *lines])


def plan(network: Network, kernels: bool = True) -> Plan:
    """Plan how a network makes its steps. Networks call it themselves; print it to look.

    Parameters
    ----------
    network : Network
        Is not changed, but for drawing parameters that are missing.
    kernels : bool
        Whether compiled kernels may be used where they can.

    Examples
    --------
    >>> import xpnn
    >>> net = xpnn.Sequential(
    ...     [xpnn.Linear(2, 8), xpnn.Softplus(), xpnn.Linear(8, 2)],
    ...     xpnn.MeanSquaredError(),
    ...     lr=0.5,
    ... )
    >>> print(xpnn.fusion.plan(net, kernels=False))
    Plan on numpy on cpu, float32
    layers  what                how
    0       Linear(2, 8)        into buffers, by BLAS
    1       Softplus()          the layer itself: there is no kernel for it
    2       Linear(8, 2)        into buffers, by BLAS
    loss    MeanSquaredError()  the loss itself: kernels are not wanted
    update  SGD(0.5)            the optimizer itself: kernels are not wanted
    """
    parameters, made = network.parameters, network._plan
    if kernels and isinstance(made, Plan) and made.whole and made.fits(network, parameters):
        return made  # with what it has compiled, and why it could not
    return Plan(network, parameters, kernels)


def _row(step: PlanStep, tiles: bool) -> tuple[str, str]:
    """Return what a step does and how; of layers that are made of layers only the kind."""
    names = (type(each).__name__ if any(each.sublayers()) else repr(each) for each in step.layers)
    return ", ".join(names), step.told(tiles)


def _inner_rows(step: PlanStep, tiles: bool, indent: str = "  ") -> Iterator[tuple[str, str]]:
    """Yield the same for the steps that a step is made of."""
    for name, way in step.ways:
        if name:
            yield f"{indent}{name}:", "" if way else "the input itself"
        for inner in way:
            what, how = _row(inner, tiles)
            inset = f"{indent}  " if name else indent
            yield inset + what, how
            yield from _inner_rows(inner, tiles, f"{inset}  ")


def _may_learn(layer: Layer) -> bool:
    """Tell whether a layer, or one that it is made of, may have parameters."""
    inner = (layer for _, layer in layer.sublayers())
    return bool(layer.params) or not is_built_in(layer) or any(map(_may_learn, inner))


def _count_idle(steps: list[PlanStep]) -> int:
    """Count the steps at the beginning that need no backward pass, and tell the next one."""
    for index, step in enumerate(steps):
        if any(_may_learn(layer) for layer in step.layers):
            step.wants_gradient = False
            return index
    return len(steps)
