"""What a step needs that JAX traces once and runs many times: masks, and a clean exit.

While a step is traced, its arrays are stand-ins and its Python runs for the last time. So masks
become arguments, which are drawn anew for every step, and whatever the trace has left in the
layers is taken out again.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._standard import Array, from_host
from ..network import Network
from ..parameters import Parameters
from ..random import Stream, set_mask_maker
from .fixed_settings import LEFT, OF_NETWORK, Untraceable, is_built_in_part, owner_name

__all__ = ["Draw", "Masks", "Results", "StepNumber", "borrowed", "is_tracing"]

#: Attributes of layers by which layer and name, as a step sets them.
Results = dict[tuple[int, str], Any]


class StepNumber(int):
    """Stands for the number of a step while it is traced: a stream may have it, nobody else."""

    def _refuse(self, *others: Any) -> Any:
        raise Untraceable("something of its own depends on the number of the step")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = __pos__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _refuse
    __pow__ = __rpow__ = __and__ = __rand__ = __rshift__ = __lshift__ = __int__ = _refuse
    __float__ = __str__ = __repr__ = __format__ = __divmod__ = __rdivmod__ = __hash__ = _refuse


# ---------------------------------------------------------------------------------- masks


@dataclass(frozen=True)
class Draw:
    """A mask that a step draws: of which stream, from which lane on, how many elements."""

    seed: int
    stream: int
    call: int  #: the number of the step, as the trace has it
    threshold: int
    start: int
    count: int

    def mask(self, marker: int, step: int) -> np.ndarray[Any, Any]:
        """Draw on the host what `Stream.mask` would at a step; ``marker`` stood for the step."""
        call = step if self.call == marker else self.call
        return Stream(self.seed, self.stream, call).bits(self.count, self.start) >= self.threshold


class Masks:
    """The masks that a trace asks for, in their order.

    Parameters
    ----------
    stand_ins : list of array, optional
        What to hand out. By default zeros.
    """

    def __init__(self, stand_ins: list[Array] | None = None) -> None:
        self.draws: list[Draw] = []
        self._stand_ins = stand_ins

    def take(self, draw: Draw, xp: Any) -> Array:
        """Note a draw and return its stand-in."""
        self.draws.append(draw)
        if self._stand_ins is None:
            return xp.zeros(draw.count, dtype=xp.bool)
        if len(self.draws) > len(self._stand_ins):
            raise Untraceable("masks are drawn in the backward pass")
        return self._stand_ins[len(self.draws) - 1]

    @contextlib.contextmanager
    def handed_out(self) -> Iterator[None]:
        """Let `Stream.mask` on JAX hand out the stand-ins."""
        token = _tracing.set(self)
        try:
            yield
        finally:
            _tracing.reset(token)


_tracing: ContextVar[Masks | None] = ContextVar("masks of the step that is traced", default=None)


def is_tracing() -> bool:
    """Tell whether a step is being traced."""
    return _tracing.get() is not None


def _mask(stream: Stream, threshold: int, count: int, start: int, like: Array) -> Array:
    """Make a mask on JAX: for a trace an argument, else from the host."""
    masks = _tracing.get()
    if masks is None:
        return from_host(stream.bits(count, start) >= threshold, like=like)
    import jax.numpy as jnp

    draw = Draw(stream.seed, stream.stream, stream.call, threshold, start, count)
    return masks.take(draw, jnp)


set_mask_maker("jax", _mask)


# ---------------------------------------------------------------------------------- a clean exit


@contextlib.contextmanager
def borrowed(
    network: Network, parameters: Parameters, mode: str, marker: int, masks: Masks
) -> Iterator[Results]:
    """Prepare a network for a trace, and then put everything back that the trace has changed.

    Parameters
    ----------
    network, parameters : Network, Parameters
        What is traced.
    mode : {"train", "test"}
        Of the layers.
    marker : int
        Stands for the numbers of steps and epochs.
    masks : Masks
        What the layers draw.

    Yields
    ------
    dict
        Is filled at the end: the attributes that xpnn's own layers have set, such as the last
        state of an LSTM.

    Raises
    ------
    Untraceable
        If something of a user's own has changed an attribute: it would do so only once.
    """
    owners: list[Any] = [*parameters.layers.values(), network.loss, network.regularization, network]
    owners = [owner for owner in owners if owner is not None]
    before = [dict(vars(owner)) for owner in owners]
    contents = [
        {name: _copy(value) for name, value in attributes.items() if name not in LEFT}
        for attributes in before
    ]
    vectors = parameters.values, parameters.grads, parameters.buffers
    shown = [(view, view.peek()) for vector in vectors for view in vector.views]
    flags = [dict(vars(vector)) for vector in vectors]
    results: Results = {}
    try:
        network.steps = network.epochs = marker = StepNumber(marker)
        for layer in parameters.layers.values():
            layer.mode, layer.step = mode, marker
        with masks.handed_out():
            yield results
        if parameters.outdated:
            raise Untraceable("a layer makes its parameters in its first forward pass")
        for index, owner in enumerate(owners):
            changed = _changed(owner, before[index], contents[index])
            if changed and not is_built_in_part(owner):
                raise Untraceable(
                    f"{owner_name(owner)} changes its attribute {min(changed)!r} in a step"
                )
            for name in changed:
                results[index, name] = vars(owner)[name]
    finally:
        for owner, attributes, content in zip(owners, before, contents, strict=True):
            vars(owner).clear()
            vars(owner).update(attributes)
            _restore(attributes, content)
            if hasattr(owner, "cache"):
                owner.cache.clear()
        for view, arrays in shown:
            view.put(arrays)
        for vector, flag in zip(vectors, flags, strict=True):
            vars(vector).update(flag)


def _copy(value: Any) -> Any:
    return value.copy() if type(value) in (list, dict, set) else value


def _changed(owner: Any, before: dict[str, Any], content: dict[str, Any]) -> set[str]:
    """Return the names of attributes that were set; of a user's own, also what they contain."""
    ignored = LEFT | OF_NETWORK if isinstance(owner, Network) else LEFT
    now = vars(owner)
    deep = not is_built_in_part(owner)
    changed = set()
    for name in (before.keys() | now.keys()) - ignored:
        same = name in before and name in now and now[name] is before[name]
        if same and deep and type(now[name]) in (list, dict, set):
            old, new = _items(content[name]), _items(now[name])
            same = len(old) == len(new) and all(map(operator.is_, old, new))
        if not same:
            changed.add(name)
    return changed


def _items(container: Any) -> list[Any]:
    return [*container, *container.values()] if isinstance(container, dict) else list(container)


def _restore(attributes: dict[str, Any], content: dict[str, Any]) -> None:
    for name, old in content.items():
        value = attributes[name]
        if type(value) is list:
            value[:] = old
        elif type(value) in (dict, set):
            value.clear()
            value.update(old)
