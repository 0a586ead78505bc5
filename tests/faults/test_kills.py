"""SIGKILL at random moments of a training that writes checkpoints all the time."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_training as training

import xpnn

KILLS = 200
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture
def trainer(tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, str(HERE / "tiny_training.py"), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )

    def start():
        process.stdin.write("go\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    def ended():
        process.stdin.write("wait\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield folder, start, ended
    process.kill()
    process.communicate()


def check_whole(folder):
    """Whatever bears the name of a checkpoint can be read."""
    if not folder.is_dir():
        return 0
    steps = [0]
    for path in folder.iterdir():
        if path.suffix == ".safetensors":
            steps.append(xpnn.checkpoint.read_training(path).content["steps"])
    return max(steps)


def test_a_training_that_is_killed_again_and_again(trainer, tmp_path, tried):
    folder, start, ended = trainer
    training.train(tmp_path / "never")
    expected = training.tensors(training.last(tmp_path / "never"))
    draw = random.Random(0)
    start()
    begin = time.monotonic()
    assert ended() == 0
    longest = time.monotonic() - begin
    shutil.rmtree(folder)
    kills = finished = 0
    while kills < KILLS or finished == 0:
        reached = check_whole(folder)
        child = start()
        if kills < KILLS:
            time.sleep(draw.uniform(0, 0.3 * longest))
            os.kill(child, signal.SIGKILL)
        code = ended()
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        assert check_whole(folder) >= reached, "a checkpoint is lost"
        if code == 0:
            found = training.tensors(training.last(folder))
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                if not key.endswith("/seconds"):  # those differ
                    np.testing.assert_array_equal(found[key], value, err_msg=key)
            assert not [path for path in folder.iterdir() if path.name.startswith(".xpnn-")]
            finished += 1
            shutil.rmtree(folder)
    tried("SIGKILL at random moments", kills, f"{finished} trainings ended with the same bits")
