"""Safetensors files: eight bytes with the length of a header, the header in JSON, the numbers.

Written and read tensor by tensor, so that one tensor at a time is in memory besides what the
caller has. The header lists type, shape and place of each tensor; the places follow each other
without gaps up to the end of the file.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._standard import Array, dtype_name
from ..backend import to_host
from ..errors import CheckpointError
from ._cost import ALLOWANCE, cost
from ._files import Bytes, write_file

__all__ = ["Header", "Path", "Tensors", "read_header", "read_tensors", "write_tensors"]

Path: TypeAlias = str | os.PathLike[str]
#: Tensors by their keys, on the host.
Tensors: TypeAlias = dict[str, NDArray[Any]]

_TYPES = {"F32": "float32", "F64": "float64"}
_CODES = {name: code for code, name in _TYPES.items()}
#: What the header of a file may take: more than that of a network of a hundred thousand layers.
_LONGEST = 1 << 26


@dataclass(frozen=True)
class Header:
    """What the beginning of a file says.

    Attributes
    ----------
    metadata : dict of str to str
        What the writer says of the file.
    places : dict of str to tuple
        Type, shape and first byte of each tensor, in the order of the file.
    """

    metadata: dict[str, str]
    places: dict[str, tuple[str, tuple[int, ...], int]]


def write_tensors(path: Path, tensors: Mapping[str, Array], metadata: dict[str, str]) -> None:
    """Write tensors of any library to a file, float32 or float64, whole or not at all.

    Raises
    ------
    CheckpointError
        With the path and the cause.
    """
    # The standard reader wants the wider types first, so that all lie at multiples of their width.
    for key, tensor in tensors.items():
        if dtype_name(tensor) not in _CODES:
            raise CheckpointError(
                f"{os.fspath(path)}: cannot be written: {key} is {dtype_name(tensor)}, "
                "expected float32 or float64"
            )
    items = sorted(tensors.items(), key=lambda item: (-_width(item[1]), item[0]))
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for key, tensor in items:
        start, end = end, end + math.prod(tensor.shape) * _width(tensor)
        header[key] = {
            "dtype": _CODES[dtype_name(tensor)],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    left = _budget(len(text), end)
    for piece in (text, *(value.encode() for value in metadata.values())):
        left -= cost(piece, left)
    if len(text) > _LONGEST or left < 0:
        raise CheckpointError(
            f"{os.fspath(path)}: cannot be written: its header would take too much memory to read: "
            "class_names, extra, the state of callbacks, or thousands of tensors with few numbers"
        )

    def pieces() -> Iterator[Bytes]:
        yield len(text).to_bytes(8, "little") + text
        for _, tensor in items:
            yield numbers(tensor)

    write_file(path, pieces())


def numbers(tensor: Array) -> memoryview:
    """Return the bytes of a tensor of any library, in C order; those of an array, if it can."""
    host = to_host(tensor)
    host = np.asarray(host, dtype=host.dtype.newbyteorder("<"), order="C")
    return host.reshape(-1).data.cast("B")


def _width(tensor: Array) -> int:
    return 8 if dtype_name(tensor) == "float64" else 4


def read_header(path: Path) -> Header:
    """Read the beginning of a file.

    Raises
    ------
    CheckpointError
        With the cause: it cannot be read, or is no sound safetensors file.
    """
    try:
        # Looked at before it is opened: opening a pipe would wait for its other end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError("cannot be read: not a file")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, _LONGEST):
                raise CheckpointError("not a safetensors file, or truncated")
            text = file.read(length)
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror or error}") from error
    left = _budget(length, size - 8 - length)
    try:
        left -= cost(text, left)
        if left < 0:
            raise ValueError("it would fill memory")
        characters = text.decode()
        del text  # here and below: no more than two such texts at a time
        found = _parse(characters)
        del characters
        metadata = found.pop("__metadata__", {})
        for value in metadata.values():
            if type(value) is not str:
                raise ValueError("its metadata are no texts")
            left -= cost(value.encode(), left)
            if left < 0:
                raise ValueError("they would fill memory")
        return Header(metadata, _places(found, 8 + length, size))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError("not a safetensors file, or damaged") from error


def _budget(header: int, numbers: int) -> int:
    """Return how many bytes may be made of the texts of a file, besides its header and numbers.

    With both it is twice the size of the file and the allowance.
    """
    return 8 + header + numbers + ALLOWANCE


def _parse(text: str) -> dict[str, Any]:
    """Parse a header. A key that comes twice is a mistake."""

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            raise ValueError("a key comes twice")
        return made

    found = json.loads(text, object_pairs_hook=table)
    if type(found) is not dict:
        raise ValueError("no table")
    return found


def _places(
    entries: dict[str, Any], begin: int, size: int
) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Check what a header says of the tensors, before memory is taken for one of them."""
    places = {}
    at = 0
    for key, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        if set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError("an entry with other keys")
        start, stop = entry["data_offsets"]
        shape = entry["shape"]
        if not all(type(number) is int and number >= 0 for number in (start, stop, *shape)):
            raise ValueError("a count that is none")
        dtype = entry["dtype"]
        if dtype not in _TYPES:
            raise CheckpointError(f"tensor {key} has dtype {dtype}; expected F32 or F64")
        width = 8 if dtype == "F64" else 4
        if start != at or stop - start != width * math.prod(shape):
            raise ValueError("tensors overlap, leave a gap, or are not of their shape")
        places[key] = (_TYPES[dtype], tuple(shape), begin + start)
        at = stop
    if begin + at != size:
        raise CheckpointError("truncated, or longer than its header says")
    return places


def read_tensors(path: Path, header: Header) -> Tensors:
    """Read all tensors of a file.

    Raises
    ------
    CheckpointError
        With the cause.
    """
    tensors: Tensors = {}
    try:
        with open(path, "rb") as file:
            for key, (dtype, shape, start) in header.places.items():
                array = np.empty(shape, dtype=np.dtype(dtype).newbyteorder("<"))
                if array.size:
                    file.seek(start)
                    view = array.reshape(-1).data.cast("B")
                    if file.readinto(view) != len(view):
                        raise CheckpointError("truncated while it was read")
                tensors[key] = array.astype(dtype, copy=False)
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror or error}") from error
    except (OverflowError, ValueError) as error:  # a shape without elements that no array has
        raise CheckpointError(f"damaged: {error}") from error
    return tensors
