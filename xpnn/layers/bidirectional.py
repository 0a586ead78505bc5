"""Two directions through a sequence."""

from __future__ import annotations

from .._settings import settings
from ..errors import ConfigurationError
from .composites import Parallel
from .recurrent import Recurrent

__all__ = ["Bidirectional"]


class Bidirectional(Parallel):
    """Go through sequences in both directions, with two layers of one kind.

    ::

        output = [layer(input), backwards(input)] side by side along the features, or their sum
        dinput = sum of the gradients of the input by the two

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        That of one direction. The other has the same settings and the reverse direction.
    merge : {"concat", "sum"}
        How the two outputs are put together.

    Raises
    ------
    ConfigurationError
        If the layer is not recurrent, or merge is unknown.
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
        self.layer = layer
        backwards = type(layer)(**settings(layer) | {"reverse": not layer.reverse})
        backwards._number = layer._number + 1  # else one seed would draw the same weights twice
        super().__init__([layer, backwards], merge, axis=-1)
