"""From a ``.cu`` file to a module of kernels that CuPy can launch."""

from __future__ import annotations

import functools
import os
from typing import Any

__all__ = ["ARCHITECTURES", "module", "names", "options", "source"]

#: Compute capabilities that every kernel is compiled for in the tests, times ten: Turing, Ampere
#: (A100, RTX 30), Ada, Hopper, Blackwell (B200, RTX 50). CUDA 13 knows none before the first.
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)

_FOLDER = os.path.dirname(__file__)


def names() -> list[str]:
    """Return the names of the sources.

    Examples
    --------
    >>> names()
    ['philox']
    """
    return sorted(file.removesuffix(".cu") for file in os.listdir(_FOLDER) if file.endswith(".cu"))


def source(name: str) -> str:
    """Return the CUDA C++ of one source, by its name without ``.cu``."""
    with open(os.path.join(_FOLDER, f"{name}.cu"), encoding="utf-8") as file:
        return file.read()


def options() -> tuple[str, ...]:
    """Return the options that NVRTC gets, besides the architecture."""
    return ("--std=c++17",)


@functools.cache
def module(name: str) -> Any:
    """Return a source as CuPy's module, from which kernels are taken by their names.

    One module serves all devices: CuPy loads it onto each at the first launch there.
    """
    import cupy

    return cupy.RawModule(code=source(name), options=options())
