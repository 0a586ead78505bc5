"""The stream: random numbers that depend on three integers and nothing else."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np

from .._checks import checked_number
from .._standard import Array, from_host, library_name
from ..errors import ConfigurationError
from .arguments import checked_shape, unsigned
from .masks import drop_threshold, mask_maker
from .words import HostArray, blocks, cast, deliver, unit

__all__ = ["Stream", "fresh_seed"]


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
            value = unsigned(f"Stream: {name}", getattr(self, name))
            object.__setattr__(self, name, value)  # the class is frozen from here on

    def at(self, call: int) -> Stream:
        """Return the same stream at another call.

        Examples
        --------
        >>> Stream(7, 1).at(5) == Stream(7, 1, 5)
        True
        """
        return Stream(self.seed, self.stream, call)

    def words(self, n: int, start: int = 0) -> HostArray:
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
        n, start = unsigned("Stream.words: n", n), unsigned("Stream.words: start", start)
        block, skipped = divmod(start, 4)
        made = blocks((self.seed, self.stream), self.call, block, -(-(skipped + n) // 4))
        return made[skipped : skipped + n]

    def bits(self, n: int, start: int = 0) -> HostArray:
        """Return ``n`` lanes of 16 random bits, beginning with lane ``start``.

        Parameters, result and errors are those of `words`, but (n,) of uint16: four lanes a word,
        the one of the lowest bits first.

        Examples
        --------
        >>> [hex(lane) for lane in Stream(0).bits(4)]
        ['0x314c', '0xca36', '0x4d9e', '0x1655']
        """
        n, start = unsigned("Stream.bits: n", n), unsigned("Stream.bits: start", start)
        block, skipped = divmod(start, 16)
        words = blocks((self.seed, self.stream), self.call, block, -(-(skipped + n) // 16))
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
        shape = checked_shape("Stream.mask", shape)
        start = unsigned("Stream.mask: start", start)
        threshold, count = drop_threshold(p), math.prod(shape)
        maker = None if like is None else mask_maker(library_name(like))
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
        shape = checked_shape("Stream.uniform", shape)
        low = checked_number("Stream.uniform", "low", low)
        high = checked_number("Stream.uniform", "high", high)
        if not 0 < high - low < math.inf:
            raise ConfigurationError(
                f"Stream.uniform: high must be above low by a finite amount, "
                f"got low {low!r} and high {high!r}"
            )
        values = unit(self.words(math.prod(shape)))
        values *= high - low
        values += low
        values = cast("Stream.uniform", values, like)
        end = np.nextafter(values.dtype.type(high), values.dtype.type(-math.inf))
        np.minimum(values, max(end, values.dtype.type(low)), out=values)
        return deliver(values.reshape(shape), like)

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
        shape = checked_shape("Stream.normal", shape)
        mean = checked_number("Stream.normal", "mean", mean)
        std = checked_number("Stream.normal", "std", std, low=0.0)
        n = math.prod(shape)
        uniform = unit(self.words(n + n % 2))
        radius = std * np.sqrt(-2.0 * np.log(1.0 - uniform[0::2]))
        angle = 2.0 * math.pi * uniform[1::2]
        values = np.empty_like(uniform)
        np.multiply(radius, np.cos(angle), out=values[0::2])
        np.multiply(radius, np.sin(angle), out=values[1::2])
        values += mean
        return deliver(cast("Stream.normal", values[:n], like).reshape(shape), like)

    def full(self, shape: int | tuple[int, ...], value: float) -> HostArray:
        """Return an array of one value, float64 on the host: nothing is drawn.

        For initial values that are no random numbers, so that whoever hands out a stream sees
        every size that is asked for.

        Examples
        --------
        >>> Stream(0).full(2, 1.0).tolist()
        [1.0, 1.0]
        """
        return np.full(checked_shape("Stream.full", shape), value, dtype=np.float64)

    def permutation(self, n: int) -> HostArray:
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
        words = self.words(unsigned("Stream.permutation: n", n))
        return np.argsort(words, kind="stable").astype(np.int64, copy=False)


def fresh_seed() -> int:
    """Return a seed from the entropy of the operating system.

    Examples
    --------
    >>> Stream(fresh_seed()).seed < 2**64
    True
    """
    return int.from_bytes(os.urandom(8), "little")
