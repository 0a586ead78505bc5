"""A network made of plain data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..backend import Backend
from ..errors import ConfigurationError, XpnnError, unknown
from ..layers.layer import Layer
from ..random import Stream
from ..sequential import Sequential
from .table import INNER, known

__all__ = ["build", "make"]


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
    arguments = {k: _built(INNER[kind], v, f"{path}.{k}") for k, v in given.items()}
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
