"""Loops over raw arrays, for what the array API standard cannot say fast enough or at all.

Kernels know no layer and no network, and importing this package loads neither Numba nor CuPy: a
kernel is compiled when it is first used.
"""

from __future__ import annotations

__all__: list[str] = []
