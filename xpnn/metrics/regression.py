"""Metrics for targets that are numbers."""

from __future__ import annotations

import math
from typing import Any

from .._standard import Array, array_namespace, ones
from ..losses.targets import aligned_target, checked_weight, reciprocal
from .metric import Mean, Metric, check_output

__all__ = ["MAE", "R2", "RMSE"]


class MAE(Mean):
    """Mean absolute error, over all elements: in the target's unit.

    Outputs (N, ...), targets of the same shape, or (N,) for outputs (N, 1).

    Examples
    --------
    >>> import numpy as np
    >>> metric = MAE()
    >>> statistics = metric.batch(np.asarray([[1.0], [4.0]]), np.asarray([0.0, 1.0]))
    >>> metric.combine(statistics[None])
    2.0
    """

    name = "mae"

    def score(self, output: Array, target: Array) -> tuple[Array, Array | None]:
        """Return each sample's mean absolute error."""
        xp = array_namespace(output)
        error = xp.abs(output - aligned_target("MAE", output, target))
        return xp.mean(xp.reshape(error, (output.shape[0], -1)), axis=1), None


class RMSE(Mean):
    """Root of the mean squared error, over all elements: in the target's unit.

    Outputs (N, ...), targets of the same shape, or (N,) for outputs (N, 1). The root is taken
    once, of the mean over all samples and elements; scikit-learn takes one for each column and
    averages these.

    Examples
    --------
    >>> import numpy as np
    >>> metric = RMSE()
    >>> statistics = metric.batch(np.asarray([[1.0], [8.0]]), np.asarray([0.0, 1.0]))
    >>> metric.combine(statistics[None])
    5.0
    """

    name = "rmse"

    def score(self, output: Array, target: Array) -> tuple[Array, Array | None]:
        """Return each sample's mean squared error."""
        xp = array_namespace(output)
        error = output - aligned_target("RMSE", output, target)
        return xp.mean(xp.reshape(error * error, (output.shape[0], -1)), axis=1), None

    def combine(self, statistics: Any) -> float:
        """Return the root of the mean over all batches; see `Metric.combine`."""
        return math.sqrt(super().combine(statistics))


class R2(Metric):
    """Coefficient of determination: the part of the targets' variance that outputs explain.

    ``R2 = 1 - sum(w * (target - output)**2) / sum(w * (target - mean(target))**2)``, with several
    outputs the mean of their values. 1 is perfect, 0 is no better than the mean. Of constant
    targets it is 1 if the outputs equal them, else 0; of fewer than two samples NaN, as in
    scikit-learn.

    Outputs (N, ...), targets of the same shape, or (N,) for outputs (N, 1).

    Notes
    -----
    For each output a batch gives its squared error and, of the targets, one value, their mean less
    that value, and their squared distance from the mean, so that neither a large offset nor a
    constant loses digits; batches are merged in float64.

    Source of the merge: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for
    Computing Sample Variances", Stanford 1979.

    Examples
    --------
    >>> import numpy as np
    >>> metric = R2()
    >>> first = metric.batch(np.asarray([2.5, 0.0]), np.asarray([3.0, -0.5]))
    >>> second = metric.batch(np.asarray([2.0, 8.0]), np.asarray([2.0, 7.0]))
    >>> round(metric.combine(np.stack([first, second])), 6)
    0.948608
    """

    name = "r2"

    def batch(self, output: Array, target: Array, sample_weight: Array | None = None) -> Array:
        """Return weight and number of the samples and four numbers for each output."""
        xp = array_namespace(output)
        check_output("R2", output)
        samples = output.shape[0]
        target = xp.reshape(aligned_target("R2", output, target), (samples, -1))
        error = xp.reshape(output, (samples, -1)) - target
        weight = ones((samples, 1), like=output)
        if sample_weight is not None:
            weight = xp.reshape(checked_weight("R2", output, sample_weight), (samples, 1))
        total = xp.sum(weight, axis=0)
        pivot = target[0, :]
        offset = target - pivot[None, :]
        mean = xp.sum(weight * offset, axis=0) * reciprocal(total)
        offset = offset - mean[None, :]
        count = samples * ones((1,), like=output)
        squared_error = xp.sum(weight * error * error, axis=0)
        spread = xp.sum(weight * offset * offset, axis=0)
        return xp.concat([total, count, squared_error, pivot, mean, spread])

    def combine(self, statistics: Any) -> float:
        """Merge the batches; see `Metric.combine`."""
        columns = (statistics.shape[1] - 2) // 4
        if statistics[:, 1].sum() < 2:
            return math.nan
        values: list[float] = []
        for column in range(columns):
            total, mean, error, spread = 0.0, 0.0, 0.0, 0.0
            for row in statistics:
                weight = float(row[0])
                if not weight:
                    continue
                part_error, pivot, rest, part_spread = row[2 + column :: columns].tolist()
                distance = pivot + rest - mean
                error += part_error
                spread += part_spread + distance * distance * (total * weight / (total + weight))
                total += weight
                mean += distance * (weight / total)
            if not total:
                return math.nan
            if spread:
                values.append(1.0 - error / spread)
            else:
                values.append(0.0 if error else 1.0)
        return math.fsum(values) / len(values)
