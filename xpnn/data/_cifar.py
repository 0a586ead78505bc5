"""CIFAR-10 in its binary version: records of a label and an image, no pickles."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILE = "test_batch.bin"
FILES = (*TRAIN_FILES, TEST_FILE)
ARCHIVE = "cifar-10-binary.tar.gz"

IMAGE_SHAPE = (3, 32, 32)
RECORD_BYTES = 1 + 3 * 32 * 32
RECORDS_PER_FILE = 10_000
CLASSES = 10

_Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def read_cifar10(path: str | os.PathLike[str]) -> tuple[_Part, _Part]:
    """Read CIFAR-10 from a folder of its six `.bin` files or from the archive of them.

    A record is one byte, the label from 0 to 9, and 3072 bytes, the red, green and blue
    planes of 32 rows of 32 pixels; a file is 10,000 records. The training files have each
    label 5000 times together, the test file 1000 times: this is checked. Nothing of an
    archive is written to disk, and only plain files of the six names are looked at.

    Parameters
    ----------
    path : path-like
        The folder, or a `.tar.gz` or `.tar` file.

    Returns
    -------
    train, test : tuple of numpy.ndarray
        Images (50000, 3, 32, 32) and (10000, 3, 32, 32), uint8, with labels, int64.

    Raises
    ------
    DataError
        If a file is missing, there twice, of the wrong length or damaged, or labels are out
        of range or not as many as they should be.

    Notes
    -----
    Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009),
    and the page of the data set.
    """
    path = Path(path)
    contents = _read_folder(path) if path.is_dir() else _read_archive(path)
    missing = [name for name in FILES if name not in contents]
    if missing:
        raise DataError(f"{path}: lacks {', '.join(missing)} of CIFAR-10's binary version")
    parts = {name: _records(f"{path}: {name}", contents.pop(name)) for name in FILES}
    train = (
        np.concatenate([parts[name][0] for name in TRAIN_FILES]),
        np.concatenate([parts[name][1] for name in TRAIN_FILES]),
    )
    test = parts[TEST_FILE]
    for (_, labels), kind in ((train, "training"), (test, "test")):
        counts = np.bincount(labels, minlength=CLASSES)
        if (counts != labels.size // CLASSES).any():
            raise DataError(
                f"{path}: its {kind} labels occur {counts.tolist()} times; CIFAR-10 has each "
                f"{labels.size // CLASSES} times"
            )
    return train, test


def _records(name: str, content: bytes) -> _Part:
    """Cut one file into images and labels."""
    expected = RECORDS_PER_FILE * RECORD_BYTES
    if len(content) != expected:
        raise DataError(f"{name}: {len(content)} bytes; expected {expected}")
    records = np.frombuffer(content, dtype=np.uint8).reshape(RECORDS_PER_FILE, RECORD_BYTES)
    labels = records[:, 0].astype(np.int64)
    wrong = np.flatnonzero(labels >= CLASSES)
    if wrong.size:
        row = int(wrong[0])
        raise DataError(f"{name}: record {row} has the label {labels[row]}; expected 0 to 9")
    images = records[:, 1:].reshape(RECORDS_PER_FILE, *IMAGE_SHAPE)
    return np.ascontiguousarray(images), labels


def _read_folder(folder: Path) -> dict[str, bytes]:
    contents = {}
    for name in FILES:
        file = folder / name
        try:
            if not file.exists():
                continue
            if file.stat().st_size == RECORDS_PER_FILE * RECORD_BYTES:
                contents[name] = file.read_bytes()
            else:
                raise DataError(
                    f"{file}: {file.stat().st_size} bytes; "
                    f"expected {RECORDS_PER_FILE * RECORD_BYTES}"
                )
        except OSError as error:
            raise DataError(f"{file}: {error.strerror or error}") from error
    return contents


def _read_archive(path: Path) -> dict[str, bytes]:
    """Read the six files out of an archive, whatever else and wherever it says they are."""
    contents: dict[str, bytes] = {}
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.GzipFile(fileobj=file) if zipped else file as stream:
                with tarfile.open(fileobj=stream, mode="r|") as archive:
                    for member in archive:
                        name = member.name.rpartition("/")[2]
                        if name not in FILES or not member.isreg():
                            continue
                        if name in contents:
                            raise DataError(f"{path}: has {name} twice")
                        if member.size != RECORDS_PER_FILE * RECORD_BYTES:
                            raise DataError(
                                f"{path}: {name}: {member.size} bytes; "
                                f"expected {RECORDS_PER_FILE * RECORD_BYTES}"
                            )
                        content = archive.extractfile(member)
                        contents[name] = b"" if content is None else content.read()
                # gzip compares its checksum when the end is reached; tarfile stops before.
                while stream.read(1 << 20):
                    pass
    except DataError:
        raise
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise DataError(f"{path}: not an undamaged .tar or .tar.gz file: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    return contents
