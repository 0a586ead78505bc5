"""Trainings that end before their last epoch: by divergence and by Ctrl-C."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import xpnn
from nets import assert_same, blobs, classifier, regression, regressor, snapshot, values
from xpnn import (
    SGD,
    BatchNorm,
    Callback,
    DivergenceError,
    Layer,
    Linear,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    predict,
)
from xpnn.backend import Backend
from xpnn.random import Stream

ROOT = Path(__file__).parents[1]
X, Y = blobs()

# Divergence


class Bomb(Layer):
    """Passes everything on, and from some step on makes it infinite."""

    def __init__(self, step):
        super().__init__()
        self.first = step

    def forward(self, input):
        return input * math.inf if self.mode == "train" and self.step >= self.first else input

    def backward(self, dout):
        return dout


@pytest.mark.parametrize("waits", [True, False], ids=["waits", "does not wait"])
def test_divergence_stops_with_the_last_good_parameters(waits, library, monkeypatch):
    monkeypatch.setattr(Backend, "synchronous", property(lambda self: waits))

    def make(step):
        layers = [Linear(4, 6), BatchNorm(6), ReLU(), Bomb(step), Linear(6, 3)]
        return Sequential(
            layers,
            SoftmaxCrossEntropy(),
            optimizer=xpnn.Adam(xpnn.Step(0.02, 4, 0.5)),
            backend=library.plain,
            seed=0,
            fuse=waits,
        )

    net, good = make(7), make(10**9)
    with pytest.raises(DivergenceError) as error:
        fit(net, (X, Y), 5, 8, validation=(X, Y))
    error = error.value
    assert (error.step, error.epoch, error.lr) == (7, 3, 0.01)
    assert "step 7, epoch 3" in str(error)
    assert "learning rate is 0.01" in str(error)
    assert error.history["epoch"] == [1, 2]
    assert error.history.stop_reason == "diverged"
    assert (net.steps, net.epochs) == (7, 2)
    fit(good, (X, Y), 2, 8)
    rows = Stream(0).at(2).permutation(24)[:8]
    good.train(X[rows], Y[rows])
    expected, found = snapshot(good), snapshot(net)
    for name, value in expected.items():
        if not name.startswith("state"):  # where nobody waits it has gone on a little
            np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert np.isfinite(predict(net, X)).all()
    # The network can be trained on at once.
    net.layers[3].first = 10**9
    before = values(net)
    assert np.isfinite(float(net.train(X, Y)[1]))
    assert (values(net) != before).any()


def test_a_learning_rate_that_is_too_large(library):
    """The real thing: warnings of NumPy are no part of it."""
    x, y = regression()
    net = regressor(library.plain, optimizer=SGD(1e6))
    net.layers[1:2] = []
    with pytest.raises(DivergenceError) as error:
        fit(net, (x, y), 50, 20, validation=(x, y))
    assert np.isfinite(values(net)).all()
    assert 0 < error.value.step < 50


# Ctrl-C


class Interrupt(Callback):
    """Presses Ctrl-C after some steps."""

    def __init__(self, *steps):
        self.steps = steps

    def on_batch_end(self, run, loss):
        if run.network.steps in self.steps:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def default_handler():
    """The state in which an interactive Python is."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("default_handler")
class TestInterrupt:
    """Ctrl-C ends a training; network and history stay usable."""

    def test_the_first_ends_the_training_after_the_step(self, library):
        net, again = classifier(library.plain), classifier(library.plain)
        history = fit(net, (X, Y), 5, 8, callbacks=[Interrupt(4)])
        assert (history.stop_reason, len(history), net.steps) == ("interrupted", 1, 4)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        fit(again, (X, Y), 1, 8)
        rows = Stream(0).at(1).permutation(24)[:8]
        again.train(X[rows], Y[rows])
        assert_same(snapshot(net), snapshot(again))
        assert len(fit(net, (X, Y), 1, 8)) == 1

    def test_at_the_end_of_an_epoch_its_row_is_there(self):
        class AtTheEnd(Callback):
            def on_epoch_end(self, run, row):
                os.kill(os.getpid(), signal.SIGINT)

        history = fit(classifier(), (X, Y), 5, 8, callbacks=[AtTheEnd()])
        assert (history.stop_reason, len(history)) == ("interrupted", 1)

    def test_the_second_ends_it_at_once(self):
        net = classifier()
        ended = []

        class Twice(Callback):
            def on_batch_end(self, run, loss):
                if run.network.steps == 4:
                    os.kill(os.getpid(), signal.SIGINT)
                    os.kill(os.getpid(), signal.SIGINT)
                    pytest.fail("the second Ctrl-C was ignored")

            def on_train_end(self, run):
                ended.append((run.history, run.stop_reason))

        with pytest.raises(KeyboardInterrupt):
            fit(net, (X, Y), 5, 8, callbacks=[Twice()])
        [(history, reason)] = ended
        assert (len(history), reason, history.stop_reason) == (1, "interrupted", "interrupted")
        assert net.steps == 4
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        fit(net, (X, Y), 1, 8)

    def test_in_the_middle_of_a_step_nothing_is_left_behind(self, library):
        class Slow(Layer):
            presses = False

            def forward(self, input):
                if self.presses:
                    raise KeyboardInterrupt
                return input

            def backward(self, dout):
                return dout

        net = Sequential(
            [Linear(4, 6), BatchNorm(6), Slow(), Linear(6, 3)],
            SoftmaxCrossEntropy(),
            optimizer=xpnn.Adam(0.01),
            backend=library.plain,
            seed=0,
        )
        net.train(X, Y)
        before = snapshot(net)
        net.layers[2].presses = True
        with pytest.raises(KeyboardInterrupt):
            fit(net, (X, Y), 1, 8)
        assert_same(snapshot(net), before)

    def test_another_threads_training_is_left_alone(self):
        found = []

        def train():
            found.append(fit(classifier(), (X, Y), 2, 8).stop_reason)

        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
        assert found == ["finished"]

    def test_somebody_elses_handler_is_left_alone(self):
        heard = []
        signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
        history = fit(classifier(), (X, Y), 2, 8, callbacks=[Interrupt(2)])
        assert (heard, history.stop_reason, len(history)) == ([signal.SIGINT], "finished", 2)


PROGRAM = """
import numpy as np, sys, xpnn
x = np.random.default_rng(0).standard_normal((512, 8))
net = xpnn.Sequential([xpnn.Linear(8, 8)], xpnn.MeanSquaredError(), lr=1e-3, seed=0)
class Ready(xpnn.Callback):
    def on_epoch_begin(self, run):
        if len(run.history) == 1:
            print("ready", flush=True)
history = xpnn.fit(net, (x, x), 10**9, callbacks=[Ready()], progress=False)
print(history.stop_reason, len(history) > 0, np.isfinite(xpnn.predict(net, x)).all(), flush=True)
"""


def test_ctrl_c_at_a_real_program():
    command = [sys.executable, "-c", PROGRAM]
    program = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
    finally:
        program.kill()
    assert (out, err, program.returncode) == ("interrupted True True\n", "", 0)
