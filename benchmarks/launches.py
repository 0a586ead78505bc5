"""How many kernels a step launches on a GPU."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

STEPS = 10


def count(step: Callable[[], Any]) -> float | None:
    """Return the launches of a step, on average; None where nothing here can count them.

    PyTorch's profiler sees the kernels of the whole process, CuPy's too. Copies and fills by the
    driver are not counted.
    """
    if os.environ.get("CUPY_ON_CPU"):  # a pretend device, which counts by itself
        import cupy_on_cpu

        before = cupy_on_cpu.stats()["launches"]
        for _ in range(STEPS):
            step()
        return (cupy_on_cpu.stats()["launches"] - before) / STEPS
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
    kernels = [
        event
        for event in profile.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
        and not event.name.lower().startswith(("memcpy", "memset"))
    ]
    return len(kernels) / STEPS
