"""Data that stay on the host and go to the device in chunks, while it computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np

from .._standard import Array
from ..backend import Backend
from ..random import Stream
from .batches import Batch, batch_bounds

__all__ = ["CHUNK_BYTES", "Feed", "HostFeed", "StreamedBatches", "open_feed"]

#: Memory of a chunk; two are on their way at a time. A PCIe bus moves one in a few milliseconds.
CHUNK_BYTES = 32 << 20

HostArray: TypeAlias = np.ndarray[Any, Any]
Rows: TypeAlias = HostArray | slice


class Feed(Protocol):
    """Two places for chunks, which are filled and used in turn.

    A place is loaded, arrives, gives batches, is left, and loaded anew.
    """

    def load(self, place: int, rows: Rows) -> None:
        """Begin to bring rows of the data. Called in a thread of its own."""

    def arrive(self, place: int) -> None:
        """Make what was loaded available to `batch`."""

    def batch(self, place: int, start: int, stop: int) -> list[Array]:
        """Return rows of the chunk, on the device, one array for each of the data."""

    def leave(self, place: int) -> None:
        """Tell that no further batch of this chunk is wanted."""

    def close(self) -> None:
        """Wait for what is under way."""


class HostFeed:
    """A feed for every library: rows are gathered on the host in the background, then copied."""

    def __init__(
        self, arrays: tuple[HostArray, ...], dtypes: tuple[Any, ...], backend: Backend
    ) -> None:
        self._arrays = arrays
        self._dtypes = dtypes
        self._backend = backend
        self._gathered: list[list[HostArray]] = [[], []]
        self._chunks: list[list[Array]] = [[], []]

    def load(self, place: int, rows: Rows) -> None:
        """Gather rows on the host."""
        self._gathered[place] = [array[rows] for array in self._arrays]

    def arrive(self, place: int) -> None:
        """Copy what was gathered to the device."""
        pairs = zip(self._gathered[place], self._dtypes, strict=True)
        self._chunks[place] = [self._backend.asarray(array, dtype=dtype) for array, dtype in pairs]
        self._gathered[place] = []

    def batch(self, place: int, start: int, stop: int) -> list[Array]:
        """Return slices of the chunk."""
        return [array[start:stop, ...] for array in self._chunks[place]]

    def leave(self, place: int) -> None:
        """Drop the chunk, so that at most two are there at a time."""
        self._chunks[place] = []

    def close(self) -> None:
        """Do nothing: nothing is under way."""


def open_feed(
    arrays: tuple[HostArray, ...], dtypes: tuple[Any, ...], backend: Backend, rows: int
) -> Feed:
    """Return the feed that suits a back end, for chunks of at most ``rows`` rows."""
    if backend.name == "cupy":
        from ._pinned import PinnedFeed

        return PinnedFeed(arrays, dtypes, backend, rows)
    return HostFeed(arrays, dtypes, backend)


class StreamedBatches:
    """Arrays on the host, brought to the device in chunks of several batches.

    For data that the device has no room for: files mapped into memory, say. The batches of a pass
    are those of `ArrayBatches`, row by row, as the order is drawn over all rows. While the network
    trains on one chunk, a thread gathers the rows of the next and, where the library can (CuPy),
    copies them from pinned memory on a stream of their own. At most two chunks are on the device.

    Parameters
    ----------
    arrays : tuple of numpy.ndarray
        (x, y) or (x, y, sample_weight), of one length N >= 1. Never changed.
    dtypes : tuple
        What each is cast to, as types of the library; None for `Backend.asarray`'s own choice.
    backend : Backend
        Where the batches go.
    batch_size, order, join_single
        As for `ArrayBatches`.
    chunk_bytes : int
        Memory of a chunk. A chunk has at least one batch.
    """

    def __init__(
        self,
        arrays: tuple[HostArray, ...],
        dtypes: tuple[Any, ...],
        backend: Backend,
        batch_size: int,
        order: Stream | None = None,
        join_single: bool = False,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.arrays = arrays
        self.dtypes = dtypes
        self.backend = backend
        self.order = order
        self.rows = len(arrays[0])
        bounds = batch_bounds(self.rows, batch_size, join_single)
        row_bytes = sum(array.nbytes for array in arrays) / self.rows
        batches = max(1, int(chunk_bytes / max(1.0, row_bytes * batch_size)))
        self._chunks = [bounds[k : k + batches] for k in range(0, len(bounds), batches)]
        self._length = len(bounds)
        self.memory: str | None = None
        self.repeatable = True

    @property
    def length(self) -> int:
        """Number of batches in a pass."""
        return self._length

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of pass ``number``, from batch ``start`` on."""
        skipped, chunks = start, self._chunks
        while chunks and skipped >= len(chunks[0]):
            skipped, chunks = skipped - len(chunks[0]), chunks[1:]
        if not chunks:
            return
        chunks = [chunks[0][skipped:], *chunks[1:]]
        from concurrent.futures import ThreadPoolExecutor  # too slow an import for everybody

        permutation = None if self.order is None else self.order.at(number).permutation(self.rows)
        longest = max(chunk[-1][1] - chunk[0][0] for chunk in chunks)

        def load(k: int) -> None:
            begin, end = chunks[k][0][0], chunks[k][-1][1]
            rows = slice(begin, end) if permutation is None else permutation[begin:end]
            feed.load(k % 2, rows)

        feed = open_feed(self.arrays, self.dtypes, self.backend, longest)
        # The thread ends before the feed does: it may still be loading when somebody stops early.
        with contextlib.closing(feed), ThreadPoolExecutor(1, "xpnn-data") as thread:
            loading = thread.submit(load, 0)
            for k, chunk in enumerate(chunks):
                loading.result()
                feed.arrive(k % 2)
                if k + 1 < len(chunks):
                    loading = thread.submit(load, k + 1)
                first = chunk[0][0]
                for begin, end in chunk:
                    parts = feed.batch(k % 2, begin - first, end - first)
                    yield parts[0], parts[1], parts[2] if len(parts) > 2 else None
                feed.leave(k % 2)
