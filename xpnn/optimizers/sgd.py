"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .._checks import checked, checked_flag, checked_number
from .._standard import Array
from ..errors import ConfigurationError
from .optimizer import Optimizer

if TYPE_CHECKING:
    from ..schedules import Schedule

__all__ = ["SGD"]


def _expect_momentum(optimizer: SGD, attributes: dict[str, Any]) -> None:
    """Raise if Nesterov's look-ahead lacks a momentum."""
    if attributes.get("nesterov") and attributes.get("momentum") == 0.0:
        raise ConfigurationError(
            f"{type(optimizer).__name__}: nesterov needs a momentum above 0: "
            "set that first, or turn nesterov off"
        )


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted.

    ``w -= lr * g`` without momentum. With it, ``v = momentum * v + g``, then ``w -= lr * v``, or
    with Nesterov's look-ahead ``w -= lr * (g + momentum * v)``.

    Parameters
    ----------
    lr : float or Schedule
        Learning rate, finite and > 0.
    momentum : float
        Fraction of the velocity that is kept, 0 <= momentum < 1.
    nesterov : bool
        Whether to look ahead. Needs a momentum above 0, also where one of the two is assigned.
    weight_decay, decay_roles, clip_norm, clip_value
        As in `Optimizer`.

    Raises
    ------
    ConfigurationError
        If a setting is out of its range, or `nesterov` lacks a momentum.

    Notes
    -----
    State: "velocity", like the parameters, only with momentum. Cost in FLOPs an element: 2 plain,
    4 with momentum, 6 with Nesterov.

    Source: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum
    in deep learning", ICML 2013, in PyTorch's form: the velocity is in units of the gradient, so
    a change of the learning rate acts on the whole velocity at once.

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = SGD(0.1, momentum=0.5)
    >>> w, g = np.asarray([1.0, 2.0]), np.asarray([1.0, -1.0])
    >>> w, state = optimizer.step(w, g, optimizer.init(w), step=1, lr=0.1)
    >>> w, state = optimizer.step(w, g, state, step=2, lr=0.1)
    >>> w.tolist(), state["velocity"].tolist()
    ([0.75, 2.25], [1.5, -1.5])
    """

    momentum: float = checked(
        checked_number, agrees=_expect_momentum, low=0.0, high=1.0, open_high=True
    )
    nesterov: bool = checked(checked_flag, agrees=_expect_momentum)

    def __init__(
        self,
        lr: float | Schedule,
        momentum: float = 0.0,
        nesterov: bool = False,
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
        self.momentum = momentum
        self.nesterov = nesterov

    @property
    def state_names(self) -> tuple[str, ...]:
        """("velocity",) with momentum."""
        return ("velocity",) if self.momentum else ()

    def update(
        self, values: Array, grads: Array, state: dict[str, Array], lr: float, step: int
    ) -> tuple[Array, dict[str, Array]]:
        """Apply the rule to clipped gradients; arguments and result as in `Optimizer.step`."""
        if not self.momentum:
            values -= lr * grads
            return values, {}
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity += grads
        if self.nesterov:
            change = self.momentum * velocity
            change += grads
            change *= lr
        else:
            change = lr * velocity
        values -= change
        return values, {"velocity": velocity}
