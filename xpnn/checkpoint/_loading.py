"""Reading model files."""

from __future__ import annotations

import math
import os
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._checks import checked_path
from ..backend import Backend
from ..data.standardization import Standardization
from ..description import build
from ..errors import BackendError, CheckpointError, ConfigurationError, XpnnError
from ..layers.layer import Layer, find_layers
from ..network import Network
from ..random.sketch import Sketch
from ._container import Path, Tensors
from ._format import decode
from ._model import Model

__all__ = ["Labels", "check_fit", "grow", "load"]

#: What a file says of its tensors, by their keys.
Labels: TypeAlias = dict[str, dict[str, Any]]


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
        A file that `save` wrote, on any back end; or a checkpoint of a training.
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
        If both a place and a network are given, or the path is none.
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
    path = checked_path("load: path", path)
    try:
        content, tensors = decode(path)
        standardization = _standardization("standardization", tensors)
        target_standardization = _standardization("target_standardization", tensors)
        if network is None:
            network = _build(content, tensors, device, backend)
            grow(network, content["tensors"], tensors)
            dtype = content["model"].get("dtype", "float32")
        else:
            dtype = network.backend.dtype
        held = check_fit(network, content["tensors"], tensors, dtype)
        network.parameters.assign(held)
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


class _Sketch(Sketch):
    """Gives layers zeros of the right shapes, up to as many numbers as a file has.

    A description can ask for any size; this way none is made that the file does not fill.
    """

    def __init__(self, numbers: int) -> None:
        super().__init__()
        object.__setattr__(self, "left", [numbers])  # the class is frozen

    def zeros(self, shape: Any) -> NDArray[Any]:
        lengths = shape if isinstance(shape, tuple | list) else (shape,)
        self.left[0] -= math.prod(lengths)  # type: ignore[attr-defined]
        if self.left[0] < 0:  # type: ignore[attr-defined]
            raise CheckpointError("its description asks for more parameters than it has")
        return super().zeros(shape)


def _build(
    content: dict[str, Any], tensors: Tensors, device: str | None, backend: str | Backend | None
) -> Network:
    """Make the network of a file around the tensors, so that nothing is drawn."""
    if content["model"] is None:
        raise CheckpointError(
            "its network is of a class of its own: make one, and give it to load as network=..."
        )

    def fill(layers: list[Layer]) -> None:
        sketch = _Sketch(sum(tensor.size for tensor in tensors.values()))
        for index, outer in enumerate(layers):
            for key, layer in find_layers(str(index), outer):
                layer.build(sketch)
                for kept in (layer.params, layer.buffers):
                    for name, value in kept.items():
                        kept[name] = _fitting(f"{key}.{name}", np.shape(value), tensors)

    return build(content["model"], device, backend, fill=fill)


def _fitting(key: str, shape: tuple[int, ...], tensors: Tensors) -> NDArray[Any]:
    """Return the tensor of a parameter, which has its shape."""
    if key not in tensors:
        raise CheckpointError(f"it has no tensor {key}, which the network needs")
    if tensors[key].shape != shape:
        raise CheckpointError(
            f"tensor {key} has shape {tensors[key].shape}, the network's has {shape}"
        )
    return tensors[key]


def grow(network: Network, labels: Labels, tensors: Tensors) -> None:
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


def check_fit(network: Network, labels: Labels, tensors: Tensors, dtype: str) -> Tensors:
    """Return the parameters and buffers of a file, after they have all been found to fit."""
    parameters = network.parameters
    vectors = {"parameter": parameters.values, "buffer": parameters.buffers}
    parts = {part.key: (k, part) for k, vector in vectors.items() for part in vector.parts}
    held = {key: tensors[key] for key, label in labels.items() if label["kind"] in vectors}
    for key in sorted(held.keys() - parts.keys()):
        raise CheckpointError(f"it has a tensor {key}, which the network does not have")
    for key, (kind, part) in parts.items():
        tensor = _fitting(key, part.shape, held)
        if labels[key]["kind"] != kind:
            raise CheckpointError(f"tensor {key} is a {labels[key]['kind']}, expected a {kind}")
        if tensor.dtype.name != dtype:
            raise CheckpointError(f"tensor {key} is {tensor.dtype}, the network is {dtype}")
    return held
