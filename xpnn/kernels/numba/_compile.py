"""Compile kernels once on a machine: each for one type, when something first asks for it.

Numba keeps what it has compiled beside the source or, where that cannot be written, in the user's
cache folder. Where neither can, kernels are compiled in each process.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import event, types

__all__ = ["Kernel", "announced", "inlined", "kernel", "named_by_sources"]

#: Sums may be taken in another order, so that they use the registers; the order is fixed when the
#: kernel is compiled, so results repeat. Nothing is assumed of NaN and infinity.
_SUMMING = {"contract", "nsz", "reassoc"}

# Numba looks at the age of the file that a kernel is in, not at the files that it uses. The name of
# a kernel in the cache therefore contains a digest of all sources.
_SOURCES = sorted(Path(__file__).parent.glob("*.py"))
_DIGEST = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:8]

_LOCK = threading.Lock()

#: A function that becomes part of every kernel that calls it. Its arithmetic is done as written:
#: tricks with rounding survive in it.
inlined = numba.njit(fastmath={"contract"}, error_model="numpy", forceinline=True)


class Kernel:
    """A loop over arrays of float32 or float64, compiled for each when first asked for.

    Parameters
    ----------
    function : function
        The loop, as Numba understands it.
    arguments : str
        What each argument is, separated by blanks: "vector" or "matrix" of the kernel's type,
        "lanes" (uint16, two axes), "words" (uint64), "indices" (int64), "numbers" (float64), with
        a "!" behind where the kernel writes into them; "real", "integer". Arrays are in C order.
    """

    def __init__(self, function: Callable[..., Any], arguments: str) -> None:
        self._function = named_by_sources(function)
        self._arguments = arguments.split()
        self._compiled: dict[str, Callable[..., Any]] = {}

    def __getitem__(self, dtype: str) -> Callable[..., Any]:
        """Return the kernel for "float32" or "float64"."""
        found = self._compiled.get(dtype)
        if found is None:
            with _LOCK:
                found = self._compiled.get(dtype) or self._compile(dtype)
                self._compiled[dtype] = found
        return found

    def _compile(self, dtype: str) -> Callable[..., Any]:
        signature = tuple(_argument(kind, getattr(types, dtype)) for kind in self._arguments)
        with announced():
            dispatcher = self._dispatcher()
            with contextlib.suppress(RuntimeError):  # there is no folder to write to
                dispatcher.enable_caching()
            try:
                dispatcher.compile(signature)
            except OSError:  # there is, but it cannot be used
                dispatcher = self._dispatcher()
                dispatcher.compile(signature)
        dispatcher.disable_compile()  # another type is a mistake, not a reason to compile
        return dispatcher  # type: ignore[no-any-return]

    def _dispatcher(self) -> Any:
        return numba.njit(fastmath=_SUMMING, error_model="numpy", nogil=True)(self._function)


def named_by_sources(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function a name by which what the cache has of other sources is not found."""
    function.__qualname__ += f"_{_DIGEST}"
    return function


def announced() -> Any:
    """Return a context in which people are told why something takes its time."""
    return event.install_listener("numba:compile", _Announcer())


def kernel(arguments: str) -> Callable[[Callable[..., Any]], Kernel]:
    """Make a `Kernel` of a function."""
    return lambda function: Kernel(function, arguments)


def _argument(kind: str, real: Any) -> Any:
    written = kind.endswith("!")
    kind = kind.removesuffix("!")
    if kind in ("real", "integer"):
        return types.float64 if kind == "real" else types.int64
    dtype, ndim = {
        "vector": (real, 1),
        "matrix": (real, 2),
        "lanes": (types.uint16, 2),
        "words": (types.uint64, 1),
        "indices": (types.int64, 1),
        "numbers": (types.float64, 1),
    }[kind]
    return types.Array(dtype, ndim, "C", readonly=not written)


class _Announcer(event.Listener):  # type: ignore[misc]
    """Say, once in a process, why the first step takes its time."""

    told = False

    def on_start(self, event: Any) -> None:
        if not _Announcer.told:
            _Announcer.told = True
            print("xpnn: compiling kernels, once on this machine: some seconds", file=sys.stderr)

    def on_end(self, event: Any) -> None:
        """Nothing more to say."""
