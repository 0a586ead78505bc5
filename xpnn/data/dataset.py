"""The data set that every loader returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigurationError, DataError, ShapeError
from .checks import check_pair
from .layouts import arrange
from .standardization import PER

__all__ = ["Dataset"]

#: The kinds of problems.
TASKS = ("classification", "regression")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A data set on the host: a training part, a test part, and what they are.

    Parameters
    ----------
    name : str
        What it is called.
    x_train, x_test : numpy.ndarray, shape (N, ...)
        Samples in their own unit and dtype; images are N, H, W or N, C, H, W.
    y_train, y_test : numpy.ndarray
        Targets. Classification: (N,) int64, 0 to K - 1. Regression: (N,) or (N, D).
    task : {"classification", "regression"}
        Kind of problem.
    class_names : tuple of str or None
        K names, the k-th for label k; None for a regression.
    feature_names : tuple of str or None
        Name of each feature, where there are names.
    description : str
        For a reader: what it is and where it comes from.
    standardization : {"feature", "set"}
        The way to standardize that suits it: the `per` of `Standardization`.
    image_shape : tuple of int or None
        Shape of a sample for images that are stored as rows.

    Raises
    ------
    DataError
        If samples and targets differ in number, a part is empty or not numeric, or a label
        is not an int64 from 0 to K - 1.
    ShapeError
        If the samples or the targets of the two parts differ in shape, or the number of names
        differs from the number of features.
    ConfigurationError
        If `task` or `standardization` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn.data import Dataset
    >>> x, y = np.eye(4), np.array([0, 1, 0, 1])
    >>> Dataset("corners", x, y, x, y, "classification", ("even", "odd"))
    <Dataset corners: 4 + 4 samples of shape (4,), 2 classes>
    """

    name: str
    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]
    task: str
    class_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    description: str = ""
    standardization: str = "feature"
    image_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigurationError(f"task={self.task!r}; expected one of {TASKS}")
        if self.standardization not in PER:
            raise ConfigurationError(f"standardization={self.standardization!r}; expected {PER}")
        check_pair(self.x_train, self.y_train, "x_train", "y_train")
        check_pair(self.x_test, self.y_test, "x_test", "y_test")
        for name in ("x", "y"):
            first = getattr(self, f"{name}_train").shape[1:]
            second = getattr(self, f"{name}_test").shape[1:]
            if first != second:
                raise ShapeError(
                    f"a row of {name}_train has shape {first}, one of {name}_test has {second}"
                )
        names, features = self.feature_names, self.x_train.shape[1:]
        if names is not None and (len(names),) != features:
            raise ShapeError(f"{len(names)} feature names for samples of shape {features}")
        if self.task == "classification":
            self._check_labels()
        elif self.class_names is not None:
            raise ConfigurationError("a regression has no classes; class_names must be None")

    def __repr__(self) -> str:
        kind = "regression" if self.class_names is None else f"{self.class_count} classes"
        rows = f"{self.x_train.shape[0]} + {self.x_test.shape[0]} samples"
        return f"<Dataset {self.name}: {rows} of shape {self.x_train.shape[1:]}, {kind}>"

    @property
    def class_count(self) -> int:
        """Number of classes, K; 0 for a regression."""
        return 0 if self.class_names is None else len(self.class_names)

    def arranged(self, layout: str) -> Dataset:
        """Return the data set with samples laid out for a network.

        Parameters
        ----------
        layout : {"flat", "images", "sequences"}
            See `arrange`.

        Raises
        ------
        ConfigurationError
            For an unknown layout.
        ShapeError
            If the samples cannot have it.

        Examples
        --------
        >>> from xpnn.data import load
        >>> load("digits").arranged("images")
        <Dataset digits: 1438 + 359 samples of shape (1, 8, 8), 10 classes>
        """
        x_train, x_test = (
            arrange(x, layout, self.image_shape) for x in (self.x_train, self.x_test)
        )
        same = x_train.shape == self.x_train.shape
        names = self.feature_names if same else None
        return replace(self, x_train=x_train, x_test=x_test, feature_names=names)

    def _check_labels(self) -> None:
        if not self.class_names:
            raise DataError(f"{self.name}: a classification needs class_names")
        for name in ("y_train", "y_test"):
            labels = getattr(self, name)
            if labels.ndim != 1 or labels.dtype != np.int64:
                raise DataError(
                    f"{name} has shape {labels.shape} and dtype {labels.dtype}; "
                    "expected labels of shape (N,) and dtype int64"
                )
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= len(self.class_names):
                raise DataError(
                    f"{name} has labels from {low} to {high}; "
                    f"expected 0 to {len(self.class_names) - 1}"
                )
