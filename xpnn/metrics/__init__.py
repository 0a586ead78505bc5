"""Metrics: how good outputs are, over any number of batches.

A metric makes a few numbers of each batch on the device, and one value of all these numbers on the
host at the end, so that nothing waits for the device in between.
"""

from __future__ import annotations

import re

from ..errors import ConfigurationError, unknown
from .classification import Accuracy, TopK
from .metric import Metric
from .regression import MAE, R2, RMSE

__all__ = ["MAE", "R2", "RMSE", "Accuracy", "Metric", "TopK", "get"]

_NAMED: dict[str, type[Metric]] = {"accuracy": Accuracy, "mae": MAE, "r2": R2, "rmse": RMSE}


def get(metric: str | Metric) -> Metric:
    """Return a metric by its name, or the metric itself.

    Parameters
    ----------
    metric : Metric or str
        "accuracy", "mae", "r2", "rmse", or "top5" with any number.

    Raises
    ------
    ConfigurationError
        If there is no metric of this name.

    Examples
    --------
    >>> get("top3")
    TopK(k=3)
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        if metric in _NAMED:
            return _NAMED[metric]()
        match = re.fullmatch(r"top([1-9][0-9]*)", metric)
        if match:
            return TopK(int(match[1]))
    raise ConfigurationError(unknown("metric", metric, [*_NAMED, "top5"]))
