"""Networks in test mode, on any number of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._checks import expect_kind
from ..backend import to_host
from ..data.batches import as_count
from ..errors import DataError
from ..metrics import Metric
from ..network import Network
from ._data import checked_metrics, expect_data, make_batches
from ._loop import run_through

__all__ = ["evaluate", "predict"]


def evaluate(
    network: Network,
    data: Any,
    batch_size: int = 256,
    *,
    metrics: str | Metric | Sequence[str | Metric] = (),
    check_finite: bool = True,
    resident: bool | None = None,
) -> dict[str, float]:
    """Return the loss and the metrics of a network in test mode.

    Parameters
    ----------
    network : Network
        Is not changed.
    data : tuple or iterable
        As for `fit`.
    batch_size : int
        Rows computed at a time, >= 1; the result does not depend on it but for rounding.
    metrics : str, Metric or sequence of them
        Such as "accuracy".
    check_finite : bool
        Look for NaN and infinity in the data first.
    resident : bool, optional
        As for `fit`.

    Returns
    -------
    dict of str to float
        "loss" (weighted mean over the samples, without the penalty of the regularization) and
        the metrics by their names.

    Raises
    ------
    ConfigurationError, DataError, ShapeError, BackendError
        If the data cannot be used.
    """
    expect_kind("network", network, Network)
    expect_data(data)
    chosen = checked_metrics(metrics)
    batch_size = as_count("batch_size", batch_size)
    batches = make_batches(network, data, batch_size, check_finite, resident)
    with network.backend.scope():
        return run_through(network, batches, chosen)


def predict(network: Network, x: Any, batch_size: int = 256) -> np.ndarray[Any, Any]:
    """Return the output of a network in test mode for any number of samples.

    Parameters
    ----------
    network : Network
        Is not changed.
    x : array_like
        (N, ...), also a memory-mapped file: ``batch_size`` rows at a time go to the device.
    batch_size : int
        Rows computed at a time, >= 1.

    Returns
    -------
    numpy.ndarray
        (N, ...), on the host.

    Raises
    ------
    ConfigurationError, DataError, ShapeError, BackendError
        If the data cannot be used.
    """
    expect_kind("network", network, Network)
    batch_size = as_count("batch_size", batch_size)
    if not network.backend.owns(x):
        x = network.backend.host_data(x, "x")
    if x.ndim < 1:
        raise DataError("x: expected one row per sample, got a single number")
    rows = int(x.shape[0])

    def part(start: int) -> np.ndarray[Any, Any]:
        return to_host(network.eval(x[start : min(start + batch_size, rows), ...]))

    # Always a copy: what the network gives out may be its input, or locked.
    first = part(0)
    whole = np.empty((rows, *first.shape[1:]), dtype=first.dtype)
    whole[:batch_size] = first
    for start in range(batch_size, rows, batch_size):
        whole[start : start + batch_size] = part(start)
    return whole
