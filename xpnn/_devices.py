"""The array libraries: how each is imported, and how the name of a device becomes its device."""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from .errors import BackendError, OutOfMemoryError, readable_bytes

__all__ = ["BACKENDS", "OPEN", "check_cupy", "cupy_memory", "cupy_scope", "import_library"]

#: Library to the namespace that keeps the standard, and how to install it.
BACKENDS: dict[str, tuple[str, str]] = {
    "numpy": ("numpy", "pip install numpy"),
    "cupy": (
        "array_api_compat.cupy",
        "pip install 'xpnn[cuda13]' or 'xpnn[cuda12]', whichever the driver supports",
    ),
    "torch": ("array_api_compat.torch", "pip install torch"),
    "jax": ("jax.numpy", "pip install jax"),
    "dpnp": ("dpnp", "pip install dpnp"),
    "array_api_strict": ("array_api_strict", "pip install array-api-strict"),
}


def import_library(name: str) -> Any:
    module, hint = BACKENDS[name]
    try:
        return importlib.import_module(module)
    except Exception as error:  # a broken library may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            reason = "is not installed on this machine"
        else:
            causes = (error, error.__cause__) if error.__cause__ is not None else (error,)
            reason = f"cannot be imported: {' '.join(map(_first_line, causes))}"
        raise BackendError(f"back end {name!r} {reason}: {hint}") from error


def _first_line(error: BaseException) -> str:
    """Return the first line of a message that has words in it."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if any(map(str.isalnum, line))), type(error).__name__)


def _unknown_device(name: str, device: str, known: str) -> BackendError:
    return BackendError(f"back end {name!r} has no device {device!r}: use {known}")


def _cuda_index(name: str, device: str) -> int:
    """Read "cuda" or "cuda:1"."""
    match = re.fullmatch(r"cuda(?::(\d+))?", device)
    if match is None:
        known = "'cuda' or 'cuda:<index>'" + ("" if name == "cupy" else " or 'cpu'")
        raise _unknown_device(name, device, known)
    return int(match[1] or 0)


def _open_numpy(xp: Any, device: str | None) -> Any:
    if device not in (None, "cpu"):
        raise _unknown_device("numpy", str(device), "'cpu', or back end 'cupy' for a CUDA GPU")
    return "cpu"


def _open_cupy(xp: Any, device: str | None) -> Any:
    import cupy

    runtime = cupy.cuda.runtime
    index = _cuda_index("cupy", device or "cuda")
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        driver = runtime.driverGetVersion()
        needed = runtime.runtimeGetVersion() // 1000
        if driver == 0:
            reason = "no NVIDIA driver was found"
        elif driver // 1000 < needed:
            reason = (
                f"the NVIDIA driver supports CUDA {driver // 1000}.{driver % 1000 // 10}, "
                f"this CuPy needs CUDA {needed}: update the driver"
                + (" or install 'xpnn[cuda12]'" if needed > 12 else "")
            )
        else:
            reason = _first_line(error)
        raise BackendError(f"no CUDA device can be used: {reason}") from error
    if index >= count:
        raise BackendError(f"there is no device 'cuda:{index}': this machine has {count}")
    check_cupy(index)
    return cupy.cuda.Device(index)


@contextlib.contextmanager
def cupy_scope(device: Any) -> Iterator[None]:
    import cupy

    try:
        with device:
            yield
    except cupy.cuda.memory.OutOfMemoryError as error:
        asked = re.search(r"allocating ([\d,]+) bytes", str(error))
        wanted = readable_bytes(int(asked[1].replace(",", ""))) if asked else "more"
        free, used, total = map(readable_bytes, cupy_memory(device))
        raise OutOfMemoryError(
            f"device cuda:{device.id} is out of memory: {wanted} wanted, {free} free, {used} in "
            f"use here, {total} in all. Try a smaller batch_size, a smaller network, or "
            "resident=False, which leaves the data on the host"
        ) from error


def cupy_memory(device: Any) -> tuple[int, int, int]:
    """Return how many bytes can be had on a device, are in use by CuPy, and are there in all."""
    import cupy

    with device:
        pool = cupy.get_default_memory_pool()
        free, total = cupy.cuda.runtime.memGetInfo()
        free += pool.free_bytes()
        limit = pool.get_limit()
        if limit:
            free, total = min(free, limit - pool.used_bytes()), min(total, limit)
        return free, pool.used_bytes(), total


@functools.cache
def check_cupy(index: int) -> None:
    """Compile one kernel and make one product: the libraries that CuPy's wheels leave out."""
    import cupy

    def square() -> Any:
        return cupy.arange(4, dtype=cupy.float32).reshape(2, 2)  # this, too, is a kernel

    hint = BACKENDS["cupy"][1]
    with cupy_scope(cupy.cuda.Device(index)):
        steps: list[tuple[str, Callable[[], Any], float]] = [
            ("compile a kernel (NVRTC)", lambda: (square() + 1).sum(), 10.0),
            ("multiply matrices (cuBLAS)", lambda: (square() @ square())[1, 1], 11.0),
        ]
        for what, run, expected in steps:
            try:
                result = float(run())
            except MemoryError:
                raise  # the libraries are not to blame
            except Exception as error:
                raise BackendError(
                    f"CuPy sees device cuda:{index} but cannot {what}: "
                    f"{_first_line(error).rstrip('.')}; install the CUDA libraries: {hint}"
                ) from error
            if result != expected:
                raise BackendError(f"device cuda:{index} failed to {what}: a wrong result")


def _open_torch(xp: Any, device: str | None) -> Any:
    import torch

    if device in (None, "cpu"):
        return torch.device("cpu")
    index = _cuda_index("torch", str(device))
    if not torch.cuda.is_available():
        reason = "is a CPU build" if torch.version.cuda is None else "finds no GPU or driver"
        raise BackendError(f"torch {torch.__version__} {reason}: device {device!r} is not there")
    if index >= torch.cuda.device_count():
        raise BackendError(
            f"there is no device 'cuda:{index}': this machine has {torch.cuda.device_count()}"
        )
    return torch.device("cuda", index)


def _open_jax(xp: Any, device: str | None) -> Any:
    import jax

    kind, index = None, 0
    if device is not None:
        kind, index = ("cpu", 0) if device == "cpu" else ("gpu", _cuda_index("jax", device))
    try:
        return jax.devices(kind)[index]
    except RuntimeError as error:
        asked = "" if device is None else f" {device!r}"
        raise BackendError(f"jax has no device{asked}: {_first_line(error)}") from error
    except IndexError as error:
        raise BackendError(
            f"there is no device {device!r}: jax has {len(jax.devices(kind))} of them"
        ) from error


def _open_dpnp(xp: Any, device: str | None) -> Any:
    try:
        return xp.empty(0, device=device).device
    except Exception as error:  # SYCL's errors have no common base
        raise BackendError(
            f"dpnp cannot use device {device or 'default'!r}: {_first_line(error)}"
        ) from error


def _open_array_api_strict(xp: Any, device: str | None) -> Any:
    try:
        return xp.Device("CPU_DEVICE" if device in (None, "cpu") else device)
    except ValueError as error:
        known = "'cpu', 'device1' or 'device2'"
        raise _unknown_device("array_api_strict", str(device), known) from error


OPEN: dict[str, Callable[[Any, str | None], Any]] = {
    "numpy": _open_numpy,
    "cupy": _open_cupy,
    "torch": _open_torch,
    "jax": _open_jax,
    "dpnp": _open_dpnp,
    "array_api_strict": _open_array_api_strict,
}
