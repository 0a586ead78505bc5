"""Samples to predict: files without targets."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checkpoint import Model
from ..data import arrange, load, names
from ..errors import ConfigurationError, DataError, ShapeError, unknown

SUFFIXES = (".npy", ".npz", ".csv")


def read_samples(name: str, data_dir: str | None, model: Model) -> NDArray[Any]:
    """Return the samples of a file, or of the test part of a known data set.

    Raises
    ------
    ConfigurationError
        If it is neither.
    DataError, ShapeError
        If the samples cannot be read, or are not like those that the network was trained on.
    """
    if name.lower().replace("_", "-") in names():
        x = load(name, data_dir).x_test
    else:
        path = Path(data_dir or "") / name
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ConfigurationError(
                f"--data: expected a file {', '.join(SUFFIXES)} or the name of a data set, "
                f"got {name!r}"
            )
        x = _read_csv(path, model) if suffix == ".csv" else _read_numpy(path)
    expected = model.extra.get("sample_shape")
    layout = (model.extra.get("data") or {}).get("layout")
    if expected is None:
        return x
    if layout is not None and list(x.shape[1:]) != expected:
        x = arrange(x, layout, expected)
    elif layout is None and x.ndim > 0 and _is_same(x.shape[1:], expected):
        x = x.reshape(len(x), *expected)
    if list(x.shape[1:]) != expected:
        raise ShapeError(
            f"{name}: a sample has shape {x.shape[1:]}, the network wants {tuple(expected)}"
        )
    return x


def _is_same(shape: Sequence[int], expected: Sequence[int]) -> bool:
    """Tell whether samples are rows of what is expected, or the same images but for axes of 1."""
    if 1 in (len(shape), len(expected)):
        return math.prod(shape) == math.prod(expected)
    sides, wanted = ([n for n in axes if n != 1] for axes in (shape, expected))
    return len(sides) > 1 and sides == wanted  # (T, 1) and (1, T) are not the same sequence


def _read_numpy(path: Path) -> NDArray[Any]:
    """Read a .npy file, or x of a .npz file. Pickles are refused."""
    try:
        found = np.load(path, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            with found:
                if "x" not in found:
                    raise DataError(f"{path}: expected an array x, found {', '.join(found.files)}")
                found = found["x"]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except DataError:
        raise
    except Exception as error:  # NumPy and zipfile have many, and document none
        raise DataError(f"{path}: cannot be read: {error}") from error
    array: NDArray[Any] = found
    return array


def _read_csv(path: Path, model: Model) -> NDArray[np.float64]:
    """Read a table. Its columns are found by their names, if it has a header."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=first.count)
            reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
            rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a table: {error}") from error
    if not rows:
        raise DataError(f"{path}: empty")
    wanted = model.extra.get("feature_names")
    columns: list[int] | None = None
    header = [cell.strip() for cell in rows[0][1]]
    if not all(map(_is_number, header)):
        rows = rows[1:]
        if wanted is not None:
            columns = _columns(path, header, wanted)
    width = len(header)
    table = np.empty((len(rows), width if columns is None else len(columns)))
    for index, (line, row) in enumerate(rows):
        if len(row) != width:
            raise DataError(f"{path}: line {line}: {len(row)} cells; expected {width}")
        for place, column in enumerate(range(width) if columns is None else columns):
            if not _is_number(row[column]):
                raise DataError(
                    f"{path}: line {line}: column {column} ({header[column]}) has "
                    f"{row[column]!r}, not a number"
                )
            table[index, place] = float(row[column])
    return table


def _columns(path: Path, header: list[str], wanted: list[str]) -> list[int]:
    """Return where the features of the training are in a table; other columns are left out."""
    for name in wanted:
        if header.count(name) != 1:
            problem = "two of them" if name in header else unknown("column", name, header)
            raise DataError(f"{path}: feature {name!r} of the training data: {problem}")
    return [header.index(name) for name in wanted]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
