"""Adagrad."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .._checks import checked, checked_number
from .._standard import Array, array_namespace
from .optimizer import Optimizer

if TYPE_CHECKING:
    from ..schedules import Schedule

__all__ = ["Adagrad"]


class Adagrad(Optimizer):
    """The gradient over the root of the sum of all its squares so far.

    ``square += g ** 2``; ``w -= lr * g / (sqrt(square) + epsilon)``.

    Parameters
    ----------
    lr : float or Schedule
        Learning rate, finite and > 0.
    epsilon : float
        What keeps the quotient finite, > 0.
    weight_decay, decay_roles, clip_norm, clip_value
        As in `Optimizer`.

    Raises
    ------
    ConfigurationError
        If a setting is out of its range.

    Notes
    -----
    State: "square", like the parameters. Cost: 6 FLOPs an element.

    Source: Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and
    Stochastic Optimization", JMLR 12 (2011), figure 1 with the diagonal matrix.

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = Adagrad(0.1)
    >>> w, g = np.asarray([1.0, 2.0]), np.asarray([4.0, -0.5])
    >>> w, state = optimizer.step(w, g, optimizer.init(w), step=1, lr=0.1)
    >>> np.round(w, 6).tolist(), state["square"].tolist()
    ([0.9, 2.1], [16.0, 0.25])
    """

    epsilon: float = checked(checked_number, low=0.0, open_low=True)

    def __init__(
        self,
        lr: float | Schedule = 1e-2,
        epsilon: float = 1e-10,
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
        self.epsilon = epsilon

    @property
    def state_names(self) -> tuple[str, ...]:
        """("square",)."""
        return ("square",)

    def update(
        self, values: Array, grads: Array, state: dict[str, Array], lr: float, step: int
    ) -> tuple[Array, dict[str, Array]]:
        """Apply the rule to clipped gradients; arguments and result as in `Optimizer.step`."""
        xp = array_namespace(values)
        square = state["square"]
        square += grads * grads
        scratch = xp.sqrt(square)
        scratch += self.epsilon
        change = grads / scratch
        change *= lr
        values -= change
        return values, {"square": square}
