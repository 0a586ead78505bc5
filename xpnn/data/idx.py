"""The IDX format of MNIST: big-endian arrays, often gzipped."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

__all__ = ["read_idx"]

#: Third byte of the file -> dtype of the values.
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

#: NumPy's limit.
MAXIMUM_AXES = 64

#: deflate cannot do better: 258 bytes from 2 bits.
MAXIMUM_RATIO = 1032

_PIECE = 1 << 20


def read_idx(
    path: str | os.PathLike[str], observe: Callable[[bytes | bytearray], object] | None = None
) -> NDArray[Any]:
    """Read an IDX file, plain or gzipped (told by its first bytes, not by its name).

    The format, all big-endian: two zero bytes; a code for the dtype (0x08 uint8, 0x09 int8,
    0x0B int16, 0x0C int32, 0x0D float32, 0x0E float64); the number of axes, one byte; the
    length of each axis, 32 bits; the values, last axis fastest.

    Parameters
    ----------
    path : path-like
        The file.
    observe : callable, optional
        Called with the pieces of the file's decompressed content, as a hash's `update` is.

    Returns
    -------
    numpy.ndarray
        A new array in the machine's byte order.

    Raises
    ------
    DataError
        If there is no such file, or it is not IDX, truncated, followed by further bytes,
        damaged, or larger than memory. The message names the file. Nothing is allocated
        before the file is seen to be long enough.

    Notes
    -----
    Source: "The IDX file format", Y. LeCun, C. Cortes and C. Burges, The MNIST database.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from xpnn.data import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "labels-idx1-ubyte"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path).tolist()
    [7, 2, 1]
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not zipped:
                return _parse(path, file, observe, size, exact=True)
            with gzip.GzipFile(fileobj=file) as stream:
                return _parse(path, stream, observe, MAXIMUM_RATIO * size, exact=False)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise DataError(f"{path}: larger than the memory of this machine") from error


def _parse(
    path: str | os.PathLike[str],
    stream: BinaryIO | gzip.GzipFile,
    observe: Callable[[bytes | bytearray], object] | None,
    limit: int,
    exact: bool,
) -> NDArray[Any]:
    """Parse a stream of at most `limit` bytes, of which a plain file has exactly so many."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\x00\x00" or magic[2] not in DTYPES:
        raise DataError(
            f"{path}: not an IDX file: begins with bytes [{magic.hex(' ')}], expected "
            f"00 00, a dtype code ({', '.join(f'{code:02x}' for code in DTYPES)}) "
            "and the number of axes"
        )
    axes = magic[3]
    if not 1 <= axes <= MAXIMUM_AXES:
        raise DataError(f"{path}: {axes} axes; expected 1 to {MAXIMUM_AXES}")
    lengths = stream.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise DataError(f"{path}: truncated within its header of {4 + 4 * axes} bytes")
    shape = tuple(int.from_bytes(lengths[4 * i : 4 * i + 4], "big") for i in range(axes))
    dtype = np.dtype(DTYPES[magic[2]])
    expected = math.prod(shape) * dtype.itemsize
    room = limit - 4 - 4 * axes
    if expected > room or (exact and expected != room):
        problem = "truncated or damaged" if expected > room else "further bytes after its values"
        bound = f"has {room}" if exact else f"cannot hold more than {room}"
        raise DataError(f"{path}: {problem}: shape {shape} takes {expected} bytes, it {bound}")

    # Grows as bytes arrive: a wrong length in a small gzipped file costs no memory.
    values = bytearray()
    while len(values) < expected:
        piece = stream.read(min(_PIECE, expected - len(values)))
        if not piece:
            raise DataError(
                f"{path}: truncated: {len(values)} bytes of values, shape {shape} takes {expected}"
            )
        values += piece
    # Reading past the end is also what makes gzip compare its checksum.
    if stream.read(1):
        raise DataError(f"{path}: further bytes after its {expected} bytes of values")
    if observe is not None:
        observe(magic + lengths)
        observe(values)
    try:
        array = np.frombuffer(values, dtype=dtype).reshape(shape)
    except ValueError as error:
        raise DataError(f"{path}: impossible shape {shape}: {error}") from error
    return array.astype(dtype.newbyteorder("="), copy=False)
