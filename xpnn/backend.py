"""Where arrays live: which library, which device, which floating-point type.

A `Backend` is the one door in (`Backend.asarray`) and the one door out (`Backend.to_host`).
Nothing else in xpnn moves data between the host and a device, and nothing is thread-local.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from ._standard import Array, array_namespace, from_host, library_name
from .errors import (
    BackendError,
    ConfigurationError,
    DataError,
    OutOfMemoryError,
    readable_bytes,
    unknown,
)

__all__ = ["BACKENDS", "Backend", "backend", "backend_of", "to_host"]

#: Library to the namespace that keeps the standard, and how to install it.
BACKENDS: dict[str, tuple[str, str]] = {
    "numpy": ("array_api_compat.numpy", "pip install numpy"),
    "cupy": (
        "array_api_compat.cupy",
        "pip install 'xpnn[cuda13]' or 'xpnn[cuda12]', whichever the driver supports",
    ),
    "torch": ("array_api_compat.torch", "pip install torch"),
    "jax": ("jax.numpy", "pip install jax"),
    "dpnp": ("dpnp", "pip install dpnp"),
    "array_api_strict": ("array_api_strict", "pip install array-api-strict"),
}


@dataclass(frozen=True)
class Backend:
    """An array library, a device of it and a floating-point type. Made by `backend`.

    Attributes
    ----------
    name : str
        "numpy", "cupy", "torch", "jax", "dpnp" or "array_api_strict".
    xp : module
        The library's namespace, as the array API standard describes it.
    device : object
        The device, as that library represents devices.
    dtype : str
        "float32" or "float64": the type of parameters, data and results.
    """

    name: str
    xp: Any
    device: Any
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.name} on {self.device_name}"

    def __hash__(self) -> int:
        return hash((self.name, self.device_name, self.dtype))  # CuPy's devices have no hash

    def __reduce__(self) -> tuple[Any, ...]:
        return backend, (self.name, self.device_name, self.dtype)

    @property
    def device_name(self) -> str:
        """The device as a word that `backend` takes, such as "cuda:1"."""
        if self.name == "cupy":
            return f"cuda:{self.device.id}"
        if self.name == "jax":
            return "cpu" if self.device.platform == "cpu" else f"cuda:{self.device.id}"
        if self.name == "dpnp":
            return str(self.device.sycl_device.filter_string)
        return re.sub(r".*Device\('(\w+)'\)", r"\1", str(self.device))

    @property
    def float_dtype(self) -> Any:
        """The library's own object for `dtype`."""
        return getattr(self.xp, self.dtype)

    @property
    def index_dtype(self) -> Any:
        """The integer type of labels and indices: int64, or int32 where a device has no other."""
        info = self.xp.__array_namespace_info__()
        return info.default_dtypes(device=self.device)["indexing"]

    @property
    def synchronous(self) -> bool:
        """Whether results are there when a call returns, so that looking at them costs nothing."""
        return self.name in ("numpy", "array_api_strict") or (
            self.name == "torch" and self.device.type == "cpu"
        )

    def scope(self) -> AbstractContextManager[Any]:
        """Make the device the current one (CuPy); does nothing on other libraries.

        Within it, a device without memory is an OutOfMemoryError.
        """
        return _cupy_scope(self.device) if self.name == "cupy" else contextlib.nullcontext()

    def free_memory(self) -> int | None:
        """Return how many bytes of the device are free (CuPy); None where nobody says."""
        return _cupy_memory(self.device)[0] if self.name == "cupy" else None

    def reserve(self, size: int) -> None:
        """Make sure that ``size`` bytes can be had (CuPy): what follows must not stop half-way.

        Raises
        ------
        OutOfMemoryError
            If they cannot, within `scope`.
        """
        if self.name == "cupy":
            import cupy

            cupy.cuda.alloc(size)  # goes back to CuPy's pool at once, and stays there

    def owns(self, array: Any) -> bool:
        """Tell whether ``array`` is an array of this library on this device."""
        if not array_api_compat.is_array_api_obj(array) or library_name(array) != self.name:
            return False
        place = array_api_compat.device(array)
        # What jax.jit traces has no device: it runs where the arguments are.
        return bool(place == self.device) or (place is None and self.name == "jax")

    def asarray(self, value: Any, dtype: Any = None, name: str = "") -> Array:
        """Bring host data here: the one door in.

        Parameters
        ----------
        value : array_like
            A NumPy array, numbers, nested lists, or an array that is here already. It is never
            changed, but the result may share its memory.
        dtype : dtype, optional
            A type of this library. By default floating-point numbers become `float_dtype`,
            integers `index_dtype`, and booleans stay.
        name : str
            What errors call the data.

        Raises
        ------
        BackendError
            For an array of another library or device.
        DataError
            For complex numbers, text and objects.
        """
        if self.owns(value) and self.name != "numpy":
            default = self._default_dtype(self._kind(value))
            dtype = dtype or default
            return value if value.dtype == dtype else self.xp.astype(value, dtype)
        host = self.host_data(value, name)
        dtype = dtype or self._default_dtype(host.dtype.kind)
        # Cast before the transfer: float64 data need not travel as float64.
        host = np.asarray(host, dtype=_numpy_dtype(dtype))
        return from_host(host, like=self._anchor, dtype=dtype)

    def host_data(self, value: Any, name: str = "") -> np.ndarray[Any, Any]:
        """Return host data as a NumPy array of real numbers, without a copy where possible.

        Parameters
        ----------
        value : array_like
            The data.
        name : str
            What errors call them.

        Raises
        ------
        BackendError
            For an array of a library other than NumPy.
        DataError
            For complex numbers, text, objects, rows of unequal length and masked values.
        """
        place = f"{name}: " if name else ""
        if array_api_compat.is_array_api_obj(value) and not isinstance(
            value, np.ndarray | np.generic
        ):
            raise BackendError(
                f"{place}expected NumPy data or an array of {self}, "
                f"got an array of {backend_of(value)}"
            )
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise DataError(f"{place}expected rows of equal length: {error}") from error
        if array.dtype.kind not in "fiub":
            text = array.dtype.kind in "SUO" and isinstance(next(array.flat, None), str | bytes)
            hint = ": labels become numbers by numpy.unique(labels, return_inverse=True)"
            raise DataError(
                f"{place}expected real numbers, got an array of dtype {array.dtype}"
                f"{hint if text else ''}"
            )
        if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
            # NumPy drops the mask and shows whatever lies beneath it.
            raise DataError(
                f"{place}expected numbers, got masked values: fill or remove them first"
            )
        return array

    def zeros(self, shape: int | tuple[int, ...], dtype: Any = None) -> Array:
        """Zeros of `float_dtype`, or of another type of this library, on this device."""
        with self.scope():
            return self.xp.zeros(shape, dtype=dtype or self.float_dtype, device=self.device)

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """Copy an array to NumPy: the one door out. It waits for the device."""
        return to_host(array)

    @functools.cached_property
    def _anchor(self) -> Array:
        """An empty array that stands for the library and the device."""
        return self.zeros(0)

    def _default_dtype(self, kind: str) -> Any:
        return {"f": self.float_dtype, "b": self.xp.bool}.get(kind, self.index_dtype)

    def _kind(self, array: Array) -> str:
        """NumPy's letter for the kind of an array's dtype."""
        for kind, letter in (("real floating", "f"), ("bool", "b"), ("integral", "i")):
            if self.xp.isdtype(array.dtype, kind):
                return letter
        raise DataError(f"expected real numbers, got {array.dtype}")


def backend(name: str | None = None, device: str | None = None, dtype: str = "float32") -> Backend:
    """Choose where arrays live.

    Parameters
    ----------
    name : str, optional
        The array library. By default the device decides: NumPy for "cpu", CuPy for "cuda".
    device : str, optional
        "cpu", "cuda", "cuda:1", or a name that the library knows. By default the CPU, or the
        default device of the library that was named.
    dtype : {"float32", "float64"}
        The floating-point type.

    Where the program names no library or no device, the environment variables ``XPNN_BACKEND``
    and ``XPNN_DEVICE`` do.

    Raises
    ------
    BackendError
        With one line that says what to install or what is wrong. There is no silent CPU.

    Examples
    --------
    >>> print(backend())
    numpy on cpu
    >>> print(backend(device="cpu", dtype="float64").asarray([1, 2.5]))
    [1.  2.5]
    """
    name = name if name is not None else os.environ.get("XPNN_BACKEND") or None
    device = device if device is not None else os.environ.get("XPNN_DEVICE") or None
    if dtype not in ("float32", "float64"):
        raise ConfigurationError(unknown("dtype", dtype, ["float32", "float64"]))
    if device is not None and not isinstance(device, str):
        raise BackendError(f"expected a device such as 'cpu' or 'cuda:1', got {device!r}")
    if name is None:
        name = "cupy" if device is not None and device.startswith("cuda") else "numpy"
    if name not in BACKENDS:
        raise BackendError(unknown("back end", name, BACKENDS))
    library = _import(name)
    place = _OPEN[name](library, device)
    chosen = Backend(name, library, place, dtype)
    if dtype not in library.__array_namespace_info__().dtypes(device=place, kind="real floating"):
        hint = ": set the environment variable JAX_ENABLE_X64=1" if name == "jax" else ""
        raise BackendError(f"{chosen} has no {dtype}{hint}")
    return chosen


def backend_of(array: Array) -> Backend:
    """Return the back end that an array lives on, with the array's type if it is a float."""
    xp = array_namespace(array)
    dtype = "float64" if array.dtype == xp.float64 else "float32"
    return Backend(library_name(array), xp, array_api_compat.device(array), dtype)


def to_host(array: Array) -> np.ndarray[Any, Any]:
    """Copy an array of any library to NumPy. NumPy arrays are returned as they are."""
    name = library_name(array)
    if name == "cupy":
        with array.device:
            return array.get()  # type: ignore[no-any-return]
    if name == "torch":
        return array.detach().cpu().numpy()  # type: ignore[no-any-return]
    if name == "dpnp":
        return array.asnumpy()  # type: ignore[no-any-return]
    if name == "array_api_strict":
        return np.asarray(array.to_device(array_namespace(array).Device("CPU_DEVICE")))
    return np.asarray(array)


def _numpy_dtype(dtype: Any) -> Any:
    """NumPy's type of the same name as a type of any library."""
    name = getattr(dtype, "__name__", None) or str(dtype)
    return np.dtype(name.rsplit(".", 1)[-1])


def _import(name: str) -> Any:
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
    _check_cupy(index)
    return cupy.cuda.Device(index)


@contextlib.contextmanager
def _cupy_scope(device: Any) -> Iterator[None]:
    import cupy

    try:
        with device:
            yield
    except cupy.cuda.memory.OutOfMemoryError as error:
        asked = re.search(r"allocating ([\d,]+) bytes", str(error))
        wanted = readable_bytes(int(asked[1].replace(",", ""))) if asked else "more"
        free, used, total = map(readable_bytes, _cupy_memory(device))
        raise OutOfMemoryError(
            f"device cuda:{device.id} is out of memory: {wanted} wanted, {free} free, {used} in "
            f"use here, {total} in all. Try a smaller batch_size, a smaller network, or "
            "resident=False, which leaves the data on the host"
        ) from error


def _cupy_memory(device: Any) -> tuple[int, int, int]:
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
def _check_cupy(index: int) -> None:
    """Compile one kernel and make one product: the libraries that CuPy's wheels leave out."""
    import cupy

    def square() -> Any:
        return cupy.arange(4, dtype=cupy.float32).reshape(2, 2)  # this, too, is a kernel

    hint = BACKENDS["cupy"][1]
    with _cupy_scope(cupy.cuda.Device(index)):
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


_OPEN: dict[str, Callable[[Any, str | None], Any]] = {
    "numpy": _open_numpy,
    "cupy": _open_cupy,
    "torch": _open_torch,
    "jax": _open_jax,
    "dpnp": _open_dpnp,
    "array_api_strict": _open_array_api_strict,
}
