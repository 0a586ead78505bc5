"""The networks that can be had by a word: their settings, and the layers that these make."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError

Layers = list[dict[str, Any]]


@dataclass(frozen=True)
class Model:
    """A network by a word.

    Attributes
    ----------
    settings : dict
        What of the section [model] means something to it, with its defaults.
    layout : str or None
        How it wants samples laid out, see `xpnn.data.arrange`; None if that is all the same.
    rate : float
        Factor of the learning rate that suits networks with batch normalization.
    clip_norm : float or None
        Longest gradient, where long ones are to be expected.
    """

    settings: dict[str, Any]
    layout: str | None = None
    rate: float = 1.0
    clip_norm: float | None = None


_PERCEPTRON = {"hidden": [256, 128], "activation": "ReLU", "batch_norm": True, "dropout": 0.4}
_RECURRENT = Model({"hidden": [128], "dropout": 0.2}, "sequences", rate=0.3, clip_norm=1.0)
MODELS = {
    "mlp": Model(_PERCEPTRON),
    "cnn": Model(
        _PERCEPTRON | {"hidden": [128], "channels": [16, 32], "dropout": 0.3}, layout="images"
    ),
    "lstm": _RECURRENT,
    "gru": _RECURRENT,
}

#: Settings that make layers, where a file does not list them.
SHORT = ("type", *dict.fromkeys(key for model in MODELS.values() for key in model.settings))


def make_layers(model: dict[str, Any], sample_shape: tuple[int, ...], outputs: int) -> Layers:
    """Describe the layers of a network.

    Parameters
    ----------
    model : dict
        "type" and what the type's settings are.
    sample_shape : tuple of int
        Shape of a sample.
    outputs : int
        Number of outputs.

    Raises
    ------
    ConfigurationError
        If samples of this shape are not for this network.
    """
    kind = model["type"]
    wanted = {"mlp": (), "cnn": ("C", "H", "W")}.get(kind, ("T", "D"))
    if wanted and len(sample_shape) != len(wanted):
        raise ConfigurationError(
            f"model {kind}: expected samples of shape ({', '.join(wanted)}), got {sample_shape}"
        )
    if kind == "cnn":
        return _convolutional(model, sample_shape, outputs)
    if kind == "mlp":
        flatten: Layers = [] if len(sample_shape) == 1 else [{"type": "Flatten"}]
        return flatten + _dense(model, math.prod(sample_shape), outputs)
    return _recurrent(model, sample_shape[1], outputs)


def _dense(model: dict[str, Any], width: int, outputs: int) -> Layers:
    """Describe a multilayer perceptron."""
    layers: Layers = []
    for hidden in model["hidden"]:
        # The shift of a batch normalization makes a bias before it useless.
        bias = not model["batch_norm"]
        layers.append({"type": "Linear", "input_dim": width, "output_dim": hidden, "bias": bias})
        if model["batch_norm"]:
            layers.append({"type": "BatchNorm", "dim": hidden})
        layers.append({"type": model["activation"]})
        if model["dropout"]:
            layers.append({"type": "Dropout", "p": model["dropout"]})
        width = hidden
    layers.append({"type": "Linear", "input_dim": width, "output_dim": outputs})
    return layers


def _convolutional(model: dict[str, Any], sample_shape: tuple[int, ...], outputs: int) -> Layers:
    """Describe convolutions that keep the size, each with pooling that halves it; then a MLP."""
    layers: Layers = []
    before, *size = sample_shape
    for channels in model["channels"]:
        convolution: dict[str, Any] = {"type": "Conv2d"}
        convolution |= {"in_channels": before, "out_channels": channels, "kernel_size": 3}
        layers.append(convolution | {"padding": "same", "bias": not model["batch_norm"]})
        if model["batch_norm"]:
            layers.append({"type": "BatchNorm2d", "dim": channels})
        layers.append({"type": model["activation"]})
        if min(size) >= 2:
            layers.append({"type": "MaxPool2d", "kernel_size": 2})
            size = [length // 2 for length in size]
        before = channels
    return [*layers, {"type": "Flatten"}, *_dense(model, before * math.prod(size), outputs)]


def _recurrent(model: dict[str, Any], width: int, outputs: int) -> Layers:
    """Describe recurrent layers, of whose last one only the last step counts."""
    layers: Layers = []
    if not model["hidden"]:
        raise ConfigurationError(f"model {model['type']}: expected at least one hidden layer")
    for number, hidden in enumerate(model["hidden"], 1):
        last = number == len(model["hidden"])
        layer = {"type": model["type"].upper(), "input_dim": width, "hidden_dim": hidden}
        layers.append(layer | ({"return_sequences": False} if last else {}))
        if model["dropout"]:
            layers.append({"type": "Dropout", "p": model["dropout"]})
        width = hidden
    return [*layers, {"type": "Linear", "input_dim": width, "output_dim": outputs}]
