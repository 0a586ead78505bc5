"""CUDA kernels for CuPy, compiled by NVRTC at their first use and kept in CuPy's cache.

The sources are the ``.cu`` files beside this one, and what they include. `mask` is the only kernel
that a portable step needs: it makes dropout masks on the device. ``xpnn/_on_demand.py`` hands it to
`xpnn.random`, which lies on a lower floor and must not import it. The others are for fused steps.
"""

from __future__ import annotations

from . import cells, embedding, optimizers
from ._launch import Counters
from .chain import ACTIVATIONS, NORMS, Chain
from .cross_entropy import cross_entropy
from .loader import ARCHITECTURES, function, names, options, source
from .masks import mask

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "NORMS",
    "Chain",
    "Counters",
    "cells",
    "cross_entropy",
    "embedding",
    "function",
    "mask",
    "names",
    "optimizers",
    "options",
    "source",
]
