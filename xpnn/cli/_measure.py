"""How good a model is on samples in their own unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from .. import metrics as metric_room
from ..checkpoint import Model
from ..training import evaluate
from ._prepared import as_columns


def measure(
    model: Model, x: NDArray[Any], y: NDArray[Any], metrics: Sequence[str], batch_size: int = 256
) -> dict[str, float]:
    """Return the loss and metrics of a model.

    The errors of a regression are in the unit of the target. Its loss is in the unit that it was
    trained in.
    """
    network = model.network
    samples = x
    if model.standardization is not None:
        samples = model.standardization.transform(x, dtype=network.backend.dtype)
    if model.target_standardization is None:
        return evaluate(network, (samples, y), batch_size, metrics=metrics)
    targets = as_columns(y)
    scaled = model.target_standardization.transform(targets, dtype=network.backend.dtype)
    found = evaluate(network, (samples, scaled), batch_size)
    output = model.output(x, batch_size)
    for name in metrics:
        metric = metric_room.get(name)
        found[metric.name] = float(metric.combine(metric.batch(output, targets)[None, :]))
    return found


def describe_result(found: dict[str, float], what: str, samples: int) -> str:
    """Write metrics and loss as one line, metrics first."""
    names = [name for name in found if name != "loss"]
    values = ", ".join(f"{name} {found[name]:.4f}" for name in [*names, "loss"])
    return f"{what} {values} ({samples} samples)"
