"""A tiny training with everything in it, which writes a checkpoint after every step.

As a program, ``python tiny_training.py FOLDER``, it starts one in a child of its own for each line
that it reads, and says the number of its process and how that ended: a child needs no import, so
that it can be killed often.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np

import xpnn

EPOCHS, STEPS = 5, 7
ROWS = 4 * STEPS


def network():
    """Without kernels: a child that is forked could not use the threads of its parent."""
    return xpnn.Sequential(
        [
            xpnn.Linear(4, 8, bias=False),
            xpnn.BatchNorm(8),
            xpnn.ReLU(),
            xpnn.Dropout(0.3),
            xpnn.Linear(8, 3),
        ],
        xpnn.SoftmaxCrossEntropy(),
        optimizer=xpnn.Adam(xpnn.ReduceOnPlateau(0.02, patience=0)),
        seed=0,
        fuse=False,
    )


def data():
    rng = np.random.default_rng(0)
    labels = np.arange(ROWS) % 3
    return rng.standard_normal((ROWS, 4)) + labels[:, None], labels, np.linspace(0.5, 1.5, ROWS)


def train(folder=None, keep=2, epochs=EPOCHS, every_steps=1, report=None, callbacks=()):
    net = network()
    checkpoint = None
    if folder is not None:
        checkpoint = xpnn.Checkpoint(folder, keep, every_steps=every_steps, report=report)
    history = xpnn.fit(
        net,
        data(),
        epochs,
        4,
        validation=data()[:2],
        metrics=["accuracy"],
        callbacks=[xpnn.EarlyStopping(patience=4), *callbacks],
        checkpoint=checkpoint,
        resume=folder is not None,
    )
    return net, history


def tensors(path):
    """Everything in a checkpoint that a later step depends on."""
    stored = xpnn.checkpoint.read_training(path)
    return stored.tensors | {"steps": stored.content["steps"]}


def last(folder):
    return sorted(path for path in Path(folder).iterdir() if path.name.startswith("step-"))[-1]


def serve(folder):
    train(folder.with_name("warm"))  # imports everything, so that a child begins at once
    warnings.simplefilter(
        "error", RuntimeWarning
    )  # a checkpoint that cannot be read is a failure here
    while sys.stdin.readline():
        child = os.fork()
        if child == 0:
            code = 1
            try:
                train(folder)
                code = 0
            finally:
                os._exit(code)
        print(child, flush=True)
        sys.stdin.readline()  # until then the number is the child's, even if it is dead
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
