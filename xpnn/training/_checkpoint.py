"""What a program says of the checkpoints that it wants."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from .._checks import checked_number, checked_path
from ..data.batches import as_count
from ..errors import ConfigurationError, unknown

__all__ = ["Checkpoint"]


class Checkpoint:
    """Where and when `xpnn.fit` writes checkpoints: after every epoch, and within it if asked.

    A checkpoint is one file with everything that the training needs to go on to the same bits:
    parameters, buffers, the state of optimizer, schedule and callbacks, history, position in the
    epoch, seed, and what the training was made of. It is a model file, too: `xpnn.load` reads the
    network. Files are called "step-000001234.safetensors" after the number of steps made; the best
    one is also called "best.safetensors".

    Parameters
    ----------
    folder : path-like
        Is made if it is not there. Only one training at a time writes to it.
    keep : int
        How many of the last checkpoints stay, >= 1. The best stays besides.
    monitor : str, optional
        Column of the history that says which epoch is the best. By default "val_loss", or "loss"
        where nothing is validated.
    mode : {"min", "max"}, optional
        Whether smaller or larger is better. By default smaller for losses and errors.
    every_steps : int, optional
        Also write one after so many steps, >= 1.
    every_seconds : float, optional
        Also write one after the first step that ends so long after the last checkpoint, > 0.
    model : mapping, optional
        What `xpnn.save` shall write with the network: "standardization", "class_names", "extra".
    report : callable, optional
        Is told in one line of a checkpoint that could not be written. By default a warning.

    Raises
    ------
    ConfigurationError
        For an argument out of its range.

    Examples
    --------
    >>> import tempfile, numpy as np, xpnn
    >>> def fit(epochs, resume=False):
    ...     net = xpnn.Sequential([xpnn.Linear(1, 1)], xpnn.MeanSquaredError(), lr=0.1, seed=0)
    ...     x = np.linspace(-1, 1, 64)[:, None]
    ...     checkpoint = xpnn.Checkpoint(folder, keep=1)
    ...     return xpnn.fit(net, (x, 2 * x), epochs, checkpoint=checkpoint, resume=resume)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = fit(epochs=3)
    ...     again = fit(epochs=3, resume=True)  # nothing is left to do
    >>> again["loss"] == first["loss"]
    True
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        keep: int = 2,
        monitor: str | None = None,
        mode: str | None = None,
        *,
        every_steps: int | None = None,
        every_seconds: float | None = None,
        model: Mapping[str, Any] | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        owner = type(self).__name__
        self.folder = checked_path(f"{owner}: folder", folder)
        self.keep = as_count(f"{owner}: keep", keep)
        self.monitor = monitor
        if mode not in (None, "min", "max"):
            raise ConfigurationError(unknown(f"{owner} mode", mode, ["min", "max"]))
        self.mode = mode
        self.every_steps = (
            None if every_steps is None else as_count(f"{owner}: every_steps", every_steps)
        )
        self.every_seconds = (
            None
            if every_seconds is None
            else checked_number(owner, "every_seconds", every_seconds, low=0.0, open_low=True)
        )
        if model is not None and not isinstance(model, Mapping):
            raise ConfigurationError(f"{owner}: model: expected a mapping, got {model!r}")
        self.model = dict(model or {})
        if report is not None and not callable(report):
            raise ConfigurationError(f"{owner}: report: expected a function, got {report!r}")
        self.report = report

    def sign(self, monitor: str) -> float:
        """Return what makes smaller better: 1 or -1."""
        if self.mode is not None:
            return 1.0 if self.mode == "min" else -1.0
        return 1.0 if monitor.removeprefix("val_") in ("loss", "mae", "rmse") else -1.0
