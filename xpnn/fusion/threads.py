"""How many threads compute, and which.

A plan that is all kernels runs on one pool of threads, Numba's: its matrix products are cut into
parts too, each made on one thread, with AVX-512 by xpnn's own tiles, otherwise by OpenBLAS.
Meanwhile OpenBLAS is held at one thread, since its own threads would take the processors from the
pool while they wait for work. All other steps, such as networks with layers that have no kernel,
leave the products to OpenBLAS and its threads, and the kernels run on the thread that calls them.

Both pools are as large as OpenBLAS is set to be: by `set_num_threads`, by the environment variable
``XPNN_NUM_THREADS`` when this package is loaded, by OpenBLAS's own variables, or by a package such
as threadpoolctl. How the work is cut depends on this number alone, not on the threads that are
there to do it, so that results repeat bit for bit.

The pool works for one of Python's threads at a time. Another one that trains meanwhile does the
same parts by itself, as does a process that was forked when the pool had already worked. What a
thread had that ended within a step goes to the next one that asks.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from ..errors import BackendError, ConfigurationError
from ._openblas import controls, gemm_address

__all__ = [
    "Team",
    "describe",
    "num_threads",
    "set_from_environment",
    "set_num_threads",
    "team",
    "working",
]

_VARIABLE = "XPNN_NUM_THREADS"
#: OpenBLAS makes do with fewer, and a number that C has no room for would be another one.
_MOST = 1024


class Team(NamedTuple):
    """Who works on a step, and where BLAS's products are.

    Attributes
    ----------
    size : int
        Into how many parts large work is cut.
    parallel : bool
        Whether the pool does them, rather than the thread that asks.
    gemm : dict of str to int
        Addresses of the products on one thread, by the dtype; empty if NumPy is to multiply.
    """

    size: int
    parallel: bool
    gemm: dict[str, int]

    def share(self, work: int, enough: int = 1 << 14) -> tuple[int, bool]:
        """Return the number of parts for some work, and whether they go to the pool.

        Waking the pool takes one to two microseconds: as long as a pass over some thousand numbers.
        """
        return (1, False) if self.size == 1 or work < enough else (self.size, self.parallel)


#: One thread, and NumPy's products.
_ALONE = Team(1, False, {})


class _Claim:
    """What one of Python's threads has at a time.

    A lock does not say whose it is: an interrupt just behind its `acquire` would leave it locked.
    """

    def __init__(self) -> None:
        self._owner: dict[str, threading.Thread] = {}

    def take(self) -> bool:
        """Take it for the calling thread, unless one that lives has it; tell whether it has it."""
        here = threading.current_thread()
        owner = self._owner.setdefault("thread", here)
        if owner is not here and not owner.is_alive():
            with _LOCK:  # of those that see it, one takes it over
                if self._owner.get("thread") is owner:  # still there, so that nobody else gets it
                    self._owner["thread"] = here
            owner = self._owner.setdefault("thread", here)
        return owner is here

    def give(self) -> None:
        """Give it back, if the calling thread has it."""
        if self._owner.get("thread") is threading.current_thread():
            del self._owner["thread"]


class _Local(threading.local):
    team = _ALONE
    before = 0  # threads of the pool, if they have to be put back


_LOCAL = _Local()
_LOCK = threading.Lock()  # of what follows
_POOL = _Claim()
_holders: set[threading.Thread] = set()  # those that want OpenBLAS at one thread
_set = 1  # threads of OpenBLAS as it was set before it was held
_awake = False  # the pool has worked
_forked = False  # in a child that must not touch the pool


def team() -> Team:
    """Return who works on what the calling thread does now."""
    return _LOCAL.team


class working:
    """Hold OpenBLAS at one thread and let the pool work, if it is wanted and can be had.

    A class, as a generator for each of several contexts would take as long as a small kernel.
    """

    def __init__(self, together: bool) -> None:
        self._outermost = _LOCAL.team is _ALONE
        self._begins = together and self._outermost and bool(_addresses())

    def __enter__(self) -> None:
        """Begin, unless it has begun further out."""
        if self._begins:
            try:
                _begin()
            except BaseException:  # an interrupt
                _put_back()
                raise

    def __exit__(self, *error: object) -> None:
        """Put everything back."""
        if self._begins:
            _put_back()

    def leave(self) -> None:
        """Put back what the calling thread has by now and had not before.

        For whoever is interrupted: an interrupt may come just before `__exit__` would do it.
        """
        if self._outermost:
            _put_back()


def _begin() -> None:
    size = _hold()
    parallel = size > 1 and not _forked and _POOL.take()
    if parallel:
        _resize(size)
    _LOCAL.team = Team(size, parallel, _addresses())


def _put_back() -> None:
    """Put back what the calling thread has, if it has anything."""
    _LOCAL.team = _ALONE
    if _LOCAL.before:
        _pool().put(_LOCAL.before)
        _LOCAL.before = 0
    _POOL.give()
    _release()


@cache
def _addresses() -> dict[str, int]:
    found = {dtype: gemm_address(dtype) for dtype in ("float32", "float64")}
    known = {dtype: address for dtype, address in found.items() if address is not None}
    return known if controls() is not None and len(known) == len(found) else {}


def _hold() -> int:
    """Hold OpenBLAS at one thread, and return how many it is set to have."""
    global _set
    found = controls()
    assert found is not None
    with _LOCK:
        if not _holders:
            _set = int(found.get())
        _holders.add(threading.current_thread())  # first of all, so that it is put back
        if _set > 1:
            found.put(1)
        return _set


def _release() -> None:
    here = threading.current_thread()
    if here not in _holders:
        return
    found = controls()
    assert found is not None
    with _LOCK:
        for thread in _holders:
            if thread is not here and thread.is_alive():  # it clears up, also behind those gone
                _holders.discard(here)
                return
        if _set > 1:
            found.put(_set)
        _holders.clear()


class _Pool(NamedTuple):
    """Numba's functions for the threads that one of Python's may wake, and their number."""

    get: Callable[[], int]
    put: Callable[[int], None]
    size: int


@cache
def _pool() -> _Pool:
    import numba

    return _Pool(numba.get_num_threads, numba.set_num_threads, numba.config.NUMBA_NUM_THREADS)


def _resize(size: int) -> None:
    """Let no more threads wake up than there are parts."""
    global _awake
    _awake = True
    pool = _pool()
    if size >= pool.size:
        return  # to ask Numba takes longer than a small kernel
    before = pool.get()
    if size != before:
        _LOCAL.before = before
        pool.put(size)


def _after_fork() -> None:
    """Begin anew in a child, where only the thread that forked goes on."""
    global _LOCK, _POOL, _forked
    _LOCK, _POOL = threading.Lock(), _Claim()
    _LOCAL.team, _LOCAL.before = _ALONE, 0
    _forked = _forked or _awake  # GNU's OpenMP ends a child that uses its parent's pool
    found = controls() if _holders else None
    if found is not None:
        found.put(_set)
    _holders.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def num_threads() -> int | None:
    """Return how many threads compute; None if nobody can tell.

    It is the number of threads of NumPy's matrix products, and that of the pool of fused steps.

    Examples
    --------
    >>> import xpnn
    >>> xpnn.fusion.num_threads() in (None, *range(1, 1025))
    True
    """
    found = controls()
    if found is None:
        return None
    with _LOCK:
        return _set if _holders else int(found.get())


def set_num_threads(count: int) -> None:
    """Set how many threads compute, in the whole process: NumPy's products, and fused steps.

    Parameters
    ----------
    count : int
        At least 1. The processor's number of cores is a good choice, unless others use them; more
        than that gain nothing. Of more than the library can have it takes its most.

    Warns
    -----
    RuntimeWarning
        If the library has fewer.

    Raises
    ------
    ConfigurationError
        If the count is not a positive integer.
    BackendError
        If this NumPy is not built on an OpenBLAS that can be found. Its own environment variables
        then are the way.

    Examples
    --------
    >>> import xpnn
    >>> xpnn.fusion.set_num_threads(0)
    Traceback (most recent call last):
        ...
    xpnn.errors.ConfigurationError: threads: expected a whole number of at least 1, got 0
    """
    _set_as("threads", count)


def _set_as(name: str, count: int) -> None:
    """Set the number of threads as what a name stands for; warn if there cannot be so many."""
    global _set
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise ConfigurationError(f"{name}: expected a whole number of at least 1, got {count!r}")
    found = controls()
    if found is None:
        raise BackendError(
            "the number of threads cannot be set: this NumPy has no OpenBLAS of its own. Set what "
            "its library reads, such as OMP_NUM_THREADS or MKL_NUM_THREADS, before the start"
        )
    with _LOCK:
        if _holders:  # a step is under way; it is put back to this when it ends
            _set = min(int(count), _MOST)
            return  # what the library makes of it shows then
        found.put(min(int(count), _MOST))
        most = int(found.get())
    if most < count:
        text = f"{name}: NumPy's OpenBLAS has {most} threads at most, got {count}: {most} work"
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def describe() -> str:
    """Return a line for people: which threads do what."""
    from .rules import why_no_kernels

    count = num_threads()
    if count is None:
        return (
            "kernels run on the thread that calls them, products as NumPy's library is set: "
            "it has no OpenBLAS that xpnn can find"
        )
    threads = f"{count} thread{'s' if count > 1 else ''}"
    if why_no_kernels() is not None or not _addresses():
        return f"{threads} of OpenBLAS for products, the rest on the thread that calls"
    if count == 1:
        return f"{threads}: the one that calls, for kernels and for products"
    return (
        f"{threads}: Numba's pool for steps that are all kernels, products included; "
        "OpenBLAS's for the products of all others"
    )


def set_from_environment() -> None:
    """Do what ``XPNN_NUM_THREADS`` says, if it is set; warn if that is more than there can be."""
    text = os.environ.get(_VARIABLE)
    if not text:
        return
    try:
        count = int(text)
    except ValueError:
        raise ConfigurationError(f"{_VARIABLE}: expected a whole number, got {text!r}") from None
    _set_as(_VARIABLE, count)
