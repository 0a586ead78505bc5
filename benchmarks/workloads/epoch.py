"""An epoch of Fashion-MNIST: from arrays, from files through the library's loader; checkpoints."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from ..workload import Workload
from .training_step import TrainingStep

#: Names as MNIST has them, so that every library's reader knows what they are.
FILES = {
    "x_train": "train-images-idx3-ubyte.gz",
    "y_train": "train-labels-idx1-ubyte.gz",
    "x_test": "t10k-images-idx3-ubyte.gz",
    "y_test": "t10k-labels-idx1-ubyte.gz",
}


@dataclass(frozen=True, kw_only=True)
class Epoch(Workload):
    """60 000 images in random order, in batches of 128, tensors in memory.

    A step is an epoch and returns its mean loss. Epoch after epoch trains on.
    """

    kind = "epoch"
    steps_to_check = 2

    net: TrainingStep
    rows: int = 60_000
    shuffle: bool = True
    folder: str = ""

    def small(self) -> Self:
        """Return a few batches in their order, the last of them short."""
        return replace(self, rows=4 * 32 + 8, shuffle=False, net=replace(self.net.small(), l2=0.0))

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return images (rows, 784) of float32, standardized, and labels (rows,) of int64."""
        x, y = (np.load(Path(self.folder) / "arrays" / f"{name}.npy") for name in "xy")
        return (x, y) if len(x) == self.rows else (x[: self.rows].copy(), y[: self.rows].copy())


@dataclass(frozen=True, kw_only=True)
class EpochWithCheckpoint(Epoch):
    """The same epoch, with a checkpoint at its end, all of it on the disk."""

    kind = "epoch_with_checkpoint"


@dataclass(frozen=True, kw_only=True)
class WriteCheckpoint(EpochWithCheckpoint):
    """The checkpoint by itself: network and optimizer after a step, over the file of before."""

    kind = "write_checkpoint"
    steps_to_check = 1

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the first batch of the epoch."""
        x, y = self.arrays()
        return x[: self.net.batch], y[: self.net.batch]


@dataclass(frozen=True, kw_only=True)
class EpochFromFiles(Epoch):
    """Read the four compressed files, standardize the images, and train an epoch.

    Batches come as the library's users mostly make them. The network is there already.
    """

    kind = "epoch_from_files"
    steps_to_check = 1

    @property
    def files(self) -> Path:
        """The folder of the files."""
        return Path(self.folder) / "files"

    def read(self) -> dict[str, np.ndarray]:
        """Read the files with Python's own means, for libraries that have no reader."""
        parts = {}
        for name, file in FILES.items():
            content = gzip.decompress((self.files / file).read_bytes())
            axes = content[3]
            shape = struct.unpack_from(f">{axes}I", content, 4)
            parts[name] = np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
        return parts


def prepare_files(folder: Path | None, small_folder: Path, files: bool) -> str:
    """Write the data of the workloads here into two folders; return what the data are.

    Parameters
    ----------
    folder : Path or None
        For the measurements, if there will be any.
    small_folder : Path
        For `Workload.small`.
    files : bool
        Whether compressed files are wanted, too, which take seconds to write.
    """
    title, parts = _load()
    small = {name: array[: 4 * 32 + 8] for name, array in parts.items()}
    for place, arrays, compressed in ((folder, parts, files), (small_folder, small, True)):
        if place is None:
            continue
        (place / "arrays").mkdir(parents=True)
        np.save(place / "arrays" / "x.npy", standardized(arrays["x_train"]))
        np.save(place / "arrays" / "y.npy", arrays["y_train"].astype(np.int64))
        if compressed:
            (place / "files").mkdir()
            for name, array in arrays.items():
                header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
                content = header + array.astype(np.uint8).tobytes()
                (place / "files" / FILES[name]).write_bytes(gzip.compress(content, 6))
    return title


def _load() -> tuple[str, dict[str, np.ndarray]]:
    """Return Fashion-MNIST, or random numbers of its shape where it is not installed."""
    from xpnn.data import load
    from xpnn.errors import DataError

    try:
        found = load("fashion-mnist")
    except DataError:
        random = np.random.default_rng(0)
        parts = {}
        for part, rows in (("train", 60_000), ("test", 10_000)):
            parts[f"x_{part}"] = random.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
            parts[f"y_{part}"] = random.integers(0, 10, rows)
        return "random numbers in the shape of Fashion-MNIST, which is not installed", parts
    return "Fashion-MNIST", {name: getattr(found, name) for name in FILES}


def standardized(images: np.ndarray) -> np.ndarray:
    """Return (N, 784) of float32 with mean 0 and deviation 1 over the set."""
    x = images.reshape(len(images), -1).astype(np.float32)
    x -= x.mean(dtype=np.float64)
    x /= x.std(dtype=np.float64)
    return x


_NET = TrainingStep(name="", group="", column="", batch=128, width=512, optimizer="sgd")
_ADAM = replace(_NET, optimizer="adam", lr=1e-3)
_WITH_SGD = "Epoch of Fashion-MNIST, 784-512-512-10"
_WITH_ADAM = "Epoch of Fashion-MNIST, 784-512-512-10, Adam"

WORKLOADS = [
    Epoch(
        name="epoch",
        group=_WITH_SGD,
        column="arrays in memory",
        goal=1.5,
        net=_NET,
    ),
    EpochWithCheckpoint(
        name="epoch-with-checkpoint",
        group=_WITH_SGD,
        column="and a checkpoint",
        net=_NET,
    ),
    WriteCheckpoint(
        name="write-checkpoint", group=_WITH_SGD, column="writing the checkpoint alone", net=_NET
    ),
    Epoch(name="epoch-adam", group=_WITH_ADAM, column="arrays in memory", net=_ADAM),
    EpochWithCheckpoint(
        name="epoch-adam-with-checkpoint", group=_WITH_ADAM, column="and a checkpoint", net=_ADAM
    ),
    WriteCheckpoint(
        name="write-checkpoint-adam",
        group=_WITH_ADAM,
        column="writing the checkpoint alone",
        net=_ADAM,
    ),
    EpochFromFiles(
        name="epoch-from-files",
        group="Epoch of Fashion-MNIST, 784-512-512-10, from files",
        column="reading included",
        net=_NET,
    ),
]
