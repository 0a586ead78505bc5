"""The format of model files: safetensors, with a description and digests in the metadata."""

from __future__ import annotations

import os
import stat
from typing import Any, TypeAlias

from numpy.typing import NDArray

from .._version import __version__
from ..errors import CheckpointError, ConfigurationError

__all__ = ["Path", "Tensors", "check_tensors", "decode", "encode", "label"]

Path: TypeAlias = str | os.PathLike[str]
Tensors: TypeAlias = dict[str, NDArray[Any]]

FORMAT = "xpnn"
VERSION = "1"
KINDS = ("parameter", "buffer", "standardization")
#: What the header of a file may take: more than that of a network of a hundred thousand layers.
HEADER_LIMIT = 1 << 28
ENTRIES = {
    "class_names",
    "epochs",
    "extra",
    "model",
    "seed",
    "steps",
    "tensors",
    "total_steps",
    "xpnn_version",
}


def label(kind: str, array: NDArray[Any]) -> dict[str, Any]:
    """Say what a tensor is, with the SHA-256 of its numbers."""
    return {
        "kind": kind,
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "sha256": _sha256(array.reshape(-1).data.cast("B")),
    }


def encode(path: Path, content: dict[str, Any], tensors: Tensors) -> bytes:
    """Return the bytes of a file. The tensors are in C order."""
    import json  # not for those who only import xpnn

    codec = _codec(path)
    try:
        text = json.dumps(content, allow_nan=False)
    except (RecursionError, TypeError, ValueError) as error:
        raise ConfigurationError(f"extra: JSON cannot hold it: {error}") from error
    metadata = {
        "format": FORMAT,
        "format_version": VERSION,
        "content": text,
        "content_sha256": _sha256(text.encode()),
    }
    encoded: bytes = codec.save(tensors, metadata=metadata)
    return encoded


def decode(path: Path) -> tuple[dict[str, Any], Tensors]:
    """Return what a file says of its network, and its tensors, after a look at all of it."""
    codec = _codec(path)
    try:
        # Looked at before it is opened: opening a pipe would wait for its other end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError("cannot be read: not a file")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, HEADER_LIMIT):
                raise CheckpointError("not a safetensors file, or truncated")
            content = _content(file.read(length))
            file.seek(0)
            encoded = file.read(size)
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror or error}") from error
    try:
        tensors = codec.load(encoded)
    except MemoryError:
        raise
    except Exception as error:  # SafetensorError, or a type that NumPy does not have
        raise CheckpointError(f"damaged: {error}") from error
    check_tensors(content["tensors"], tensors)
    return content, tensors


def _sha256(content: bytes | memoryview) -> str:
    import hashlib  # takes longer to load than the rest of this module

    return hashlib.sha256(content).hexdigest()


def _codec(path: Path) -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise CheckpointError(
            f"{os.fspath(path)}: model files need safetensors: pip install 'xpnn[cli]'"
        ) from error
    return safetensors.numpy


def _content(header: bytes) -> dict[str, Any]:
    """Return the description in the header of a file."""
    import json

    try:
        metadata = json.loads(header)["__metadata__"]
        if metadata["format"] != FORMAT:
            raise KeyError
        version = metadata["format_version"]
        if version != VERSION:
            raise CheckpointError(
                f"written in format {version}; this xpnn {__version__} reads format {VERSION}"
            )
    except (RecursionError, ValueError) as error:
        raise CheckpointError("not a safetensors file, or damaged") from error
    except (KeyError, TypeError) as error:
        raise CheckpointError("not a model of xpnn") from error
    if set(metadata) != {"format", "format_version", "content", "content_sha256"}:
        raise CheckpointError("damaged: its metadata are incomplete, or too many")
    text = metadata["content"]
    if _sha256(text.encode()) != metadata["content_sha256"]:
        raise CheckpointError("damaged: the description does not agree with its SHA-256")
    content = json.loads(text)
    if not isinstance(content, dict) or set(content) != ENTRIES or not _sound(content):
        raise CheckpointError("damaged: its description lacks an entry, or one is of a wrong kind")
    return content


def _sound(content: dict[str, Any]) -> bool:
    """Tell whether each entry is of its kind."""
    names, labels = content["class_names"], content["tensors"]
    counts = [content[key] for key in ("seed", "steps", "epochs")]
    counts += [] if content["total_steps"] is None else [content["total_steps"]]
    return (
        all(type(count) is int and count >= 0 for count in counts)
        and (names is None or (isinstance(names, list) and all(type(n) is str for n in names)))
        and isinstance(content["extra"], dict)
        and isinstance(content["model"], dict | None)
        and isinstance(labels, dict)
        and all(isinstance(entry, dict) for entry in labels.values())
    )


def check_tensors(labels: dict[str, dict[str, Any]], tensors: Tensors) -> None:
    """Compare tensors with what the description says of them.

    Raises
    ------
    CheckpointError
        If they do not agree.
    """
    for key in sorted(labels.keys() ^ tensors.keys()):
        place = "it lacks" if key in labels else "nothing is said of"
        raise CheckpointError(f"damaged: {place} tensor {key}")
    for key, array in tensors.items():
        kind = labels[key].get("kind")
        if kind not in KINDS:
            raise CheckpointError(f"damaged: tensor {key} is of the unknown kind {kind!r}")
        if array.dtype.name not in ("float32", "float64"):
            raise CheckpointError(f"tensor {key} has dtype {array.dtype}; expected floats")
        if label(kind, array) != labels[key]:
            raise CheckpointError(f"damaged: tensor {key} does not agree with its description")
