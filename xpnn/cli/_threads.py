"""How many threads a command computes with."""

from __future__ import annotations

from typing import Any

__all__ = ["use_threads"]


def use_threads(settings: dict[str, Any]) -> None:
    """Let as many threads compute as settings say, if they do.

    Raises
    ------
    BackendError
        If NumPy's number of threads cannot be set.
    """
    if "threads" in settings:
        from ..fusion import set_num_threads  # which commands without a network do not need

        set_num_threads(settings["threads"])
