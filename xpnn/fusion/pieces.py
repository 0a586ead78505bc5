"""Parameters, gradients and the optimizer's state as lists of arrays, one for each part.

Elsewhere they are flat vectors. XLA copies what is cut out of a vector or put together to one, so
a compiled step has the parts themselves; a vector is made of them when somebody looks at it.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

from .._standard import Array, array_namespace, clip, norm_scale
from ..errors import ShapeError
from ..network import Network
from ..optimizers import Adam, Optimizer
from ..optimizers.optimizer import clipping
from ..parameters import FlatVector, Part, Parts, ReadByItem
from .settings import current_state

__all__ = ["LateVectors", "Slots", "changing_numbers", "regularized", "state_of", "updated"]


class Slots:
    """Where the arrays of a vector's parts are, in the order of the parts.

    Parameters
    ----------
    vector : FlatVector
        Of an immutable library.
    """

    def __init__(self, vector: FlatVector) -> None:
        self.vector = vector
        views = {part.key: view for view in vector.views for part in view.parts.values()}
        self.places: list[tuple[Parts, str]] = [(views[p.key], p.name) for p in vector.parts]

    def peek(self) -> list[Array]:
        """Return the arrays to somebody who does not keep them."""
        return [dict.__getitem__(view, name) for view, name in self.places]

    def owned(self) -> list[Array]:
        """Return arrays whose memory may be taken: copies where somebody else may hold them."""
        arrays = self.peek()
        if self.vector.shared:
            xp = self.vector.backend.xp
            return [xp.asarray(array, copy=True) for array in arrays]
        return arrays

    def show(self, arrays: Sequence[Array]) -> None:
        """Put new arrays in the places of the old ones."""
        for (view, name), array in zip(self.places, arrays, strict=True):
            dict.__setitem__(view, name, array)
        self.vector.stale, self.vector.shared = bool(self.places), False


class LateVectors(ReadByItem):
    """The vectors of an optimizer in pieces, put together when somebody looks.

    Parameters
    ----------
    parts : list of Part
        How a vector is cut.
    """

    pop = MutableMapping.pop
    setdefault = MutableMapping.setdefault

    def __init__(self, parts: list[Part]) -> None:
        super().__init__()
        self.parts = parts
        self._pieces: dict[str, list[Array]] = {}

    def __getitem__(self, name: str) -> Array:
        pieces = self._pieces.pop(name, None)
        if pieces is not None:
            xp = array_namespace(*pieces)
            super().__setitem__(name, xp.concat([xp.reshape(piece, (-1,)) for piece in pieces]))
        return super().__getitem__(name)

    def __setitem__(self, name: str, value: Array) -> None:
        self._pieces.pop(name, None)
        super().__setitem__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def take(self, names: Sequence[str]) -> dict[str, list[Array]]:
        """Return the pieces by name, arrays that nobody else has.

        Raises
        ------
        ShapeError
            If somebody has put a vector there that is not like the parameters.
        """
        return {name: self._pieces.get(name) or self._cut(name) for name in names}

    def put(self, pieces: dict[str, list[Array]]) -> None:
        """Take pieces in the places of what is here."""
        for name, arrays in pieces.items():
            super().__setitem__(name, None)
            self._pieces[name] = arrays

    def _cut(self, name: str) -> list[Array]:
        vector = self[name]
        size = self.parts[-1].stop if self.parts else 0
        if tuple(vector.shape) != (size,):
            raise ShapeError(
                f"optimizer_state: expected {name!r} of shape {(size,)}, got {vector.shape}"
            )
        xp = array_namespace(vector)
        pieces = [xp.reshape(vector[part.start : part.stop], part.shape) for part in self.parts]
        return [xp.asarray(piece, copy=True) for piece in pieces]


def state_of(network: Network, parts: list[Part]) -> LateVectors:
    """Return an optimizer's state so that pieces can be taken out; zeros for what is missing."""
    state, names = network.optimizer_state, network.optimizer.state_names
    if isinstance(state, LateVectors) and state.parts is parts and state.keys() == set(names):
        return state
    fresh = LateVectors(parts)
    if state:
        values = network.parameters.values.array
        fresh.update(current_state(network.optimizer, state, values))
    else:
        zeros = network.backend.zeros
        fresh.put({name: [zeros(part.shape) for part in parts] for name in names})
    return fresh


def changing_numbers(network: Network) -> list[float]:
    """Return the numbers of the host that differ from step to step, the learning rate first."""
    optimizer, lr = network.optimizer, float(network.lr)
    if isinstance(optimizer, Adam):
        return [lr, *optimizer.corrections(1.0, network.steps + 1)]
    return [lr]


def regularized(
    network: Network, parts: list[Part], values: list[Array], grads: list[Array]
) -> tuple[Any, list[Array]]:
    """Return the penalty, and the gradients with that of the penalty added."""
    penalty = network.regularization
    if penalty is None:
        return 0.0, grads
    total: Any = 0.0
    result = []
    for part, value, grad in zip(parts, values, grads, strict=True):
        if penalty.roles is None or part.role in penalty.roles:
            total = total + penalty.forward(value)
            grad = grad + penalty.backward(value)
        result.append(grad)
    return total, result


def updated(
    optimizer: Optimizer,
    parts: list[Part],
    values: list[Array],
    grads: list[Array],
    state: dict[str, list[Array]],
    lr: Array,
    corrections: Sequence[Array],
) -> tuple[list[Array], dict[str, list[Array]]]:
    """Do what `Optimizer.step` does for a vector; the optimizer is one of xpnn's."""
    if optimizer.clip_value is not None:
        grads = [clip(grad, -optimizer.clip_value, optimizer.clip_value) for grad in grads]
    if optimizer.clip_norm is not None and grads:
        xp, small = array_namespace(*grads), norm_scale(grads[0])
        squares = sum(xp.sum(grad * grad) for grad in grads)
        small_squares = sum(xp.sum((small * grad) * (small * grad)) for grad in grads)
        scale, factor = clipping(squares, small_squares, optimizer.clip_norm)
        grads = [grad * scale * factor for grad in grads]
    new_values, new_state = [], {name: list[Array]() for name in state}
    for index, (part, value, grad) in enumerate(zip(parts, values, grads, strict=True)):
        if optimizer.weight_decay and part.role in optimizer.decay_roles:
            value = value * (1.0 - lr * optimizer.weight_decay)
        kept = {name: pieces[index] for name, pieces in state.items()}
        if isinstance(optimizer, Adam):
            rate, epsilon = corrections
            value, kept = optimizer.corrected_update(value, grad, kept, lr * rate, epsilon)
        else:
            value, kept = optimizer.update(value, grad, kept, lr, 0)
        new_values.append(value)
        for name, piece in kept.items():
            new_state[name].append(piece)
    return new_values, new_state
