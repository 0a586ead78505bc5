"""What is known of a function once JAX has traced it, or could not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import XpnnError
from ..layers.layer import Layer
from .fixed_settings import Untraceable
from .tracing import Draw

__all__ = ["Traced", "comparable", "count_operations", "guarded"]


@dataclass
class Traced:
    """What is known of one shape of an input, or of one shape of a batch."""

    refusal: str | None = None  #: why the layers do it themselves
    for_good: bool = False  #: whether that is so for every shape
    shape: tuple[int, ...] = ()  #: of the output
    draws: list[Draw] = field(default_factory=list)
    run: Callable[..., Any] | None = None
    told: list[tuple[int, str]] = field(default_factory=list)  #: attributes that layers set
    weight_sum: float | None = None


def guarded(make: Callable[..., Traced], *arguments: Any) -> Traced:
    """Trace, and turn what a trace cannot do into a refusal; xpnn's own errors are the user's."""
    try:
        return make(*arguments)
    except XpnnError:
        raise
    except Untraceable as why:
        return Traced(str(why), for_good=True)
    except Exception as error:  # JAX has many for what a stand-in cannot do
        return Traced(f"{_culprit(error)} cannot be traced ({type(error).__name__})")


def _culprit(error: BaseException) -> str:
    """Name the layer that was at work when an error came up."""
    name, trace = "the step", error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, Layer):
            name = owner.name
        trace = trace.tb_next
    return name


def count_operations(jaxpr: Any) -> int:
    """Count the operations of a trace; of a call of a function, loop or branch those inside."""
    return sum(sum(map(count_operations, _inside(each))) or 1 for each in jaxpr.eqns)


def _inside(operation: Any) -> list[Any]:
    """Return the traces that an operation has; JAX's own functions for it come and go."""
    values = operation.params.values()
    flat = (v for value in values for v in (value if isinstance(value, tuple) else (value,)))
    return [v for v in flat if hasattr(v, "eqns")]


def comparable(trace: Any) -> tuple[str, list[Any]]:
    """Return what a trace does, and its constants, so that it can be compared with another one."""
    constants = [np.asarray(constant).tolist() for constant in trace.consts]
    return re.sub(r"0x[0-9a-f]+", "", str(trace)), constants
