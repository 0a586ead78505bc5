"""What a training is made of, and in what two of them differ."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import zip_longest
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
    elif _comparable(before, now):
        for index, pair in enumerate(zip_longest(before, now)):
            yield from differences(*pair, f"{place}[{index}]")
    elif type(before) is not type(now) or _steady(before) != _steady(now):
        yield f"{place}: {_shown(before)}, now {_shown(now)}"


def _comparable(before: Any, now: Any) -> bool:
    """Tell whether two lists are compared item by item: tables always, names if as many."""
    if not isinstance(before, list) or not isinstance(now, list):
        return False
    return len(before) == len(now) or any(isinstance(item, dict) for item in before + now)


def _steady(value: Any) -> Any:
    """Leave out where in memory something lies, which Python shows of functions."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", value) if isinstance(value, str) else value


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
