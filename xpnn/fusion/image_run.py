"""What a convolution and the layers behind it are set to, and what a size of images asks for."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .._standard import Array
from ..kernels.numba import images, layouts
from ..kernels.numba.geometry import Geometry
from ..layers import ELU, AvgPool2d, BatchNorm2d, Conv2d, LeakyReLU, MaxPool2d
from ..layers.layer import Layer
from .image_steps import ImageStep
from .steps import Scratch

__all__ = ["ImageRun", "Sized"]


class Sized(NamedTuple):
    """What a size of the images asks for."""

    geometry: Geometry
    table: Array
    pooled: tuple[int, int]


class ImageRun(ImageStep):
    """The layers of such a run, and how images get in; the base class of its step."""

    def __init__(
        self, layers: tuple[Layer, ...], kind: str, dtype: str, scratch: Scratch, remark: str
    ) -> None:
        super().__init__(layers, dtype, scratch, remark)
        kinds: dict[type, Any] = {type(layer): layer for layer in layers}
        kinds.pop(Conv2d)
        self._norm: BatchNorm2d | None = kinds.pop(BatchNorm2d, None)
        maximum, average = kinds.pop(MaxPool2d, None), kinds.pop(AvgPool2d, None)
        self._activation: Any = next(iter(kinds.values()), None)
        self._pool: Any = maximum or average
        self._pooling = images.MAXIMUM if maximum else images.AVERAGE if average else images.NONE
        self._kind = kind
        self._sizes: dict[tuple[int, ...], Sized] = {}
        self._window = self._pool_window()

    def _finish(
        self,
        convolved: Array,
        centre: Array,
        scale: Array,
        shift: Array,
        sized: Sized,
        output: Array,
        top: int,
        left: int,
        codes: Array,
    ) -> None:
        """Normalize, activate and pool."""
        self._launch(
            images.FORWARD[self._kind],
            convolved.size,
            convolved.reshape(-1),
            centre,
            scale,
            shift,
            self._setting(),
            self._pooling,
            self._sizes_of(sized, output.shape[1:3], top, left),
            output.reshape(-1),
            codes.reshape(-1),
            len(output),
        )

    def _enter(self, array: Array, padded: Array, margins: Any) -> None:
        """Put images (N, C, H, W), in memory of either order, into the middle of larger ones."""
        (top, _), (left, _) = margins
        array = self._usable(array, last=True)
        inside = array.transpose(0, 2, 3, 1)
        if inside.flags.c_contiguous:
            self._launch(layouts.put, array.size, inside, padded, top, left)
        else:
            self._launch(layouts.enter, array.size, array, padded, top, left)

    def _out(self, output: Array, shape: tuple[int, ...]) -> Array:
        """Return images (N, H, W, C) as (N, C, H, W), maybe with channels last."""
        if self.gives_last:
            return output.transpose(0, 3, 1, 2)
        outside = self._own("outside", shape) if self.keeps_output else np.empty(shape, self._dtype)
        self._launch(layouts.leave, output.size, output, outside)
        return outside

    def _given(self, dout: Array) -> Array:
        """Return a gradient (N, C, H, W) as (N, H, W, C) in C order."""
        dout = self._usable(dout, last=True)
        inside = dout.transpose(0, 2, 3, 1)
        if not inside.flags.c_contiguous:
            inside = self._inner(dout.shape[0], math.prod(dout.shape[1:])).reshape(inside.shape)
            self._launch(layouts.enter, dout.size, dout, inside, 0, 0)
        return inside

    def _sized(self, sizes: tuple[int, ...]) -> Sized:
        """Return what images of a size ask for."""
        found = self._sizes.get(sizes)
        if found is None:
            geometry = self._geometry(sizes)
            pooled = geometry.count
            if self._pool is not None:
                shape = 1, self._conv.out_channels, *pooled
                down, across = self._pool._window.count(self._pool.name, shape)
                pooled = down, across
            if len(self._sizes) > 16:
                self._sizes.clear()
            found = Sized(geometry, geometry.table(self._panel), pooled)
            self._sizes[sizes] = found
        return found

    def _pool_window(self) -> tuple[int, ...]:
        if self._pool is None:
            return (1, 1, 1, 1, 0, 0, 1)
        window, counts = self._pool._window, getattr(self._pool, "count_padding", True)
        (top, _), (left, _) = window.margins
        return (*window.kernel, *window.stride, top, left, int(counts))

    def _sizes_of(self, sized: Sized, padded: tuple[int, ...], top: int, left: int) -> Array:
        """Return the sizes that the kernels of `images` take."""
        inner = *sized.geometry.count, self._conv.out_channels
        return np.asarray([*inner, *padded, top, left, *sized.pooled, *self._window], np.int64)

    def _setting(self) -> float:
        """Return the number that the activation is set by."""
        activation = self._activation
        if isinstance(activation, LeakyReLU):
            return float(activation.slope)
        return float(activation.alpha) if isinstance(activation, ELU) else 0.0

    def _inlet(self, n: int, sized: Sized) -> Array:
        """Return the padded input, with zeros in its margins."""
        return self._bordered("padded", (n, *sized.geometry.padded, self._conv.in_channels))

    def _codes(self, n: int, sized: Sized) -> Array:
        return self._own("codes", (n, *sized.pooled, self._conv.out_channels), np.uint8)

    def _inner(self, rows: int, columns: int) -> Array:
        """Return memory that is free again when the next kernel has run."""
        return self._scratch.inner.matrix(rows, columns)
