"""Convolution backwards."""

from __future__ import annotations

from .._standard import Array, array_namespace
from ..errors import ConfigurationError, ShapeError
from ..initializers import Initializer
from ..random import Stream
from ._alone import build_alone
from ._correlation import correlate, correlate_transposed, filter_gradient
from ._filters import Filters
from ._windows import Sizes, checked_sizes, expect_channels, short

__all__ = ["ConvTranspose2d"]


class ConvTranspose2d(Filters):
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
