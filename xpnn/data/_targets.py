"""From targets as a user has them to labels or values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigurationError, DataError
from .checks import check_finite
from .dataset import TASKS

#: Whole numbers with more distinct values are quantities, not labels, unless the user says so.
MAXIMUM_GUESSED_CLASSES = 100


def check_task(task: str | None) -> None:
    """Raise `ConfigurationError` for a task that is neither known nor None."""
    if task not in (None, *TASKS):
        raise ConfigurationError(f"task={task!r}; expected one of {TASKS}, or None to guess")


def encode_target(
    y: NDArray[Any], task: str | None, name: str
) -> tuple[NDArray[Any], str, tuple[str, ...] | None]:
    """Return targets as the losses want them, the task, and the names of the classes.

    Strings and booleans are labels; floats are quantities; whole numbers are labels where
    there are at most 100 distinct ones and at most half as many as rows. `task` overrules.
    Labels become int64 from 0 to K - 1 in the order of their values, and the values become
    the names. One-hot rows become labels. Quantities become float64.

    Raises
    ------
    DataError
        If the values do not suit the task.
    ConfigurationError
        If the task is unknown.
    """
    check_task(task)
    if y.dtype.kind != "U":
        check_finite(y, name)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    elif y.ndim == 2 and task != "regression" and _is_one_hot(y):
        return np.argmax(y, axis=1), "classification", tuple(str(k) for k in range(y.shape[1]))
    if task is None:
        task = _guess(y, name)
    if task == "regression":
        if y.dtype.kind == "U":
            raise DataError(f"{name} has text such as {str(y.flat[0])!r}: no numbers to regress on")
        return y.astype(np.float64), task, None
    if y.ndim != 1:
        raise DataError(f"{name} has shape {y.shape}; expected one label per row, or one-hot rows")
    if y.dtype.kind == "f":
        fractional = np.flatnonzero(y != np.floor(y))
        if fractional.size:
            row = int(fractional[0])
            raise DataError(f"{name} has the fractional label {y[row]} at row {row}")
    values, labels = np.unique(y, return_inverse=True)
    names = tuple(f"{value:.0f}" if y.dtype.kind == "f" else str(value) for value in values)
    return labels.reshape(y.shape).astype(np.int64, copy=False), task, names


def _guess(y: NDArray[Any], name: str) -> str:
    if y.dtype.kind == "f":
        return "regression"
    if y.ndim != 1:
        raise DataError(
            f"{name} has shape {y.shape} and dtype {y.dtype}: neither labels (N,) nor one-hot "
            "rows; say task='regression' if its columns are quantities"
        )
    distinct = np.unique(y).size
    if y.dtype.kind == "b" or distinct <= min(MAXIMUM_GUESSED_CLASSES, y.size // 2):
        return "classification"
    if y.dtype.kind == "U":
        if distinct <= y.size // 2:
            return "classification"
        raise DataError(
            f"{name} has {distinct} different texts in {y.size} rows: they look like names, not "
            "classes; say task='classification' if they are classes"
        )
    return "regression"


def _is_one_hot(y: NDArray[Any]) -> bool:
    if y.dtype.kind not in "fiub":
        return False
    zero_or_one = bool(((y == 0) | (y == 1)).all())
    return zero_or_one and bool((y.sum(axis=1, dtype=np.int64) == 1).all())
