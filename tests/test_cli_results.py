"""`xpnn evaluate` and `xpnn predict`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import xpnn
from command import fails, result, train
from xpnn import fusion
from xpnn.cli import main
from xpnn.data import load as load_data

pytestmark = pytest.mark.usefixtures("in_temporary_folder")

# ---------------------------------------------------------------- evaluate


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


def test_all_commands_take_a_number_of_threads(digits_run, capsys):
    before = fusion.num_threads()
    if before is None:
        pytest.skip("this NumPy has no OpenBLAS of its own")
    np.save("x.npy", load_data("digits").x_test[:3])
    Path("file.toml").write_text("[training]\nthreads = 4")
    try:
        train("--threads", "3")
        assert fusion.num_threads() == 3
        train("file.toml", out="second")
        assert fusion.num_threads() == 4
        assert result(capsys, digits_run, "--threads", "2")[1] == 359
        assert fusion.num_threads() == 2
        assert main(["predict", str(digits_run), "--data", "x.npy", "--threads", "1"]) == 0
        assert fusion.num_threads() == 1
    finally:
        fusion.set_num_threads(before)
    assert "threads = 3" in Path("run/config.toml").read_text()


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


def test_predict_rows_and_images_alike(digits_run):
    """A network of fully connected layers takes samples of any shape."""
    x = np.random.default_rng(0).uniform(size=(3, 8, 8))
    found = []
    for shape in [(3, 64), (3, 8, 8), (3, 1, 8, 8), (3, 8, 8, 1)]:
        np.save("x.npy", x.reshape(shape))
        options = ["--data", "x.npy", "--out", "p.csv"]
        assert main(["predict", str(digits_run), *options]) == 0
        found.append(Path("p.csv").read_text())
    assert found == found[:1] * 4


@pytest.mark.parametrize(
    ("expected", "given"),
    [((4, 6), (6, 4)), ((16, 1), (4, 4)), ((1, 16), (4, 4)), ((3, 1), (1, 3))],
)
def test_predict_refuses_other_axes(expected, given, capsys):
    np.savez("samples.npz", x=np.zeros((20, *expected)), y=np.arange(20) % 2)
    train("--data", "samples.npz")
    capsys.readouterr()
    np.save("turned.npy", np.zeros((2, *given)))
    text = fails(capsys, "predict", "run", "--data", "turned.npy")
    assert f"a sample has shape {given}, the network wants {expected}" in text


def test_predict_refuses_a_single_number(capsys):
    np.savez("column.npz", x=np.linspace(-1.0, 1.0, 20)[:, None], y=np.arange(20) % 2)
    train("--data", "column.npz")
    capsys.readouterr()
    np.save("single.npy", np.asarray(0.5))
    text = fails(capsys, "predict", "run", "--data", "single.npy")
    assert "a sample has shape (), the network wants (1,)" in text


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
