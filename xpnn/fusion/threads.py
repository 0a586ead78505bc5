"""How many threads compute: those of NumPy's matrix products.

xpnn's own kernels run on the thread that calls them. There is one pool of threads, that of the
library behind NumPy's products (OpenBLAS in NumPy's wheels), so none waits for another's. The
environment variable ``XPNN_NUM_THREADS`` sets its size when this package is loaded, which a
network does before its first step.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BackendError, ConfigurationError

__all__ = ["num_threads", "set_from_environment", "set_num_threads"]

_VARIABLE = "XPNN_NUM_THREADS"


def num_threads() -> int | None:
    """Return how many threads NumPy's matrix products take; None if nobody can tell.

    Examples
    --------
    >>> import xpnn
    >>> xpnn.fusion.num_threads() in (None, *range(1, 1025))
    True
    """
    found = _controls()
    return None if found is None else int(found[0]())


def set_num_threads(count: int) -> None:
    """Set how many threads NumPy's matrix products take, in the whole process.

    Parameters
    ----------
    count : int
        At least 1. The processor's number of cores is a good choice, unless others use them.

    Raises
    ------
    ConfigurationError
        If the count is not a positive integer.
    BackendError
        If this NumPy is not built on an OpenBLAS that can be found. Its own environment variables
        then are the way.

    Examples
    --------
    >>> import xpnn
    >>> xpnn.fusion.set_num_threads(0)
    Traceback (most recent call last):
        ...
    xpnn.errors.ConfigurationError: threads: expected a whole number of at least 1, got 0
    """
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise ConfigurationError(f"threads: expected a whole number of at least 1, got {count!r}")
    found = _controls()
    if found is None:
        raise BackendError(
            "the number of threads cannot be set: this NumPy has no OpenBLAS of its own. Set what "
            "its library reads, such as OMP_NUM_THREADS or MKL_NUM_THREADS, before the start"
        )
    found[1](int(count))


def set_from_environment() -> None:
    """Do what ``XPNN_NUM_THREADS`` says, if it is set."""
    text = os.environ.get(_VARIABLE)
    if not text:
        return
    try:
        count = int(text)
    except ValueError:
        raise ConfigurationError(f"{_VARIABLE}: expected a whole number, got {text!r}") from None
    set_num_threads(count)


@cache
def _controls() -> tuple[Callable[[], int], Callable[[int], Any]] | None:
    """Find the functions of the OpenBLAS that NumPy's wheel brings along."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            library = ctypes.CDLL(str(path))  # NumPy has loaded it: this is the same one
            for prefix in ("scipy_openblas_", "openblas_"):
                for suffix in ("64_", ""):
                    get = getattr(library, f"{prefix}get_num_threads{suffix}", None)
                    put = getattr(library, f"{prefix}set_num_threads{suffix}", None)
                    if get is not None and put is not None:
                        return get, put
    return None
