"""Convolution, batch normalization, activation and pooling as one step on CuPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .._standard import Array
from ..kernels.cuda.chain import Chain, Pooling
from ..kernels.cuda.images import Geometry
from ..layers import AvgPool2d, Conv2d, MaxPool2d
from ..layers._windows import Window
from ..random import Stream
from .cuda_chain import CudaChainStep

__all__ = ["CudaConvolutionStep"]

#: Numbers of the rows of windows that are there at a time, 32 MiB of float32: enough for products
#: that keep a GPU busy, and of a size that its cache may still hold when they are multiplied.
TILE = 1 << 23


class _Inputs(NamedTuple):
    """What the gradients of a convolution need of its forward pass."""

    images: Array
    filters: Array
    geometry: Geometry


class CudaConvolutionStep(CudaChainStep):
    """Up to four layers: Conv2d, BatchNorm2d, an activation, MaxPool2d or AvgPool2d.

    Inside of the step images are (N, H, W, C) in memory, so that a pixel is a row, and the kernels
    of the chain take channels as they take features. What goes out is a view (N, C, H, W) of that
    memory, which the next such step takes without a copy. A convolution lays out the windows of a
    tile of the batch as rows, by one launch, and multiplies them by the filters. Backward they are
    laid out anew, which costs less than keeping taps times the batch.

    Parameters
    ----------
    layers, kind, dtype, counters, remark
        As for `CudaChainStep`; the convolution without groups.
    """

    channels_last = True
    _pool: Any = None
    _pooled: Any = None

    # ---------------------------------------------------------------- forward

    def _pop_product(self, kinds: dict[type, Any]) -> Any:
        self._pool = kinds.pop(MaxPool2d, None) or kinds.pop(AvgPool2d, None)
        return kinds.pop(Conv2d, None)

    def _enter(self, input: Array) -> tuple[Any, Array, Array | None, tuple[int, ...]]:
        """Convolve; the shape is that of the images before the pooling."""
        import cupy

        shape = input.shape
        for layer in self.layers:
            shape = layer.output_shape(shape)
        input = input.astype(self._dtype, copy=False)
        conv = self._product
        if conv is None:
            return None, _pixels(input), None, input.shape
        shape = conv.output_shape(input.shape)
        geometry = _geometry(conv._window, input.shape, shape)
        filters = conv.params["W"]
        if geometry.taps > 1 and geometry.channels > 1:
            filters = cupy.ascontiguousarray(filters.transpose(0, 2, 3, 1))
        filters = filters.reshape(conv.out_channels, -1)
        inputs = _Inputs(input, filters, geometry)
        x = cupy.empty((shape[0] * geometry.windows, conv.out_channels), dtype=self._dtype)
        for start, stop, rows in self._tiles_of(inputs):
            rows.dot(filters.T, out=x[start:stop])
        return inputs, x, conv.params.get("b"), shape

    def _leave(
        self,
        chain: Chain,
        shape: tuple[int, ...],
        training: bool,
        stream: Stream | None = None,
        threshold: int = 0,
    ) -> Array:
        """Normalize, activate and pool: at once, where windows do not overlap."""
        import cupy

        n, channels, height, width = shape
        if self._pool is None:
            output = super()._leave(chain, (n, height, width, channels), training)
            return output.transpose(0, 3, 1, 2)
        window, count = self._pool._window, self._pool.output_shape(shape)[2:]
        geometry = _geometry(window, shape, (n, channels, *count))
        pooled = cupy.empty((n, *count, channels), dtype=self._dtype)
        where = None
        mean, counts_padding = self._pool_settings()
        if training and not mean:
            where = cupy.empty(pooled.shape, dtype=cupy.uint8)
        if pooled.size and geometry.is_apart and (self._norm or self._kind != "identity"):
            sizes = *geometry.size, *geometry.count, *geometry.kernel, *geometry.stride
            chain.pooling = Pooling(sizes, mean, where)
            chain.pool(pooled)
        else:
            output = super()._leave(chain, (n, height, width, channels), training)
            images = output.transpose(0, 3, 1, 2)
            geometry.pool(images, mean, counts_padding, where, pooled)
            self._pooled = (geometry, where) if training else None
        return pooled.transpose(0, 3, 1, 2)

    # ---------------------------------------------------------------- backward

    def _enter_back(self, dout: Array, chain: Chain) -> Array:
        """Go back through the pooling, where the kernels of the chain do not."""
        import cupy

        dout = dout.astype(self._dtype, copy=False)
        if chain.pooling is not None:
            return dout
        if self._pool is None:
            return _pixels(dout)
        geometry, where = self._pooled
        self._pooled = None
        drows = cupy.empty(chain.x.shape, dtype=self._dtype)
        images = drows.reshape(len(dout), *geometry.size, geometry.channels)
        geometry.pool_backward(dout, *self._pool_settings(), where, images)
        return drows

    def _leave_back(self, inputs: Any, dx: Array | None, shape: tuple[int, ...]) -> Array | None:
        """Write the gradient of the filters; return that of the images if it is wanted."""
        import cupy
        from cupy.cublas import gemm

        if dx is None:
            return None
        n, channels, height, width = shape
        if inputs is None:
            return dx.reshape(n, height, width, channels).transpose(0, 3, 1, 2)
        filters, geometry = inputs.filters, inputs.geometry
        target = self._product.grads["W"]
        as_they_lie = geometry.taps == 1 or channels == 1
        gradient = target.reshape(filters.shape) if as_they_lie else cupy.empty_like(filters)
        dinput = None
        if self.wants_gradient:
            dinput = cupy.empty((n, height, width, channels), dtype=self._dtype)
        for start, stop, rows in self._tiles_of(inputs):
            some = dx[start:stop]
            if start == 0:
                some.T.dot(rows, out=gradient)
            else:
                gemm("T", "N", some, rows, out=gradient, beta=1.0)
            if dinput is None:
                continue
            if geometry.is_pixel:
                some.dot(filters, out=dinput.reshape(rows.shape))
            else:  # into the room of the rows, which nobody needs any more
                some.dot(filters, out=rows)
                geometry.rows_to_pixels(rows, start, dinput)
        if not as_they_lie:
            shuffled = gradient.reshape(-1, *geometry.kernel, channels)
            target[...] = shuffled.transpose(0, 3, 1, 2)
        return None if dinput is None else dinput.transpose(0, 3, 1, 2)

    def forget(self) -> None:
        """Drop what `forward` left."""
        super().forget()
        self._pooled = None

    # ---------------------------------------------------------------- details

    def _tiles_of(self, inputs: _Inputs) -> Iterator[tuple[int, int, Array]]:
        """Yield the windows of the batch as rows: from which to which window, and the rows.

        A tile is of whole images, or of a part of a single one. All are in the same memory.
        """
        import cupy

        images, geometry = inputs.images, inputs.geometry
        windows, total = geometry.windows, len(images) * geometry.windows
        if geometry.is_pixel:
            if total:
                yield 0, total, _pixels(images)
            return
        width = inputs.filters.shape[1]
        most = max(TILE // width, 1)
        most = most // windows * windows or most
        room = cupy.empty((min(most, total), width), dtype=self._dtype)
        start = 0
        while start < total:
            stop = min(start + most, total)
            if most < windows:
                stop = min(stop, (start // windows + 1) * windows)
            rows = room[: stop - start]
            geometry.windows_to_rows(images, start, rows)
            yield start, stop, rows
            start = stop

    def _pool_settings(self) -> tuple[bool, bool]:
        """Return whether the pooling takes means, and whether its padding counts."""
        mean = isinstance(self._pool, AvgPool2d)
        return mean, not mean or self._pool.count_padding


def _geometry(window: Window, shape: tuple[int, ...], out: tuple[int, ...]) -> Geometry:
    """Say how a window slides over images of a shape."""
    margins: Any = tuple(margin[0] for margin in window.margins)
    pairs: Any = window.kernel, window.stride, margins, window.dilation
    return Geometry(shape[1], (shape[2], shape[3]), (out[2], out[3]), *pairs)


def _pixels(images: Array) -> Array:
    """Return images (N, C, H, W) as pixels (N H W, C): a view where they lie so."""
    import cupy

    return cupy.ascontiguousarray(images.transpose(0, 2, 3, 1)).reshape(-1, images.shape[1])
