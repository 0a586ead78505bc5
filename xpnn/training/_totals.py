"""What the batches of a pass add up to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._standard import Array
from ..metrics import Metric
from ..network import Network

__all__ = ["Totals"]

_Host = NDArray[Any]


class Totals:
    """Losses, weights and statistics of metrics, batch by batch.

    They stay on the device until the pass is over, or a checkpoint is written.

    Parameters
    ----------
    network : Network
        Whose loss it is.
    metrics : list of Metric
        What else is computed.
    state : dict, optional
        That of an earlier pass to go on with.
    """

    def __init__(
        self, network: Network, metrics: list[Metric], state: dict[str, Any] | None = None
    ) -> None:
        self.network = network
        self.metrics = metrics
        self._before = state
        self._losses: list[Array] = []
        self._weights: list[Any] = []
        self._statistics: list[list[Array]] = [[] for _ in metrics]

    def add(self, loss: Array, output: Array, target: Any, sample_weight: Any) -> None:
        """Take in a batch."""
        network = self.network
        weight_sum = network.loss.weight_sum
        self._losses.append(loss)
        self._weights.append(float(output.shape[0]) if weight_sum is None else weight_sum)
        if not self.metrics:
            return
        with network.backend.scope():
            target = network.prepare_target(target, tuple(output.shape))
            weight = network.prepare_weight(sample_weight)
            for metric, gathered in zip(self.metrics, self._statistics, strict=True):
                gathered.append(metric.batch(output, target, weight))

    def losses(self) -> _Host:
        """Return the losses of the batches, on the host."""
        return self._host(self._losses, None if self._before is None else self._before["losses"])

    def state(self) -> dict[str, Any]:
        """Return everything, on the host."""
        before = self._before or {"weights": None, "metrics": [None] * len(self.metrics)}
        return {
            "losses": self.losses(),
            "weights": self._host(self._weights, before["weights"]),
            "metrics": [
                self._host(gathered, first)
                for gathered, first in zip(self._statistics, before["metrics"], strict=True)
            ],
        }

    def result(self) -> dict[str, float]:
        """Return the loss and the metrics of the pass."""
        state = self.state()
        losses, weights = state["losses"], state["weights"]
        # A pass whose samples all count nothing has the loss 0, as a batch has.
        mean = float((losses * weights).sum() / max(weights.sum(), np.finfo(np.float64).tiny))
        found = {"loss": mean}
        for metric, gathered in zip(self.metrics, state["metrics"], strict=True):
            found[metric.name] = float(metric.combine(gathered))
        return found

    def _host(self, values: list[Any], before: _Host | None) -> _Host:
        """Copy numbers or short vectors, one of a batch each, to the host at once."""
        if not values:
            return np.zeros(0) if before is None else before
        backend = self.network.backend
        arrays = [value for value in values if backend.owns(value)]
        if not arrays:
            host = np.asarray(values, dtype=np.float64)
        else:
            with backend.scope():
                like = arrays[0]
                stacked = backend.xp.stack(
                    [v if backend.owns(v) else backend.asarray(v, dtype=like.dtype) for v in values]
                )
            host = backend.to_host(stacked).astype(np.float64)
        return host if before is None or not before.size else np.concatenate([before, host])
