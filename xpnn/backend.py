"""Where arrays live: which library, which device, which floating-point type.

A `Backend` is the one door in (`Backend.asarray`) and the one door out (`Backend.to_host`).
Nothing else in xpnn moves data between the host and a device, and nothing is thread-local.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from ._devices import BACKENDS, OPEN, cupy_memory, cupy_scope, import_library
from ._standard import Array, array_namespace, from_host, library_name, type_name
from .errors import BackendError, ConfigurationError, DataError, unknown

__all__ = ["BACKENDS", "Backend", "backend", "backend_of", "to_host"]


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
        return cupy_scope(self.device) if self.name == "cupy" else contextlib.nullcontext()

    def free_memory(self) -> int | None:
        """Return how many bytes of the device are free (CuPy); None where nobody says."""
        return cupy_memory(self.device)[0] if self.name == "cupy" else None

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
        if type(array) is np.ndarray:  # told apart by what follows, too, but that takes a while
            return self.name == "numpy"
        if type(array) is not type(self._anchor) and (
            not array_api_compat.is_array_api_obj(array) or library_name(array) != self.name
        ):
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
        # What follows comes to the same, but takes as long as a small layer. `float_dtype` stays
        # without a type, too. (None itself equals float64 for NumPy.)
        may_be_ready = self.name == "numpy" and type(value) is np.ndarray
        if may_be_ready and value.dtype == (self.float_dtype if dtype is None else dtype):
            return value
        if self.owns(value) and self.name != "numpy":
            default = self._default_dtype(self._kind(value))
            dtype = dtype or default
            return value if value.dtype == dtype else self.xp.astype(value, dtype)
        host = self.host_data(value, name)
        dtype = dtype or self._default_dtype(host.dtype.kind)
        # Cast before the transfer: float64 data need not travel as float64.
        host = np.asarray(host, dtype=type_name(dtype))
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
        if type(value) is np.ndarray and value.dtype.kind in "fiub":
            return value
        place = f"{name}: " if name else ""
        if array_api_compat.is_array_api_obj(value) and not isinstance(
            value, np.ndarray | np.generic
        ):
            other = backend_of(value)
            own = "" if self.name == "numpy" else f" or an array of {self}"
            raise BackendError(
                f"{place}expected NumPy data{own}, got an array of {other}: choose "
                f"backend={other.name!r}, device={other.device_name!r}, or convert it by "
                f"xpnn.backend({other.name!r}).to_host(array)"
            )
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise DataError(f"{place}expected rows of equal length: {error}") from error
        if array.dtype.kind not in "fiub":
            text = array.dtype.kind in "SUO" and isinstance(next(array.flat, None), str | bytes)
            hint = ": labels become numbers by numpy.unique(labels, return_inverse=True)"
            told = "None" if value is None else f"an array of dtype {array.dtype}"
            raise DataError(f"{place}expected real numbers, got {told}{hint if text else ''}")
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


def backend(name: str | None = None, device: str | None = None, dtype: Any = "float32") -> Backend:
    """Choose where arrays live.

    Parameters
    ----------
    name : str, optional
        The array library. By default the device decides: NumPy for "cpu", CuPy for "cuda".
    device : str, optional
        "cpu", "cuda", "cuda:1", or a name that the library knows. By default the CPU, or the
        default device of the library that was named.
    dtype : {"float32", "float64"}
        The floating-point type; also as an object, such as ``numpy.float64``.

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
    precision = type_name(dtype)
    if precision not in ("float32", "float64"):
        raise ConfigurationError(unknown("dtype", dtype, ["float32", "float64"]))
    if device is not None and not isinstance(device, str):
        raise BackendError(f"expected a device such as 'cpu' or 'cuda:1', got {device!r}")
    if name is None:
        name = "cupy" if device is not None and device.startswith("cuda") else "numpy"
    if name not in BACKENDS:
        raise BackendError(unknown("back end", name, BACKENDS))
    library = import_library(name)
    place = OPEN[name](library, device)
    chosen = Backend(name, library, place, precision)
    types = library.__array_namespace_info__().dtypes(device=place, kind="real floating")
    if precision not in types:
        hint = ": set the environment variable JAX_ENABLE_X64=1" if name == "jax" else ""
        raise BackendError(f"{chosen} has no {precision}{hint}")
    return chosen


def backend_of(array: Array) -> Backend:
    """Return the back end that an array lives on, with the array's type if it is a float."""
    xp = array_namespace(array)
    dtype = "float64" if array.dtype == xp.float64 else "float32"
    return Backend(library_name(array), xp, array_api_compat.device(array), dtype)


def to_host(array: Array) -> np.ndarray[Any, Any]:
    """Copy an array of any library to NumPy. NumPy arrays are returned as they are."""
    if type(array) is np.ndarray:
        return array
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
