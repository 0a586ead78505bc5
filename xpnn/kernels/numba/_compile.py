"""Compile kernels once on a machine: each for one type, when something first asks for it.

A kernel whose loop over parts is a ``prange`` is there twice: for the thread that calls it, and for
Numba's pool of threads. Both do the same parts, so the results are the same. The loop does nothing
but call a `part`, a function of its own: LLVM makes worse code of loops inside a ``prange``.
It begins with a 0 that is written: without, its index has no sign where the pool runs it but has
one where Numba looks for types, and all that is called with it would be compiled for both.

Numba keeps what it has compiled beside the source or, where that cannot be written, in the user's
cache folder. Where neither can, kernels are compiled in each process.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
from numba.core import event, types

from ..recording import current

__all__ = [
    "UNIT",
    "Kernel",
    "announced",
    "bound",
    "inlined",
    "kernel",
    "named_by_sources",
    "outlined",
    "part",
    "summing_part",
]

#: Sums may be taken in another order, so that they use the registers; the order is fixed when the
#: kernel is compiled, so results repeat. Nothing is assumed of NaN and infinity.
_SUMMING = {"contract", "nsz", "reassoc"}

# Numba looks at the age of the file that a kernel is in, not at the files that it uses. The name of
# a kernel in the cache therefore contains a digest of all sources.
_SOURCES = sorted(Path(__file__).parent.glob("*.py"))
_DIGEST = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:8]

_LOCK = threading.Lock()
_count: Counter[str] = Counter()  # of kernels with a name

#: A function that becomes part of every kernel that calls it. Its arithmetic is done as written:
#: tricks with rounding survive in it.
inlined = numba.njit(
    fastmath={"contract"},
    error_model="numpy",
    forceinline=True,
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
)

#: What one thread does of a kernel. Its arithmetic is done as written too, so that a number comes
#: out the same wherever parts begin.
part = inlined

#: The same with sums over whole parts of vectors, such as rows, which use the registers.
summing_part = numba.njit(
    fastmath=_SUMMING,
    error_model="numpy",
    forceinline=True,
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
)

#: A part that is large enough to stay a function of its own, which takes less time to compile.
outlined = numba.njit(
    fastmath={"contract"}, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
)

#: In a kernel for the pool only its loops over parts are shared out; Numba must not look for more.
_PARALLEL = {
    "comprehension": False,
    "fusion": False,
    "inplace_binop": False,
    "numpy": False,
    "prange": True,
    "reduction": False,
    "setitem": False,
    "stencil": False,
}


#: Columns begin at multiples of this: a cache line, and the width of BLAS's own tiles.
UNIT = 16


@part
def bound(index, parts, size, unit):  # type: ignore[no-untyped-def]
    """Return where a part of ``range(size)`` begins, and the one before ends: at whole units."""
    units = (size + unit - 1) // unit
    return min(index * units // parts * unit, size)


class Kernel:
    """A loop over arrays of float32 or float64, compiled for each when first asked for.

    ``kernel["float32"]`` runs on the thread that calls it, ``kernel["float32", True]`` on the pool.

    Parameters
    ----------
    function : function
        The loop, as Numba understands it.
    arguments : str
        What each argument is, separated by blanks: "vector", "matrix" or "images" (four axes) of
        the kernel's type, "bytes" (uint8), "flags" (uint8, two axes), "lanes" (uint16, two axes),
        "words" (uint64), "indices" (int64), "numbers" (float64), with a "!" behind where the kernel
        writes into them; "real", "integer". Arrays are in C order.
    """

    def __init__(self, function: Callable[..., Any], arguments: str) -> None:
        self._function = function
        # Numba tells functions of one name apart by counting them in each process, so that what two
        # processes have compiled may have the same name, by which `program` finds it.
        name = f"{function.__module__}.{function.__qualname__}"
        self._number = _count[name]
        _count[name] += 1
        self.arguments = [kind.removesuffix("!") for kind in arguments.split()]
        self._written = [kind.endswith("!") for kind in arguments.split()]
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def __getitem__(self, key: str | tuple[str, bool]) -> Callable[..., Any]:
        """Return the kernel for "float32" or "float64", and for the pool if it is wanted."""
        found = self._compiled.get(key)
        if found is None:
            dtype, parallel = (key, False) if isinstance(key, str) else key
            with _LOCK:
                found = self._compiled.get((dtype, parallel)) or self._compile(dtype, parallel)
                self._compiled[dtype, parallel] = self._compiled[key] = found
        recording = current()
        return found if recording is None else recording.listening(self, found)

    def _compile(self, dtype: str, parallel: bool) -> Callable[..., Any]:
        real = getattr(types, dtype)
        signature = tuple(
            _argument(kind, written, real)
            for kind, written in zip(self.arguments, self._written, strict=True)
        )
        with announced():
            dispatcher = self._dispatcher(parallel)
            with contextlib.suppress(RuntimeError):  # there is no folder to write to
                dispatcher.enable_caching()
            try:
                dispatcher.compile(signature)
            except OSError:  # there is, but it cannot be used
                dispatcher = self._dispatcher(parallel)
                dispatcher.compile(signature)
        dispatcher.disable_compile()  # another type is a mistake, not a reason to compile
        return dispatcher  # type: ignore[no-any-return]

    def _dispatcher(self, parallel: bool) -> Any:
        known: Any = self._function
        function = FunctionType(
            known.__code__, known.__globals__, known.__name__, None, known.__closure__
        )
        function.__qualname__ = f"{known.__qualname__}_{self._number}"
        function.__qualname__ += "_parallel" if parallel else ""
        function.__module__ = known.__module__
        return numba.njit(
            fastmath=_SUMMING,
            error_model="numpy",
            nogil=True,
            parallel=_PARALLEL if parallel else False,
            no_cfunc_wrapper=True,
        )(named_by_sources(function))


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


def _argument(kind: str, written: bool, real: Any) -> Any:
    if kind in ("real", "integer"):
        return types.float64 if kind == "real" else types.int64
    dtype, ndim = {
        "vector": (real, 1),
        "matrix": (real, 2),
        "images": (real, 4),
        "bytes": (types.uint8, 1),
        "lanes": (types.uint16, 2),
        "flags": (types.uint8, 2),
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
            print("xpnn: compiling kernels, up to a minute at the first time", file=sys.stderr)

    def on_end(self, event: Any) -> None:
        """Nothing more to say."""
