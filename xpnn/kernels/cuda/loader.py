"""From ``.cu`` files to kernels that CuPy can launch.

A source is compiled for one type and one set of choices at a time, given as macros, when something
first asks for it: so a kernel holds no branch that its arguments never take, and a program compiles
what it uses.
"""

from __future__ import annotations

import functools
import os
import re
from typing import Any

__all__ = ["ARCHITECTURES", "function", "names", "options", "source"]

#: Compute capabilities that every kernel is compiled for in the tests, times ten: Turing, Ampere
#: (A100, RTX 30), Ada, Hopper, Blackwell (B200, RTX 50). CUDA 13 knows none before the first.
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)

_FOLDER = os.path.dirname(__file__)
_INCLUDE = re.compile(r'^#include "([\w.]+)"$', re.MULTILINE)
_REAL = {"float32": "float", "float64": "double"}


def names() -> list[str]:
    """Return the names of the sources.

    Examples
    --------
    >>> " ".join(names())
    'cells columns cross_entropy elements embedding images philox pooled rows update'
    """
    return sorted(file.removesuffix(".cu") for file in os.listdir(_FOLDER) if file.endswith(".cu"))


def source(name: str, dtype: str = "float32", **macros: str) -> str:
    """Return the CUDA C++ of one source, by its name without ``.cu``.

    Parameters
    ----------
    name : str
        One of `names`.
    dtype : {"float32", "float64"}
        What the macro REAL stands for.
    **macros : str
        Other macros, which the head of the source explains.

    Returns
    -------
    str
        The source behind the macros, with the headers beside it in the place of their inclusion,
        each once.
    """
    seen: set[str] = set()

    def text(file: str) -> str:
        if file in seen:
            return ""
        seen.add(file)
        with open(os.path.join(_FOLDER, file), encoding="utf-8") as opened:
            return _INCLUDE.sub(lambda found: text(found[1]), opened.read())

    defined = {"REAL": _REAL[dtype], **macros}
    lines = [f"#define {macro} {value}\n" for macro, value in defined.items()]
    return "".join(lines) + text(f"{name}.cu")


def options() -> tuple[str, ...]:
    """Return the options that NVRTC gets, besides the architecture."""
    return ("--std=c++17",)


@functools.cache
def function(name: str, kernel: str, dtype: str = "float32", **macros: str) -> Any:
    """Return a kernel of a source, which is compiled for a device at the first launch there."""
    return _module(source(name, dtype, **macros)).get_function(kernel)


@functools.cache
def _module(code: str) -> Any:
    # One module serves all devices: CuPy loads it onto each at the first launch there.
    import cupy

    return cupy.RawModule(code=code, options=options())
