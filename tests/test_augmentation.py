"""Random changes of images: what they do, that they are the same everywhere, and `fit`'s use."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import xpnn
from nets import assert_same, snapshot
from xpnn.augmentation import AUGMENTATION_STREAM, Augmentation, augmented
from xpnn.errors import ConfigurationError, ShapeError
from xpnn.random import Stream

STREAM = Stream(3, AUGMENTATION_STREAM, 7)
IMAGES = np.random.default_rng(0).normal(size=(9, 2, 6, 5)).astype("float32")
LABELS = np.arange(9) % 3


def shifted(images: np.ndarray, pixels: tuple[int, int], fill: float | str) -> np.ndarray:
    """What `RandomShift` must give, image by image, by NumPy's own padding."""
    words = STREAM.words(2 * len(images)).tolist()
    down, across = pixels
    margins = [(0, 0)] * (images.ndim - 3) + [(down, down), (across, across)]
    mode = {"mode": "edge"} if fill == "edge" else {"constant_values": fill}
    h, w = images.shape[-2:]
    found = []
    for n, image in enumerate(images):
        top, left = words[2 * n] % (2 * down + 1), words[2 * n + 1] % (2 * across + 1)
        found.append(np.pad(image, margins, **mode)[..., top : top + h, left : left + w])
    return np.stack(found)


@pytest.mark.parametrize("fill", [0.0, -1.5, "edge"])
@pytest.mark.parametrize("pixels", [(2, 1), (0, 3), (0, 0), (8, 0)])
def test_shift(backend: Any, pixels: tuple[int, int], fill: float | str) -> None:
    found = xpnn.RandomShift(pixels, fill)(backend.asarray(IMAGES), STREAM)
    np.testing.assert_array_equal(backend.to_host(found), shifted(IMAGES, pixels, fill))


def test_shift_of_images_without_channels(backend: Any) -> None:
    images = IMAGES[:, 0]
    found = xpnn.RandomShift(2)(backend.asarray(images), STREAM)
    np.testing.assert_array_equal(backend.to_host(found), shifted(images, (2, 2), 0.0))


def test_crop(backend: Any) -> None:
    """All windows of padded images, by NumPy."""
    crop = xpnn.RandomCrop((3, 4), padding=(1, 0), fill=0.5)
    found = backend.to_host(crop(backend.asarray(IMAGES), STREAM))
    assert found.shape == (9, 2, 3, 4)
    padded = np.pad(IMAGES, [(0, 0), (0, 0), (1, 1), (0, 0)], constant_values=0.5)
    words = STREAM.words(18).tolist()
    for n in range(9):
        top, left = words[2 * n] % (6 + 2 - 3 + 1), words[2 * n + 1] % (5 - 4 + 1)
        np.testing.assert_array_equal(found[n], padded[n, :, top : top + 3, left : left + 4])


def test_crop_to_the_old_size_is_a_shift(backend: Any) -> None:
    images = backend.asarray(IMAGES)
    crop = xpnn.RandomCrop((6, 5), padding=2)(images, STREAM)
    np.testing.assert_array_equal(
        backend.to_host(crop), backend.to_host(xpnn.RandomShift(2)(images, STREAM))
    )


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_flip(backend: Any, p: float) -> None:
    found = backend.to_host(xpnn.RandomFlip(p)(backend.asarray(IMAGES), STREAM))
    stay = STREAM.mask(9, p)
    for image, before, same in zip(found, IMAGES, stay, strict=True):
        np.testing.assert_array_equal(image, before if same else before[..., ::-1])


def test_every_place_is_as_likely() -> None:
    image = np.zeros((3000, 5, 5))
    image[:, 2, 2] = 1.0
    places = xpnn.RandomShift(1)(image, STREAM).sum(axis=0)
    expected = 3000 / 9
    assert places.sum() == 3000
    assert abs(places[1:4, 1:4] - expected).max() < 5 * expected**0.5


def test_each_augmentation_and_step_draws_anew() -> None:
    shift = xpnn.RandomShift(3)
    one, two = (augmented([shift], IMAGES, 0, step) for step in (0, 1))
    assert (one != two).any()
    both = augmented([xpnn.RandomShift(0), shift], IMAGES, 0, 0)
    assert (both != one).any()
    np.testing.assert_array_equal(both, shift(IMAGES, Stream(0, AUGMENTATION_STREAM + 1, 0)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: xpnn.RandomFlip(1.5), r"RandomFlip: p must be a number in \[0, 1\], got 1.5"),
        (lambda: xpnn.RandomShift(-1), "RandomShift: pixels must be a whole number of at least 0"),
        (lambda: xpnn.RandomShift((1, 2, 3)), "or a pair of them, got"),
        (lambda: xpnn.RandomShift(True), "got True"),
        (lambda: xpnn.RandomShift(1, "mirror"), "fill must be a number or 'edge', got 'mirror'"),
        (lambda: xpnn.RandomShift(1, np.nan), "RandomShift: fill must be a number"),
        (lambda: xpnn.RandomCrop(0), "RandomCrop: size must be a whole number of at least 1"),
        (lambda: xpnn.RandomCrop(3, 0.5), "padding must be a whole number of at least 0"),
    ],
)
def test_refuses(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_repr_is_the_call() -> None:
    crop = xpnn.RandomCrop((3, 4), padding=1, fill="edge")
    assert repr(crop) == "RandomCrop((3, 4), padding=1, fill='edge')"
    assert repr([xpnn.RandomFlip(), xpnn.RandomShift(2)]) == "[RandomFlip(), RandomShift(2)]"


@pytest.mark.parametrize("make", [xpnn.RandomFlip, lambda: xpnn.RandomShift(1)])
def test_rows_are_no_images(make: Any) -> None:
    with pytest.raises(ShapeError, match=r"Random.*: expected images of shape .*, got \(4, 784\)"):
        make()(np.zeros((4, 784)), STREAM)


def test_window_that_does_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"a window of \(9, 9\) pixels is larger than padded"):
        xpnn.RandomCrop(9, padding=1)(np.zeros((4, 8, 6)), STREAM)


# ---------------------------------------------------------------- in a training


class Recorder(Augmentation):
    """Notes what it is given, and leaves it."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.images: list[Any] = []

    def __call__(self, images: Any, stream: Stream) -> Any:
        self.streams.append(stream)
        self.images.append(images)
        return images


def network(backend: Any = None) -> xpnn.Sequential:
    return xpnn.Sequential(
        [xpnn.Flatten(), xpnn.Linear(60, 3)], xpnn.SoftmaxCrossEntropy(), 0.1, seed=4,
        backend=backend,
    )  # fmt: skip


def test_fit_trains_on_changed_images(backend: Any) -> None:
    """As by hand, with the same numbers on every library; what is evaluated stays."""
    augment = [xpnn.RandomFlip(), xpnn.RandomShift(1)]
    net, twin = network(backend.plain), network(backend.plain)
    data = (IMAGES, LABELS)
    history = xpnn.fit(net, data, 2, 4, shuffle=False, augment=augment, validation=data)
    for _ in range(2):
        for start in (0, 4, 8):
            x = backend.asarray(IMAGES[start : start + 4])
            x = augmented(augment, x, twin.seed, twin.steps)
            twin.train(x, LABELS[start : start + 4])
    assert_same(snapshot(net), snapshot(twin))
    assert history["val_loss"][-1] == xpnn.evaluate(net, data, 4)["loss"]


def test_a_training_that_goes_on_is_as_one_in_one_piece() -> None:
    augment = xpnn.RandomShift(2)
    whole, parts = network(), network()
    data = (IMAGES, LABELS)
    xpnn.fit(whole, data, 3, 4, augment=augment)
    xpnn.fit(parts, data, 1, 4, augment=augment)
    parts = copy.deepcopy(parts)
    xpnn.fit(parts, data, 2, 4, augment=augment)
    assert_same(snapshot(parts), snapshot(whole))


def test_streams_of_a_training() -> None:
    one, two = Recorder(), Recorder()
    net = network()
    xpnn.fit(net, (IMAGES, LABELS), 1, 4, augment=[one, two])
    # The first call tries whether it can be done, on one sample.
    assert one.streams[1:] == [Stream(4, AUGMENTATION_STREAM, step) for step in range(3)]
    assert two.streams[1:] == [Stream(4, AUGMENTATION_STREAM + 1, step) for step in range(3)]
    assert [len(images) for images in one.images] == [1, 4, 4, 1]


def test_batches_from_anywhere_and_functions_of_ones_own() -> None:
    def darker(images: Any, stream: Stream) -> Any:
        return 0.5 * images

    nets = network(), network()
    xpnn.fit(nets[0], [(IMAGES, LABELS)], 2, augment=darker)
    xpnn.fit(nets[1], [(IMAGES * 0.5, LABELS)], 2)
    assert_same(snapshot(nets[0]), snapshot(nets[1]))


def test_network_for_two_sizes() -> None:
    net = xpnn.Sequential(
        [xpnn.Conv2d(2, 3, 3), xpnn.GlobalAvgPool2d()], xpnn.SoftmaxCrossEntropy(), 0.1, seed=0
    )
    history = xpnn.fit(
        net, (IMAGES, LABELS), 1, 4, augment=xpnn.RandomCrop(4), validation=(IMAGES, LABELS)
    )
    assert np.isfinite(history["val_loss"][0])


@pytest.mark.parametrize(
    ("augment", "error", "message"),
    [
        ("flip", ConfigurationError, r"augment: expected an augmentation such as RandomFlip"),
        ([xpnn.RandomFlip], ConfigurationError, r"augment\[0\]: expected an augmentation"),
        ([xpnn.RandomFlip(), 3], ConfigurationError, r"augment\[1\]: .*, got 3"),
        (3, ConfigurationError, r"augment: expected an augmentation such as RandomFlip\(\), got 3"),
        (xpnn.RandomCrop(4), ShapeError, r"layer 1 \(Linear\): .*60"),
        (xpnn.RandomCrop(9), ShapeError, "RandomCrop: a window of"),
    ],
)
def test_fit_refuses(augment: Any, error: type[Exception], message: str) -> None:
    net = network()
    before = snapshot(net)
    with pytest.raises(error, match=message):
        xpnn.fit(net, (IMAGES, LABELS), 1, augment=augment)
    assert_same(snapshot(net), before)


def test_ids_are_no_images() -> None:
    net = xpnn.Sequential(
        [xpnn.Embedding(5, 2), xpnn.Flatten(), xpnn.Linear(6, 2)], xpnn.SoftmaxCrossEntropy(), 0.1
    )
    with pytest.raises(ShapeError, match="RandomFlip: expected images"):
        xpnn.fit(net, (np.zeros((4, 3), int), np.zeros(4, int)), 1, augment=xpnn.RandomFlip())
