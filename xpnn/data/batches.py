"""What a training is given, cut into batches on the network's device.

Arrays stay on the device for the whole run if they fit; else `StreamedBatches` brings them there
in chunks.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
from array_api_compat import is_array_api_obj

from .._standard import Array, array_namespace, from_host
from ..backend import Backend, backend_of, to_host
from ..errors import ConfigurationError, DataError, readable_bytes
from ..random import Stream
from .checks import as_host_array, check_finite, chunks

__all__ = [
    "ArrayBatches",
    "Batch",
    "Batches",
    "IterableBatches",
    "array_batches",
    "as_count",
    "batch_bounds",
    "checked_arrays",
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


def array_batches(
    arrays: tuple[Any, ...],
    backend: Backend,
    batch_size: int,
    *,
    order: Stream | None = None,
    join_single: bool = False,
    resident: bool | None = None,
    step_bytes: int = 0,
    x_dtype: Any = None,
) -> Batches:
    """Cut arrays into batches, on the device for the whole run or brought there in chunks.

    Parameters
    ----------
    arrays : tuple of (x, y) or (x, y, sample_weight)
        NumPy arrays, or arrays of the back end, of one length N >= 1.
    backend : Backend
        Where the batches go.
    batch_size, order, join_single
        As for `ArrayBatches`.
    resident : bool, optional
        Whether all of the data shall be on the device. By default, if nine tenths of its free
        memory have room for them and for a step. Arrays that are on a device already stay there.
    step_bytes : int
        What a training step takes.
    x_dtype : dtype, optional
        The library's type of the samples. By default that of the back end.
    """
    dtypes = (x_dtype or backend.float_dtype, None, backend.float_dtype)[: len(arrays)]
    free = backend.free_memory()
    host = tuple(array for array in arrays if isinstance(array, np.ndarray))
    itemsize = 8 if backend.dtype == "float64" else 4
    # Integers other than the samples become indices of up to 8 bytes.
    widths = [itemsize if a is arrays[0] or a.dtype.kind == "f" else 8 for a in host]
    data = sum(w * math.prod(array.shape) for w, array in zip(widths, host, strict=True))
    if resident is None:
        resident = free is None or data + step_bytes <= 0.9 * free
    batches: Batches
    if resident or len(host) < len(arrays):
        moved = [backend.asarray(a, dtype=d) for a, d in zip(arrays, dtypes, strict=True)]
        batches = ArrayBatches(tuple(moved), batch_size, order, join_single)
        where = "stay there"
    else:
        from .streaming import CHUNK_BYTES, StreamedBatches

        room = CHUNK_BYTES if free is None else min(CHUNK_BYTES, max(0, free - step_bytes) // 4)
        batches = StreamedBatches(host, dtypes, backend, batch_size, order, join_single, room)
        where = "go there in chunks"
    if free is not None:
        batches.memory = (
            f"{backend.device_name}: about {readable_bytes(step_bytes)} for a training step, "
            f"{readable_bytes(data)} of data {where}, {readable_bytes(free)} free"
        )
    return batches


def checked_arrays(
    data: tuple[Any, ...], backend: Backend, *, finite: bool, what: str = ""
) -> tuple[Any, ...]:
    """Check a tuple of arrays: samples, targets, and perhaps weights.

    Returns NumPy arrays, and arrays of the back end as they came. Nothing is copied. Targets wait
    for the loss, which knows what they may be. Errors speak of ``what`` data.

    Raises
    ------
    DataError
        For unequal lengths, no rows, NaN or infinity (if ``finite``), or data that are no numbers.
    """
    if len(data) not in (2, 3):
        raise DataError(
            f"{what}data: expected (x, y) or (x, y, sample_weight), got {len(data)} items"
        )
    labels = [f"{what}{label}" for label in ("x", "y", "sample_weight")[: len(data)]]
    arrays = [
        # NumPy's own, too: it may be masked.
        value
        if backend.owns(value) and not isinstance(value, np.ndarray)
        else as_host_array(backend.host_data(value, label), label)
        for label, value in zip(labels, data, strict=True)
    ]
    lengths = [int(array.shape[0]) if array.ndim else 0 for array in arrays]
    for label, length in zip(labels, lengths, strict=True):
        if length != lengths[0]:
            raise DataError(
                f"{labels[0]} has {lengths[0]} rows, {label} has {length}; expected as many"
            )
    if lengths[0] == 0 or 0 in arrays[0].shape:
        raise DataError(f"{labels[0]} is empty: its shape is {tuple(arrays[0].shape)}")
    if finite:
        for label, array in zip(labels, arrays, strict=True):
            _check_finite_anywhere(array, label, backend)
        _check_range(arrays[0], backend, labels[0])
    return tuple(arrays)


def _check_finite_anywhere(array: Array, name: str, backend: Backend) -> None:
    """Check on the device, and copy to the host only what fails there."""
    xp = array_namespace(array)
    if backend.name == "numpy" or not backend.owns(array):
        check_finite(array, name)
    elif xp.isdtype(array.dtype, "real floating") and not bool(xp.all(xp.isfinite(array))):
        check_finite(backend.to_host(array), name)


def _check_range(x: Array, backend: Backend, name: str) -> None:
    """Refuse samples that turn infinite when they are cast to the type of the network."""
    name = f"{name} as {backend.dtype}"
    if not isinstance(x, np.ndarray):
        if x.dtype != backend.float_dtype:
            _check_finite_anywhere(backend.asarray(x, backend.float_dtype), name, backend)
        return
    largest = np.finfo(backend.dtype).max
    if x.dtype.kind != "f" or np.finfo(x.dtype).max <= largest:
        return
    if any(np.abs(x[rows]).max(initial=0.0) > largest for rows in chunks(x)):
        with np.errstate(over="ignore"):
            check_finite(x.astype(backend.dtype), name)


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
