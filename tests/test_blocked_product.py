"""The product by tiles of registers, at every width of vectors, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

import numba

from tolerances import assert_close
from xpnn.kernels.numba import blocked_product
from xpnn.kernels.numba.blocked_product import call, panel, tiles

WIDTHS = (64, 32, 16)


@numba.njit
def run(address, numbers):
    """Call a panel with a vector of its arguments."""
    n = numbers
    call(
        address, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12],
        n[13], n[14], n[15],
    )  # fmt: skip


def multiply(a, offsets, a_row, a_step, b, c, start, start_row, found, overlap=True):
    """C = start + sum over blocks; b is (blocks, steps, columns), all of it in its own memory."""
    blocks, steps, columns = b.shape
    size = b.itemsize
    for first in range(0, columns, 2 * found.lanes):
        width = min(columns - first, 2 * found.lanes)
        cover = found.covers(c.shape[0], width, overlap)
        numbers = np.asarray(
            [
                a.ctypes.data, a_row, a_step, offsets.ctypes.data,
                b.ctypes.data + size * first, b.strides[1] // size, b.strides[0] // size,
                c.ctypes.data + size * first, c.strides[0] // size,
                start.ctypes.data + size * first, start_row,
                cover.ctypes.data, len(cover), width, steps, blocks,
            ]
        )  # fmt: skip
        run(found.address, numbers)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("vector", WIDTHS)
def test_products_of_all_sizes(vector, dtype):
    found = panel(dtype, vector)
    rng = np.random.default_rng(0)
    for rows in (1, 2, 3, 5, 6, 7, 12, 13, 14, 15, 16, 29, 50):
        for columns in (1, found.lanes - 1, found.lanes, found.lanes + 1, 2 * found.lanes, 45):
            for steps in (0, 1, 7, 33):
                a = rng.standard_normal((rows, steps + 2)).astype(dtype)
                wide = rng.standard_normal((1, steps, columns + 3)).astype(dtype)
                bias = rng.standard_normal(columns).astype(dtype)
                c = np.full((rows, columns + 5), 77, dtype)
                b = wide[:, :, :columns]
                multiply(a, np.zeros(1, np.int64), a.shape[1], 1, b, c, bias, 0, found)
                assert_close(c[:, :columns], a[:, :steps] @ b[0] + bias, dtype)
                assert (c[:, columns:] == 77).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("vector", WIDTHS)
def test_blocks_by_their_offsets_are_added_to_what_is_there(vector, dtype):
    """A transposed A, blocks in any order, and C as its own start."""
    found = panel(dtype, vector)
    rng = np.random.default_rng(1)
    memory = rng.standard_normal(400).astype(dtype)
    offsets = np.asarray([40, 0, 7, 200])
    b = rng.standard_normal((4, 6, 21)).astype(dtype)
    c = rng.standard_normal((9, 21)).astype(dtype)
    expected = c.copy()
    for block, offset in enumerate(offsets):
        a = memory[offset : offset + 6 * 19].reshape(6, 19)[:, :9].T
        expected += a @ b[block]
    multiply(memory, offsets, 1, 19, b, c, c, 21, found, overlap=False)
    assert_close(c, expected, dtype)


@pytest.mark.parametrize("vector", WIDTHS)
def test_numbers_that_are_not_finite_stay_in_their_rows_and_columns(vector):
    found = panel("float64", vector)
    a, b = np.ones((8, 3)), np.ones((1, 3, 11))
    a[5, 1], b[0, 2, 10] = np.nan, np.inf
    c = np.zeros((8, 11))
    multiply(a, np.zeros(1, np.int64), 3, 1, b, c, np.zeros(11), 0, found)
    np.testing.assert_array_equal(np.isnan(c), np.repeat(np.arange(8)[:, None] == 5, 11, axis=1))
    np.testing.assert_array_equal(np.isinf(c[0]), np.arange(11) == 10)


def test_tiles_cover_all_rows_once_unless_they_may_overlap():
    for heights in ((14, 8, 4, 2, 1), (6, 4, 3, 2, 1)):
        for rows in range(1, 70):
            once = tiles(rows, heights, False)
            covered = [row for first, height in once for row in range(first, first + height)]
            assert sorted(covered) == list(range(rows))
            overlapping = tiles(rows, heights, True)
            covered = [row for first, height in overlapping for row in range(first, first + height)]
            assert set(covered) == set(range(rows))
            assert len(overlapping) <= len(once)
            assert set(overlapping[:, 1].tolist()) <= set(heights)
    assert tiles(28, (14, 8, 4, 2, 1), True).tolist() == [[0, 14], [14, 14]]


def test_tiles_are_higher_where_one_vector_is_across():
    found = panel("float32", 64)
    assert found.covers(32, 16, True).tolist() == [[0, 16], [16, 16]]
    assert 16 not in found.covers(32, 17, True)[:, 1]


def test_vectors_are_those_of_the_processor():
    assert blocked_product.vector_bytes() in WIDTHS
    assert panel("float32").lanes == blocked_product.vector_bytes() // 4
    assert panel("float64").lanes == blocked_product.vector_bytes() // 8
    assert panel("float32") is panel("float32")
