"""What a training is made of, and in what two of them differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._settings import represent
from .._standard import Array, dtype_name
from ..backend import Backend, to_host
from ..callbacks import Callback
from ..description import describe
from ..errors import ConfigurationError
from ..network import Network

__all__ = ["describe_callbacks", "describe_data", "describe_network", "differences"]

#: Numbers of an array that its digest looks at: all of a small one, else rows in equal distances.
_SAMPLE = 1 << 21


def describe_network(network: Network) -> dict[str, Any]:
    """Describe a network and where it computes; the seed only if the program chose it."""
    try:
        found = describe(network)
    except ConfigurationError:  # a class of the user's own
        found = {
            "type": type(network).__name__,
            "layers": {key: repr(layer) for key, layer in network.named_layers()},
            "loss": repr(network.loss),
            "optimizer": repr(network.optimizer),
            "regularization": repr(network.regularization),
            "dtype": network.backend.dtype,
            "seed": network.seed,
        }
    if not network.seed_given:
        found.pop("seed")
    return found | {"backend": network.backend.name, "fuse": network.fuse}


def describe_callbacks(callbacks: list[Callback]) -> list[Any]:
    """Name the callbacks whose state a checkpoint has."""
    return [represent(callback) for callback in callbacks if callback.state()]


def describe_data(data: Any, backend: Backend) -> Any:
    """Return shape, type and digest of samples, targets and weights; of an iterable, nothing."""
    if not isinstance(data, tuple):
        return None if data is None else "an iterable"
    names = ("x", "y", "sample_weight")[: len(data)]
    arrays = [item if backend.owns(item) else backend.host_data(item) for item in data]
    return {
        name: {
            "shape": list(array.shape),
            "dtype": dtype_name(array),
            "digest": _digest(array, backend),
        }
        for name, array in zip(names, arrays, strict=True)
    }


def _digest(array: Array, backend: Backend) -> str:
    rows = int(array.shape[0])
    width = max(1, int(np.prod(array.shape[1:])))
    step = max(1, -(-rows * width // _SAMPLE))
    with backend.scope():
        sample = np.asarray(to_host(array[::step, ...]), order="C")
    return hashlib.sha256(sample.reshape(-1).data.cast("B")).hexdigest()[:16]


def differences(before: Any, now: Any, place: str = "") -> Iterator[str]:
    """Yield a line for each place where two descriptions differ, such as "epochs: 3, now 4"."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            inner = f"{place}.{key}" if place else str(key)
            if key not in now or key not in before:
                yield f"{inner}: {_shown(before.get(key))}, now {_shown(now.get(key))}"
            else:
                yield from differences(before[key], now[key], inner)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, pair in enumerate(zip(before, now, strict=True)):
            yield from differences(*pair, f"{place}[{index}]")
    elif type(before) is not type(now) or before != now:
        yield f"{place}: {_shown(before)}, now {_shown(now)}"


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
