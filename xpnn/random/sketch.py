"""A stream that draws nothing: to learn the shapes of what a layer would draw."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .stream import Stream

__all__ = ["Sketch"]


class Sketch(Stream):
    """Gives layers zeros of the right shapes."""

    def __init__(self) -> None:
        super().__init__(0)

    def at(self, call: int) -> Stream:
        """Return itself."""
        return self

    def zeros(self, shape: Any) -> NDArray[Any]:
        """Return zeros."""
        return np.zeros(shape)

    def full(self, shape: Any, value: float) -> NDArray[Any]:
        """Return zeros."""
        return self.zeros(shape)

    def uniform(self, shape: Any, low: Any = 0.0, high: Any = 1.0, like: Any = None) -> Any:
        """Return zeros."""
        return self.zeros(shape)

    def normal(self, shape: Any, mean: Any = 0.0, std: Any = 1.0, like: Any = None) -> Any:
        """Return zeros."""
        return self.zeros(shape)
