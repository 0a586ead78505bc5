"""Comma-separated tables."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigurationError, DataError
from ._targets import check_task

__all__ = ["read_csv"]

_ROWS_AT_ONCE = 4096
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")

_Row = tuple[int, list[str]]  # line number and cells


def read_csv(
    path: str | os.PathLike[str],
    target: str | int,
    task: str | None = None,
    header: bool | None = None,
) -> tuple[NDArray[np.float64], NDArray[Any], tuple[str, ...] | None]:
    r"""Read a table of numbers with one target column.

    UTF-8; separated by commas, semicolons or tabs, whichever cut the first line into the
    most cells; cells quoted by ``"`` where needed; empty lines skipped; point as the decimal
    separator.

    Parameters
    ----------
    path : path-like
        The file.
    target : str or int
        Name of the target column, or its index from 0 (negative from the end); a string of
        digits that is no name is an index.
    task : {"classification", "regression"}, optional
        With "classification" the target may mix numbers and other text.
    header : bool, optional
        Whether the first row has the columns' names. By default it has where `target` is a
        name in it, or where no cell of it is a number.

    Returns
    -------
    x : numpy.ndarray, shape (N, columns - 1)
        Features, float64, finite.
    y : numpy.ndarray, shape (N,)
        int64 if each target is a whole number of at most 18 digits, float64 if each is a
        number, else strings.
    feature_names : tuple of str or None
        Names of the features, if there is a header.

    Raises
    ------
    DataError
        For a file that is missing, empty, not UTF-8 or malformed; a row of another length; a
        feature that is no finite number (the message has the line and the column); an empty
        target, or one that is text among numbers; a column without a name, or two of the
        target's name; a first row that may be names or values (0, 1, 2, ..., or numbers and
        text above numbers).
    ConfigurationError
        If there is no target column of that name or index.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from xpnn.data import read_csv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "flowers.csv"
    ...     _ = path.write_text("length,width,kind\n1.5,2,rose\n3,4,lily\n")
    ...     x, y, names = read_csv(path, target="kind")
    >>> x.tolist(), y.tolist(), names
    ([[1.5, 2.0], [3.0, 4.0]], ['rose', 'lily'], ('length', 'width'))
    """
    check_task(task)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first_line = next((line for line in file if line.strip()), "")
            file.seek(0)
            delimiter = _delimiter(first_line)
            reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
            return _Table(path, reader, target, header).read(task)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _delimiter(line: str) -> str:
    """Return the separator that cuts the line into the most cells; a comma if all cut alike."""
    try:
        return max(",;\t", key=lambda mark: len(next(csv.reader([line], delimiter=mark), [])))
    except csv.Error:
        return ","  # reading the table will fail likewise, and say where


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    # Python's literals may have underscores, a table's numbers not.
    return "_" not in cell


class _Table:
    """One reading of a file: its columns, once the first rows have told them."""

    def __init__(self, path: Any, reader: Any, target: str | int, header: bool | None) -> None:
        self.path = path
        self.rows = self._rows(reader)
        start = list(islice(self.rows, 2))
        if not start:
            raise DataError(f"{path}: empty")
        first, second = start[0][1], start[1][1] if len(start) > 1 else []
        self.width = len(first)
        if self.width < 2:
            raise DataError(f"{path}: one column; expected features and a target")
        if header is None:
            named = isinstance(target, str) and not _is_number(target)
            header = named and str(target).strip() in map(str.strip, first)
            header = header or self._looks_like_names(first, second)
        self.names = [cell.strip() for cell in first] if header else None
        self.pending = start[1:] if header else start
        self.target = self._target(target)

    def _rows(self, reader: Any) -> Iterator[_Row]:
        try:
            for cells in reader:
                if len(cells) > 1 or (cells and cells[0].strip()):
                    yield reader.line_num, cells
        except csv.Error as error:
            self._fail(reader.line_num, f"malformed: {error}")

    def _fail(self, line: int, problem: str) -> NoReturn:
        raise DataError(f"{self.path}: line {line}: {problem}")

    def _column(self, index: int) -> str:
        return f"column {index}" + (f" ({self.names[index]})" if self.names else "")

    def _looks_like_names(self, first: list[str], second: list[str]) -> bool:
        numeric = [i for i, cell in enumerate(first) if _is_number(cell)]
        if not numeric:
            return True
        counted = len(numeric) > 1 and all(first[i].strip() == str(i) for i in numeric)
        below = zip(first, second, strict=False)
        if counted or any(a.strip() and not _is_number(a) and _is_number(b) for a, b in below):
            raise DataError(
                f"{self.path}: the first row begins with {', '.join(first[:4])}: names of the "
                "columns or values? Say header=True or header=False"
            )
        return False

    def _target(self, target: str | int) -> int:
        """Return the index of the target column."""
        if isinstance(target, str):
            name = target.strip()
            if self.names and name in self.names:
                if self.names.count(name) > 1:
                    raise DataError(f"{self.path}: two columns are named {name!r}")
                target = self.names.index(name)
            else:
                try:
                    target = int(name)
                except ValueError:
                    known = f"columns: {', '.join(self.names)}" if self.names else "no header"
                    raise ConfigurationError(
                        f"{self.path}: no column is named {name!r} ({known})"
                    ) from None
        if not -self.width <= target < self.width:
            raise ConfigurationError(
                f"{self.path}: no column {target}: it has {self.width}, counted from 0"
            )
        if self.names and "" in self.names:
            raise DataError(
                f"{self.path}: column {self.names.index('')} has no name. If it is an index that "
                "pandas wrote, write the file with index=False"
            )
        return target % self.width

    def read(
        self, task: str | None
    ) -> tuple[NDArray[np.float64], NDArray[Any], tuple[str, ...] | None]:
        """Return features, targets and the features' names."""
        parts: list[NDArray[np.float64]] = []
        targets: list[tuple[int, str]] = []
        while batch := self.pending + list(islice(self.rows, _ROWS_AT_ONCE)):
            self.pending = []
            for line, cells in batch:
                if len(cells) != self.width:
                    self._fail(line, f"{len(cells)} cells; expected {self.width}")
                targets.append((line, cells.pop(self.target).strip()))
            parts.append(self._features(batch))
        if not parts:
            raise DataError(f"{self.path}: a header and no rows")
        names = self.names
        features = names and tuple(name for i, name in enumerate(names) if i != self.target)
        return np.concatenate(parts), self._targets(targets, task), features or None

    def _features(self, batch: list[_Row]) -> NDArray[np.float64]:
        try:
            x = np.array([cells for _, cells in batch], dtype=np.float64)
            if np.isfinite(x).all() and not any("_" in cell for _, row in batch for cell in row):
                return x
        except ValueError:
            pass
        for line, cells in batch:
            for i, cell in enumerate(cells):
                if not _is_number(cell) or not np.isfinite(float(cell)):
                    problem = "is empty" if not cell.strip() else f"has {cell!r}, not a number"
                    self._fail(line, f"{self._column(i + (i >= self.target))} {problem}")
        raise DataError(f"{self.path}: not a table of numbers")

    def _targets(self, targets: list[tuple[int, str]], task: str | None) -> NDArray[Any]:
        cells = [cell for _, cell in targets]
        numeric = [_is_number(cell) for cell in cells]
        column = self._column(self.target)
        for line, cell in targets:
            if not cell or "\0" in cell:
                problem = "has a NUL character" if cell else "is empty"
                self._fail(line, f"the target, {column}, {problem}")
        if all(_WHOLE.fullmatch(cell) for cell in cells):
            return np.array([int(cell) for cell in cells], dtype=np.int64)
        if all(numeric):
            y = np.array([float(cell) for cell in cells])
            for row in np.flatnonzero(~np.isfinite(y))[:1]:
                self._fail(targets[row][0], f"the target, {column}, is {cells[row]}")
            return y
        if any(numeric) and task != "classification":
            # The rarer kind is the likely mistake.
            odd = sum(numeric) <= len(cells) // 2
            line, cell = targets[numeric.index(odd)]
            self._fail(
                line,
                f"the target, {column}, has {cell!r} among "
                f"{'text' if odd else 'numbers'}; say task='classification' if both are classes",
            )
        return np.array(cells, dtype=np.str_)
