"""A learning rate that falls when nothing improves any more."""

from __future__ import annotations

import math
from typing import Any

from .._checks import checked_number
from ..errors import ConfigurationError, unknown
from ._numbers import count, positive
from .schedule import Schedule

__all__ = ["ReduceOnPlateau"]


class ReduceOnPlateau(Schedule):
    """A learning rate that falls when what is monitored improves no more.

    It does not depend on the step. `observe` is called once an epoch, say with the validation
    loss; after more than ``patience`` calls in a row that do not better the best value by more than
    ``min_delta``, the rate is multiplied by ``factor`` and the count begins anew. A value that is
    not a number is no improvement.

    Parameters
    ----------
    lr : float, lr > 0
        Learning rate at first.
    factor : float, 0 < factor < 1
        What the rate is multiplied by.
    patience : int, patience >= 0
        Number of calls without improvement that are suffered.
    min_delta : float, min_delta >= 0
        Smallest improvement that counts, absolute.
    min_lr : float, 0 <= min_lr <= lr
        Where the rate stops falling.
    mode : {"min", "max"}
        Whether lower or higher values are better.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range.

    Examples
    --------
    >>> schedule = ReduceOnPlateau(0.1, factor=0.5, patience=1)
    >>> for loss in (0.9, 0.7, 0.8, 0.7):
    ...     schedule.observe(loss)
    >>> schedule(0)
    0.05
    """

    def __init__(
        self,
        lr: float,
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 0.0,
        min_lr: float = 0.0,
        mode: str = "min",
    ) -> None:
        owner = "ReduceOnPlateau"
        self.lr = positive(owner, "lr", lr)
        self.factor = checked_number(
            owner, "factor", factor, low=0.0, high=1.0, open_low=True, open_high=True
        )
        self.patience = count(f"{owner}: patience", patience, 0)
        self.min_delta = checked_number(owner, "min_delta", min_delta, low=0.0)
        self.min_lr = checked_number(owner, "min_lr", min_lr, low=0.0, high=self.lr)
        if mode not in ("min", "max"):
            raise ConfigurationError(f"{owner}: {unknown('mode', mode, ('min', 'max'))}")
        self.mode = mode
        self._current = self.lr
        self._best: float | None = None
        self._waited = 0

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``."""
        count("step", step, 0)
        return self._current

    def observe(self, value: float) -> None:
        """Take notice of a value, and reduce the rate if it is time.

        Parameters
        ----------
        value : float
            What is monitored, once an epoch.
        """
        value = float(value)
        if self._better(value):
            self._best = value
            self._waited = 0
            return
        self._waited += 1
        if self._waited > self.patience:
            self._current = max(self._current * self.factor, self.min_lr)
            self._waited = 0

    def state(self) -> dict[str, Any]:
        """Return the rate, the best value and the count of calls without improvement."""
        return {"lr": self._current, "best": self._best, "waited": self._waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`; ConfigurationError if it is none."""
        if set(state) != set(self.state()):
            raise ConfigurationError(
                f"ReduceOnPlateau: state must have {sorted(self.state())}, got {sorted(state)}"
            )
        current = checked_number("ReduceOnPlateau", "lr", state["lr"], low=0.0)
        waited = count("ReduceOnPlateau: waited", state["waited"], 0)
        best = state["best"]
        if best is not None:
            best = checked_number("ReduceOnPlateau", "best", best)
        self._current, self._best, self._waited = current, best, waited

    def _better(self, value: float) -> bool:
        if self._best is None:
            return math.isfinite(value)
        if self.mode == "min":
            return value < self._best - self.min_delta
        return value > self._best + self.min_delta
