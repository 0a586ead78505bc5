"""`xpnn train --model`: networks by a word, on built-in sets, on own arrays and out of TOML."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnn
from command import configuration, fails, without_notes
from xpnn.cli import main
from xpnn.data import load as load_data

pytest.importorskip("safetensors")

pytestmark = pytest.mark.usefixtures("in_temporary_folder")


def train(*options: str, out: str = "run") -> xpnn.Model:
    """Train in this process, and return the model."""
    assert main(["train", "--quiet", "--out", out, *options]) == 0
    return xpnn.load(f"{out}/model.safetensors")


def result(out: str = "run") -> dict[str, float]:
    found: dict[str, float] = json.loads(Path(out, "results.json").read_text())["test"]
    return found


def bars(rows: int = 200, channels: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Noise of 8 x 9 pixels with a bright row or a bright column."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 0.3, (rows, 8, 9)), np.arange(rows) % 2
    for image, label in zip(x, y, strict=True):
        if label:
            image[:, rng.integers(9)] += 1.5
        else:
            image[rng.integers(8)] += 1.5
    return np.repeat(x[..., None], channels[0], axis=-1) if channels else x, y


DIGITS = {
    "cnn": (
        "[Conv2d(1, 16, 3, padding='same', bias=False), BatchNorm2d(16), ReLU(), MaxPool2d(2), "
        "Conv2d(16, 32, 3, padding='same', bias=False), BatchNorm2d(32), ReLU(), MaxPool2d(2), "
        "Flatten(), Linear(128, 128, bias=False), BatchNorm(128), ReLU(), Dropout(0.3), "
        "Linear(128, 10)]"
    ),
    "lstm": "[LSTM(8, 128, return_sequences=False), Dropout(0.2), Linear(128, 10)]",
    "gru": "[GRU(8, 128, return_sequences=False), Dropout(0.2), Linear(128, 10)]",
    "mlp": (
        "[Linear(64, 256, bias=False), BatchNorm(256), ReLU(), Dropout(0.4), "
        "Linear(256, 128, bias=False), BatchNorm(128), ReLU(), Dropout(0.4), Linear(128, 10)]"
    ),
}


@pytest.mark.parametrize(("name", "accuracy"), [("cnn", 0.96), ("lstm", 0.9), ("gru", 0.9)])
def test_digits(name: str, accuracy: float, capsys: Any) -> None:
    """Train, evaluate, predict from the samples as they are stored, and train the run again."""
    pytest.importorskip("sklearn")
    model = train("--model", name, "--epochs", "8" if name != "cnn" else "4")
    assert repr(model.network.layers) == DIGITS[name]
    assert result()["accuracy"] > accuracy
    capsys.readouterr()
    assert main(["evaluate", "run"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"digits, test: accuracy {result()['accuracy']:.4f}, ")
    digits = load_data("digits")
    np.save("rows.npy", digits.x_test)
    assert main(["predict", "run", "--data", "rows.npy", "--out", "classes.npy"]) == 0
    assert main(["predict", "run", "--data", "digits", "--out", "again.npy"]) == 0
    classes = np.load("classes.npy")
    assert (classes == np.load("again.npy")).all()
    labels = np.asarray(digits.class_names)[digits.y_test]
    assert np.mean(classes == labels) == pytest.approx(result()["accuracy"], abs=1e-6)
    train("run/config.toml", out="again")
    assert result("again") == pytest.approx(result())


@pytest.mark.parametrize("name", DIGITS)
def test_layers(name: str) -> None:
    """Also from the file that says nothing but the word."""
    pytest.importorskip("sklearn")
    Path("a.toml").write_text(f'[model]\ntype = "{name}"\n')
    model = train("a.toml", "--epochs", "1")
    assert repr(model.network.layers) == DIGITS[name]


def test_settings_of_a_cnn() -> None:
    pytest.importorskip("sklearn")
    model = train(
        *["--model", "cnn", "--channels", "4,6,8,8", "--hidden", "", "--no-batch-norm"],
        *["--activation", "gelu", "--epochs", "1"],
    )
    assert repr(model.network.layers) == (
        "[Conv2d(1, 4, 3, padding='same'), GELU(), MaxPool2d(2), "
        "Conv2d(4, 6, 3, padding='same'), GELU(), MaxPool2d(2), "
        "Conv2d(6, 8, 3, padding='same'), GELU(), MaxPool2d(2), "
        "Conv2d(8, 8, 3, padding='same'), GELU(), Flatten(), Linear(8, 10)]"
    )


def test_stacked_recurrent_layers_and_their_optimizer() -> None:
    pytest.importorskip("sklearn")
    model = train("--model", "gru", "--hidden", "12,6", "--dropout", "0", "--epochs", "1")
    assert repr(model.network.layers) == (
        "[GRU(8, 12), GRU(12, 6, return_sequences=False), Linear(6, 10)]"
    )
    assert model.network.optimizer.clip_norm == 1.0
    assert model.network.optimizer.lr.max_lr == pytest.approx(0.003)
    assert configuration("--model", "lstm", "--lr", "0.5")["model"]["optimizer"]["lr"] == {
        "type": "OneCycle",
        "max_lr": 0.5,
    }
    assert "clip_norm" not in configuration("--model", "cnn")["model"]["optimizer"]


@pytest.mark.parametrize("name", ["cnn", "lstm", "gru", "mlp"])
@pytest.mark.parametrize("channels", [(), (3,)], ids=["grey", "colours-last"])
def test_own_images(name: str, channels: tuple[int, ...], capsys: Any) -> None:
    x, y = bars(channels=channels)
    np.savez("mine.npz", x=x, y=y)
    model = train(
        *["--data", "mine.npz", "--model", name, "--epochs", "10", "--batch-size", "16"],
        *["--hidden", "16", *(["--channels", "8"] if name == "cnn" else [])],
    )
    shape = {"cnn": [channels[0] if channels else 1, 8, 9]}.get(
        name, [8, 9 * channels[0]] if channels and name != "mlp" else list(x.shape[1:])
    )
    assert model.extra["sample_shape"] == shape
    assert result()["accuracy"] > (0.9 if name == "cnn" else 0.45)
    capsys.readouterr()
    # Other files of the same kind are laid out alike.
    np.savez("other.npz", x=x[:50], y=y[:50])
    assert main(["evaluate", "run", "--data", "other.npz"]) == 0
    assert "other, all: accuracy" in capsys.readouterr().out
    np.save("new.npy", x[:7])
    assert main(["predict", "run", "--data", "new.npy"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 8


def test_sequences_with_a_quantity_to_predict() -> None:
    """The sum of the first feature over the steps, by an LSTM."""
    x = np.random.default_rng(0).normal(size=(400, 6, 2))
    np.savez("mine.npz", x=x, y=x[:, :, 0].sum(axis=1))
    train("--data", "mine.npz", "--model", "lstm", "--hidden", "16", "--epochs", "30")
    assert result()["r2"] > 0.8


def test_layers_of_a_file_with_a_layout_and_augmentation() -> None:
    pytest.importorskip("sklearn")
    Path("a.toml").write_text(
        """
        [data]
        name = "digits"
        layout = "images"
        [model]
        layers = [
            { type = "Conv2d", in_channels = 1, out_channels = 4, kernel_size = 3 },
            "ReLU",
            { type = "Residual", layers = [
                { type = "Conv2d", in_channels = 4, out_channels = 4, kernel_size = 3,
                  padding = "same" },
            ] },
            "GlobalAvgPool2d",
            { type = "Linear", input_dim = 4, output_dim = 10 },
        ]
        [training]
        epochs = 2
        augment = [{ type = "RandomShift", pixels = 1, fill = "edge" }]
        """.replace("3,\n                  padding", "3, padding")
    )
    model = train("a.toml")
    assert repr(model.network.layers[3]) == "GlobalAvgPool2d()"
    text = Path("run/config.toml").read_text()
    assert 'layout = "images"' in text
    assert "RandomShift" in text
    first = result()
    train("run", out="again")
    assert result("again") == pytest.approx(first)
    train("run", "--augment", "", out="without")
    assert result("without") != first


def test_augmentation_by_a_word() -> None:
    pytest.importorskip("sklearn")
    short = ["--model", "cnn", "--channels", "4", "--hidden", "", "--epochs", "1"]
    train(*short, "--augment", "shift,flip", out="both")
    train(*short, out="none")
    assert result("both") != result("none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "rnn"], "--model: unknown choice 'rnn'"),
        (["--model", "cnn", "--data", "wine"], "layout 'images': expected samples of shape"),
        (["--model", "gru", "--data", "iris"], "layout 'sequences': expected samples of shape"),
        (["--channels", "8"], "model.channels means nothing for the model mlp"),
        (["--model", "lstm", "--activation", "relu"], "model.activation means nothing for"),
        (["--model", "gru", "--no-batch-norm"], "model.batch_norm means nothing for the model gru"),
        (["--model", "lstm", "--hidden", ""], "model lstm: expected at least one hidden layer"),
        (["--model", "cnn", "--layout", "flat"], r"model cnn: expected samples of shape \(C, H, W"),
        (["--model", "gru", "--layout", "images"], "model gru: expected samples of shape"),
        (["--layout", "nhwc"], "--layout: unknown choice 'nhwc'"),
        (["--augment", "flip"], "RandomFlip: expected images of shape"),
        (
            ["--model", "lstm", "--augment", "flip"],
            r"training.augment: flip changes images, which data laid out as sequences are not",
        ),
        (["--layout", "sequences", "--augment", "shift,flip"], "augment: shift changes images"),
        (["--model", "cnn", "--augment", "flop"], r"unknown augmentation .* Known: flip, shift$"),
    ],
)
def test_refuses_in_one_line(options: list[str], message: str, capsys: Any) -> None:
    pytest.importorskip("sklearn")
    assert re.search(message, fails(capsys, "train", "--quiet", *options))
    assert not Path("runs").exists()


def test_refuses_in_a_file(capsys: Any) -> None:
    for text, message in (
        ('[model]\ntype = "gru"\nchannels = [4]\n', r"a.toml: model.channels means nothing"),
        ('[model]\ntype = "cnn"\nlayers = ["ReLU"]\n', "model.type means nothing beside"),
        ('[training]\naugment = [{type = "RandomShift", pixel = 2}]\n', r"augment\[0\].pixel"),
        ('[model]\ntype = "gru"\n[training]\naugment = [{type = "RandomShift", pixels = 2}]\n',
         r"training.augment: RandomShift changes images, which data laid out as sequences"),
        ('[training]\naugment = ["Adam"]\n', r"augment\[0\]: unknown augmentation 'Adam'"),
        ('[model]\nlayers = [{type = "Conv2d", in_channels = 1, out_channels = 2, '
         'kernel_size = 3}]\n', r"layer 0 \(Conv2d\): expected input of shape \(N, 1, H, W\)"),
    ):  # fmt: skip
        Path("a.toml").write_text(text)
        assert re.search(message, fails(capsys, "train", "--quiet", "a.toml"))


def test_help_tells_the_defaults_of_each_model(capsys: Any) -> None:
    assert main(["train", "--help"]) == 0
    text = " ".join(without_notes(capsys.readouterr().out).split())
    assert "(default: mlp 256,128; cnn, lstm, gru 128)" in text
    assert "with pooling after each (default: 16,32)" in text
