"""A convolution by itself as one step, by Numba's kernels.

It gets and gives images (N, C, H, W) in C order. Those of many channels are turned around to
(H, W, C) one after the other, in the cache; those of few channels stay as they are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._standard import Array
from ..kernels.numba import narrow_convolution, narrow_geometry, plain_convolution
from ..layers import Conv2d
from .image_steps import ImageStep
from .steps import Scratch
from .threads import team

__all__ = ["NarrowConvolutionStep", "PlainConvolutionStep", "plain_step"]

#: Channels that a filter sees, or filters that see the same ones, from which on vectors of them are
#: full enough.
_FEW = 4


class PlainConvolutionStep(ImageStep):
    """A `Conv2d` of many channels.

    Parameters
    ----------
    layer : Conv2d
        What it does.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of a plan.
    remark : str
        For people.
    """

    def __init__(self, layer: Conv2d, dtype: str, scratch: Scratch, remark: str) -> None:
        super().__init__((layer,), dtype, scratch, remark)
        self._tables: dict[tuple[int, ...], Array] = {}
        self._input: Any = None

    def forward(self, input: Array) -> Array:
        """Return the output in training mode."""
        shape = self._checked(input.shape)
        input = self._input = self._usable(input)
        output = self._own("output", shape) if self.keeps_output else np.empty(shape, self._dtype)
        self._convolve(input, output, True)
        return output

    def backward(self, dout: Array) -> Array | None:
        """Write the gradients of the parameters; return that of the input if it is wanted."""
        input, self._input = self._input, None
        dinput = np.empty((0, *input.shape[1:]), self._dtype)
        if self.wants_gradient:
            dinput = self._gradient(len(input), math.prod(input.shape[1:])).reshape(input.shape)
        self._bring_back(input, self._usable(dout), dinput)
        return dinput if self.wants_gradient else None

    def forget(self) -> None:
        """Drop what `forward` left."""
        self._input = None

    def evaluate(self, input: Array) -> Array:
        """Return the output in test mode, in new memory: threads may share a network."""
        output = np.empty(self._checked(input.shape), self._dtype)
        self._convolve(self._usable(input), output, False)
        return output

    def _convolve(self, input: Array, output: Array, training: bool) -> None:
        """Write the output."""
        table, geometry = self._table(input.shape[2:]), self._geometry(input.shape[2:])
        size, lanes = max(team().size, 1), self._panel.lanes
        padded, inner = (
            (size, *geometry.padded, input.shape[1]),
            (size, *geometry.count, output.shape[1]),
        )
        if training:
            packed = self._scratch.packed.matrix(1, geometry.packed_size)[0]
            rooms = self._bordered("padded", padded), self._own("inner", inner)
        else:
            packed = np.empty(geometry.packed_size, self._dtype)
            rooms = np.zeros(padded, self._dtype), np.empty(inner, self._dtype)
        (top, _), (left, _) = geometry.margins
        self._launch(
            plain_convolution.forward,
            output.size,
            self._panel.address,
            lanes,
            table,
            input,
            self._filters,
            packed,
            self._bias,
            *rooms,
            output,
            top,
            left,
        )

    def _bring_back(self, input: Array, dout: Array, dinput: Array) -> None:
        """Write the gradients of the parameters, and that of the input unless it has no images."""
        table, geometry = self._table(input.shape[2:]), self._geometry(input.shape[2:])
        conv, lanes, size = self._conv, self._panel.lanes, max(team().size, 1)
        turned = np.empty(0, self._dtype)
        if len(dinput):
            turned = self._scratch.packed.matrix(1, geometry.turned_size)[0]
        gradient = self._bordered("gradient", (size, *geometry.gradient_padded, conv.out_channels))
        (top, _), (left, _) = geometry.margins
        (above, _), (before, _) = geometry.gradient_margins
        self._launch(
            plain_convolution.backward,
            dout.size,
            self._panel.address,
            lanes,
            table,
            input,
            dout,
            self._filters,
            turned,
            self._scratch.constants(conv.in_channels)[0],
            self._bordered("padded", (size, *geometry.padded, conv.in_channels)),
            gradient,
            gradient.reshape(-1),
            self._own("dinner", (size, *geometry.sizes, conv.in_channels)),
            self._shares(len(input)),
            dinput,
            conv.grads["W"].reshape(conv.out_channels, -1),
            conv.grads["b"] if conv.bias else self._own("dbias", (conv.out_channels,)),
            np.asarray([top, left, above, before], np.int64),
        )

    def _table(self, sizes: tuple[int, ...]) -> Array:
        """Return what the kernels know of images of a size."""
        found = self._tables.get(sizes)
        if found is None:
            if len(self._tables) > 16:
                self._tables.clear()
            found = self._tables[sizes] = self._made_table(sizes)
        return found

    def _made_table(self, sizes: tuple[int, ...]) -> Array:
        return self._geometry(sizes).table(self._panel)


class NarrowConvolutionStep(PlainConvolutionStep):
    """A `Conv2d` of few channels, or of few filters for each group of them."""

    replays = False  # NumPy lays out the bias, and adds up the gradients

    def _made_table(self, sizes: tuple[int, ...]) -> Array:
        size = self._dtype.itemsize
        return narrow_geometry.table(self._geometry(sizes), self._panel, size)

    def _convolve(self, input: Array, output: Array, training: bool) -> None:
        """Write the output."""
        table, lanes = self._table(input.shape[2:]), self._panel.lanes
        room = max(team().size, 1), narrow_geometry.room(table)
        starts = np.repeat(self._bias[:, None], 2 * lanes, axis=1)
        self._launch(
            narrow_convolution.forward,
            output.size,
            self._panel.address,
            lanes,
            table,
            input,
            self._filters,
            starts,
            output,
            self._own("room", room) if training else np.empty(room, self._dtype),
        )

    def _bring_back(self, input: Array, dout: Array, dinput: Array) -> None:
        """Write the gradients of the parameters, and that of the input unless it has no images."""
        table, lanes, conv = self._table(input.shape[2:]), self._panel.lanes, self._conv
        partial = self._shares(len(input))
        self._launch(
            narrow_convolution.backward,
            dout.size,
            self._panel.address,
            lanes,
            table,
            input,
            dout,
            self._filters,
            self._scratch.constants(2 * lanes)[0],
            partial,
            dinput,
            self._own("room", (max(team().size, 1), narrow_geometry.room(table))),
        )
        total = np.add.reduce(partial, axis=0).reshape(conv.out_channels, -1)
        conv.grads["W"].reshape(conv.out_channels, -1)[:] = total[:, :-1]
        if conv.bias:
            conv.grads["b"][:] = total[:, -1]


def plain_step(layer: Conv2d, dtype: str, scratch: Scratch, remark: str) -> PlainConvolutionStep:
    """Return the step for a convolution, by its channels."""
    few = min(layer.in_channels, layer.out_channels) // layer.groups < _FEW
    kind = NarrowConvolutionStep if few else PlainConvolutionStep
    return kind(layer, dtype, scratch, remark)
