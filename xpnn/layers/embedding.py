"""Vectors for words and other things that have numbers."""

from __future__ import annotations

import math
import operator

from .._standard import Array, arange, array_namespace, device, is_synchronous, segment_sum
from ..errors import ConfigurationError, DataError, ShapeError
from ..initializers import Initializer
from ..initializers import get as get_initializer
from ..random import Stream
from ._alone import build_alone
from ._shapes import checked_width
from .layer import Layer

__all__ = ["Embedding"]


class Embedding(Layer):
    """Look up a vector for each id.

    ::

        output = W[input]
        dW[i]  = sum of dout over all places where input is i

    The input is whole numbers, so there is no gradient of it. As the first layer of a network it
    gets them as they are, not as floating-point numbers.

    Parameters
    ----------
    num : int
        Number of ids, >= 1: they are 0 ... num - 1.
    dim : int
        Length of a vector, >= 1.
    padding_idx : int, optional
        An id, 0 <= padding_idx < num, that stands for nothing: its vector is drawn as 0 and is not
        trained.
    weight_initializer : str or initializer, optional
        How the first W is drawn; see `xpnn.initializers`. By default normal with variance 1.
    seed : int, optional
        Draw from this seed, 0 <= seed < 2**64, and not from the network's. A layer that is used
        alone and has no seed draws from fresh entropy.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range.
    ShapeError
        In the forward pass, if the input is a single number.
    DataError
        If an id is no whole number of 0 ... num - 1. Whatever is on the host is checked there,
        before it goes to a device. Ids that are on a device already, where a look would make the
        host wait for it (CuPy, JAX, dpnp, torch on CUDA), give vectors of NaN instead.

    Notes
    -----
    Arrays: input (N, ...) of an integer type, output (N, ..., dim) of the floating-point type of W,
    W (num, dim). Both modes do the same.

    Cost: no FLOPs forward; backward sorts the n ids and takes log2(n) dim FLOPs an id. The
    gradient is added up in an order that follows from the ids, so it is the same every time. It is
    dense: an optimizer passes over all of W. The cache keeps the ids.

    Source: Bengio, Ducharme, Vincent and Jauvin, "A Neural Probabilistic Language Model", JMLR 3,
    2003, section 2: the matrix C.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Embedding(3, 2)
    >>> layer.params["W"] = np.asarray([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    >>> layer.forward(np.asarray([[2, 2, 0]])).tolist()
    [[[4.0, 5.0], [4.0, 5.0], [0.0, 1.0]]]
    >>> layer.backward(np.ones((1, 3, 2)))
    >>> layer.grads["W"].tolist()
    [[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]
    """

    takes_ids = True

    def __init__(
        self,
        num: int,
        dim: int,
        padding_idx: int | None = None,
        weight_initializer: str | Initializer | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.num = checked_width(self.name, "num", num)
        self.dim = checked_width(self.name, "dim", dim)
        if padding_idx is not None:
            is_id = hasattr(padding_idx, "__index__") and not isinstance(padding_idx, bool)
            if not is_id or not 0 <= padding_idx < self.num:
                raise ConfigurationError(
                    f"{self.name}: padding_idx must be an id, 0 <= padding_idx < {self.num}, "
                    f"got {padding_idx!r}"
                )
            padding_idx = operator.index(padding_idx)
        self.padding_idx = padding_idx
        if weight_initializer is not None:
            get_initializer(weight_initializer)  # mistakes show here, not at the first step
        self.weight_initializer = weight_initializer
        self.seed = None if seed is None else Stream(seed).seed

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(N, ...) becomes (N, ..., dim)."""
        if not input_shape:
            raise ShapeError(f"{self.name}: expected input of shape (N, ...), got ()")
        return (*input_shape, self.dim)

    def check_ids(self, ids: Array) -> None:
        """Raise DataError unless every id is a whole number of 0 ... num - 1."""
        xp = array_namespace(ids)
        if math.prod(ids.shape) == 0:
            return
        if not xp.isdtype(ids.dtype, "integral"):
            whole = xp.isdtype(ids.dtype, "real floating") and bool(xp.all(ids == xp.floor(ids)))
            if not whole:
                raise DataError(f"{self.name}: expected ids, whole numbers, got {ids.dtype}")
        for found in (xp.min(ids), xp.max(ids)):
            if not 0 <= int(found) < self.num:
                raise DataError(
                    f"{self.name}: expected ids of 0 ... {self.num - 1}, got {int(found)}"
                )

    def build(self, rng: Stream) -> None:
        """Draw W if it is missing."""
        if "W" in self.params:
            return
        shape = (self.num, self.dim)
        if self.weight_initializer is None:
            weight = rng.at(0).normal(shape)
        else:
            weight = get_initializer(self.weight_initializer)(shape, rng.at(0))
        if self.padding_idx is not None:
            weight[self.padding_idx, :] = 0.0
        self.params["W"] = weight

    def forward(self, input: Array) -> Array:
        """Return the vectors of the ids."""
        shape = self.output_shape(input.shape)
        xp = array_namespace(input)
        checked = is_synchronous(input)
        if checked:
            self.check_ids(input)
        if not self.params:
            types = xp.__array_namespace_info__().default_dtypes(device=device(input))
            build_alone(self, self.seed, input, dtype=types["real floating"])
        weight = self.params["W"]
        ids = xp.reshape(input, (-1,))
        self.cache = {"ids": ids}
        if checked:
            return xp.reshape(xp.take(weight, ids, axis=0), shape)
        valid = xp.logical_and(ids >= 0, ids < self.num)
        rows = xp.take(weight, xp.where(valid, ids, 0), axis=0)
        return xp.reshape(xp.where(valid[:, None], rows, math.nan), shape)

    def backward(self, dout: Array) -> None:
        """Write the gradient of W. There is none of the ids, so nothing is returned."""
        ids = self.saved("ids")
        xp = array_namespace(dout)
        rows = xp.reshape(dout, (ids.shape[0], self.dim))
        gradient = segment_sum(rows, ids, self.num)
        if self.padding_idx is not None:
            trained = arange(self.num, like=ids) != self.padding_idx
            gradient *= xp.astype(trained, dout.dtype)[:, None]
        self.grads["W"] = gradient
