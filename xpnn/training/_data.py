"""What a training is given: checked as far as it is there, and cut into batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..augmentation import Augmentation, Augmenter, augmented
from ..backend import to_host
from ..data.batches import Batches, IterableBatches, array_batches, checked_arrays
from ..data.splitting import split
from ..errors import ConfigurationError, DataError
from ..network import Network
from ..random import Stream
from ..summary import step_memory

__all__ = ["checked_augmenters", "make_batches", "name_of", "set_aside", "try_augmentation"]


def make_batches(
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


def _on_host(array: Any) -> Any:
    return array if isinstance(array, np.ndarray) else to_host(array)


def set_aside(
    network: Network, data: Any, fraction: float, finite: bool, seed: int
) -> tuple[Any, Any]:
    """Split a fraction of the rows off for validation."""
    if not isinstance(data, tuple):
        raise ConfigurationError("validation: a fraction needs arrays (x, y), not an iterable")
    # Before the rows change their places: errors name them.
    with network.backend.scope():
        host = [_on_host(array) for array in _checked(network, data, finite)]
    return split(*host, fraction=fraction, seed=seed)


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
