"""The base class of layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from .._settings import represent
from .._standard import Array
from ..errors import XpnnError
from ..random import Stream

__all__ = ["Layer", "find_layers"]


class Layer:
    """A differentiable function with parameters; the base class of every layer.

    A layer of your own derives from it, calls ``super().__init__()``, puts what it learns into
    `params`, and defines `forward` and `backward`. Nothing needs to be registered.

    Attributes
    ----------
    params : dict of str to array
        What is trained.
    grads : dict of str to array
        Gradients of the loss by the parameters: written by `backward`, same keys and shapes.
    buffers : dict of str to array
        What is kept but not trained, such as running averages.
    cache : dict
        What `forward` leaves for `backward`.
    mode : {"train", "test"}
        Set by the network before each forward pass.
    name : str
        How errors call the layer; the network sets it to, say, "layer 2 (BatchNorm)".
    stream : xpnn.random.Stream or None
        Where a layer that needs random numbers takes them from; set by the network.
    step : int
        Number of the training step, counted from 0; set by the network.
    batch_statistics : bool
        Whether training takes statistics over the batch, so that a batch of one row is useless.
    takes_ids : bool
        Whether the input is whole numbers, such as ids of words. A network whose first layer does
        so leaves its input integers and has `check_ids` look at them.
    roles : dict of str to str
        The role of each parameter by its name: "weight", "bias" or "scale". Regularization and
        weight decay select by it. A name that is not listed is a weight.

    Examples
    --------
    >>> import numpy as np
    >>> class Scale(Layer):
    ...     def __init__(self, dim):
    ...         super().__init__()
    ...         self.params["s"] = np.ones(dim)
    ...
    ...     def forward(self, input):
    ...         self.cache["input"] = input
    ...         return input * self.params["s"]
    ...
    ...     def backward(self, dout):
    ...         self.grads["s"] = (dout * self.cache["input"]).sum(axis=0)
    ...         return dout * self.params["s"]
    >>> layer = Scale(2)
    >>> layer.forward(np.asarray([[1.0, 2.0]])).tolist()
    [[1.0, 2.0]]
    >>> layer.backward(np.asarray([[1.0, 1.0]])).tolist(), layer.grads["s"].tolist()
    ([[1.0, 1.0]], [1.0, 2.0])
    """

    batch_statistics: ClassVar[bool] = False
    takes_ids: bool = False
    roles: ClassVar[dict[str, str]] = {"W": "weight", "b": "bias", "gamma": "scale", "beta": "bias"}

    def __init__(self) -> None:
        super().__init__()
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}
        self.cache: dict[str, Any] = {}
        self.mode = "train"
        self.name = type(self).__name__
        self.stream: Stream | None = None
        self.step = 0

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape of the output for a shape of the input, both with the batch axis.

        A network calls it before a step, so that a wrong shape is found while nothing has been
        changed, and for its summary. None, as here, says that only `forward` can tell.

        Raises
        ------
        ShapeError
            If the layer cannot take such an input.
        """
        return None

    def cache_size(self, input_shape: tuple[int, ...]) -> int:
        """Return how many numbers `cache` keeps besides the input and the output.

        For the estimates of memory. 0, as here, for all that keep at most as much as these two.
        Layers that a layer is made of count for themselves.

        Parameters
        ----------
        input_shape : tuple of int
            With the batch axis.
        """
        return 0

    def check_ids(self, ids: Array) -> None:
        """Check the values of an input of ids; a network calls it while they are on the host.

        Raises
        ------
        DataError
            If an id is none.
        """

    def build(self, rng: Stream) -> None:
        """Draw the parameters that are missing, and leave what is there.

        Parameters
        ----------
        rng : xpnn.random.Stream
            Where to draw from. The i-th parameter of a layer draws from ``rng.at(i)``.
        """

    def forward(self, input: Array) -> Array:
        """Return the output, and leave in `cache` what `backward` needs."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def backward(self, dout: Array) -> Array:
        """Return the gradient by the input, and write the gradients by the parameters.

        Parameters
        ----------
        dout : array
            Gradient of the loss by the output of the last `forward`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define backward")

    def saved(self, name: str) -> Any:
        """Take out of `cache` what the last `forward` left under a name.

        Raises
        ------
        XpnnError
            If there was no forward pass since the last backward pass.
        """
        try:
            return self.cache.pop(name)
        except KeyError:
            raise XpnnError(f"{self.name}: backward needs a forward pass before it") from None

    def sublayers(self) -> Iterator[tuple[str, Layer]]:
        """Yield the names and layers that this layer is made of, if it is a composite."""
        yield from ()

    def __repr__(self) -> str:
        return represent(self)


def find_layers(key: str, value: Any) -> Iterator[tuple[str, Layer]]:
    """Yield the layers in a layer, or in nested lists and dictionaries; dots join the keys."""
    if isinstance(value, Layer):
        if type(value).sublayers is not Layer.sublayers:  # most have none, and networks ask often
            for name, inner in value.sublayers():
                yield from find_layers(f"{key}.{name}", inner)
        yield key, value
    elif isinstance(value, list | tuple | dict):
        pairs: Iterable[tuple[Any, Any]] = (
            value.items() if isinstance(value, dict) else enumerate(value)
        )
        for name, item in pairs:
            if isinstance(item, Layer | list | tuple | dict):
                yield from find_layers(f"{key}.{name}", item)
