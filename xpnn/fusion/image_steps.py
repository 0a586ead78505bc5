"""What the steps that begin with a convolution have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._standard import Array
from ..kernels.numba.blocked_product import Panel, panel
from ..kernels.numba.geometry import Geometry
from ..kernels.recording import spoil
from ..layers import Conv2d
from ..layers.layer import Layer
from .steps import Scratch, Step

__all__ = ["NUMBERS", "SHARES", "ImageStep"]

#: Shares in which the gradients of the filters are summed, and the numbers that all may have.
SHARES, NUMBERS = 16, 1 << 22


class ImageStep(Step):
    """A step whose first layer is a `Conv2d`; the base class of such steps.

    Its memory is its own, and stays from one training step to the next.
    """

    replays = True

    def __init__(
        self, layers: tuple[Layer, ...], dtype: str, scratch: Scratch, remark: str
    ) -> None:
        super().__init__(layers, dtype, scratch, remark)
        conv: Any = layers[0]
        self._conv: Conv2d = conv
        self._panel: Panel = panel(dtype)
        self._geometries: dict[tuple[int, ...], Geometry] = {}
        self._memory: dict[str, Array] = {}

    def renew(self) -> None:
        """Take other memory from now on."""
        super().renew()
        self._memory.clear()

    @property
    def _filters(self) -> Array:
        """The filters, a row for each."""
        return self._conv.params["W"].reshape(self._conv.out_channels, -1)

    @property
    def _bias(self) -> Array:
        conv = self._conv
        return conv.params["b"] if conv.bias else self._scratch.constants(conv.out_channels)[0]

    def _geometry(self, sizes: tuple[int, ...]) -> Geometry:
        """Return the sizes of the convolution of images of a size."""
        found = self._geometries.get(sizes)
        if found is None:
            conv, window = self._conv, self._conv._window
            (top, bottom), (left, right) = window.margins
            found = Geometry(
                conv.in_channels,
                conv.out_channels,
                conv.groups,
                (sizes[0], sizes[1]),
                (window.kernel[0], window.kernel[1]),
                (window.stride[0], window.stride[1]),
                (window.dilation[0], window.dilation[1]),
                ((top, bottom), (left, right)),
            )
            if len(self._geometries) > 16:
                self._geometries.clear()
            self._geometries[sizes] = found
        return found

    def _shares(self, images: int) -> Array:
        """Return where shares of the gradients of filters and bias are summed, a row for each."""
        size = self._conv.params["W"].size + self._conv.out_channels
        shares = min(images, SHARES, max(1, NUMBERS // size))
        return self._scratch.partial.matrix(shares, size)

    def _bordered(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return memory of the step's own that was zero at first: nobody writes into margins."""
        found = self._memory.get(name)
        if found is None or found.shape[1:] != shape[1:] or len(found) < shape[0]:
            found = self._memory[name] = np.zeros(shape, self._dtype)
        return found[: shape[0]]

    def _own(self, name: str, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """Return memory of the step's own, with whatever is there."""
        found = self._memory.get(name)
        if found is None or found.shape[1:] != shape[1:] or len(found) < shape[0]:
            found = self._memory[name] = np.empty(shape, dtype or self._dtype)
        return found[: shape[0]]

    def _usable(self, array: Array, last: bool = False) -> Array:
        """Return images (N, C, H, W) of the step's type, aligned and in C order.

        With ``last`` those with channels last in memory are left so.
        """
        if type(array) is not np.ndarray:
            array = np.asarray(array)
        order = array.flags.c_contiguous
        order = order or (last and array.transpose(0, 2, 3, 1).flags.c_contiguous)
        if array.dtype != self._dtype or not order or not array.flags.aligned:
            spoil()
            array = np.array(array, dtype=self._dtype, order="C")
        return array
