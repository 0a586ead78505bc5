"""Data of a training, cut into batches: arrays on the device, or batches that somebody else makes.

`xpnn.data.arrays` chooses between these and `StreamedBatches`, for what the device cannot hold.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeAlias

from array_api_compat import is_array_api_obj

from .._standard import Array, array_namespace, from_host
from ..backend import backend_of, to_host
from ..errors import ConfigurationError, DataError
from ..random import Stream
from .checks import check_finite

__all__ = [
    "ArrayBatches",
    "Batch",
    "Batches",
    "IterableBatches",
    "as_count",
    "batch_bounds",
]

#: Samples, targets and, if there are any, sample weights.
Batch: TypeAlias = tuple[Any, Any, Any]


class Batches(Protocol):
    """One pass over data, again and again."""

    memory: str | None
    """What the data and a step take on the device, where that is known."""

    repeatable: bool
    """Whether a batch can be had a second time."""

    @property
    def length(self) -> int | None:
        """Number of batches in a pass, where it is known."""

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of a pass, as (samples, targets, weights or None), from one on."""


class ArrayBatches:
    """Arrays on a device, cut into batches in random or in given order.

    The arrays move to the device once. A pass costs one gather a batch and no copy from the host.

    Parameters
    ----------
    arrays : tuple of (x, y) or (x, y, sample_weight)
        On the device, of one length N >= 1.
    batch_size : int
        Rows of a batch, >= 1. The last batch of a pass holds what remains.
    order : Stream, optional
        Where the order of the rows is drawn from: pass e takes ``order.at(e).permutation(N)``, the
        same on every device. By default the rows stay in their order.
    join_single : bool
        Let a last batch of one row join the batch before it, as batch statistics need.
    """

    def __init__(
        self,
        arrays: tuple[Array, ...],
        batch_size: int,
        order: Stream | None = None,
        join_single: bool = False,
    ) -> None:
        self.arrays = arrays
        self.order = order
        self.rows = int(arrays[0].shape[0])
        self._bounds = batch_bounds(self.rows, batch_size, join_single)
        self.memory: str | None = None
        self.repeatable = True

    @property
    def length(self) -> int:
        """Number of batches in a pass."""
        return len(self._bounds)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of pass ``number``, from batch ``start`` on."""
        index = None
        if self.order is not None:
            permutation = self.order.at(number).permutation(self.rows)
            index = from_host(permutation, like=self.arrays[0], dtype=_index_dtype(self.arrays[0]))
        for first, stop in self._bounds[start:]:
            if index is None:
                parts = [array[first:stop, ...] for array in self.arrays]
            else:
                rows = index[first:stop]
                xp = array_namespace(index)
                parts = [xp.take(array, rows, axis=0) for array in self.arrays]
            yield parts[0], parts[1], parts[2] if len(parts) > 2 else None


class IterableBatches:
    """Batches that somebody else makes: a list of them, a generator, a data loader.

    Parameters
    ----------
    source : iterable
        Of (x, y) or (x, y, sample_weight), one batch each. Every pass iterates over it anew; an
        iterator (a generator, say) cannot, and goes on where it stopped instead.
    steps : int, optional
        Number of batches of a pass. Needed if the source never ends.
    finite : bool
        Check every batch for NaN and infinity, but for arrays of libraries that would make the
        host wait for the device.
    """

    def __init__(
        self, source: Iterable[Any], steps: int | None = None, finite: bool = True
    ) -> None:
        self.source = source
        self.steps = steps
        self.finite = finite
        self.memory: str | None = None
        self.repeatable = not isinstance(source, Iterator)

    @property
    def length(self) -> int | None:
        """Number of batches in a pass, where it is known."""
        return self.steps if self.steps is not None else operator.length_hint(self.source) or None

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of a pass; take and drop the first ``start``.

        Raises
        ------
        DataError
            If the source has no more batches, or yields something else.
        """
        count = 0
        for item in self.source:
            if not isinstance(item, tuple | list) or len(item) not in (2, 3):
                size = f" of {len(item)}" if isinstance(item, tuple | list) else ""
                raise DataError(
                    "expected batches (x, y) or (x, y, sample_weight), "
                    f"got a {type(item).__name__}{size}; arrays are given as a tuple"
                )
            if count < start:
                count += 1
                if count == self.steps:
                    return
                continue
            if self.finite:
                for name, value in zip(("x", "y", "sample_weight"), item, strict=False):
                    if value is None:
                        continue  # no weights; the rest is refused later
                    if not is_array_api_obj(value):
                        check_finite(value, f"{name} of batch {count}")
                    elif backend_of(value).synchronous:
                        check_finite(to_host(value), f"{name} of batch {count}")
            yield item[0], item[1], item[2] if len(item) == 3 else None
            count += 1
            if count == self.steps:
                return
        if count == 0:
            raise DataError(
                "the data has no batch left for this epoch: give a list, or an object whose "
                "__iter__ begins anew, instead of a generator, or set steps_per_epoch"
            )


def batch_bounds(rows: int, batch_size: int, join_single: bool) -> list[tuple[int, int]]:
    """Return where the batches of a pass begin and end.

    Examples
    --------
    >>> batch_bounds(5, 2, join_single=False), batch_bounds(5, 2, join_single=True)
    ([(0, 2), (2, 4), (4, 5)], [(0, 2), (2, 5)])
    """
    starts = list(range(0, rows, batch_size))
    if join_single and len(starts) > 1 and rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], rows], strict=True))


def _index_dtype(array: Array) -> Any:
    info = array_namespace(array).__array_namespace_info__()
    return info.default_dtypes(device=array.device)["indexing"]


def as_count(name: str, value: Any) -> int:
    """Return a number of at least one.

    Raises
    ------
    ConfigurationError
        For anything else.
    """
    try:
        count = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = 0
    if count < 1:
        got = f"a {type(value).__name__}" if hasattr(value, "shape") else repr(value)
        raise ConfigurationError(f"{name}: expected an integer of at least 1, got {got}")
    return count
