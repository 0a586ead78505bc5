"""Kernels for NumPy arrays, compiled by Numba: serial loops over whole rows.

They run on the thread that calls them, beside the threads of NumPy's matrix products. Two pools of
threads that wait for each other cost ten times what a second core gains. Every loop is written so
that LLVM turns it into vector code, and sums are taken in an order that is fixed when it is
compiled: results repeat bit for bit on one machine. NaN and infinity come through.
"""

from __future__ import annotations

__all__: list[str] = []
