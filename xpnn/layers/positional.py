"""Where a step of a sequence stands."""

from __future__ import annotations

import math

from .._standard import Array, array_namespace, device
from ._sequence import expect_sequences
from .layer import Layer

__all__ = ["PositionalEncoding"]


class PositionalEncoding(Layer):
    """Add to each step waves that say where it stands.

    ::

        output[:, t, 2 i]     = input[:, t, 2 i]     + sin(t / 10000 ** (2 i / D))
        output[:, t, 2 i + 1] = input[:, t, 2 i + 1] + cos(t / 10000 ** (2 i / D))
        dinput = dout

    Attention sees a set of steps without an order; this gives it one.

    Raises
    ------
    ShapeError
        In the forward pass, unless the input is (N, T, D) with T >= 1.

    Notes
    -----
    Arrays: input and output (N, T, D), of one floating-point dtype. No parameters. Both modes do
    the same.

    Cost: 1 FLOP an element; the waves are computed once for the longest sequence so far. The cache
    keeps nothing.

    Source: Vaswani et al., "Attention Is All You Need", NIPS 2017, section 3.5.

    Examples
    --------
    >>> import numpy as np
    >>> PositionalEncoding().forward(np.zeros((1, 2, 2))).round(4).tolist()
    [[[0.0, 1.0], [0.8415, 0.5403]]]
    """

    def __init__(self) -> None:
        super().__init__()
        self._waves: list[list[float]] = []

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (N, T, D), the shape of the input."""
        expect_sequences(self.name, None, input_shape)
        return input_shape

    def forward(self, input: Array) -> Array:
        """Return ``input`` with the waves added."""
        _, t, dim = self.output_shape(input.shape)
        self.cache["forward"] = True
        if self._waves and len(self._waves[0]) != dim:
            self._waves = []
        # On the host and in double precision: the angles are large.
        frequencies = [10000.0 ** (-2 * (j // 2) / dim) for j in range(dim)]
        for step in range(len(self._waves), t):
            angles = [step * frequency for frequency in frequencies]
            self._waves.append([(math.cos if j % 2 else math.sin)(a) for j, a in enumerate(angles)])
        xp = array_namespace(input)
        return input + xp.asarray(self._waves[:t], dtype=input.dtype, device=device(input))

    def backward(self, dout: Array) -> Array:
        """Return ``dout``."""
        self.saved("forward")
        return dout
