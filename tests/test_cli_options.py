"""Options and configuration files: what they set, and what is refused with exit code 2."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import numpy as np
import pytest

import xpnn
from command import SMALL, configuration, fails, rows, train
from xpnn.cli import _settings, main
from xpnn.cli._toml import write_toml

pytestmark = pytest.mark.usefixtures("in_temporary_folder")

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
    "--threads": ("2", ("training", "threads"), 2),
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
    (["train", "--threads", "0"], "--threads: expected an integer of at least 1, got 0"),
    (["evaluate", "x", "--threads", "all"], "--threads: expected an integer of at least 1, got"),
    (["predict", "x", "--data", "y.npy", "--threads", "-1"], "--threads: expected an integer"),
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
    (["train", "--data", "missing.csv", "--target", "0"], "missing.csv: No such file"),
    (["train", "--data", "missing.csv"], "missing.csv: No such file"),
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
    ("[training]\nthreads = 0", "file.toml: training.threads: expected an integer of at least 1"),
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


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["predict"], ["info"]])
def test_help(command, capsys):
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: xpnn {' '.join(command)}".strip())
    if command == ["train"]:
        for option in (*OPTIONS, "--l2", "--lr", "--optimizer", "--schedule", "--out", "--quiet"):
            assert option in text
