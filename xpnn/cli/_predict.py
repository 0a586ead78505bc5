"""``xpnn predict``."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checkpoint import Model, write_file
from ..errors import ConfigurationError
from ._configuration import read_options
from ._evaluate import load_model
from ._inputs import read_samples
from ._kinds import integer
from ._settings import SETTINGS
from ._threads import use_threads

_SUFFIXES = (".csv", ".npy")


def predict(arguments: argparse.Namespace) -> int:
    """Write the predictions of a trained network, and return the exit code.

    Raises
    ------
    XpnnError
        If the model, the samples or the device cannot be used, or the file cannot be written.
    """
    options = {setting.key: value for setting, value in read_options(arguments, SETTINGS)}
    batch_size = integer(1).from_text("--batch-size", arguments.batch_size)
    suffix = ".csv"
    if arguments.out is not None:
        suffix = Path(arguments.out).suffix.lower()
        if suffix not in _SUFFIXES:
            raise ConfigurationError(
                f"--out: expected a name that ends in {' or '.join(_SUFFIXES)}, "
                f"got {arguments.out!r}"
            )
    use_threads(options)
    model = load_model(arguments.run, options.get("device"), options.get("backend"))
    x = read_samples(arguments.data, arguments.data_dir, model)
    classifies = model.extra.get("task", "classification") == "classification"
    if arguments.probabilities and not classifies:
        raise ConfigurationError("--probabilities: the network is for a regression")
    if suffix == ".npy":
        write_file(arguments.out, _npy(model, x, batch_size, arguments.probabilities))
        return 0
    text = _table(model, x, batch_size, classifies, arguments.probabilities)
    if arguments.out is not None:
        write_file(arguments.out, text.encode())
    else:
        sys.stdout.write(text)
    return 0


def _npy(model: Model, x: NDArray[Any], batch_size: int, probabilities: bool) -> bytes:
    predicted = (
        model.probabilities(x, batch_size) if probabilities else model.predict(x, batch_size)
    )
    file = io.BytesIO()
    np.save(file, _narrow(predicted), allow_pickle=False)
    return file.getvalue()


def _table(
    model: Model, x: NDArray[Any], batch_size: int, classifies: bool, probabilities: bool
) -> str:
    """Write a table with a row for each sample."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if not classifies:
        values = _narrow(model.predict(x, batch_size))
        rows = values.reshape(len(values), -1)
        count = rows.shape[1]
        writer.writerow(["prediction"] if count == 1 else [f"prediction {k}" for k in range(count)])
        writer.writerows(rows.tolist())
        return file.getvalue()
    every = model.probabilities(x, batch_size)
    names = model.class_names or tuple(map(str, range(every.shape[1])))
    header = ["prediction", "probability"]
    writer.writerow([*header, *(f"p({name})" for name in names)] if probabilities else header)
    for label, row in zip(np.argmax(every, axis=1), every.tolist(), strict=True):
        shown = [f"{p:.6g}" for p in (row[label], *(row if probabilities else ()))]
        writer.writerow([names[label], *shown])
    return file.getvalue()


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values of a regression with one target as (N,)."""
    single = values.ndim == 2 and values.shape[1] == 1
    return values[:, 0] if single else values
