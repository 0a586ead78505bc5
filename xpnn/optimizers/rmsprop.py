"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .._checks import checked, checked_number
from .._standard import Array, array_namespace
from .optimizer import Optimizer

if TYPE_CHECKING:
    from ..schedules import Schedule

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """The gradient over the root of its mean square.

    ``square = rho * square + (1 - rho) * g ** 2``; ``r = g / (sqrt(square) + epsilon)``; then
    ``w -= lr * r``, or with momentum ``v = momentum * v + r`` and ``w -= lr * v``.

    Parameters
    ----------
    lr : float or Schedule
        Learning rate, finite and > 0.
    rho : float
        Fraction of the old mean square that is kept, in [0, 1). PyTorch calls it ``alpha`` and
        takes 0.99 by default; here it is 0.9, as in the source and in Keras.
    epsilon : float
        What keeps the quotient finite, > 0.
    momentum : float
        Fraction of the velocity that is kept, 0 <= momentum < 1.
    weight_decay, decay_roles, clip_norm, clip_value
        As in `Optimizer`.

    Raises
    ------
    ConfigurationError
        If a setting is out of its range.

    Notes
    -----
    State: "square", and with momentum "velocity", like the parameters. Cost in FLOPs an element:
    8, with momentum 10.

    Source: Tieleman and Hinton, "Neural Networks for Machine Learning", lecture 6.5, 2012; as in
    PyTorch, epsilon is added to the root, and the velocity is in units of the quotient.

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = RMSprop(0.1, rho=0.75)
    >>> w, g = np.asarray([1.0, 2.0]), np.asarray([4.0, -0.5])
    >>> w, state = optimizer.step(w, g, optimizer.init(w), step=1, lr=0.1)
    >>> np.round(w, 6).tolist(), state["square"].tolist()
    ([0.8, 2.2], [4.0, 0.0625])
    """

    rho: float = checked(checked_number, low=0.0, high=1.0, open_high=True)
    epsilon: float = checked(checked_number, low=0.0, open_low=True)
    momentum: float = checked(checked_number, low=0.0, high=1.0, open_high=True)

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        rho: float = 0.9,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
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
        self.rho = rho
        self.epsilon = epsilon
        self.momentum = momentum

    @property
    def state_names(self) -> tuple[str, ...]:
        """("square",), and "velocity" with momentum."""
        return ("square", "velocity") if self.momentum else ("square",)

    def update(
        self, values: Array, grads: Array, state: dict[str, Array], lr: float, step: int
    ) -> tuple[Array, dict[str, Array]]:
        """Apply the rule to clipped gradients; arguments and result as in `Optimizer.step`."""
        xp = array_namespace(values)
        square = state["square"]
        scratch = (1.0 - self.rho) * grads
        scratch *= grads
        square *= self.rho
        square += scratch
        scratch = xp.sqrt(square)
        scratch += self.epsilon
        change = grads / scratch
        if not self.momentum:
            change *= lr
            values -= change
            return values, {"square": square}
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity += change
        values -= lr * velocity
        return values, {"square": square, "velocity": velocity}
