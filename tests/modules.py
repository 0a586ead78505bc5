"""The modules of xpnn, for tests that look at all of them."""

from __future__ import annotations

import importlib
import pkgutil
import types

import xpnn

#: Packages that a room of its own may need: without them that room cannot be looked at.
OPTIONAL = {
    "cupy",
    "cupyx",
    "llvmlite",
    "mpi4py",
    "numba",
    "onnx",
    "safetensors",
    "sklearn",
    "tqdm",
}


def importable() -> dict[str, types.ModuleType]:
    """Import all modules of xpnn but those that need an optional package that is not there."""
    found = {"xpnn": xpnn}
    for module in pkgutil.walk_packages(xpnn.__path__, "xpnn."):
        if module.name.endswith("__main__"):
            continue
        try:
            found[module.name] = importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in OPTIONAL:
                raise
    return found
