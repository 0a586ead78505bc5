"""Random changes of images while a network trains: flips, shifts and crops.

An augmentation is called with a batch of images and a random stream, and returns other images. It
is drawn from nothing but the stream: `xpnn.fit` gives the k-th of its augmentations in step s the
stream ``Stream(network.seed, 2**33 + k, s)``, so what happens to an image follows from the seed,
the step and its place in the batch. It is the same on every library and device, bit for bit, and a
training that is resumed needs no state for it.

    xpnn.fit(net, (x, y), 15, augment=[xpnn.RandomFlip(), xpnn.RandomShift(2)])

Images are (N, H, W) or (N, ..., H, W) on the network's device. Whatever can be called with images
and a stream will do in place of the classes here::

    def noise(images, stream):
        return images + 0.1 * stream.normal(images.shape, like=images)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ._checks import checked_number
from ._settings import represent
from ._standard import Array, arange, array_namespace, clip, device, from_host
from .errors import ConfigurationError, ShapeError
from .random import Stream

__all__ = ["Augmentation", "Augmenter", "RandomCrop", "RandomFlip", "RandomShift", "augmented"]

#: The random stream of the first augmentation: far from those of layers, order of rows and splits.
AUGMENTATION_STREAM = 2**33

#: What makes other images of images: (images, stream) -> images.
Augmenter: TypeAlias = Callable[[Array, Stream], Array]


class Augmentation:
    """A random change of images; the base class."""

    def __call__(self, images: Array, stream: Stream) -> Array:
        """Return changed images.

        Parameters
        ----------
        images : array, (N, ..., H, W)
            Not changed.
        stream : Stream
            Where the change is drawn from.

        Returns
        -------
        array
            New images, of the dtype and on the device of the old ones.

        Raises
        ------
        ShapeError
            If these are no images.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define __call__")

    def __repr__(self) -> str:
        return represent(self)


class RandomFlip(Augmentation):
    """Swap left and right of some images.

    ``output[n, ..., x] = images[n, ..., W - 1 - x]`` for the images that are drawn.

    Parameters
    ----------
    p : float
        Probability for an image, 0 <= p <= 1, rounded to a multiple of 2**-16.

    Raises
    ------
    ConfigurationError
        If p is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn.random import Stream
    >>> images = np.asarray([[[1, 2, 3]], [[4, 5, 6]], [[7, 8, 9]]])
    >>> RandomFlip()(images, Stream(0)).tolist()
    [[[3, 2, 1]], [[4, 5, 6]], [[9, 8, 7]]]
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = checked_number(type(self).__name__, "p", p, low=0.0, high=1.0)

    def __call__(self, images: Array, stream: Stream) -> Array:
        """Return the images, some of them flipped; see `Augmentation`."""
        shape = _image_shape(type(self).__name__, images)
        xp = array_namespace(images)
        stay = stream.mask((shape[0], *(1,) * (len(shape) - 1)), self.p, like=images)
        return xp.where(stay, images, xp.flip(images, axis=-1))


class _Cut(Augmentation):
    """What takes a window out of each image, which may reach beyond its edge."""

    fill: float | str

    def _set_fill(self, fill: float | str) -> None:
        if isinstance(fill, str) and fill != "edge":
            raise ConfigurationError(
                f"{type(self).__name__}: fill must be a number or 'edge', got {fill!r}"
            )
        self.fill = fill if fill == "edge" else checked_number(type(self).__name__, "fill", fill)

    def _cut(self, images: Array, tops: Any, lefts: Any, size: tuple[int, int]) -> Array:
        """Return the windows of a size that begin at rows and columns, one pair an image.

        Two products of small vectors make the place of each pixel, one gather takes them all.
        """
        xp = array_namespace(images)
        n, *inner, height, width = images.shape
        index = xp.__array_namespace_info__().default_dtypes(device=device(images))["indexing"]
        begins = from_host(tops, like=images, dtype=index), from_host(lefts, images, index)
        places, inside = [], []
        for begin, new, old in zip(begins, size, (height, width), strict=True):
            wanted = begin[:, None] + arange(new, like=begin)[None, :]
            place = clip(wanted, 0, old - 1)
            places.append(place)
            inside.append(place == wanted)
        planes = math.prod(inner)
        plane = xp.reshape(arange(n * planes, like=begins[0]), (n, planes, 1, 1))
        row = plane * height + places[0][:, None, :, None]
        pixel = row * width + places[1][:, None, None, :]
        taken = xp.take(xp.reshape(images, (-1,)), xp.reshape(pixel, (-1,)), axis=0)
        taken = xp.reshape(taken, (n, planes, *size))
        if self.fill != "edge":
            seen = xp.logical_and(inside[0][:, None, :, None], inside[1][:, None, None, :])
            taken = xp.where(seen, taken, self.fill)
        return xp.reshape(taken, (n, *inner, *size))


class RandomShift(_Cut):
    """Move each image by some pixels, up or down and left or right.

    ``output[n, ..., y, x] = images[n, ..., y + dy[n], x + dx[n]]``, with whole numbers dy and dx
    from -pixels to pixels, all equally likely.

    Parameters
    ----------
    pixels : int or pair of int
        How far at most: down and across, or one number for both, >= 0.
    fill : float or "edge"
        What comes in from outside: a number, or the pixels at the edge. Of standardized images 0 is
        the mean and not black.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn.random import Stream
    >>> images = np.asarray([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]], [[7.0, 8.0, 9.0]]])
    >>> RandomShift((0, 1))(images, Stream(1)).tolist()
    [[[0.0, 1.0, 2.0]], [[4.0, 5.0, 6.0]], [[0.0, 7.0, 8.0]]]
    """

    def __init__(self, pixels: int | tuple[int, int], fill: float | str = 0.0) -> None:
        self.pixels = _pair(type(self).__name__, "pixels", pixels, low=0)
        self._set_fill(fill)

    def __call__(self, images: Array, stream: Stream) -> Array:
        """Return the images, moved; see `Augmentation`."""
        shape = _image_shape(type(self).__name__, images)
        down, across = _sizes(self.pixels)
        tops, lefts = _begins(stream, shape[0], (2 * down + 1, 2 * across + 1))
        return self._cut(images, tops - down, lefts - across, (shape[-2], shape[-1]))


class RandomCrop(_Cut):
    """Cut a window out of each image, which has been padded before.

    ``output[n, ..., y, x] = padded[n, ..., y + dy[n], x + dx[n]]``, all places equally likely.
    ``RandomCrop(32, padding=4)`` of 32 x 32 pixels is ``RandomShift(4)``. A smaller size changes
    the shape that the network gets in training; images that are evaluated keep theirs, and a
    network with `GlobalAvgPool2d` takes both.

    Parameters
    ----------
    size : int or pair of int
        Height and width of the window, >= 1.
    padding : int or pair of int
        Pixels that are added at each side before, down and across, >= 0.
    fill : float or "edge"
        As for `RandomShift`.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range.
    ShapeError
        When it is called, if the window is larger than the padded images.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn.random import Stream
    >>> RandomCrop(2)(np.arange(16.0).reshape(1, 4, 4), Stream(0)).tolist()
    [[[1.0, 2.0], [5.0, 6.0]]]
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        padding: int | tuple[int, int] = 0,
        fill: float | str = 0.0,
    ) -> None:
        self.size = _pair(type(self).__name__, "size", size, low=1)
        self.padding = _pair(type(self).__name__, "padding", padding, low=0)
        self._set_fill(fill)

    def __call__(self, images: Array, stream: Stream) -> Array:
        """Return the windows; see `Augmentation`."""
        shape = _image_shape(type(self).__name__, images)
        size, padding = _sizes(self.size), _sizes(self.padding)
        choices = [
            old + 2 * pad - new + 1 for old, pad, new in zip(shape[-2:], padding, size, strict=True)
        ]
        if min(choices) < 1:
            raise ShapeError(
                f"{type(self).__name__}: a window of {size} pixels is larger than padded images "
                f"of shape {shape}"
            )
        tops, lefts = _begins(stream, shape[0], (choices[0], choices[1]))
        return self._cut(images, tops - padding[0], lefts - padding[1], size)


def augmented(augmenters: Sequence[Augmenter], images: Array, seed: int, step: int) -> Array:
    """Apply augmentations in turn, each with its own random stream.

    Parameters
    ----------
    augmenters : sequence of callable
        Augmentations.
    images : array, (N, ..., H, W)
        Not changed.
    seed, step : int
        That of the network, and the number of the training step.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.asarray([[[1, 2, 3]], [[4, 5, 6]]])
    >>> augmented([RandomFlip(), RandomFlip(1)], images, seed=0, step=7).tolist()
    [[[1, 2, 3]], [[6, 5, 4]]]
    """
    for number, augmenter in enumerate(augmenters):
        images = augmenter(images, Stream(seed, AUGMENTATION_STREAM + number, step))
    return images


def _begins(stream: Stream, count: int, choices: tuple[int, int]) -> tuple[Any, Any]:
    """Draw two whole numbers from 0 to choices - 1 for each image: words 2 n and 2 n + 1."""
    words = stream.words(2 * count)
    # The remainder favours none by more than 2**-50: a word has 64 bits.
    return (
        (words[0::2] % choices[0]).astype("int64"),
        (words[1::2] % choices[1]).astype("int64"),
    )


def _image_shape(owner: str, images: Array) -> tuple[int, ...]:
    shape = tuple(images.shape)
    if len(shape) < 3:
        raise ShapeError(
            f"{owner}: expected images of shape (N, H, W) or (N, C, H, W), got {shape}"
        )
    return shape


def _pair(owner: str, name: str, value: object, low: int) -> int | tuple[int, int]:
    """Return one whole number or two, as they were given."""
    items: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
    good = all(isinstance(i, int) and not isinstance(i, bool) and i >= low for i in items)
    if not good or len(items) not in (1, 2):
        raise ConfigurationError(
            f"{owner}: {name} must be a whole number of at least {low} or a pair of them, "
            f"got {value!r}"
        )
    if len(items) == 2:
        return int(items[0]), int(items[1])
    return int(items[0])


def _sizes(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
