"""What a training recorded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["History"]


class History:
    """The rows of a training, one per epoch.

    Attributes
    ----------
    rows : list of dict
        Column to value: "epoch", "loss", metrics, "val_loss", "lr", "seconds".
    stop_reason : str or None
        Why the training ended: "finished", "early stopping", "interrupted", "diverged".
    best_epoch : int or None
        The epoch whose weights `EarlyStopping` restored.

    Examples
    --------
    >>> history = History()
    >>> history.append({"epoch": 1, "loss": 0.5})
    >>> history.append({"epoch": 2, "loss": 0.25})
    >>> history["loss"], len(history), history[-1]
    ([0.5, 0.25], 2, {'epoch': 2, 'loss': 0.25})
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.stop_reason: str | None = None
        self.best_epoch: int | None = None

    def append(self, row: dict[str, Any]) -> None:
        """Add the row of an epoch."""
        self.rows.append(row)

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self.rows[0]) if self.rows else []

    def __getitem__(self, key: str | int) -> Any:
        """Return a column by its name, as a list, or a row by its index."""
        return self.rows[key] if isinstance(key, int) else [row[key] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"History({len(self)} epochs, {self.stop_reason})"
