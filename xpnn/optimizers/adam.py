"""Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .._checks import checked, checked_number
from .._standard import Array, array_namespace
from .optimizer import Optimizer

if TYPE_CHECKING:
    from ..schedules import Schedule

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Adaptive moments: the mean gradient over the root of the mean squared gradient.

    With t = step, counted from 1::

        mean   = beta1 * mean   + (1 - beta1) * g
        square = beta2 * square + (1 - beta2) * g ** 2
        w     -= lr * (mean / (1 - beta1**t)) / (sqrt(square / (1 - beta2**t)) + epsilon)

    Parameters
    ----------
    lr : float or Schedule
        Learning rate, finite and > 0.
    beta1, beta2 : float
        Fractions of the old means that are kept, in [0, 1).
    epsilon : float
        What keeps the quotient finite, > 0.
    weight_decay, decay_roles, clip_norm, clip_value
        As in `Optimizer`. The decay is decoupled, as in `AdamW`; PyTorch's ``Adam`` adds it to
        the gradient instead (here: `L2`).

    Raises
    ------
    ConfigurationError
        If a setting is out of its range.

    Notes
    -----
    State: "mean" and "square", like the parameters. Cost: 12 FLOPs an element.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.
    Both corrections of the means are folded into two numbers of the host.

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = Adam(0.1)
    >>> w, g = np.asarray([1.0, 2.0]), np.asarray([3.0, -0.01])
    >>> w, state = optimizer.step(w, g, optimizer.init(w), step=1, lr=0.1)
    >>> np.round(w, 6).tolist()
    [0.9, 2.1]
    """

    beta1: float = checked(checked_number, low=0.0, high=1.0, open_high=True)
    beta2: float = checked(checked_number, low=0.0, high=1.0, open_high=True)
    epsilon: float = checked(checked_number, low=0.0, open_low=True)

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        weight_decay: float = 0.0,
        decay_roles: Iterable[str] = ("weight",),
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(
            lr,
            weight_decay=weight_decay,
            decay_roles=decay_roles,
            clip_norm=clip_norm,
            clip_value=clip_value,
        )
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon

    @property
    def state_names(self) -> tuple[str, ...]:
        """("mean", "square")."""
        return ("mean", "square")

    def update(
        self, values: Array, grads: Array, state: dict[str, Array], lr: float, step: int
    ) -> tuple[Array, dict[str, Array]]:
        """Apply the rule to clipped gradients; arguments and result as in `Optimizer.step`."""
        return self.corrected_update(values, grads, state, *self.corrections(lr, step))

    def corrections(self, lr: Any, step: int) -> tuple[Any, float]:
        """Return the numbers of a step: the corrected learning rate, the corrected epsilon."""
        # m / c1 / (sqrt(s / c2) + e) = (sqrt(c2) / c1) * m / (sqrt(s) + sqrt(c2) * e)
        root = math.sqrt(1.0 - self.beta2**step)
        return lr * root / (1.0 - self.beta1**step), self.epsilon * root

    def corrected_update(
        self, values: Array, grads: Array, state: dict[str, Array], rate: Any, epsilon: Any
    ) -> tuple[Array, dict[str, Array]]:
        """Apply the rule with the numbers of `corrections`, or with arrays of them."""
        xp = array_namespace(values)
        mean, square = state["mean"], state["square"]
        scratch = (1.0 - self.beta1) * grads
        mean *= self.beta1
        mean += scratch
        scratch *= grads
        scratch *= (1.0 - self.beta2) / (1.0 - self.beta1)
        square *= self.beta2
        square += scratch
        scratch = xp.sqrt(square)
        scratch += epsilon
        change = mean / scratch
        change *= rate
        values -= change
        return values, {"mean": mean, "square": square}


class AdamW(Adam):
    """Adam with decoupled weight decay: `Adam`, with a `weight_decay` of 0.01 by default.

    ``w *= 1 - lr * weight_decay`` for the parameters of `decay_roles`, then Adam's update.

    Parameters
    ----------
    lr : float or Schedule
        Learning rate, finite and > 0.
    beta1, beta2 : float
        Fractions of the old means that are kept, in [0, 1).
    epsilon : float
        What keeps the quotient finite, > 0.
    weight_decay : float
        Decay per unit of the learning rate, >= 0.
    decay_roles, clip_norm, clip_value
        As in `Optimizer`. By default only weights decay; PyTorch's ``AdamW`` decays biases and
        scales too, unless told otherwise.

    Raises
    ------
    ConfigurationError
        If a setting is out of its range.

    Notes
    -----
    State: "mean" and "square", like the parameters. Cost: 13 FLOPs an element.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm
    2; as in PyTorch the learning rate multiplies the decay.

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = AdamW(0.1, weight_decay=0.5)
    >>> w, g = np.asarray([1.0, 2.0]), np.zeros(2)
    >>> w, state = optimizer.step(w, g, optimizer.init(w), 1, lr=0.1, decay_slices=[slice(0, 1)])
    >>> w.tolist()
    [0.95, 2.0]
    """

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        weight_decay: float = 0.01,
        decay_roles: Iterable[str] = ("weight",),
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(
            lr,
            beta1,
            beta2,
            epsilon,
            weight_decay=weight_decay,
            decay_roles=decay_roles,
            clip_norm=clip_norm,
            clip_value=clip_value,
        )
