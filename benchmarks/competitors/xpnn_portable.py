"""xpnn where Numba is not installed."""

from __future__ import annotations

import sys

from .xpnn_fused import Xpnn


class XpnnPortable(Xpnn):
    """The fused plan without kernels."""

    key = "xpnn-portable"
    title = "xpnn without Numba"
    modules = ("numpy",)
    distributions = ("numpy", "array-api-compat")
    devices = ("cpu",)

    def __init__(self, device: str, threads: int) -> None:
        sys.modules["numba"] = None  # type: ignore[assignment]  # as if it were not there
        super().__init__(device, threads)
