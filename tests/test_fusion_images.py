"""Fused steps of images against the layers that they replace, and against PyTorch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import xpnn
from fusion_cases import POOLS, convolutions
from test_fusion import ACTIVATIONS, assert_same_state, pair, steps_of
from tolerances import assert_close
from xpnn import layers as L

pytest.importorskip("numba")

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
LIMIT = {"float32": 1e-5, "float64": 1e-11}


def images_through(make: Callable[[], list[L.Layer]], shape: Any, dtype: str) -> list[Any]:
    """One step of both networks: outputs, gradients of all parameters and of the input."""
    found = []
    for fuse in (True, False):
        first = L.Conv2d(shape[1], shape[1], 1)  # so that the next one needs a gradient
        network = xpnn.Sequential(
            [first, *make()], xpnn.MeanSquaredError(), lr=0.01, seed=3, dtype=dtype, fuse=fuse
        )
        x = np.random.default_rng(0).standard_normal(shape)
        target = np.zeros(network.output_shape(shape))
        output, loss = network.train(x, target + 0.5)
        again, _ = network.train(x[:1], target[:1])
        found.append((network, output, loss, again, network.eval(x)))
    return found


@each_dtype
@hypothesis.settings(max_examples=40, deadline=None, derandomize=True, database=None)
@hypothesis.given(found=convolutions(), rows=st.sampled_from([1, 2, 5]))
def test_every_convolution(dtype, found, rows):
    """Strides, paddings, dilations, groups, odd sizes, one image, a kernel as large as it."""
    channels, filters, kernel, settings, size = found

    def make() -> list[L.Layer]:
        return [L.Conv2d(channels, filters, kernel, **settings)]

    fused, plain = images_through(make, (rows, channels, *size), dtype)
    for actual, expected in zip(fused[1:], plain[1:], strict=True):
        assert_close(actual, expected, dtype, 10)
    assert_close(fused[0].parameters.grads.array, plain[0].parameters.grads.array, dtype, 20)
    assert_same_state(fused[0], plain[0], dtype, 10)


#: Channels, filters, kernel, settings, size: what does not fit in squares of 16, in one strip of an
#: image, or in one call for the gradient of the filters.
LARGE: dict[str, tuple[Any, ...]] = {
    "squares that overlap": (20, 33, 3, {"padding": 1}, (7, 11)),
    "rows beyond the first cache": (16, 16, 3, {"stride": (2, 1)}, (40, 37)),
    "few channels in strips": (3, 5, 5, {"padding": 2}, (70, 66)),
    "few channels in strips, stride 2": (2, 18, 3, {"stride": 2, "padding": 1}, (131, 97)),
    "one filter for each channel": (17, 17, 3, {"groups": 17}, (9, 12)),
    "rows of a gradient a page apart": (1, 16, 1, {}, (32, 64)),
}


@each_dtype
@pytest.mark.parametrize("name", LARGE)
def test_large_convolutions_and_threads(name, dtype):
    """The results are those of the layer, and the same bits for any number of threads."""
    channels, filters, kernel, settings, size = LARGE[name]

    def make() -> list[L.Layer]:
        return [L.Conv2d(channels, filters, kernel, **settings)]

    threads, shape = xpnn.fusion.num_threads(), (3, channels, *size)
    fused, plain = images_through(make, shape, dtype)
    for actual, expected in zip(fused[1:], plain[1:], strict=True):
        assert_close(actual, expected, dtype, 10)
    scale = np.abs(plain[0].parameters.grads.array).max()
    difference = np.abs(fused[0].parameters.grads.array - plain[0].parameters.grads.array).max()
    assert difference < 10 * LIMIT[dtype] * scale
    if threads is None:
        return
    try:
        xpnn.fusion.set_num_threads(1 if threads > 1 else 2)
        other = images_through(make, shape, dtype)[0]
    finally:
        xpnn.fusion.set_num_threads(threads)
    for actual, expected in zip(fused[1:], other[1:], strict=True):
        assert (actual == expected).all()
    assert (fused[0].parameters.grads.array == other[0].parameters.grads.array).all()


@each_dtype
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("activation", ["", "ReLU", "GELU"])
def test_runs(activation, pool, norm, dtype):
    def run(channels: int, filters: int) -> list[L.Layer]:
        layers: list[L.Layer] = [L.Conv2d(channels, filters, 3, padding=1)]
        layers += [L.BatchNorm2d(filters)] if norm else []
        layers += [ACTIVATIONS[activation]()] if activation else []
        return layers + POOLS[pool]()

    def make() -> list[L.Layer]:
        return [*run(2, 5), *run(5, 19), L.Flatten(), L.Linear(19 * size, 3)]

    shape = (4, 2, 9, 12)
    inner = xpnn.Sequential([*run(2, 5), *run(5, 19)], xpnn.MeanSquaredError(), lr=0.1)
    size = math.prod(inner.output_shape(shape)[2:])
    fused, plain = images_through(make, shape, dtype)
    kinds = [kind.split(":")[0] for kind in steps_of(fused[0])]
    if norm or activation or pool != "none":
        runs = ["ConvolutionStep"] * 2
    else:
        runs = ["NarrowConvolutionStep", "PlainConvolutionStep"]
    assert kinds == ["NarrowConvolutionStep", *runs, "LayerStep", "LinearStep"]
    for actual, expected in zip(fused[1:], plain[1:], strict=True):
        assert_close(actual, expected, dtype, 20)
    assert_same_state(fused[0], plain[0], dtype, 20)


@each_dtype
@pytest.mark.parametrize("rectified", [True, False])
def test_more_images_than_shares(rectified, dtype):
    """A share then makes the gradients of several images in one place, one after the other."""

    def run(channels: int, filters: int) -> list[L.Layer]:
        layers = [L.Conv2d(channels, filters, 3, padding=1), L.BatchNorm2d(filters)]
        return [*layers, L.ReLU()] if rectified else layers

    def make() -> list[L.Layer]:
        return [*run(2, 16), *run(16, 16), *run(16, 5), L.GlobalAvgPool2d(), L.Linear(5, 3)]

    fused, plain = images_through(make, (37, 2, 5, 4), dtype)
    assert steps_of(fused[0])[1:4] == [f"ConvolutionStep:{3 if rectified else 2}"] * 3
    for actual, expected in zip(fused[1:], plain[1:], strict=True):
        assert_close(actual, expected, dtype, 20)
    assert_same_state(fused[0], plain[0], dtype, 20)


@each_dtype
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("activation", ["", "ReLU"])
def test_pairs_of_pixels(activation, norm, dtype):
    """Pooling of 2 x 2 over even sizes and whole vectors of channels has kernels of its own."""

    def run(channels: int, filters: int) -> list[L.Layer]:
        layers: list[L.Layer] = [L.Conv2d(channels, filters, 3, padding=1)]
        layers += [L.BatchNorm2d(filters)] if norm else []
        layers += [ACTIVATIONS[activation]()] if activation else []
        return [*layers, L.MaxPool2d(2)]

    def make() -> list[L.Layer]:
        return [*run(2, 16), *run(16, 48), L.Flatten(), L.Linear(48 * 2 * 3, 3)]

    fused, plain = images_through(make, (5, 2, 8, 12), dtype)
    for actual, expected in zip(fused[1:], plain[1:], strict=True):
        assert_close(actual, expected, dtype, 20)
    assert_same_state(fused[0], plain[0], dtype, 20)


@each_dtype
def test_a_window_of_minus_infinity_gives_its_gradient_to_a_pixel(dtype):
    conv = L.Conv2d(1, 16, 1, bias=False, weight_initializer="ones")
    run = [conv, L.MaxPool2d(3, 2, 1)]
    network = xpnn.Sequential(run, xpnn.MeanSquaredError(), lr=0.1, seed=0, dtype=dtype)
    (step,) = xpnn.fusion.plan(network).steps
    step.wants_gradient = True
    x = np.full((1, 1, 3, 4), -np.inf, dtype)
    x[0, 0, 0, 3] = 1.0
    expected = np.asarray([[-np.inf, 1.0], [-np.inf, -np.inf]], dtype)
    np.testing.assert_array_equal(step.forward(x), np.broadcast_to(expected, (1, 16, 2, 2)))
    dout = np.zeros((1, 16, 2, 2), dtype)
    dout[0, 5] = [[1, 2], [4, 8]]
    expected = [[[[1.0, 0.0, 0.0, 2.0], [4.0, 8.0, 0.0, 0.0], [0.0] * 4]]]
    np.testing.assert_array_equal(step.backward(dout), expected)


@each_dtype
@pytest.mark.parametrize("activation", ["", "ReLU"])
def test_pairs_of_pixels_that_are_equal_or_not_finite(activation, dtype):
    """Of equal pixels the first gets the gradient; NaN stays the largest, infinity is one."""
    conv = L.Conv2d(1, 16, 1, bias=False, weight_initializer="ones")
    run = [conv, *([ACTIVATIONS[activation]()] if activation else []), L.MaxPool2d(2)]
    network = xpnn.Sequential(run, xpnn.MeanSquaredError(), lr=0.1, seed=0, dtype=dtype)
    (step,) = xpnn.fusion.plan(network).steps
    step.wants_gradient = True
    finite = [[1, 1, -2, -1, 0, -0.0], [1, 1, -1, -3, 0, 0]]
    infinite = [[np.inf, 1, -np.inf, -1, -np.inf, -np.inf], [2, np.inf, 1, -1, -np.inf, -np.inf]]
    undefined = [[np.nan, 1, np.inf, 2, -1, np.nan], [2, 3, 1, np.nan, np.nan, -np.inf]]
    dout = np.arange(16 * 6, dtype=dtype).reshape(1, 16, 2, 3) + 1
    for rows in (finite + infinite, undefined + undefined):
        x = np.asarray(rows, dtype).reshape(1, 1, 4, 6)
        output = step.forward(x)
        dinput = step.backward(dout)
        expected, gradient = x, dout
        with np.errstate(invalid="ignore"):  # infinity times zero, in the gradient of the filters
            for layer in run:
                expected = layer.forward(expected)
            for layer in reversed(run):
                gradient = layer.backward(gradient)
        np.testing.assert_array_equal(output, expected)
        if rows[0] is finite[0]:
            np.testing.assert_allclose(dinput, gradient, rtol=LIMIT[dtype])


@each_dtype
def test_training_is_that_of_the_layers(dtype):
    """200 steps of a network of every kind of run, with batches that shrink and grow."""

    def make() -> list[L.Layer]:
        first = [L.Conv2d(1, 8, 3, padding=1, bias=False), L.BatchNorm2d(8), L.ReLU()]
        second = [L.Conv2d(8, 16, 3, stride=2), L.BatchNorm2d(16), L.SiLU(), L.AvgPool2d(2)]
        return [*first, L.MaxPool2d(2), *second, L.Dropout(0.3), L.Flatten(), L.Linear(16, 4)]

    fused, plain = pair(make, dtype=dtype, regularization=xpnn.L2(1e-3))
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((4, 1, 12, 12))
    for step in range(200):
        labels = rng.integers(0, 4, 16 if step % 10 else 7)
        x = centres[labels] + rng.standard_normal((len(labels), 1, 12, 12))
        (_, loss), (_, expected) = fused.train(x, labels), plain.train(x, labels)
        assert math.isclose(float(loss), float(expected), rel_tol=LIMIT[dtype])
    assert_close(fused.eval(x), plain.eval(x), dtype, 20)
    assert_same_state(fused, plain, dtype, 20)
    assert all(not layer.cache for layer in fused.layers)


@each_dtype
def test_residual_blocks(dtype):
    """With and without a shortcut, one in the other, at the beginning and at the end."""

    def block(channels: int, filters: int, stride: int = 1) -> L.Residual:
        layers = [L.Conv2d(channels, filters, 3, stride, 1), L.BatchNorm2d(filters), L.ReLU()]
        layers += [L.Conv2d(filters, filters, 3, padding=1), L.BatchNorm2d(filters)]
        short = [L.Conv2d(channels, filters, 1, stride), L.BatchNorm2d(filters)]
        return L.Residual(layers, None if channels == filters and stride == 1 else short)

    def make() -> list[L.Layer]:
        nested = L.Residual([L.ReLU(), block(6, 6), L.Dropout(0.25)])
        last = L.Residual([L.Linear(6, 6), L.Tanh()])
        return [block(2, 2), L.ReLU(), block(2, 6, 2), nested, L.GlobalAvgPool2d(), last]

    fused, plain = pair(make, dtype=dtype)
    assert steps_of(fused) == [
        "ResidualStep:2", *["ResidualStep:1"] * 2, "LayerStep:1", "ResidualStep:1"
    ]  # fmt: skip
    rng = np.random.default_rng(6)
    kept = []
    for rows in (8, 8, 3, 1, 9):
        x, y = rng.standard_normal((rows, 2, 7, 8)), rng.integers(0, 6, rows)
        (output, loss), (expected, value) = fused.train(x, y), plain.train(x, y)
        assert_close(output, expected, dtype, 20)
        assert math.isclose(float(loss), float(value), rel_tol=LIMIT[dtype])
        grads = (network.parameters.grads.array for network in (fused, plain))
        assert_close(*grads, dtype, 50)
        assert_close(fused.eval(x), plain.eval(x), dtype, 20)
        kept += [(output, output.copy())]
    assert_same_state(fused, plain, dtype, 20)
    assert all((given == then).all() for given, then in kept)
    text = str(xpnn.fusion.plan(fused))
    assert re.search(r"shortcut:\n.* fused by Numba: Conv2d \+ BatchNorm2d\n", text)


@each_dtype
@pytest.mark.parametrize("images", [True, False])
def test_residual_blocks_one_behind_the_other(images, dtype):
    """A block's ReLU is left to the next one backward, and a normalization adds the shortcut."""

    def block() -> L.Residual:
        if not images:
            return L.Residual([L.Linear(6, 6), L.Tanh()])
        runs = [[L.Conv2d(6, 6, 3, padding=1), L.BatchNorm2d(6)] for _ in range(2)]
        return L.Residual([*runs[0], L.ReLU(), *runs[1]])

    def make() -> list[L.Layer]:
        flat = L.Residual([L.Tanh()])  # whose gradient has the channels first in memory
        blocks = [block(), L.ReLU(), block(), L.ReLU(), flat, L.ReLU(), block(), L.ReLU(), block()]
        first = L.Conv2d(2, 6, 1) if images else L.Linear(2, 6)
        return [first, *blocks, *([L.GlobalAvgPool2d()] if images else [])]

    fused, plain = pair(make, dtype=dtype)
    rng = np.random.default_rng(8)
    for rows in (8, 3, 1, 9):
        x = rng.standard_normal((rows, 2, 7, 8) if images else (rows, 2))
        y = rng.integers(0, 6, rows)
        (output, loss), (expected, value) = fused.train(x, y), plain.train(x, y)
        assert_close(output, expected, dtype, 20)
        assert math.isclose(float(loss), float(value), rel_tol=LIMIT[dtype])
        grads = (network.parameters.grads.array for network in (fused, plain))
        assert_close(*grads, dtype, 50)
        assert_close(fused.eval(x), plain.eval(x), dtype, 20)
    assert_same_state(fused, plain, dtype, 20)


@each_dtype
def test_what_is_not_finite_goes_through_residual_blocks(dtype):
    from xpnn.kernels.numba import sums

    rng = np.random.default_rng(9)
    ones, zeros = np.ones(3, dtype), np.zeros(3, dtype)
    x, second = (rng.standard_normal(2 * 4 * 5 * 3).astype(dtype) for _ in range(2))
    x[7], second[11], second[20], second[30] = math.nan, math.inf, -math.inf, math.nan
    output = np.empty_like(x)
    for rectify, expected in ((0, x + second), (1, np.maximum(x + second, 0))):
        for parallel in (False, True):
            kernel = sums.add_normalized[dtype, parallel]
            kernel(x, zeros, ones, zeros, second, output, 5, rectify, 3)
            np.testing.assert_array_equal(output, expected)
    sums.add_rectified[dtype](x, second, np.maximum(second, 0), output, 3)
    with np.errstate(invalid="ignore"):
        expected = np.where(second > 0, x + second, (x + second) * 0)
    np.testing.assert_array_equal(output, expected)


def test_a_residual_block_with_a_users_own_layer_is_left_alone():
    class Own(L.ReLU):
        pass

    network = xpnn.Sequential(
        [L.Residual([L.Conv2d(2, 2, 1), Own()])], xpnn.MeanSquaredError(), lr=0.1
    )
    assert steps_of(network) == ["LayerStep:1"]


def test_convolution_agrees_with_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    x = rng.standard_normal((3, 4, 9, 8))
    layer = L.Conv2d(4, 6, (3, 2), stride=(2, 3), padding=(1, 2), dilation=(2, 1), groups=2)
    net = xpnn.Sequential(
        [layer], xpnn.MeanSquaredError(), optimizer=xpnn.SGD(0.1), dtype="float64", seed=0
    )
    weights, bias = (torch.tensor(np.array(layer.params[n]), requires_grad=True) for n in "Wb")
    given = torch.nn.functional.conv2d(
        torch.tensor(x), weights, bias, (2, 3), (1, 2), (2, 1), groups=2
    )
    torch.nn.functional.mse_loss(given, torch.zeros_like(given)).backward()
    output, _ = net.train(x, np.zeros(given.shape))
    assert_close(output, given.detach().numpy(), "float64")
    assert_close(layer.grads["W"], weights.grad.numpy(), "float64")
    assert_close(layer.grads["b"], bias.grad.numpy(), "float64")


def test_inputs_of_every_layout():
    x = np.random.default_rng(3).standard_normal((3, 2, 6, 5)).astype(np.float32)
    read_only = x.copy()
    read_only.flags.writeable = False
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    variants = [read_only, last, np.repeat(x, 2, axis=3)[..., ::2], x.astype(np.float64)]

    def make() -> xpnn.Sequential:
        return xpnn.Sequential(
            [L.Conv2d(2, 3, 3), L.ReLU()], xpnn.MeanSquaredError(), lr=0.1, seed=0
        )

    target = np.zeros((3, 3, 4, 3))
    reference = make()
    expected, test = reference.train(x, target)[0], reference.eval(x)
    assert expected.flags.c_contiguous
    for variant in variants:
        network, before = make(), variant.copy()
        assert (network.train(variant, target)[0] == expected).all()
        assert (network.eval(variant) == test).all()
        assert (variant == before).all()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("pool", POOLS)
def test_bad_numbers_come_through(pool, bad):
    """They are where the layers have them, and leave no trace."""

    def make() -> list[L.Layer]:
        return [L.Conv2d(1, 2, 2, weight_initializer="ones"), L.ReLU(), *POOLS[pool]()]

    fused, plain = pair(make, xpnn.MeanSquaredError, dtype="float64")
    x = np.random.default_rng(4).standard_normal((2, 1, 7, 8))
    x[1, 0, 3, 4] = bad
    output, expected = fused.eval(x), plain.eval(x)
    np.testing.assert_array_equal(np.isnan(output), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(output), np.isinf(expected))
    before = fused.parameters.values.copy()
    with pytest.raises(xpnn.DivergenceError):
        fused.train(x, np.zeros(output.shape))
    assert (fused.parameters.values.array == before).all()


def test_what_left_is_not_overwritten_and_results_repeat():
    """Also with another number of threads: parts depend on the shapes alone."""

    def make() -> list[L.Layer]:
        return [L.Conv2d(2, 20, 3, padding=1), L.BatchNorm2d(20), L.ReLU(), L.Conv2d(20, 3, 3)]

    rng = np.random.default_rng(5)
    batches = [rng.standard_normal((32, 2, 10, 9)) for _ in range(4)]
    before = xpnn.fusion.num_threads()
    states = []
    for count in (1, 2):
        if before is not None:
            xpnn.fusion.set_num_threads(count)
        try:
            network, _ = pair(make, xpnn.MeanSquaredError)
            outputs = []
            for x in batches:
                for output in (network.train(x, np.zeros((32, 3, 8, 7)))[0], network.eval(x)):
                    outputs.append((output, output.copy()))
            assert all((given == then).all() for given, then in outputs)
            states.append(network.parameters.values.copy())
        finally:
            if before is not None:
                xpnn.fusion.set_num_threads(before)
    assert (states[0] == states[1]).all()


def test_wrong_shapes_name_the_layer():
    network = xpnn.Sequential(
        [L.Conv2d(3, 4, 5), L.BatchNorm2d(4)], xpnn.MeanSquaredError(), lr=0.1, seed=0
    )
    for shape in ((2, 8, 8, 3), (2, 3, 4, 8), (2, 3, 8)):
        with pytest.raises(xpnn.ShapeError, match=r"layer 0 \(Conv2d\)"):
            network.train(np.ones(shape), np.ones((2, 4, 4, 4)))
    assert network.steps == 0
