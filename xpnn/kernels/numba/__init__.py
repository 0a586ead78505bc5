"""Kernels for NumPy arrays, compiled by Numba: loops over whole rows.

Each comes for the thread that calls it and for Numba's pool of threads, which share its parts.
OpenBLAS's threads and the pool never work on the same step: two pools of threads that wait for each
other cost ten times what a second core gains. Every loop is written so that LLVM turns it into
vector code, and sums are taken in an order that is fixed when it is compiled: results repeat bit
for bit on one machine, whoever does the parts. NaN and infinity come through.
"""

from __future__ import annotations

__all__: list[str] = []
