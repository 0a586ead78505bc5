"""Convolutions, normalizations of channels and poolings on CuPy, against the layers."""

from __future__ import annotations

import math
import re
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import xpnn
from fusion_cases import ACTIVATIONS, POOLS, convolutions, pair
from nets import snapshot
from tolerances import assert_close
from xpnn import layers as L
from xpnn.backend import to_host
from xpnn.fusion import cuda_convolution

pytestmark = pytest.mark.gpu

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
LIMIT = {"float32": 1e-5, "float64": 1e-11}


def on_cuda(make: Any, loss: Any = xpnn.MeanSquaredError, **settings: Any) -> tuple[Any, Any]:
    """The same network twice on CuPy, fused and not."""
    return pair(make, loss, **{"device": "cuda", **settings})


def kinds_of(network: Any) -> list[str]:
    """What the steps of a plan are."""
    return [type(step).__name__ for step in xpnn.fusion.plan(network).steps]


def assert_same_steps(make: Any, shape: tuple[int, ...], dtype: str, count: int = 2) -> Any:
    """Outputs, losses, gradients of all parameters and state, over steps and an evaluation."""
    fused, plain = on_cuda(make, optimizer=lambda: xpnn.SGD(0.01), dtype=dtype)
    rng = np.random.default_rng(0)
    for step in range(count):
        x = rng.standard_normal(shape if step == 0 else (1, *shape[1:]))
        y = rng.standard_normal(fused.output_shape(x.shape))
        output, loss = fused.train(x, y)
        expected_output, expected = plain.train(x, y)
        assert output.dtype == dtype
        assert_close(output.get(), expected_output.get(), dtype, 10)
        assert_close(loss.get(), expected.get(), dtype, 10)
        grads = (to_host(network.parameters.grads.array) for network in (fused, plain))
        assert_close(*grads, dtype, 20)
        assert_close(fused.eval(x).get(), plain.eval(x).get(), dtype, 20)
    ours, theirs = snapshot(fused), snapshot(plain)
    for name, value in theirs.items():
        assert_close(ours[name], value, dtype, 20)
    return fused


@each_dtype
@pytest.mark.parametrize("tile", [1 << 23, 60, 1])
@hypothesis.settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
@hypothesis.given(found=convolutions(), rows=st.sampled_from([1, 2, 5]))
def test_every_convolution(dtype, tile, found, rows):
    """Strides, paddings, dilations, odd sizes; tiles of the batch, and of parts of an image."""
    channels, filters, kernel, settings, size = found
    settings = {**settings, "groups": 1}

    def make() -> list[L.Layer]:  # the first one needs no gradient, the second one gives one
        first = L.Conv2d(channels, channels, 1)
        return [first, L.Conv2d(channels, filters, kernel, **settings)]

    before, cuda_convolution.TILE = cuda_convolution.TILE, tile
    try:
        network = assert_same_steps(make, (rows, channels, *size), dtype)
    finally:
        cuda_convolution.TILE = before
    assert kinds_of(network) == ["CudaConvolutionStep"] * 2


@each_dtype
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("activation", ["", "ReLU", "GELU"])
def test_runs(activation, pool, norm, dtype):
    """Numbers of channels that go by 16 bytes and that do not."""

    def run(channels: int, filters: int) -> list[L.Layer]:
        layers: list[L.Layer] = [L.Conv2d(channels, filters, 3, padding=1)]
        layers += [L.BatchNorm2d(filters)] if norm else []
        layers += [ACTIVATIONS[activation]()] if activation else []
        return layers + POOLS[pool]()

    def make() -> list[L.Layer]:
        return [*run(2, 8), *run(8, 5), L.Flatten(), L.Linear(5 * size, 3)]

    shape = (3, 2, 9, 8)
    inner = xpnn.Sequential([*run(2, 8), *run(8, 5)], xpnn.MeanSquaredError(), lr=0.1)
    size = math.prod(inner.output_shape(shape)[2:])
    network = assert_same_steps(make, shape, dtype)
    assert kinds_of(network) == ["CudaConvolutionStep"] * 2 + ["LayerStep", "CudaChainStep"]


@each_dtype
def test_without_a_convolution(dtype):
    """Normalization and pooling on their own, of images that lie in another order."""

    def make() -> list[L.Layer]:
        grouped = [L.BatchNorm2d(4), L.Conv2d(4, 8, 3, groups=2), L.BatchNorm2d(8), L.Tanh()]
        last = [L.GlobalAvgPool2d(), L.Linear(8, 2)]
        return [*grouped, L.MaxPool2d(2), L.AvgPool2d(2, 1), L.Dropout2d(0.2), *last]

    network = assert_same_steps(make, (3, 4, 9, 8), dtype)
    assert kinds_of(network)[:4] == [
        "CudaConvolutionStep", "LayerStep", "CudaConvolutionStep", "CudaConvolutionStep"
    ]  # fmt: skip
    text = str(xpnn.fusion.plan(network))
    assert "fused by CUDA kernels: BatchNorm2d + Tanh + MaxPool2d" in text
    fused, plain = on_cuda(make, dtype=dtype)
    x = fused.backend.asarray(np.random.default_rng(3).standard_normal((9, 8, 6, 4)))
    for batch in (x.transpose(2, 3, 0, 1), x.transpose(2, 3, 0, 1)[::2, :, ::-1]):
        expected = plain.eval(batch.copy())
        assert_close(fused.eval(batch).get(), expected.get(), dtype, 20)


@each_dtype
def test_training_is_that_of_the_layers(dtype):
    """200 steps of a network of every kind of run, with batches that shrink and grow."""

    def make() -> list[L.Layer]:
        first = [L.Conv2d(1, 4, 3, padding=1, bias=False), L.BatchNorm2d(4), L.ReLU()]
        second = [L.Conv2d(4, 8, 3, stride=2), L.BatchNorm2d(8), L.SiLU(), L.AvgPool2d(2)]
        return [*first, L.MaxPool2d(2), *second, L.Dropout(0.3), L.Flatten(), L.Linear(8, 4)]

    fused, plain = on_cuda(
        make, xpnn.SoftmaxCrossEntropy, dtype=dtype, regularization=xpnn.L2(1e-3)
    )
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((4, 1, 11, 11))
    for step in range(200):
        labels = rng.integers(0, 4, 8 if step % 10 else 5)
        x = centres[labels] + rng.standard_normal((len(labels), 1, 11, 11))
        (_, loss), (_, expected) = fused.train(x, labels), plain.train(x, labels)
        assert math.isclose(float(loss), float(expected), rel_tol=LIMIT[dtype])
    assert_close(fused.eval(x).get(), plain.eval(x).get(), dtype, 20)
    ours, theirs = snapshot(fused), snapshot(plain)
    for name, value in theirs.items():
        assert_close(ours[name], value, dtype, 20)


@each_dtype
def test_residual_blocks(dtype):
    """With and without a shortcut, one in the other, at the beginning and at the end."""

    def block(channels: int, filters: int, stride: int = 1) -> L.Residual:
        layers = [L.Conv2d(channels, filters, 3, stride, 1), L.BatchNorm2d(filters), L.ReLU()]
        layers += [L.Conv2d(filters, filters, 3, padding=1), L.BatchNorm2d(filters)]
        short = [L.Conv2d(channels, filters, 1, stride), L.BatchNorm2d(filters)]
        return L.Residual(layers, None if channels == filters and stride == 1 else short)

    def make() -> list[L.Layer]:
        nested = L.Residual([L.ReLU(), block(8, 8), L.Dropout(0.25)])
        last = L.Residual([L.Linear(8, 8), L.Tanh()])
        return [block(2, 2), L.ReLU(), block(2, 8, 2), nested, L.GlobalAvgPool2d(), last]

    network = assert_same_steps(make, (3, 2, 7, 8), dtype, count=3)
    assert kinds_of(network) == [
        *("CudaResidualStep", "CudaConvolutionStep", *["CudaResidualStep"] * 2),
        *("LayerStep", "CudaResidualStep"),
    ]
    text = str(xpnn.fusion.plan(network))
    assert re.search(r"shortcut:\n.* fused by CUDA kernels: Conv2d \+ BatchNorm2d\n", text)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("pool", POOLS)
def test_bad_numbers_come_through(pool, bad):
    """They are where the layers have them, and no update is made of them."""

    def make() -> list[L.Layer]:
        return [L.Conv2d(1, 2, 3, padding=1), L.LeakyReLU(), *POOLS[pool]()]

    fused, plain = on_cuda(make, dtype="float64")
    x = np.random.default_rng(5).standard_normal((2, 1, 6, 7))
    y = np.zeros(fused.output_shape(x.shape))
    before = snapshot(fused)
    x[1, 0, 2, 3] = bad
    found = [network.train(x, y) for network in (fused, plain)]
    outputs = [output.get() for output, _ in found]
    for test in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(test(outputs[0]), test(outputs[1]))
    assert not np.isfinite(outputs[0]).all()
    assert math.isnan(float(found[0][1]))
    for name, value in before.items():
        if name.startswith("value"):
            np.testing.assert_array_equal(snapshot(fused)[name], value)


def test_a_window_of_minus_infinity_gives_its_gradient_to_a_pixel():
    net, _ = on_cuda(lambda: [L.MaxPool2d(3, 2, 1)], dtype="float64")
    (step,) = xpnn.fusion.plan(net).steps
    assert type(step).__name__ == "CudaConvolutionStep"
    step.wants_gradient = True
    x = np.full((1, 1, 3, 4), -np.inf)
    x[0, 0, 0, 3] = 1.0
    output = step.forward(net.backend.asarray(x))
    np.testing.assert_array_equal(output.get(), [[[[-np.inf, 1.0], [-np.inf, -np.inf]]]])
    dinput = step.backward(net.backend.asarray([[[[1.0, 2.0], [4.0, 8.0]]]]))
    expected = [[[[1.0, 0.0, 0.0, 2.0], [4.0, 8.0, 0.0, 0.0], [0.0] * 4]]]
    np.testing.assert_array_equal(dinput.get(), expected)


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [-1.0, 2.0, 2.0]])
def test_the_first_of_equal_pixels_gets_the_gradient(values):
    def make() -> list[L.Layer]:
        return [Scale(), L.MaxPool2d(3, 2, 1)]

    class Scale(L.Layer):
        """Multiplies by a parameter, and keeps the gradient of its output."""

        def build(self, rng):
            self.params.setdefault("scale", np.ones((1,)))

        def forward(self, input):
            self.cache["input"] = input
            return input * self.params["scale"]

        def backward(self, dout):
            self.dout = dout
            self.grads["scale"] = (dout * 0.0).sum().reshape(1)
            return dout

    fused, plain = on_cuda(make, dtype="float64")
    x = np.random.default_rng(0).choice(values, (2, 3, 6, 5))
    y = np.random.default_rng(1).standard_normal((2, 3, 3, 3))
    for network in (fused, plain):
        network.train(x, y)
    assert kinds_of(fused)[1] == "CudaConvolutionStep"
    np.testing.assert_array_equal(fused.layers[0].dout.get(), plain.layers[0].dout.get())


def test_devices_are_equal_and_steps_repeat():
    import cupy

    devices = ["cuda:0", "cuda:0", "cuda:1"][: 1 + cupy.cuda.runtime.getDeviceCount()]
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((3, 6, 2, 9, 9)), rng.integers(0, 4, (3, 6))
    results = []
    for device in devices:
        run = [L.BatchNorm2d(8), L.ReLU(), L.MaxPool2d(2), L.Flatten(), L.Linear(128, 4)]
        fused, _ = on_cuda(
            lambda: [L.Conv2d(2, 8, 3, padding=1), *run],  # noqa: B023
            xpnn.SoftmaxCrossEntropy,
            device=device,
        )
        for some_x, some_y in zip(x, y, strict=True):
            fused.train(some_x, some_y)
        results.append(snapshot(fused) | {"output": fused.eval(x[0]).get()})
    for other in results[1:]:
        for name, value in results[0].items():
            np.testing.assert_array_equal(other[name], value)


def test_empty_batch_and_wrong_shapes():
    net, _ = on_cuda(lambda: [L.Conv2d(2, 4, 3), L.BatchNorm2d(4), L.ReLU(), L.MaxPool2d(2)])
    assert net.eval(np.zeros((0, 2, 6, 7))).shape == (0, 4, 2, 2)
    for shape in ((2, 6, 7, 2), (2, 2, 3, 3)):
        with pytest.raises(xpnn.ShapeError, match=r"layer \d \((Conv2d|MaxPool2d)\)"):
            net.train(np.zeros(shape), np.zeros((2, 4, 1, 1)))


#: Kernels of one step of the network below. docs/gpu.md says what they are.
LAUNCHES = 24


def test_launches_and_no_waiting():
    """The CNN of the benchmarks, with images of a quarter of their size."""
    rig = pytest.importorskip("cupy_on_cpu", reason="launches are counted on the rig")

    def make() -> list[L.Layer]:
        layers: list[L.Layer] = []
        for channels, filters in ((1, 16), (16, 32)):
            layers += [L.Conv2d(channels, filters, 3, padding=1), L.BatchNorm2d(filters)]
            layers += [L.ReLU(), L.MaxPool2d(2)]
        return [*layers, L.Flatten(), L.Linear(288, 32), L.ReLU(), L.Linear(32, 10)]

    net, _ = on_cuda(make, xpnn.SoftmaxCrossEntropy, optimizer=lambda: xpnn.SGD(0.1, momentum=0.9))
    rng = np.random.default_rng(0)
    x = net.backend.asarray(rng.standard_normal((8, 1, 14, 14)))
    y = net.backend.asarray(rng.integers(0, 10, 8), dtype="int64")
    for _ in range(2):
        before = rig.stats()
        with rig.no_sync():
            net.train(x, y)
        after = rig.stats()
    assert after["launches"] - before["launches"] <= LAUNCHES
    for copies in ("host_to_device", "device_to_host"):
        assert after[copies] == before[copies]
