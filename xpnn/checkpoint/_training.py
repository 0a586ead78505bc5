"""Checkpoints: a model file with all that a training needs to go on from where it was."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from .._standard import Array
from ..errors import CheckpointError, XpnnError
from ..network import Network
from ..schedules import Schedule
from ._container import Path, Tensors
from ._format import decode
from ._loading import check_fit, grow
from ._saving import write

__all__ = ["Stored", "read_training", "restore_network", "write_training"]

#: Keys that stand for what JSON has nothing for, in tables of their own.
_TENSOR, _FLOAT = "$tensor", "$float"


@dataclass(frozen=True)
class Stored:
    """A checkpoint that was read.

    Attributes
    ----------
    path : path-like
        Where from.
    content : dict
        What the file says of the network.
    tensors : dict of str to numpy.ndarray
        All of them, by their keys.
    state : dict
        The state of the training as it was given to `write_training`, arrays on the host.
    """

    path: Path
    content: dict[str, Any]
    tensors: Tensors
    state: dict[str, Any]


def write_training(
    network: Network, path: Path, model: Mapping[str, Any], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint.

    Parameters
    ----------
    network : Network
        With the state of its optimizer and its schedule. Not changed.
    path : path-like
        The file.
    model : dict
        Arguments of `save`, such as the standardization.
    state : dict
        Everything else: tables and lists of numbers, text, and arrays of float32 or float64.
    """
    arrays: dict[str, tuple[str, Array]] = {}
    lr = network.optimizer.lr
    schedule = lr.state() if isinstance(lr, Schedule) else None
    plain = {
        "state": _separate(state, "training", arrays),
        "schedule": _separate(schedule, "schedule", arrays),
        "lr": None if callable(lr) else lr,
    }
    for name, vector in network.optimizer_state.items():
        arrays[f"optimizer/{name}"] = "optimizer", vector
    write(network, path, model, plain, arrays)


def read_training(path: Path) -> Stored:
    """Read a checkpoint.

    Raises
    ------
    CheckpointError
        With the path and the cause, also if it is a model file and no checkpoint.
    """
    try:
        content, tensors = decode(path)
        training = content["training"]
        if training is None:
            raise CheckpointError("a model file: it has nothing of a training in it")
        if set(training) != {"state", "schedule", "lr"} or type(training["state"]) is not dict:
            raise CheckpointError("damaged: what it says of the training is incomplete")
        return Stored(path, content, tensors, _join(training["state"], tensors))
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from error


def restore_network(network: Network, stored: Stored) -> None:
    """Give a network everything that it had when the checkpoint was written.

    Raises
    ------
    CheckpointError
        With the path and the cause, if it does not fit. Nothing has changed then.
    """
    content, tensors = stored.content, stored.tensors
    training = content["training"]
    backend = network.backend
    lr = network.optimizer.lr
    try:
        grow(network, content["tensors"], tensors)
        held = check_fit(network, content["tensors"], tensors, backend.dtype)
        state = _optimizer_state(network, stored)
        if callable(lr) != (training["lr"] is None):
            raise CheckpointError("the learning rate is a schedule in one, and a number in another")
        if isinstance(lr, Schedule):
            lr.restore(_join(training["schedule"], tensors) or {})
        elif not callable(lr):
            network.lr = training["lr"]
    except (XpnnError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{os.fspath(stored.path)}: {error}") from error
    network.reseed(content["seed"])
    network.parameters.assign(held)
    network.optimizer_state = state
    network.steps, network.epochs = content["steps"], content["epochs"]
    network.total_steps = content["total_steps"]
    network.reset_divergence()


def _optimizer_state(network: Network, stored: Stored) -> dict[str, Array]:
    """Return what the optimizer remembered, on the network's device."""
    backend, prefix = network.backend, "optimizer/"
    found = {
        key.removeprefix(prefix): stored.tensors[key]
        for key, label in stored.content["tensors"].items()
        if label["kind"] == "optimizer"
    }
    with backend.scope():
        like = network.optimizer.init(backend.zeros(0))
        if found and found.keys() != like.keys():
            raise CheckpointError(
                f"its optimizer remembers {sorted(found)}, the network's {sorted(like)}"
            )
        shape = tuple(network.parameters.values.array.shape)
        for name, vector in found.items():
            if tuple(like[name].shape) == (0,) and vector.shape != shape:
                raise CheckpointError(
                    f"tensor {prefix}{name} has shape {vector.shape}, expected {shape}"
                )
        return {k: backend.asarray(np.array(v), backend.float_dtype) for k, v in found.items()}


def _separate(value: Any, key: str, arrays: dict[str, tuple[str, Array]]) -> Any:
    """Take the arrays out of plain data, and write numbers that JSON lacks as text."""
    if isinstance(value, Mapping):
        return {str(k): _separate(v, f"{key}/{k}", arrays) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_separate(item, f"{key}/{index}", arrays) for index, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if is_array_api_obj(value):
        arrays[key] = "training", value
        return {_TENSOR: key}
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(float(value))}
    return value


def _join(value: Any, tensors: Tensors) -> Any:
    """Undo `_separate`."""
    if isinstance(value, list):
        return [_join(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TENSOR}:
        if value[_TENSOR] not in tensors:
            raise CheckpointError(f"damaged: it lacks tensor {value[_TENSOR]}")
        return tensors[value[_TENSOR]]
    if value.keys() == {_FLOAT}:
        try:
            return float(value[_FLOAT])
        except (TypeError, ValueError):
            raise CheckpointError("damaged: a number is none") from None
    return {key: _join(item, tensors) for key, item in value.items()}
