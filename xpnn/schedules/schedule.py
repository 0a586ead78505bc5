"""The base of the schedules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ..errors import ConfigurationError

__all__ = ["Schedule"]


class Schedule(ABC):
    """Base of the schedules. One's own implements `__call__`.

    Examples
    --------
    >>> class Halves(Schedule):
    ...     def __call__(self, step, total_steps=None):
    ...         return 0.1 / 2 ** (step // 1000)
    >>> Halves()(2500)
    0.025
    """

    @abstractmethod
    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the learning rate of update ``step``, counted from 0.

        Parameters
        ----------
        step : int, step >= 0
            Number of updates made before.
        total_steps : int, optional
            Number of updates of the whole training.

        Raises
        ------
        ConfigurationError
            If ``step`` is no such integer, or if the length of the training is needed and is not
            known.
        """

    def observe(self, value: float) -> None:  # noqa: B027 (most schedules have no use for it)
        """Take notice of what was monitored in an epoch. Formulas of the step ignore it."""

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs, as JSON can hold it: nothing, for a formula of the step."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        if state:
            raise ConfigurationError(
                f"{type(self).__name__}: state must have no entries, got {sorted(state)}"
            )

    def __repr__(self) -> str:
        arguments = (f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({', '.join(arguments)})"
