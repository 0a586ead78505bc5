"""One row of each sequence: its last step, the mean or the maximum of its steps."""

from __future__ import annotations

from .._standard import Array, arange, array_namespace, zeros
from ._sequence import SequenceLayer, expect_sequences

__all__ = ["LastStep", "MaxOverTime", "MeanOverTime"]


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
