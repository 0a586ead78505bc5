"""What a plan may take a layer for.

A layer is recognised by its exact type: a class derived from a built-in one may compute something
else, and so may an object that has a ``forward`` of its own.
"""

from __future__ import annotations

from .. import layers as built_in
from ..layers import BatchNorm, Dropout, LayerNorm
from ..layers.layer import Layer
from ..network import Network
from ..sequential import Sequential

__all__ = ["is_as_written", "is_built_in", "is_plain", "multiplies", "takes_last"]

#: Built-in layers that make no matrix product. Only without products of layers may the pool of
#: threads work on a plan.
_WITHOUT_PRODUCTS: set[type[Layer]] = {
    BatchNorm,
    Dropout,
    LayerNorm,
    built_in.AvgPool2d,
    built_in.BatchNorm2d,
    built_in.Dropout2d,
    built_in.Flatten,
    built_in.GlobalAvgPool2d,
    built_in.GroupNorm,
    built_in.LastStep,
    built_in.MaxOverTime,
    built_in.MaxPool2d,
    built_in.MeanOverTime,
    built_in.PositionalEncoding,
    built_in.Softmax,
    built_in.Softplus,
}

_BUILT_IN = {getattr(built_in, name) for name in built_in.__all__}


def is_built_in(layer: Layer) -> bool:
    """Tell whether a layer, with all that it is made of, does what its class in xpnn does."""
    return is_as_written(layer) and all(is_built_in(inner) for _, inner in layer.sublayers())


def is_as_written(layer: Layer) -> bool:
    """Tell whether the code of a layer is that of a class in xpnn, whatever it is made of."""
    return type(layer) in _BUILT_IN and not vars(layer).keys() & {"forward", "backward"}


def is_plain(network: Network) -> bool:
    """Tell whether a network runs its layers as `Sequential` does."""
    kind = type(network)
    own = vars(network).keys() & {"forward", "backward"}
    return kind.forward is Sequential.forward and kind.backward is Sequential.backward and not own


def multiplies(layer: Layer) -> bool:
    """Tell whether a layer may make matrix products of its own.

    Of a user's own layer it is a guess: one without a matrix among its parameters makes none that
    are worth a second thread.
    """
    if is_built_in(layer):
        return type(layer) not in _WITHOUT_PRODUCTS
    layers = [layer, *(inner for _, inner in layer.sublayers())]
    return any(value.ndim > 1 for each in layers for value in each.params.values())


def takes_last(layer: Layer) -> bool:
    """Tell whether a layer sums over the pixels, in whatever order they are."""
    return type(layer) is built_in.GlobalAvgPool2d and is_built_in(layer)
