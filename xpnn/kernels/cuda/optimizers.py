"""Updates of all parameters: two launches, whatever the optimizer.

``update.cu`` has the formulas. The first launch looks at every gradient, as an update that has
begun cannot be taken back: it tells whether everything is finite, and finds penalty and norm on the
way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._standard import Array
from ._launch import LARGEST_BLOCK, Counters, dtype_name, nullable, u64
from .loader import function

__all__ = ["RULES", "inspect", "update"]

#: What the macro RULE can be.
RULES = ("sgd", "momentum_sgd", "adam", "rmsprop", "momentum_rmsprop", "adagrad")

#: Packs of 16 bytes that a thread of `inspect` looks at, and its largest number of blocks.
_PACKS, _BLOCKS = 4, 1024

#: What `inspect` and `update` are told about the penalty: the number of parameters, the ends of the
#: first two segments, for each segment both factors, and the bound of the gradients.
Penalty = tuple[int, int, int, Sequence[float], Sequence[float], float]


def inspect(
    values: Array,
    grads: Array,
    penalty: Penalty,
    limit: float,
    loss: Array,
    before: Array | None,
    results: tuple[Array, Array, Array],
    counters: Counters,
) -> None:
    """Find the loss with the penalty, whether all is finite, and the factor that clips the norm.

    Parameters
    ----------
    values, grads : array, (n,)
        All parameters and their gradients.
    penalty : Penalty
        See there.
    limit : float
        Largest norm of the gradients, 0 for none.
    loss : array, 0-d
        Without the penalty.
    before : array of bool, 0-d, or None
        Whether all was finite so far.
    results : tuple of array, 0-d
        Where the loss, the bool and the factor go.
    counters : Counters
        At rest.

    Notes
    -----
    One launch. Bytes moved: 4 read a parameter (float32), 8 with a penalty.
    """
    import cupy

    real = values.dtype.type
    a_block = LARGEST_BLOCK * _PACKS * (16 // values.dtype.itemsize)
    blocks = max(min(-(-values.size // a_block), _BLOCKS), 1)
    partial = nullable(None) if blocks == 1 else cupy.empty((4, blocks), dtype=cupy.float64)
    arguments = (
        *(values, grads, *_numbers(penalty, real), real(limit)),
        *(loss, nullable(before), *results, partial, counters.get(1)),
    )
    _function("inspect", "sgd", values)((blocks,), (LARGEST_BLOCK,), arguments)


def update(
    rule: str,
    values: Array,
    grads: Array,
    state: Sequence[Array],
    penalty: Penalty,
    kept: Sequence[float],
    numbers: Sequence[float],
    factor: Array,
    healthy: Array,
    buffers: tuple[Array, Array],
) -> None:
    """Update the parameters and the optimizer's vectors, or leave them if something is not finite.

    Parameters
    ----------
    rule : str
        One of `RULES`.
    values, grads : array, (n,)
        All parameters, which change, and their gradients.
    state : sequence of array, (n,)
        The optimizer's vectors, none to two, which change.
    penalty : Penalty
        See there.
    kept : sequence of float
        For each segment what multiplies the parameters before they are updated.
    numbers : sequence of float
        Up to six, as the rule wants them.
    factor, healthy : array, 0-d
        From `inspect`.
    buffers : tuple of array
        Those of the layers, which get back the numbers of the second if something is not finite.

    Notes
    -----
    One launch. Bytes moved a parameter in float32: 8 read and 4 written, and 4 of both for each of
    the optimizer's vectors: 12 for plain descent, 20 with momentum, 28 for Adam.
    """
    real = values.dtype.type
    first, second, *_ = (*state, None, None)
    filled = (*numbers, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)[:6]
    arguments = (
        *(values, grads, nullable(first), nullable(second)),
        *_numbers(penalty, real),
        *map(real, kept),
        *map(real, filled),
        *(factor, healthy, *buffers, u64(buffers[0].size)),
    )
    a_block = LARGEST_BLOCK * (16 // values.dtype.itemsize)
    blocks = max(-(-values.size // a_block), 1)
    _function("update", rule, values)((blocks,), (LARGEST_BLOCK,), arguments)


def _numbers(penalty: Penalty, real: Any) -> tuple[Any, ...]:
    count, first, second, l1, l2, bound = penalty
    ends = map(u64, (count, first, second))
    return (*ends, *map(real, l1), *map(real, l2), real(bound))


def _function(kernel: str, rule: str, like: Array) -> Any:
    return function("update", kernel, dtype_name(like), RULE=rule.upper())
