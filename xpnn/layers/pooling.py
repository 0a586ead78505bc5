"""Pooling: fewer pixels out of many."""

from __future__ import annotations

import math
from functools import reduce

from .._checks import checked_flag
from .._standard import Array, array_namespace, ones, zeros
from ..errors import ConfigurationError, ShapeError
from ._alone import expect_floating
from ._windows import Sizes, Window, add_at, checked_sizes, expect_channels, short
from .layer import Layer

__all__ = ["AvgPool2d", "GlobalAvgPool2d", "MaxPool2d"]


class _Pool2d(Layer):
    """What the poolings over windows have in common."""

    def __init__(
        self, kernel_size: int | Sizes, stride: int | Sizes | None = None, padding: int | Sizes = 0
    ) -> None:
        super().__init__()
        kernel = checked_sizes(self.name, "kernel_size", kernel_size, axes=2, low=1)
        steps = kernel
        if stride is not None:
            steps = checked_sizes(self.name, "stride", stride, axes=2, low=1)
        margins = checked_sizes(self.name, "padding", padding, axes=2, low=0)
        if any(2 * p > k for p, k in zip(margins, kernel, strict=True)):
            raise ConfigurationError(
                f"{self.name}: padding must be at most half of kernel_size = {short(kernel)}, "
                f"got {padding!r}"
            )
        self.kernel_size, self.padding = short(kernel), short(margins)
        self.stride = None if stride is None else short(steps)
        self._window = Window(kernel, steps, margins, dilation=(1, 1))

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(N, C, H, W) becomes (N, C, H', W')."""
        expect_channels(self.name, None, input_shape, axes=2)
        return (*input_shape[:2], *self._window.count(self.name, input_shape))


class MaxPool2d(_Pool2d):
    """Take the largest pixel of each window.

    ::

        output[n, c, y, x] = max over i, j of input[n, c, sh * y - ph + i, sw * x - pw + j]
        dinput             = dout[n, c, y, x] at the place of that pixel, added up

    Parameters
    ----------
    kernel_size : int or pair of int
        Height and width of a window, >= 1.
    stride : int or pair of int, optional
        Distance of two windows, >= 1. By default the size of the window.
    padding : int or pair of int
        Rows and columns at each side that windows may reach into, >= 0 and at most half of the
        kernel. No maximum is ever there, not even of pixels that all are minus infinity.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range.
    ShapeError
        In the forward pass, unless the input is (N, C, H, W) and a window fits into the padded
        image.
    DataError
        In the forward pass, if the pixels are no floating-point numbers.

    Notes
    -----
    Arrays: input (N, C, H, W), output (N, C, H', W') with ``H' = (H + 2 ph - kh) // sh + 1`` and W'
    likewise, of one floating-point dtype. No parameters. Both modes do the same. Of equal pixels,
    the first one of the window in reading order gets the gradient.

    Cost in FLOPs a pixel of the output: kh kw forward, 4 kh kw backward, with padding 5. The cache
    keeps the padded input and the output.

    Source: Ranzato, Huang, Boureau and LeCun, "Unsupervised Learning of Invariant Feature
    Hierarchies with Applications to Object Recognition", CVPR 2007, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> layer = MaxPool2d(2)
    >>> layer.forward(np.asarray([[[[1.0, 5.0, 2.0, 2.0], [3.0, 4.0, 2.0, 2.0]]]])).tolist()
    [[[[5.0, 2.0]]]]
    >>> layer.backward(np.asarray([[[[1.0, 1.0]]]])).tolist()
    [[[[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]]
    """

    def cache_size(self, input_shape: tuple[int, ...]) -> int:
        """N C (H + 2 ph) (W + 2 pw), the padded input; 0 without padding."""
        if not any(map(any, self._window.margins)):
            return 0
        sizes = zip(input_shape[2:], self._window.margins, strict=True)
        return math.prod(input_shape[:2]) * math.prod(s + sum(m) for s, m in sizes)

    def forward(self, input: Array) -> Array:
        """Return the largest pixel of each window."""
        shape = self.output_shape(input.shape)
        expect_floating(self.name, input)  # integers have no minus infinity for the padding
        padded = self._window.pad(input, -math.inf)
        strip = self._window.strip(shape[2:])
        output = reduce(array_namespace(input).maximum, strip.pixels(padded))
        self.cache = {"padded": padded, "output": output}
        return output

    def backward(self, dout: Array) -> Array:
        """Return ``dout`` at the places of the largest pixels."""
        padded, output = self.saved("padded"), self.saved("output")
        xp = array_namespace(dout)
        dpadded = xp.zeros_like(padded)
        strip = self._window.strip(tuple(dout.shape[2:]))
        # The padding is minus infinity, as all pixels of a window may be.
        real = None
        if any(map(any, self._window.margins)):
            real = self._window.pad(ones((1, 1, *self._window.crop(padded).shape[2:]), like=dout))
        left = dout  # what has found no place yet
        for tap, pixel in zip(strip.taps, strip.pixels(padded), strict=True):
            found = xp.astype(pixel == output, dout.dtype)
            found *= left
            if real is not None:
                found *= real[:, :, *tap]
            dpadded = add_at(dpadded, tap, found)
            left = left - found
        return self._window.crop(dpadded)


class AvgPool2d(_Pool2d):
    """Take the mean of each window.

    ::

        output[n, c, y, x] = sum over i, j of input[n, c, sh * y - ph + i, sw * x - pw + j] / count
        dinput             = dout[n, c, y, x] / count at each of these pixels, added up

    Parameters
    ----------
    kernel_size : int or pair of int
        Height and width of a window, >= 1.
    stride : int or pair of int, optional
        Distance of two windows, >= 1. By default the size of the window.
    padding : int or pair of int
        Rows and columns of zeros at each side, >= 0 and at most half of the kernel.
    count_padding : bool
        Whether the zeros of the padding count as pixels. If not, count is smaller at the edges.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range.
    ShapeError
        In the forward pass, unless the input is (N, C, H, W) and a window fits into the padded
        image.

    Notes
    -----
    Arrays: input (N, C, H, W), output (N, C, H', W') with ``H' = (H + 2 ph - kh) // sh + 1`` and W'
    likewise, of one floating-point dtype. No parameters. Both modes do the same.

    Cost in FLOPs a pixel of the output: kh kw forward, kh kw backward. The cache keeps the size of
    the input.

    Source: LeCun, Boser, Denker, Henderson, Howard, Hubbard and Jackel, "Handwritten Digit
    Recognition with a Back-Propagation Network", NIPS 1989, section 4: layers H2 and H4.

    Examples
    --------
    >>> import numpy as np
    >>> AvgPool2d(2).forward(np.asarray([[[[1.0, 5.0, 2.0, 2.0], [3.0, 3.0, 2.0, 2.0]]]])).tolist()
    [[[[3.0, 2.0]]]]
    """

    def __init__(
        self,
        kernel_size: int | Sizes,
        stride: int | Sizes | None = None,
        padding: int | Sizes = 0,
        count_padding: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.count_padding = checked_flag(self.name, "count_padding", count_padding)

    def forward(self, input: Array) -> Array:
        """Return the mean of each window."""
        shape = self.output_shape(input.shape)
        self.cache["sizes"] = tuple(input.shape[2:])
        output = self._sums(input, shape[2:])
        output /= self._counts(input)
        return output

    def backward(self, dout: Array) -> Array:
        """Return ``dout / count`` at the places of all pixels."""
        sizes = self.saved("sizes")
        margins = self._window.margins
        padded = (s + sum(margin) for s, margin in zip(sizes, margins, strict=True))
        dinput = zeros((*dout.shape[:2], *padded), like=dout)
        share = dout / self._counts(zeros((1, 1, *sizes), like=dout))
        for tap in self._window.strip(tuple(dout.shape[2:])).taps:
            dinput = add_at(dinput, tap, share)
        return self._window.crop(dinput)

    def _sums(self, input: Array, count: Sizes) -> Array:
        """Add up the pixels of each window, in a new array."""
        pixels = self._window.strip(count).pixels(self._window.pad(input))
        first = next(pixels) + 0.0
        for pixel in pixels:
            first += pixel
        return first

    def _counts(self, like: Array) -> Array | float:
        """Return how many pixels each window has, for images of a size."""
        if self.count_padding or not self.padding:
            return float(self._window.taps)
        alone = ones((1, 1, *like.shape[2:]), like=like)
        return self._sums(alone, self._window.count(self.name, alone.shape))


class GlobalAvgPool2d(Layer):
    """Take the mean of each channel, over all pixels.

    ::

        output[n, c] = sum over y, x of input[n, c, y, x] / (H W)
        dinput[n, c, y, x] = dout[n, c] / (H W)

    It ends a convolutional network for images of any size, without the weights of a `Flatten`.

    Raises
    ------
    ShapeError
        In the forward pass, unless the input is (N, C, H, W) with H and W of at least 1.

    Notes
    -----
    Arrays: input (N, C, H, W), output (N, C), of one floating-point dtype. No parameters. Both
    modes do the same.

    Cost in FLOPs a pixel of the input: 1 forward, 1 backward. The cache keeps the shape of the
    input.

    Source: Lin, Chen and Yan, "Network In Network", ICLR 2014, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> GlobalAvgPool2d().forward(np.asarray([[[[1.0, 2.0], [3.0, 6.0]]]])).tolist()
    [[3.0]]
    """

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(N, C, H, W) becomes (N, C)."""
        expect_channels(self.name, None, input_shape, axes=2)
        if 0 in input_shape[2:]:
            raise ShapeError(
                f"{self.name}: expected input of shape (N, C, H, W) with at least one pixel, "
                f"got {tuple(input_shape)}"
            )
        return input_shape[:2]

    def forward(self, input: Array) -> Array:
        """Return the means."""
        self.output_shape(input.shape)
        self.cache["shape"] = input.shape
        return array_namespace(input).mean(input, axis=(2, 3))

    def backward(self, dout: Array) -> Array:
        """Return ``dout / (H W)`` at every pixel."""
        shape = self.saved("shape")
        dinput = zeros(shape, like=dout)
        dinput += dout[:, :, None, None] / math.prod(shape[2:])
        return dinput
