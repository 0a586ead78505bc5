"""Convolution, batch normalization, activation and pooling as one step, by Numba's kernels.

Inside of the step images are (N, H, W, C) in memory. What goes from one such step to the next stays
so: it is handed on as a view (N, C, H, W) of that memory, in training as one into the next one's
padded input. Everything else gets and gives arrays (N, C, H, W) in C order.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .._standard import Array
from ..kernels.numba import convolution, images, layouts, moments, sums
from ..kernels.numba.geometry import Geometry
from ..layers.layer import Layer
from .image_run import ImageRun, Sized
from .steps import PlanStep, Scratch
from .threads import team

__all__ = ["ConvolutionStep"]


class _Kept(NamedTuple):
    """What a forward pass leaves for the backward pass."""

    shape: tuple[int, ...]
    sized: Sized
    padded: Array
    convolved: Array
    centre: Array
    scale: Array
    shift: Array
    codes: Array


class ConvolutionStep(ImageRun):
    """Two to four layers: Conv2d, BatchNorm2d, an activation, MaxPool2d or AvgPool2d.

    Parameters
    ----------
    layers : tuple of Layer
        In this order, the first of them there.
    kind : str
        The activation, as `xpnn.kernels.numba.images` names it; "identity" if there is none.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of a plan.
    remark : str
        For people.

    Attributes
    ----------
    follower : ConvolutionStep or None
        The next step, if it is of this kind.
    """

    takes_last = True

    def __init__(
        self, layers: tuple[Layer, ...], kind: str, dtype: str, scratch: Scratch, remark: str
    ) -> None:
        super().__init__(layers, kind, dtype, scratch, remark)
        self.follower: ConvolutionStep | None = None
        self._expected: Any = None  # what the step before wrote straight into the padded input
        self._kept: Any = None

    def meet(self, after: PlanStep) -> None:
        """Keep the order of the memory between two of a kind."""
        if isinstance(after, ConvolutionStep):
            self.follower = after

    # ---------------------------------------------------------------- training

    def forward(self, input: Array) -> Array:
        """Return the output in training mode."""
        shape = self._checked(input.shape)
        self._begin(input)
        _, sized, _, convolved, centre, scale, shift, codes = self._kept
        if self.follower is None:
            size = len(convolved), *sized.pooled, self._conv.out_channels
            inside = self.keeps_output or not self.gives_last
            finished = self._own("finished", size) if inside else np.empty(size, self._dtype)
            self._finish(convolved, centre, scale, shift, sized, finished, 0, 0, codes)
            return self._out(finished, shape)
        return self._hand_on(self.follower, convolved, centre, scale, shift, sized, codes, shape)

    @property
    def only_normalizes(self) -> bool:
        """Whether nothing comes behind the normalization, so that `forward_onto` may be called."""
        return self._kind == "identity" and self._pool is None and self.follower is None

    def forward_onto(self, input: Array, second: Array, output: Array, rectify: bool) -> None:
        """Write the output in training mode plus second, both flat (N, H, W, C), or its ReLU."""
        self._checked(input.shape)
        self._begin(input)
        _, sized, _, x, centre, scale, shift, _ = self._kept
        rest = second, output, sized.geometry.count[1], int(rectify)
        self._launch(sums.add_normalized, x.size, x.reshape(-1), centre, scale, shift, *rest)

    def _begin(self, input: Array) -> None:
        """Convolve, and find what the normalization is to do."""
        n, sized = input.shape[0], self._sized(input.shape[2:])
        padded = self._padded(input, n, sized)
        self._expected = None
        filters, count = self._conv.out_channels, sized.geometry.count
        convolved = self._own("convolved", (n, *count, filters))
        taken = self._own("moments", (n, 2 * filters) if self._norm is not None else (0, 0))
        packed = self._scratch.packed.matrix(1, sized.geometry.packed_size)[0]
        self._convolve(sized, padded, packed, convolved, taken)
        zeros, ones, _ = self._scratch.constants(filters)
        centre, scale, shift = zeros, ones, zeros
        if self._norm is not None:
            norm = self._norm
            centre, inverse, scale = (self._own(v, (filters,)) for v in ("c", "inverse", "scale"))
            shift = norm.params["beta"]
            moments.statistics[self._name](
                taken,
                math.prod(count),
                norm.params["gamma"],
                norm.epsilon,
                norm.momentum,
                norm.buffers["running_mean"],
                norm.buffers["running_var"],
                centre,
                inverse,
                scale,
            )
        codes = self._codes(n if self._pool is not None else 0, sized)
        self._kept = _Kept(input.shape, sized, padded, convolved, centre, scale, shift, codes)

    def backward(self, dout: Array) -> Array | None:
        """Write the gradients of the parameters; return that of the input if it is wanted."""
        kept: _Kept = self._kept
        self._kept = None
        geometry, filters = kept.sized.geometry, self._conv.out_channels
        n = kept.padded.shape[0]
        sums = self._own("sums", (n, 2 * filters))
        factors = np.empty((0, 0), self._dtype)
        dout = self._usable(dout, last=True)
        given = dout.transpose(0, 2, 3, 1)
        if self._goes_back_late and given.flags.c_contiguous:
            given = given.reshape(-1)
            gradient = self._room_for_gradient(len(self._shares(n)), geometry)
            self._sum_up(kept, given, sums)
        else:
            gradient = self._room_for_gradient(n, geometry)
            self._spread(kept, self._given(dout), gradient, sums)
            given = np.empty(0, self._dtype)
        if self._norm is not None:
            norm = self._norm
            factors = self._own("factors", (5, geometry.count[1] * filters))
            moments.coefficients[self._name](
                sums,
                math.prod(geometry.count),
                kept.centre,
                self._memory["inverse"],
                kept.scale,
                kept.shift,
                norm.grads["gamma"],
                norm.grads["beta"],
                factors,
            )
        return self._products(kept, given, gradient, factors)

    @property
    def _goes_back_late(self) -> bool:
        """Whether the gradient of the convolution is made image by image, where it is needed.

        A normalization needs sums over all images first, and is all that makes use of memory for
        all of them; with pooling there would be more to do twice.
        """
        return self._norm is not None and self._pool is None and self._kind in ("identity", "relu")

    def _sum_up(self, kept: _Kept, given: Array, sums: Array) -> None:
        """Sum what the normalization needs of the gradient that comes."""
        self._launch(
            moments.gradient_sums,
            given.size,
            given,
            kept.convolved.reshape(-1),
            kept.centre,
            kept.scale,
            kept.shift,
            int(self._kind == "relu"),
            sums,
            kept.sized.geometry.count[1],
        )

    def _room_for_gradient(self, images: int, geometry: Geometry) -> Array:
        """Return room for gradients of the output of the convolution, with margins."""
        shape = *geometry.gradient_padded, self._conv.out_channels
        return self._scratch.images.matrix(images, math.prod(shape)).reshape(images, *shape)

    def _spread(self, kept: _Kept, given: Array, gradient: Array, sums: Array) -> None:
        """Bring a gradient back through pooling and activation."""
        (top, _), (left, _) = kept.sized.geometry.gradient_margins
        self._launch(
            images.BACKWARD[self._kind],
            gradient.size,
            given.reshape(-1),
            kept.codes.reshape(-1),
            kept.convolved.reshape(-1),
            kept.centre,
            kept.scale,
            kept.shift,
            self._setting(),
            self._pooling,
            self._sizes_of(kept.sized, gradient.shape[1:3], top, left),
            gradient.reshape(-1),
            sums.reshape(-1),
            len(gradient),
        )

    def _products(self, kept: _Kept, given: Array, gradient: Array, factors: Array) -> Array | None:
        """Make the gradients by the filters, the bias and the input."""
        sized, conv = kept.sized, self._conv
        n, _, height, width = kept.shape
        dinput = np.empty((0, height, width, conv.in_channels), self._dtype)
        turned = np.empty(0, self._dtype)
        if self.wants_gradient:
            turned = self._scratch.packed.matrix(1, sized.geometry.turned_size)[0]
            rows = height * width * conv.in_channels
            dinput = self._gradient(n, rows) if self.returns_last else self._inner(n, rows)
            dinput = dinput.reshape(n, height, width, conv.in_channels)
        convolution.backward[self._name, team().parallel](
            self._panel.address,
            self._panel.lanes,
            sized.table,
            kept.padded,
            given,
            int(given.size > 0 and self._kind == "relu"),
            gradient,
            gradient.reshape(-1),
            kept.convolved.reshape(-1),
            factors,
            self._filters,
            turned,
            self._scratch.constants(conv.in_channels)[0],
            self._shares(n),
            dinput,
            conv.grads["W"].reshape(conv.out_channels, -1),
            conv.grads["b"] if conv.bias else self._own("dbias", (conv.out_channels,)),
        )
        if not self.wants_gradient:
            return None
        if self.returns_last:
            return dinput.transpose(0, 3, 1, 2)
        outside = self._gradient(n, height * width * conv.in_channels).reshape(kept.shape)
        self._launch(layouts.leave, dinput.size, dinput, outside)
        return outside

    def forget(self) -> None:
        """Drop what `forward` left."""
        self._kept = self._expected = None

    # ---------------------------------------------------------------- test mode

    def evaluate(self, input: Array) -> Array:
        """Return the output in test mode, in new memory: threads may share a network."""
        shape = self._checked(input.shape)
        n, sized = input.shape[0], self._sized(input.shape[2:])
        filters = self._conv.out_channels
        padded = np.zeros((n, *sized.geometry.padded, self._conv.in_channels), self._dtype)
        self._enter(input, padded, sized.geometry.margins)
        output = np.empty((n, *sized.geometry.count, filters), self._dtype)
        packed = np.empty(sized.geometry.packed_size, self._dtype)
        self._convolve(sized, padded, packed, output, np.empty((0, 0), self._dtype))
        centre, scale, _ = self._scratch.constants(filters)
        shift = centre
        if self._norm is not None:
            norm = self._norm
            centre = norm.buffers["running_mean"]
            scale = norm.params["gamma"] / np.sqrt(norm.buffers["running_var"] + norm.epsilon)
            shift = norm.params["beta"]
        convolved, output = output, np.empty((n, *sized.pooled, filters), self._dtype)
        codes = np.empty(output.shape, np.uint8)
        self._finish(convolved, centre, scale, shift, sized, output, 0, 0, codes)
        if self.gives_last:
            return output.transpose(0, 3, 1, 2)
        outside = np.empty(shape, self._dtype)
        self._launch(layouts.leave, output.size, output, outside)
        return outside

    # ---------------------------------------------------------------- details

    def _padded(self, input: Array, n: int, sized: Sized) -> Array:
        """Return the padded input; the input itself if it has that order and needs no margins."""
        if input is not self._expected and not any(map(any, sized.geometry.margins)):
            inside = self._usable(input, last=True).transpose(0, 2, 3, 1)
            if inside.flags.c_contiguous:
                return inside
        padded = self._inlet(n, sized)
        if input is not self._expected:
            self._enter(input, padded, sized.geometry.margins)
        return padded

    def _convolve(
        self, sized: Sized, padded: Array, packed: Array, output: Array, sums: Array
    ) -> None:
        self._launch(
            convolution.forward,
            padded.size,
            self._panel.address,
            self._panel.lanes,
            sized.table,
            padded,
            self._filters,
            packed,
            self._bias,
            output,
            output.reshape(-1),
            sums,
        )

    def _hand_on(
        self,
        follower: ConvolutionStep,
        convolved: Array,
        centre: Array,
        scale: Array,
        shift: Array,
        sized: Sized,
        codes: Array,
        shape: tuple[int, ...],
    ) -> Array:
        """Write the output into the padded input of the next step, and return a view of it."""
        n, _, height, width = shape
        other = follower._sized((height, width))
        inlet = follower._inlet(n, other)
        (top, _), (left, _) = other.geometry.margins
        self._finish(convolved, centre, scale, shift, sized, inlet, top, left, codes)
        output = inlet[:, top : top + height, left : left + width].transpose(0, 3, 1, 2)
        follower._expected = output
        return output
