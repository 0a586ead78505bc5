"""Two directions through a sequence."""

from __future__ import annotations

from typing import Any, NoReturn

from .._settings import settings
from ..errors import ConfigurationError
from ._sequence import ToldOutside
from .composites import Parallel
from .recurrent import Recurrent

__all__ = ["Bidirectional"]

#: Where initial states belong.
_INITIAL = "set `layer.initial` and `backwards.initial` of the Bidirectional, one each"


class Bidirectional(ToldOutside, Parallel):
    """Go through sequences in both directions, with two layers of one kind.

    ::

        output = [layer(input), backwards(input)] side by side along the features, or their sum
        dinput = sum of the gradients of the input by the two

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        That of one direction. The other has the same settings, mask and lengths, and the reverse
        direction.
    merge : {"concat", "sum"}
        How the two outputs are put together.

    Attributes
    ----------
    mask, lengths
        As of the layer, for both directions.
    backwards : RNN, LSTM or GRU
        The layer of the other direction. It has an ``initial`` of its own, as `layer` has.

    Raises
    ------
    ConfigurationError
        If the layer is not recurrent or has an initial state, which would be that of one direction,
        or merge is unknown; in the forward pass, if the two have been told different things of the
        steps that are there.
    ShapeError
        As by the layer.

    Notes
    -----
    Arrays: input as the layer has it, output as the layer has it, of twice the width with "concat".
    Without ``return_sequences`` both last states go out, that of the backward direction being that
    of the first step. In layer 3 the two have keys such as "3.0.0.W" and "3.1.0.W".

    Cost: twice that of the layer.

    Source: Schuster and Paliwal, "Bidirectional Recurrent Neural Networks", IEEE Transactions on
    Signal Processing 45, 1997.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn.layers import GRU
    >>> Bidirectional(GRU(3, 4)).forward(np.zeros((2, 5, 3))).shape
    (2, 5, 8)
    """

    def __init__(self, layer: Recurrent, merge: str = "concat") -> None:
        if not isinstance(layer, Recurrent):
            raise ConfigurationError(
                f"{type(self).__name__}: expected an RNN, LSTM or GRU, got {layer!r}"
            )
        if not isinstance(layer.initial, dict) or layer.initial:
            raise ConfigurationError(
                f"{type(self).__name__}: expected a layer without an initial state, which would be "
                f"that of one direction: {_INITIAL}"
            )
        self.layer = layer
        backwards = type(layer)(**settings(layer) | {"reverse": not layer.reverse})
        backwards._number = layer._number + 1  # else one seed would draw the same weights twice
        super().__init__([layer, backwards], merge, axis=-1)
        self.backwards = backwards
        self._told = layer, backwards
        self.mask, self.lengths = layer.mask, layer.lengths

    @property
    def initial(self) -> NoReturn:
        """There is none of both directions."""
        raise AttributeError(f"{self.name} has no initial of its own: {_INITIAL}")

    @initial.setter
    def initial(self, value: Any) -> NoReturn:
        raise ConfigurationError(f"{self.name} has no initial of its own: {_INITIAL}")

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """(N, T, input_dim) becomes what the two layers make of it, put together."""
        ahead, back = self._told
        for name, same in (
            ("mask", ahead.mask is back.mask),
            ("lengths", ahead.mask is not None or _same(ahead.lengths, back.lengths)),
        ):
            if not same:
                raise ConfigurationError(
                    f"{self.name}: expected one {name} for both directions: "
                    f"set that of the {type(self).__name__}, not of a layer inside"
                )
        return super().output_shape(input_shape)


def _same(ours: Any, theirs: Any) -> bool:
    """Tell whether lengths are the same; what is no lengths at all is for the layers to say."""
    if ours is theirs:
        return True
    try:
        return [*ours] == [*theirs]
    except TypeError:
        return False
