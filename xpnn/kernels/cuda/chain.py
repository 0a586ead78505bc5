"""A chain of bias, normalization, activation and dropout: the kernels of its passes.

``chain.cuh`` has the formulas. All arrays are CuPy's, on the current device, contiguous and of one
floating-point type; x is (rows, width). Nothing here waits for the device.

The bytes that a kernel moves are given for an element of a matrix, with s = 4 bytes for float32 and
8 for float64. Vectors of one number a row or a column count nothing, as they stay in the caches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._standard import Array
from ...random import Stream
from ._launch import Counters, dtype_name, nullable, row_grid, u32, u64
from .loader import function

__all__ = ["ACTIVATIONS", "NORMS", "Chain", "Pooling"]

#: What the macro ACTIVATION can be.
ACTIVATIONS = (
    *("identity", "relu", "leaky_relu", "elu", "sigmoid", "tanh", "silu", "gelu"),
    "gelu_tanh",
)

#: What the macro NORM can be.
NORMS = ("none", "batch", "running", "layer")

#: Elements that a warp takes, and that a block of eight warps takes.
_TILE, _TILES = 512, 8
#: Columns that a warp takes, rows that a block takes at least, and blocks that a launch aims at:
#: what a large GPU holds at a time. It does not depend on the GPU, so that the order of the
#: additions does not either.
_COLUMNS, _ROWS, _BLOCKS = 32, 32, 512


@dataclass(slots=True)
class Pooling:
    """A pooling behind a chain, of windows that do not overlap and lie within the image.

    Parameters
    ----------
    sizes : tuple of int
        Height and width of the images, number of windows down and across, height and width of a
        window, distance of two of them down and across.
    mean : bool
        Whether it takes the mean, or the largest one.
    where : array of uint8, (N, H', W', C), or None
        The tap of the largest one, of at most 255.
    """

    sizes: tuple[int, ...]
    mean: bool
    where: Array | None = None


@dataclass(slots=True)
class Chain:
    """One chain in one step: what all its kernels are given.

    Parameters
    ----------
    x : array, (rows, width)
        The product of matrices, or the input.
    activation : str
        One of `ACTIVATIONS`.
    norm : str
        One of `NORMS`.
    setting : float
        The slope or the scale of LeakyReLU and ELU.
    epsilon : float
        Of the normalization.
    keep : float
        The factor of what dropout keeps; 1 without dropout.
    bias : array, (width,), or None
        Is added to x.
    mean, inverse : array or None
        (width,) with "batch" and "running", (rows,) with "layer", else None.
    gamma, beta : array, (width,), or None
        Scale and shift of the normalization.
    bits : array of uint16, or None
        The mask: a bit an element, 16 elements a number, the first in the lowest bit.
    pooling : Pooling or None
        Where rows are pixels, and a pooling comes behind: the gradient that the kernels get then
        is that of the pooled images (N, C, H', W'), in any order in memory.
    """

    x: Array
    activation: str
    norm: str
    setting: float = 0.0
    epsilon: float = 0.0
    keep: float = 1.0
    bias: Array | None = None
    mean: Array | None = None
    inverse: Array | None = None
    gamma: Array | None = None
    beta: Array | None = None
    bits: Array | None = None
    pooling: Pooling | None = None

    def forward(self, output: Array, stream: Stream | None = None, threshold: int = 0) -> None:
        """Write the output; where there are `bits`, draw the mask of the stream into them.

        Notes
        -----
        One launch. Bytes moved: s read, s written, 1/8 written for the mask. Some 20 integer
        instructions an element make the mask, which an H100 does in the time that it takes to move
        5 of the 8 bytes of a float32; a float64 has room for more.
        """
        stream = stream or Stream(0)
        words = map(u64, (stream.seed, stream.stream, stream.call))
        arguments = (*self._common(), *words, u32(threshold), nullable(self.bits), output)
        self._launch("elements", "chain_forward", self._tiles(), (32 * _TILES,), arguments)

    def pool(self, output: Array) -> None:
        """Write the pooled output (N, H', W', C), and where its pixels came from.

        Notes
        -----
        One launch. Bytes moved: s read for a pixel; s written for a window, and 1 for `where`.
        """
        pooling, width = self.pooling, self.x.shape[1]
        assert pooling is not None
        pack = 16 // self.x.itemsize
        wide = width % pack == 0 and self.x.data.ptr % 16 == 0
        arguments = (*self._common(), *map(u32, pooling.sizes), u32(int(pooling.mean)))
        macros = {"NORM": self.norm.upper(), "ACTIVATION": self.activation.upper()}
        macros["WIDTH"] = "PACK" if wide else "1"
        found = function("pooled", "chain_pool", dtype_name(self.x), **macros)
        blocks = -(-output.size // (256 * (pack if wide else 1)))
        found((blocks,), (256,), (*arguments, nullable(pooling.where), output))

    def batch_statistics(
        self, momentum: float, running_mean: Array, running_var: Array, counters: Counters
    ) -> None:
        """Write `mean` and `inverse` of the columns, and move the running averages.

        Notes
        -----
        One launch. Bytes moved: s read. Every number is read once: eight of them wait in the
        registers of a thread for their mean, and such means and sums of squares are combined
        (Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
        Variances", 1979), which loses no digits where the mean is large.
        """
        rows, width = self.x.shape
        grid, chunk = _column_grid(rows, width)
        real = self.x.dtype.type
        arguments = (
            *(self.x, nullable(self.bias), u32(rows), u32(width), u32(chunk)),
            *(real(self.epsilon), real(momentum), real(1.0 - momentum)),
            *(running_mean, running_var, self.mean, self.inverse),
            *(_partial(grid, 2, width, self.x), counters.get(grid[0])),
        )
        self._launch("columns", "batch_statistics", grid, (_COLUMNS, 8), arguments)

    def row_statistics(self) -> None:
        """Write `mean` and `inverse` of the rows.

        Notes
        -----
        One launch. Bytes moved: s read; the second reading of a row meets the first one in the
        cache.
        """
        rows, width = self.x.shape
        grid, block = row_grid(rows, width)
        arguments = (
            *(self.x, nullable(self.bias), u32(rows), u32(width)),
            *(self.x.dtype.type(self.epsilon), self.mean, self.inverse),
        )
        self._launch("rows", "row_statistics", grid, block, arguments)

    def column_sums(
        self,
        dout: Array,
        dx: Array | None,
        dbias: Array | None,
        dbeta: Array | None,
        dgamma: Array | None,
        counters: Counters,
    ) -> None:
        """Write the gradients of the vectors; without a normalization also dx, if it is given.

        With "layer" the gradient of the bias is the sum of dx, which then must be there.

        Notes
        -----
        One launch. Bytes moved: 2 s read, 1/8 for the mask; with dx s written ("none") or read
        ("layer").
        """
        rows, width = self.x.shape
        grid, chunk = _column_grid(rows, width)
        arguments = (
            *(*self._common(), nullable(self.bits), *self._given(dout), u32(chunk)),
            *map(nullable, (dx, dbias, dbeta, dgamma)),
            *(_partial(grid, 3, width, self.x), counters.get(grid[0])),
        )
        self._launch("columns", "column_sums", grid, (_COLUMNS, 8), arguments)

    def backward(
        self, dout: Array, dx: Array, dbeta: Array | None = None, dgamma: Array | None = None
    ) -> None:
        """Write the gradient by x; with "batch" `column_sums` must have come before.

        Notes
        -----
        One launch. Bytes moved: 2 s read, 1/8 for the mask, s written. The gradient by the
        activation's input is computed again rather than stored by `column_sums`, which would cost s
        written there instead of 1/8 read here.
        """
        arguments = (*self._common(), nullable(self.bits), *self._given(dout))
        arguments += (nullable(dbeta), nullable(dgamma), dx)
        self._launch("elements", "chain_backward", self._tiles(), (32 * _TILES,), arguments)

    def row_gradient(self, dout: Array, dx: Array) -> None:
        """Write the gradient by x with "layer".

        Notes
        -----
        One launch. Bytes moved: 2 s read, 1/8 for the mask, s written; a row is read again from the
        cache.
        """
        grid, block = row_grid(*self.x.shape)
        arguments = (*self._common(), nullable(self.bits), dout, dx)
        self._launch("rows", "row_gradient", grid, block, arguments)

    def _common(self) -> tuple[Any, ...]:
        real = self.x.dtype.type
        vectors = (self.bias, self.mean, self.inverse, self.gamma, self.beta)
        numbers = map(real, (self.epsilon, self.setting, self.keep))
        return (self.x, *map(nullable, vectors), *numbers, *map(u32, self.x.shape))

    def _given(self, dout: Array) -> tuple[Any, ...]:
        """Return the gradient of the output as the kernels declare it."""
        if self.pooling is None:
            return (dout,)
        steps = (np.int64(stride // dout.itemsize) for stride in dout.strides)
        return (dout, *steps, nullable(self.pooling.where), *map(u32, self.pooling.sizes))

    def _tiles(self) -> tuple[int]:
        return (-(-self.x.size // (_TILE * _TILES)),)

    def _launch(
        self, name: str, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], arguments: Any
    ) -> None:
        macros = {"NORM": self.norm.upper(), "ACTIVATION": self.activation.upper()}
        if self.pooling is not None:
            macros["POOLED"] = "1"
        found = function(name, kernel, dtype_name(self.x), **macros)
        found(grid, block, arguments)


def _column_grid(rows: int, width: int) -> tuple[tuple[int, int], int]:
    """Return the grid of a kernel that takes columns, and how many rows are in a chunk."""
    across = -(-width // _COLUMNS)
    chunks = min(max(_BLOCKS // across, 1), -(-rows // _ROWS))
    chunk = -(-rows // chunks)
    return (across, -(-rows // chunk)), chunk


def _partial(grid: tuple[int, int], count: int, width: int, like: Array) -> Any:
    """Return room for the sums of the chunks; a null pointer where there is one."""
    import cupy

    if grid[1] == 1:
        return nullable(None)
    return cupy.empty((count, grid[1], width), dtype=like.dtype)
