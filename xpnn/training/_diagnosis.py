"""Where in a network the first number that is not finite appears."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from .._standard import Array, array_namespace
from ..errors import XpnnError
from ..layers.layer import Layer
from ..network import Network

__all__ = ["first_not_finite"]


def first_not_finite(
    network: Network, input: Any, target: Any, sample_weight: Any = None
) -> str | None:
    """Pass a batch through a network a second time, layer by layer, and look at every number.

    The same step gives the same masks, so it is the same pass as the one that failed, but for what
    fused steps round differently. The network is left as it was.

    Returns
    -------
    str or None
        Such as "the output of layer 2 (ReLU)"; None if there is nothing to be found.
    """
    parameters = network.parameters
    with network.backend.scope():
        for key, value in parameters.named().items():
            if not _finite(value):
                return f"{key}, before the step"
        buffers = parameters.buffers.copy()
        seen: list[str] = []
        try:
            with _watched(parameters.layers, seen):
                loss, _ = network.gradients(input, target, sample_weight)
            # Gradients come after the loss.
            if not _finite(loss) and not any(place.startswith("the output") for place in seen):
                seen.insert(0, "the loss")
        except XpnnError:
            return None
        finally:
            parameters.restore_buffers(buffers)
            for layer in parameters.layers.values():
                layer.cache.clear()
            network.loss.cache.clear()
    return seen[0] if seen else None


@contextlib.contextmanager
def _watched(layers: dict[str, Layer], seen: list[str]) -> Iterator[None]:
    """Note which layers give out numbers that are not finite, in the order of the pass."""
    own = {key: dict(vars(layer)) for key, layer in layers.items()}

    def watch(layer: Layer) -> None:
        forward, backward = layer.forward, layer.backward

        def look_forward(*arguments: Any) -> Any:
            output = forward(*arguments)
            if not _finite(output):
                seen.append(f"the output of {layer.name}")
            return output

        def look_backward(*arguments: Any) -> Any:
            dinput = backward(*arguments)
            for name, value in layer.grads.items():
                if not _finite(value):
                    seen.append(f"the gradient of {name} of {layer.name}")
            if dinput is not None and not _finite(dinput):
                seen.append(f"the gradient by the input of {layer.name}")
            return dinput

        vars(layer).update(forward=look_forward, backward=look_backward)

    try:
        for layer in layers.values():
            watch(layer)
        yield
    finally:
        for key, layer in layers.items():
            for name in ("forward", "backward"):
                vars(layer).pop(name, None)
                if name in own[key]:
                    vars(layer)[name] = own[key][name]


def _finite(value: Array) -> bool:
    xp = array_namespace(value)
    if not xp.isdtype(value.dtype, "real floating"):
        return True
    return bool(xp.all(xp.isfinite(value)))
