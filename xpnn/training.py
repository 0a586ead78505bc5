"""The loop: epochs, batches, callbacks and history."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from types import FrameType
from typing import Any

import numpy as np

from ._standard import Array
from .augmentation import Augmenter, augmented
from .backend import to_host
from .callbacks import Callback, Progress, Run
from .data.batches import (
    Batches,
    IterableBatches,
    array_batches,
    as_count,
    checked_arrays,
)
from .data.splitting import split
from .errors import ConfigurationError, DataError, DivergenceError
from .history import History
from .metrics import Metric
from .metrics import get as get_metric
from .network import Network
from .random import Stream
from .summary import step_memory

__all__ = ["evaluate", "fit", "predict"]


def fit(
    network: Network,
    data: Any,
    epochs: int,
    batch_size: int = 32,
    *,
    validation: Any = None,
    callbacks: Sequence[Callback] = (),
    metrics: Sequence[str | Metric] = (),
    augment: Augmenter | Sequence[Augmenter] = (),
    shuffle: bool = True,
    steps_per_epoch: int | None = None,
    check_finite: bool = True,
    resident: bool | None = None,
    progress: bool | None = None,
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
    callbacks : sequence of Callback
        Such as `EarlyStopping`.
    metrics : sequence of str or Metric
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
    progress : bool, optional
        Show the progress on standard error: a bar on a terminal, else a line per epoch. By
        default, only on a terminal.

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
        that step. The history so far is in the ``history`` attribute of the exception.

    Notes
    -----
    Losses and metrics stay on the device until the end of the epoch. Ctrl-C ends the training
    after the step that is under way: `fit` returns, ``history.stop_reason`` is "interrupted".
    A second Ctrl-C raises KeyboardInterrupt at once.

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
    epochs = as_count("epochs", epochs)
    batch_size = as_count("batch_size", batch_size)
    if steps_per_epoch is not None:
        steps_per_epoch = as_count("steps_per_epoch", steps_per_epoch)
    chosen = [get_metric(metric) for metric in metrics]
    listeners = list(callbacks)
    for index, callback in enumerate(listeners):
        if not isinstance(callback, Callback):
            raise ConfigurationError(f"callbacks[{index}]: expected a Callback, got {callback!r}")
    augmenters = _augmenters(augment)
    if isinstance(validation, float):
        data, validation = _set_aside(network, data, validation, check_finite)
    order = Stream(network.seed) if shuffle else None
    batches = _batches(network, data, batch_size, check_finite, resident, order, steps_per_epoch)
    if augmenters and isinstance(data, tuple):
        _try_augmentation(network, data[0], augmenters)
    held_out = None
    if validation is not None:
        held_out = _batches(network, validation, batch_size, check_finite, resident)
    columns = ["loss", *(metric.name for metric in chosen)]
    if held_out is not None:
        columns += [f"val_{name}" for name in columns]
    run = Run(network, epochs, batches.length, tuple(columns), memory=batches.memory)
    listeners += Progress.wanted(progress)
    if batches.length is not None:
        network.total_steps = network.steps + epochs * batches.length
    network.reset_divergence()
    with network.backend.scope(), _interruptible(run):
        _run(run, batches, held_out, chosen, listeners, augmenters)
    return run.history


def evaluate(
    network: Network,
    data: Any,
    batch_size: int = 256,
    *,
    metrics: Sequence[str | Metric] = (),
    check_finite: bool = True,
    resident: bool | None = None,
) -> dict[str, float]:
    """Return the loss and the metrics of a network in test mode.

    Parameters
    ----------
    network : Network
        Is not changed.
    data : tuple or iterable
        As for `fit`.
    batch_size : int
        Rows computed at a time, >= 1; the result does not depend on it but for rounding.
    metrics : sequence of str or Metric
        Such as "accuracy".
    check_finite : bool
        Look for NaN and infinity in the data first.
    resident : bool, optional
        As for `fit`.

    Returns
    -------
    dict of str to float
        "loss" (weighted mean over the samples, without the penalty of the regularization) and
        the metrics by their names.

    Raises
    ------
    ConfigurationError, DataError, ShapeError, BackendError
        If the data cannot be used.
    """
    chosen = [get_metric(metric) for metric in metrics]
    batch_size = as_count("batch_size", batch_size)
    batches = _batches(network, data, batch_size, check_finite, resident)
    with network.backend.scope():
        return _evaluate(network, batches, chosen)


def predict(network: Network, x: Any, batch_size: int = 256) -> np.ndarray[Any, Any]:
    """Return the output of a network in test mode for any number of samples.

    Parameters
    ----------
    network : Network
        Is not changed.
    x : array_like
        (N, ...), also a memory-mapped file: ``batch_size`` rows at a time go to the device.
    batch_size : int
        Rows computed at a time, >= 1.

    Returns
    -------
    numpy.ndarray
        (N, ...), on the host.

    Raises
    ------
    ConfigurationError, DataError, ShapeError, BackendError
        If the data cannot be used.
    """
    batch_size = as_count("batch_size", batch_size)
    if not network.backend.owns(x):
        x = network.backend.host_data(x)
    if x.ndim < 1:
        raise DataError("x: expected one row per sample, got a single number")
    rows = int(x.shape[0])

    def part(start: int) -> np.ndarray[Any, Any]:
        return to_host(network.eval(x[start : min(start + batch_size, rows), ...]))

    # Always a copy: what the network gives out may be its input, or locked.
    first = part(0)
    whole = np.empty((rows, *first.shape[1:]), dtype=first.dtype)
    whole[:batch_size] = first
    for start in range(batch_size, rows, batch_size):
        whole[start : start + batch_size] = part(start)
    return whole


def _batches(
    network: Network,
    data: Any,
    batch_size: int,
    finite: bool,
    resident: bool | None,
    order: Stream | None = None,
    steps: int | None = None,
) -> Batches:
    """Check data as far as they are there, and cut them into batches."""
    if not isinstance(data, tuple):
        if not isinstance(data, Iterable) or isinstance(data, str | dict):
            raise DataError(
                "expected a tuple of arrays (x, y) or (x, y, sample_weight), or an iterable of "
                f"batches, got {type(data).__name__}"
            )
        return IterableBatches(data, steps, finite)
    backend = network.backend
    parameters = network.parameters
    join = any(layer.batch_statistics for layer in parameters.layers.values())
    with backend.scope():
        x, y, *weight = _checked(network, data, finite)
        needed = 0
        if backend.free_memory() is not None:
            rows = min(batch_size, int(x.shape[0]))
            needed = step_memory(network, tuple(x.shape[1:]), rows).total
        return array_batches(
            (x, y, *weight),
            backend,
            batch_size,
            order=order,
            join_single=join,
            resident=resident,
            step_bytes=needed,
            x_dtype=network.input_dtype,
        )


def _checked(network: Network, data: tuple[Any, ...], finite: bool) -> tuple[Any, ...]:
    """Check samples, targets and weights by all that network and loss know of them."""
    backend = network.backend
    x, y, *weight = checked_arrays(data, backend, finite=finite)
    shape = network.output_shape(tuple(x.shape))
    if shape is None:  # a layer that cannot tell: try one sample
        shape = (x.shape[0], *network.eval(x[:1, ...]).shape[1:])
    x = network.check_input(x)
    # Targets on a device come to the host once a run: the same error for a label everywhere.
    prepared = network.check_target(_on_host(y), shape)
    for value in weight:
        network.check_weight(_on_host(value))
    return x, prepared if isinstance(y, np.ndarray) else y, *weight


def _augmenters(augment: Any) -> list[Augmenter]:
    """Return what was given for `augment` as a list."""
    found = list(augment) if isinstance(augment, list | tuple) else [augment]
    for index, augmenter in enumerate(found):
        if not callable(augmenter) or isinstance(augmenter, type):
            place = "augment" if found == [augment] else f"augment[{index}]"
            raise ConfigurationError(
                f"{place}: expected an augmentation such as RandomFlip(), got {augmenter!r}"
            )
    return found


def _try_augmentation(network: Network, x: Any, augmenters: list[Augmenter]) -> None:
    """Change a sample as in the first step, so that what cannot be is noticed before it."""
    with network.backend.scope():
        images = network.prepare_input(x[:1])
        images = augmented(augmenters, images, network.seed, network.steps)
        network.output_shape(tuple(images.shape))


def _on_host(array: Any) -> Any:
    return array if isinstance(array, np.ndarray) else to_host(array)


def _set_aside(network: Network, data: Any, fraction: float, finite: bool) -> tuple[Any, Any]:
    """Split a fraction of the rows off for validation."""
    if not isinstance(data, tuple):
        raise ConfigurationError("validation: a fraction needs arrays (x, y), not an iterable")
    # Before the rows change their places: errors name them.
    with network.backend.scope():
        host = [_on_host(array) for array in _checked(network, data, finite)]
    return split(*host, fraction=fraction, seed=network.seed)


def _run(
    run: Run,
    batches: Batches,
    held_out: Batches | None,
    metrics: list[Metric],
    callbacks: list[Callback],
    augmenters: list[Augmenter],
) -> None:
    network, history = run.network, run.history
    started: list[Callback] = []
    try:
        for callback in callbacks:
            callback.on_train_begin(run)
            started.append(callback)
        for _ in range(run.epochs):
            begin, lr = time.perf_counter(), network.lr
            row: dict[str, Any] = {"epoch": network.epochs + 1}
            row |= _train_epoch(run, batches, metrics, callbacks, augmenters)
            if run.stopping():  # in mid-epoch
                break
            if held_out is not None:
                found = _evaluate(network, held_out, metrics)
                row |= {f"val_{name}": value for name, value in found.items()}
            row |= {"lr": lr, "seconds": time.perf_counter() - begin}
            network.epochs += 1
            history.append(row)
            network.observe(row["loss"] if held_out is None else row["val_loss"])
            for callback in callbacks:
                callback.on_epoch_end(run, row)
            if run.stopping():
                break
        run.stop("finished")
    except DivergenceError as error:
        run.stop("diverged")
        error.history = history
        raise
    except KeyboardInterrupt:
        run.stop("interrupted")
        raise
    finally:
        history.stop_reason = run.stop_reason
        for callback in started:
            callback.on_train_end(run)


def _train_epoch(
    run: Run,
    batches: Batches,
    metrics: list[Metric],
    callbacks: list[Callback],
    augmenters: list[Augmenter],
) -> dict[str, float]:
    network = run.network
    first_step = network.steps
    totals = _Totals(network, metrics)
    for callback in callbacks:
        callback.on_epoch_begin(run)
    for x, y, sample_weight in batches.epoch(network.epochs):
        if augmenters:
            x = augmented(augmenters, network.prepare_input(x), network.seed, network.steps)
        output, loss = network.train(x, y, sample_weight)
        totals.add(loss, output, y, sample_weight)
        for callback in callbacks:
            callback.on_batch_end(run, loss)
        if run.stopping():
            break
    losses = totals.losses()
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        # Only where nobody looked at the losses as they came; the updates were left out there.
        network.steps = first_step + int(bad[0])
        network.reset_divergence()
        raise network.divergence(float(losses[bad[0]]), network.steps, network.lr)
    return totals.result()


def _evaluate(network: Network, batches: Batches, metrics: list[Metric]) -> dict[str, float]:
    totals = _Totals(network, metrics)
    for x, y, sample_weight in batches.epoch(0):
        output = network.eval(x)
        totals.add(network.data_loss(output, y, sample_weight), output, y, sample_weight)
    return totals.result()


class _Totals:
    """What the batches of a pass add up to. It stays on the device until the pass is over."""

    def __init__(self, network: Network, metrics: list[Metric]) -> None:
        self.network = network
        self.metrics = metrics
        self._losses: list[Array] = []
        self._weights: list[Any] = []
        self._statistics: list[list[Array]] = [[] for _ in metrics]

    def add(self, loss: Array, output: Array, target: Any, sample_weight: Any) -> None:
        network = self.network
        weight_sum = network.loss.weight_sum
        self._losses.append(loss)
        self._weights.append(float(output.shape[0]) if weight_sum is None else weight_sum)
        if not self.metrics:
            return
        with network.backend.scope():
            target = network.prepare_target(target, tuple(output.shape))
            weight = network.prepare_weight(sample_weight)
            for metric, gathered in zip(self.metrics, self._statistics, strict=True):
                gathered.append(metric.batch(output, target, weight))

    def losses(self) -> np.ndarray[Any, Any]:
        return self._host(self._losses)

    def result(self) -> dict[str, float]:
        losses, weights = self.losses(), self._host(self._weights)
        # A pass whose samples all count nothing has the loss 0, as a batch has.
        mean = float((losses * weights).sum() / max(weights.sum(), np.finfo(np.float64).tiny))
        found = {"loss": mean}
        for metric, gathered in zip(self.metrics, self._statistics, strict=True):
            found[metric.name] = float(metric.combine(self._host(gathered)))
        return found

    def _host(self, values: list[Any]) -> np.ndarray[Any, Any]:
        """Copy numbers or short vectors, one of a batch each, to the host at once."""
        if not values:
            return np.zeros(0)
        backend = self.network.backend
        arrays = [value for value in values if backend.owns(value)]
        if not arrays:
            return np.asarray(values, dtype=np.float64)
        with backend.scope():
            like = arrays[0]
            stacked = backend.xp.stack(
                [v if backend.owns(v) else backend.asarray(v, dtype=like.dtype) for v in values]
            )
        return backend.to_host(stacked).astype(np.float64)


@contextlib.contextmanager
def _interruptible(run: Run) -> Iterator[None]:
    """Let the first Ctrl-C end the run after its step, and the second one end it at once."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # somebody else decides what a signal means
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run.stop("interrupted")

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
