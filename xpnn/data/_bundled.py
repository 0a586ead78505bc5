"""The data sets that come with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import DataError
from .dataset import Dataset
from .splitting import split


@dataclass(frozen=True)
class _Bundled:
    loader: str
    task: str
    standardization: str
    description: str


BUNDLED = {
    # Images: "feature" would blow up the pixels at the edge, which hardly ever change.
    "digits": _Bundled(
        "load_digits",
        "classification",
        "set",
        "8 x 8 grey images of handwritten digits, values 0 to 16. E. Alpaydin, C. Kaynak "
        "(1998), UCI Machine Learning Repository.",
    ),
    "wine": _Bundled(
        "load_wine",
        "classification",
        "feature",
        "Chemical analyses of the wines of three growers. S. Aeberhard, M. Forina (1991), UCI "
        "Machine Learning Repository.",
    ),
    "breast-cancer": _Bundled(
        "load_breast_cancer",
        "classification",
        "feature",
        "Measurements of cell nuclei, malignant or benign. W. Wolberg, O. Mangasarian, "
        "N. Street, W. Street (1995), UCI Machine Learning Repository.",
    ),
    "iris": _Bundled(
        "load_iris",
        "classification",
        "feature",
        "Lengths and widths of sepals and petals of three irises. R. A. Fisher (1936).",
    ),
    "diabetes": _Bundled(
        "load_diabetes",
        "regression",
        "feature",
        "Ten measurements of diabetes patients, and how far the disease went in a year. "
        "B. Efron, T. Hastie, I. Johnstone, R. Tibshirani (2004).",
    ),
}


def load_bundled(name: str, test_fraction: float, seed: int) -> Dataset:
    """Load one of `BUNDLED` and split it."""
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise DataError(f"{name} comes with scikit-learn: pip install scikit-learn") from error
    known = BUNDLED[name]
    # The diabetes data as measured: scaled ones would have seen the test part.
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, known.loader)(**options)
    labels = known.task == "classification"
    x = np.asarray(bunch.data, dtype=np.float64)
    y = np.asarray(bunch.target, dtype=np.int64 if labels else np.float64)
    (x_train, y_train), (x_test, y_test) = split(
        x, y, fraction=test_fraction, seed=seed, stratify=y if labels else None
    )
    return Dataset(
        name=name,
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        task=known.task,
        class_names=tuple(map(str, bunch.target_names)) if labels else None,
        feature_names=tuple(map(str, bunch.feature_names)),
        description=f"{known.description} From scikit-learn.",
        standardization=known.standardization,
        image_shape=(8, 8) if name == "digits" else None,
    )
