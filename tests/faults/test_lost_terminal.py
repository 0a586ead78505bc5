"""The terminal goes away in the middle of an epoch."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_training as training

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

PROGRAM = """
import os, sys, time
import tiny_training as training, xpnn
class Pause(xpnn.Callback):
    def on_batch_end(self, run, loss):
        if run.network.steps == 9:  # in the second epoch
            with open(sys.argv[2], "w"):
                pass
            while os.path.exists(sys.argv[2]):  # until the test has done its worst
                time.sleep(0.01)
print("started", flush=True)
x, y, w = training.data()
net = training.network()
xpnn.fit(net, (x, y, w), training.EPOCHS, 4, validation=(x, y), metrics=["accuracy"],
         callbacks=[xpnn.EarlyStopping(patience=4), Pause()],
         checkpoint=xpnn.Checkpoint(sys.argv[1], every_steps=1), resume=True)
"""


def start(folder, flag, **streams):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(flag)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"},
        start_new_session=True,
        **streams,
    )
    return process


def wait_for(flag, process):
    import time

    for _ in range(3000):
        if flag.exists():
            return
        assert process.poll() is None, "the program has ended"
        time.sleep(0.01)
    raise AssertionError("the program did not come to the second epoch")


@pytest.fixture
def expected():
    net, _ = training.train()
    return net.state_dict()


def check_resumes(folder, expected):
    net, history = training.train(folder)
    for key, value in expected.items():
        np.testing.assert_array_equal(net.state_dict()[key], value)
    assert len(history) == training.EPOCHS


@pytest.mark.parametrize("ignored", [False, True], ids=["hangup", "nohup"])
def test_hangup(ignored, tmp_path, expected, tried):
    """Without nohup it stops with a checkpoint; with it, it goes on without a terminal."""
    folder, flag = tmp_path / "run", tmp_path / "flag"
    master, slave = pty.openpty()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN) if ignored else None
    try:
        process = start(folder, flag, stdout=slave, stderr=slave, stdin=slave)
    finally:
        if ignored:
            signal.signal(signal.SIGHUP, before)
    os.close(slave)
    try:
        wait_for(flag, process)
        os.close(master)  # from here on, writing is an error
        process.send_signal(signal.SIGHUP)
        flag.unlink()
        code = process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert code == (0 if ignored else 129)
    if not ignored:
        assert training.tensors(training.last(folder))["steps"] == 9
    check_resumes(folder, expected)
    outcome = "went on to its end" if ignored else "stopped with a checkpoint, and was resumed"
    tried("the terminal is gone, SIGHUP" + (" ignored" if ignored else ""), 1, outcome)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_closed_stream(stream, tmp_path, expected, tried):
    folder, flag = tmp_path / "run", tmp_path / "flag"
    other = "stderr" if stream == "stdout" else "stdout"
    streams = {stream: subprocess.PIPE, other: subprocess.DEVNULL}
    process = start(folder, flag, **streams)
    try:
        wait_for(flag, process)
        getattr(process, stream).close()
        flag.unlink()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
    check_resumes(folder, expected)
    tried(f"{stream} closed by its reader", 1, "went on to its end")
