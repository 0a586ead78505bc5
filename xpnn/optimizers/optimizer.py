"""The base class of optimizers: clipping, weight decay by role, and the order of the two."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .._checks import checked, checked_number, checked_roles, expect_settings
from .._settings import represent
from .._standard import (
    Array,
    array_namespace,
    clip,
    is_synchronous,
    norm_scale,
    scale_slices,
    vector_of_zeros,
)
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..schedules import Schedule

__all__ = ["Optimizer", "clipping"]


def _checked_rate(owner: str, name: str, value: Any) -> float | Schedule:
    if isinstance(value, type):  # a class can be called, too
        raise ConfigurationError(
            f"{owner}: {name}: expected a Schedule, got the class {value.__name__}: "
            f"give {value.__name__}(...)"
        )
    if callable(value):
        return value  # type: ignore[no-any-return]
    return checked_number(owner, name, value, low=0.0, open_low=True)


class Optimizer:
    """A rule that turns gradients into new parameters; the base class of every optimizer.

    One step does, in this order:

    1. ``g = clip(g, -clip_value, clip_value)``, if `clip_value` is set;
    2. ``g = g * clip_norm / max(norm(g), clip_norm)`` with the Euclidean norm over all
       parameters, if `clip_norm` is set, also where squares of the gradient are too large for its
       type;
    3. ``w = w * (1 - lr * weight_decay)`` for the parameters of `decay_roles`;
    4. `update`, the rule of the subclass.

    An optimizer of your own derives from it, names its state in `state_names` and defines
    `update`.

    Parameters
    ----------
    lr : float or Schedule
        Learning rate, finite and > 0, or a schedule that gives it for every step.
    weight_decay : float
        Decoupled weight decay per unit of the learning rate, >= 0: each step takes this fraction
        of the parameter times ``lr``. It does not enter the gradients.
    decay_roles : set of {"weight", "bias", "scale"}
        The parameters that decay.
    clip_norm, clip_value : float, optional
        Bounds of the gradient, > 0: of its norm, of its elements.

    Attributes
    ----------
    lr, weight_decay, decay_roles, clip_norm, clip_value
        As given; `decay_roles` is a tuple in a fixed order. Others may be assigned between steps
        and are checked as in the constructor. State that they call for is then made, as by `init`.

    Raises
    ------
    ConfigurationError
        If a setting is out of its range or not a number, or a role is unknown.

    Notes
    -----
    Clipping by norm: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural
    networks", ICML 2013, algorithm 1. Decoupled decay: Loshchilov and Hutter, "Decoupled Weight
    Decay Regularization", ICLR 2019, algorithm 2, in the form that frameworks use: the learning
    rate multiplies the decay.

    Examples
    --------
    >>> import numpy as np
    >>> class SignDescent(Optimizer):
    ...     def update(self, values, grads, state, lr, step):
    ...         values -= lr * np.sign(grads)
    ...         return values, state
    >>> optimizer = SignDescent(0.5)
    >>> w, g = np.asarray([1.0, 2.0]), np.asarray([0.1, -7.0])
    >>> w, state = optimizer.step(w, g, optimizer.init(w), step=1, lr=0.5)
    >>> w.tolist()
    [0.5, 2.5]
    """

    lr: float | Schedule = checked(_checked_rate)
    weight_decay: float = checked(checked_number, low=0.0)
    decay_roles: Collection[str] = checked(checked_roles)
    clip_norm: float | None = checked(checked_number, optional=True, low=0.0, open_low=True)
    clip_value: float | None = checked(checked_number, optional=True, low=0.0, open_low=True)

    def __init__(
        self,
        lr: float | Schedule,
        *,
        weight_decay: float = 0.0,
        decay_roles: Iterable[str] = ("weight",),
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.lr = lr
        self.weight_decay = weight_decay
        self.decay_roles = checked_roles(type(self).__name__, "decay_roles", decay_roles)
        self.clip_norm = clip_norm
        self.clip_value = clip_value

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the vectors that the rule keeps from step to step, none by default."""
        return ()

    def rate(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of a step.

        Parameters
        ----------
        step : int
            Number of steps made before it, as schedules count.
        total_steps : int, optional
            Length of the training, which some schedules need.

        Raises
        ------
        ConfigurationError
            If the schedule needs the length of the training and does not get it.
        """
        return self.lr(step, total_steps) if callable(self.lr) else self.lr

    def init(self, values: Array) -> dict[str, Array]:
        """Return the state before the first step: a vector of zeros for each name.

        Parameters
        ----------
        values : array, 1-d, floating-point
            All parameters.

        Raises
        ------
        ConfigurationError
            If a subclass has not called the constructor of its base.
        """
        expect_settings(self)
        return {name: vector_of_zeros(values.shape[0], like=values) for name in self.state_names}

    def completed(self, state: dict[str, Array], values: Array) -> dict[str, Array]:
        """Return a state with what it lacks, as `init` makes it: a setting may call for more.

        Parameters
        ----------
        state : dict of str to array
            As of `step`. Not changed.
        values : array, 1-d
            All parameters.
        """
        begun = bool(state) or type(self).init is Optimizer.init  # another may make more
        if begun and all(name in state for name in self.state_names):
            return state
        return self.init(values) | state

    def step(
        self,
        values: Array,
        grads: Array,
        state: dict[str, Array],
        step: int,
        lr: float,
        decay_slices: Sequence[slice] = (),
    ) -> tuple[Array, dict[str, Array]]:
        """Clip, decay and update.

        Parameters
        ----------
        values : array, 1-d
            All parameters. Changed in place where the library can.
        grads : array, 1-d
            Their gradients. Not changed.
        state : dict of str to array
            What `init` or the last step returned. Its vectors are changed in place where the
            library can. What it lacks is made; see `completed`.
        step : int
            Number of this step, counted from 1.
        lr : float, or array, 0-d
            Learning rate of this step.
        decay_slices : sequence of slice
            Where in `values` the parameters of `decay_roles` lie, disjoint and ascending.

        Returns
        -------
        tuple of array and dict
            New parameters and state. Use these and forget the arguments.
        """
        state = self.completed(state, values)
        if self.clip_value is not None:
            grads = clip(grads, -self.clip_value, self.clip_value)
        if self.clip_norm is not None:
            grads = _clip_norm(grads, self.clip_norm)
        if self.weight_decay and decay_slices:
            values = scale_slices(values, decay_slices, 1.0 - lr * self.weight_decay)
        return self.update(values, grads, state, lr, step)

    def update(
        self, values: Array, grads: Array, state: dict[str, Array], lr: float, step: int
    ) -> tuple[Array, dict[str, Array]]:
        """Apply the rule to clipped gradients; arguments and result as in `step`."""
        raise NotImplementedError(f"{type(self).__name__} does not define update")

    def __repr__(self) -> str:
        return represent(self)


def _clip_norm(grads: Array, limit: float) -> Array:
    """Shrink a vector to a norm of at most ``limit``."""
    xp = array_namespace(grads)
    squares = xp.matmul(grads, grads)
    if is_synchronous(grads) and math.isfinite(float(squares)):
        return grads * (limit / xp.maximum(xp.sqrt(squares), limit))
    small = grads * norm_scale(grads)
    scale, factor = clipping(squares, xp.matmul(small, small), limit)
    return grads * scale * factor


def clipping(squares: Array, small: Array, limit: float) -> tuple[Array, Array]:
    """Return two factors that shrink a gradient to a norm of at most a limit, one after the other.

    There is no division by zero, and no look at the norm.

    Parameters
    ----------
    squares : array, 0-d
        Sum of the squares of the gradient, which may have become infinite.
    small : array, 0-d
        The same after multiplication by `norm_scale`.
    limit : float
        The largest norm.
    """
    xp = array_namespace(squares)
    fits = xp.isfinite(squares)
    scale = xp.where(fits, xp.ones_like(squares), norm_scale(squares))
    norm = xp.sqrt(xp.where(fits, squares, small))
    return scale, limit / xp.maximum(norm, limit * scale)
