"""The format of model files: safetensors, with a description and digests in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .._standard import Array, dtype_name
from .._version import __version__
from ..errors import CheckpointError, ConfigurationError
from ._container import (
    Path,
    Tensors,
    numbers,
    read_header,
    read_tensors,
    write_tensors,
)

__all__ = ["check_tensors", "decode", "encode"]

FORMAT = "xpnn"
VERSION = "1"
KINDS = ("parameter", "buffer", "standardization", "optimizer", "training")
ENTRIES = {
    "class_names",
    "epochs",
    "extra",
    "model",
    "seed",
    "steps",
    "tensors",
    "total_steps",
    "training",
    "xpnn_version",
}


def label(kind: str, tensor: Array) -> dict[str, Any]:
    """Say what a tensor is, with the SHA-256 of its numbers."""
    return {
        "kind": kind,
        "dtype": dtype_name(tensor),
        "shape": list(tensor.shape),
        "sha256": _sha256(numbers(tensor)),
    }


def encode(
    path: Path, content: dict[str, Any], tensors: Mapping[str, Array], kinds: Mapping[str, str]
) -> None:
    """Write a file: what there is to say of a network, and tensors of any library.

    No more than one tensor at a time is copied.
    """
    content = content | {"tensors": {key: label(kinds[key], t) for key, t in tensors.items()}}
    try:
        text = json.dumps(content, allow_nan=False)
    except (RecursionError, TypeError, ValueError) as error:
        place = "extra" if content["training"] is None else "extra, or the state of a callback"
        raise ConfigurationError(f"{place}: JSON cannot hold it: {error}") from error
    metadata = {
        "format": FORMAT,
        "format_version": VERSION,
        "content": text,
        "content_sha256": _sha256(text.encode()),
    }
    write_tensors(path, tensors, metadata)


def decode(path: Path) -> tuple[dict[str, Any], Tensors]:
    """Return what a file says of its network, and its tensors, after a look at all of it."""
    header = read_header(path)
    content = _content(header.metadata)
    tensors = read_tensors(path, header)
    check_tensors(content["tensors"], tensors)
    return content, tensors


def _sha256(content: bytes | memoryview) -> str:
    import hashlib  # takes longer to load than the rest of this module

    return hashlib.sha256(content).hexdigest()


def _content(metadata: dict[str, str]) -> dict[str, Any]:
    """Return the description in the metadata of a file."""
    if metadata.get("format") != FORMAT or "format_version" not in metadata:
        raise CheckpointError("not a model of xpnn")
    version = metadata["format_version"]
    if version != VERSION:
        raise CheckpointError(
            f"written in format {version}; this xpnn {__version__} reads format {VERSION}"
        )
    if set(metadata) != {"format", "format_version", "content", "content_sha256"}:
        raise CheckpointError("damaged: its metadata are incomplete, or too many")
    text = metadata["content"]
    if _sha256(text.encode()) != metadata["content_sha256"]:
        raise CheckpointError("damaged: the description does not agree with its SHA-256")
    try:
        content = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise CheckpointError("damaged: its description is no JSON") from error
    # A file of an earlier day has no entry for a training.
    if isinstance(content, dict):
        content = {"training": None} | content
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
        and isinstance(content["training"], dict | None)
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
        if label(kind, array) != labels[key]:
            raise CheckpointError(f"damaged: tensor {key} does not agree with its description")
