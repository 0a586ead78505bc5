"""The command line: what it writes, every option, every exit code."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

import xpnn
from xpnn.cli import _settings, main
from xpnn.cli._configuration import resolve
from xpnn.cli._curves import text_curve
from xpnn.cli._parser import parse
from xpnn.cli._toml import write_toml
from xpnn.data import load as load_data
from xpnn.errors import ConfigurationError
from xpnn.history import History

ROOT = Path(__file__).parents[1]
SMALL = ["--hidden", "16", "--epochs", "2"]
HEAVY = {"cupy", "dpnp", "jax", "matplotlib", "numba", "safetensors", "sklearn", "torch", "tqdm"}


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(*options, out="run"):
    """Train in this process, and return the folder of the run."""
    assert main(["train", *SMALL, "--quiet", "--out", out, *options]) == 0
    return Path(out)


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """One small run that many tests read."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "--hidden", "32", "--epochs", "5", "--quiet", "--out", str(folder)]) == 0
    return folder


def process(*arguments, code="from xpnn.cli import main; import sys; sys.exit(main())", **keywords):
    """Start the command line in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **{"stdout": subprocess.PIPE, **keywords},
    )


def run(*arguments, **keywords):
    """Run the command line in a process of its own; return exit code, output and errors."""
    with process(*arguments, **keywords) as started:
        output, errors = started.communicate(timeout=200)
    return started.returncode, output, without_notes(errors)


def without_notes(errors):
    """Leave out what the first training on a machine says."""
    lines = errors.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("xpnn: compiling kernels"))


def fails(capsys, *arguments, code=2):
    """Run in this process; expect an exit code and one line on standard error, and return it."""
    assert main(list(arguments)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    line = without_notes(captured.err).removesuffix("\n")
    assert "\n" not in line
    assert "Traceback" not in line
    assert line.startswith("xpnn: ")
    return line.removeprefix("xpnn: ")


def rows(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def configuration(*options):
    return resolve(parse(["train", *options]))


# ---------------------------------------------------------------- training


def test_training_without_options(capsys):
    """The newcomer's first command."""
    started = time.perf_counter()
    assert main(["train"]) == 0
    seconds = time.perf_counter() - started
    captured = capsys.readouterr()
    folder = Path(re.search(r"^run (.*)$", captured.out, re.MULTILINE)[1])
    assert re.fullmatch(r"runs/digits-\d{8}-\d{6}", str(folder))
    accuracy = float(re.search(r"^test accuracy (\S+),", captured.out, re.MULTILINE)[1])
    assert accuracy >= 0.97
    results = json.loads((folder / "results.json").read_text())
    assert results["test"]["accuracy"] == pytest.approx(accuracy, abs=1e-4)
    assert results["seconds"] < min(10, seconds)
    assert "* training loss   o validation loss" in captured.out
    assert "epoch 30/30" in captured.err
    layers = [
        repr(layer) for layer in xpnn.checkpoint.load(folder / "model.safetensors").network.layers
    ]
    assert layers[:4] == ["Linear(64, 256, bias=False)", "BatchNorm(256)", "ReLU()", "Dropout(0.4)"]


def test_run_folder(capsys):
    folder = train("--data", "wine", "--seed", "5")
    assert capsys.readouterr().out.splitlines()[-1] == "run run"
    expected = {"config.toml", "metrics.csv", "model.safetensors", "results.json", "curves.png"}
    expected |= {"checkpoints"}
    assert {path.name for path in folder.iterdir()} == expected
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    table = rows(folder)
    assert [row["epoch"] for row in table] == ["1", "2"]
    assert list(table[0]) == [
        *["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"]
    ]
    results = json.loads((folder / "results.json").read_text())
    assert results["stop_reason"] == "finished"
    assert results["epochs"] == 2
    assert (results["backend"], results["device"]) == ("numpy", "cpu")
    model = xpnn.checkpoint.load(folder / "model.safetensors")
    assert model.network.seed == 5
    assert model.class_names == load_data("wine").class_names
    assert model.standardization.mean.shape == (13,)


def test_standardization_is_that_of_the_rows_to_train_on():
    model = xpnn.checkpoint.load(train("--data", "wine") / "model.safetensors")
    dataset = load_data("wine")
    (x, _), _ = xpnn.data.split(
        dataset.x_train, dataset.y_train, fraction=0.1, seed=0, stratify=dataset.y_train
    )
    np.testing.assert_allclose(model.standardization.mean, x.mean(axis=0))


def test_same_seed_same_run():
    first, second = train(out="a"), train(out="b")
    for one, two in zip(rows(first), rows(second), strict=True):
        assert one.pop("seconds")
        assert two.pop("seconds")
        assert one == two
    assert rows(train("--seed", "1", out="c"))[0]["loss"] != rows(first)[0]["loss"]


def test_progress_goes_to_standard_error_and_quiet_silences_it(capsys):
    train("--data", "iris")
    captured = capsys.readouterr()
    assert without_notes(captured.err) == ""
    assert captured.out.count("\n") == 3
    assert main(["train", *SMALL, "--data", "iris", "--out", "loud"]) == 0
    captured = capsys.readouterr()
    assert "iris: 108 samples to train on, 12 for validation, 30 for the test" in captured.err
    assert "epoch 2/2" in captured.err
    assert "epoch 1  " in captured.out


@pytest.mark.parametrize("data", ["digits", "wine", "breast-cancer", "iris", "diabetes"])
def test_bundled_data(data, capsys):
    folder = train("--data", data)
    results = json.loads((folder / "results.json").read_text())
    metrics = {"loss", "r2", "mae", "rmse"} if data == "diabetes" else {"loss", "accuracy"}
    assert results["test"].keys() == metrics
    assert all(np.isfinite(value) for value in results["test"].values())
    assert main(["evaluate", str(folder)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    name = "r2" if data == "diabetes" else "accuracy"
    assert line.startswith(f"{data}, test: {name} {results['test'][name]:.4f}")


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(),
    reason="Debian's package dataset-fashion-mnist is not installed",
)
def test_fashion_mnist():
    folder = train("--data", "fashion-mnist", "--epochs", "1", "--batch-size", "256")
    assert json.loads((folder / "results.json").read_text())["test"]["accuracy"] > 0.75
    network = xpnn.checkpoint.load(folder / "model.safetensors").network
    assert repr(network.layers[:2]) == "[Flatten(), Linear(784, 16, bias=False)]"


def test_regression_is_reported_in_the_unit_of_the_target(capsys):
    folder = train("--data", "diabetes", "--epochs", "20")
    found = json.loads((folder / "results.json").read_text())["test"]
    dataset = load_data("diabetes")
    model = xpnn.checkpoint.load(folder / "model.safetensors")
    error = model.predict(dataset.x_test)[:, 0] - dataset.y_test
    assert found["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert found["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    spread = ((dataset.y_test - dataset.y_test.mean()) ** 2).mean()
    assert found["r2"] == pytest.approx(1 - (error**2).mean() / spread, rel=1e-5)
    assert found["r2"] > 0.3
    raw = train("--data", "diabetes", "--no-standardize-target", out="raw")
    assert xpnn.checkpoint.load(raw / "model.safetensors").target_standardization is None
    assert main(["evaluate", "raw"]) == 0


@pytest.mark.parametrize("optimizer", _settings.OPTIMIZERS)
@pytest.mark.parametrize("schedule", _settings.SCHEDULES)
def test_every_optimizer_learns_with_every_schedule(optimizer, schedule):
    folder = train(
        *["--optimizer", optimizer, "--schedule", schedule],
        *["--epochs", "6", "--hidden", "64", "--dropout", "0.1"],
    )
    assert json.loads((folder / "results.json").read_text())["test"]["accuracy"] > 0.9


def test_early_stopping():
    folder = train("--data", "wine", "--epochs", "60", "--patience", "3", "--lr", "0.1")
    results = json.loads((folder / "results.json").read_text())
    assert results["stop_reason"] == "early stopping"
    assert results["epochs"] < 60
    values = [float(row["val_loss"]) for row in rows(folder)]
    assert results["best_epoch"] == 1 + values.index(min(values))
    assert len(values) == results["best_epoch"] + 3


def test_without_validation():
    folder = train("--data", "iris", "--validation", "0")
    assert "val_loss" not in rows(folder)[0]


def test_no_hidden_layer():
    folder = train("--data", "iris", "--hidden", "")
    network = xpnn.checkpoint.load(folder / "model.safetensors").network
    assert repr(network.layers) == "[Linear(4, 3)]"


@pytest.mark.parametrize(
    "backend", ["torch", pytest.param("jax", marks=pytest.mark.slow), "array_api_strict"]
)
def test_train_on_another_library(backend, digits_run, capsys):
    pytest.importorskip(backend)
    folder = train("--backend", backend, "--data", "wine")
    reference = train("--data", "wine", out="reference")
    assert json.loads((folder / "results.json").read_text())["backend"] == backend
    for one, two in zip(rows(folder), rows(reference), strict=True):
        assert float(one["loss"]) == pytest.approx(float(two["loss"]), rel=1e-3)
    # And each reads what the other wrote.
    for run_folder in (folder, "reference", digits_run):
        one, two = (result(capsys, run_folder, "--backend", name)[0] for name in (backend, "numpy"))
        assert one == {name: pytest.approx(value, abs=2e-4) for name, value in two.items()}


# ---------------------------------------------------------------- options and configuration

#: Every option that has a place in the file, what is given, and what the configuration says.
OPTIONS = {
    "--data": ("wine", ("data", "name"), "wine"),
    "--data-dir": (os.sep, ("data", "data_dir"), os.sep),
    "--target": ("price", ("data", "target"), "price"),
    "--task": ("Regression", ("data", "task"), "regression"),
    "--header": (None, ("data", "header"), True),
    "--test-fraction": ("0.5", ("data", "test_fraction"), 0.5),
    "--split-seed": ("7", ("data", "seed"), 7),
    "--validation": ("0.25", ("data", "validation"), 0.25),
    "--standardize": ("set", ("data", "standardize"), "set"),
    "--standardize-target": (None, ("data", "standardize_target"), True),
    "--layout": ("Flat", ("data", "layout"), "flat"),
    "--model": ("CNN", ("model", "type"), "cnn"),
    "--hidden": ("8, 4", ("model", "hidden"), [8, 4]),
    "--activation": ("gelu", ("model", "activation"), "GELU"),
    "--batch-norm": (None, ("model", "batch_norm"), True),
    "--dropout": ("0", ("model", "dropout"), 0.0),
    "--dtype": ("float64", ("model", "dtype"), "float64"),
    "--seed": (str(2**64 - 1), ("model", "seed"), 2**64 - 1),
    "--epochs": ("3", ("training", "epochs"), 3),
    "--batch-size": ("9", ("training", "batch_size"), 9),
    "--patience": ("2", ("training", "patience"), 2),
    "--metrics": ("accuracy,top2", ("training", "metrics"), ["accuracy", "top2"]),
    "--augment": ("flip,shift", ("training", "augment"), ["flip", "shift"]),
    "--device": ("cpu", ("training", "device"), "cpu"),
    "--backend": ("numpy", ("training", "backend"), "numpy"),
}


def test_table_of_options_is_complete():
    found = {setting.option for setting in _settings.SETTINGS if setting.option}
    assert set(OPTIONS) == found - {"--channels"}  # which is of cnn: see test_cli_models


@pytest.mark.parametrize("option", OPTIONS)
def test_option_reaches_the_configuration(option):
    text, (section, key), expected = OPTIONS[option]
    found = configuration(*([option] if text is None else [option, text]))
    assert found[section][key] == expected
    assert type(found[section][key]) is type(expected)
    if text is None:
        assert configuration(option.replace("--", "--no-", 1))[section][key] is False


def test_trained_with_all_options_at_once():
    folder = train(
        *["--data", "wine", "--test-fraction", "0.3", "--split-seed", "3", "--validation", "0.2"],
        *["--standardize", "set", "--hidden", "8,4", "--activation", "tanh", "--no-batch-norm"],
        *["--dropout", "0.25", "--l2", "0.001", "--optimizer", "sgd", "--lr", "0.05"],
        *["--schedule", "cosine", "--dtype", "float64", "--seed", "9", "--epochs", "3"],
        *["--batch-size", "16", "--metrics", "accuracy,top2", "--device", "cpu"],
        *["--backend", "numpy", "--no-standardize-target"],
    )
    model = xpnn.checkpoint.load(folder / "model.safetensors")
    assert repr(model.network.layers) == (
        "[Linear(13, 8), Tanh(), Dropout(0.25), Linear(8, 4), Tanh(), Dropout(0.25), Linear(4, 3)]"
    )
    network = model.network
    assert repr(network.regularization) == "L2(0.001, roles=('weight',))"
    assert network.optimizer.momentum == 0.9
    assert isinstance(network.optimizer.lr, xpnn.Cosine)
    assert network.optimizer.lr.lr == 0.05
    assert network.backend.dtype == "float64"
    assert network.seed == 9
    assert model.standardization.mean.shape == ()
    assert network.steps == 3 * -(-100 // 16)  # 0.7 * 0.8 of 178 rows
    assert "val_top2" in rows(folder)[0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"type": "Adam", "lr": {"type": "OneCycle", "max_lr": 0.01}}),
        (["--lr", "0.5"], {"type": "Adam", "lr": {"type": "OneCycle", "max_lr": 0.5}}),
        (["--schedule", "constant"], {"type": "Adam", "lr": 0.01}),
        (["--schedule", "constant", "--lr", "0.5"], {"type": "Adam", "lr": 0.5}),
        (
            ["--optimizer", "sgd"],
            {"type": "SGD", "momentum": 0.9, "lr": {"type": "OneCycle", "max_lr": 0.1}},
        ),
        (
            ["--optimizer", "AdamW", "--schedule", "COSINE"],
            {"type": "AdamW", "lr": {"type": "Cosine", "lr": 0.01}},
        ),
    ],
)
def test_optimizer_options(options, expected):
    assert configuration(*options)["model"]["optimizer"] == expected


@pytest.mark.parametrize(
    ("written", "options", "expected"),
    [
        ('"Adam"', [], {"type": "Adam", "lr": {"type": "OneCycle", "max_lr": 0.01}}),
        ('{type = "Adam", lr = 0.5}', [], {"type": "Adam", "lr": 0.5}),
        ('{type = "Adam", lr = 0.5}', ["--lr", "0.25"], {"type": "Adam", "lr": 0.25}),
        (
            '{type = "Adam", lr = 0.5, beta1 = 0.5}',
            ["--schedule", "cosine"],
            {"type": "Adam", "beta1": 0.5, "lr": {"type": "Cosine", "lr": 0.5}},
        ),
        (
            '{type = "Adam", lr = {type = "Step", lr = 1, step_size = 9}}',
            ["--lr", "0.25"],
            {"type": "Adam", "lr": {"type": "Step", "lr": 0.25, "step_size": 9}},
        ),
        (
            '{type = "SGD", lr = {type = "LinearWarmup", warmup_steps = 3, '
            'schedule = {type = "Cosine", lr = 1}}}',
            ["--lr", "0.25"],
            {
                "type": "SGD",
                "lr": {
                    "type": "LinearWarmup",
                    "warmup_steps": 3,
                    "schedule": {"type": "Cosine", "lr": 0.25},
                },
            },
        ),
        ('{type = "SGD", lr = 0.5, nesterov = true}', ["--optimizer", "adam"], None),
    ],
)
def test_optimizer_of_the_file_and_options(written, options, expected):
    Path("file.toml").write_text(f"[model]\noptimizer = {written}\n")
    if expected is None:
        expected = {"type": "Adam", "lr": {"type": "OneCycle", "max_lr": 0.01}}
    assert configuration("file.toml", *options)["model"]["optimizer"] == expected


def test_options_override_the_file():
    Path("file.toml").write_text(
        '[data]\nname = "wine"\nvalidation = 0\n[model]\nhidden = [3]\nseed = 4\n'
        '[training]\nepochs = 7\nbackend = "torch"\n'
    )
    found = configuration("--config", "file.toml", "--epochs", "5", "--hidden", "6")
    assert found["data"]["name"] == "wine"
    assert found["data"]["validation"] == 0
    assert found["model"]["hidden"] == [6]
    assert found["model"]["seed"] == 4
    assert found["training"] == {"epochs": 5, "batch_size": 64, "backend": "torch"}


MODEL = """
[data]
name = "iris"

[model]
seed = 3
loss = {type = "SoftmaxCrossEntropy", label_smoothing = 0.1}
optimizer = {type = "Adam", lr = {type = "LinearWarmup", warmup_steps = 4, schedule = \
{type = "Cosine", lr = 0.02}}, clip_norm = 1.0}

[[model.layers]]
type = "Linear"
input_dim = 4
output_dim = 8
weight_initializer = {type = "Orthogonal", gain = 1.5}

[[model.layers]]
type = "ELU"

[[model.layers]]
type = "Linear"
input_dim = 8
output_dim = 3

[training]
epochs = 2
"""


def test_file_with_a_whole_model():
    Path("model.toml").write_text(MODEL)
    assert main(["train", "model.toml", "--quiet", "--out", "run"]) == 0
    network = xpnn.checkpoint.load("run/model.safetensors").network
    assert repr(network.layers[1:]) == "[ELU(), Linear(8, 3)]"
    assert network.loss.label_smoothing == 0.1
    assert network.optimizer.clip_norm == 1.0
    assert network.regularization is None, "nothing is added to a model that is written out"


@pytest.mark.parametrize("source", ["options", "model.toml"])
def test_configuration_of_a_run_makes_the_same_run(source):
    if source == "options":
        first = train("--data", "wine", "--dropout", "0.1", "--optimizer", "sgd")
    else:
        Path(source).write_text(MODEL)
        assert main(["train", source, "--quiet", "--out", "run"]) == 0
        first = Path("run")
    for number, given in enumerate([str(first), str(first / "config.toml")]):
        again = Path(f"again{number}")
        assert main(["train", given, "--quiet", "--out", str(again)]) == 0
        assert (again / "config.toml").read_text() == (first / "config.toml").read_text()
        for one, two in zip(rows(first), rows(again), strict=True):
            assert {**one, "seconds": 0} == {**two, "seconds": 0}


def test_configuration_of_a_path_works_from_another_folder(monkeypatch, tmp_path):
    np.savez("own data.npz", x=np.eye(40), y=np.arange(40) % 2)
    train("--data", "own data.npz")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    train("../run")
    assert main(["evaluate", "../run"]) == 0


@pytest.mark.parametrize(
    "tables",
    [
        {"a": {"text": 'quote " backslash \\ newline \n tab \t bell \x07 del \x7f ünï 💡'}},
        {"a": {"odd key": 1, "": 2, "a.b": 3, "ü": 4}},
        {"a": {"numbers": [0, -1, 2**64 - 1, 0.1, 1e-5, 1e300, 5e-324, -0.0]}},
        {"a": {"flags": [True, False], "empty": [], "nested": [[1], [2, 3]]}},
        {"a": {"things": [{"type": "x", "deep": {"list": [1, {"b": "c"}]}}, {}]}, "b": {}},
    ],
)
def test_toml_comes_back(tables):
    assert tomllib.loads(write_toml(tables)) == tables


def test_toml_leaves_none_out():
    assert tomllib.loads(write_toml({"a": {"b": None, "c": {"d": None}}})) == {"a": {"c": {}}}


# ---------------------------------------------------------------- exit code 2

BAD_OPTIONS = [
    ([], "the following arguments are required: COMMAND"),
    (["trian"], "argument COMMAND: invalid choice: 'trian'"),
    (["train", "--epoch", "3"], "unknown argument '--epoch': did you mean --epochs?"),
    (["train", "a.toml", "b.toml"], "unknown argument 'b.toml'"),
    (["train", "a.toml", "--config", "a.toml"], "give the configuration once"),
    (["train", "--epochs"], "argument --epochs: expected one argument"),
    (["train", "--epochs", "0"], "--epochs: expected an integer of at least 1, got 0"),
    (["train", "--epochs", "2.5"], "--epochs: expected an integer of at least 1, got '2.5'"),
    (["train", "--epochs", "many"], "--epochs: expected an integer of at least 1, got 'many'"),
    (["train", "--batch-size", "-1"], "--batch-size: expected an integer of at least 1, got -1"),
    (["train", "--lr", "0"], "--lr: expected a number in (0, inf), got 0.0"),
    (["train", "--lr", "nan"], "--lr: expected a number in (0, inf), got nan"),
    (["train", "--lr", "-1"], "--lr: expected a number in (0, inf), got -1.0"),
    (["train", "--dropout", "1.5"], "--dropout: expected a number in [0, 1], got 1.5"),
    (["train", "--l2", "-1"], "--l2: expected a number in [0, inf), got -1.0"),
    (["train", "--seed", "-1"], "--seed: expected an integer from 0 to 18446744073709551615"),
    (["train", "--hidden", "12,x"], "--hidden: expected a list of widths such as 256,128, got"),
    (["train", "--hidden", "12,0"], "--hidden: expected a list of widths such as 256,128, got"),
    (["train", "--optimizer", "adma"], "--optimizer: unknown choice 'adma': did you mean 'Adam'?"),
    (["train", "--schedule", "cosin"], "--schedule: unknown choice 'cosin': did you mean 'cosine'"),
    (["train", "--activation", "relu6"], "--activation: unknown choice 'relu6': did you mean"),
    (["train", "--metrics", "acuracy"], "unknown metric 'acuracy': did you mean 'accuracy'?"),
    (["train", "--validation", "1"], "--validation: expected a number in [0, 1), got 1.0"),
    (["train", "--test-fraction", "0"], "--test-fraction: expected a number in (0, 1), got 0.0"),
    (["train", "--validation", "0", "--patience", "3"], "--patience needs validation data"),
    (["train", "--data", "digit"], "unknown data set 'digit': did you mean 'digits'?"),
    (["train", "--data", "missing.csv", "--target", "0"], "missing.csv"),
    (["train", "--data", ""], "--data: expected text, got ''"),
    (["train", "--target", "x"], "target='x' means nothing for 'digits'"),
    (["train", "--backend", "nunpy"], "unknown back end 'nunpy': did you mean 'numpy'?"),
    (["train", "--device", "gpu"], "back end 'numpy' has no device 'gpu'"),
    (["train", "--config", "missing.toml"], "missing.toml: No such file"),
    (["train", "digits"], "digits: No such file or directory: for data, give --data digits"),
    (["train", "--metrics", "r2"], "metrics: r2 is for a regression, digits is a classification"),
    (
        ["train", "--data", "diabetes", "--metrics", "mae,top3"],
        "metrics: top3 is for a classification, diabetes is a regression",
    ),
    (["evaluate"], "the following arguments are required: RUN"),
    (["evaluate", "missing"], "missing: cannot be read: No such file"),
    (["evaluate", "x", "--part", "half"], "argument --part: invalid choice: 'half'"),
    (["evaluate", "x", "--metrics", "acuracy"], "unknown metric 'acuracy'"),
    (["evaluate", "x", "--batch-size", "0"], "--batch-size: expected an integer of at least 1"),
    (["predict", "x"], "the following arguments are required: --data"),
    (["predict", "x", "--data", "y.npy", "--out", "z.txt"], "--out: expected a name that ends in"),
    (["predict", "x", "--data", "y.npy", "--batch-size", "x"], "--batch-size: expected an integer"),
    (["info", "x"], "unknown argument 'x'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_OPTIONS, ids=lambda v: str(v)[:50])
def test_bad_options(arguments, message, capsys):
    assert message in fails(capsys, *arguments)
    assert os.listdir() == [], "something was written"


BAD_FILES = [
    ("[data", "file.toml: "),
    ("epochs = 3", "file.toml: unknown section 'epochs'"),
    ("[dada]", "file.toml: unknown section 'dada': did you mean 'data'?"),
    ("data = 3", "file.toml: data: expected a table, got 3"),
    (
        "[training]\nepoch = 3",
        "file.toml: training.epoch: unknown key 'epoch': did you mean 'epochs'?",
    ),
    ("[training]\nepochs = 3.0", "file.toml: training.epochs: expected an integer of at least 1"),
    ("[training]\nepochs = true", "file.toml: training.epochs: expected an integer of at least 1"),
    ("[training]\nepochs = '3'", "file.toml: training.epochs: expected an integer of at least 1"),
    ("[model]\nbatch_norm = 1", "file.toml: model.batch_norm: expected true or false, got 1"),
    ("[model]\nhidden = 3", "file.toml: model.hidden: expected a list of widths"),
    ("[model]\nhidden = [true]", "file.toml: model.hidden: expected a list of widths"),
    ("[model]\ndropout = nan", "file.toml: model.dropout: expected a number in [0, 1], got nan"),
    ("[model]\nactivation = 3", "file.toml: model.activation: expected one of ReLU"),
    ("[model]\nlayers = 3", "file.toml: model.layers: expected a list, got 3"),
    ("[model]\nlayers = []\nhidden = [3]", "file.toml: model.hidden means nothing beside"),
    ("[model]\nlayers = ['Relu']", "file.toml: model.layers[0]: unknown layer 'Relu': did you"),
    (
        "[[model.layers]]\ntype = 'Linear'\nunits = 3",
        "file.toml: model.layers[0].units: unknown key 'units'",
    ),
    ("[model]\nloss = 'Hubr'", "file.toml: model.loss: unknown loss 'Hubr': did you mean 'Huber'?"),
    ("[model]\noptimizer = {lr = 0.1}", "file.toml: model.optimizer: expected the name of an"),
    (
        "[model]\noptimizer = {type = 'Adam', lr = {type = 'Cosine', lr = -1}}",
        "file.toml: model.optimizer.lr: Cosine: lr must be",
    ),
    (
        "[model]\nregularization = {type = 'L2', weight = -1}",
        "file.toml: model.regularization: L2: weight must be",
    ),
    ("[data]\ntarget = []", "file.toml: data.target: expected the name of a column or its number"),
    ("[data]\nname = 3", "file.toml: data.name: expected text, got 3"),
]


@pytest.mark.parametrize(("text", "message"), BAD_FILES, ids=lambda v: str(v)[:50])
def test_bad_files(text, message, capsys):
    Path("file.toml").write_text(text)
    assert fails(capsys, "train", "file.toml").startswith(message)
    assert os.listdir() == ["file.toml"]


def test_file_that_is_no_text(capsys):
    Path("file.toml").write_bytes(b"\xff\xfe")
    message = fails(capsys, "train", "file.toml")
    assert message == "file.toml: no configuration: not a text in UTF-8"


@pytest.mark.parametrize("name", ["data.npz", "data.csv"])
def test_data_in_the_place_of_a_configuration(name, capsys):
    Path(name).write_bytes(b"\xff,a\n")
    message = fails(capsys, "train", name)
    assert message == f"{name}: no configuration: for data, give --data {name}"


def test_out_that_is_a_file(capsys):
    Path("out").write_text("")
    assert fails(capsys, "train", "--out", "out") == "out: is a file: choose a folder"


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("[]", "the network gives 3 scores, the data have 2 classes"),
        ("[{ type = 'Linear', input_dim = 3, output_dim = 7 }]", "the network gives 7 scores, "),
        ("[{ type = 'Linear', input_dim = 4, output_dim = 2 }]", "layer 0 (Linear): expected "),
    ],
)
def test_layers_that_do_not_fit_the_classes(layers, message, capsys):
    np.savez("data.npz", x=np.eye(3)[[0, 1, 2] * 8], y=[0, 1, 1] * 8)
    Path("model.toml").write_text(f"[data]\nname = 'data.npz'\n[model]\nlayers = {layers}\n")
    assert fails(capsys, "train", "model.toml").startswith(f"model.toml: model.layers: {message}")
    assert sorted(os.listdir()) == ["data.npz", "model.toml"]


def test_data_of_one_class(capsys):
    np.savez("data.npz", x=np.eye(3)[[0, 1, 2] * 8], y=["cat"] * 24)
    assert fails(capsys, "train", "--data", "data.npz") == (
        "data has one class only, 'cat': there is nothing to learn"
    )


def test_options_that_mean_nothing_for_a_whole_model(capsys):
    Path("model.toml").write_text(MODEL)
    message = fails(capsys, "train", "model.toml", "--hidden", "3")
    assert message == "--hidden: the layers are those of the file, model.layers"


def test_layers_that_do_not_fit_the_data(capsys):
    Path("model.toml").write_text(MODEL.replace('"iris"', '"wine"'))
    message = fails(capsys, "train", "model.toml", "--quiet")
    assert "layer 0 (Linear)" in message
    assert "13" in message
    assert not Path("runs").exists()


def test_device_without_its_library(capsys):
    if _installed("cupy"):
        pytest.skip("CuPy is installed")
    message = fails(capsys, "train", "--device", "cuda")
    assert message.startswith("back end 'cupy' is not installed on this machine: pip install")
    assert os.listdir() == []


def _installed(name):
    import importlib.util

    return importlib.util.find_spec(name) is not None


def test_runs_are_never_overwritten(capsys):
    folder = train("--data", "iris")
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    capsys.readouterr()
    message = fails(capsys, "train", "--data", "iris", "--out", "run")
    assert message == "run: has a run in it: choose another folder"
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


def test_folder_with_other_things_in_it_can_hold_a_run():
    Path("run").mkdir()
    Path("run/notes.txt").write_text("mine")
    train("--data", "iris")
    assert Path("run/notes.txt").read_text() == "mine"


def test_two_runs_in_one_second():
    for _ in range(3):
        assert main(["train", *SMALL, "--data", "iris", "--quiet"]) == 0
    assert len(list(Path("runs").iterdir())) == 3


def test_place_that_cannot_be_written(capsys):
    Path("file").write_text("")
    assert "file" in fails(capsys, "train", "--data", "iris", "--quiet", "--out", "file")
    assert "file/run" in fails(capsys, "train", "--data", "iris", "--quiet", "--out", "file/run")


# ---------------------------------------------------------------- exit code 3


@pytest.mark.parametrize("backend", ["numpy", pytest.param("jax", marks=pytest.mark.slow)])
def test_divergence(backend, capsys):
    pytest.importorskip(backend)
    options = ["--lr", "1e30", "--optimizer", "sgd", "--schedule", "constant", "--no-batch-norm"]
    message = fails(
        capsys, "train", *SMALL, *options, "--quiet", "--out", "run", "--backend", backend, code=3
    )
    assert "diverged" in message
    assert "learning rate is 1e+30" in message
    assert message.endswith("that model is in run")
    results = json.loads(Path("run/results.json").read_text())
    assert results["stop_reason"] == "diverged"
    network = xpnn.checkpoint.load("run/model.safetensors").network
    assert np.isfinite(network.parameters.values.array).all()


# ---------------------------------------------------------------- exit code 130


def interrupted(*options, stderr_marker="epoch 3/"):
    with process("train", "--data", "wine", "--epochs", "1000000", "--out", "run", *options) as it:
        try:
            for line in it.stderr:
                if stderr_marker in line:
                    break
            it.send_signal(signal.SIGINT)
            output, errors = it.communicate(timeout=100)
        finally:
            it.kill()
    return it.returncode, output, errors


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_interrupt_writes_the_model():
    code, output, errors = interrupted()
    assert code == 130
    assert output == ""
    assert "Traceback" not in errors
    last = errors.splitlines()[-1]
    pattern = r"xpnn: interrupted after (\d+) steps; .* in run; to go on: xpnn train --resume run"
    steps = int(re.fullmatch(pattern, last)[1])
    model = xpnn.checkpoint.load("run/model.safetensors")
    assert model.network.steps == steps > 0
    results = json.loads(Path("run/results.json").read_text())
    assert results["stop_reason"] == "interrupted"
    assert len(rows(Path("run"))) == results["epochs"] == model.network.epochs >= 3
    assert main(["evaluate", "run"]) == 0


def test_interrupt_before_the_training(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("xpnn.cli._train.prepare", interrupt)
    assert fails(capsys, "train", code=130) == "interrupted"


def test_interrupt_in_the_first_epoch(capsys):
    """There is no row yet, and so no curve."""

    class Stop(xpnn.Callback):
        def on_batch_end(self, run, loss):
            run.stop("interrupted")

    import xpnn.cli._train as module

    original = module._callbacks
    module._callbacks = lambda *arguments: [*original(*arguments), Stop()]
    try:
        message = fails(capsys, "train", "--quiet", "--out", "run", code=130)
    finally:
        module._callbacks = original
    assert message.startswith("interrupted after 1 steps; the model is in run; to go on: ")
    assert xpnn.checkpoint.load("run/model.safetensors").network.steps == 1
    assert not Path("run/curves.png").exists()


# ---------------------------------------------------------------- going on


def stop_at(step, reason, monkeypatch):
    """Stop the next training of this process after a step."""

    class Stop(xpnn.Callback):
        def on_batch_end(self, run, loss):
            if run.network.steps == step:
                run.stop(reason)

    import xpnn.cli._train as module

    original = module._callbacks
    monkeypatch.setattr(module, "_callbacks", lambda *given: [*original(*given), Stop()])


def without_seconds(folder):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows(folder)]


@pytest.mark.parametrize("step", [1, 5, 6])
def test_a_run_goes_on_to_the_same_files(step, capsys, monkeypatch):
    options = ["--data", "wine", "--epochs", "4", "--patience", "3", "--batch-size", "32"]
    whole = train(*options, out="whole")
    with monkeypatch.context() as patch:
        stop_at(step, "interrupted", patch)
        assert main(["train", *SMALL, *options, "--quiet", "--out", "run"]) == 130
    assert rows(Path("run")) == rows(whole)[: step // 4] or step >= 4
    capsys.readouterr()
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "run run"
    assert without_seconds(Path("run")) == without_seconds(whole)
    models = [(folder / "model.safetensors").read_bytes() for folder in (whole, Path("run"))]
    assert models[0] == models[1]
    results = [json.loads((f / "results.json").read_text()) for f in (whole, Path("run"))]
    assert results[0]["test"] == results[1]["test"]
    # What is finished stays as it is.
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    assert (Path("run") / "model.safetensors").read_bytes() == models[0]


def test_a_run_that_has_changed_goes_on_by_force(capsys, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(5, "interrupted", patch)
        main(["train", *SMALL, "--data", "wine", "--quiet", "--out", "run"])
    before = Path("run/config.toml").read_text()
    capsys.readouterr()
    command = ["train", "--resume", "run", "--quiet", "--epochs", "3", "--lr", "0.002"]
    message = fails(capsys, *command)
    assert "epochs: 2, now 3" in message
    assert "network.optimizer.lr.max_lr: 0.01, now 0.002" in message
    assert Path("run/config.toml").read_text() == before
    assert main([*command, "--force"]) == 0
    assert len(rows(Path("run"))) == 3
    assert "epochs = 3" in Path("run/config.toml").read_text()


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew():
    expected = train("--data", "iris", out="other")
    Path("run").mkdir()
    Path("run/config.toml").write_bytes((expected / "config.toml").read_bytes())
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    assert without_seconds(Path("run")) == without_seconds(expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--resume", "missing"], "missing"),
        (["--resume", "run", "--out", "other"], "do not give --out"),
        (["--resume", "run", "run"], "do not give FILE"),
        (["--resume", "run", "--config", "run"], "do not give --config"),
        (["--force"], "--force needs --resume"),
    ],
)
def test_resuming_wrongly(options, words, capsys):
    assert words in fails(capsys, "train", *options)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM for another process")
def test_a_request_to_end_writes_a_checkpoint_and_the_model():
    options = ["--data", "wine", "--epochs", "1000000", "--out", "run"]
    with process("train", *options) as started:
        try:
            for line in started.stderr:
                if "epoch 3/" in line:
                    break
            started.send_signal(signal.SIGTERM)
            _, errors = started.communicate(timeout=100)
        finally:
            started.kill()
    assert started.returncode == 143
    assert re.search(r"xpnn: terminated after \d+ steps; .* --resume run\n$", errors)
    steps = xpnn.load("run/model.safetensors").network.steps
    names = sorted(path.name for path in Path("run/checkpoints").glob("step-*"))
    assert names[-1] == f"step-{steps:09d}.safetensors"


# ---------------------------------------------------------------- broken streams


@pytest.fixture
def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.slow
def test_training_survives_a_broken_stdout(closed_pipe):
    code, _, errors = run("train", *SMALL, "--data", "iris", "--out", "run", stdout=closed_pipe)
    assert code == 0
    assert "Exception" not in errors
    assert Path("run/results.json").exists()


@pytest.mark.slow
def test_reader_of_predictions_went_away(closed_pipe, digits_run):
    code, _, errors = run("predict", str(digits_run), "--data", "digits", stdout=closed_pipe)
    assert code == 141
    assert errors == ""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_output_to_a_full_disk(digits_run):
    with open("/dev/full", "w") as full:
        code, _, errors = run("predict", str(digits_run), "--data", "digits", stdout=full)
        assert (code, errors) == (2, "xpnn: No space left on device\n")
        code, _, errors = run("train", *SMALL, "--quiet", "--out", "run", stdout=full)
        assert (code, errors) == (0, "")


def test_log_to_a_full_disk(monkeypatch, capsys):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xpnn.CSVLog, "on_epoch_end", fail)
    train("--data", "iris")
    assert capsys.readouterr().err.count("metrics.csv: No space left on device") == 1
    assert Path("run/model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_without_standard_streams(closed):
    code = (
        "import os, sys\n"
        f"for number in {closed}: os.close(number)\n"
        f"for number in {closed}: setattr(sys, ['stdin', 'stdout', 'stderr'][number], None)\n"
        "from xpnn.cli import main; sys.exit(main())"
    )
    assert run("train", *SMALL, "--data", "iris", "--out", "run", code=code)[0] == 0
    assert Path("run/model.safetensors").exists()


@pytest.mark.slow
def test_terminal_without_the_letters(monkeypatch):
    """A name that the terminal cannot show is no reason to fail."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    np.savez("ü.npz", x=np.eye(40), y=np.arange(40) % 2)
    command = [sys.executable, "-m", "xpnn", "train", *SMALL, "--data", "ü.npz", "--out", "ü"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0
    assert done.stdout.endswith(b"run ?\n")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_progress_bar_on_a_terminal():
    import pty
    import termios

    pytest.importorskip("tqdm")
    control, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "xpnn", "train", *SMALL, "--out", "run"]
    done = subprocess.run(
        command, stderr=terminal, stdout=subprocess.PIPE, env=environment, check=False
    )
    os.close(terminal)
    shown = os.read(control, 100_000).decode()
    os.close(control)
    assert done.returncode == 0
    assert "epoch 1/2:" in shown
    assert "batch/s" in shown or "?batch" in shown


# ---------------------------------------------------------------- evaluate


def result(capsys, *arguments):
    capsys.readouterr()
    assert main(["evaluate", *map(str, arguments)]) == 0
    line = capsys.readouterr().out
    pairs = re.findall(r"(\w+) (-?[\d.]+|nan)(?=,| \()", line)
    return {name: float(value) for name, value in pairs}, int(re.search(r"\((\d+)", line)[1])


def test_evaluate_parts(digits_run, capsys):
    test, samples = result(capsys, digits_run)
    assert samples == 359
    expected = json.loads((digits_run / "results.json").read_text())["test"]
    assert test == {name: pytest.approx(value, abs=1e-4) for name, value in expected.items()}
    train, samples = result(capsys, digits_run, "--part", "train")
    assert samples == 1438
    whole, samples = result(capsys, digits_run, "--part", "all")
    assert samples == 1797
    mean = (359 * test["accuracy"] + 1438 * train["accuracy"]) / 1797
    assert whole["accuracy"] == pytest.approx(mean, abs=2e-4)


def test_evaluate_options(digits_run, capsys):
    model = digits_run / "model.safetensors"
    plain, _ = result(capsys, digits_run)
    assert result(capsys, model)[0] == plain
    assert result(capsys, model, "--batch-size", "7", "--device", "cpu")[0] == plain
    more, _ = result(capsys, model, "--metrics", "accuracy,top3", "--data", "digits")
    assert more["accuracy"] == plain["accuracy"] <= more["top3"]


def test_evaluate_own_file(capsys):
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = np.where(x[:, 0] > 0, "up", "down")
    np.savez("train.npz", x=x, y=y)
    np.savez("new.npz", x=x[y == "up"][:20], y=y[y == "up"][:20])
    np.savez("three.npz", x=x, y=np.where(x[:, 1] > 0, "left", y))
    train("--data", "train.npz", "--epochs", "60", "--dropout", "0")
    capsys.readouterr()
    assert result(capsys, "run")[1] == 12
    assert result(capsys, "run", "--data", "train.npz")[1] == 12
    found, samples = result(capsys, "run", "--data", "train.npz", "--part", "all")
    assert samples == 60
    assert found["accuracy"] > 0.9
    # One class only: its label is 0 in its file, and 1 for the network.
    found, samples = result(capsys, "run", "--data", "new.npz", "--part", "all")
    assert samples == 20
    assert found["accuracy"] > 0.9
    assert "unknown class 'left'" in fails(capsys, "evaluate", "run", "--data", "three.npz")


def test_evaluate_other_task(digits_run, capsys):
    message = fails(capsys, "evaluate", str(digits_run), "--data", "diabetes")
    assert message == "diabetes is a regression, the network is for a classification"


def test_evaluate_csv(capsys):
    table = "a,b,price\n" + "".join(f"{i},{i % 7},{2.5 * i}\n" for i in range(50))
    Path("prices.csv").write_text(table)
    train("--data", "prices.csv", "--target", "price", "--epochs", "60")
    assert result(capsys, "run")[1] == 10
    Path("more.csv").write_text(table)
    found, samples = result(capsys, "run", "--data", "more.csv", "--target", "price")
    assert samples == 50
    assert found["r2"] > 0.5


def test_evaluate_model_that_says_nothing_of_its_data(capsys):
    network = xpnn.Sequential([xpnn.Linear(4, 3)], xpnn.SoftmaxCrossEntropy(), lr=1, seed=0)
    xpnn.checkpoint.save(network, "model")
    assert "--data" in fails(capsys, "evaluate", "model")
    assert result(capsys, "model", "--data", "iris")[1] == 30


def test_damaged_model(digits_run, capsys):
    content = bytearray((digits_run / "model.safetensors").read_bytes())
    content[-5] ^= 1
    Path("damaged").write_bytes(content)
    assert fails(capsys, "evaluate", "damaged").startswith("damaged: damaged: tensor")
    message = fails(capsys, "predict", "damaged", "--data", "digits")
    assert message.startswith("damaged: damaged: tensor")


# ---------------------------------------------------------------- predict


def predictions(text):
    return list(csv.DictReader(text.splitlines()))


def test_predict_to_standard_output(digits_run, capsys):
    assert main(["predict", str(digits_run), "--data", "digits"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    table = predictions(captured.out)
    model = xpnn.checkpoint.load(digits_run / "model.safetensors")
    x = load_data("digits").x_test
    assert [row["prediction"] for row in table] == model.predict(x).tolist()
    expected = model.probabilities(x).max(axis=1)
    np.testing.assert_allclose([float(row["probability"]) for row in table], expected, rtol=1e-5)


def test_predict_probabilities(digits_run, capsys):
    assert main(["predict", str(digits_run), "--data", "digits", "--probabilities"]) == 0
    table = predictions(capsys.readouterr().out)
    every = np.asarray([[float(row[f"p({k})"]) for k in range(10)] for row in table])
    np.testing.assert_allclose(every.sum(axis=1), 1, rtol=1e-4)
    assert [row["prediction"] for row in table] == [str(k) for k in every.argmax(axis=1)]


@pytest.mark.parametrize("backend", ["numpy", "torch", "array_api_strict"])
def test_predict_files(backend, digits_run):
    pytest.importorskip(backend)
    x = load_data("digits").x_test[:20]
    np.save("x.npy", x)
    np.savez("both.npz", x=x, y=np.zeros(20))
    np.savetxt("x.csv", x, delimiter=",")
    model = xpnn.checkpoint.load(digits_run / "model.safetensors")
    expected = model.predict(x)
    for name in ("x.npy", "both.npz", "x.csv"):
        options = [str(digits_run), "--data", name, "--backend", backend, "--batch-size", "6"]
        assert main(["predict", *options, "--out", "p.npy"]) == 0
        np.testing.assert_array_equal(np.load("p.npy"), expected)
        assert main(["predict", *options, "--out", "p.csv"]) == 0
        table = predictions(Path("p.csv").read_text())
        assert [row["prediction"] for row in table] == expected.tolist()
    assert main(["predict", *options, "--out", "p.npy", "--probabilities"]) == 0
    np.testing.assert_allclose(np.load("p.npy"), model.probabilities(x), rtol=1e-4, atol=1e-6)


def test_predict_finds_columns_by_their_names(capsys):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(80, 2))
    lines = [f'{a},{b},"{"yes, sir" if a > b else "no"}"' for a, b in x]
    Path("train.csv").write_text("\n".join(["left,right,answer", *lines]))
    train("--data", "train.csv", "--target", "answer", "--epochs", "60", "--dropout", "0")
    capsys.readouterr()
    lines = [f"id{i};{b};{a}" for i, (a, b) in enumerate(x)]
    Path("new.csv").write_text("\n".join(["id;right;left", *lines]))
    assert main(["predict", "run", "--data", "new.csv", "--out", "p.csv"]) == 0
    expected = ["yes, sir" if a > b else "no" for a, b in x]
    found = [row["prediction"] for row in predictions(Path("p.csv").read_text())]
    assert np.mean([one == two for one, two in zip(found, expected, strict=True)]) > 0.9
    Path("no-header.csv").write_text("\n".join(f"{a},{b}" for a, b in x))
    assert main(["predict", "run", "--data", "no-header.csv", "--out", "q.csv"]) == 0
    assert Path("q.csv").read_text() == Path("p.csv").read_text()
    for text, message in [
        ("id,left,rigth\n1,2,3", "feature 'right' of the training data: unknown column 'right': "),
        ("left,left,right\n1,2,3", "feature 'left' of the training data: two of them"),
        ("left,right\n1,2,3", "bad.csv: line 2: 3 cells; expected 2"),
        ("left,right\n1,x", "bad.csv: line 2: column 1 (right) has 'x', not a number"),
        ("1,2,3", "a sample has shape (3,), the network wants (2,)"),
        ("", "bad.csv: empty"),
        ("left,right\n1,nan", "nan"),
        ('left,right\n"1,2', "bad.csv: not a table"),
    ]:
        Path("bad.csv").write_text(text)
        assert message in fails(capsys, "predict", "run", "--data", "bad.csv")


def test_predict_regression(capsys):
    train("--data", "diabetes", "--epochs", "10")
    assert main(["predict", "run", "--data", "diabetes"]) == 0
    table = predictions(capsys.readouterr().out.split("run run\n")[1])
    values = np.asarray([float(row["prediction"]) for row in table])
    assert values.shape == (88,)
    assert 50 < values.mean() < 250, "in the unit of the target"
    assert main(["predict", "run", "--data", "diabetes", "--out", "p.npy"]) == 0
    np.testing.assert_allclose(np.load("p.npy"), values)
    assert "regression" in fails(capsys, "predict", "run", "--data", "diabetes", "--probabilities")


def test_predict_two_targets():
    x = np.random.default_rng(0).normal(size=(50, 3))
    np.savez("two.npz", x=x, y=x[:, :2] * 3.0)
    train("--data", "two.npz")
    assert main(["predict", "run", "--data", "two.npz", "--out", "p.csv"]) == 0
    assert list(predictions(Path("p.csv").read_text())[0]) == ["prediction 0", "prediction 1"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.npy", "missing.npy: No such file"),
        ("digit", "expected a file .npy, .npz, .csv or the name of a data set, got 'digit'"),
        ("garbage.npy", "garbage.npy: cannot be read"),
        ("object.npy", "object.npy: cannot be read"),
        ("other.npz", "other.npz: expected an array x, found z"),
        ("wrong.npy", "a sample has shape (3,), the network wants (64,)"),
        ("text.npy", "dtype"),
        ("nan.npy", "nan"),
        ("wine", "a sample has shape (13,), the network wants (64,)"),
    ],
)
def test_predict_bad_data(name, message, digits_run, capsys):
    Path("garbage.npy").write_bytes(b"garbage")
    np.save("object.npy", np.asarray([{}], dtype=object), allow_pickle=True)
    np.savez("other.npz", z=np.zeros(3))
    np.save("wrong.npy", np.zeros((2, 3)))
    np.save("text.npy", np.full((2, 64), "x"))
    np.save("nan.npy", np.full((2, 64), np.nan))
    assert message in fails(capsys, "predict", str(digits_run), "--data", name)
    assert message in fails(capsys, "predict", str(digits_run), "--data", name, "--out", "kept.csv")
    assert not Path("kept.csv").exists()


def test_predict_in_a_data_folder(digits_run):
    Path("folder").mkdir()
    np.save("folder/x.npy", np.zeros((2, 64)))
    options = ["--data", "x.npy", "--data-dir", "folder", "--out", "p.npy"]
    assert main(["predict", str(digits_run), *options]) == 0
    assert np.load("p.npy").shape == (2,)


def test_predict_to_a_place_that_cannot_be_written(digits_run, capsys):
    message = fails(
        capsys, "predict", str(digits_run), "--data", "digits", "--out", "missing/p.csv"
    )
    assert message == "missing/p.csv: cannot be written: No such file or directory"


# ---------------------------------------------------------------- info, help, start


def test_info(capsys, monkeypatch):
    monkeypatch.setenv("XPNN_DEVICE", "cuda:7")
    assert main(["info"]) == 0
    assert os.environ["XPNN_DEVICE"] == "cuda:7"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"xpnn {xpnn.__version__}, Python 3.")
    assert lines[1] == "XPNN_DEVICE=cuda:7"
    found = {line.split()[0]: line for line in lines if line.startswith("  ")}
    for name in xpnn.backend.__globals__["BACKENDS"]:
        if _installed(name) and name not in ("cupy", "dpnp"):
            assert re.search(r" works: version \S+, cpu", found[name])
        elif not _installed(name):
            assert " no: back end" in found[name]
            assert "pip install" in found[name]
    assert re.search(r"\d", found["numba"])
    assert re.search(r"thread", lines[lines.index("threads") + 1])


def test_info_of_a_broken_library(capsys, monkeypatch):
    def broken(name):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("xpnn.cli._info.open_backend", broken)
    assert main(["info"]) == 0
    assert (
        "  torch             no: RuntimeError: first line second line\n" in capsys.readouterr().out
    )


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["predict"], ["info"]])
def test_help(command, capsys):
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: xpnn {' '.join(command)}".strip())
    if command == ["train"]:
        for option in (*OPTIONS, "--l2", "--lr", "--optimizer", "--schedule", "--out", "--quiet"):
            assert option in text


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"xpnn {xpnn.__version__}\n"


def test_module_is_the_command():
    command = [sys.executable, "-m", "xpnn", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"xpnn {xpnn.__version__}\n"
    command = [sys.executable, "-m", "xpnn", "trian"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("xpnn: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["train", "--epochs", "x"]])
def test_start_is_light(arguments):
    code = (
        "import sys; from xpnn.cli import main; main(); "
        "print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    code, _, errors = run(*arguments, code=code)
    assert set(errors.splitlines()[-1].split()) & HEAVY == set()


def test_curve():
    history = History()
    for epoch, loss in enumerate([1.0, 0.1, 0.01], start=1):
        history.append({"epoch": epoch, "loss": loss, "val_loss": 0.1})
    lines = text_curve(history).splitlines()
    assert lines[0] == "       1 |*"
    assert lines[9] == "    0.01 |" + " " * 59 + "*"
    assert [line.count("o") for line in lines[:10]] in (
        [0] * 4 + [3] + [0] * 5,
        [0] * 5 + [3] + [0] * 4,
    )
    assert lines[11].split() == ["epoch", "1", "3"]
    assert max(map(len, lines)) <= 80
    single = History()
    single.append({"epoch": 1, "loss": 0.5})
    assert "0.5" in text_curve(single)
    negative = History()
    negative.append({"epoch": 1, "loss": -1.0})
    assert text_curve(negative) == ""


def test_curve_without_matplotlib(monkeypatch):
    monkeypatch.setattr("xpnn.cli._curves.find_spec", lambda name: None)
    folder = train("--data", "iris")
    assert not (folder / "curves.png").exists()


def test_curve_that_cannot_be_drawn(monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("no fonts")

    monkeypatch.setattr("xpnn.cli._curves._draw", fail)
    train("--data", "iris")
    assert "no picture: no fonts" in capsys.readouterr().err


def test_main_takes_the_arguments_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["xpnn", "--version"])
    assert main() == 0


@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 5 TiB"), MemoryError()])
def test_out_of_memory(error, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr("xpnn.cli._train.prepare", fail)
    assert fails(capsys, "train").startswith("out of memory: ")


def test_resolve_raises_for_programs():
    with pytest.raises(ConfigurationError, match="--epochs"):
        configuration("--epochs", "0")
