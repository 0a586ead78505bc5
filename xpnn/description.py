"""A network as plain data, and back.

A description is what JSON and TOML can hold: tables, lists, text, numbers. A thing in it is a
table with the name of its class under "type" and its constructor arguments beside it::

    {
        "layers": [{"type": "Linear", "input_dim": 64, "output_dim": 10}],
        "loss": {"type": "SoftmaxCrossEntropy"},
        "optimizer": {"type": "Adam", "lr": {"type": "OneCycle", "max_lr": 0.01}},
        "regularization": {"type": "L2", "weight": 1e-5, "roles": ["weight"]},
        "dtype": "float32",
        "seed": 0,
    }

A name alone, "ReLU", stands for a table with nothing but a type. Names are looked up in a fixed
table: the classes that xpnn exports, and those that the program has given to `register`. Nothing
is ever imported, and no code is run, because a description says so.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from . import augmentation, initializers, layers, losses, optimizers, regularization, schedules
from ._settings import settings
from .backend import Backend
from .errors import ConfigurationError, XpnnError, unknown
from .layers.layer import Layer
from .network import Network
from .random import Stream
from .sequential import Sequential

__all__ = ["build", "describe", "known", "make", "register"]

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

#: What a table among the settings of a thing can be, by the kind of the thing.
_INNER: dict[str, tuple[str, ...]] = {
    "layer": ("initializer", "layer"),
    "loss": ("loss",),
    "regularization": ("regularization",),
    "optimizer": ("schedule",),
    "schedule": ("schedule",),
    "initializer": ("initializer",),
    "augmentation": (),
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


def describe(network: Network) -> dict[str, Any]:
    """Write a network as plain data: what it was made of, without what it has learnt.

    Parameters
    ----------
    network : Sequential
        Not changed.

    Returns
    -------
    dict
        "layers", "loss", "optimizer", "regularization" if there is one, "dtype", "seed". Settings
        that are None by default and None here are left out. `build` makes the network anew.

    Raises
    ------
    ConfigurationError
        If the network is not a `Sequential`, a class is neither xpnn's nor registered, or a
        setting is no plain data: numbers that are finite, text, lists, things with a type.

    Examples
    --------
    >>> import xpnn
    >>> net = xpnn.Sequential([xpnn.Linear(2, 1)], xpnn.MeanSquaredError(), lr=0.5, seed=0)
    >>> describe(net)["layers"][0]["output_dim"], describe(net)["loss"]
    (1, {'type': 'MeanSquaredError'})
    """
    if type(network) is not Sequential:
        raise ConfigurationError(
            f"only a Sequential can be described: {type(network).__name__} has a forward pass of "
            "its own"
        )
    written: dict[str, Any] = {
        "layers": [
            _describe(("layer",), layer, f"model.layers[{index}]")
            for index, layer in enumerate(network.layers)
        ],
        "loss": _describe(("loss",), network.loss, "model.loss"),
        "optimizer": _describe(("optimizer",), network.optimizer, "model.optimizer"),
    }
    if network.regularization is not None:
        written["regularization"] = _describe(
            ("regularization",), network.regularization, "model.regularization"
        )
    return written | {"dtype": network.backend.dtype, "seed": network.seed}


def build(
    description: Mapping[str, Any],
    device: str | None = None,
    backend: str | Backend | None = None,
    *,
    path: str = "model",
    fill: Callable[[list[Layer]], None] | None = None,
) -> Sequential:
    """Make the network that a description describes.

    Parameters
    ----------
    description : mapping
        As `describe` returns it. "layers", "loss" and "optimizer" are needed. Not changed.
    device, backend
        As for `Sequential`. A `Backend` brings its own dtype.
    path : str
        How messages call the description.
    fill : callable, optional
        Gets the layers before they are a network, and may give them their parameters.

    Returns
    -------
    Sequential
        With initial weights drawn from the seed.

    Raises
    ------
    ConfigurationError
        For an unknown type or key, with the nearest one that is known; for a missing one; and for
        a bad value, with the message of the class. All begin with the place of the mistake, such
        as ``model.layers[2].output_dim``.
    BackendError
        If the back end or the device cannot be used.

    Examples
    --------
    >>> net = build(
    ...     {
    ...         "layers": [{"type": "Linear", "input_dim": 2, "output_dim": 2}, "ReLU"],
    ...         "loss": "MeanSquaredError",
    ...         "optimizer": {"type": "SGD", "lr": 0.1},
    ...     }
    ... )
    >>> net.layers
    [Linear(2, 2), ReLU()]
    """
    if not isinstance(description, Mapping):
        raise ConfigurationError(f"{path}: expected a table, got {description!r}")
    needed = ("layers", "loss", "optimizer")
    _check_keys(path, description, (*needed, "regularization", "dtype", "seed"))
    for key in needed:
        if key not in description:
            raise ConfigurationError(f"{path}: {key} is missing")
    if not isinstance(description["layers"], list):
        raise ConfigurationError(f"{path}.layers: expected a list, got {description['layers']!r}")
    dtype = description.get("dtype", "float32")
    if dtype not in ("float32", "float64"):
        raise ConfigurationError(f"{path}.dtype: {unknown('dtype', dtype, ['float32', 'float64'])}")
    seed = description.get("seed")
    if seed is not None:
        _call(f"{path}.seed", Stream, seed=seed)
    penalty = description.get("regularization")
    made = [
        _build(("layer",), entry, f"{path}.layers[{index}]")
        for index, entry in enumerate(description["layers"])
    ]
    if fill is not None:
        fill(made)
    return Sequential(
        made,
        _build(("loss",), description["loss"], f"{path}.loss"),
        optimizer=_build(("optimizer",), description["optimizer"], f"{path}.optimizer"),
        regularization=None
        if penalty is None
        else _build(("regularization",), penalty, f"{path}.regularization"),
        device=device,
        backend=backend,
        dtype=backend.dtype if isinstance(backend, Backend) else dtype,
        seed=seed,
    )


def make(kind: str, entry: Any, path: str) -> Any:
    """Make one thing that a description names.

    Parameters
    ----------
    kind : str
        As for `known`.
    entry : str or mapping
        The name of a class, or a table with a "type" and its settings.
    path : str
        How messages call it.

    Raises
    ------
    ConfigurationError
        As for `build`.

    Examples
    --------
    >>> make("augmentation", {"type": "RandomShift", "pixels": 2}, "augment")
    RandomShift(2)
    """
    known(kind)  # raises
    return _build((kind,), entry, path)


def _describe(kinds: tuple[str, ...], thing: object, path: str) -> dict[str, Any]:
    cls = type(thing)
    kind = next((k for k in kinds if known(k).get(cls.__name__) is cls), None)
    if kind is None:
        raise ConfigurationError(
            f"{path}: {cls.__name__} is no {' or '.join(kinds)} of xpnn: if it is your own class, "
            f"call xpnn.register({cls.__name__})"
        )
    try:
        found = settings(thing)
    except TypeError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    defaults = inspect.signature(cls).parameters
    return {"type": cls.__name__} | {
        key: _plain(kind, value, f"{path}.{key}")
        for key, value in found.items()
        if value is not None or defaults[key].default is not None
    }


def _plain(kind: str, value: Any, path: str) -> Any:
    """Write a setting of a thing as plain data."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        if not math.isfinite(value):
            raise ConfigurationError(f"{path}: {value} cannot be described: it is not finite")
        return float(value)
    if isinstance(value, set | frozenset):
        value = sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(kind, item, f"{path}[{index}]") for index, item in enumerate(value)]
    if any(known(inner).get(type(value).__name__) is type(value) for inner in _INNER[kind]):
        return _describe(_INNER[kind], value, path)
    raise ConfigurationError(
        f"{path}: {value!r} ({type(value).__name__}) cannot be described: expected a number, "
        "text, a list of these, or an object of a class that is registered"
    )


def _build(kinds: tuple[str, ...], entry: Any, path: str) -> Any:
    """Make a thing of one of some kinds."""
    what = " or ".join(kinds)
    article = "an" if what[0] in "aeiou" else "a"
    place = path
    if isinstance(entry, Mapping) and "type" in entry:
        place = f"{path}.type"
        name = entry["type"]
        if not isinstance(name, str):
            raise ConfigurationError(
                f"{place}: expected the name of {article} {what}, got {name!r}"
            )
    elif isinstance(entry, str):
        name, entry = entry, {}
    else:
        raise ConfigurationError(
            f"{path}: expected the name of {article} {what} or a table with a type, got {entry!r}"
        )
    kind = next((k for k in kinds if name in known(k)), None)
    if kind is None:
        every = [known_name for k in kinds for known_name in known(k)]
        raise ConfigurationError(f"{place}: {unknown(what, name, every)}")
    cls = known(kind)[name]
    parameters = inspect.signature(cls).parameters
    given = {key: value for key, value in entry.items() if key != "type"}
    _check_keys(path, given, parameters)
    for key, parameter in parameters.items():
        variable = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.default is parameter.empty and not variable and key not in given:
            raise ConfigurationError(f"{path}: {name} needs {key}")
        if key in given and isinstance(parameter.default, bool) and type(given[key]) is not bool:
            # A constructor would take the text "no" for true.
            raise ConfigurationError(f"{path}.{key}: expected true or false, got {given[key]!r}")
    arguments = {k: _built(_INNER[kind], v, f"{path}.{k}") for k, v in given.items()}
    return _call(path, cls, **arguments)


def _built(kinds: tuple[str, ...], value: Any, path: str) -> Any:
    """Make the things among the settings of a thing."""
    if isinstance(value, list):
        items = []
        # Among tables a name alone is a thing, too; a list of texts is a list of texts.
        tables = any(isinstance(item, Mapping) for item in value)
        for index, item in enumerate(value):
            named = tables and isinstance(item, str) and any(item in known(k) for k in kinds)
            entry = {"type": item} if named else item
            items.append(_built(kinds, entry, f"{path}[{index}]"))
        return items
    return _build(kinds, value, path) if isinstance(value, Mapping) else value


def _call(path: str, cls: type, **arguments: Any) -> Any:
    """Make an object, with the place in front of what its class complains of."""
    try:
        return cls(**arguments)
    except XpnnError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    except Exception as error:  # a class of somebody's own may raise anything
        text = " ".join(str(error).split()) or type(error).__name__
        raise ConfigurationError(f"{path}: {cls.__name__}: {text}") from error


def _check_keys(path: str, entries: Mapping[str, Any], allowed: Any) -> None:
    for key in entries:
        if key not in allowed:
            raise ConfigurationError(f"{path}.{key}: {unknown('key', key, allowed)}")
