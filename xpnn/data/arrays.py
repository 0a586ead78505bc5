"""Arrays of a training: checked, then cut into batches on the device or streamed to it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._standard import Array, array_namespace
from ..backend import Backend
from ..errors import DataError, readable_bytes
from ..random import Stream
from .batches import ArrayBatches, Batches
from .checks import as_host_array, check_finite, chunks
from .streaming import CHUNK_BYTES, StreamedBatches

__all__ = ["array_batches", "check_range", "checked_arrays"]


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
        check_range(arrays[0], backend, labels[0])
    return tuple(arrays)


def _check_finite_anywhere(array: Array, name: str, backend: Backend) -> None:
    """Check on the device, and copy to the host only what fails there."""
    xp = array_namespace(array)
    if backend.name == "numpy" or not backend.owns(array):
        check_finite(array, name)
    elif xp.isdtype(array.dtype, "real floating") and not bool(xp.all(xp.isfinite(array))):
        check_finite(backend.to_host(array), name)


def check_range(x: Array, backend: Backend, name: str) -> None:
    """Refuse finite numbers that turn infinite when they are cast to the type of the network.

    Raises
    ------
    DataError
        As `check_finite`.
    """
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
