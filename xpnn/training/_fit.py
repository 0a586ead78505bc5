"""Training a network."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from .._checks import checked_flag, expect_kind
from ..augmentation import Augmenter
from ..callbacks import Callback, Progress, Run
from ..data.batches import as_count
from ..errors import DataError
from ..history import History
from ..metrics import Metric
from ..network import Network
from ..random import Stream
from ._beginning import start
from ._checkpoint import Checkpoint
from ._data import (
    checked_augmenters,
    checked_callbacks,
    checked_metrics,
    expect_data,
    make_batches,
    name_of,
    set_aside,
    try_augmentation,
)
from ._loop import Loop
from ._signals import interruptible

__all__ = ["fit"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def _takes_a_pair(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Say what is wrong where samples and targets come as two arguments: Python would not.

    The targets then stand where the epochs do, which come a second time.
    """

    @functools.wraps(function)
    def called(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        if len(arguments) > 2 and "epochs" in named and not isinstance(arguments[2], int):
            raise DataError("data: arrays are given as a tuple, (x, y)")
        return function(*arguments, **named)

    return called


@_takes_a_pair
def fit(
    network: Network,
    data: Any,
    epochs: int,
    batch_size: int = 32,
    *,
    validation: Any = None,
    callbacks: Callback | Sequence[Callback] = (),
    metrics: str | Metric | Sequence[str | Metric] = (),
    augment: Augmenter | Sequence[Augmenter] = (),
    shuffle: bool = True,
    steps_per_epoch: int | None = None,
    check_finite: bool = True,
    resident: bool | None = None,
    progress: bool = True,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | bool = False,
    force: bool = False,
) -> History:
    """Train a network.

    Parameters
    ----------
    network : Network
        Is trained in place. A second call goes on where the first ended.
    data : tuple or iterable
        Arrays (x, y) or (x, y, sample_weight) with one row a sample; or any iterable of batches
        (x, y) or (x, y, sample_weight), which each epoch goes through once. Cast to the types of
        the network, never changed.
    epochs : int
        Number of passes over the data, >= 1.
    batch_size : int
        Rows of a batch, >= 1; only for arrays. If a layer takes statistics over the batch
        (BatchNorm), a last batch of one row joins the batch before it.
    validation : tuple, iterable or float, optional
        Data that are only evaluated, after each epoch; or the fraction, in (0, 1), of the rows of
        ``data`` to set aside for it.
    callbacks : Callback or sequence of Callback
        Such as `EarlyStopping`.
    metrics : str, Metric or sequence of them
        Such as "accuracy", also computed on the training batches as they pass.
    augment : callable or sequence of callable
        Random changes of the images that are trained with, such as `RandomFlip()`, applied in turn
        on the device: see `xpnn.augmentation`. What is evaluated stays as it is.
    shuffle : bool
        Draw a new order of the rows for every epoch, from the network's seed: the same order on
        every device.
    steps_per_epoch : int, optional
        Batches of an epoch, for iterables that do not end.
    check_finite : bool
        Look for NaN and infinity in the data before the first step.
    resident : bool, optional
        Whether all of the data is on the device during the run. By default if it fits; else it
        goes there in chunks, in the same order of rows, while the device computes.
    progress : bool
        Show the progress on standard error: a bar on a terminal, else a line per epoch. Where a
        `Progress` is among the callbacks, that one alone does.
    checkpoint : Checkpoint or path-like, optional
        Write checkpoints; a folder stands for ``Checkpoint(folder)``.
    resume : path-like or bool
        Go on from a checkpoint, or from the last one in a folder, to the same bits as the training
        that was never interrupted. ``epochs`` still counts from its beginning. The network is
        made as at the beginning and takes everything from the checkpoint. True stands for the
        folder of ``checkpoint``, and begins anew if there is none yet.
    force : bool
        Resume even though the network, the data or an argument is not what it was.

    Returns
    -------
    History
        One row per epoch: "epoch", "loss" (with the penalty of the regularization, mean over the
        epoch), metrics, "val_loss" (without the penalty), "val_" metrics, "lr", "seconds".

    Raises
    ------
    ConfigurationError, DataError, ShapeError, BackendError
        Before anything is changed.
    DivergenceError
        If the loss or a gradient turns infinite or not a number. The parameters are those before
        that step, and the last checkpoint stays. A second pass over the batch looks for the first
        layer with such an output. The history so far is in the ``history`` attribute.
    CheckpointError
        If the last checkpoint could not be written; the network is trained, and the history in
        ``history``. Earlier ones that fail are warnings. Or if there is none to resume from.

    Notes
    -----
    Losses and metrics stay on the device until the end of the epoch. Ctrl-C ends the training
    after the step that is under way: `fit` returns, ``history.stop_reason`` is "interrupted".
    A second Ctrl-C raises KeyboardInterrupt at once. With ``checkpoint`` one is written first, and
    SIGTERM and SIGHUP end the training likewise; then SystemExit with the code 143 or 129 is
    raised, which ends the program unless it is caught.

    Examples
    --------
    >>> import numpy as np, xpnn
    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> net = xpnn.Sequential(
    ...     [xpnn.Linear(1, 16), xpnn.Tanh(), xpnn.Linear(16, 1)],
    ...     xpnn.MeanSquaredError(),
    ...     optimizer=xpnn.Adam(0.02),
    ...     seed=0,
    ... )
    >>> history = xpnn.fit(net, (x, x**2), epochs=60, batch_size=16)
    >>> history["loss"][-1] < 0.01
    True
    """
    expect_kind("network", network, Network)
    expect_data(data)
    checked_flag("fit", "shuffle", shuffle)
    checked_flag("fit", "check_finite", check_finite)
    checked_flag("fit", "progress", progress)
    checked_flag("fit", "force", force)
    if resident is not None:
        checked_flag("fit", "resident", resident)
    epochs = as_count("epochs", epochs)
    batch_size = as_count("batch_size", batch_size)
    if steps_per_epoch is not None:
        steps_per_epoch = as_count("steps_per_epoch", steps_per_epoch)
    chosen, listeners = checked_metrics(metrics), checked_callbacks(callbacks)
    augmenters = checked_augmenters(augment)
    made_of = {
        "epochs": epochs,
        "batch_size": batch_size,
        "shuffle": bool(shuffle),
        "steps_per_epoch": steps_per_epoch,
        "metrics": [metric.name for metric in chosen],
        "validation": validation if isinstance(validation, float) else None,
        "augment": [name_of(augmenter) for augmenter in augmenters],
    }
    with start(network, checkpoint, resume) as beginning:
        seed = beginning.seed
        if isinstance(validation, float):
            data, validation = set_aside(network, data, validation, check_finite, seed)
        order = Stream(seed) if shuffle else None
        batches = make_batches(
            network, data, batch_size, check_finite, resident, order, steps_per_epoch
        )
        if augmenters and isinstance(data, tuple):
            try_augmentation(network, data[0], augmenters)
        held_out = None
        if validation is not None:
            held_out = make_batches(
                network, validation, batch_size, check_finite, resident, what="validation "
            )
        columns = ["loss", *(metric.name for metric in chosen)]
        if held_out is not None:
            columns += [f"val_{name}" for name in columns]
        run = Run(network, epochs, batches.length, tuple(columns), memory=batches.memory)
        if progress and not any(isinstance(listener, Progress) for listener in listeners):
            listeners.append(Progress())
        loop = Loop(run, batches, held_out, chosen, listeners, augmenters)
        beginning.prepare(loop, made_of, data, validation, force)
        if batches.length is not None and not beginning.resumed:
            network.total_steps = network.steps + epochs * batches.length
        network.reset_divergence()
        with network.backend.scope(), interruptible(run, loop.keeper is not None):
            loop()
    return run.history
