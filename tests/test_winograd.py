"""Convolution by squares of pixels against its definition, on images of all sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpnn
from xpnn import layers as L

pytest.importorskip("numba")

from xpnn.kernels.numba import blocked_product, geometry
from xpnn.kernels.numba.geometry import FILTER_SQUARES, FILTER_TILES, SQUARES, Geometry

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

#: Of one product and its rounding, relative to the largest number of the result.
LIMIT = {"float32": 1e-6, "float64": 1e-15}


def convolved(x: Any, filters: Any, padding: int) -> Any:
    """Convolve by the definition, in the widest type that NumPy has."""
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)]).astype(np.longdouble)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,fcij->nfhw", windows, filters.astype(np.longdouble))


def filters_gradient(x: Any, dout: Any, padding: int) -> Any:
    """The gradient of 3 x 3 filters by its definition."""
    x = np.pad(x.astype(float), [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    windows = np.lib.stride_tricks.sliding_window_view(x, dout.shape[2:], axis=(2, 3))
    return np.einsum("ncijhw,nfhw->fcij", windows, dout.astype(float), optimize=True)


def step_of(net: xpnn.Sequential) -> Any:
    step = xpnn.fusion.plan(net).steps[0]
    step.wants_gradient = True
    return step


def far(actual: Any, expected: Any) -> float:
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


@each_dtype
@pytest.mark.parametrize("run", [False, True], ids=["alone", "in a run"])
@pytest.mark.parametrize("padding", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("channels", "filters", "size"),
    [
        (32, 32, (4, 4)),
        (32, 48, (5, 7)),
        (48, 32, (9, 4)),
        (64, 96, (12, 13)),
        (32, 64, (33, 18)),
        (16, 16, (5, 4)),
        (16, 16, (34, 19)),
        (16, 32, (6, 9)),
        (64, 16, (8, 7)),
    ],
)
def test_output_and_gradients(channels, filters, size, padding, run, dtype):
    rng = np.random.default_rng(channels + padding)
    layers: list[L.Layer] = [L.Conv2d(channels, filters, 3, padding=padding)]
    if run:  # with what does nothing, so that images stay with channels last
        layers.append(L.AvgPool2d(1))
    net = xpnn.Sequential(layers, xpnn.MeanSquaredError(), lr=0.1, seed=0, dtype=dtype)
    _ = net.parameters
    layer = net.layers[0]
    W, b = np.array(layer.params["W"]), rng.standard_normal(filters).astype(dtype)
    layer.params["b"] = b
    x = rng.standard_normal((3, channels, *size)).astype(dtype)
    step = step_of(net)
    expected = convolved(x, W, padding) + b[:, None, None]
    for output in (step.forward(x), step.evaluate(x)):
        assert far(output, expected) < LIMIT[dtype]
    output = step.forward(x)
    dout = rng.standard_normal(output.shape).astype(dtype)
    turned = W.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    full = convolved(dout, turned, 2)  # of the padded input
    rows, columns = (slice(padding, padding + extent) for extent in size)
    assert far(step.backward(dout), full[:, :, rows, columns]) < LIMIT[dtype]
    assert far(layer.grads["W"], filters_gradient(x, dout, padding)) < 3 * LIMIT[dtype]


@each_dtype
@pytest.mark.parametrize("run", [False, True], ids=["alone", "in a run"])
@pytest.mark.parametrize("sizes", [(16, 32, (6, 5)), (64, 16, (3, 8)), (32, 16, (21, 19))])
def test_gradient_of_few_filters(sizes, run, dtype):
    """Where squares make nothing else; more of them than wait for their products at a time."""
    channels, filters, size = sizes
    rng = np.random.default_rng(channels)
    layers: list[L.Layer] = [L.Conv2d(channels, filters, 3, padding=1)]
    layers += [L.AvgPool2d(1)] if run else []
    net = xpnn.Sequential(layers, xpnn.MeanSquaredError(), lr=0.1, seed=0, dtype=dtype)
    _ = net.parameters
    x = rng.standard_normal((5, channels, *size)).astype(dtype)
    step = step_of(net)
    dout = rng.standard_normal(step.forward(x).shape).astype(dtype)
    step.backward(dout)
    gradient = net.layers[0].grads["W"]
    assert far(gradient, filters_gradient(x, dout, 1)) < 3 * LIMIT[dtype]


@pytest.mark.parametrize("size", [(1, 9), (2, 2), (2, 3), (3, 2), (16, 1)])
def test_small_images(size):
    """Where there is no square of 2 x 2 pixels the windows are taken as they are."""
    rng = np.random.default_rng(5)
    net = xpnn.Sequential([L.Conv2d(32, 32, 3, padding=1)], xpnn.MeanSquaredError(), lr=0.1, seed=0)
    x = rng.standard_normal((2, 32, *size)).astype(np.float32)
    expected = convolved(x, np.array(net.parameters.values.named()["0.W"]), 1)
    assert far(net.eval(x), expected) < LIMIT["float32"]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so(number):
    net = xpnn.Sequential([L.Conv2d(32, 32, 3, padding=1)], xpnn.MeanSquaredError(), lr=0.1, seed=0)
    x = np.ones((2, 32, 6, 6), np.float32)
    x[1, 3, 2, 2] = number
    output = net.eval(x)
    assert np.isfinite(output[0]).all()
    assert not np.isfinite(output[1, :, 1:4, 1:4]).any()
    with pytest.raises(xpnn.DivergenceError):
        net.train(x, np.zeros(output.shape))


@pytest.mark.parametrize("width", [16, 32, 64])
def test_squares_are_cut_for_every_width_of_vectors(width):
    panel = blocked_product.panel("float32", width)
    for channels, size in ((32, 2), (32, 31), (64, 8), (512, 14)):
        shape = Geometry(
            channels, channels, 1, (size, size), (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))
        )
        assert shape.by_squares
        table = shape.table(panel)
        assert 1 <= table[SQUARES] <= (-(-size // 2)) ** 2
        assert table[FILTER_SQUARES] >= 16
        # The rows of the last tile end where the channels do.
        last = table[FILTER_TILES] + 2 * (table[FILTER_TILES + 1] - 1)
        assert table[last] + table[last + 1] == channels


@pytest.mark.parametrize("wide", [False, True])
def test_which_convolutions(wide, monkeypatch):
    """With fewer channels where vectors are wide."""
    monkeypatch.setattr(geometry, "vector_bytes", lambda: 64 if wide else 32)
    common = (16, 16), (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))
    assert Geometry(32, 48, 1, *common).by_squares
    assert not Geometry(32, 48, 1, *common).by_few
    assert not Geometry(32, 40, 1, *common).by_squares  # vectors would not be full
    for sizes in ((16, 16), (16, 32), (64, 16)):
        assert Geometry(*sizes, 1, *common).by_few == wide
        assert Geometry(*sizes, 1, *common).by_squares == wide
    assert not Geometry(16, 80, 1, *common).by_squares
    assert Geometry(16, 16, 1, *common).filters_by_squares == wide
    for sizes in ((16, 32), (32, 16), (16, 80)):
        assert Geometry(*sizes, 1, *common).filters_by_squares
    assert not Geometry(64, 64, 2, *common).by_squares
    for place, other in ((1, (3, 5)), (2, (2, 1)), (3, (1, 2))):
        settings = list(common)
        settings[place] = other
        assert not Geometry(32, 32, 1, *settings).by_squares
        assert not Geometry(16, 16, 1, *settings).by_squares


def test_images_of_too_few_squares_for_the_registers():
    margins = (1, 1), (1, 1)
    for size in ((2, 2), (2, 4), (4, 2)):
        few = Geometry(16, 16, 1, size, (3, 3), (1, 1), (1, 1), margins)
        assert few.filters_by_squares or blocked_product.vector_bytes() < 64
        assert not few.by_squares
    for size in ((3, 3), (2, 5)):
        few = Geometry(16, 16, 1, size, (3, 3), (1, 1), (1, 1), margins)
        assert few.by_squares == (blocked_product.vector_bytes() == 64)
