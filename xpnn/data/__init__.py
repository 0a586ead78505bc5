"""Data on the host: loading it, checking it, cutting it in two, laying it out, standardizing it.

Everything here is NumPy. A network never sees these modules: it gets arrays. The readers are
imported when they are first asked for, so that ``import xpnn`` stays quick.

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

import importlib
from typing import TYPE_CHECKING, Any

from .checks import check_finite, check_pair
from .splitting import split

if TYPE_CHECKING:
    from .dataset import Dataset
    from .idx import read_idx
    from .layouts import arrange
    from .loading import load, names
    from .standardization import Standardization
    from .tables import read_csv
    from .text import CharacterText, Vocabulary, load_text, windows

__all__ = [
    "CharacterText",
    "Dataset",
    "Standardization",
    "Vocabulary",
    "arrange",
    "check_finite",
    "check_pair",
    "load",
    "load_text",
    "names",
    "read_csv",
    "read_idx",
    "split",
    "windows",
]

_HOMES = {
    "CharacterText": "text",
    "Dataset": "dataset",
    "Standardization": "standardization",
    "Vocabulary": "text",
    "arrange": "layouts",
    "load": "loading",
    "load_text": "text",
    "names": "loading",
    "read_csv": "tables",
    "read_idx": "idx",
    "windows": "text",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value  # found directly from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
