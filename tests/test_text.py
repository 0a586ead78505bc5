"""Text for language models, and samples laid out as images and sequences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnn
from xpnn.data import Dataset, Vocabulary, arrange, load, load_text, windows
from xpnn.errors import ConfigurationError, DataError, ShapeError

# ---------------------------------------------------------------- characters


def test_vocabulary() -> None:
    vocabulary = Vocabulary("hällo\n")
    assert vocabulary.characters == "\nhloä"
    assert len(vocabulary) == 5
    ids = vocabulary.encode("ohlä")
    assert ids.dtype == np.int64
    assert ids.tolist() == [3, 1, 2, 4]
    assert vocabulary.decode(ids) == "ohlä"
    assert vocabulary.decode(np.asarray([3], dtype=np.uint8)) == "o"
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.decode([]) == ""
    assert Vocabulary(vocabulary.characters).characters == vocabulary.characters
    assert Vocabulary(["ab", "bc"]).characters == "abc"


def test_vocabulary_refuses() -> None:
    vocabulary = Vocabulary("abc")
    with pytest.raises(DataError, match="at least one character, got none"):
        Vocabulary("")
    with pytest.raises(DataError, match="character 'z' at place 2 is none of the 3 known"):
        vocabulary.encode("abzab")
    for ids, message in (
        ([0, 3], "expected ids of 0 ... 2, got 3"),
        ([-1, 0], "got -1"),
        ([0.5], "expected ids, whole numbers of shape (L,), got float64 of shape (1,)"),
        ([[0]], "of shape (1, 1)"),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            vocabulary.decode(ids)


@pytest.mark.parametrize(("length", "stride", "rows"), [(3, None, 3), (3, 2, 4), (9, 1, 1)])
def test_windows(length: int, stride: int | None, rows: int) -> None:
    ids = np.arange(10, dtype=np.int32) * 7
    x, y = windows(ids, length, stride)
    assert x.shape == y.shape == (rows, length)
    assert x.dtype == y.dtype == np.int64
    for n in range(rows):
        start = n * (stride or length)
        assert x[n].tolist() == ids[start : start + length].tolist()
        assert y[n].tolist() == ids[start + 1 : start + length + 1].tolist()
    x[:] = -1  # copies, not views into each other
    assert (y >= 0).all()


def test_windows_refuses() -> None:
    for arguments, error, message in (
        (([1, 2, 3], 3), DataError, "need 4, got 3"),
        (([[1, 2]], 1), DataError, "of shape (1, 2)"),
        (([0.5, 1.0], 1), DataError, "got float64"),
        (([1, 2, 3], 0), ConfigurationError, "length: expected an integer of at least 1, got 0"),
        (([1, 2, 3], 1, 0), ConfigurationError, "stride: expected an integer of at least 1"),
        (([1, 2, 3], 1.5), ConfigurationError, "length: expected an integer"),
    ):
        with pytest.raises(error, match=re.escape(message)):
            windows(*arguments)  # type: ignore[arg-type]


def test_load_text(tmp_path: Path) -> None:
    path = tmp_path / "poem.txt"
    text = "".join(chr(ord("a") + k % 26) for k in range(100))
    path.write_bytes((text[:50] + "\r\n" + text[50:]).encode())
    found = load_text(path, length=8, stride=3, test_fraction=0.2)
    assert found.name == "poem"
    assert found.vocabulary.characters == "\nabcdefghijklmnopqrstuvwxyz"
    whole = text[:50] + "\n" + text[50:]
    cut = 101 - 20
    decode = found.vocabulary.decode
    assert decode(found.x_train[0]) == whole[:8]
    assert decode(found.x_train[1]) == whole[3:11]
    # Sequences of the one part have no character of the other, not even as what follows.
    assert whole[:cut].endswith(decode(found.y_train[-1])) or found.y_train[-1].size
    assert 3 * (len(found.x_train) - 1) + 8 + 1 <= cut
    assert decode(found.x_test[0]) == whole[cut : cut + 8]
    assert decode(found.y_test[0]) == whole[cut + 1 : cut + 9]
    assert len(found.x_test) == (20 - 1) // 8
    again = load_text(path, length=8, vocabulary=Vocabulary(whole + "!"))
    assert decode(again.x_train[0] - 1) == whole[:8]


def test_load_text_refuses(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(DataError, match=r"a\.txt: No such file"):
        load_text(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.txt: empty"):
        load_text(path)
    path.write_bytes(b"abc\xff")
    with pytest.raises(DataError, match=r"a\.txt: not a text in UTF-8: invalid start byte at 3"):
        load_text(path)
    path.write_text("abc" * 20)
    with pytest.raises(DataError, match=r"a\.txt: windows: .* 128 characters .* need 129, got 54"):
        load_text(path)
    with pytest.raises(DataError, match=r"a\.txt: windows: .* need 21, got 6"):
        load_text(path, length=20)
    with pytest.raises(DataError, match=r"a\.txt: Vocabulary: character 'c' at place 2"):
        load_text(path, 2, vocabulary=Vocabulary("ab"))
    for fraction in (0, 1, 1.5):
        with pytest.raises(ConfigurationError, match="test_fraction must be a number in"):
            load_text(path, 2, test_fraction=fraction)


def test_a_network_learns_a_text(tmp_path: Path) -> None:
    """What comes next in a text that repeats itself; the loss is that of a character in nats."""
    (tmp_path / "song.txt").write_text("la la lu, " * 60)
    text = load_text(tmp_path / "song.txt", length=20, stride=5)
    k = len(text.vocabulary)
    net = xpnn.Sequential(
        [xpnn.Embedding(k, 8), xpnn.GRU(8, 16), xpnn.Linear(16, k)],
        xpnn.SoftmaxCrossEntropy(),
        optimizer=xpnn.Adam(0.03),
        seed=0,
    )
    first = xpnn.evaluate(net, (text.x_test, text.y_test))["loss"]
    assert abs(first - np.log(k)) < 0.7
    xpnn.fit(net, (text.x_train, text.y_train), 12, 16)
    found = xpnn.evaluate(net, (text.x_test, text.y_test), metrics=["accuracy"])
    assert found["loss"] < 0.3
    assert found["accuracy"] > 0.9


# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    ("layout", "shape", "expected"),
    [
        ("flat", (2, 3, 4, 5), (2, 60)),
        ("flat", (2,), (2, 1)),
        ("images", (2, 28, 28), (2, 1, 28, 28)),
        ("images", (2, 3, 8, 9), (2, 3, 8, 9)),
        ("images", (2, 8, 9, 3), (2, 3, 8, 9)),
        ("images", (2, 16, 8, 9), (2, 16, 8, 9)),
        ("sequences", (2, 28, 27), (2, 28, 27)),
        ("sequences", (2, 3, 8, 9), (2, 8, 27)),
        ("sequences", (2, 8, 9, 3), (2, 8, 27)),
    ],
)
def test_arrange(layout: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    found = arrange(x, layout)
    assert found.shape == expected
    assert found.dtype == x.dtype
    assert np.sort(found, axis=None).tolist() == np.sort(x, axis=None).tolist()


def test_arrange_keeps_pixels_at_their_place() -> None:
    x = np.random.default_rng(0).integers(0, 9, (2, 5, 6, 3))
    images = arrange(x, "images")
    assert images[1, 2, 4, 3] == x[1, 4, 3, 2]
    sequences = arrange(images, "sequences")
    assert sequences[1, 4, 2 * 6 + 3] == images[1, 2, 4, 3]
    rows = arrange(np.arange(12).reshape(1, 12), "images", shape=(3, 4))
    assert rows[0, 0, 1, 2] == 6


def test_arrange_refuses() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown layout 'image'.*'images'"):
        arrange(np.zeros((2, 3, 4)), "image")
    with pytest.raises(ShapeError, match=r"layout 'images': expected samples of shape .* \(13,\)"):
        arrange(np.zeros((2, 13)), "images", shape=(8, 8))
    with pytest.raises(ShapeError, match=r"'sequences': expected samples of shape \(T, D\), got"):
        arrange(np.zeros((2, 13)), "sequences")


def test_data_sets_are_laid_out(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    digits = load("digits")
    images = load("digits", layout="images")
    assert images.x_train.shape == (1438, 1, 8, 8)
    assert images.feature_names is None
    assert (images.x_train.reshape(-1, 64) == digits.x_train).all()
    assert load("digits", layout="sequences").x_test.shape == (359, 8, 8)
    assert images.arranged("flat").x_train.shape == (1438, 64)
    assert digits.arranged("flat").feature_names == digits.feature_names
    with pytest.raises(ShapeError, match="layout 'images'"):
        load("wine", layout="images")
    with pytest.raises(ConfigurationError, match="unknown layout 'rows'"):
        load("nothing", layout="rows")
    x = np.zeros((8, 5, 6, 3), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x=x, y=np.arange(8) % 2)
    mine = load(tmp_path / "mine.npz", layout="images")
    assert isinstance(mine, Dataset)
    assert mine.x_train.shape[1:] == (3, 5, 6)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            lambda: xpnn.Conv2d(1, 2, 3),
            (4, 28, 28),
            "(N, 1, H, W), got (4, 28, 28): give input[:, None], with an axis for the channel",
        ),
        (
            lambda: xpnn.Conv2d(3, 2, 3),
            (4, 28, 28, 3),
            "(N, 3, H, W), channels first and not last, got (4, 28, 28, 3): "
            "give numpy.moveaxis(input, -1, 1)",
        ),
        (
            lambda: xpnn.MaxPool2d(2),
            (4, 28, 28),
            "(N, C, H, W), got (4, 28, 28): give input[:, None], with an axis for the channel",
        ),
        (lambda: xpnn.Conv2d(3, 2, 3), (4, 28, 28), "(N, 3, H, W), got (4, 28, 28)"),
    ],
)
def test_wrong_layout_says_what_to_do(layer: Any, shape: tuple[int, ...], message: str) -> None:
    net = xpnn.Sequential([layer()], xpnn.MeanSquaredError(), 0.1)
    with pytest.raises(ShapeError) as caught:
        net.eval(np.zeros(shape))
    name = type(net.layers[0]).__name__
    assert str(caught.value) == f"layer 0 ({name}): expected input of shape {message}"
