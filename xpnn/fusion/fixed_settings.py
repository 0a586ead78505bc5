"""What a step depends on whose Python does not run again.

JAX runs the Python of a step once, and replayed runs are not run in Python either. What was read
then, such as the slope of an activation, is part of what was made, so every step begins with a look
whether it still is so.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from .._settings import settings
from ..layers.layer import Layer
from ..losses import Loss
from ..network import Network
from ..optimizers import Optimizer
from ..parameters import Parameters
from ..random import Stream
from ..regularization import Regularization
from .recognition import is_as_written, is_plain

__all__ = [
    "LEFT",
    "OF_NETWORK",
    "Settings",
    "Untraceable",
    "is_built_in_part",
    "is_own",
    "owner_name",
    "owners_of",
]

#: What a step leaves behind by design, besides the arrays of a layer.
LEFT = frozenset(
    {"params", "grads", "buffers", "cache", "mode", "step", "weight_sum", "_own_stream"}
)
#: What a `Network` has of its own: none of it is a setting of a subclass's forward pass.
OF_NETWORK = frozenset(
    {
        "loss",
        "regularization",
        "backend",
        "seed",
        "seed_given",
        "steps",
        "epochs",
        "total_steps",
        "fuse",
        "optimizer_state",
        "_plan",
        "_parameters",
        "_places",
        "_healthy",
        "_optimizer",
    }
)
_PLAIN = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    type,
    Stream,
    np.generic,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.ModuleType,
)


#: What a layer for sequences is given for one batch.
_OF_BATCH = ("initial", "lengths", "_mask")
#: NumPy arrays up to this many bytes are looked at in every step.
_SMALL = 1 << 14


class Untraceable(Exception):
    """Why a step stays as it is."""


def is_own(network: Network) -> bool:
    """Tell whether anything that a step runs is of a user's own."""
    parts = [*(layer for _, layer in network.named_layers()), network.loss, network.regularization]
    return not is_plain(network) or not all(
        is_built_in_part(part) for part in parts if part is not None
    )


def is_built_in_part(part: Any) -> bool:
    """Tell whether the code of a layer, a loss or a penalty is that of a class in xpnn."""
    if isinstance(part, Layer):
        return is_as_written(part)
    if not isinstance(part, Loss | Regularization | Optimizer):
        return False
    room = type(part).__module__.split(".")[:2]
    own = vars(part).keys() & {"forward", "backward"}
    return room in (["xpnn", "losses"], ["xpnn", "regularization"], ["xpnn", "optimizers"]) and (
        not own
    )


def owner_name(owner: Any) -> str:
    """Name a layer as its network does, anything else by its class."""
    return owner.name if isinstance(owner, Layer) else type(owner).__name__


class Settings:
    """The attributes of layers, loss, penalty and optimizer that a step depends on.

    Parameters
    ----------
    owners : iterable
        What they belong to.

    Raises
    ------
    Untraceable
        If there is an attribute that could change unseen, or for every batch.
    """

    def __init__(self, owners: Iterable[Any]) -> None:
        self._owners = list(owners)
        self._all = self._list()
        # Nearly always nothing has changed: the same objects in the same places show it.
        self._looks: list[tuple[dict[str, Any], int, Callable[[Any], Any], tuple[Any, ...]]] = []
        self._empty: list[dict[str, Any]] = []
        self._lists: list[tuple[list[Any], list[Any]]] = []  # such as layers, and what was in them
        self._quick = True
        for owner in self._owners:
            here = vars(owner)
            known = dict(_attributes(owner))
            self._quick &= known.keys() <= here.keys()
            for value in known.values():
                self._quick &= not isinstance(value, dict | set | np.ndarray)
                self._lists += _lists_in(value)
            if isinstance(owner, Layer):
                known |= {name: here[name] for name in _OF_BATCH if name in here}
                self._empty += [here[name] for name in _OF_BATCH if type(here.get(name)) is dict]
            # Of one name alone `itemgetter` makes no tuple.
            names = [*known, *known] if len(known) == 1 else [*known]
            if names:
                values = tuple(known[name] for name in names)
                self._looks.append((here, len(here), itemgetter(*names), values))

    def hold(self) -> bool:
        """Tell whether all settings are what they were."""
        if self._quick and not any(self._empty):
            for here, count, look, values in self._looks:
                if len(here) != count or not all(map(operator.is_, look(here), values)):
                    break
            else:
                if all(
                    len(now) == len(then) and all(map(operator.is_, now, then))
                    for now, then in self._lists
                ):
                    return True
        try:
            return self._list() == self._all
        except Untraceable:
            return False

    def _list(self) -> list[Any]:
        found: list[Any] = []
        for owner in self._owners:
            found.append(type(owner))
            for name, value in _attributes(owner):
                found.append(name)
                where = f"{owner_name(owner)}: its attribute {name!r}"
                _freeze(value, where, not is_built_in_part(owner), found)
        return found


def _lists_in(value: Any) -> list[tuple[list[Any], list[Any]]]:
    """Return each list in a value, and what is in it now."""
    if not isinstance(value, list | tuple):
        return []
    here = [(value, list(value))] if isinstance(value, list) else []
    return here + [found for item in value for found in _lists_in(item)]


def owners_of(network: Network, parameters: Parameters) -> Iterator[Any]:
    """Yield what has settings in a network."""
    yield from parameters.layers.values()
    for part in (network.loss, network.regularization, network.optimizer):
        if part is not None:
            yield part
    if not is_plain(network) or vars(network).keys() - OF_NETWORK - {"layers"}:
        yield network


def _attributes(owner: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes that a step may read; of xpnn's classes, the constructor's arguments."""
    if isinstance(owner, Layer):
        for name in _OF_BATCH:
            value = vars(owner).get(name)
            if value is not None and not (isinstance(value, dict) and not value):
                raise Untraceable(f"{owner.name} has {name.strip('_')!r} of its own for a batch")
    if is_built_in_part(owner):
        for name, value in settings(owner).items():
            if name != "lr":
                yield name, value
        if isinstance(owner, Layer):
            yield "stream", owner.stream
        return
    for name, value in vars(owner).items():
        if name not in (OF_NETWORK if isinstance(owner, Network) else LEFT):
            yield name, value


def _freeze(value: Any, where: str, strict: bool, found: list[Any]) -> None:
    """Append what tells a value from another one; identity where nothing else does."""
    if isinstance(value, _PLAIN):
        found.append(value)
    elif isinstance(value, list | tuple | set | frozenset):
        found.append((type(value), len(value)))
        for item in value:
            _freeze(item, where, strict, found)
    elif isinstance(value, dict):
        found.append((dict, len(value)))
        for key, item in value.items():
            found.append(key)
            _freeze(item, where, strict, found)
    elif isinstance(value, np.ndarray) and value.nbytes <= _SMALL and value.dtype != object:
        found.append((value.shape, value.dtype, value.tobytes()))
    elif not strict or isinstance(value, Layer) or _is_jax_array(value):
        found.append(_Same(value))
    else:
        raise Untraceable(f"{where} is a {type(value).__name__}, which may change unseen")


@dataclass(frozen=True, eq=False)
class _Same:
    """Equal to what holds the same object."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]


def _is_jax_array(value: Any) -> bool:
    import jax

    return isinstance(value, jax.Array)
