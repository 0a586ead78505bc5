"""What the system may refuse while a checkpoint is written."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
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
from xpnn.checkpoint import sweep
from xpnn.errors import CheckpointError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: The calls that a save makes on files. Which ones it makes is found out by looking.
CALLS = "getrandom,openat,write,fsync,close,rename,newfstatat,lseek,readlink,unlink"

PROGRAM = """
import os, sys
import tiny_training, xpnn
network = tiny_training.network()
state = network.state_dict()
state["4.b"] += 1
network.load_state_dict(state)
print("ready", flush=True)
failed = False
for line in map(str.strip, sys.stdin):  # each line is a path, or a request
    try:
        if line == "become nobody":
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        elif line.startswith("train "):
            tiny_training.train(line.removeprefix("train "))
        else:
            xpnn.save(network, line)
        print("saved", flush=True)
    except xpnn.CheckpointError as error:
        failed = True
        print(error, flush=True)
sys.exit(2 if failed else 0)
"""


class Saver:
    """A program that saves a network when it is told to, with strace at its side."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"},
        )
        assert self.process.stdout.readline() == "ready\n"

    def save(self, path):
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def traced(self, path, output, *options):
        """Save once, under strace."""
        strace = subprocess.Popen(
            ["strace", "-q", "-o", str(output), "-p", str(self.process.pid), *options],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            _wait_until_attached(self.process.pid)
            return self.save(path)
        finally:
            if self.process.poll() is None:
                strace.send_signal(signal.SIGINT)
            strace.communicate(timeout=20)

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        code = self.process.wait(timeout=20)
        self.process.stdout.close()
        return code


def _wait_until_attached(pid):
    for _ in range(2000):
        status = Path(f"/proc/{pid}/status").read_text()
        if not re.search(r"TracerPid:\s+0\b", status):
            return
        time.sleep(0.002)
    raise AssertionError("strace did not attach")


def _strace_missing():
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(
        ["strace", "-q", "-o", os.devnull, "true"], capture_output=True, text=True, check=False
    )
    return None if done.returncode == 0 else f"strace does not work here: {done.stderr.strip()}"


@pytest.fixture
def savers(tmp_path):
    """Starts savers that have saved once."""
    started = []

    def start():
        started.append(Saver())
        started[-1].save(tmp_path / "warm")
        return started[-1]

    yield start
    for saver in started:
        saver.process.kill()
        saver.close()


@pytest.fixture
def old(tmp_path):
    """A model file that is there, and its bytes."""
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "model.safetensors"
    xpnn.save(training.network(), path)
    return path, path.read_bytes()


@pytest.mark.timeout(240)
def test_every_system_call_of_a_save_fails_or_is_the_last(old, savers, tmp_path, tried):
    reason = _strace_missing()
    if reason is not None:
        pytest.skip(reason)
    path, before = old
    log = tmp_path / "calls"
    saver = savers()
    assert saver.traced(path, log, "-e", f"trace={CALLS}") == "saved"
    after = path.read_bytes()
    assert after != before
    lines = log.read_text().splitlines()
    # From the answer on, it is not the save's own: the program tells that it has saved.
    last = next(k for k, line in enumerate(lines) if 'write(1, "saved' in line)
    first = next(k for k, line in enumerate(lines) if "folder" in line)
    names = [line.split("(")[0] for line in lines[:last]]
    cases = [(names[k], names[: k + 1].count(names[k])) for k in range(first, last)]
    assert {"openat", "write", "fsync", "close", "rename"} <= {name for name, _ in cases}
    count = 0
    for name, number in cases:
        for fault in ("error=EIO", "error=ENOSPC", "signal=SIGKILL"):
            path.write_bytes(before)
            inject = f"inject={name}:{fault}:when={number}"
            answer = saver.traced(path, log, "-e", f"trace={name}", "-e", inject)
            count += 1
            now = path.read_bytes()
            assert now in (before, after), f"{inject}: the file is torn"
            if fault == "signal=SIGKILL":
                assert saver.close() == -signal.SIGKILL
                for name_left in os.listdir(path.parent):  # who has the folder sweeps it
                    assert name_left == path.name or name_left.startswith(".xpnn-")
                sweep(path.parent)
                saver = savers()
            elif answer != "saved":
                cause = os.strerror(getattr(errno, fault.removeprefix("error=")))
                assert answer == f"{path}: cannot be written: {cause}"
                left = [p.name for p in path.parent.iterdir() if p.name != path.name]
                assert left == [], f"{inject}: {left}"
                # It can go on.
                assert saver.save(path) == "saved"
                assert path.read_bytes() == after
            else:
                assert now == after, f"{inject}: not saved, and not a word of it"
    assert saver.close() in (0, 2)
    failing = savers()
    failing.traced(path, log, "-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=1")
    assert failing.close() == 2
    tried(
        f"EIO, ENOSPC, SIGKILL in each of {len(cases)} system calls of a save",
        count,
        "the file before stays, or the new one is whole; the error names path and cause",
    )


@pytest.fixture
def small_disk(tmp_path):
    """A file system of half a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {getattr(error, 'stderr', error)}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_in_the_middle_of_an_epoch(small_disk, tmp_path, tried):
    """The training goes on, says so, fails at its end, and is resumed when there is room."""
    expected, expected_history = training.train()
    folder = small_disk / "run"
    said = []

    class Fill(xpnn.Callback):
        def on_batch_end(self, run, loss):
            if run.network.steps == 10:
                with open(small_disk / "filler", "wb", buffering=0) as file:
                    while True:
                        try:
                            file.write(bytes(4096))
                        except OSError:
                            break

    with pytest.raises(CheckpointError, match="No space left") as caught:
        training.train(folder, report=said.append, callbacks=[Fill()])
    assert str(folder) in str(caught.value)
    assert len(caught.value.history) == len(expected_history)  # it has trained to the end
    assert len(said) >= training.EPOCHS * training.STEPS - 10
    assert all("No space left" in line and "the training goes on" in line for line in said)
    good = training.tensors(training.last(folder))
    assert good["steps"] == 9
    (small_disk / "filler").unlink()
    again, history = training.train(folder)
    for key, value in expected.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[key], value)
    assert history["loss"] == expected_history["loss"]
    tried("a full disk", len(said), "the training went on, failed at its end and was resumed")


def test_a_limit_on_the_size_of_files(old, savers, tried):
    path, before = old
    sizes = list(range(0, len(before), max(1, len(before) // 50)))
    saver = savers()
    for size in sizes:
        limits = size, resource.RLIM_INFINITY
        resource.prlimit(saver.process.pid, resource.RLIMIT_FSIZE, limits)
        assert saver.save(path) == f"{path}: cannot be written: File too large"
        assert path.read_bytes() == before
        assert os.listdir(path.parent) == [path.name]
    limits = resource.RLIM_INFINITY, resource.RLIM_INFINITY
    resource.prlimit(saver.process.pid, resource.RLIMIT_FSIZE, limits)
    assert saver.save(path) == "saved"
    assert saver.close() == 2
    tried("a limit on the size of files", len(sizes), "the file before stays")


def test_a_folder_that_is_read_only(old, savers, tmp_path, tried):
    path, before = old
    run = path.parent / "run"
    for parent in path.parents[:6]:  # so that nobody can come here
        if parent.stat().st_uid == os.getuid():
            parent.chmod(parent.stat().st_mode | 0o055)
    saver = savers()
    assert saver.save(f"train {tmp_path / 'warm-run'}") == "saved"
    path.parent.chmod(0o555)
    try:
        if os.getuid() == 0:  # who may write anywhere
            assert saver.save("become nobody") == "saved"
        assert saver.save(path) == f"{path}: cannot be written: Permission denied"
        assert saver.save(f"train {run}") == f"{run}: cannot be written: Permission denied"
        assert saver.close() == 2
    finally:
        path.parent.chmod(0o755)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
    tried("a read-only folder", 2, "the file before stays")
