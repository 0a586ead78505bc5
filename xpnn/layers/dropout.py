"""Dropout."""

from __future__ import annotations

from .._checks import checked, checked_number
from .._standard import Array, array_namespace
from ..random import Stream, drop_threshold, keep_scale
from ._alone import mask_stream
from ._windows import expect_channels
from .layer import Layer

__all__ = ["Dropout", "Dropout2d"]


class Dropout(Layer):
    """Set random elements to zero while training, and scale the others up: inverted dropout.

    ::

        output = mask * scale * input      in training
        dinput = mask * scale * dout

        output = input                     in test mode, and with p = 0
        dinput = dout

    The mask is 0 with probability p, else 1, and scale = 1 / (1 - p), so the mean of the output is
    that of the input and a test needs no correction.

    Parameters
    ----------
    p : float
        Probability of dropping an element, 0 <= p <= 1. With 1 the output is zero. It is rounded
        to a multiple of 2**-16, and the scale is exact for the rounded p.
    seed : int, optional
        Draw from this seed, 0 <= seed < 2**64, and not from the network's. A layer that is used
        alone and has no seed draws from fresh entropy.

    Raises
    ------
    ConfigurationError
        If p is not in [0, 1] or the seed is out of its range.

    Notes
    -----
    Arrays: input and output of any one shape and floating-point dtype. No parameters.

    The mask of a training step follows from (seed, position of the layer, `step`, place of the
    element) alone, on every library and device; see `xpnn.random`. A network sets `stream` and
    `step`. A layer that is used alone has its own stream and counts its forward passes in training.

    Cost in FLOPs an element: 2 forward, 2 backward, and 1 ns for the mask. The cache keeps the
    mask, one byte an element.

    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: A Simple Way to
    Prevent Neural Networks from Overfitting", JMLR 15, 2014, section 4. There p is the probability
    of keeping, and the scaling takes place in the test; section 10 has the inverted form.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dropout(0.5, seed=0)
    >>> layer.forward(np.asarray([[1.0, 2.0, 3.0, 4.0]])).tolist()
    [[2.0, 0.0, 0.0, 8.0]]
    """

    p: float = checked(checked_number, low=0.0, high=1.0)

    def __init__(self, p: float, seed: int | None = None) -> None:
        super().__init__()
        self.p = p
        self.seed = None if seed is None else Stream(seed).seed
        self._own_stream: Stream | None = None

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input: every shape is right."""
        return input_shape

    def forward(self, input: Array) -> Array:
        """Return the input, in training with zeros in it and scaled."""
        if self.mode == "test" or self.p == 0:
            self.cache["mask"] = None
            return input
        mask = self._stream().mask(self._mask_shape(input.shape), self.p, like=input)
        self.cache["mask"] = mask
        return self._apply(mask, input)

    def backward(self, dout: Array) -> Array:
        """Return ``dout`` with the same zeros and the same scale."""
        mask = self.saved("mask")
        return dout if mask is None else self._apply(mask, dout)

    def _stream(self) -> Stream:
        """Return the stream of this step: the network's, or one of the layer's own."""
        if self.stream is not None:
            return self.stream.at(self.step)
        if self._own_stream is None:
            self._own_stream = mask_stream(self.seed)
        stream = self._own_stream.at(self.step)
        self.step += 1
        return stream

    def _mask_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape

    def _apply(self, mask: Array, values: Array) -> Array:
        result = array_namespace(values).astype(mask, values.dtype)
        # Where p rounds to 1 nothing is kept, and there is no scale.
        nothing_is_kept = drop_threshold(self.p) == drop_threshold(1.0)
        scale = 0.0 if nothing_is_kept else keep_scale(self.p)
        if mask.shape != values.shape:
            return values * (scale * result)
        result *= values
        result *= scale
        return result


class Dropout2d(Dropout):
    """Set random channels of images to zero while training, and scale the others up.

    As `Dropout`, but a pixel and its neighbours, which say much the same, go together::

        output[n, c] = mask[n, c] * scale * input[n, c]      in training
        dinput[n, c] = mask[n, c] * scale * dout[n, c]

        output = input                                       in test mode, and with p = 0
        dinput = dout

    Parameters
    ----------
    p : float
        Probability of dropping a channel of a sample, 0 <= p <= 1, rounded to a multiple of 2**-16.
    seed : int, optional
        Draw from this seed, 0 <= seed < 2**64, and not from the network's.

    Raises
    ------
    ConfigurationError
        If p is not in [0, 1] or the seed is out of its range.
    ShapeError
        In the forward pass, unless the input is (N, C, H, W).

    Notes
    -----
    Arrays: input and output (N, C, H, W), of one floating-point dtype. No parameters. The mask is
    drawn as that of `Dropout`, for a batch of (N, C).

    Cost in FLOPs an element: 1 forward, 1 backward. The cache keeps the mask, one byte a channel.

    Source: Tompson, Goroshin, Jain, LeCun and Bregler, "Efficient Object Localization Using
    Convolutional Networks", CVPR 2015, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dropout2d(0.5, seed=0)
    >>> layer.forward(np.asarray([[[[1.0, 2.0]], [[3.0, 4.0]]]])).tolist()
    [[[[2.0, 4.0]], [[0.0, 0.0]]]]
    """

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input, (N, C, H, W)."""
        expect_channels(self.name, None, input_shape, axes=2)
        return input_shape

    def forward(self, input: Array) -> Array:
        """Return the input, in training with channels of zeros and scaled."""
        self.output_shape(input.shape)
        return super().forward(input)

    def _mask_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*input_shape[:2], 1, 1)
