"""The base classes of metrics."""

from __future__ import annotations

import math
from typing import Any

from .._settings import represent
from .._standard import Array, array_namespace, ones
from ..errors import DataError, ShapeError
from ..losses.targets import checked_weight

__all__ = ["Mean", "Metric", "check_output"]


class Metric:
    """A number that says how good outputs are; the base class of every metric.

    A metric of your own derives from it, sets `name`, and defines `batch` and `combine`.

    Attributes
    ----------
    name : str
        How history and logs call it.

    Examples
    --------
    >>> import numpy as np
    >>> class LargestError(Metric):
    ...     name = "largest error"
    ...
    ...     def batch(self, output, target, sample_weight=None):
    ...         return abs(output - target).max()[None]
    ...
    ...     def combine(self, statistics):
    ...         return float(statistics.max())
    >>> metric = LargestError()
    >>> first = metric.batch(np.asarray([1.0, 2.0]), np.asarray([1.0, 2.5]))
    >>> second = metric.batch(np.asarray([3.0]), np.asarray([3.25]))
    >>> metric.combine(np.stack([first, second]))
    0.5
    """

    name: str

    def batch(self, output: Array, target: Array, sample_weight: Array | None = None) -> Array:
        """Return what has to be known of a batch.

        Parameters
        ----------
        output : array, (N, ...), floating-point
            Outputs of the network, N >= 1.
        target : array
            What they should have been, as the loss takes it.
        sample_weight : array, (N,), optional
            How much each sample counts, >= 0. By default 1.

        Returns
        -------
        array, (k,)
            Statistics of the output's dtype, on its device; k is the same for every batch.

        Raises
        ------
        ShapeError
            If the shapes do not fit.
        DataError
            If the batch is empty.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define batch")

    def combine(self, statistics: Any) -> float:
        """Return the value over all batches.

        Parameters
        ----------
        statistics : numpy.ndarray, (batches, k), float64
            What `batch` returned for each batch.

        Returns
        -------
        float
            NaN if the weights sum to 0.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define combine")

    def __repr__(self) -> str:
        return represent(self)


class Mean(Metric):
    """The weighted mean over the samples of a score of each."""

    def score(self, output: Array, target: Array) -> tuple[Array, Array | None]:
        """Return the score of each sample, (N,), and which samples count if not all."""
        raise NotImplementedError(f"{type(self).__name__} does not define score")

    def batch(self, output: Array, target: Array, sample_weight: Array | None = None) -> Array:
        """Return the weighted sum of the scores, and that of the weights; see `Metric.batch`."""
        xp = array_namespace(output)
        owner = type(self).__name__
        check_output(owner, output)
        score, counts = self.score(output, target)
        weight = ones((output.shape[0],), like=output)
        if sample_weight is not None:
            weight = checked_weight(owner, output, sample_weight)
        if counts is not None:
            weight = xp.where(counts, weight, 0.0)
        return xp.stack([xp.sum(score * weight), xp.sum(weight)])

    def combine(self, statistics: Any) -> float:
        """Return the mean over all batches; see `Metric.combine`."""
        total, weight = (float(part) for part in statistics.sum(axis=0))
        return total / weight if weight else math.nan


def check_output(owner: str, output: Array) -> None:
    """Refuse outputs that are no batch.

    Raises
    ------
    ShapeError
        If there is no batch axis.
    DataError
        If the batch is empty.
    """
    if output.ndim == 0:
        raise ShapeError(f"{owner}: expected outputs with a batch axis, got a single number")
    if output.shape[0] == 0:
        raise DataError(f"{owner}: expected at least one sample, got an empty batch")
