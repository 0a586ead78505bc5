"""Penalty, check, clipping, weight decay and the optimizer's rule on CuPy: two launches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .._checks import ROLES
from .._standard import Array
from ..errors import ShapeError
from ..kernels.cuda import Counters, optimizers
from ..optimizers import Adam, Optimizer, RMSprop
from ..parameters import Parameters
from ..regularization import Regularization
from .settings import current_state, numbers_of, penalty_settings, rule_of

if TYPE_CHECKING:
    from ..network import Network

__all__ = ["CudaUpdate"]


class CudaUpdate:
    """What a network does after its backward pass, by CUDA kernels. The host does not wait.

    If a number is not finite, parameters, state and buffers stay as they were from then on, the
    loss is NaN, and the network's flag on the device says so.

    Parameters
    ----------
    optimizer : Optimizer
        One of the built-in classes.
    regularization : Regularization or None
        One of the built-in classes, or None if there is none or it is added elsewhere.
    parameters : Parameters
        The vectors that it acts on.
    counters : Counters
        Of the plan.

    Attributes
    ----------
    rule : str
        Name of the kernel.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        regularization: Regularization | None,
        parameters: Parameters,
        counters: Counters,
    ) -> None:
        self.optimizer = optimizer
        self.regularization = regularization
        self.parameters = parameters
        self.rule = rule_of(optimizer)
        self._counters = counters
        # One segment for each role, empty ones included.
        self._ends = [0, 0, 0]
        for part in parameters.values.parts:
            for rank in range(ROLES.index(part.role), len(ROLES)):
                self._ends[rank] = part.stop

    def __call__(self, network: Network, grads: Array, loss: Array, buffers: Array) -> Array:
        """Update the parameters if loss and gradients are finite; return the loss.

        Parameters
        ----------
        network : Network
            Whose step it is.
        grads : array
            The gradients.
        loss : array, 0-d
            The loss without the penalty.
        buffers : array
            The buffers of the layers as they were before the step.
        """
        import cupy

        values = self.parameters.values.array
        optimizer, lr = self.optimizer, float(network.lr)
        state = current_state(optimizer, network.optimizer_state, values)
        vectors = [_vector(state, name, values) for name in optimizer.state_names]
        bound = math.inf if optimizer.clip_value is None else optimizer.clip_value
        penalty = (self._ends[2], self._ends[0], self._ends[1], *self._factors(), bound)
        total, factor = cupy.empty(2, dtype=values.dtype)
        healthy = cupy.empty((), dtype=cupy.bool_)
        results = total, healthy, factor
        limit = optimizer.clip_norm or 0.0
        before = network._healthy
        optimizers.inspect(values, grads, penalty, limit, loss, before, results, self._counters)
        # Nothing from here on takes memory, so no shortage of it finds a half-made step.
        optimizers.update(
            self.rule,
            values,
            grads,
            vectors,
            penalty,
            self._decay(lr),
            _numbers(optimizer, lr, network.steps + 1),
            factor,
            healthy,
            (self.parameters.buffers.array, buffers),
        )
        network.optimizer_state = state
        network._healthy = healthy
        network.steps += 1
        return total

    def is_current(self) -> bool:
        """Tell whether the optimizer's settings still ask for the same kernel."""
        return rule_of(self.optimizer) == self.rule

    def _factors(self) -> tuple[list[float], list[float]]:
        """Return the factors of both penalties for each segment."""
        l1, l2, roles = penalty_settings(self.regularization)
        chosen = [1.0 if roles is None or role in roles else 0.0 for role in ROLES]
        return [l1 * c for c in chosen], [l2 * c for c in chosen]

    def _decay(self, lr: float) -> list[float]:
        optimizer = self.optimizer
        decay = lr * optimizer.weight_decay
        return [1.0 - decay if decay and role in optimizer.decay_roles else 1.0 for role in ROLES]


def _vector(state: dict[str, Array], name: str, values: Array) -> Any:
    """Return one of the optimizer's vectors as the kernel takes it.

    Raises
    ------
    ShapeError
        If somebody has put a vector there that is not like the parameters.
    """
    import cupy

    vector = state[name]
    if vector.shape != values.shape:
        raise ShapeError(
            f"optimizer_state: expected {name!r} of shape {values.shape}, got {vector.shape}"
        )
    if vector.dtype != values.dtype or not vector.flags.c_contiguous:
        vector = state[name] = cupy.ascontiguousarray(vector, dtype=values.dtype)
    return vector


def _numbers(optimizer: Optimizer, lr: float, step: int) -> tuple[float, ...]:
    """Return what the kernel of a rule takes: what it gains by a step comes in double precision."""
    numbers = numbers_of(optimizer, lr, step)
    if isinstance(optimizer, Adam):
        return (*numbers, 1.0 - optimizer.beta1, 1.0 - optimizer.beta2)
    if isinstance(optimizer, RMSprop):
        return (*(*numbers, 0.0)[:4], 1.0 - optimizer.rho)
    return numbers
