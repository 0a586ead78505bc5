"""A user's own data: NumPy files, tables, and folders of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigurationError, DataError
from . import _numpy_files
from ._images import find_idx_files, load_idx_folder
from ._targets import encode_target
from .checks import check_finite, check_pair
from .dataset import Dataset
from .splitting import split
from .tables import read_csv

#: The types of files that are read.
SUFFIXES = (".npz", ".npy", ".csv")


def load_own(
    text: str,
    base: Path,
    target: str | int | None,
    test_fraction: float,
    seed: int,
    task: str | None,
    header: bool | None,
) -> Dataset:
    """Load what `text` names, relative to the folder `base`."""
    path = base / text
    # Resolved, for '.' has no name; of a pair, the first file.
    name = (base / text.split(",")[0]).resolve().stem
    feature_names = None
    if path.is_dir():
        has_arrays = any(path.glob("*.npy"))
        if find_idx_files(path):
            if has_arrays:
                raise DataError(f"{path}: has .npy files and IDX files: which are meant?")
            if task is not None:
                raise ConfigurationError(f"{path}: IDX files are a classification; task={task!r}")
            return load_idx_folder(path)
        if not has_arrays:
            raise DataError(f"{path}: no .npy files in this folder, and no IDX files like MNIST's")
        arrays = _numpy_files.read_npy_folder(path)
    elif path.suffix.lower() == ".npz":
        arrays = _numpy_files.read_npz(path)
    elif path.suffix.lower() == ".npy":
        pair = text.split(",")
        if len(pair) != 2:
            raise ConfigurationError(f"{text}: expected a pair, 'x.npy,y.npy'")
        x_path, y_path = (base / part.strip() for part in pair)
        arrays = {"x": _numpy_files.read_npy(x_path), "y": _numpy_files.read_npy(y_path)}
    else:
        if target is None:
            try:
                path.stat()  # of two mistakes, a mistyped name comes first
            except OSError as error:
                raise DataError(f"{path}: {error.strerror or error}") from error
            raise ConfigurationError(
                f"{text}: say which column is the target: target='NAME', or --target NAME"
            )
        x, y, feature_names = read_csv(path, target, task, header)
        arrays = {"x": x, "y": y}
    return _dataset(text, name, arrays, feature_names, test_fraction, seed, task)


def _dataset(
    text: str,
    name: str,
    arrays: dict[str, NDArray[Any]],
    feature_names: tuple[str, ...] | None,
    test_fraction: float,
    seed: int,
    task: str | None,
) -> Dataset:
    """Check two arrays and split them, or check four."""
    whole = "x" in arrays
    pairs = [("x", "y")] if whole else [("x_train", "y_train"), ("x_test", "y_test")]
    for x_name, y_name in pairs:
        x, y = arrays[x_name], arrays[y_name]
        # Text is allowed as labels, and only as that.
        rows = np.arange(len(y)) if y.ndim and y.dtype.kind == "U" else y
        check_pair(x, rows, f"{text}: {x_name}", f"{text}: {y_name}")
        check_finite(x, f"{text}: {x_name}")  # before rows change their places
    if not whole:
        kinds = {arrays[y_name].dtype.kind == "U" for _, y_name in pairs}
        shapes = {arrays[y_name].shape[1:] for _, y_name in pairs}
        if len(kinds) + len(shapes) > 2:
            raise DataError(f"{text}: y_train and y_test differ in kind or in the shape of a row")
    # Together, so that a class that one part lacks has the same label in both.
    together = np.concatenate([arrays[y_name] for _, y_name in pairs])
    y, task, class_names = encode_target(together, task, f"{text}: y")
    if whole:
        x = arrays["x"]
        (x_train, y_train), (x_test, y_test) = split(
            x, y, fraction=test_fraction, seed=seed, stratify=None if class_names is None else y
        )
    else:
        x_train, x_test = arrays["x_train"], arrays["x_test"]
        y_train, y_test = y[: len(x_train)], y[len(x_train) :]
    images = x_train.ndim > 2 or x_train.dtype == np.uint8
    return Dataset(
        name=name,
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        task=task,
        class_names=class_names,
        feature_names=feature_names,
        description=f"From {text}.",
        standardization="set" if images else "feature",
    )
