"""``xpnn evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import metrics as metric_room
from ..checkpoint import Model, load
from ..data import Dataset, names
from ..errors import ConfigurationError, DataError, unknown
from ._configuration import located, read_options
from ._kinds import integer
from ._measure import describe_result, measure
from ._prepared import load_data
from ._recipe import METRICS, metrics_of_test
from ._runs import MODEL
from ._settings import SETTINGS
from ._threads import use_threads


def evaluate(arguments: argparse.Namespace) -> int:
    """Print loss and metrics of a trained network, and return the exit code.

    Raises
    ------
    XpnnError
        If the model, the data or the device cannot be used.
    """
    options = {setting.key: value for setting, value in read_options(arguments, SETTINGS)}
    batch_size = integer(1).from_text("--batch-size", arguments.batch_size)
    for name in options.get("metrics", []):
        metric_room.get(name)
    use_threads(options)
    model = load_model(arguments.run, options.get("device"), options.get("backend"))
    own = model.extra.get("data")
    task = model.extra.get("task")
    data = _data(options, own, task)
    dataset = load_data(data)
    if task is not None and dataset.task != task:
        raise DataError(f"{dataset.name} is a {dataset.task}, the network is for a {task}")
    part = arguments.part
    if part is None:
        is_own = "name" not in options or options["name"] == (own or {}).get("name")
        part = "test" if is_own or _is_known(data["name"]) else "all"
    x, y = _part(dataset, part)
    if model.class_names is not None and dataset.class_names is not None:
        y = _translated(y, dataset.class_names, model.class_names)
    metrics = options.get("metrics")
    if metrics is None:
        trained = model.extra.get("metrics") or METRICS[dataset.task]
        metrics = metrics_of_test(dataset.task, trained)
    found = measure(model, x, y, metrics, batch_size)
    print(describe_result(found, f"{dataset.name}, {part}:", len(y)), flush=True)
    return 0


def load_model(run: str, device: str | None, backend: str | None) -> Model:
    """Load the model of a run, or a model file."""
    path = Path(run)
    return load(path / MODEL if path.is_dir() else path, device, backend)


def _is_known(name: str) -> bool:
    return name.lower().replace("_", "-") in names()


def _data(options: dict[str, Any], own: Any, task: str | None) -> dict[str, Any]:
    """Return what to load: the data of the training, or others."""
    given = {k: options[k] for k in ("name", "data_dir", "target", "header") if k in options}
    if "name" not in given:
        if not isinstance(own, dict) or "name" not in own:
            raise ConfigurationError("--data: the model does not say what it was trained on")
        return located(own | given)
    kept = dict(own) if isinstance(own, dict) and own.get("name") == given["name"] else {}
    if not kept and task is not None and not _is_known(given["name"]):
        kept["task"] = task  # whole numbers may be either
    if isinstance(own, dict) and "layout" in own:
        kept["layout"] = own["layout"]  # that of the network
    if "data_dir" not in given:
        kept.pop("data_dir", None)
    return located(kept | given)


def _part(dataset: Dataset, part: str) -> tuple[NDArray[Any], NDArray[Any]]:
    if part == "test":
        return dataset.x_test, dataset.y_test
    if part == "train":
        return dataset.x_train, dataset.y_train
    return (
        np.concatenate([dataset.x_train, dataset.x_test]),
        np.concatenate([dataset.y_train, dataset.y_test]),
    )


def _translated(
    y: NDArray[Any], theirs: tuple[str, ...], ours: tuple[str, ...]
) -> NDArray[np.int64]:
    """Return the network's labels for classes of the same names."""
    for name in theirs:
        if name not in ours:
            raise DataError(unknown("class", name, ours))
    table = np.asarray([ours.index(name) for name in theirs], dtype=np.int64)
    labels: NDArray[np.int64] = table[y]
    return labels
