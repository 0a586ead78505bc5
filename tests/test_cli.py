"""`xpnn`: training, exit codes, going on, broken streams, help."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import xpnn
from command import (
    ROOT,
    SMALL,
    configuration,
    fails,
    own_table,
    process,
    result,
    rows,
    run,
    train,
    without_notes,
)
from xpnn.cli import _settings, main
from xpnn.cli._curves import text_curve
from xpnn.data import load as load_data
from xpnn.errors import ConfigurationError
from xpnn.history import History

pytestmark = pytest.mark.usefixtures("in_temporary_folder")

HEAVY = {"cupy", "dpnp", "jax", "matplotlib", "numba", "safetensors", "sklearn", "torch", "tqdm"}

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
    table = own_table()
    with process("train", "--data", table, "--epochs", "1000000", "--out", "run", *options) as it:
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
    options = ["--data", own_table(), "--epochs", "1000000", "--out", "run"]
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
    options = [*SMALL, "--data", own_table(), "--out", "run"]
    code, _, errors = run("train", *options, stdout=closed_pipe)
    assert code == 0
    assert "Exception" not in errors
    assert Path("run/results.json").exists()


@pytest.mark.slow
def test_reader_of_predictions_went_away(closed_pipe, digits_run):
    np.save("digits.npy", load_data("digits").x_test)
    code, _, errors = run("predict", str(digits_run), "--data", "digits.npy", stdout=closed_pipe)
    assert code == 141
    assert errors == ""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_output_to_a_full_disk(digits_run):
    np.save("digits.npy", load_data("digits").x_test)
    options = [*SMALL, "--data", own_table(), "--quiet", "--out", "run"]
    with open("/dev/full", "w") as full:
        code, _, errors = run("predict", str(digits_run), "--data", "digits.npy", stdout=full)
        assert (code, errors) == (2, "xpnn: No space left on device\n")
        code, _, errors = run("train", *options, stdout=full)
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
    assert run("train", *SMALL, "--data", own_table(), "--out", "run", code=code)[0] == 0
    assert Path("run/model.safetensors").exists()


@pytest.mark.slow
def test_terminal_without_the_letters(monkeypatch):
    """A name that the terminal cannot show is no reason to fail."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    options = [*SMALL, "--data", own_table("ü.npz"), "--out", "ü"]
    command = [sys.executable, "-m", "xpnn", "train", *options]
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
    options = [*SMALL, "--data", own_table(), "--out", "run"]
    command = [sys.executable, "-m", "xpnn", "train", *options]
    done = subprocess.run(
        command, stderr=terminal, stdout=subprocess.PIPE, env=environment, check=False
    )
    os.close(terminal)
    shown = os.read(control, 100_000).decode()
    os.close(control)
    assert done.returncode == 0
    assert "epoch 1/2:" in shown
    assert "batch/s" in shown or "?batch" in shown


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
        if importlib.util.find_spec(name) is not None and name not in ("cupy", "dpnp"):
            assert re.search(r" works: version \S+, cpu", found[name])
        elif importlib.util.find_spec(name) is None:
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
