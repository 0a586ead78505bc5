"""Long short-term memory."""

from __future__ import annotations

from typing import Any

from .._standard import Array, array_namespace, sigmoid
from ..random import Stream
from .recurrent import Recurrent, States

__all__ = ["LSTM"]


class LSTM(Recurrent):
    """Go through sequences with a state and a memory that gates open and close.

    ::

        i, f, o, g = the four parts of [input[:, t], h[t - 1]] @ W + b
        i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), tanh(g)
        c[t] = f * c[t - 1] + i * g
        h[t] = o * tanh(c[t])
        output[:, t] = h[t], or output = h[T - 1]

        dh    = dout[:, t] + what comes back from step t + 1
        dc    = dh * o * (1 - tanh(c[t]) ** 2) + dc * f of step t + 1
        da    = [dc * g * i * (1 - i), dc * c[t - 1] * f * (1 - f),
                 dh * tanh(c[t]) * o * (1 - o), dc * i * (1 - g ** 2)]
        [dinput[:, t], what goes back to step t - 1] = da @ W.T
        dW = sum over t of [input[:, t], h[t - 1]].T @ da, db = sum of da over t and the batch

    Parameters
    ----------
    input_dim : int
        Number of features of a step, >= 1.
    hidden_dim : int
        Number of features of the state, >= 1.
    return_sequences : bool
        Whether the states of all steps go out, or that of the last one only.
    reverse : bool
        Whether the last step is taken first. The output keeps the order of the input.
    weight_initializer, recurrent_initializer, bias_initializer : str or initializer
        How the rows of the first W for the input, its rows for the state, and b are drawn; see
        `xpnn.initializers`.
    seed : int, optional
        Draw from this seed, 0 <= seed < 2**64, and not from the network's. A layer that is used
        alone and has no seed draws from fresh entropy.

    Raises
    ------
    ConfigurationError
        If a width is below 1, an initializer is unknown or the seed is out of its range.
    ShapeError
        In the forward pass, unless the input is (N, T, input_dim) with T >= 1, or if an initial
        state, a mask or lengths are for another batch.
    DataError
        In the forward pass, if a length is longer than the sequence.

    Notes
    -----
    Arrays: input (N, T, input_dim), output (N, T, hidden_dim) or (N, hidden_dim), W (input_dim +
    hidden_dim, 4 hidden_dim), b (4 hidden_dim,), all of one floating-point dtype. By default the
    rows of W for the input are uniform with variance 2 / (input_dim + 4 hidden_dim), those for the
    state are orthonormal, and b is zero. Both modes do the same.

    h[-1] and c[-1] are ``initial["h"]`` and ``initial["c"]``, zeros unless they are set. Sequences
    of several lengths: see `Masked`, or set ``lengths``. A step that is not there leaves the state
    as it is, and its output is 0.

    Cost in FLOPs a step of a sequence: 8 hidden_dim (input_dim + hidden_dim) forward, twice that
    backward. The cache keeps the input, the gates and the states.

    Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9, 1997; with
    the forget gate of Gers, Schmidhuber and Cummins, "Learning to Forget", Neural Computation 12,
    2000. The order of the gates is the tutorial's (PyTorch has i, f, g, o).

    Examples
    --------
    >>> import numpy as np
    >>> layer = LSTM(1, 1, weight_initializer="ones", recurrent_initializer="ones")
    >>> layer.forward(np.asarray([[[0.5], [0.0]]])).round(4).tolist()
    [[[0.1743], [0.1331]]]
    """

    gates = 4
    kept_per_unit = 7  # i, f, o, g, h, c and tanh(c)
    state_names = ("h", "c")
    param_names = ("W", "b")

    def build(self, rng: Stream) -> None:
        """Draw W and b where they are missing."""
        if "W" not in self.params:
            parts = [self._draw("x", 0, rng), self._draw("h", 2, rng)]
            self.params["W"] = array_namespace(parts[0]).concat(parts, axis=0)
        if "b" not in self.params:
            self.params["b"] = self._draw_bias(1, rng)

    def _weights(self) -> tuple[Array, Array, Array]:
        weight = self.params["W"]
        return weight[: self.input_dim, :], weight[self.input_dim :, :], self.params["b"]

    def _step(self, gates: Array, states: States, weight: Array) -> tuple[States, Any]:
        xp = array_namespace(gates)
        h, c = states
        width = self.hidden_dim
        a = h @ weight
        a += gates
        opened = sigmoid(a[:, : 3 * width])
        g = xp.tanh(a[:, 3 * width :])
        i, f, o = self._parts(opened)
        c = f * c + i * g
        squashed = xp.tanh(c)
        return (o * squashed, c), (opened, g, squashed)

    def _step_back(
        self, memory: Any, before: States, dstates: States, weight: Array
    ) -> tuple[Array, Array, States]:
        opened, g, squashed = memory
        xp = array_namespace(g)
        i, f, o = self._parts(opened)
        dh, dc = dstates
        dc = dc + dh * o * (1.0 - squashed * squashed)
        dopened = xp.concat([dc * g, dc * before[1], dh * squashed], axis=1)
        dopened *= opened * (1.0 - opened)
        da = xp.concat([dopened, dc * i * (1.0 - g * g)], axis=1)
        return da, da, (da @ xp.matrix_transpose(weight), dc * f)

    def _write_gradients(self, dWx: Array, dWh: Array, dgates: Array, dproducts: Array) -> None:
        xp = array_namespace(dWx)
        self.grads["W"] = xp.concat([dWx, dWh], axis=0)
        self.grads["b"] = xp.sum(dgates, axis=0)

    def _parts(self, opened: Array) -> tuple[Array, Array, Array]:
        """Cut i, f and o apart."""
        width = self.hidden_dim
        return opened[:, :width], opened[:, width : 2 * width], opened[:, 2 * width :]
