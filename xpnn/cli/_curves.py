"""The curves of a training, as text and as a picture."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..history import History
from ._output import note

_WIDTH, _HEIGHT = 60, 10
_MARKS = {"loss": "*", "val_loss": "o"}


def text_curve(history: History) -> str:
    """Draw the losses of a training with letters; the scale is logarithmic.

    Parameters
    ----------
    history : History
        At least one row.
    """
    series = {name: history[name] for name in _MARKS if name in history.columns}
    values = [v for column in series.values() for v in column if math.isfinite(v) and v > 0]
    if not values:
        return ""
    low, high = math.log(min(values)), math.log(max(values))
    grid = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    epochs = len(history)
    # Later columns of the table lie above earlier ones.
    for name, column in series.items():
        for index, value in enumerate(column):
            if value > 0 and math.isfinite(value):
                x = round(index * (_WIDTH - 1) / max(1, epochs - 1))
                height = (math.log(value) - low) / (high - low) if high > low else 0.5
                grid[round((1 - height) * (_HEIGHT - 1))][x] = _MARKS[name]
    labels = [""] * _HEIGHT
    labels[0], labels[-1] = f"{math.exp(high):.3g}", f"{math.exp(low):.3g}"
    lines = [
        f"{label:>8} |{''.join(row).rstrip()}" for label, row in zip(labels, grid, strict=True)
    ]
    lines.append(f"{'':>8} +{'-' * _WIDTH}")
    first, last = f"epoch {history[0]['epoch']}", str(history[-1]["epoch"])
    lines.append(f"{'':>10}{first}{last:>{_WIDTH - len(first)}}")
    legend = {"loss": "* training loss", "val_loss": "o validation loss"}
    lines.append(f"{'':>10}{'   '.join(legend[name] for name in series)}")
    return "\n".join(lines)


def draw(history: History, path: Path) -> bool:
    """Draw losses and metrics to a PNG file, if matplotlib is installed.

    Returns
    -------
    bool
        Whether there is a picture. A mistake of matplotlib's is reported, not raised: the run is
        worth more than its picture.
    """
    if not history.rows or find_spec("matplotlib") is None:
        return False
    try:
        _draw(history, path)
    except Exception as error:
        note(f"xpnn: {path}: no picture: {error}")
        return False
    return True


def _draw(history: History, path: Path) -> None:
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    metrics = [n for n in history.columns if not n.startswith("val_")]
    metrics = [n for n in metrics if n not in ("epoch", "lr", "seconds")]
    figure = Figure(figsize=(5 * len(metrics), 4), layout="constrained")
    axes: Any = figure.subplots(1, len(metrics), squeeze=False)[0]
    marker = "." if len(history) < 50 else None
    for axis, name in zip(axes, metrics, strict=True):
        axis.plot(history["epoch"], history[name], label="training", marker=marker)
        if f"val_{name}" in history.columns:
            axis.plot(history["epoch"], history[f"val_{name}"], label="validation", marker=marker)
        axis.set_xlabel("epoch")
        axis.set_ylabel(name)
        if name == "loss" and min(history[name]) > 0:
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=120)
