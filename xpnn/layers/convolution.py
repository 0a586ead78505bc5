"""Convolutions over images and sequences."""

from __future__ import annotations

import math
from typing import ClassVar

from .._standard import Array, array_namespace
from ..errors import ConfigurationError, ShapeError
from ..initializers import Initializer
from ..initializers import get as get_initializer
from ..random import Stream
from ._alone import build_alone
from ._correlation import correlate, correlate_transposed, filter_gradient
from ._shapes import checked_width
from ._windows import Sizes, Window, checked_sizes, expect_channels, short
from .layer import Layer

__all__ = ["Conv1d", "Conv2d", "ConvTranspose2d"]


class _Filters(Layer):
    """What convolutions have in common: the filters, and how they slide.

    A subclass sets `axes`, the number of sizes behind the channels.
    """

    axes: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sizes,
        stride: int | Sizes = 1,
        padding: int | Sizes | str = 0,
        dilation: int | Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        weight_initializer: str | Initializer = "he_normal",
        bias_initializer: str | Initializer = "zeros",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = checked_width(self.name, "in_channels", in_channels)
        self.out_channels = checked_width(self.name, "out_channels", out_channels)
        self.groups = checked_width(self.name, "groups", groups)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ConfigurationError(
                    f"{self.name}: {name} must be divisible by groups = {self.groups}, "
                    f"got {getattr(self, name)}"
                )
        kernel = checked_sizes(self.name, "kernel_size", kernel_size, self.axes, low=1)
        steps = checked_sizes(self.name, "stride", stride, self.axes, low=1)
        gaps = checked_sizes(self.name, "dilation", dilation, self.axes, low=1)
        margin: Sizes | str = "same"
        if padding != "same":
            margin = checked_sizes(self.name, "padding", padding, self.axes, low=0)
        elif max(steps) > 1:
            raise ConfigurationError(f"{self.name}: padding 'same' needs stride 1, got {stride!r}")
        self.kernel_size, self.stride, self.dilation = short(kernel), short(steps), short(gaps)
        self.padding = margin if isinstance(margin, str) else short(margin)
        self.bias = bool(bias)
        for initializer in (weight_initializer, bias_initializer):
            get_initializer(initializer)  # mistakes show here, not at the first step
        self.weight_initializer = weight_initializer
        self.bias_initializer = bias_initializer
        self.seed = None if seed is None else Stream(seed).seed
        self._window = Window(kernel, steps, margin, gaps)

    def build(self, rng: Stream) -> None:
        """Draw W and b where they are missing."""
        if "W" not in self.params:
            self.params["W"] = self._draw_weight(rng.at(0))
        if self.bias and "b" not in self.params:
            draw = get_initializer(self.bias_initializer)
            self.params["b"] = draw((self.out_channels,), rng.at(1))

    def _draw_weight(self, rng: Stream) -> Array:
        shape = (self.out_channels, self.in_channels // self.groups, *self._window.kernel)
        return get_initializer(self.weight_initializer)(shape, rng)

    def _filters(self) -> Array:
        """W as (groups, filters, channels times taps)."""
        weight = self.params["W"]
        shape = (self.groups, weight.shape[0] // self.groups, -1)
        return array_namespace(weight).reshape(weight, shape)

    def _add_bias(self, output: Array) -> Array:
        """Add b to an output that this layer has made."""
        if self.bias:
            shape = (1, self.out_channels, *(1 for _ in range(self.axes)))
            output += array_namespace(output).reshape(self.params["b"], shape)
        return output

    def _rows(self, images: Array, channels: int) -> Array:
        """(N, channels, ...) as (N, groups, channels / groups, windows)."""
        shape = (images.shape[0], self.groups, channels // self.groups, math.prod(images.shape[2:]))
        return array_namespace(images).reshape(images, shape)

    def _write_gradients(self, filters: Array, dout: Array) -> None:
        xp = array_namespace(dout)
        self.grads["W"] = xp.reshape(filters, self.params["W"].shape)
        if self.bias:
            sizes = tuple(range(2, 2 + self.axes))
            self.grads["b"] = xp.sum(dout, axis=(0, *sizes))


class _Convolution(_Filters):
    """`Conv1d` and `Conv2d`."""

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(N, in_channels, ...) becomes (N, out_channels, ...)."""
        expect_channels(self.name, self.in_channels, input_shape, self.axes)
        count = self._window.count(self.name, input_shape)
        return (input_shape[0], self.out_channels, *count)

    def forward(self, input: Array) -> Array:
        """Return what the filters make of the windows."""
        shape = self.output_shape(input.shape)
        if len(self.params) < 1 + self.bias:
            build_alone(self, self.seed, input)
        self.cache["input"] = input
        rows = correlate(self._window, input, self._filters(), shape[2:])
        return self._add_bias(array_namespace(input).reshape(rows, shape))

    def backward(self, dout: Array) -> Array:
        """Return the gradient of the input, and write those of W and b."""
        input, filters = self.saved("input"), self._filters()
        rows, count = self._rows(dout, self.out_channels), tuple(dout.shape[2:])
        self._write_gradients(filter_gradient(self._window, input, rows, filters, count), dout)
        return correlate_transposed(self._window, rows, filters, count, tuple(input.shape[2:]))


class Conv2d(_Convolution):
    """Slide a set of filters over images.

    With stride (sh, sw), padding (ph, pw), dilation (dh, dw), and pixels outside of the image that
    are 0::

        pixel[n, c, y, x, i, j] = input[n, c, sh * y - ph + dh * i, sw * x - pw + dw * j]
        output[n, o, y, x] = b[o] + sum of W[o, c, i, j] * pixel[n, c, y, x, i, j] over c, i, j

        dW[o, c, i, j] = sum of dout[n, o, y, x] * pixel[n, c, y, x, i, j] over n, y, x
        db[o]          = sum of dout[n, o, y, x] over n, y, x
        dinput         = dout[n, o, y, x] * W[o, c, i, j], added up where the pixel lies

    With groups, channels and filters are cut into as many equal parts, and a filter sees the
    channels of its own part only.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the images and number of filters, >= 1, both divisible by ``groups``.
    kernel_size : int or pair of int
        Height and width of a filter, >= 1.
    stride : int or pair of int
        Distance of two windows, down and across, >= 1.
    padding : int, pair of int or "same"
        Rows and columns of zeros at each side, >= 0. "same" keeps the size of the images and needs
        a stride of 1; where the zeros are odd in number, the larger half is below and to the right.
    dilation : int or pair of int
        Distance of two pixels under a filter, >= 1.
    groups : int
        Number of parts, >= 1.
    bias : bool
        Whether there is a b.
    weight_initializer, bias_initializer : str or initializer
        How the first W and b are drawn; see `xpnn.initializers`.
    seed : int, optional
        Draw from this seed, 0 <= seed < 2**64, and not from the network's. A layer that is used
        alone and has no seed draws from fresh entropy.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range, channels are not divisible by the groups, or padding is
        "same" and the stride is not 1.
    ShapeError
        In the forward pass, unless the input is (N, in_channels, H, W) and a window fits into the
        padded image.

    Notes
    -----
    Arrays: input (N, in_channels, H, W), output (N, out_channels, H', W') with
    ``H' = (H + 2 ph - dh (kh - 1) - 1) // sh + 1`` and W' likewise, W (out_channels,
    in_channels / groups, kh, kw), b (out_channels,), all of one floating-point dtype. By default W
    is normal with variance 2 / (kh kw in_channels / groups) and b is zero. Both modes do the same.
    As everywhere in neural networks, filters are not flipped: it is a correlation.

    Cost: 2 N H' W' out_channels kh kw in_channels / groups FLOPs forward, twice that backward. The
    cache keeps the input, without a copy. The pixels under the windows are laid out for a matrix
    product a megabyte at a time, so the memory besides is small.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
    Recognition", Proceedings of the IEEE 86, 1998, section II.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv2d(1, 1, kernel_size=2, weight_initializer="ones")
    >>> layer.forward(np.asarray([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])).tolist()
    [[[[12.0, 16.0]]]]
    """

    axes = 2


class Conv1d(_Convolution):
    """Slide a set of filters over sequences.

    With stride s, padding p, dilation d, and steps outside of the sequence that are 0::

        step[n, c, t, i] = input[n, c, s * t - p + d * i]
        output[n, o, t]  = b[o] + sum of W[o, c, i] * step[n, c, t, i] over c, i

        dW[o, c, i] = sum of dout[n, o, t] * step[n, c, t, i] over n, t
        db[o]       = sum of dout[n, o, t] over n, t
        dinput      = dout[n, o, t] * W[o, c, i], added up where the step lies

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, dilation, groups
        As for `Conv2d`, along the one axis of length.
    bias : bool
        Whether there is a b.
    weight_initializer, bias_initializer : str or initializer
        How the first W and b are drawn; see `xpnn.initializers`.
    seed : int, optional
        As for `Conv2d`.

    Raises
    ------
    ConfigurationError
        As for `Conv2d`.
    ShapeError
        In the forward pass, unless the input is (N, in_channels, L) and a window fits into the
        padded sequence.

    Notes
    -----
    Arrays: input (N, in_channels, L), output (N, out_channels, L') with
    ``L' = (L + 2 p - d (k - 1) - 1) // s + 1``, W (out_channels, in_channels / groups, k),
    b (out_channels,), all of one floating-point dtype. Both modes do the same. Channels come before
    the steps, as for images; recurrent layers have sequences (N, T, D).

    Cost: 2 N L' out_channels k in_channels / groups FLOPs forward, twice that backward. The cache
    keeps the input, without a copy.

    Source: Waibel, Hanazawa, Hinton, Shikano and Lang, "Phoneme Recognition Using Time-Delay Neural
    Networks", IEEE Transactions on Acoustics, Speech and Signal Processing 37, 1989, section II.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv1d(1, 1, kernel_size=2, weight_initializer="ones")
    >>> layer.forward(np.asarray([[[1.0, 2.0, 3.0]]])).tolist()
    [[[3.0, 5.0]]]
    """

    axes = 1


class ConvTranspose2d(_Filters):
    """Enlarge images by a convolution backwards.

    What `Conv2d` gathers from a window to a pixel, this layer spreads from a pixel to a window: its
    forward pass is the gradient of the input of a convolution, and its backward pass is a
    convolution. With stride (sh, sw), padding (ph, pw) and dilation (dh, dw)::

        output = b, plus input[n, c, y, x] * W[c, o, i, j] added up at
                 output[n, o, sh * y - ph + dh * i, sw * x - pw + dw * j]

        pixel[n, o, y, x, i, j] = dout[n, o, sh * y - ph + dh * i, sw * x - pw + dw * j]
        dW[c, o, i, j]     = sum of input[n, c, y, x] * pixel[n, o, y, x, i, j] over n, y, x
        db[o]              = sum of dout[n, o, y, x] over n, y, x
        dinput[n, c, y, x] = sum of W[c, o, i, j] * pixel[n, o, y, x, i, j] over o, i, j

    Parameters
    ----------
    in_channels, out_channels : int
        Channels before and after, >= 1, both divisible by ``groups``.
    kernel_size : int or pair of int
        Height and width of a window, >= 1.
    stride : int or pair of int
        Distance of two windows, >= 1: about the factor by which images grow.
    padding : int or pair of int
        Rows and columns that are cut off at each side, >= 0.
    output_padding : int or pair of int
        Rows below and columns to the right that the output has besides, >= 0 and less than the
        larger of stride and dilation. A stride above 1 makes images of several sizes small by the
        same; this chooses which of them comes back.
    dilation : int or pair of int
        Distance of two pixels under a window, >= 1.
    groups : int
        Number of parts, >= 1, as for `Conv2d`.
    bias : bool
        Whether there is a b.
    weight_initializer, bias_initializer : str or initializer
        How the first W and b are drawn; see `xpnn.initializers`.
    seed : int, optional
        As for `Conv2d`.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range, or channels are not divisible by the groups.
    ShapeError
        In the forward pass, unless the input is (N, in_channels, H, W) and the padding leaves
        something of the output.

    Notes
    -----
    Arrays: input (N, in_channels, H, W), output (N, out_channels, H', W') with
    ``H' = (H - 1) sh - 2 ph + dh (kh - 1) + 1`` and the output padding, W' likewise, W
    (in_channels, out_channels / groups, kh, kw), b (out_channels,), all of one floating-point
    dtype. By default W is normal with variance 2 / (kh kw in_channels / groups) and b is zero. Both
    modes do the same.

    Cost: 2 N H W in_channels kh kw out_channels / groups FLOPs forward, twice that backward. The
    cache keeps the input, without a copy.

    Source: Zeiler, Krishnan, Taylor and Fergus, "Deconvolutional Networks", CVPR 2010; Dumoulin and
    Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285, chapter 4.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConvTranspose2d(1, 1, kernel_size=2, stride=2, weight_initializer="ones")
    >>> layer.forward(np.asarray([[[[1.0, 2.0]]]])).tolist()
    [[[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]]
    """

    axes = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sizes,
        stride: int | Sizes = 1,
        padding: int | Sizes = 0,
        output_padding: int | Sizes = 0,
        dilation: int | Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        weight_initializer: str | Initializer = "he_normal",
        bias_initializer: str | Initializer = "zeros",
        seed: int | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            # "same" makes no sense here: it is one more thing that is no whole number.
            checked_sizes(type(self).__name__, "padding", padding, self.axes, low=0),
            dilation,
            groups,
            bias,
            weight_initializer,
            bias_initializer,
            seed,
        )
        extra = checked_sizes(self.name, "output_padding", output_padding, self.axes, low=0)
        window = self._window
        for e, s, d in zip(extra, window.stride, window.dilation, strict=True):
            if e >= max(s, d):
                raise ConfigurationError(
                    f"{self.name}: output_padding must be less than stride or dilation, "
                    f"got {output_padding!r}"
                )
        self.output_padding = short(extra)
        self._extra = extra

    def _draw_weight(self, rng: Stream) -> Array:
        # As for a convolution with as many inputs and outputs, then turned around.
        weight = super()._draw_weight(rng)
        xp = array_namespace(weight)
        kernel = self._window.kernel
        outputs, inputs = self.out_channels // self.groups, self.in_channels // self.groups
        grouped = xp.reshape(weight, (self.groups, outputs, inputs, *kernel))
        turned = xp.permute_dims(grouped, (0, 2, 1, 3, 4))
        return xp.reshape(turned, (self.in_channels, outputs, *kernel))

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(N, in_channels, H, W) becomes (N, out_channels, H', W')."""
        expect_channels(self.name, self.in_channels, input_shape, self.axes)
        window = self._window
        sizes = tuple(
            (n - 1) * s + r - sum(m) + e
            for n, s, r, m, e in zip(
                input_shape[2:],
                window.stride,
                window.reach,
                window.margins,
                self._extra,
                strict=True,
            )
        )
        if min(input_shape[2:]) < 1 or min(sizes) < 1:
            raise ShapeError(
                f"{self.name}: expected input of shape (N, {self.in_channels}, H, W) of which the "
                f"padding {self.padding} leaves something, got {tuple(input_shape)}"
            )
        return (input_shape[0], self.out_channels, *sizes)

    def forward(self, input: Array) -> Array:
        """Return the images that the windows add up to."""
        shape = self.output_shape(input.shape)
        if len(self.params) < 1 + self.bias:
            build_alone(self, self.seed, input)
        self.cache["input"] = input
        rows, count = self._rows(input, self.in_channels), tuple(input.shape[2:])
        filters = self._filters()
        return self._add_bias(correlate_transposed(self._window, rows, filters, count, shape[2:]))

    def backward(self, dout: Array) -> Array:
        """Return the gradient of the input, and write those of W and b."""
        input, filters = self.saved("input"), self._filters()
        rows, count = self._rows(input, self.in_channels), tuple(input.shape[2:])
        self._write_gradients(filter_gradient(self._window, dout, rows, filters, count), dout)
        dinput = correlate(self._window, dout, filters, count)
        return array_namespace(dout).reshape(dinput, input.shape)
