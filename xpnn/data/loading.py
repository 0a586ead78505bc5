"""`load`: one door to every data set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .._checks import checked_number, checked_path
from ..errors import ConfigurationError, DataError, unknown
from ._bundled import BUNDLED, load_bundled
from ._targets import check_task
from .dataset import Dataset
from .layouts import check_layout

__all__ = ["load", "names"]

_IMAGES = ("cifar-10", "fashion-mnist", "mnist")


def names() -> tuple[str, ...]:
    """Return the names of the data sets that `load` knows.

    Returns
    -------
    tuple of str
        In alphabetical order.

    Examples
    --------
    >>> from xpnn.data import names
    >>> names()[:3]
    ('breast-cancer', 'cifar-10', 'diabetes')
    """
    return tuple(sorted((*BUNDLED, *_IMAGES)))


def load(
    name_or_path: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    target: str | int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    task: str | None = None,
    header: bool | None = None,
    layout: str | None = None,
) -> Dataset:
    """Load a data set by its name, or a user's own from a file or a folder.

    ======================= ========================= ===============
    name                    a sample                  standardization
    ======================= ========================= ===============
    digits                  (64,) float64, 0 to 16    set
    wine                    (13,) float64             feature
    breast-cancer           (30,) float64             feature
    iris                    (4,) float64              feature
    diabetes (a regression) (10,) float64             feature
    mnist, fashion-mnist    (28, 28) uint8            set
    cifar-10                (3, 32, 32) uint8         set
    a user's images         two axes or more or uint8 set
    a user's other data     one axis                  feature
    ======================= ========================= ===============

    The last column is the `per` of the `Standardization` that suits the set.

    The first five come with scikit-learn and are split here. The images have a test part
    of their own and lie in `data_dir` or its subfolder of the set's name, in Debian's
    folder (``apt-get install dataset-fashion-mnist``), or in the user's cache (the
    environment variable XPNN_DATA_DIR names another folder). Where they lie in none,
    they are downloaded by pooch, if that is installed, into `data_dir` or the cache. The
    contents of MNIST and Fashion-MNIST are compared with known SHA-256 sums wherever they
    come from, as is a CIFAR-10 that is downloaded. Pickles are never read.

    A user's own data:

    - ``data.npz`` with ``x`` and ``y``, or with ``x_train``, ``y_train``, ``x_test`` and
      ``y_test``;
    - ``"x.npy,y.npy"``, or a folder with ``.npy`` files of the names above;
    - ``data.csv`` with `target`: see `read_csv`;
    - a folder with four IDX files, named like MNIST's.

    Parameters
    ----------
    name_or_path : str or path-like
        A name (upper or lower case, - or _), or a path.
    data_dir : path-like, optional
        Folder of the image sets, which must exist; relative paths are looked up in it, too.
        The sets of scikit-learn need none.
    target : str or int, optional
        Column of a CSV file that holds the targets: its name or its index.
    test_fraction : float
        Share of the rows in the test part, 0 < test_fraction < 1, for data without a test
        part of its own; stratified by class.
    seed : int
        Of the random stream that splits: equal seeds give equal parts on every machine.
    task : {"classification", "regression"}, optional
        For a user's data. By default text and booleans are labels; whole numbers are labels
        if at most 100 are distinct, and at most half as many as rows; floats are quantities.
    header : bool, optional
        Whether a CSV file's first row has names; see `read_csv`.
    layout : {"flat", "images", "sequences"}, optional
        The axes that a network wants, such as (N, C, H, W) for `Conv2d`; see `arrange`. By default
        samples stay as they are stored.

    Returns
    -------
    Dataset
        Samples in their own unit and dtype. Labels are 0 to K - 1 in the order of the values that
        they had, which are the class names.

    Raises
    ------
    ConfigurationError
        For an unknown name, a file of another type, a missing `target`, a fraction out of
        range, and `target`, `task` or `header` where they mean nothing.
    DataError
        If data or a package is missing (the message says what to install, or which files to
        put where), or data is malformed.
    ShapeError
        If the samples cannot have the layout.

    Examples
    --------
    >>> from xpnn.data import load
    >>> load("iris")
    <Dataset iris: 120 + 30 samples of shape (4,), 3 classes>
    >>> load("digits", layout="images")
    <Dataset digits: 1438 + 359 samples of shape (1, 8, 8), 10 classes>
    """
    if layout is None:
        return _load(name_or_path, data_dir, target, test_fraction, seed, task, header)
    check_layout(layout)
    dataset = _load(name_or_path, data_dir, target, test_fraction, seed, task, header)
    return dataset.arranged(layout)


def _load(
    name_or_path: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None,
    target: str | int | None,
    test_fraction: float,
    seed: int,
    task: str | None,
    header: bool | None,
) -> Dataset:
    check_task(task)
    checked_number(
        "load", "test_fraction", test_fraction, low=0, high=1, open_low=True, open_high=True
    )
    folder = None if data_dir is None else Path(data_dir)
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: no such folder (data_dir)")
    name = name_or_path.lower().replace("_", "-") if isinstance(name_or_path, str) else ""
    if name in names():
        _refuse(name, target=target, task=task, header=header)
        return _load_named(name, folder, test_fraction, seed)

    # Only now: their readers take a few milliseconds to import.
    from ._own import SUFFIXES, load_own

    text = os.fspath(checked_path("load: name_or_path", name_or_path))
    base = folder or Path()
    suffix = Path(text).suffix.lower()
    if suffix not in SUFFIXES and not (base / text).is_dir():
        if isinstance(name_or_path, str) and not suffix and os.sep not in text:
            raise ConfigurationError(unknown("data set", text, names()))
        raise ConfigurationError(
            f"{base / text}: neither a folder nor a file {', '.join(SUFFIXES)}"
        )
    if suffix != ".csv":
        _refuse(text, target=target, header=header)
    return load_own(text, base, target, test_fraction, seed, task, header)


def _load_named(name: str, folder: Path | None, test_fraction: float, seed: int) -> Dataset:
    if name in BUNDLED:
        return load_bundled(name, test_fraction, seed)
    from . import _images

    if name == "cifar-10":
        return _images.load_cifar10(folder)
    known = _images.MNIST if name == "mnist" else _images.FASHION_MNIST
    return _images.load_idx_set(known, folder)


def _refuse(name: str, **settings: Any) -> None:
    """Raise for a setting that means nothing for this data."""
    for setting, value in settings.items():
        if value is not None:
            raise ConfigurationError(f"{setting}={value!r} means nothing for {name!r}")
