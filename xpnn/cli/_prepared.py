"""Data as a training wants them: split, standardized, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset, Standardization, load, split
from ..errors import DataError

_Pair = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Prepared:
    """A data set, what was learnt of its training part, and the parts for a network.

    Attributes
    ----------
    dataset : Dataset
        In its own units.
    standardization, target_standardization : Standardization or None
        Fitted on the rows to train on.
    train, validation : tuple of numpy.ndarray
        Standardized samples and targets; no validation if nothing was to be set aside.
    """

    dataset: Dataset
    standardization: Standardization | None
    target_standardization: Standardization | None
    train: _Pair
    validation: _Pair | None


def load_data(data: dict[str, Any]) -> Dataset:
    """Load the data set of the section [data] of a configuration."""
    keys = ("data_dir", "target", "test_fraction", "seed", "task", "header", "layout")
    return load(data["name"], **{key: data[key] for key in keys if key in data})


def prepare(data: dict[str, Any], dtype: str) -> Prepared:
    """Load, split and standardize the data of the section [data] of a configuration."""
    dataset = load_data(data)
    if dataset.class_names is not None and len(dataset.class_names) == 1:
        name = dataset.class_names[0]
        raise DataError(f"{dataset.name} has one class only, {name!r}: there is nothing to learn")
    x, y = dataset.x_train, dataset.y_train
    validation = None
    if data["validation"]:
        labels = y if dataset.task == "classification" else None
        parts = split(x, y, fraction=data["validation"], seed=data["seed"], stratify=labels)
        (x, y), validation = parts
    standardization = target_standardization = None
    if data["standardize"] != "none":
        how = data["standardize"]
        standardization = Standardization(dataset.standardization if how == "auto" else how).fit(x)
    if dataset.task == "regression" and data["standardize_target"]:
        target_standardization = Standardization().fit(as_columns(y))

    def ready(pair: Any) -> _Pair:
        samples, targets = pair
        if standardization is not None:
            samples = standardization.transform(samples, dtype=dtype)
        if dataset.task == "regression":
            targets = as_columns(targets)
        if target_standardization is not None:
            targets = target_standardization.transform(targets, dtype=dtype)
        return samples, targets

    return Prepared(
        dataset,
        standardization,
        target_standardization,
        ready((x, y)),
        None if validation is None else ready(validation),
    )


def as_columns(targets: NDArray[Any]) -> NDArray[np.float64]:
    """Return the targets of a regression with an axis of their own, (N, D)."""
    columns: NDArray[np.float64] = targets.reshape(len(targets), -1).astype(np.float64, copy=False)
    return columns
