"""Where the numbers of a convolution lie: a table for the kernels, made once for each shape.

Images are (N, H, W, C) in memory, so that the pixels under one row of the filter are neighbours:
with one group and a dilation of 1 across they are one run of ``kw * C`` numbers. A block, in the
sense of `blocked_product`, is such a run, or else one tap of the filter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..._standard import Array
from . import winograd, winograd_few, winograd_filters
from .blocked_product import Panel, tile_cost, vector_bytes
from .vectors import BYTES

__all__ = ["Geometry"]

Pair = tuple[int, int]

# What is where in the table: numbers, then where the parts of different length begin.
(
    CHANNELS, FILTERS, GROUPS, TAPS, ACROSS, STRIDE_DOWN, STRIDE_ACROSS, OUTPUT_DOWN,
    OUTPUT_ACROSS, GRADIENT_TOP, GRADIENT_LEFT, FORWARD_BLOCKS, FORWARD_LENGTH, FORWARD_OFFSETS,
    FORWARD_TILES, FORWARD_TILE_COUNT, WEIGHT_BLOCKS, WEIGHT_LENGTH, WEIGHT_OFFSETS,
    WEIGHT_STARTS, WEIGHT_TILES, WEIGHT_TILE_COUNT, PHASES, PHASE_COUNT, BACK_LENGTH, BACK_RUN,
    BACK_OFFSETS, BACK_TAPS, WEIGHT_ROWS, SQUARES, SQUARE_TILES, SQUARE_TILE_COUNT, BACK_SQUARES,
    BACK_SQUARE_TILES, BACK_SQUARE_TILE_COUNT, ROOM, FILTER_SQUARES, FILTER_TILES,
    FILTER_TILE_COUNT, FILTER_ROOM, FEW, HEADER,
) = range(42)  # fmt: skip

#: Numbers of the image and of its gradient that one call for the gradient of the filters reads, so
#: that they stay in the first cache, about.
_NUMBERS = 1 << 13

#: Numbers in a row of the phases.
PHASE = 8

#: Of filters and channels, for `winograd` and `winograd_filters`: vectors of them are full in
#: either type.
_WHOLE = 16
#: So many have to be there at least: of both for `winograd`, of either for `winograd_filters`.
_MANY = 32
#: Where vectors are as wide as in the code of `winograd_few`, that is for fewer of either, with no
#: more than this of the other, and `winograd_filters` for fewer of both.
_NOT_MANY = 64
#: Squares times channels that `winograd_few` does at a time, about: so many stay in the first cache
#: until all filters have had them.
_FEW_NUMBERS = 192

#: Numbers that stand for the squares that `winograd` does at a time: so many are near enough, and
#: up to four times as many take about this factor of the time.
_SQUARE_NUMBERS = 1 << 14
_FARTHER = 1.15
#: The same for the gradient of the filters, where sums of several images are taken together.
_FILTER_NUMBERS = 1 << 16


@dataclass(frozen=True)
class Geometry:
    """Sizes of a convolution.

    Attributes
    ----------
    channels, filters, groups : int
        Of the input, of the output, and into how many parts both are cut.
    sizes : pair of int
        Height and width of the input.
    kernel, stride, dilation : pair of int
        Of the filters, down and across.
    margins : pair of pair of int
        Rows of zeros above and below, columns left and right.
    """

    channels: int
    filters: int
    groups: int
    sizes: Pair
    kernel: Pair
    stride: Pair
    dilation: Pair
    margins: tuple[Pair, Pair]

    @cached_property
    def padded(self) -> Pair:
        """Height and width of the input with its margins."""
        (top, bottom), (left, right) = self.margins
        return self.sizes[0] + top + bottom, self.sizes[1] + left + right

    @cached_property
    def count(self) -> Pair:
        """Height and width of the output."""
        down, across = (
            (p - d * (k - 1) - 1) // s + 1
            for p, d, k, s in zip(self.padded, self.dilation, self.kernel, self.stride, strict=True)
        )
        return down, across

    @property
    def taps(self) -> int:
        """Taps of a filter."""
        return self.kernel[0] * self.kernel[1]

    @property
    def depth(self) -> int:
        """Channels that a filter sees."""
        return self.channels // self.groups

    @cached_property
    def by_squares(self) -> bool:
        """Whether `winograd` or `winograd_few` makes the output and the gradient of the input.

        With few channels the sums of `winograd` take as long as the products that it spares.
        """
        return self.by_few or (
            self.filters_by_squares and min(self.channels, self.filters) >= _MANY
        )

    @cached_property
    def by_few(self) -> bool:
        """Whether `winograd_few` does."""
        few = min(self.channels, self.filters) < _MANY
        few = few and max(self.channels, self.filters) <= _NOT_MANY
        enough = min(_squares(self.count), _squares(self.sizes)) >= winograd_few.TOGETHER
        return self.filters_by_squares and few and enough and vector_bytes() == BYTES

    @cached_property
    def filters_by_squares(self) -> bool:
        """Whether `winograd_filters` makes the gradient of the filters."""
        simple = self.groups == 1 and self.kernel == (3, 3)
        simple = simple and self.stride == (1, 1) and self.dilation == (1, 1)
        full = self.channels % _WHOLE == 0 and self.filters % _WHOLE == 0
        many = max(self.channels, self.filters) >= _MANY or vector_bytes() == BYTES
        return simple and full and many and min(*self.count, *self.sizes) >= 2

    @property
    def packed_size(self) -> int:
        """Numbers in the filters as the product for the output reads them."""
        return self.filters * self.depth * (winograd.SQUARES if self.by_squares else self.taps)

    @property
    def turned_size(self) -> int:
        """Numbers in the filters as the product for the gradient of the input reads them."""
        taps = winograd.SQUARES if self.by_squares else len(self.phases[2])
        return self.filters * self.depth * taps

    @cached_property
    def _folds(self) -> bool:
        """Whether a row of taps is one run of numbers."""
        return self.groups == 1 and self.dilation[1] == 1

    @cached_property
    def forward_blocks(self) -> tuple[list[int], int]:
        """Where the blocks under a window begin, counted from its corner, and their length."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        row = dh * self.padded[1] * self.channels
        if self._folds:
            return [i * row for i in range(kh)], kw * self.channels
        step = dw * self.channels
        return [i * row + j * step for i in range(kh) for j in range(kw)], self.depth

    @cached_property
    def weight_blocks(self) -> tuple[list[int], list[Pair], int]:
        """For the gradient of the filters, a sum over all windows.

        Returns
        -------
        offsets : (H',)
            Where the pixel under a tap lies for the first window of each row.
        starts : (blocks of the filter, 2)
            Where a block begins in the padded image, and in the filter.
        length : int
            Numbers of a block.
        """
        row = self.stride[0] * self.padded[1] * self.channels
        offsets = [y * row for y in range(self.count[0])]
        begins, length = self.forward_blocks
        starts = [(begin, number * length) for number, begin in enumerate(begins)]
        return offsets, starts, length

    @cached_property
    def phases(self) -> tuple[list[tuple[int, ...]], list[int], list[Pair], int]:
        """For the gradient of the input: pixels that see the same taps, ``stride`` apart.

        Returns
        -------
        phases : (P, 6)
            First row, number of rows, first column, number of columns, first and number of blocks.
        offsets : (blocks of all phases,)
            Where a block begins in the padded gradient, counted from the pixel of the phase.
        taps : (taps of all phases, 2)
            Row and column in the filter, in the order of the blocks.
        run : int
            Taps in a block.
        """
        folds = self._folds and self.stride == (1, 1)
        width = self.gradient_padded[1]
        phases: list[tuple[int, ...]] = []
        offsets: list[int] = []
        taps: list[Pair] = []
        down, across = (self._reach(axis) for axis in (0, 1))
        for first_row, rows, tap_rows in down:
            for first_column, columns, tap_columns in across:
                first = len(offsets)
                for i, y in tap_rows:
                    if folds:  # from the last tap on, which is the leftmost pixel
                        offsets.append((y * width + tap_columns[-1][1]) * self.filters)
                        taps += [(i, j) for j, _ in reversed(tap_columns)]
                        continue
                    offsets += [(y * width + x) * self.filters for _, x in tap_columns]
                    taps += [(i, j) for j, _ in tap_columns]
                blocks = len(offsets) - first
                phases.append((first_row, rows, first_column, columns, first, blocks))
        return phases, offsets, taps, self.kernel[1] if folds else 1

    @cached_property
    def gradient_margins(self) -> tuple[Pair, Pair]:
        """Zeros around the gradient of the output, for `phases` to reach into."""
        found = []
        for axis, count in enumerate(self.count):
            reach = self._reach(axis)
            before = min([0, *(y for _, _, taps in reach for _, y in taps)])
            after = max([0, *(y + n - count for _, n, taps in reach for _, y in taps)])
            found.append((-before, after))
        return found[0], found[1]

    @cached_property
    def gradient_padded(self) -> Pair:
        """Height and width of the gradient of the output with these zeros."""
        (top, bottom), (left, right) = self.gradient_margins
        return self.count[0] + top + bottom, self.count[1] + left + right

    def _square_cover(self, panel: Panel, sizes: Pair, columns: int) -> Array:
        """Cover the rows of as many squares as are best done at a time by tiles."""
        count = _squares(sizes)
        numbers = winograd.SQUARES * (self.channels + self.filters)
        most = min(count, max(_WHOLE, 4 * _SQUARE_NUMBERS // numbers))
        covers = [panel.covers(rows, columns, False) for rows in range(1, most + 1)]
        vectors = 1 if columns <= panel.lanes else 2

        def cost(cover: Array) -> float:
            squares = int(cover[-1].sum())
            times = -(-count // squares) * (_FARTHER if squares * numbers > _SQUARE_NUMBERS else 1)
            return times * (1.0 + sum(tile_cost(height, vectors) for height in cover[:, 1]))

        return min(covers, key=cost)

    def _reach(self, axis: int) -> list[tuple[int, int, list[Pair]]]:
        """Along an axis: first pixel of a phase, pixels, and its taps with the window of each."""
        size, stride, gap = self.sizes[axis], self.stride[axis], self.dilation[axis]
        before = self.margins[axis][0]
        found = []
        for first in range(min(stride, size)):
            place = first + before
            taps = [
                (tap, (place - tap * gap) // stride)
                for tap in range(self.kernel[axis])
                if (place - tap * gap) % stride == 0
            ]
            found.append((first, -(-(size - first) // stride), taps))
        return found

    def table(self, panel: Panel) -> Array:
        """Return all of this as one vector, for a panel."""
        table: list[int] = [0] * HEADER

        def append(values: Any) -> int:
            start = len(table)
            table.extend(np.asarray(values, np.int64).ravel().tolist())
            return start

        table[CHANNELS], table[FILTERS], table[GROUPS] = self.channels, self.filters, self.groups
        table[TAPS], table[ACROSS] = self.taps, self.kernel[1]
        table[STRIDE_DOWN], table[STRIDE_ACROSS] = self.stride
        table[OUTPUT_DOWN], table[OUTPUT_ACROSS] = self.count
        (table[GRADIENT_TOP], _), (table[GRADIENT_LEFT], _) = self.gradient_margins

        offsets, table[FORWARD_LENGTH] = self.forward_blocks
        cover = panel.covers(self.count[1], self.filters // self.groups, True)
        table[FORWARD_BLOCKS], table[FORWARD_OFFSETS] = len(offsets), append(offsets)
        table[FORWARD_TILES], table[FORWARD_TILE_COUNT] = append(cover), len(cover)

        offsets, starts, table[WEIGHT_LENGTH] = self.weight_blocks
        cover = panel.covers(table[WEIGHT_LENGTH], self.filters // self.groups, False)
        table[WEIGHT_BLOCKS], table[WEIGHT_STARTS] = len(starts), append(starts)
        table[WEIGHT_OFFSETS] = append(offsets)
        row = self.padded[1] * self.channels + self.count[1] * 32
        table[WEIGHT_ROWS] = max(1, _NUMBERS // row)
        table[WEIGHT_TILES], table[WEIGHT_TILE_COUNT] = append(cover), len(cover)

        phases, offsets, taps, table[BACK_RUN] = self.phases
        table[BACK_LENGTH] = table[BACK_RUN] * (self.filters // self.groups)
        table[BACK_OFFSETS], table[BACK_TAPS] = append(offsets), append(taps)
        covers = [panel.covers(phase[3], self.depth, True) for phase in phases]
        rows = []
        for phase, cover in zip(phases, covers, strict=True):
            rows.append((*phase, append(cover), len(cover)))
        table[PHASES], table[PHASE_COUNT] = append(rows), len(rows)

        if self.by_few:
            table[FEW] = 1
            for place, depth, columns in (
                (SQUARES, self.channels, self.filters),
                (BACK_SQUARES, self.filters, self.channels),
            ):
                most = _FEW_NUMBERS // depth if columns > _WHOLE else 1
                table[place] = squares = winograd_few.together(most)
                table[ROOM] = max(table[ROOM], winograd_few.room(squares, depth))
        elif self.by_squares:
            room = 0
            for place, sizes, columns in (
                (SQUARES, self.count, self.filters),
                (BACK_SQUARES, self.sizes, self.channels),
            ):
                cover = self._square_cover(panel, sizes, columns)
                table[place] = squares = int(cover[-1].sum())
                table[place + 1], table[place + 2] = append(cover), len(cover)
                room = max(room, winograd.room(squares, self.channels + self.filters))
            table[ROOM] = room
        if self.filters_by_squares:
            numbers = winograd.SQUARES * (self.channels + self.filters)
            table[FILTER_SQUARES] = squares = max(_WHOLE, _FILTER_NUMBERS // numbers)
            cover = panel.covers(self.channels, self.filters, False)
            table[FILTER_TILES], table[FILTER_TILE_COUNT] = append(cover), len(cover)
            table[FILTER_ROOM] = winograd_filters.room(squares, self.channels, self.filters)
        return np.asarray(table, np.int64)


def _squares(sizes: Pair) -> int:
    """Return how many squares of 2 x 2 pixels cover an image."""
    return -(-sizes[0] // 2) * -(-sizes[1] // 2)
