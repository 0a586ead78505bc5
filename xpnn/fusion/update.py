"""Penalty, check, clipping, weight decay and the optimizer's rule: two passes over the vectors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._standard import Array
from ..errors import ShapeError
from ..optimizers import Optimizer
from ..parameters import Parameters
from ..regularization import L1, L2, ElasticNet, Regularization
from .settings import (
    current_state,
    is_built_in_optimizer,
    numbers_of,
    penalty_settings,
    rule_of,
)
from .threads import team, working

if TYPE_CHECKING:
    from ..kernels.cuda import Counters
    from ..network import Network
    from .cuda_update import CudaUpdate

__all__ = ["Update", "make_update"]


class Update:
    """What a network does after its backward pass, by Numba.

    The first pass finds the penalty, the norm, and whether all numbers are finite; the second one
    updates. Parameters and state stay as they are if a number is not finite.

    Parameters
    ----------
    optimizer : Optimizer
        One of the built-in classes.
    regularization : Regularization or None
        One of the built-in classes, or None if there is none or it is added elsewhere.
    parameters : Parameters
        The vectors that it acts on.

    Attributes
    ----------
    rule : str
        Name of the kernel.
    together : bool
        Whether the pool of threads works on it; the plan says so.
    """

    def __init__(
        self, optimizer: Optimizer, regularization: Regularization | None, parameters: Parameters
    ) -> None:
        from ..kernels.numba import inspection  # loads Numba
        from ..kernels.numba import optimizers as kernels

        self.optimizer = optimizer
        self.regularization = regularization
        self.parameters = parameters
        self.rule = rule_of(optimizer)
        self.together = False
        self._name = parameters.backend.dtype
        self._scalar = np.dtype(self._name).type
        self._inspect = inspection.inspect
        self._rule = getattr(kernels, self.rule)
        # One segment for each role: penalties and decay are chosen by roles.
        segments: dict[str, int] = {}
        for part in parameters.values.parts:
            segments[part.role] = part.stop
        self._roles = tuple(segments)
        self._ends = np.asarray(list(segments.values()), dtype=np.int64)
        self._ones = np.ones(len(self._roles))
        self._settings: Any = None
        self._penalty: tuple[Array, Array] = (np.zeros(0), np.zeros(0))

    def __call__(self, network: Network, grads: Array, loss: Array, buffers: Array) -> Array:
        """Update the parameters if loss and gradients are finite; return the loss.

        The buffers from before the step are the network's to bring back.

        Raises
        ------
        DivergenceError
            If they are not; nothing has changed then.
        """
        with working(self.together):
            return self._update(network, grads, loss)

    def _update(self, network: Network, grads: Array, loss: Array) -> Array:
        optimizer = self.optimizer
        values = self.parameters.values.array
        lr, state = float(network.lr), self._state(network)
        l1, l2 = self._factors()
        bound = math.inf if optimizer.clip_value is None else optimizer.clip_value
        parts, parallel = team().share(values.size)
        inspect, rule = self._inspect[self._name, parallel], self._rule[self._name, parallel]
        given = values, grads, self._ends, l1, l2, bound
        penalty, witness, squares = inspect(*given, int(optimizer.clip_norm is not None), parts)
        if self.regularization is not None:
            loss = self._scalar(loss + penalty)
        if not math.isfinite(float(loss) + witness):
            raise network.divergence(float(loss), network.steps, lr)
        factor = 1.0
        if optimizer.clip_norm is not None:
            factor = optimizer.clip_norm / max(math.sqrt(squares), optimizer.clip_norm)
            if not math.isfinite(squares):
                factor = self._factor_of_large(grads, optimizer.clip_norm, bound)
        common = (self._ends, l1, l2, self._decay(lr), bound, factor)
        numbers = numbers_of(optimizer, lr, network.steps + 1)
        arguments = values, grads, *state, *common, *numbers, parts
        try:
            rule(*arguments)
        finally:  # an interrupt is raised when the kernel has run: what was done counts
            network.steps += 1
        return loss

    def is_current(self) -> bool:
        """Tell whether the optimizer's settings still ask for the same kernel."""
        return rule_of(self.optimizer) == self.rule

    def _state(self, network: Network) -> list[Array]:
        """Return the optimizer's vectors as the kernel takes them.

        Raises
        ------
        ShapeError
            If somebody has put a vector there that is not like the parameters.
        """
        values = self.parameters.values.array
        state = current_state(self.optimizer, network.optimizer_state, values)
        network.optimizer_state = state
        vectors = []
        for name in self.optimizer.state_names:
            vector = state[name]
            if vector.shape != values.shape:
                raise ShapeError(
                    f"optimizer_state: expected {name!r} of shape {values.shape}, "
                    f"got {vector.shape}"
                )
            if vector.dtype != values.dtype or not vector.flags.carray:
                vector = state[name] = np.array(vector, dtype=values.dtype)
            vectors.append(vector)
        return vectors

    def _factors(self) -> tuple[Array, Array]:
        """Return the factors of both penalties for each segment."""
        penalty = self.regularization
        settings = penalty_settings(penalty)
        if settings != self._settings:
            l1, l2, roles = settings
            chosen = [1.0 if roles is None or role in roles else 0.0 for role in self._roles]
            self._penalty = l1 * np.asarray(chosen), l2 * np.asarray(chosen)
            self._settings = settings
        return self._penalty

    def _factor_of_large(self, grads: Array, limit: float, bound: float) -> float:
        """Return what clips gradients whose squares are too large for their type."""
        values, (l1, l2) = self.parameters.values.array, self._factors()
        full, start = np.empty(grads.shape), 0
        for end, a, b in zip(self._ends, l1, l2, strict=True):
            w = values[start:end]
            full[start:end] = grads[start:end] + 2.0 * b * w + a * np.sign(w)
            start = end
        np.clip(full, -bound, bound, out=full)
        largest = float(np.abs(full).max())
        full /= largest
        return min(limit / largest / math.sqrt(full @ full), 1.0)

    def _decay(self, lr: float) -> Array:
        optimizer = self.optimizer
        if not optimizer.weight_decay:
            return self._ones
        kept = np.ones(len(self._roles))
        for index, role in enumerate(self._roles):
            if role in optimizer.decay_roles:
                kept[index] = 1.0 - lr * optimizer.weight_decay
        return kept


def make_update(
    optimizer: Optimizer,
    regularization: Regularization | None,
    parameters: Parameters,
    lack: str | None,
    counters: Counters | None = None,
) -> tuple[Update | CudaUpdate | None, str]:
    """Return the fused update, if there is one, and a remark; `counters` are given on CuPy."""
    if lack is not None:
        return None, f"the optimizer itself: {lack}"
    if not is_built_in_optimizer(optimizer):
        return None, "the optimizer itself: not a class of xpnn's"
    remark = "fused by Numba" if counters is None else "fused by CUDA kernels"
    if regularization is not None and type(regularization) not in (L1, L2, ElasticNet):
        regularization, remark = (
            None,
            f"{remark}, but for the regularization: not a class of xpnn's",
        )
    if counters is None:
        return Update(optimizer, regularization, parameters), remark
    from .cuda_update import CudaUpdate

    return CudaUpdate(optimizer, regularization, parameters, counters), remark
