r"""Random streams: the same numbers on every array library and every device.

A `Stream` has no state. It is three integers, and each number that it gives is a pure function of
them and of the number's place, so a dropout mask does not depend on the library, the device, the
number of processes or on what was drawn before, and a program that resumes needs no generator
state::

    stream = Stream(seed=0, stream=4)
    for step in range(1000):
        keep = stream.at(step).mask(x.shape, p=0.5, like=x)  # on the library and device of x

Definition
----------
The generator is Philox4x64-10: a bijection of 256-bit counters, chosen by a 128-bit key, which
passes TestU01's BigCrush. Here the key is ``(seed, stream)``, the counter is
``(block, call, 0, 0)``, and each block is four 64-bit words. With the counter (c0, c1, c2, c3) and
the key (k0, k1), one round is

.. math::

    (h_0, l_0) &= \mathtt{D2E7470EE14C6C93} \cdot c_0, \quad
    (h_1, l_1) = \mathtt{CA5A826395121157} \cdot c_2, \\
    (c_0, c_1, c_2, c_3) &\leftarrow (h_1 \oplus c_1 \oplus k_0,\; l_1,\;
    h_0 \oplus c_3 \oplus k_1,\; l_0), \\
    (k_0, k_1) &\leftarrow (k_0 + \mathtt{9E3779B97F4A7C15},\;
    k_1 + \mathtt{BB67AE8584CAA73B}) \bmod 2^{64}

where h and l are the upper and lower 64 bits of a product; ten rounds make the block. From the
words follow

==============  ==================================================================================
words           word i is word i mod 4 of block i div 4
bits            lane i is bits 16 (i mod 4) to 16 (i mod 4) + 15 of word i div 4, low lane first:
                the words in little-endian order, read as 16-bit integers
mask            True (keep) where lane i >= round(65536 p): 16 elements a block
uniform         u_i = (word i div 2^11) / 2^53, then low + (high - low) u_i
normal          Box-Muller: u_2i and u_2i+1 give elements 2i and 2i + 1
permutation     the stable order of n words
==============  ==================================================================================

with element i in C order of the shape. Words, bits, masks and permutations are equal bit for bit
everywhere. ``normal`` is computed by NumPy in float64, whose logarithm and cosine may differ in the
last place from one processor to another.

Seeds, streams and calls that differ give unrelated numbers. The methods of one stream share its
words: draw a mask and then a permutation from streams that differ.

Source
------
J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw: Parallel random numbers: as easy as 1, 2, 3.
SC 2011. Constants and known answers: the authors' Random123 library.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ._checks import checked_number
from ._standard import Array, from_host, library_name
from .errors import ConfigurationError

__all__ = ["MaskMaker", "Stream", "drop_threshold", "fresh_seed", "keep_scale", "set_mask_maker"]

_HostArray: TypeAlias = np.ndarray[Any, Any]

_LANE_VALUES = 1 << 16

#: Makes a flat mask on the device of an array: (stream, threshold, count, start, like) -> array.
MaskMaker: TypeAlias = Callable[["Stream", int, int, int, Array], Array]

# By library. Filled by xpnn/__init__.py: kernels lie on a higher floor than this module.
_mask_makers: dict[str, MaskMaker] = {}


@dataclass(frozen=True)
class Stream:
    """Random numbers that depend on three integers and nothing else.

    Parameters
    ----------
    seed : int, 0 <= seed < 2**64
        Chosen by the user, once a program.
    stream : int, 0 <= stream < 2**64
        Who draws. A network takes 0 for the order of the rows and, for its layer k, 2k + 1 for the
        initial weights and 2k + 2 for the masks.
    call : int, 0 <= call < 2**64
        Which draw: the number of the training step or of the epoch. Each has 2**64 blocks.

    Raises
    ------
    ConfigurationError
        For anything but integers in these ranges. NumPy's integers are accepted.

    Examples
    --------
    >>> stream = Stream(seed=0, stream=2)
    >>> stream.mask((2, 3), p=0.5)
    array([[ True, False, False],
           [ True, False,  True]])
    >>> stream.at(1)
    Stream(seed=0, stream=2, call=1)
    """

    seed: int
    stream: int = 0
    call: int = 0

    def __post_init__(self) -> None:
        for name in ("seed", "stream", "call"):
            value = _unsigned(f"Stream: {name}", getattr(self, name))
            object.__setattr__(self, name, value)  # the class is frozen from here on

    def at(self, call: int) -> Stream:
        """Return the same stream at another call.

        Examples
        --------
        >>> Stream(7, 1).at(5) == Stream(7, 1, 5)
        True
        """
        return Stream(self.seed, self.stream, call)

    def words(self, n: int, start: int = 0) -> _HostArray:
        """Return ``n`` words of 64 random bits, beginning with word ``start``.

        Parameters
        ----------
        n : int, n >= 0
            How many.
        start : int, 0 <= start < 2**64
            Number of words to leave out: ``words(n, start)`` is ``words(start + n)[start:]``
            without making the first ones.

        Returns
        -------
        numpy.ndarray
            (n,) of uint64, on the host. 3 ns a word.

        Raises
        ------
        ConfigurationError
            If ``n`` or ``start`` is no integer of its range.

        Examples
        --------
        >>> [hex(word) for word in Stream(0).words(2)]
        ['0x16554d9eca36314c', '0xdb20fe9d672d0fdc']
        """
        n, start = _unsigned("Stream.words: n", n), _unsigned("Stream.words: start", start)
        block, skipped = divmod(start, 4)
        return self._blocks(block, -(-(skipped + n) // 4))[skipped : skipped + n]

    def bits(self, n: int, start: int = 0) -> _HostArray:
        """Return ``n`` lanes of 16 random bits, beginning with lane ``start``.

        Parameters, result and errors are those of `words`, but (n,) of uint16: four lanes a word,
        the one of the lowest bits first.

        Examples
        --------
        >>> [hex(lane) for lane in Stream(0).bits(4)]
        ['0x314c', '0xca36', '0x4d9e', '0x1655']
        """
        n, start = _unsigned("Stream.bits: n", n), _unsigned("Stream.bits: start", start)
        block, skipped = divmod(start, 16)
        words = self._blocks(block, -(-(skipped + n) // 16))
        # Both casts do nothing on a little-endian machine.
        lanes = words.astype("<u8", copy=False).view("<u2")[skipped : skipped + n]
        return lanes.astype(np.uint16, copy=False)

    def mask(
        self, shape: int | tuple[int, ...], p: float, like: Array | None = None, start: int = 0
    ) -> Array:
        """Return a mask for dropout: True keeps an element, False drops it.

        Parameters
        ----------
        shape : int or tuple of int
            Shape of the mask.
        p : float, 0 <= p <= 1
            Probability of dropping an element, rounded to a multiple of 2**-16; see `keep_scale`.
        like : array, optional
            Where the mask shall be: on the library and device of this array, whatever its dtype.
            By default a NumPy array.
        start : int, 0 <= start < 2**64
            Place of the mask's first element in a larger one: the process that holds the rows from
            ``row`` on of a batch takes ``start = row * columns``, and all processes together make
            the mask of the whole batch.

        Returns
        -------
        array
            Booleans of ``shape``. 1 ns an element on the host. On CuPy a kernel makes the same
            mask on the device; elsewhere it is copied there. No synchronisation.

        Raises
        ------
        ConfigurationError
            If an argument is not in its range.

        Examples
        --------
        >>> whole = Stream(3).mask((4, 5), p=0.25)
        >>> part = Stream(3).mask((2, 5), p=0.25, start=2 * 5)
        >>> bool((part == whole[2:]).all())
        True
        """
        shape = _shape("Stream.mask", shape)
        start = _unsigned("Stream.mask: start", start)
        threshold, count = drop_threshold(p), math.prod(shape)
        maker = None if like is None else _mask_makers.get(library_name(like))
        if maker is not None:
            return maker(self, threshold, count, start, like).reshape(shape)
        keep = (self.bits(count, start) >= threshold).reshape(shape)
        return keep if like is None else from_host(keep, like=like)

    def uniform(
        self,
        shape: int | tuple[int, ...],
        low: float = 0.0,
        high: float = 1.0,
        like: Array | None = None,
    ) -> Array:
        """Return numbers that are uniform in [low, high).

        Made in float64 on the host, from 53 bits of one word each, then cast: the values on two
        libraries of one dtype are equal, and ``high`` is excluded after rounding, too.

        Parameters
        ----------
        shape : int or tuple of int
            Shape of the result.
        low, high : float, low < high
            The ends. In a dtype that cannot tell them apart the result is ``low``.
        like : array, optional
            Library, device and dtype (float16, float32 or float64) of the result. By default
            NumPy and float64.

        Raises
        ------
        ConfigurationError
            If an argument is not in its range, or ``like`` is not of a type listed.

        Examples
        --------
        >>> Stream(0).uniform(3, low=-1.0).round(4).tolist()
        [-0.8255, 0.7119, 0.6868]
        """
        shape = _shape("Stream.uniform", shape)
        low = checked_number("Stream.uniform", "low", low)
        high = checked_number("Stream.uniform", "high", high)
        if not 0 < high - low < math.inf:
            raise ConfigurationError(
                f"Stream.uniform: high must be above low by a finite amount, "
                f"got low {low!r} and high {high!r}"
            )
        values = self._unit(math.prod(shape))
        values *= high - low
        values += low
        values = _cast("Stream.uniform", values, like)
        end = np.nextafter(values.dtype.type(high), values.dtype.type(-math.inf))
        np.minimum(values, max(end, values.dtype.type(low)), out=values)
        return _deliver(values.reshape(shape), like)

    def normal(
        self,
        shape: int | tuple[int, ...],
        mean: float = 0.0,
        std: float = 1.0,
        like: Array | None = None,
    ) -> Array:
        r"""Return normal numbers, made in pairs by the Box-Muller transform.

        .. math::

            r_i = \sqrt{-2 \ln (1 - u_{2i})}, \quad
            z_{2i} = r_i \cos 2 \pi u_{2i+1}, \quad z_{2i+1} = r_i \sin 2 \pi u_{2i+1}

        in float64 on the host, with the u of `uniform`, so no number is further than 8.6 standard
        deviations from the mean.

        Parameters
        ----------
        shape : int or tuple of int
            Shape of the result.
        mean : float
            Mean.
        std : float, std >= 0
            Standard deviation.
        like : array, optional
            As for `uniform`.

        Raises
        ------
        ConfigurationError
            If an argument is not in its range, or ``like`` is not of a type listed.

        Examples
        --------
        >>> Stream(0).normal(3).round(4).tolist()
        [0.2639, -0.336, -1.9241]
        """
        shape = _shape("Stream.normal", shape)
        mean = checked_number("Stream.normal", "mean", mean)
        std = checked_number("Stream.normal", "std", std, low=0.0)
        n = math.prod(shape)
        unit = self._unit(n + n % 2)
        radius = std * np.sqrt(-2.0 * np.log(1.0 - unit[0::2]))
        angle = 2.0 * math.pi * unit[1::2]
        values = np.empty_like(unit)
        np.multiply(radius, np.cos(angle), out=values[0::2])
        np.multiply(radius, np.sin(angle), out=values[1::2])
        values += mean
        return _deliver(_cast("Stream.normal", values[:n], like).reshape(shape), like)

    def full(self, shape: int | tuple[int, ...], value: float) -> _HostArray:
        """Return an array of one value, float64 on the host: nothing is drawn.

        For initial values that are no random numbers, so that whoever hands out a stream sees
        every size that is asked for.

        Examples
        --------
        >>> Stream(0).full(2, 1.0).tolist()
        [1.0, 1.0]
        """
        return np.full(_shape("Stream.full", shape), value, dtype=np.float64)

    def permutation(self, n: int) -> _HostArray:
        """Return 0, 1, ..., n - 1 in random order: (n,) of int64, on the host.

        It is the order that sorts ``n`` words; equal words, of which 10 million have a pair with
        probability 3e-6, keep their order.

        Raises
        ------
        ConfigurationError
            If ``n`` is not an integer of at least 0.

        Examples
        --------
        >>> Stream(0).permutation(5).tolist()
        [4, 0, 3, 2, 1]
        """
        words = self.words(_unsigned("Stream.permutation: n", n))
        return np.argsort(words, kind="stable").astype(np.int64, copy=False)

    def _unit(self, n: int) -> _HostArray:
        """(n,) of float64 in [0, 1): the upper 53 bits of a word each."""
        values = (self.words(n) >> np.uint64(11)).astype(np.float64)
        values *= 2.0**-53
        return values

    def _blocks(self, first: int, count: int) -> _HostArray:
        """Return the words of ``count`` blocks from block ``first`` on, by NumPy's own Philox."""
        # NumPy increments the counter before it makes a block. Counter and key go in as one integer
        # each, of 256 and 128 bits, least significant word first.
        counter = ((self.call << 64) + first - 1) % (1 << 256)
        generator = np.random.Philox(key=(self.stream << 64) + self.seed, counter=counter)
        return generator.random_raw(4 * count)


def set_mask_maker(library: str, maker: MaskMaker) -> None:
    """Let the masks for arrays of a library be made on their device.

    Parameters
    ----------
    library : str
        Name of a library as `xpnn.backend` has it, such as "cupy".
    maker : callable
        ``maker(stream, threshold, count, start, like)`` returns ``count`` booleans, 1-d, on the
        device of ``like``: True where lane ``start + i`` of the stream is at least ``threshold``,
        bit for bit as `Stream.mask` has it.
    """
    _mask_makers[library] = maker


def fresh_seed() -> int:
    """Return a seed from the entropy of the operating system.

    Examples
    --------
    >>> Stream(fresh_seed()).seed < 2**64
    True
    """
    return int.from_bytes(os.urandom(8), "little")


def drop_threshold(p: float) -> int:
    """Return the threshold below which a lane drops its element: round(65536 p).

    Parameters
    ----------
    p : float, 0 <= p <= 1
        Probability of dropping. Below 2**-17 nothing is dropped, from 1 - 2**-17 on everything.

    Raises
    ------
    ConfigurationError
        If ``p`` is not a number of this range.

    Examples
    --------
    >>> drop_threshold(0.5), drop_threshold(0.3), drop_threshold(1.0)
    (32768, 19661, 65536)
    """
    return round(checked_number("mask", "p", p, low=0.0, high=1.0) * _LANE_VALUES)


def keep_scale(p: float) -> float:
    """Return what the kept elements are multiplied by, so that the mean stays as it was.

    1 / (1 - p) for the probability p that masks really have: 65536 / (65536 - round(65536 p)).

    Parameters
    ----------
    p : float, 0 <= p < 1 - 2**-17
        Probability of dropping.

    Raises
    ------
    ConfigurationError
        If ``p`` is not in [0, 1], and if it is so close to 1 (from 1 - 2**-17 on) that a mask
        keeps nothing and no factor exists.

    Examples
    --------
    >>> keep_scale(0.5)
    2.0
    >>> keep_scale(0.3)
    1.4285776566757493
    """
    kept = _LANE_VALUES - drop_threshold(p)
    if kept == 0:
        raise ConfigurationError(f"mask: p = {p!r} keeps no element, so no factor scales it")
    return _LANE_VALUES / kept


def _deliver(values: _HostArray, like: Array | None) -> Array:
    return values if like is None else from_host(values, like=like)


def _cast(method: str, values: _HostArray, like: Array | None) -> _HostArray:
    """Cast host numbers to NumPy's type of the same name as the type of ``like``."""
    if like is None:
        return values
    dtype = str(like.dtype).rpartition(".")[2]
    if dtype not in ("float16", "float32", "float64"):
        raise ConfigurationError(
            f"{method}: like must have dtype float16, float32 or float64, got {like.dtype}"
        )
    return values.astype(dtype, copy=False)


def _unsigned(name: str, value: Any) -> int:
    """Check an unsigned 64-bit integer and make it a Python integer."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < 1 << 64:
        raise ConfigurationError(f"{name} must be an integer in [0, 2**64), got {value!r}")
    return number


def _shape(method: str, shape: Any) -> tuple[int, ...]:
    lengths = shape if isinstance(shape, tuple | list) else (shape,)
    try:
        return tuple(_unsigned("length", length) for length in lengths)
    except ConfigurationError:
        raise ConfigurationError(
            f"{method}: shape must be an integer of at least 0 or a tuple of them, got {shape!r}"
        ) from None
