"""What stands around recurrent layers: two directions, masks, and one row of a sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .._settings import settings
from .._standard import Array, arange, array_namespace, zeros
from ..errors import ConfigurationError, ShapeError
from ._chain import Chain, every_layer
from ._sequence import SequenceLayer, expect_sequences
from .composites import Parallel
from .layer import Layer
from .recurrent import Recurrent

__all__ = ["Bidirectional", "LastStep", "Masked", "MaxOverTime", "MeanOverTime"]


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
        super().__init__([layer, backwards], merge, axis=-1)


class Masked(Layer):
    """Run layers on sequences of several lengths, whose missing steps have been filled up.

    ::

        mask[n, t] = input[n, t] != padding, in at least one feature
        output = layers(input), of which those for sequences leave out the steps with mask 0

    The layers for sequences inside, at any depth, see the mask: recurrent layers leave their state
    as it is at a step that is not there, `LastStep` takes the last one that is, means do not count
    it and `MultiHeadAttention` does not look at it. So the data say themselves which steps are
    there, and go through `fit`, `predict` and files as any other.

    Parameters
    ----------
    layers : Layer or sequence of Layer
        In the order of the forward pass.
    padding : float
        What fills missing steps: an id, or the value of all features. One that no step that is
        there has; 0 often is the id of nothing.

    Raises
    ------
    ConfigurationError
        If there is something that is no layer.
    ShapeError
        In the forward pass, unless the input is ids (N, T) or steps (N, T, D), or by one of the
        layers.

    Notes
    -----
    Arrays: input ids (N, T) or (N, T, D), output as the layers have it. Missing steps may be
    anywhere. A sequence without any step gives the initial state. Layers outside know of no mask:
    close with `LastStep`, a mean over time, or a recurrent layer without ``return_sequences``. The
    layers of layer 3 have keys such as "3.0.W". Both modes do the same.

    Cost: that of the layers, and 1 FLOP an element of the input. The cache keeps nothing besides.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Masked([MeanOverTime()], padding=-1)
    >>> layer.forward(np.asarray([[[2.0], [4.0], [-1.0]], [[5.0], [-1.0], [-1.0]]])).tolist()
    [[3.0], [5.0]]
    """

    def __init__(self, layers: Layer | Sequence[Layer], padding: float = 0) -> None:
        super().__init__()
        self.layers = layers
        self.padding = padding
        self._layers = Chain(self.name, "layers", layers)

    def sublayers(self) -> Iterator[tuple[str, Layer]]:
        """Yield the layers."""
        yield from self._layers.named()

    @property
    def takes_ids(self) -> bool:  # type: ignore[override]
        """Whether the first layer takes ids."""
        return self._layers.takes_ids

    def check_ids(self, ids: Array) -> None:
        """Let the first layer check its ids."""
        self._layers.check_ids(ids)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape of the output of the last layer."""
        if len(input_shape) != (2 if self.takes_ids else 3):
            wanted = "(N, T)" if self.takes_ids else "(N, T, D)"
            raise ShapeError(
                f"{self.name}: expected input of shape {wanted}, got {tuple(input_shape)}"
            )
        return self._layers.output_shape(input_shape)

    def forward(self, input: Array) -> Array:
        """Return the output of the last layer."""
        self.output_shape(input.shape)
        self.cache["forward"] = True
        there = input != self.padding
        if input.ndim == 3:
            there = array_namespace(input).any(there, axis=-1)
        inside = [
            layer
            for outer in self._layers.layers
            for layer in every_layer(outer)
            if isinstance(layer, SequenceLayer)
        ]
        for layer in inside:
            layer.mask = there
        try:
            return self._layers.forward(input)
        finally:
            for layer in inside:
                layer.mask = None

    def backward(self, dout: Array) -> Array:
        """Return the gradient by the input of the first layer."""
        self.saved("forward")
        return self._layers.backward(dout)


class _OverTime(SequenceLayer):
    """What makes one row of each sequence."""

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(N, T, D) becomes (N, D)."""
        expect_sequences(self.name, None, input_shape)
        return (input_shape[0], input_shape[2])


class LastStep(_OverTime):
    """Take the last step of each sequence.

    ::

        output = input[:, T - 1]
        dinput = dout at that step, 0 at all others

    With a mask or lengths, the last step that is there; 0 if there is none.

    Raises
    ------
    ShapeError
        In the forward pass, unless the input is (N, T, D) with T >= 1.
    DataError
        In the forward pass, if a length is longer than the sequence.

    Notes
    -----
    Arrays: input (N, T, D), output (N, D), of one floating-point dtype. Both modes do the same.

    Cost in FLOPs: 2 N T D forward and N T D backward, with a mask or without. The cache keeps which
    steps were taken.

    Examples
    --------
    >>> import numpy as np
    >>> layer = LastStep()
    >>> layer.lengths = [1, 2]
    >>> layer.forward(np.asarray([[[1.0], [2.0]], [[3.0], [4.0]]])).tolist()
    [[1.0], [4.0]]
    """

    def forward(self, input: Array) -> Array:
        """Return the last steps."""
        self.output_shape(input.shape)
        xp = array_namespace(input)
        there = self._steps_there(input)
        numbers = arange(input.shape[1], like=input) + 1.0
        if there is None:
            there = xp.broadcast_to(numbers[None, :] > 0, input.shape[:2])
        numbers = xp.astype(there, input.dtype) * numbers  # from 1 on; 0 if it is not there
        last = xp.logical_and(there, numbers == xp.max(numbers, axis=1, keepdims=True))
        taken = xp.astype(last, input.dtype)[:, :, None]
        self.cache["taken"] = taken
        return xp.sum(taken * input, axis=1)

    def backward(self, dout: Array) -> Array:
        """Return ``dout`` at the last steps."""
        return self.saved("taken") * dout[:, None, :]


class MeanOverTime(_OverTime):
    """Take the mean of the steps of each sequence.

    ::

        output = sum(input, axis=1) / T
        dinput = dout / T at each step

    With a mask or lengths, of the steps that are there; 0 if there is none.

    Raises
    ------
    ShapeError
        In the forward pass, unless the input is (N, T, D) with T >= 1.
    DataError
        In the forward pass, if a length is longer than the sequence.

    Notes
    -----
    Arrays: input (N, T, D), output (N, D), of one floating-point dtype. Both modes do the same.

    Cost in FLOPs an element of the input: 2 forward, 1 backward. The cache keeps a factor for each
    step.

    Examples
    --------
    >>> import numpy as np
    >>> MeanOverTime().forward(np.asarray([[[1.0, 2.0], [3.0, 6.0]]])).tolist()
    [[2.0, 4.0]]
    """

    def forward(self, input: Array) -> Array:
        """Return the means."""
        self.output_shape(input.shape)
        xp = array_namespace(input)
        n, t, _ = input.shape
        there = self._steps_there(input)
        share = zeros((n, t, 1), like=input)
        if there is None:
            share += 1.0 / t
        else:
            share += xp.astype(there, input.dtype)[:, :, None]
            share /= xp.maximum(xp.sum(share, axis=1, keepdims=True), 1.0)
        self.cache["share"] = share
        return xp.sum(share * input, axis=1)

    def backward(self, dout: Array) -> Array:
        """Return ``dout / T`` at each step."""
        return self.saved("share") * dout[:, None, :]


class MaxOverTime(_OverTime):
    """Take the largest value of each feature over the steps of each sequence.

    ::

        output = max(input, axis=1)
        dinput = dout at the first step that has the largest value, 0 at all others

    With a mask or lengths, of the steps that are there; 0 if there is none.

    Raises
    ------
    ShapeError
        In the forward pass, unless the input is (N, T, D) with T >= 1.
    DataError
        In the forward pass, if a length is longer than the sequence.

    Notes
    -----
    Arrays: input (N, T, D), output (N, D), of one floating-point dtype. Both modes do the same.

    Cost in FLOPs an element of the input: 2 forward, 2 backward. The cache keeps the places of the
    largest values, as large as the input.

    Source: Collobert et al., "Natural Language Processing (Almost) from Scratch", JMLR 12, 2011,
    section 3.3.2.

    Examples
    --------
    >>> import numpy as np
    >>> MaxOverTime().forward(np.asarray([[[1.0, 7.0], [3.0, 6.0]]])).tolist()
    [[3.0, 7.0]]
    """

    def forward(self, input: Array) -> Array:
        """Return the largest values."""
        shape = self.output_shape(input.shape)
        xp = array_namespace(input)
        there = self._steps_there(input)
        values = input
        if there is not None:
            values = xp.where(there[:, :, None], input, -xp.inf)
        places = xp.argmax(values, axis=1, keepdims=True)
        steps = arange(input.shape[1], like=places)[None, :, None]
        taken = steps == places
        if there is not None:
            taken = xp.logical_and(taken, there[:, :, None])
        self.cache["taken"] = xp.astype(taken, input.dtype)
        output = xp.max(values, axis=1)
        if there is not None:
            output = xp.where(xp.any(there, axis=1)[:, None], output, 0.0)
        return xp.reshape(output, shape)

    def backward(self, dout: Array) -> Array:
        """Return ``dout`` at the places of the largest values."""
        return self.saved("taken") * dout[:, None, :]
