"""``xpnn train``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from .._version import __version__
from ..backend import Backend
from ..backend import backend as open_backend
from ..callbacks import Callback, EarlyStopping, Progress
from ..checkpoint import Model, save
from ..data import Dataset
from ..errors import ConfigurationError, DivergenceError
from ..history import History
from ..sequential import Sequential
from ..training import Terminated, fit
from ._configuration import configuration_file, resolve
from ._curves import draw, text_curve
from ._measure import describe_result, measure
from ._output import note, say
from ._prepared import Prepared, prepare
from ._recipe import (
    METRICS,
    augmentations,
    make_network,
    metrics_of_test,
    metrics_of_training,
)
from ._runs import CURVES, MODEL, RunFolder, refuse_used
from ._threads import use_threads

_INTERRUPTED = 130
_SIGNALS = ("interrupted", "terminated", "hung up")
_DIVERGED = 3


def train(arguments: argparse.Namespace) -> int:
    """Train a network, write it to the folder of the run, and return the exit code.

    Raises
    ------
    XpnnError
        Before anything is written, if the configuration, the data or the device cannot be used.
    """
    configuration = resolve(arguments)
    model_table, training = configuration["model"], configuration["training"]
    use_threads(training)
    backend = open_backend(
        training.get("backend"), training.get("device"), dtype=model_table["dtype"]
    )
    if arguments.out is not None:
        refuse_used(Path(arguments.out))
    prepared = prepare(configuration["data"], model_table["dtype"])
    dataset = prepared.dataset
    training.setdefault("metrics", list(METRICS[dataset.task]))
    augment = augmentations(training.get("augment", []), configuration["data"].get("layout"))
    metrics = metrics_of_training(training["metrics"], dataset)
    network = _network(model_table, dataset, backend, configuration_file(arguments))
    folder = RunFolder(configuration, dataset.name, arguments.out, arguments.resume)
    described: dict[str, Any] = {
        "standardization": prepared.standardization,
        "target_standardization": prepared.target_standardization,
        "class_names": dataset.class_names,
        "extra": {
            "data": configuration["data"],
            "task": dataset.task,
            "metrics": training["metrics"],
            "feature_names": dataset.feature_names and list(dataset.feature_names),
            "sample_shape": list(dataset.x_train.shape[1:]),
        },
    }
    folder.checkpoint.model = described
    if not arguments.quiet:
        note(_describe_data(prepared))
    started = time.perf_counter()
    try:
        history = fit(
            network,
            prepared.train,
            training["epochs"],
            training["batch_size"],
            validation=prepared.validation,
            metrics=metrics,
            augment=augment,
            callbacks=_callbacks(training, folder, arguments.quiet),
            progress=False,
            checkpoint=folder.checkpoint,
            resume=arguments.resume is not None,
            force=arguments.force,
        )
        diverged, code = None, _INTERRUPTED
    except DivergenceError as error:
        history, diverged, code = error.history, error, _DIVERGED
    except Terminated as error:
        history, diverged, code = error.history, None, int(error.code or 0)
    seconds = time.perf_counter() - started
    model = Model(network, **described)
    save(network, folder.path / MODEL, **described)
    draw(history, folder.path / CURVES)
    results: dict[str, Any] = {
        "stop_reason": history.stop_reason,
        "epochs": len(history),
        "best_epoch": history.best_epoch,
        "steps": network.steps,
        "seconds": seconds,
        "parameters": int(network.parameters.values.array.shape[0]),
        "backend": network.backend.name,
        "device": network.backend.device_name,
        "xpnn_version": __version__,
    }
    if diverged is not None or history.stop_reason in _SIGNALS:
        folder.write_results(results)
        if diverged is not None:
            note(f"xpnn: {diverged}; that model is in {folder.path}")
        else:
            note(
                f"xpnn: {history.stop_reason} after {network.steps} steps; the model is in "
                f"{folder.path}; to go on: xpnn train --resume {folder.path}"
            )
        return code
    tested = metrics_of_test(dataset.task, training["metrics"])
    found = measure(model, dataset.x_test, dataset.y_test, tested)
    folder.write_results(results | {"test": found})
    if not arguments.quiet:
        say(text_curve(history))
    say(_describe_training(history, seconds, str(network.backend)))
    say(describe_result(found, "test", len(dataset.y_test)))
    say(f"run {folder.path}")
    return 0


def _network(
    model: dict[str, Any], dataset: Dataset, backend: Backend, file: str | None
) -> Sequential:
    try:
        return make_network(model, dataset, backend)
    except ConfigurationError as error:
        if file is None:
            raise
        raise ConfigurationError(f"{file}: {error}") from error


def _callbacks(training: dict[str, Any], folder: RunFolder, quiet: bool) -> list[Callback]:
    """List the listeners. The folder comes after what may still refuse to begin."""
    chosen: list[Callback] = []
    if "patience" in training:
        chosen.append(EarlyStopping("val_loss", training["patience"]))
    chosen.append(folder)
    if not quiet:
        chosen.append(Progress(note))
    return chosen


def _describe_data(prepared: Prepared) -> str:
    dataset = prepared.dataset
    held_out = 0 if prepared.validation is None else len(prepared.validation[1])
    kind = "a regression" if dataset.class_names is None else f"{dataset.class_count} classes"
    return (
        f"{dataset.name}: {len(prepared.train[1])} samples to train on, {held_out} for "
        f"validation, {len(dataset.y_test)} for the test; shape {dataset.x_train.shape[1:]}, {kind}"
    )


def _describe_training(history: History, seconds: float, place: str) -> str:
    epochs = "1 epoch" if len(history) == 1 else f"{len(history)} epochs"
    text = f"trained {epochs} in {seconds:.1f} s, {place}"
    if history.stop_reason == "early stopping":
        text += "; stopped early"
    if history.best_epoch is not None:
        text += f"; weights of epoch {history.best_epoch}"
    return text
