"""What convolutions and pooling do besides the contract of `test_layers.py`."""

from __future__ import annotations

import numpy as np
import pytest

from tolerances import assert_close
from xpnn import layers
from xpnn.errors import ConfigurationError, DataError, ShapeError
from xpnn.layers import _correlation


def results(layer, x, dout):
    """Output and all gradients."""
    return [layer.forward(x), layer.backward(dout), *layer.grads.values()]


@pytest.mark.parametrize(
    ("kind", "tiles"),
    [(layers.Conv2d, (1, 80, 250)), (layers.ConvTranspose2d, (1, 300, 1500))],
)
def test_tiles_do_not_change_the_result(kind, tiles, backend_float64, monkeypatch):
    """A row of windows at a time, two rows and two images, with something left over."""
    backend, rng = backend_float64, np.random.default_rng(0)
    host = rng.standard_normal((3, 2, 5, 4))
    layer = kind(2, 4, 3, stride=2, padding=1, groups=2, seed=0)
    dout = rng.standard_normal(layer.output_shape(host.shape))
    x, dout = backend.asarray(host), backend.asarray(dout)
    expected = [backend.to_host(value) for value in results(layer, x, dout)]
    monkeypatch.setattr(_correlation, "_products", {})  # those of libraries of their own
    for elements in tiles:
        monkeypatch.setattr(_correlation, "TILE_ELEMENTS", elements)
        for actual, value in zip(results(layer, x, dout), expected, strict=True):
            assert_close(backend.to_host(actual), value, "float64")


def test_a_large_image_needs_little_memory():
    tracemalloc = pytest.importorskip("tracemalloc")
    x = np.ones((1, 8, 128, 128), np.float32)
    layer = layers.Conv2d(8, 8, 5, padding=2, seed=0)
    layer.forward(x)
    tracemalloc.start()
    try:
        layer.forward(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * x.nbytes  # the columns of the whole image would be 25 times the image


def test_a_convolution_slides_its_filters_down_and_across():
    layer = layers.Conv2d(1, 1, 2)
    layer.params |= {"W": np.asarray([[[[1.0, 10.0], [100.0, 1000.0]]]]), "b": np.asarray([0.5])}
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    assert layer.forward(x).tolist() == [[[[4310.5, 5421.5], [7643.5, 8754.5]]]]


def test_a_transposed_convolution_is_the_transpose():
    """The products of <conv(x), y> and <x, conv_transpose(y)> are equal."""
    rng = np.random.default_rng(0)
    settings = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2, "bias": False, "seed": 0}
    conv = layers.Conv2d(4, 6, 3, **settings)
    back = layers.ConvTranspose2d(6, 4, 3, **settings)
    x = rng.standard_normal((2, 4, 9, 11))
    output = conv.forward(x)
    y = rng.standard_normal(output.shape)
    back.params["W"] = conv.params["W"]
    np.testing.assert_allclose(np.sum(output * y), np.sum(x * back.forward(y)), rtol=1e-12)


def test_initial_weights_of_a_transposed_convolution_are_scaled_by_its_inputs():
    layer = layers.ConvTranspose2d(64, 8, 4, groups=2, seed=0)
    layer.forward(np.zeros((1, 64, 1, 1)))
    expected = np.sqrt(2 / (64 / 2 * 16))
    np.testing.assert_allclose(layer.params["W"].std(), expected, rtol=0.1)


def test_channels_that_come_last_get_a_hint():
    expected = r"of shape \(N, 3, H, W\), channels first and not last, got \(8, 32, 32, 3\): give"
    with pytest.raises(ShapeError, match=expected):
        layers.Conv2d(3, 4, 3).forward(np.zeros((8, 32, 32, 3)))


def test_groups_with_channels_that_come_last_get_a_hint():
    expected = r"\(N, 4, ...\), channels first and not last, got \(8, 32, 32, 4\): give numpy.mo"
    layer = layers.GroupNorm(2, 4)
    with pytest.raises(ShapeError, match=expected):
        layer.forward(np.zeros((8, 32, 32, 4)))
    for shape in ((8, 3), (8, 4, 0, 4), (8,)):
        with pytest.raises(ShapeError, match=r"of shape \(N, 4, ...\), got"):
            layer.forward(np.zeros(shape))


def test_a_kernel_larger_than_the_padded_image_is_refused():
    expected = r"^Conv2d: .* with H, W of at least \(5, 3\), for a window to fit in, got \(8, 1, 4,"
    with pytest.raises(ShapeError, match=expected):
        layers.Conv2d(1, 1, (7, 3), padding=(1, 0)).forward(np.zeros((8, 1, 4, 9)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": 3}, "in_channels must be divisible by groups = 3, got 4"),
        ({"groups": 4}, "out_channels must be divisible by groups = 4, got 6"),
        ({"kernel_size": 0}, "kernel_size must be a whole number of at least 1 or 2 of them"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size must be"),
        ({"stride": 0}, "stride must be"),
        ({"stride": 1.5}, "stride must be"),
        ({"dilation": True}, "dilation must be"),
        ({"padding": -1}, "padding must be a whole number of at least 0"),
        ({"padding": "valid"}, "padding must be .*, or 'same', got 'valid'"),
        ({"padding": "same", "stride": 2}, "padding 'same' needs stride 1, got 2"),
        ({"weight_initializer": "he"}, "he_normal"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        layers.Conv2d(4, 6, **{"kernel_size": 3, **settings})


@pytest.mark.parametrize("settings", [{"output_padding": 2}, {"padding": "same"}])
def test_bad_settings_of_a_transposed_convolution_are_refused(settings):
    with pytest.raises(ConfigurationError, match=r"^ConvTranspose2d: (output_)?padding must be"):
        layers.ConvTranspose2d(1, 1, 3, stride=2, **settings)


def test_layers_are_printed_as_they_are_written():
    assert repr(layers.Conv2d(1, 8, 3, padding=1)) == "Conv2d(1, 8, 3, padding=1)"
    assert repr(layers.Conv2d(1, 8, (3, 5), stride=(2, 1))) == "Conv2d(1, 8, (3, 5), stride=(2, 1))"


# Pooling


@pytest.mark.parametrize("padding", [0, 1])
def test_of_equal_pixels_the_first_gets_the_gradient(padding, backend):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed here")
    rng = np.random.default_rng(0)
    host = rng.integers(0, 3, (3, 2, 7, 6)).astype(np.float32)
    twin = torch.tensor(host, requires_grad=True)
    output = torch.nn.functional.max_pool2d(twin, 3, stride=2, padding=padding)
    dout = rng.standard_normal(output.shape).astype(np.float32)
    output.backward(torch.tensor(dout))
    layer = layers.MaxPool2d(3, stride=2, padding=padding)
    layer.forward(backend.asarray(host))
    actual = backend.to_host(layer.backward(backend.asarray(dout)))
    assert_close(actual, twin.grad.numpy(), "float32")


def test_a_window_of_minus_infinity_gives_its_gradient_to_a_pixel(backend):
    layer = layers.MaxPool2d(3, stride=2, padding=1)
    host = np.full((1, 1, 3, 4), -np.inf)
    host[0, 0, 0, 3] = 1.0
    output = backend.to_host(layer.forward(backend.asarray(host)))
    np.testing.assert_array_equal(output, [[[[-np.inf, 1.0], [-np.inf, -np.inf]]]])
    dout = backend.asarray(np.asarray([[[[1.0, 2.0], [4.0, 8.0]]]]))
    expected = [[[[1.0, 0.0, 0.0, 2.0], [4.0, 8.0, 0.0, 0.0], [0.0] * 4]]]
    np.testing.assert_array_equal(backend.to_host(layer.backward(dout)), expected)


def test_the_maximum_of_integers_is_refused():
    layer = layers.MaxPool2d(3, 1, 1)
    images = -np.ones((1, 1, 3, 3), np.int8)
    with pytest.raises(DataError, match=r"^MaxPool2d: expected floating-point numbers, got an ar"):
        layer.forward(images)


def test_padding_is_no_maximum():
    layer = layers.MaxPool2d(2, stride=1, padding=1)
    output = layer.forward(np.full((1, 1, 2, 2), -3.0))
    assert (output == -3).all()


def test_padding_of_an_average_counts_or_not():
    x = np.full((1, 1, 2, 2), 6.0)
    assert layers.AvgPool2d(2, stride=1, padding=1).forward(x)[0, 0, :, 0].tolist() == [1.5, 3, 1.5]
    true = layers.AvgPool2d(2, stride=1, padding=1, count_padding=False)
    assert (true.forward(x) == 6).all()


@pytest.mark.parametrize("kind", [layers.MaxPool2d, layers.AvgPool2d])
def test_padding_of_more_than_half_a_window_is_refused(kind):
    with pytest.raises(ConfigurationError, match=r"padding must be at most half of kernel_size"):
        kind(3, padding=2)


# Normalization and dropout


def test_channels_are_normalized_one_by_one():
    """The tutorial's BatchNorm2d mixed them."""
    rng = np.random.default_rng(0)
    scale, shift = np.asarray([1.0, 10.0, 100.0]), np.asarray([5.0, -5.0, 0.0])
    x = rng.standard_normal((8, 3, 4, 4)) * scale[:, None, None] + shift[:, None, None]
    output = layers.BatchNorm2d(3, epsilon=1e-12).forward(x)
    np.testing.assert_allclose(output.mean((0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(output.std((0, 2, 3)), 1, rtol=1e-9)


def test_dropout_of_channels_drops_whole_ones():
    output = layers.Dropout2d(0.5, seed=0).forward(np.ones((20, 30, 2, 3)))
    sums = output.sum((2, 3))
    assert set(np.unique(sums)) == {0.0, 12.0}
    assert 0.4 < (sums == 0).mean() < 0.6


def test_groups_must_divide_the_channels():
    with pytest.raises(ConfigurationError, match=r"dim must be divisible by groups = 4, got 6"):
        layers.GroupNorm(4, 6)
