"""The loop: epochs, batches, callbacks, history and checkpoints."""

from __future__ import annotations

from ._checkpoint import Checkpoint
from ._evaluation import evaluate, predict
from ._fit import fit
from ._signals import Terminated

__all__ = ["Checkpoint", "Terminated", "evaluate", "fit", "predict"]
