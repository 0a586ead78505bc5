"""The rows of a history as columns: a checkpoint keeps the numbers of a column in one tensor."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

__all__ = ["pack", "unpack"]


def pack(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return blocks of rows that have the same columns, each a table of columns.

    A column of floats is an array of float64, which has the same bits.
    """
    return [
        {name: _column([row[name] for row in block]) for name in names}
        for names, block in ((k, list(g)) for k, g in groupby(rows, key=tuple))
    ]


def _column(values: list[Any]) -> Any:
    return np.asarray(values) if all(type(value) is float for value in values) else values


def unpack(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Undo `pack`.

    Raises
    ------
    AttributeError, TypeError, ValueError
        If these are no blocks.
    """
    rows: list[dict[str, Any]] = []
    for block in blocks:
        columns = [v.tolist() if isinstance(v, np.ndarray) else v for v in block.values()]
        rows += [dict(zip(block, row, strict=True)) for row in zip(*columns, strict=True)]
    return rows
