"""From a configuration and data to a network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..backend import Backend
from ..data import Dataset
from ..description import build
from ..sequential import Sequential

#: The metrics of a training that names none.
METRICS = {"classification": ("accuracy",), "regression": ("r2",)}
#: What the test of a regression says besides: errors in the unit of the target.
_ERRORS = ("mae", "rmse")


def metrics_of_test(task: str, metrics: Iterable[str]) -> list[str]:
    """Return the metrics of a test: those of the training, and what else suits the task."""
    return list(dict.fromkeys([*metrics, *(_ERRORS if task == "regression" else ())]))


def make_network(model: dict[str, Any], dataset: Dataset, backend: Backend) -> Sequential:
    """Make the network of a configuration for the samples and targets of a data set.

    Raises
    ------
    ConfigurationError
        For what is wrong in the section [model], with its place.
    """
    loss = model.get("loss", _loss(dataset))
    kept = {
        key: model[key] for key in ("optimizer", "regularization", "dtype", "seed") if key in model
    }
    layers = model.get("layers")
    if layers is None:
        layers = perceptron(model, dataset.x_train.shape[1:], _outputs(dataset, loss))
    return build({"layers": layers, "loss": loss} | kept, backend=backend)


def perceptron(
    model: dict[str, Any], sample_shape: tuple[int, ...], outputs: int
) -> list[dict[str, Any]]:
    """Describe a multilayer perceptron.

    Parameters
    ----------
    model : dict
        "hidden", "activation", "batch_norm" and "dropout".
    sample_shape : tuple of int
        Shape of a sample; all of its values come in.
    outputs : int
        Number of outputs.
    """
    layers: list[dict[str, Any]] = [] if len(sample_shape) == 1 else [{"type": "Flatten"}]
    width = math.prod(sample_shape)
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


def _loss(dataset: Dataset) -> str:
    return "SoftmaxCrossEntropy" if dataset.task == "classification" else "MeanSquaredError"


def _outputs(dataset: Dataset, loss: Any) -> int:
    """Count the outputs that a loss wants for the targets."""
    if dataset.task == "regression":
        return math.prod(dataset.y_train.shape[1:])
    kind = loss.get("type") if isinstance(loss, dict) else loss
    return 1 if kind == "BinaryCrossEntropy" and dataset.class_count == 2 else dataset.class_count
