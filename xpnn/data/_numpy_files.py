"""NumPy's own files: `.npz`, and `.npy` in pairs. Pickles are never read."""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

WHOLE = ("x", "y")
PARTS = ("x_train", "y_train", "x_test", "y_test")

# What zipfile and numpy.lib.format raise for damaged or unsupported files.
_DAMAGE = (
    EOFError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    UnicodeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def choose_keys(path: str | os.PathLike[str], present: set[str]) -> tuple[str, ...]:
    """Return the names of the arrays of a data set, of those that are present."""
    whole, parts = set(WHOLE) <= present, set(PARTS) <= present
    if whole and parts:
        raise DataError(f"{path}: has x, y and x_train, ...: which is meant? Keep one of them")
    if not whole and not parts:
        raise DataError(
            f"{path}: expected x and y, or {', '.join(PARTS)}; "
            f"found {', '.join(sorted(present)) or 'nothing'}"
        )
    return WHOLE if whole else PARTS


def read_npy(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read one `.npy` file of exactly one array; `DataError` for anything else."""
    try:
        with open(path, "rb") as file:
            return _read_array(path, file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def read_npz(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read the arrays of a data set from an `.npz` file; `DataError` if it is not one."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist()]
            if len(set(names)) != len(names):
                raise DataError(f"{path}: has two members of the same name")
            members = {
                info.filename.removesuffix(".npy"): info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }
            arrays = {}
            for key in choose_keys(path, set(members)):
                with archive.open(members[key]) as file:
                    arrays[key] = _read_array(f"{path}: {key}", file, members[key].file_size)
            return arrays
    except DataError:
        raise  # it is a ValueError, too
    except _DAMAGE as error:
        raise DataError(f"{path}: not an undamaged .npz file: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def read_npy_folder(folder: Path) -> dict[str, NDArray[Any]]:
    """Read x.npy and y.npy, or x_train.npy and the rest, from a folder."""
    present = {file.stem for file in folder.glob("*.npy")}
    return {key: read_npy(folder / f"{key}.npy") for key in choose_keys(folder, present)}


def _read_array(name: str | os.PathLike[str], file: IO[bytes], size: int) -> NDArray[Any]:
    """Read one array of a stream of `size` bytes; its header is compared with them first."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise DataError(f"{name}: version {version} of the .npy format is unknown")
        # Version 3.0 differs from 2.0 in the encoding of field names, which numbers lack.
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = read_header(file)
        if dtype.hasobject:
            raise DataError(f"{name}: holds Python objects (a pickle), which are never read")
        if min(shape, default=0) < 0:
            raise DataError(f"{name}: impossible shape {shape}")
        expected, held = math.prod(shape) * dtype.itemsize, size - file.tell()
        if expected != held:
            raise DataError(
                f"{name}: truncated or damaged: shape {shape} and dtype {dtype} take "
                f"{expected} bytes, it has {held}"
            )
        values = bytearray()
        # A zip file may declare more than it has; memory grows only as bytes arrive.
        while piece := file.read(1 << 24):
            values += piece
        if len(values) != expected:
            raise DataError(f"{name}: truncated: {len(values)} bytes of values, not {expected}")
        array = np.frombuffer(values, dtype=dtype)
        array = array.reshape(shape[::-1]).T if fortran_order else array.reshape(shape)
        return array.astype(dtype.newbyteorder("="), order="C", copy=False)
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(f"{name}: not an undamaged .npy file: {error}") from error
    except MemoryError as error:
        raise DataError(f"{name}: larger than the memory of this machine") from error
