"""The names that a description may use: a fixed table, and what a program has registered."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import TypeVar

from .. import augmentation, initializers, layers, losses, optimizers, regularization, schedules
from ..errors import ConfigurationError, unknown

__all__ = ["INNER", "known", "register"]

_Class = TypeVar("_Class", bound=type)


#: Kinds that have a base class. An initializer has none: it is what can be called.
_BASES: dict[str, type] = {
    "layer": layers.Layer,
    "loss": losses.Loss,
    "regularization": regularization.Regularization,
    "optimizer": optimizers.Optimizer,
    "schedule": schedules.Schedule,
    "augmentation": augmentation.Augmentation,
}


def _exported(room: ModuleType, base: type) -> dict[str, type]:
    every = {name: getattr(room, name) for name in room.__all__}
    return {n: c for n, c in every.items() if isinstance(c, type) and c is not base}


_TABLE: dict[str, dict[str, type]] = {
    "layer": _exported(layers, layers.Layer),
    "loss": _exported(losses, losses.Loss),
    "regularization": _exported(regularization, regularization.Regularization),
    "optimizer": _exported(optimizers, optimizers.Optimizer),
    "schedule": _exported(schedules, schedules.Schedule),
    "initializer": _exported(initializers, object),
    "augmentation": _exported(augmentation, augmentation.Augmentation),
}


_own: dict[str, dict[str, type]] = {kind: {} for kind in _TABLE}


#: What a table among the settings of a thing can be, by the kind of the thing.
INNER: dict[str, tuple[str, ...]] = {
    "layer": ("initializer", "layer"),
    "loss": ("loss",),
    "regularization": ("regularization",),
    "optimizer": ("schedule",),
    "schedule": ("schedule",),
    "initializer": ("initializer",),
    "augmentation": (),
}


def known(kind: str) -> dict[str, type]:
    """Return the classes that a description can name, by their names.

    Parameters
    ----------
    kind : str
        "layer", "loss", "regularization", "optimizer", "schedule", "initializer" or "augmentation":
        which table.

    Returns
    -------
    dict of str to type
        A new one: those of xpnn, and those that were registered.

    Raises
    ------
    ConfigurationError
        For another kind.

    Examples
    --------
    >>> sorted(known("regularization"))
    ['ElasticNet', 'L1', 'L2']
    """
    if kind not in _TABLE:
        raise ConfigurationError(unknown("kind", kind, _TABLE))
    return _TABLE[kind] | _own[kind]


def register(cls: _Class) -> _Class:
    """Let descriptions, and so model files, name a class of your own.

    The program that loads a model file registers the same classes as the one that saved it. Each
    constructor argument must be kept in an attribute of its name.

    Parameters
    ----------
    cls : type
        A subclass of `Layer`, `Loss`, `Regularization`, `Optimizer`, `Schedule` or `Augmentation`;
        or another class whose instances can be called, which is an initializer. One of the same
        name that was registered before is replaced.

    Returns
    -------
    type
        ``cls``, so that this can be used as a decorator.

    Raises
    ------
    ConfigurationError
        If ``cls`` is nothing of the kind, xpnn has a class of this name, or an argument of the
        constructor is called "type".

    Examples
    --------
    >>> import xpnn
    >>> @register
    ... class Scale(xpnn.Layer):
    ...     def __init__(self, factor):
    ...         super().__init__()
    ...         self.factor = factor
    ...
    ...     def forward(self, input):
    ...         return self.factor * input
    ...
    ...     def backward(self, dout):
    ...         return self.factor * dout
    >>> from xpnn.description import describe
    >>> net = xpnn.Sequential([Scale(2.0)], xpnn.MeanSquaredError(), lr=0.1, seed=0)
    >>> describe(net)["layers"]
    [{'type': 'Scale', 'factor': 2.0}]
    """
    if not isinstance(cls, type):
        raise ConfigurationError(f"register: expected a class, got {cls!r}")
    name = cls.__name__
    kind = next((k for k, base in _BASES.items() if issubclass(cls, base)), None)
    if kind is None and any("__call__" in vars(c) for c in cls.__mro__):
        kind = "initializer"
    if kind is None or cls in _BASES.values():
        raise ConfigurationError(
            f"register: expected a class of layers, losses, regularizations, optimizers, "
            f"schedules or initializers, got {name}"
        )
    if _TABLE[kind].get(name, cls) is not cls:
        raise ConfigurationError(f"register: {name!r} is a {kind} of xpnn: choose another name")
    if "type" in inspect.signature(cls).parameters:
        raise ConfigurationError(
            f"register: {name} has an argument 'type', which a description needs for its own use"
        )
    _own[kind][name] = cls
    return cls
