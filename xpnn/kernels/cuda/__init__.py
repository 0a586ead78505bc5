"""CUDA kernels for CuPy, compiled by NVRTC at their first use and kept in CuPy's cache.

The sources are the ``.cu`` files beside this one. `mask` is the only kernel that a portable step
needs: it makes dropout masks on the device. ``xpnn/__init__.py`` hands it to `xpnn.random`, which
lies on a lower floor and must not import it.
"""

from __future__ import annotations

from .loader import ARCHITECTURES, module, names, options, source
from .masks import mask

__all__ = ["ARCHITECTURES", "mask", "module", "names", "options", "source"]
