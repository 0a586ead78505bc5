r"""Learning rates that change during the training.

A schedule is called as ``schedule(step, total_steps)`` before update ``step``, counted from 0, and
returns the learning rate as a Python float. ``total_steps`` is the length of the whole training,
where the caller knows it; a duration of None means that length. After its end a schedule stays at
its last value.

All but `ReduceOnPlateau` are formulas of the step: a training that resumes at a step goes on as if
it had never stopped.
"""

from __future__ import annotations

from .constant import Constant
from .cosine import Cosine
from .geometric import Exponential, Step
from .one_cycle import OneCycle
from .plateau import ReduceOnPlateau
from .schedule import Schedule
from .warmup import LinearWarmup

__all__ = [
    "Constant",
    "Cosine",
    "Exponential",
    "LinearWarmup",
    "OneCycle",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
]
