"""Data on the host: loading it, checking it, cutting it in two, standardizing it.

Everything here is NumPy. A network never sees these modules: it gets arrays.

Examples
--------
>>> from xpnn.data import Standardization, load
>>> data = load("wine")
>>> standardization = Standardization(data.standardization).fit(data.x_train)
>>> x_train = standardization.transform(data.x_train)
>>> x_train.shape, x_train.dtype.name, data.class_count
((142, 13), 'float32', 3)
"""

from __future__ import annotations

from .checks import check_finite, check_pair
from .dataset import Dataset
from .idx import read_idx
from .loading import load, names
from .splitting import split
from .standardization import Standardization
from .tables import read_csv

__all__ = [
    "Dataset",
    "Standardization",
    "check_finite",
    "check_pair",
    "load",
    "names",
    "read_csv",
    "read_idx",
    "split",
]
