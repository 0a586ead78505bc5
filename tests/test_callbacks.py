"""What happens around the steps: early stopping, logs, progress, and callbacks of one's own."""

from __future__ import annotations

import csv
import math
import re
import sys
import types

import numpy as np
import pytest

import xpnn
from conftest import PRESENT
from nets import blobs, classifier, snapshot, values
from xpnn import (
    Callback,
    ConfigurationError,
    CSVLog,
    DataError,
    DivergenceError,
    EarlyStopping,
    History,
    Progress,
    fit,
    predict,
)

X, Y = blobs()


@pytest.fixture(
    params=[b for b in PRESENT if b.name in ("numpy", "array_api_strict-device1", "torch", "jax")],
    ids=str,
)
def library(request):
    """One back end of each library."""
    with request.param.scope():
        yield request.param


class Script(Callback):
    """Puts given numbers in the place of the validation loss, and keeps each epoch's weights."""

    def __init__(self, *losses, column="val_loss"):
        self.losses, self.column, self.seen = losses, column, []

    def on_epoch_end(self, run, row):
        row[self.column] = self.losses[len(run.history) - 1]
        kept = snapshot(run.network)
        self.seen.append({k: v for k, v in kept.items() if k.startswith(("value", "buffer"))})


def assert_restored(net, script, epoch):
    """The weights and the running averages are those of an epoch, counted from 1."""
    found = snapshot(net)
    for name, value in script.seen[epoch - 1].items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def stopped(*losses, net=None, epochs=None, callbacks=(), **arguments):
    """Train with early stopping on scripted losses."""
    net = net or classifier()
    script = Script(*losses)
    stopping = EarlyStopping(**arguments)
    history = fit(
        net,
        (X, Y),
        epochs or len(losses),
        8,
        validation=(X[:8], Y[:8]),
        callbacks=[script, stopping, *callbacks],
    )
    return net, script, history


# Early stopping


def test_it_stops_after_too_many_epochs_without_improvement(library):
    losses = (3.0, 2.0, 2.5, 2.0, 2.4, 1.0)
    net, script, history = stopped(*losses, net=classifier(library.plain), patience=3)
    assert history["val_loss"] == [3.0, 2.0, 2.5, 2.0, 2.4]
    assert (history.stop_reason, history.best_epoch) == ("early stopping", 2)
    assert_restored(net, script, 2)
    assert len(script.seen) == 5


@pytest.mark.parametrize(
    ("losses", "patience", "epochs", "best"),
    [
        ((1.0, 2.0, 3.0), 1, 2, 1),
        ((3.0, 2.0, 1.0), 1, 3, 3),
        ((3.0, 2.0, 1.0, 2.0), 5, 4, 3),
        ((1.0, 1.0, 1.0), 2, 3, 1),
        ((math.nan, 2.0, 3.0), 2, 3, 2),
        ((2.0, math.nan, 1.0, math.inf), 2, 4, 3),
        ((1.0,), 1, 1, 1),
    ],
)
def test_the_best_weights_are_restored(losses, patience, epochs, best):
    net, script, history = stopped(*losses, patience=patience)
    assert len(history) == epochs
    assert history.best_epoch == best
    assert_restored(net, script, best)


def test_reaching_the_last_epoch_restores_too():
    net, script, history = stopped(2.0, 1.0, 3.0, patience=10)
    assert (history.stop_reason, history.best_epoch) == ("finished", 2)
    assert_restored(net, script, 2)


def test_min_delta_is_what_counts_as_an_improvement():
    net, script, history = stopped(2.0, 1.95, 1.89, 1.85, 1.85, patience=2, min_delta=0.1)
    assert history.best_epoch == 3
    assert len(history) == 5
    assert_restored(net, script, 3)


@pytest.mark.parametrize(
    ("monitor", "mode", "best"),
    [
        ("val_loss", None, 2),
        ("loss", None, 2),
        ("val_accuracy", None, 3),
        ("accuracy", "max", 3),
        ("val_loss", "max", 3),
        ("val_accuracy", "min", 2),
    ],
)
def test_monitors_and_modes(monitor, mode, best):
    net, script = classifier(), Script(2.0, 1.0, 3.0, column=monitor)
    stopping = EarlyStopping(monitor, mode=mode)
    history = fit(
        net,
        (X, Y),
        3,
        8,
        validation=(X, Y),
        metrics=["accuracy"],
        callbacks=[script, stopping],
    )
    assert history.best_epoch == best
    assert_restored(net, script, best)


@pytest.mark.parametrize("monitor", ["mae", "val_rmse"])
def test_errors_are_better_when_smaller(monitor):
    assert EarlyStopping(monitor).sign == 1.0
    assert EarlyStopping("val_r2").sign == -1.0


class Raise(Callback):
    """Ends a training by an exception in some epoch."""

    def __init__(self, error, epoch):
        self.error, self.epoch = error, epoch

    def on_batch_end(self, run, loss):
        if len(run.history) + 1 == self.epoch:
            raise self.error


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RuntimeError("broken"), DataError("the disk is full")], ids=repr
)
def test_an_exception_restores_too(error, library):
    net = classifier(library.plain)
    script = Script(2.0, 1.0, 3.0, 4.0)
    with pytest.raises(type(error)):
        fit(
            net,
            (X, Y),
            4,
            8,
            validation=(X[:8], Y[:8]),
            callbacks=[script, EarlyStopping(), Raise(error, 4)],
        )
    assert_restored(net, script, 2)


def test_divergence_restores_too(library):
    net = classifier(library.plain)
    script = Script(2.0, 1.0, 3.0, 4.0)

    class Explode(Callback):
        def on_epoch_end(self, run, row):
            if len(run.history) == 3:
                W = net.layers[4].params["W"]
                net.layers[4].params["W"] = W + math.inf

    with pytest.raises(DivergenceError) as error:
        fit(
            net,
            (X, Y),
            4,
            8,
            validation=(X[:8], Y[:8]),
            callbacks=[script, EarlyStopping(), Explode()],
        )
    assert error.value.history.best_epoch == 2
    assert_restored(net, script, 2)
    assert np.isfinite(predict(net, X)).all()


def test_another_callbacks_stop_restores_too():
    class Stop(Callback):
        def on_batch_end(self, run, loss):
            if len(run.history) == 3:
                run.stop("enough")
                run.stop("more than enough")

    net, script, history = stopped(2.0, 1.0, 3.0, 0.0, callbacks=[Stop()])
    assert (history.stop_reason, len(history)) == ("enough", 3)
    assert_restored(net, script, 2)


def test_an_interruption_before_the_first_epoch_is_over_leaves_the_weights():
    net = classifier()

    class Stop(Callback):
        def on_batch_end(self, run, loss):
            run.stop("enough")

    before = values(net)
    history = fit(net, (X, Y), 2, 8, validation=(X, Y), callbacks=[EarlyStopping(), Stop()])
    assert (len(history), history.best_epoch, history.columns) == (0, None, [])
    assert (values(net) != before).any()
    assert net.steps == 1


def test_one_callback_serves_two_trainings():
    stopping = EarlyStopping(patience=2)
    for _ in range(2):
        net, script = classifier(), Script(2.0, 1.0, 3.0, 4.0, 5.0)
        history = fit(net, (X, Y), 5, 8, validation=(X, Y), callbacks=[script, stopping])
        assert len(history) == 4
        assert_restored(net, script, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patience": 0}, "EarlyStopping: patience"),
        ({"patience": -1}, "EarlyStopping: patience"),
        ({"patience": 1.5}, "EarlyStopping: patience"),
        ({"patience": True}, "EarlyStopping: patience"),
        ({"min_delta": -0.1}, "EarlyStopping: min_delta"),
        ({"min_delta": math.nan}, "EarlyStopping: min_delta"),
        ({"mode": "maximum"}, "unknown EarlyStopping mode 'maximum'.*Known: max, min"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        EarlyStopping(**arguments)


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ("val_loss", "unknown column 'val_loss'.*; give validation data$"),
        ("acuracy", "unknown column 'acuracy': did you mean 'accuracy'.*Known: accuracy, loss$"),
    ],
)
def test_a_column_that_will_not_be_there_is_an_error_before_the_training(monitor, message):
    net = classifier()
    with pytest.raises(ConfigurationError, match=message):
        fit(net, (X, Y), 1, metrics=["accuracy"], callbacks=[EarlyStopping(monitor)])
    assert net.steps == 0


# Callbacks of one's own


class Diary(Callback):
    """Writes down what happens."""

    def __init__(self):
        self.lines = []

    def on_train_begin(self, run):
        self.lines.append(f"begin {run.epochs} {run.steps_per_epoch} {run.columns}")

    def on_epoch_begin(self, run):
        self.lines.append("epoch")

    def on_batch_end(self, run, loss):
        self.lines.append("batch")
        assert np.ndim(run.network.backend.to_host(loss)) == 0

    def on_epoch_end(self, run, row):
        assert row is run.history[-1]
        self.lines.append("row")

    def on_train_end(self, run):
        self.lines.append(f"end {run.stop_reason} {run.history.stop_reason}")


def test_the_moments_of_a_training(library):
    diary = Diary()
    fit(classifier(library.plain), (X, Y), 2, 8, callbacks=[diary])
    assert diary.lines == [
        "begin 2 3 ('loss',)",
        *["epoch", "batch", "batch", "batch", "row"] * 2,
        "end finished finished",
    ]


def test_the_number_of_batches_of_an_iterable():
    batches = [(X, Y)] * 3
    for data, steps, length in (
        (batches, None, 3),
        (iter(batches), None, 3),
        ((batch for batch in batches), None, None),
        ((batch for batch in batches), 2, 2),
    ):
        diary = Diary()
        fit(classifier(), data, 1, steps_per_epoch=steps, callbacks=[diary])
        assert diary.lines[0] == f"begin 1 {length} ('loss',)"


def test_a_callback_that_fails_at_the_beginning_ends_those_that_have_begun():
    class Broken(Callback):
        def on_train_begin(self, run):
            raise RuntimeError("broken")

        def on_train_end(self, run):
            pytest.fail("it had not begun")

    diary = Diary()
    net = classifier()
    with pytest.raises(RuntimeError, match="broken"):
        fit(net, (X, Y), 2, 8, callbacks=[diary, Broken()])
    assert [line.split()[0] for line in diary.lines] == ["begin", "end"]
    assert net.steps == 0


def test_a_base_callback_does_nothing():
    plain, with_it = classifier(), classifier()
    fit(plain, (X, Y), 1, 8)
    fit(with_it, (X, Y), 1, 8, callbacks=[Callback()])
    np.testing.assert_array_equal(values(plain), values(with_it))


# The log


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_log_holds_the_history(tmp_path):
    path = tmp_path / "log.csv"
    net = classifier()
    history = fit(
        net, (X, Y), 3, 8, validation=(X, Y), metrics=["accuracy"], callbacks=[CSVLog(path)]
    )
    head, *rows = rows_of(path)
    assert head == history.columns
    assert [[float(value) for value in row] for row in rows] == [list(r.values()) for r in history]


def test_the_log_is_there_after_each_epoch_and_when_the_training_breaks_off(tmp_path):
    path = tmp_path / "log.csv"
    lengths = []

    class Look(Callback):
        def on_epoch_end(self, run, row):
            lengths.append(len(rows_of(path)))

    log = CSVLog(str(path))
    with pytest.raises(RuntimeError):
        fit(
            classifier(),
            (X, Y),
            3,
            8,
            callbacks=[log, Look(), Raise(RuntimeError(), 3)],
        )
    assert lengths == [2, 3]
    fit(classifier(), (X, Y), 1, 8, callbacks=[log])
    assert len(rows_of(path)) == 2


def test_a_log_that_cannot_be_written_is_an_error_before_the_training(tmp_path):
    net = classifier()
    with pytest.raises(OSError, match="nowhere"):
        fit(net, (X, Y), 1, callbacks=[CSVLog(tmp_path / "nowhere" / "log.csv")])
    assert net.steps == 0


# Progress


@pytest.fixture
def terminal(monkeypatch):
    """Standard error is a terminal or not, by the fixture's argument."""

    def be(answer):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: answer, raising=False)

    return be


@pytest.fixture
def bars(monkeypatch):
    """A library that stands for tqdm, and the bars that it has drawn."""
    drawn = []

    class Bar:
        def __init__(self, total, desc, unit, leave):
            self.total, self.desc, self.count, self.closed = total, desc, 0, False
            drawn.append(self)

        def update(self):
            self.count += 1

        def close(self):
            self.closed = True

    monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(tqdm=Bar))
    return drawn


LINE = r"epoch {}/2  loss \d+\.\d{{4}}  accuracy \d\.\d{{4}}  val_loss \d+\.\d{{4}}  "
LINE += r"val_accuracy \d\.\d{{4}}  \d+\.\d s"


def train_with_progress(**more):
    arguments = {"validation": (X, Y), "metrics": ["accuracy"]} | more
    return fit(classifier(), (X, Y), 2, 8, **arguments)


def test_a_plain_line_per_epoch_without_a_terminal(capsys, terminal, bars):
    terminal(False)
    train_with_progress()
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(LINE.format(i + 1), line) for i, line in enumerate(lines)), err
    assert bars == []


@pytest.mark.parametrize("there", [False, True])
def test_nothing_on_request(there, capsys, terminal, bars):
    terminal(there)
    train_with_progress(progress=False)
    assert capsys.readouterr() == ("", "")
    assert bars == []


def test_a_bar_on_a_terminal(capsys, terminal, bars):
    terminal(True)
    train_with_progress()
    assert [(bar.desc, bar.total, bar.count, bar.closed) for bar in bars] == [
        ("epoch 1/2", 3, 3, True),
        ("epoch 2/2", 3, 3, True),
    ]
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_lines_on_a_terminal_without_tqdm(capsys, terminal, monkeypatch):
    terminal(True)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    train_with_progress()
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_it_says_why_a_training_ended_early(capsys, terminal, bars):
    terminal(True)

    class Stop(Callback):
        def on_batch_end(self, run, loss):
            if run.network.steps == 4:
                run.stop("enough")

    train_with_progress(callbacks=[Stop()])
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "stopped: enough"
    assert len(lines) == 2
    assert all(bar.closed for bar in bars)


def test_an_exception_closes_the_bar_and_speaks_for_itself(capsys, terminal, bars):
    terminal(True)
    with pytest.raises(RuntimeError):
        train_with_progress(callbacks=[Raise(RuntimeError(), 2)])
    assert all(bar.closed for bar in bars)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_lines_can_go_elsewhere(capsys):
    lines = []
    fit(classifier(), (X, Y), 2, 8, callbacks=[Progress(lines.append)])
    assert capsys.readouterr() == ("", "")
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]


def test_real_tqdm_draws_a_bar(capsys, terminal):
    pytest.importorskip("tqdm")
    terminal(True)
    train_with_progress()
    err = capsys.readouterr().err
    assert "epoch 2/2" in err
    assert "batch" in err


# The history


def test_the_history_is_a_table():
    history = History()
    assert (len(history), history.columns, list(history)) == (0, [], [])
    history.append({"epoch": 1, "loss": 0.5})
    history.append({"epoch": 2, "loss": 0.25})
    assert history["loss"] == [0.5, 0.25]
    assert history[0] == {"epoch": 1, "loss": 0.5}
    assert history[-1]["epoch"] == 2
    assert [row["epoch"] for row in history] == [1, 2]
    assert history.columns == ["epoch", "loss"]
    with pytest.raises(KeyError):
        history["accuracy"]
    with pytest.raises(IndexError):
        history[2]
    assert repr(history) == "History(2 epochs, None)"


def test_the_history_of_a_training_is_no_part_of_the_network():
    net = classifier()
    first = fit(net, (X, Y), 1, 8)
    second = fit(net, (X, Y), 1, 8)
    assert (first["epoch"], second["epoch"]) == ([1], [2])
    assert isinstance(first, xpnn.History)
