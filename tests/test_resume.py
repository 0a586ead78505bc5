"""Checkpoints: a training that is resumed ends with the bits of one that was never interrupted."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import xpnn
from nets import assert_same, blobs, classifier, snapshot
from xpnn import (
    Adam,
    Callback,
    Checkpoint,
    CheckpointError,
    ConfigurationError,
    DivergenceError,
    EarlyStopping,
    LinearWarmup,
    OneCycle,
    ReduceOnPlateau,
    fit,
)
from xpnn.checkpoint import read_training, write_training
from xpnn.training import Terminated
from xpnn.training._rows import pack, unpack

ROOT = Path(__file__).parents[1]
X, Y = blobs(30)
WEIGHT = np.linspace(0.5, 1.5, 30)
HELD_OUT = blobs(12, seed=1)


def plateau():
    return ReduceOnPlateau(0.02, factor=0.5, patience=0)


SCHEDULES = {
    "constant": lambda: 1e-2,
    "one-cycle": lambda: OneCycle(0.02),
    "plateau": plateau,
    "warmed up": lambda: LinearWarmup(plateau(), 4),
}


def train(backend=None, schedule="constant", seed=0, epochs=4, net=None, x=X, **more):
    """Everything at once: shuffling, BatchNorm, dropout, Adam, weights, early stopping, metrics."""
    if net is None:
        net = classifier(backend, seed=seed, optimizer=Adam(SCHEDULES[schedule]()))
    arguments = {
        "batch_size": 8,
        "validation": HELD_OUT,
        "metrics": ["accuracy"],
        "callbacks": [EarlyStopping(patience=3)],
    }
    history = fit(net, (x, Y, WEIGHT), epochs, **(arguments | more))
    return net, history


def assert_same_training(actual, expected):
    (net, history), (other, other_history) = actual, expected
    assert_same(snapshot(net), snapshot(other))
    assert (net.epochs, net.seed, net.total_steps) == (other.epochs, other.seed, other.total_steps)
    assert history.columns == other_history.columns
    for column in history.columns:
        if column != "seconds":
            assert history[column] == other_history[column], column
    assert history.stop_reason == other_history.stop_reason
    assert history.best_epoch == other_history.best_epoch


def files(folder):
    return sorted(path for path in Path(folder).iterdir() if path.name.startswith("step-"))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_from_any_step_to_the_same_bits(library, schedule, tmp_path):
    """Four steps an epoch, four epochs: a checkpoint after every step, each resumed to the end."""
    expected = train(library.plain, schedule)
    every = Checkpoint(tmp_path, keep=1000, every_steps=1)
    assert_same_training(train(library.plain, schedule, checkpoint=every), expected)
    steps = files(tmp_path)
    assert len(steps) == 4 * len(expected[1])
    quick = steps if library.name == "numpy" else [steps[0], steps[3], steps[5], steps[-1]]
    for path in quick:
        assert_same_training(train(library.plain, schedule, resume=path), expected)


def test_a_seed_that_nobody_chose_comes_from_the_checkpoint(tmp_path):
    first, history = train(seed=None, checkpoint=Checkpoint(tmp_path, every_steps=3, keep=9))
    for path in files(tmp_path):
        assert_same_training(train(seed=None, resume=path), (first, history))


def test_a_fraction_for_validation_is_set_aside_alike(tmp_path):
    more = {"validation": 0.2}
    first = train(seed=None, checkpoint=Checkpoint(tmp_path, every_steps=2, keep=99), **more)
    for path in files(tmp_path)[::2]:
        assert_same_training(train(seed=None, resume=path, **more), first)


@pytest.mark.parametrize("resident", [True, False])
def test_streamed_data_and_batches_of_others_go_on(resident, tmp_path, monkeypatch):
    monkeypatch.setattr("xpnn.data.streaming.CHUNK_BYTES", 700)
    batches = [(X[k : k + 7], Y[k : k + 7]) for k in range(0, 28, 7)]

    def run(**more):
        net = classifier()
        if resident:
            return net, fit(net, batches, 3, **more)
        return net, fit(net, (X, Y), 3, 8, resident=False, **more)

    expected = run()
    run(checkpoint=Checkpoint(tmp_path, keep=99, every_steps=1))
    for path in files(tmp_path):
        assert_same_training(run(resume=path), expected)


def test_augmented_images_go_on(tmp_path):
    def run(**more):
        net = xpnn.Sequential(
            [xpnn.Flatten(), xpnn.Linear(16, 3)], xpnn.SoftmaxCrossEntropy(), lr=0.1, seed=0
        )
        images = np.arange(30 * 16.0).reshape(30, 1, 4, 4) % 7
        return net, fit(net, (images, Y), 3, 8, augment=xpnn.RandomFlip(), **more)

    expected = run()
    run(checkpoint=Checkpoint(tmp_path, keep=99, every_steps=1))
    for path in files(tmp_path):
        assert_same_training(run(resume=path), expected)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "AdamW"])
def test_every_optimizer_goes_on(name, tmp_path):
    made = {"SGD": lambda: xpnn.SGD(0.1, momentum=0.9)}.get(name, lambda: getattr(xpnn, name)(1e-2))
    expected = train(net=classifier(optimizer=made()))
    train(net=classifier(optimizer=made()), checkpoint=Checkpoint(tmp_path, keep=9, every_steps=3))
    for path in files(tmp_path):
        assert_same_training(train(net=classifier(optimizer=made()), resume=path), expected)


class Own(xpnn.Network):
    def __init__(self):
        super().__init__(xpnn.SoftmaxCrossEntropy(), optimizer=Adam(0.01), seed=0)
        self.blocks = [xpnn.Linear(4, 6), xpnn.BatchNorm(6), xpnn.Tanh(), xpnn.Linear(6, 3)]

    def forward(self, input):
        for layer in self.blocks:
            input = layer.forward(input)
        return input

    def backward(self, dout):
        for layer in reversed(self.blocks):
            dout = layer.backward(dout)
        return dout


def test_a_network_of_ones_own_goes_on(tmp_path):
    expected = train(net=Own())
    train(net=Own(), checkpoint=Checkpoint(tmp_path, keep=99, every_steps=5))
    for path in files(tmp_path):
        assert_same_training(train(net=Own(), resume=path), expected)


class Halve(Callback):
    """A callback with a state of its own, which changes the learning rate."""

    def __init__(self):
        self.epochs = 0
        self.seen = np.zeros(2, dtype=np.float32)

    def on_epoch_end(self, run, row):
        self.epochs += 1
        self.seen = self.seen + np.float32(row["loss"])
        run.network.lr = run.network.lr / 2

    def state(self):
        return {"epochs": self.epochs, "seen": self.seen, "odd": [float("nan"), None, "text"]}

    def restore(self, run, state):
        self.epochs, self.seen = state["epochs"], state["seen"]
        assert np.isnan(state["odd"][0])


def test_callbacks_of_ones_own_go_on_and_so_does_a_rate_that_they_set(tmp_path):
    first = Halve()
    expected = train(callbacks=[first])
    train(callbacks=[Halve()], checkpoint=Checkpoint(tmp_path, keep=99, every_steps=1))
    for path in files(tmp_path)[::3]:
        again = Halve()
        assert_same_training(train(callbacks=[again], resume=path), expected)
        assert again.epochs == first.epochs
        np.testing.assert_array_equal(again.seen, first.seen)


def test_a_training_that_was_stopped_early_stays_stopped(tmp_path):
    more = {"callbacks": [EarlyStopping("accuracy", patience=1, min_delta=1.0)], "epochs": 9}
    expected = train(**more)
    assert expected[1].stop_reason == "early stopping"
    train(**more, checkpoint=tmp_path)
    more["callbacks"] = [EarlyStopping("accuracy", patience=1, min_delta=1.0)]
    assert_same_training(train(**more, resume=tmp_path), expected)


def test_a_checkpoint_of_one_library_goes_on_with_another_by_force(library, tmp_path):
    train(checkpoint=Checkpoint(tmp_path, keep=9))
    path = files(tmp_path)[1]
    if library.library != "numpy":
        with pytest.raises(ConfigurationError, match=r"network.backend: numpy, now"):
            train(library.plain, resume=path)
    _, history = train(library.plain, resume=path, force=True)
    expected = train()[1]
    assert len(history) == len(expected)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-4)


# ---------------------------------------------------------------- the folder


def test_the_last_and_the_best_stay(tmp_path):
    train(checkpoint=Checkpoint(tmp_path, keep=2, monitor="loss", mode="max"))
    losses = train()[1]["loss"]
    best = 4 * (int(np.argmax(losses)) + 1)
    assert best == 4
    names = [f"step-{steps:09d}.safetensors" for steps in (4, 12, 16)]
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "best.safetensors", "lock"])
    assert (tmp_path / "best.safetensors").samefile(tmp_path / names[0])
    model = xpnn.load(tmp_path / "best.safetensors")
    assert (model.network.steps, model.network.epochs) == (4, 1)


def test_the_best_stays_over_a_resume(tmp_path):
    arguments = {"monitor": "loss", "mode": "max", "keep": 1}
    train(checkpoint=Checkpoint(tmp_path, **arguments), epochs=2)
    train(checkpoint=Checkpoint(tmp_path, **arguments), resume=True, epochs=4, force=True)
    names = [f"step-{steps:09d}.safetensors" for steps in (4, 16)]
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "best.safetensors", "lock"])


def test_without_second_names_the_best_is_a_copy(tmp_path, monkeypatch):
    def link(*_):
        raise OSError

    monkeypatch.setattr(os, "link", link)
    train(checkpoint=Checkpoint(tmp_path, keep=9, monitor="loss", mode="max"))
    best, first = (tmp_path / "best.safetensors"), files(tmp_path)[0]
    assert best.read_bytes() == first.read_bytes()
    assert not best.samefile(first)


@pytest.mark.parametrize("left", ["nothing", "the best of before"])
def test_a_writer_that_died_before_it_named_the_best(left, tmp_path):
    """SIGKILL came between the checkpoint and its second name."""
    train(checkpoint=Checkpoint(tmp_path, keep=9))
    best = tmp_path / "best.safetensors"
    expected = best.read_bytes()
    best.unlink()
    if left != "nothing":
        other = next(path for path in files(tmp_path) if path.read_bytes() != expected)
        os.link(other, best)
    train(checkpoint=Checkpoint(tmp_path, keep=9), resume=True)
    assert best.read_bytes() == expected


def test_a_folder_goes_by_several_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = train(checkpoint="run")
    assert_same_training(train(checkpoint="run", resume=tmp_path / "run"), expected)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    assert_same_training(train(checkpoint="link", resume="run"), expected)


def test_what_cannot_be_resumed_there_is_refused_before_anything_has_changed(tmp_path):
    train(checkpoint=tmp_path / "first")
    train(checkpoint=tmp_path / "second")
    net = classifier(optimizer=Adam(1e-2))
    nonsense = Checkpoint(tmp_path / "first", monitor="nonsense")
    with pytest.raises(ConfigurationError, match="nonsense"):
        train(net=net, checkpoint=nonsense, resume=True)
    with pytest.raises(ConfigurationError, match="second: has checkpoints of a training in it"):
        train(net=net, checkpoint=tmp_path / "second", resume=tmp_path / "first")
    assert_same(snapshot(net), snapshot(classifier()))


@pytest.mark.parametrize("wrong", [None, 1, 2.5, [], np.True_])
def test_places_that_are_none(wrong, tmp_path):
    net = classifier()
    with pytest.raises(ConfigurationError, match="resume: expected a path"):
        train(net=net, checkpoint=tmp_path, resume=wrong)
    if wrong is not None:
        with pytest.raises(ConfigurationError, match="checkpoint: expected a path"):
            train(net=net, checkpoint=wrong)
    with pytest.raises(ConfigurationError, match="Checkpoint: folder: expected a path"):
        Checkpoint(wrong)
    assert net.steps == 0


@pytest.mark.parametrize("name", ["model", "report"])
def test_arguments_of_a_checkpoint_that_are_none(name, tmp_path):
    with pytest.raises(ConfigurationError, match=f"Checkpoint: {name}: expected a"):
        Checkpoint(tmp_path, **{name: 3})


def test_a_model_in_a_checkpoint(tmp_path):
    scaling = xpnn.data.Standardization().fit(X)
    model = {"standardization": scaling, "class_names": ["a", "b", "c"], "extra": {"more": 1}}
    train(checkpoint=Checkpoint(tmp_path, model=model))
    found = xpnn.load(tmp_path / "best.safetensors")
    assert found.class_names == ("a", "b", "c")
    assert found.extra == {"more": 1}
    np.testing.assert_array_equal(found.standardization.mean, scaling.mean)


def test_a_folder_with_a_training_in_it_is_not_written_to(tmp_path):
    train(checkpoint=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigurationError, match="has checkpoints of a training in it"):
        train(checkpoint=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_resume_true_begins_anew_where_there_is_nothing(tmp_path):
    expected = train()
    assert_same_training(train(checkpoint=tmp_path / "new", resume=True), expected)
    assert_same_training(train(checkpoint=tmp_path / "new", resume=True), expected)
    with pytest.raises(ConfigurationError, match="needs checkpoint"):
        train(resume=True)


def test_two_trainings_never_share_a_folder(tmp_path):
    class Second(Callback):
        def on_epoch_end(self, run, row):
            for more in ({}, {"resume": True}):
                with pytest.raises(ConfigurationError, match=rf"process {os.getpid()}|has check"):
                    train(checkpoint=tmp_path, callbacks=[], **more)

    train(checkpoint=tmp_path, callbacks=[Second()])
    train(checkpoint=tmp_path, callbacks=[], resume=True, force=True)  # it is free again


def test_what_dead_writers_left_is_swept(tmp_path):
    (tmp_path / ".xpnn-1234-abcd.tmp").write_bytes(b"half a check")
    (tmp_path / "mine.tmp").write_bytes(b"")
    train(checkpoint=tmp_path)
    assert not (tmp_path / ".xpnn-1234-abcd.tmp").exists()
    assert (tmp_path / "mine.tmp").exists()


def test_a_damaged_last_checkpoint_gives_way_to_the_one_before(tmp_path):
    expected = train()
    train(checkpoint=Checkpoint(tmp_path, keep=3))
    last = files(tmp_path)[-1]
    last.write_bytes(last.read_bytes()[:-1])
    said = []
    again = Checkpoint(tmp_path, keep=3, report=said.append)
    assert_same_training(train(checkpoint=again, resume=True), expected)
    assert len(said) == 1
    assert said[0].startswith(str(last))
    for path in files(tmp_path):
        path.write_bytes(b"")
    with (
        pytest.warns(RuntimeWarning, match="going on from the checkpoint before"),
        pytest.raises(CheckpointError),
    ):
        train(resume=tmp_path)


def test_no_checkpoint_to_resume(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        train(resume=tmp_path)
    with pytest.raises(CheckpointError, match="No such file"):
        train(resume=tmp_path / "step-000000001.safetensors")
    xpnn.save(classifier(), tmp_path / "model")
    with pytest.raises(CheckpointError, match="nothing of a training"):
        train(resume=tmp_path / "model")


# ---------------------------------------------------------------- what has changed


CHANGES = {
    "epochs": ({"epochs": 5}, "epochs: 4, now 5"),
    "batch size": ({"batch_size": 9}, "batch_size: 8, now 9"),
    "shuffling": ({"shuffle": False}, "shuffle: True, now False"),
    "metrics": ({"metrics": []}, r"metrics: \['accuracy'\], now \[\]"),
    "validation": ({"validation": None}, "validation_data: .*, now nothing"),
    "samples": ({"x": X + 1e-3}, r"data.x.digest: \w+, now \w+"),
    "type of samples": ({"x": X.astype("float32")}, "data.x.dtype: float64, now float32"),
    "seed": ({"seed": 1}, "network.seed: 0, now 1"),
    "schedule": ({"schedule": "plateau"}, "network.optimizer.lr: 0.01, now "),
    "callback": ({"callbacks": [EarlyStopping(patience=7)]}, "patience=7"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_has_changed_is_refused_with_the_list(name, tmp_path):
    train(checkpoint=tmp_path, epochs=4)
    changes, words = CHANGES[name]
    net = classifier(seed=changes.get("seed", 0), optimizer=Adam(1e-2))
    if "schedule" in changes:
        net = None
    with pytest.raises(ConfigurationError, match=words):
        train(resume=tmp_path, net=net, **changes)
    if net is not None:
        assert net.steps == 0
        assert_same(snapshot(net), snapshot(classifier(seed=changes.get("seed", 0))))


def test_the_list_names_the_layer_that_is_new(tmp_path):
    def net(*layers):
        layers = [xpnn.Linear(4, 3), *layers]
        return xpnn.Sequential(layers, xpnn.SoftmaxCrossEntropy(), lr=0.1, seed=0)

    train(net=net(), checkpoint=tmp_path)
    with pytest.raises(ConfigurationError, match=r"layers\[1\]: nothing, now .*Tanh"):
        train(net=net(xpnn.Tanh()), resume=tmp_path)


def test_where_a_function_lies_in_memory_is_no_difference(tmp_path):
    """Another process has it elsewhere."""

    class Own(xpnn.MeanSquaredError):
        def __init__(self, function):
            super().__init__()
            self.function = function

    def net():
        def same(values):
            return values

        kept.append(same)  # so that the next one lies elsewhere
        return xpnn.Sequential([xpnn.Linear(4, 1)], Own(same), lr=0.1, seed=0, fuse=False)

    kept = []
    data = X, X[:, :1]
    expected = net()
    fit(expected, data, 2, checkpoint=tmp_path)
    again = net()
    fit(again, data, 2, resume=tmp_path)
    assert_same(snapshot(again), snapshot(expected))


def test_another_type_is_refused(tmp_path):
    train(checkpoint=tmp_path)
    net = classifier(dtype="float64")
    with pytest.raises(ConfigurationError, match=r"network.dtype: float32, now float64"):
        train(net=net, resume=tmp_path)
    with pytest.raises(CheckpointError, match="float32, the network is float64"):
        train(net=net, resume=tmp_path, force=True)  # that would be another network
    assert net.steps == 0


def test_force_goes_on_for_longer(tmp_path):
    expected = train(callbacks=[], epochs=6)
    train(callbacks=[], epochs=3, checkpoint=tmp_path)
    net, history = train(callbacks=[], epochs=6, checkpoint=tmp_path, resume=True, force=True)
    assert_same(snapshot(net), snapshot(expected[0]))
    assert history["loss"] == expected[1]["loss"]


# ---------------------------------------------------------------- signals


class Send(Callback):
    def __init__(self, *signals, step=6):
        self.signals = signals
        self.step = step

    def on_batch_end(self, run, loss):
        if run.network.steps == self.step:
            for number in self.signals:
                os.kill(os.getpid(), number)


def test_ctrl_c_writes_a_checkpoint_and_the_training_goes_on_from_it(tmp_path):
    expected = train()
    _, history = train(
        checkpoint=tmp_path, callbacks=[EarlyStopping(patience=3), Send(signal.SIGINT)]
    )
    assert (history.stop_reason, len(history)) == ("interrupted", 1)
    assert xpnn.load(files(tmp_path)[-1]).network.steps == 6
    assert_same_training(train(checkpoint=tmp_path, resume=True), expected)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_request_to_end_writes_a_checkpoint_and_ends_the_program(number, code, tmp_path):
    expected = train()
    with pytest.raises(SystemExit) as caught:
        train(checkpoint=tmp_path, callbacks=[EarlyStopping(patience=3), Send(number)])
    assert isinstance(caught.value, Terminated)
    assert caught.value.code == code
    assert len(caught.value.history) == 1
    assert signal.getsignal(number) is signal.SIG_DFL
    assert_same_training(train(checkpoint=tmp_path, resume=True), expected)


def test_ctrl_c_in_the_validation(tmp_path):
    expected = train(validation=[(X, Y), HELD_OUT])

    class Validation(list):
        def __iter__(self):
            for number, batch in enumerate(super().__iter__()):
                if number == 1 and net.steps == 8 and not interrupted:
                    interrupted.append(True)
                    os.kill(os.getpid(), signal.SIGINT)
                yield batch

    net, interrupted = classifier(optimizer=Adam(1e-2)), []
    _, history = train(net=net, checkpoint=tmp_path, validation=Validation([(X, Y), HELD_OUT]))
    assert (history.stop_reason, len(history)) == ("interrupted", 1)
    again = train(validation=[(X, Y), HELD_OUT], checkpoint=tmp_path, resume=True)
    assert_same_training(again, expected)


def test_an_ignored_hangup_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        _, history = train(checkpoint=tmp_path, callbacks=[Send(signal.SIGHUP)])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert history.stop_reason == "finished"


PROGRAM = """
import sys, time, numpy as np, xpnn
from nets import classifier, blobs
class Ready(xpnn.Callback):
    def on_batch_end(self, run, loss):
        if run.network.steps == 4:
            print("ready", flush=True)
        if run.network.steps >= 4:
            time.sleep(float(sys.argv[2]))
xpnn.fit(classifier(), blobs(), 10**6, 8, checkpoint=sys.argv[1], callbacks=[Ready()],
         progress=False)
"""


@contextlib.contextmanager
def program(folder, pause):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(pause)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_program_that_is_told_to_end_returns_143_and_leaves_a_checkpoint(tmp_path):
    with program(tmp_path, 0.01) as process:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, "")
    assert xpnn.load(files(tmp_path)[-1]).network.steps >= 4


def test_a_second_signal_ends_a_program_at_once(tmp_path):
    with program(tmp_path, 30) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
    assert files(tmp_path)[-1].name == "step-000000003.safetensors"


# ---------------------------------------------------------------- what is not finite


def diverging(backend=None, **more):
    net = classifier(backend, optimizer=xpnn.SGD(1e-2))

    class Blow(Callback):
        def on_batch_end(self, run, loss):
            if run.network.steps == 6:
                run.network.layers[4].params["W"] = np.full((8, 3), 3e38)

    return net, train(net=net, callbacks=[Blow()], **more)


def test_the_last_good_checkpoint_stays_and_the_layer_is_named(library, tmp_path):
    with pytest.raises(DivergenceError) as caught:
        diverging(library.plain, checkpoint=tmp_path)
    error = caught.value
    assert (error.step, error.epoch, error.batch, error.lr) == (6, 2, 2, 0.01)
    assert error.culprit == "the output of layer 4 (Linear)"
    for words in ("step 6, epoch 2", "batch 3 of the epoch", "learning rate is 0.01", "layer 4"):
        assert words in str(error)
    assert [path.name for path in files(tmp_path)] == ["step-000000004.safetensors"]
    assert "forward" not in vars(xpnn.load(files(tmp_path)[0]).network.layers[4])


@pytest.mark.parametrize(
    ("spoil", "culprit"),
    [
        (lambda net, x: net.layers[4].params.update(b=np.full(3, np.inf)), "4.b, before the step"),
        (lambda net, x: x.fill(3e38), "the output of layer 0 (Linear)"),
        (lambda net, x: x.fill(np.nan), "the samples"),
        (
            lambda net, x: setattr(net, "regularization", xpnn.L2(1e38)),
            "the loss",
        ),
    ],
)
def test_where_it_began(spoil, culprit):
    net, x = classifier(), X.astype("float32")
    if culprit == "the loss":
        net.layers[0].params["W"] = np.full((4, 8), 1e6)
    spoil(net, x)
    before = net.state_dict()
    with pytest.raises(DivergenceError) as caught:
        fit(net, (x, Y), 1, 8, check_finite=False)
    assert caught.value.culprit == culprit
    assert str(caught.value).count("the samples") == (culprit == "the samples")
    after = net.state_dict()
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], value)
    assert all(not vars(layer).keys() & {"forward", "backward"} for layer in net.layers)


class Steep(xpnn.Layer):
    """Finite forward, and a gradient that is not."""

    def forward(self, input):
        return input

    def backward(self, dout):
        return dout * np.float32(np.inf)


def test_a_gradient_that_is_not_finite_is_found():
    net = classifier()
    net.layers.insert(3, Steep())
    with pytest.raises(DivergenceError) as caught:
        fit(net, (X, Y), 1, 8)
    assert caught.value.culprit == "the gradient by the input of layer 3 (Steep)"


# ---------------------------------------------------------------- memory


def test_state_is_json(tmp_path):
    """A checkpoint is read by anybody who has safetensors and json."""
    import safetensors.numpy

    train(checkpoint=tmp_path)
    content = files(tmp_path)[-1].read_bytes()
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    training = json.loads(metadata["content"])["training"]
    assert training["state"]["made_of"]["epochs"] == 4
    found = safetensors.numpy.load(content)
    assert {"0.W", "optimizer/mean", "optimizer/square"} < found.keys()


def test_saving_takes_no_second_copy_of_the_parameters(tmp_path):
    import tracemalloc

    net = xpnn.Sequential(
        [xpnn.Linear(1000, 1000), xpnn.Linear(1000, 4)],
        xpnn.SoftmaxCrossEntropy(),
        optimizer=Adam(),
        seed=0,
    )
    x, y = np.zeros((4, 1000), dtype=np.float32), np.arange(4)
    net.train(x, y)
    size = net.parameters.values.array.nbytes
    peaks = []

    class Watch(Callback):
        def on_batch_end(self, run, loss):
            tracemalloc.start()

        def on_train_end(self, run):
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

    fit(net, (x, y), 1, 4, checkpoint=tmp_path, callbacks=[Watch()])
    assert peaks[0] < 0.1 * size
    assert copy.deepcopy(files(tmp_path))[0].stat().st_size > 3 * size


def test_a_long_history_is_kept(tmp_path):
    """With columns that come and go, with counts, floats and what is neither."""
    net = classifier()
    rows = [{"epoch": k, "loss": k / 7, "val_loss": math.nan} for k in range(100_000)]
    rows += [{"epoch": 100_000, "loss": 0.5, "lr": None}, {"epoch": 100_001, "loss": 1, "lr": 0.1}]
    write_training(net, tmp_path / "file", {}, {"history": pack(rows)})
    assert (tmp_path / "file").stat().st_size < 3_000_000
    found = unpack(read_training(tmp_path / "file").state["history"])
    assert repr(found) == repr(rows)
    assert pack([]) == unpack([]) == []
