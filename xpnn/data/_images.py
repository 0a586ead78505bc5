"""MNIST, Fashion-MNIST and CIFAR-10: what they are, where they lie, and their loading."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from . import _cifar
from ._download import cache_folder, download
from .dataset import Dataset
from .idx import read_idx

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
IDX_FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


@dataclass(frozen=True)
class IdxSet:
    """A data set of four IDX files.

    `hashes` are the SHA-256 of the decompressed files, in the order of `IDX_FILES`: the same
    for every compression, so they hold for Debian's files and for the authors'.
    """

    name: str
    description: str
    class_names: tuple[str, ...]
    hashes: tuple[str, str, str, str]
    mirrors: tuple[str, ...]
    system_folders: tuple[str, ...] = ()


FASHION_MNIST = IdxSet(
    name="fashion-mnist",
    description=(
        "Fashion-MNIST: 28 x 28 grey images of articles of clothing, 60,000 to train and "
        "10,000 to test. H. Xiao, K. Rasul, R. Vollgraf (2017), Zalando SE, MIT licence."
    ),
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    hashes=(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    system_folders=("/usr/share/datasets/fashion-mnist",),
)

MNIST = IdxSet(
    name="mnist",
    description=(
        "MNIST: 28 x 28 grey images of handwritten digits, 60,000 to train and 10,000 to "
        "test. Y. LeCun, C. Cortes, C. Burges (1998)."
    ),
    class_names=tuple("0123456789"),
    hashes=(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR10_DESCRIPTION = (
    "CIFAR-10: 32 x 32 colour images, 50,000 to train and 10,000 to test. A. Krizhevsky, "
    "V. Nair, G. Hinton (2009)."
)
CIFAR10_MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
CIFAR10_ARCHIVE_HASH = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"


def load_idx_set(known: IdxSet, data_dir: Path | None) -> Dataset:
    """Load MNIST or Fashion-MNIST from where it lies, or download it."""
    for folder in _folders(known.name, data_dir, known.system_folders):
        if files := find_idx_files(folder):
            break
    else:
        folder = (data_dir or cache_folder()) / known.name
        try:
            for name, digest in zip(IDX_FILES, known.hashes, strict=True):
                urls = [f"{mirror}{name}.gz" for mirror in known.mirrors]
                download(urls, folder / f"{name}.gz", partial(_read_known, digest=digest))
        except DataError as error:
            wanted = f"{', '.join(IDX_FILES)} (plain or .gz)"
            raise _not_found(known.name, data_dir, known.system_folders, wanted, error) from error
        files = find_idx_files(folder)
    arrays = [
        _read_known(files[name], digest)
        for name, digest in zip(IDX_FILES, known.hashes, strict=True)
    ]
    return _idx_dataset(known.name, arrays, known.class_names, known.description, folder)


def load_idx_folder(folder: Path) -> Dataset:
    """Load four IDX files of anybody's images, named like MNIST's."""
    files = find_idx_files(folder)
    arrays = [read_idx(files[name]) for name in IDX_FILES]
    for array, name in zip(arrays, IDX_FILES, strict=True):
        if "labels" in name and (array.ndim != 1 or array.dtype.kind not in "iu"):
            raise DataError(
                f"{files[name]}: shape {array.shape} and dtype {array.dtype}; expected labels"
            )
        if array.size == 0:
            raise DataError(f"{files[name]}: empty: its shape is {array.shape}")
    low, high = int(min(arrays[1].min(), arrays[3].min())), int(max(map(np.max, arrays[1::2])))
    if low < 0 or high > 0xFFFF:
        raise DataError(f"{folder}: labels from {low} to {high}; expected 0 to at most 65535")
    names = tuple(str(k) for k in range(high + 1))
    return _idx_dataset(folder.resolve().name, arrays, names, "IDX files", folder)


def find_idx_files(folder: Path) -> dict[str, Path]:
    """Return the paths of the four files, or nothing if none is there.

    Raises
    ------
    DataError
        If some of them are there and some not.
    """
    files = {}
    for name in IDX_FILES:
        dotted = name.replace("-idx", ".idx")
        for candidate in (name, dotted, f"{name}.gz", f"{dotted}.gz"):
            if (folder / candidate).is_file():
                files[name] = folder / candidate
                break
    if files and len(files) < len(IDX_FILES):
        missing = ", ".join(name for name in IDX_FILES if name not in files)
        raise DataError(f"{folder}: has {len(files)} of the four IDX files; missing: {missing}")
    return files


def load_cifar10(data_dir: Path | None) -> Dataset:
    """Load CIFAR-10's binary version from where it lies, or download it."""
    place = _find_cifar10(data_dir)
    if place is None:
        place = (data_dir or cache_folder()) / "cifar-10" / _cifar.ARCHIVE
        urls = [f"{mirror}{_cifar.ARCHIVE}" for mirror in CIFAR10_MIRRORS]
        try:
            download(urls, place, partial(_check_file, digest=CIFAR10_ARCHIVE_HASH))
        except DataError as error:
            wanted = f"{_cifar.ARCHIVE}, or {', '.join(_cifar.FILES)}"
            note = "its Python version holds pickles, which are never read"
            raise _not_found("cifar-10", data_dir, (), f"{wanted} ({note})", error) from error
    (x_train, y_train), (x_test, y_test) = _cifar.read_cifar10(place)
    return Dataset(
        name="cifar-10",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        task="classification",
        class_names=CIFAR10_CLASSES,
        description=f"{CIFAR10_DESCRIPTION} From {place}.",
        standardization="set",
    )


def _find_cifar10(data_dir: Path | None) -> Path | None:
    for folder in _folders("cifar-10", data_dir, ()):
        for place in (folder, folder / "cifar-10-batches-bin"):
            if any((place / name).is_file() for name in _cifar.FILES):
                return place
        if (folder / _cifar.ARCHIVE).is_file():
            return folder / _cifar.ARCHIVE
    return None


def _folders(name: str, data_dir: Path | None, system: tuple[str, ...]) -> Iterator[Path]:
    """Yield the folders where a data set may lie, in the order in which they count."""
    if data_dir is not None:
        yield data_dir
        yield data_dir / name
    yield from map(Path, system)
    yield cache_folder() / name


def _not_found(
    name: str, data_dir: Path | None, system: tuple[str, ...], wanted: str, error: DataError
) -> DataError:
    places = ", ".join(str(folder) for folder in _folders(name, data_dir, system))
    return DataError(f"{name} is in none of: {places}. Put there: {wanted}; {error}")


def _read_known(path: Path, digest: str) -> NDArray[Any]:
    """Read an IDX file whose decompressed content is known."""
    found = hashlib.sha256()
    array = read_idx(path, found.update)
    _compare(path, found.hexdigest(), digest)
    return array


def _check_file(path: Path, digest: str) -> None:
    with open(path, "rb") as file:
        _compare(path, hashlib.file_digest(file, "sha256").hexdigest(), digest)


def _compare(path: Path, found: str, digest: str) -> None:
    if found != digest:
        raise DataError(
            f"{path}: not the known file of that name: SHA-256 of its content is {found}, expected "
            f"{digest}. For other images, load the folder itself: load('{path.parent}')"
        )


def _idx_dataset(
    name: str,
    arrays: list[NDArray[Any]],
    class_names: tuple[str, ...],
    description: str,
    folder: Path,
) -> Dataset:
    x_train, y_train, x_test, y_test = arrays
    return Dataset(
        name=name,
        x_train=x_train,
        y_train=y_train.astype(np.int64),
        x_test=x_test,
        y_test=y_test.astype(np.int64),
        task="classification",
        class_names=class_names,
        description=f"{description} From {folder}.",
        standardization="set",
    )
