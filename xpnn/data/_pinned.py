"""Chunks of host data on their way to a GPU, from pinned memory, beside the computation."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._standard import Array
from ..backend import Backend

__all__ = ["PinnedFeed"]


class PinnedFeed:
    """A feed for CuPy; see `Feed`.

    Each of the two places is a buffer of pinned memory on the host, a buffer on the device, and
    two events: the copy from one to the other is done; the last batch has been taken out. Copies
    run on a stream of their own, so they overlap with the kernels of the current stream. The
    device waits where it must; the host waits only before it writes into a pinned buffer whose
    copy, of two chunks ago, is still under way, which bounds the memory in use.

    Data travel in their own type if that is not larger than the one wanted, so bytes as bytes.

    Parameters
    ----------
    arrays : tuple of numpy.ndarray
        The data.
    dtypes : tuple
        What batches are cast to; None for `Backend.asarray`'s own choice.
    backend : Backend
        CuPy's.
    rows : int
        The most rows that a chunk has.
    """

    def __init__(
        self,
        arrays: tuple[np.ndarray[Any, Any], ...],
        dtypes: tuple[Any, ...],
        backend: Backend,
        rows: int,
    ) -> None:
        import cupy

        self._cupy = cupy
        self._backend = backend
        self._arrays = arrays
        self._dtypes = [
            backend.asarray(array[:0], dtype=dtype).dtype
            for array, dtype in zip(arrays, dtypes, strict=True)
        ]
        with backend.scope():
            self._stream = cupy.cuda.Stream(non_blocking=True)
            self._places = [self._make_place(rows) for _ in range(2)]

    def _make_place(self, rows: int) -> _Place:
        shapes = [(rows, *array.shape[1:]) for array in self._arrays]
        types = [_type_on_the_way(a, d) for a, d in zip(self._arrays, self._dtypes, strict=True)]
        return _Place(shapes, types)

    def load(self, place: int, rows: Any) -> None:
        """Gather rows in pinned memory, and copy them to the device once its place is free."""
        here = self._places[place]
        here.wait()
        count = 0
        for array, host in zip(self._arrays, here.host, strict=True):
            count = _gather(array, rows, host)
        with self._backend.scope():
            self._stream.wait_event(here.left)
            for host, device in zip(here.host, here.device, strict=True):
                device[:count].set(host[:count], stream=self._stream)
            here.copied = self._stream.record()

    def arrive(self, place: int) -> None:
        """Let the current stream wait for the copies."""
        with self._backend.scope():
            self._cupy.cuda.get_current_stream().wait_event(self._places[place].copied)

    def batch(self, place: int, start: int, stop: int) -> list[Array]:
        """Return copies of rows: the place itself will be overwritten."""
        pairs = zip(self._places[place].device, self._dtypes, strict=True)
        with self._backend.scope():
            return [array[start:stop].astype(dtype) for array, dtype in pairs]

    def leave(self, place: int) -> None:
        """Remember when the last batch was taken."""
        with self._backend.scope():
            self._places[place].left = self._cupy.cuda.get_current_stream().record()

    def close(self) -> None:
        """Wait for the copies: the memory goes back to pools, which know nothing of them."""
        for place in self._places:
            place.wait()


class _Place:
    """Buffers of a chunk on host and device, and when they may be used again."""

    def __init__(self, shapes: list[tuple[int, ...]], types: list[Any]) -> None:
        import cupy
        import cupyx

        self.host = [cupyx.empty_pinned(s, dtype=d) for s, d in zip(shapes, types, strict=True)]
        self.device = [cupy.empty(s, dtype=d) for s, d in zip(shapes, types, strict=True)]
        self.copied: Any = None
        # This memory may have had another owner, whose work is on the current stream.
        self.left: Any = cupy.cuda.get_current_stream().record()

    def wait(self) -> None:
        """Let the host wait until the last copy from the pinned buffers is done."""
        if self.copied is not None and not self.copied.done:
            self.copied.synchronize()


def _type_on_the_way(array: np.ndarray[Any, Any], wanted: Any) -> Any:
    """Return the smaller of the two types."""
    smaller = array.dtype.itemsize <= wanted.itemsize
    return array.dtype.newbyteorder("=") if smaller else wanted


def _gather(array: np.ndarray[Any, Any], rows: Any, out: np.ndarray[Any, Any]) -> int:
    """Copy rows into the beginning of a buffer, cast to its type; return how many they were."""
    if isinstance(rows, slice) or array.dtype != out.dtype or not array.flags.c_contiguous:
        chosen = array[rows]
        np.copyto(out[: len(chosen)], chosen, casting="unsafe")
        return len(chosen)
    # Without a copy in between; the rows are within bounds, so the mode changes nothing else.
    np.take(array, rows, axis=0, out=out[: len(rows)], mode="clip")
    return len(rows)
