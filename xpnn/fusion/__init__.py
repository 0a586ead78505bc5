"""Fusion: runs of layers become single steps made of compiled kernels.

A network asks `plan` before its first step, and again when its layers, its loss or its optimizer
have been exchanged. ``fuse=False`` on the network turns this off. Nothing falls back silently while
it runs: a step that was planned and cannot run raises.
"""

from __future__ import annotations

from . import threads as _threads
from .planning import Plan, plan
from .threads import num_threads, set_num_threads

__all__ = ["Plan", "num_threads", "plan", "set_num_threads"]

_threads.set_from_environment()
