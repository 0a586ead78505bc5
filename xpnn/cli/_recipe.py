"""From a configuration and data to a network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..augmentation import Augmentation
from ..backend import Backend
from ..data import Dataset
from ..description import build, known, make
from ..errors import ConfigurationError, XpnnError, unknown
from ..losses import SoftmaxCrossEntropy
from ..metrics import Accuracy, Metric, TopK
from ..metrics import get as get_metric
from ..sequential import Sequential
from ._models import make_layers

#: The metrics of a training that names none.
METRICS = {"classification": ("accuracy",), "regression": ("r2",)}
#: What the test of a regression says besides: errors in the unit of the target.
_ERRORS = ("mae", "rmse")


#: Augmentations by a word.
_AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "flip": {"type": "RandomFlip"},
    "shift": {"type": "RandomShift", "pixels": 2, "fill": "edge"},
}


def augmentations(entries: list[Any], layout: str | None = None) -> list[Augmentation]:
    """Make the augmentations of the section [training] for samples of a layout.

    Raises
    ------
    ConfigurationError
        For an unknown one, a bad value, or samples that are no images.
    """
    made: list[Augmentation] = []
    for index, entry in enumerate(entries):
        place = f"training.augment[{index}]"
        found = _AUGMENTATIONS.get(entry.lower(), entry) if isinstance(entry, str) else entry
        if isinstance(found, str) and found not in known("augmentation"):
            text = unknown("augmentation", found, _AUGMENTATIONS)
            raise ConfigurationError(f"{place}: {text}")
        made.append(make("augmentation", found, place))
    if made and layout == "sequences":
        name = entries[0] if isinstance(entries[0], str) else type(made[0]).__name__
        raise ConfigurationError(
            f"training.augment: {name} changes images, which data laid out as sequences are not"
        )
    return made


def metrics_of_training(names: Iterable[str], dataset: Dataset) -> list[Metric]:
    """Make the metrics of a training, which suit its data.

    Raises
    ------
    ConfigurationError
        For one that does not, such as the accuracy of a regression.
    """
    made = [get_metric(name) for name in names]
    for metric in made:
        task = "classification" if isinstance(metric, Accuracy | TopK) else "regression"
        if task != dataset.task:
            raise ConfigurationError(
                f"metrics: {metric.name} is for a {task}, {dataset.name} is a {dataset.task}"
            )
    return made


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
        layers = make_layers(model, dataset.x_train.shape[1:], _outputs(dataset, loss))
    network = build({"layers": layers, "loss": loss} | kept, backend=backend)
    if "layers" in model:
        try:
            _check_output(network, dataset)
        except XpnnError as error:
            raise ConfigurationError(f"model.layers: {error}") from error
    return network


def _check_output(network: Sequential, dataset: Dataset) -> None:
    """Raise an error if layers do not fit to the samples, or to the number of classes."""
    shape = network.eval(dataset.x_train[:1]).shape
    scores, classes = shape[-1], dataset.class_count
    if isinstance(network.loss, SoftmaxCrossEntropy) and scores not in (1, classes):
        raise ConfigurationError(
            f"the network gives {scores} scores, the data have {classes} classes"
        )


def _loss(dataset: Dataset) -> str:
    return "SoftmaxCrossEntropy" if dataset.task == "classification" else "MeanSquaredError"


def _outputs(dataset: Dataset, loss: Any) -> int:
    """Count the outputs that a loss wants for the targets."""
    if dataset.task == "regression":
        return math.prod(dataset.y_train.shape[1:])
    kind = loss.get("type") if isinstance(loss, dict) else loss
    return 1 if kind == "BinaryCrossEntropy" and dataset.class_count == 2 else dataset.class_count
