"""A network as plain data."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np

from .._settings import arguments, settings
from ..errors import ConfigurationError
from ..network import Network
from ..sequential import Sequential
from .table import INNER, known

__all__ = ["describe"]


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
    defaults = arguments(cls)
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
    if any(known(inner).get(type(value).__name__) is type(value) for inner in INNER[kind]):
        return _describe(INNER[kind], value, path)
    raise ConfigurationError(
        f"{path}: {value!r} ({type(value).__name__}) cannot be described: expected a number, "
        "text, a list of these, or an object of a class that is registered"
    )
