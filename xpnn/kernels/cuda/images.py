"""Windows over images as rows of a matrix and back, and pooling.

All arrays are CuPy's, on the current device, of one floating-point type. Images that are read are
(N, C, H, W) in any order in memory; those that are written have their channels last in memory.
Nothing here waits for the device, and results repeat bit for bit.

The bytes that a kernel moves are given with s = 4 for float32 and 8 for float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._standard import Array
from ._launch import dtype_name, nullable, u32
from .loader import function

__all__ = ["Geometry"]

_BLOCK = 256

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a window slides over images of one size: all that the kernels know.

    Parameters
    ----------
    channels : int
        Of the images.
    size : pair of int
        Height and width of the images.
    count : pair of int
        Number of windows, down and across.
    kernel, stride, margin, dilation : pair of int
        Taps of the window, distance of two windows, zeros above and to the left, distance of taps.
    """

    channels: int
    size: Pair
    count: Pair
    kernel: Pair
    stride: Pair
    margin: Pair
    dilation: Pair = (1, 1)

    @property
    def taps(self) -> int:
        """Number of taps of a window."""
        return self.kernel[0] * self.kernel[1]

    @property
    def windows(self) -> int:
        """Number of windows of an image."""
        return self.count[0] * self.count[1]

    @property
    def is_pixel(self) -> bool:
        """Whether each window is one pixel, so that rows of windows are the pixels themselves."""
        return self.taps == 1 and self.stride == (1, 1) and self.count == self.size

    @property
    def is_apart(self) -> bool:
        """Whether no two windows overlap, and all lie within the images."""
        ends = [
            (count - 1) * stride + kernel <= size and kernel <= stride
            for count, stride, kernel, size in zip(
                self.count, self.stride, self.kernel, self.size, strict=True
            )
        ]
        return all(ends) and self.margin == (0, 0)

    def windows_to_rows(self, x: Array, first: int, rows: Array) -> None:
        """Lay out what is under some windows, with zeros outside of the images.

        Parameters
        ----------
        x : array, (N, C, H, W)
            The images.
        first : int
            Number of the first window, counted through the whole batch.
        rows : array, (windows, taps * C)
            Gets a window a row, tap by tap.

        Notes
        -----
        One launch. Bytes moved for a number of the rows: s written, s / taps read from memory, as
        the windows overlap (times the stride); the other readings meet the cache.
        """
        image, begin = divmod(first, self.windows)
        arguments = (*_strided(x), *self._window(), *map(u32, (self.channels, image, begin)))
        arguments += (u32(len(rows)), rows)
        self._launch("windows_to_rows", rows.size, arguments, rows, x)

    def rows_to_pixels(self, rows: Array, first: int, dx: Array) -> None:
        """Add rows up to the pixels that `windows_to_rows` takes them from.

        Parameters
        ----------
        rows : array, (windows, taps * C)
            From the window `first` on: of whole images, or of a part of a single one.
        first : int
            Number of the first window, counted through the whole batch.
        dx : array, (N, H, W, C)
            Its pixels of these images are overwritten; those of an image whose first windows have
            been there before are added to.

        Notes
        -----
        One launch. Bytes moved for a number of the rows: s read; s written for each pixel. A pixel
        gathers its rows in the order of the taps, so nothing is atomic.
        """
        image, begin = divmod(first, self.windows)
        images = -(-(begin + len(rows)) // self.windows)
        numbers = (self.channels, image, begin, len(rows), images, int(begin > 0))
        arguments = (rows, *self._window(), *map(u32, numbers), dx)
        size = images * self.size[0] * self.size[1] * self.channels
        self._launch("rows_to_pixels", size, arguments, dx, rows)

    def pool(
        self, x: Array, mean: bool, counts_padding: bool, where: Array | None, output: Array
    ) -> None:
        """Take the largest pixel, or the mean, of each window.

        Parameters
        ----------
        x : array, (N, C, H, W)
            The images.
        mean : bool
            Whether to take the mean.
        counts_padding : bool
            Whether pixels outside of the image count for the mean.
        where : array of uint8, (N, H', W', C), or None
            Gets the tap of the largest one, where somebody wants it; of at most 255 taps.
        output : array, (N, H', W', C)
            Gets the result.

        Notes
        -----
        One launch. Bytes moved for a pixel of the input: s read; for one of the output s written,
        and 1 for `where`.
        """
        arguments = (*_strided(x), *self._window(), u32(self.channels), u32(len(x)))
        arguments += (u32(int(counts_padding)), nullable(where), output)
        self._launch("pool", output.size, arguments, output, x, mean=mean)

    def pool_backward(
        self, dout: Array, mean: bool, counts_padding: bool, where: Array | None, dx: Array
    ) -> None:
        """Write the gradient of the pixels.

        Parameters
        ----------
        dout : array, (N, C, H', W')
            The gradient of the output.
        mean, counts_padding, where
            As `pool` had them.
        dx : array, (N, H, W, C)
            Gets the gradient.

        Notes
        -----
        One launch. Bytes moved for a pixel of the input: s written; for one of the output s read,
        and 1 for `where`.
        """
        arguments = (*_strided(dout), *self._window(), u32(self.channels), u32(len(dx)))
        arguments += (u32(int(counts_padding)), nullable(where), dx)
        self._launch("pool_backward", dx.size, arguments, dx, dout, mean=mean)

    def _window(self) -> list[Any]:
        pairs = (self.size, self.count, self.kernel, self.stride, self.margin, self.dilation)
        return [np.int32(number) for pair in pairs for number in pair]

    def _launch(
        self,
        kernel: str,
        size: int,
        arguments: Any,
        written: Array,
        read: Array,
        mean: bool = False,
    ) -> None:
        """Launch a kernel for so many numbers, by 16 bytes where both arrays lie so."""
        pack = 16 // written.itemsize
        addresses = [written.data.ptr, read.data.ptr]
        if read.ndim == 4:  # (N, C, H, W) of any order, while all else is contiguous
            addresses += [read.strides[axis] for axis in (0, 2, 3)]
        wide = self.channels % pack == 0 and all(address % 16 == 0 for address in addresses)
        wide = wide and (read.ndim < 4 or read.strides[1] == read.itemsize)
        blocks = -(-size // (_BLOCK * (pack if wide else 1)))
        if blocks:
            macros = {"WIDTH": "PACK" if wide else "1", "MEAN": str(int(mean))}
            found = function("images", kernel, dtype_name(written), **macros)
            found((blocks,), (_BLOCK,), arguments)


def _strided(images: Array) -> tuple[Any, ...]:
    """Return images with the distances of their axes, in numbers."""
    return (images, *(np.int64(stride // images.itemsize) for stride in images.strides))
