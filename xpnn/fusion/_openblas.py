"""The OpenBLAS that NumPy's wheels bring along: its number of threads and its products."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Controls", "controls", "gemm_address"]


class Controls(NamedTuple):
    """Functions that read and set how many threads take part in a product."""

    get: Callable[[], int]
    put: Callable[[int], Any]


@cache
def controls() -> Controls | None:
    """Return how to control the number of threads; None if there is no such library."""
    for library in _libraries():
        for prefix in ("scipy_openblas_", "openblas_"):
            for suffix in ("64_", ""):
                get = getattr(library, f"{prefix}get_num_threads{suffix}", None)
                put = getattr(library, f"{prefix}set_num_threads{suffix}", None)
                if get is not None and put is not None:
                    return Controls(get, put)
    return None


@cache
def gemm_address(dtype: str) -> int | None:
    """Return the address of the product of float32 or float64 with 64-bit sizes, if it is there."""
    name = {"float32": "cblas_sgemm64_", "float64": "cblas_dgemm64_"}[dtype]
    for library in _libraries():
        for prefix in ("scipy_", ""):
            function = getattr(library, prefix + name, None)
            if function is not None:
                return ctypes.cast(function, ctypes.c_void_p).value
    return None


def _libraries() -> Iterator[ctypes.CDLL]:
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            yield ctypes.CDLL(str(path))  # NumPy has loaded it: this is the same one
