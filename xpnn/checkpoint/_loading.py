"""Reading model files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..backend import Backend
from ..data.standardization import Standardization
from ..description import build
from ..errors import BackendError, CheckpointError, ConfigurationError, XpnnError
from ..network import Network
from ._format import Path, Tensors, decode
from ._model import Model

__all__ = ["load"]

_Labels = dict[str, dict[str, Any]]


def load(
    path: Path,
    device: str | None = None,
    backend: str | Backend | None = None,
    *,
    network: Network | None = None,
) -> Model:
    """Read a model file.

    Parameters
    ----------
    path : path-like
        A file that `save` wrote, on any back end.
    device, backend
        Where the network shall live; as for `Sequential`.
    network : Network, optional
        Put the parameters into this network instead of making one: the only way for a network of
        a class of your own. It has to have the same layers; its loss, its optimizer and its seed
        stay.

    Returns
    -------
    Model
        The network, ready to be used or trained on, and its preprocessing. The state of the
        optimizer is not kept.

    Raises
    ------
    CheckpointError
        With the path and the cause, if the file cannot be read, is damaged, comes from another
        program or a later version of the format, or names a class that is not registered. No
        network has been changed then.
    ConfigurationError
        If both a place and a network are given.
    BackendError
        If the back end or the device cannot be used.

    Notes
    -----
    Every bit of the file counts: the tensors and what is said of them have SHA-256 digests. They
    guard against accidents, not against somebody who wants to deceive; but no file can make a
    program run code.
    """
    if network is not None and (device is not None or backend is not None):
        raise ConfigurationError("load: give either a network or a device and back end, not both")
    try:
        content, tensors = decode(path)
        standardization = _standardization("standardization", tensors)
        target_standardization = _standardization("target_standardization", tensors)
        if network is None:
            network = _build(content["model"], device, backend)
            _grow(network, content["tensors"], tensors)
            dtype = content["model"].get("dtype", "float32")
        else:
            dtype = network.backend.dtype
        _fill(network, content["tensors"], tensors, dtype)
    except BackendError:
        raise
    except (XpnnError, MemoryError, OverflowError, ValueError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{os.fspath(path)}: {text}") from error
    network.steps, network.epochs = content["steps"], content["epochs"]
    network.total_steps = content["total_steps"]
    names = content["class_names"]
    return Model(
        network,
        standardization,
        target_standardization,
        None if names is None else tuple(names),
        content["extra"],
    )


def _standardization(name: str, tensors: Tensors) -> Standardization | None:
    prefix = f"{name}/"
    state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    try:
        return Standardization.from_state(state) if state else None
    except XpnnError as error:
        raise CheckpointError(f"{name}: {error}") from error


def _build(
    model: dict[str, Any] | None, device: str | None, backend: str | Backend | None
) -> Network:
    if model is None:
        raise CheckpointError(
            "its network is of a class of its own: make one, and give it to load as network=..."
        )
    return build(model, device, backend)


def _grow(network: Network, labels: _Labels, tensors: Tensors) -> None:
    """Give layers of a user's own the parameters that they make in their first forward pass."""
    parameters = network.parameters
    present = {part.key for part in (*parameters.values.parts, *parameters.buffers.parts)}
    for key in tensors.keys() - present:
        owner, _, name = key.rpartition(".")
        layer = parameters.layers.get(owner)
        if layer is None or type(layer).__module__.split(".")[0] == __name__.split(".")[0]:
            continue  # a layer of xpnn makes all of its parameters at once
        kept = layer.params if labels[key]["kind"] == "parameter" else layer.buffers
        kept[name] = tensors[key]


def _fill(network: Network, labels: _Labels, tensors: Tensors, dtype: str) -> None:
    """Put the tensors into a network, after they have all been found to fit."""
    backend, parameters = network.backend, network.parameters
    vectors = {"parameter": parameters.values, "buffer": parameters.buffers}
    parts = {part.key: (k, part) for k, vector in vectors.items() for part in vector.parts}
    held = {key for key, label in labels.items() if label["kind"] != "standardization"}
    for key in sorted(held ^ parts.keys()):
        raise CheckpointError(
            f"it has no tensor {key}, which the network needs"
            if key in parts
            else f"it has a tensor {key}, which the network does not have"
        )
    for key, (kind, part) in parts.items():
        if labels[key]["kind"] != kind:
            raise CheckpointError(f"tensor {key} is a {labels[key]['kind']}, expected a {kind}")
        if tensors[key].shape != part.shape:
            raise CheckpointError(
                f"tensor {key} has shape {tensors[key].shape}, the network's has {part.shape}"
            )
        if tensors[key].dtype.name != dtype:
            raise CheckpointError(f"tensor {key} is {tensors[key].dtype}, the network is {dtype}")
    arrays = []
    with backend.scope():
        for vector in vectors.values():
            host = np.empty(vector.parts[-1].stop if vector.parts else 0, dtype=dtype)
            for part in vector.parts:
                host[part.start : part.stop] = tensors[part.key].reshape(-1)
            arrays.append(backend.asarray(host, dtype=backend.float_dtype))
        for vector, array in zip(vectors.values(), arrays, strict=True):
            vector.array = array
