"""What a training is given: checked as far as it is there, and cut into batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .._checks import expect_kind
from ..augmentation import Augmentation, Augmenter, augmented
from ..backend import to_host
from ..callbacks import Callback
from ..data.arrays import array_batches, check_range, checked_arrays
from ..data.batches import Batches, IterableBatches
from ..data.splitting import split
from ..errors import ConfigurationError, DataError
from ..metrics import Metric
from ..metrics import get as get_metric
from ..network import Network
from ..random import Stream
from ..summary import step_memory

__all__ = [
    "checked_augmenters",
    "checked_callbacks",
    "checked_metrics",
    "expect_data",
    "make_batches",
    "name_of",
    "set_aside",
    "try_augmentation",
]


def make_batches(
    network: Network,
    data: Any,
    batch_size: int,
    finite: bool,
    resident: bool | None,
    order: Stream | None = None,
    steps: int | None = None,
    what: str = "",
) -> Batches:
    """Check data as far as they are there, and cut them into batches.

    Errors speak of ``what`` data.
    """
    expect_data(data, what)
    if not isinstance(data, tuple):
        return IterableBatches(data, steps, finite)
    backend = network.backend
    parameters = network.parameters
    join = any(layer.batch_statistics for layer in parameters.layers.values())
    with backend.scope():
        x, y, *weight = _checked(network, data, finite, what)
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


def expect_data(data: Any, what: str = "") -> None:
    """Raise DataError unless data are a tuple of arrays or an iterable of batches."""
    if hasattr(data, "shape"):
        raise DataError(f"{what}data: arrays are given as a tuple, (x, y)")
    if not isinstance(data, Iterable) or isinstance(data, str | dict):
        raise DataError(
            f"{what}data: expected a tuple of arrays (x, y) or (x, y, sample_weight), or an "
            f"iterable of batches, got {type(data).__name__}"
        )


def _checked(
    network: Network, data: tuple[Any, ...], finite: bool, what: str = ""
) -> tuple[Any, ...]:
    """Check samples, targets and weights by all that network and loss know of them."""
    backend = network.backend
    x, y, *weight = checked_arrays(data, backend, finite=finite, what=what)
    shape = network.output_shape(tuple(x.shape))
    if shape is None:  # a layer that cannot tell: try one sample
        shape = (x.shape[0], *network.eval(x[:1, ...]).shape[1:])
    x = network.check_input(x)
    # Targets on a device come to the host once a run: the same error for a label everywhere.
    prepared = network.check_target(_on_host(y), shape)
    if finite and np.asarray(prepared).dtype.kind == "f":
        check_range(prepared, backend, f"{what}y")
    for value in weight:
        network.check_weight(_on_host(value))
    return x, prepared if isinstance(y, np.ndarray) else y, *weight


def _on_host(array: Any) -> Any:
    return array if isinstance(array, np.ndarray) else to_host(array)


def set_aside(
    network: Network, data: Any, fraction: float, finite: bool, seed: int
) -> tuple[Any, Any]:
    """Split a fraction of the rows off for validation."""
    if not 0 < fraction < 1:
        raise ConfigurationError(f"validation: a fraction must be in (0, 1), got {fraction!r}")
    if not isinstance(data, tuple):
        raise ConfigurationError("validation: a fraction needs arrays (x, y), not an iterable")
    # Before the rows change their places: errors name them.
    with network.backend.scope():
        host = [_on_host(array) for array in _checked(network, data, finite)]
    return split(*host, fraction=fraction, seed=seed)


def checked_metrics(metrics: Any) -> list[Metric]:
    """Return what was given for ``metrics`` as a list of metrics."""
    if isinstance(metrics, str | Metric):
        metrics = [metrics]
    if not isinstance(metrics, Iterable):
        raise ConfigurationError(f"metrics: expected a list of names or Metric, got {metrics!r}")
    return [get_metric(metric) for metric in metrics]


def checked_callbacks(callbacks: Any) -> list[Callback]:
    """Return what was given for ``callbacks`` as a list."""
    if isinstance(callbacks, Callback):
        callbacks = [callbacks]
    if not isinstance(callbacks, Iterable):
        raise ConfigurationError(f"callbacks: expected a list of Callback, got {callbacks!r}")
    found = list(callbacks)
    for index, callback in enumerate(found):
        expect_kind(f"callbacks[{index}]", callback, Callback)
    return found


def checked_augmenters(augment: Any) -> list[Augmenter]:
    """Return what was given for `augment` as a list."""
    found = list(augment) if isinstance(augment, list | tuple) else [augment]
    for index, augmenter in enumerate(found):
        if not callable(augmenter) or isinstance(augmenter, type):
            place = "augment" if found == [augment] else f"augment[{index}]"
            raise ConfigurationError(
                f"{place}: expected an augmentation such as RandomFlip(), got {augmenter!r}"
            )
    return found


def name_of(augmenter: Augmenter) -> str:
    """Return what tells an augmentation from others, in every process."""
    own = augmenter if hasattr(augmenter, "__qualname__") else type(augmenter)
    return repr(augmenter) if isinstance(augmenter, Augmentation) else str(own.__qualname__)


def try_augmentation(network: Network, x: Any, augmenters: list[Augmenter]) -> None:
    """Change a sample as in the first step, so that what cannot be is noticed before it."""
    with network.backend.scope():
        images = network.prepare_input(x[:1])
        images = augmented(augmenters, images, network.seed, network.steps)
        network.output_shape(tuple(images.shape))
