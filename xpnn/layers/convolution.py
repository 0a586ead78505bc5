"""Convolutions over images and sequences."""

from __future__ import annotations

from .._standard import Array, array_namespace
from ._alone import build_alone
from ._correlation import correlate, correlate_transposed, filter_gradient
from ._filters import Filters
from ._windows import expect_channels

__all__ = ["Conv1d", "Conv2d"]


class _Convolution(Filters):
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
