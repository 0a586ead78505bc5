"""What xpnn loads when it is first asked for.

Rooms on the upper floors are handed down to the lower ones that use but must not import them: here
are the functions that do so, and load the upper room when they are called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import random
from .layers._correlation import set_products
from .network import Network

if TYPE_CHECKING:
    from os import PathLike

    from ._standard import Array
    from .fusion import Plan
    from .fusion.traced_convolution import CompiledProducts, XlaProducts

__all__ = ["NAMES", "fetch", "hand_down"]

#: Names at the top of xpnn, and the rooms that they come from.
NAMES = {
    "Model": "checkpoint",
    "check_gradients": "gradient_check",
    "load": "checkpoint",
    "register": "description",
    "save": "checkpoint",
}


def fetch(name: str) -> Any:
    """Load one of `NAMES`, or the room "fusion".

    Raises
    ------
    AttributeError
        For any other name.
    """
    if name == "fusion":
        return importlib.import_module(".fusion", __package__)
    if name in NAMES:
        return getattr(importlib.import_module(f".{NAMES[name]}", __package__), name)
    raise AttributeError(f"module {__package__!r} has no attribute {name!r}")


def hand_down() -> None:
    """Give masks on CuPy and convolutions on JAX what makes them; networks planner and writer."""
    random.set_mask_maker("cupy", _mask)
    set_products("jax", _products)
    Network.planner = _plan
    Network.saver = _save


def _mask(stream: random.Stream, threshold: int, count: int, start: int, like: Array) -> Array:
    """Make a mask on a CUDA device: `xpnn.kernels.cuda.mask`."""
    from .kernels.cuda import mask

    return mask(stream, threshold, count, start, like)


def _products() -> XlaProducts | CompiledProducts:
    """Find the products of convolutions on JAX: `xpnn.fusion.traced_convolution`."""
    from .fusion.traced_convolution import products

    return products()


def _plan(network: Network) -> Plan:
    """Plan how a network makes its steps: `xpnn.fusion.plan`."""
    from .fusion import plan

    return plan(network)


def _save(network: Network, path: str | PathLike[str], **more: Any) -> None:
    """Write a network to a model file: `xpnn.save`."""
    from .checkpoint import save

    save(network, path, **more)
