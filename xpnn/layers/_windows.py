"""Windows over sequences and images: the arithmetic that convolutions and pooling share.

A window of a few taps slides over padded arrays (N, C, ...), whose axes behind the channels are
called sizes here: (L,) for a sequence, (H, W) for an image. One tap of all windows together is one
strided slice of the array, so nothing loops over positions.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .._standard import Array, array_namespace, full, is_immutable, zeros
from ..errors import ConfigurationError, ShapeError

__all__ = ["Sizes", "Strip", "Window", "add_at", "checked_sizes", "expect_channels", "short"]

#: One whole number for each axis behind the channels.
Sizes = tuple[int, ...]

_NAMES = {1: ("L",), 2: ("H", "W")}


def checked_sizes(
    owner: str, name: str, value: object, axes: int, low: int, also: str = ""
) -> Sizes:
    """Return one whole number, or one for each axis, as a tuple, each at least ``low``.

    ``also`` says in the error what else the caller takes.

    Raises
    ------
    ConfigurationError
        For anything else.

    Examples
    --------
    >>> checked_sizes("Conv2d", "stride", 2, axes=2, low=1)
    (2, 2)
    """
    items = value if isinstance(value, tuple | list) else [value] * axes
    try:
        numbers = tuple(low - 1 if isinstance(i, bool) else operator.index(i) for i in items)  # type: ignore[arg-type]
    except TypeError:
        numbers = ()
    if len(numbers) != axes or min(numbers) < low:
        several = f" or {axes} of them" if axes > 1 else ""
        raise ConfigurationError(
            f"{owner}: {name} must be a whole number of at least {low}{several}{also}, "
            f"got {value!r}"
        )
    return numbers


def short(sizes: Sizes) -> int | Sizes:
    """Return equal numbers as one, as people write them.

    Examples
    --------
    >>> short((3, 3)), short((3, 1))
    (3, (3, 1))
    """
    return sizes[0] if len(set(sizes)) == 1 else sizes


#: What an error says of channels in the wrong place, and what helps.
CHANNELS_LAST = ", channels first and not last", ": give numpy.moveaxis(input, -1, 1)"


def expect_channels(owner: str, channels: int | None, shape: Sizes, axes: int) -> None:
    """Raise ShapeError unless an input is (N, channels, ...) with ``axes`` sizes behind.

    Examples
    --------
    >>> expect_channels("Conv2d", 3, (8, 32, 32, 3), axes=2)
    Traceback (most recent call last):
        ...
    xpnn.errors.ShapeError: Conv2d: expected input of shape (N, 3, H, W), channels first and not \
last, got (8, 32, 32, 3): give numpy.moveaxis(input, -1, 1)
    """
    if len(shape) == 2 + axes and channels in (None, shape[1]):
        return
    names = ", ".join(_NAMES[axes])
    wanted = "C" if channels is None else channels
    order = remedy = ""
    if len(shape) == 2 + axes and shape[-1] == channels:
        order, remedy = CHANNELS_LAST
    elif len(shape) == 1 + axes and channels in (None, 1):
        remedy = ": give input[:, None], with an axis for the channel"
    raise ShapeError(
        f"{owner}: expected input of shape (N, {wanted}, {names}){order}, "
        f"got {tuple(shape)}{remedy}"
    )


@dataclass(frozen=True)
class Window:
    """How a window slides; each tuple has one number for each size.

    Attributes
    ----------
    kernel, stride, dilation : tuple of int
        Taps of the window, distance of two windows, distance of two taps.
    padding : tuple of int or "same"
        Padding at each side. "same", for a stride of 1, keeps the sizes; where it is odd, the
        larger half is at the end.
    """

    kernel: Sizes
    stride: Sizes
    padding: Sizes | str
    dilation: Sizes

    @property
    def taps(self) -> int:
        """Number of taps."""
        return math.prod(self.kernel)

    @property
    def reach(self) -> Sizes:
        """Distance from the first to the last tap, both included."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """Padding before and after."""
        if isinstance(self.padding, str):
            return tuple(((r - 1) // 2, r // 2) for r in self.reach)
        return tuple((p, p) for p in self.padding)

    def count(self, owner: str, shape: Sizes) -> Sizes:
        """Return how many windows fit into an array of shape (N, C, ...).

        Raises
        ------
        ShapeError
            If not one fits.
        """
        room = [s + sum(m) - r for s, m, r in zip(shape[2:], self.margins, self.reach, strict=True)]
        if min(room) < 0:
            names = ", ".join(_NAMES[len(room)])
            least = tuple(max(s - r, 1) for s, r in zip(shape[2:], room, strict=True))
            raise ShapeError(
                f"{owner}: expected input of shape (N, {shape[1]}, {names}) with {names} of at "
                f"least {short(least)}, for a window to fit in, got {tuple(shape)}"
            )
        return tuple(r // s + 1 for r, s in zip(room, self.stride, strict=True))

    def pad(self, array: Array, value: float = 0.0) -> Array:
        """Return the array with the margins around it."""
        if not any(map(any, self.margins)):
            return array
        shape = array.shape[:2]
        wide = (sum(margin) + s for margin, s in zip(self.margins, array.shape[2:], strict=True))
        if not is_immutable(array):
            padded = full((*shape, *wide), value, like=array)
            padded[self._inner(array.shape[2:])] = array
            return padded
        xp = array_namespace(array)
        for axis, margin in enumerate(self.margins, start=2):
            shape = array.shape
            sides = [
                full((*shape[:axis], m, *shape[axis + 1 :]), value, like=array) for m in margin
            ]
            array = xp.concat([sides[0], array, sides[1]], axis=axis)
        return array

    def crop(self, padded: Array) -> Array:
        """Return the array without the margins: a view where the library has views."""
        margins = (sum(margin) for margin in self.margins)
        sizes = tuple(p - m for p, m in zip(padded.shape[2:], margins, strict=True))
        return padded[self._inner(sizes)]

    def strip(self, count: Sizes, first: int = 0) -> Strip:
        """Describe windows: how many, of which the first has the number ``first`` down."""
        starts = (first * self.stride[0], *(0 for _ in count[1:]))
        slices = []
        for tap in itertools.product(*map(range, self.kernel)):
            offsets = [s + t * d for s, t, d in zip(starts, tap, self.dilation, strict=True)]
            ends = [
                o + (n - 1) * s + 1 for o, n, s in zip(offsets, count, self.stride, strict=True)
            ]
            slices.append(tuple(map(slice, offsets, ends, self.stride)))
        width = math.prod(count[1:])
        return Strip(count, slice(first * width, (first + count[0]) * width), slices)

    def _inner(self, sizes: Sequence[int]) -> tuple[slice, ...]:
        """Where an array of some sizes lies in its padded one."""
        inner = (slice(m[0], m[0] + s) for m, s in zip(self.margins, sizes, strict=True))
        return (slice(None), slice(None), *inner)


@dataclass(frozen=True)
class Strip:
    """Some rows of windows.

    Attributes
    ----------
    count : tuple of int
        Number of windows along each size.
    windows : slice
        Where they are among all windows, as these follow one another in C order.
    taps : list of tuple of slice
        Where each tap of the windows, in C order, lies in the padded array.
    """

    count: Sizes
    windows: slice
    taps: list[tuple[slice, ...]]

    def pixels(self, padded: Array) -> Iterator[Array]:
        """Yield one tap of all windows after the other: (N, C, windows down, windows across)."""
        for tap in self.taps:
            yield padded[:, :, *tap]

    def columns(self, turned: Array) -> Array:
        """Return the taps of the windows of padded images (C, N, ...): (C, taps, N, windows)."""
        xp = array_namespace(turned)
        channels, images = turned.shape[:2]
        shape = (channels, len(self.taps), images, math.prod(self.count))
        return xp.reshape(xp.stack(list(self.pixels(turned)), axis=1), shape)

    def add_columns(self, turned: Array, columns: Array) -> Array:
        """Add what `columns` takes out back to its places in an array that the caller owns.

        In place where the library can, so use the result and forget the argument.
        """
        columns = array_namespace(columns).reshape(columns, (*columns.shape[:3], *self.count))
        for number, tap in enumerate(self.taps):
            turned = add_at(turned, tap, columns[:, number, ...])
        return turned


def add_at(array: Array, where: tuple[slice, ...], block: Array) -> Array:
    """Add a block to slices of an array that the caller owns, over the axes from 2 on.

    In place where the library can, so use the result and forget the argument.
    """
    if not is_immutable(array):
        part = array[:, :, *where]
        part += block
        return array
    for axis, places in enumerate(where, start=2):
        block = _spread(block, places, array.shape[axis], axis)
    return array + block


def _spread(block: Array, places: slice, length: int, axis: int) -> Array:
    """Put the slices of an axis to their places in a longer one, with zeros between and around."""
    xp = array_namespace(block)

    def gap(width: int) -> Array:
        return zeros((*block.shape[:axis], width, *block.shape[axis + 1 :]), like=block)

    count = block.shape[axis]
    end = places.start + (count - 1) * places.step + 1
    if places.step > 1:
        spaced = xp.stack([block, *([xp.zeros_like(block)] * (places.step - 1))], axis=axis + 1)
        shape = (*block.shape[:axis], count * places.step, *block.shape[axis + 1 :])
        block = xp.reshape(spaced, shape)
        # Without the zeros behind the last one.
        block = block[(*[slice(None)] * axis, slice(0, end - places.start))]
    return xp.concat([gap(places.start), block, gap(length - end)], axis=axis)
