"""Gated recurrent unit."""

from __future__ import annotations

from typing import Any

from .._standard import Array, array_namespace, sigmoid
from ..random import Stream
from .recurrent import Recurrent, States

__all__ = ["GRU"]


class GRU(Recurrent):
    """Go through sequences with a state that gates mix with a new one.

    ::

        xr, xz, xn = the three parts of input[:, t] @ Wx + bx
        hr, hz, hn = the three parts of h[t - 1] @ Wh + bh
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        n    = tanh(xn + r * hn)
        h[t] = (1 - z) * n + z * h[t - 1]
        output[:, t] = h[t], or output = h[T - 1]

        dh = dout[:, t] + what comes back from step t + 1
        dn = dh * (1 - z) * (1 - n ** 2)
        dz = dh * (h[t - 1] - n) * z * (1 - z)
        dr = dn * hn * r * (1 - r)
        dinput[:, t] = [dr, dz, dn] @ Wx.T
        [dr, dz, dn * r] @ Wh.T + dh * z goes back to step t - 1
        dWx = sum over t of input[:, t].T @ [dr, dz, dn], dbx = sum of [dr, dz, dn]
        dWh = sum over t of h[t - 1].T @ [dr, dz, dn * r], dbh = sum of [dr, dz, dn * r]

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
        How the first Wx, Wh, and both bx and bh are drawn; see `xpnn.initializers`.
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
    Arrays: input (N, T, input_dim), output (N, T, hidden_dim) or (N, hidden_dim), Wx (input_dim,
    3 hidden_dim), Wh (hidden_dim, 3 hidden_dim), bx and bh (3 hidden_dim,), all of one
    floating-point dtype. By default Wx is uniform with variance 2 / (input_dim + 3 hidden_dim), the
    rows of Wh are orthonormal, and bx and bh are zero. Both modes do the same.

    h[-1] is ``initial["h"]``, zeros unless it is set. Sequences of several lengths: see `Masked`,
    or set ``lengths``. A step that is not there leaves the state as it is, and its output is 0.

    Cost in FLOPs a step of a sequence: 6 hidden_dim (input_dim + hidden_dim) forward, twice that
    backward. The cache keeps the input, the gates and the states.

    Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical
    Machine Translation", EMNLP 2014, equations 5 to 8. The reset gate is applied behind the product
    with Wh and not before, as in cuDNN and PyTorch, so that one product serves all gates.

    Examples
    --------
    >>> import numpy as np
    >>> layer = GRU(1, 1, weight_initializer="ones", recurrent_initializer="ones")
    >>> layer.forward(np.asarray([[[0.5], [0.0]]])).round(4).tolist()
    [[[0.1745], [0.138]]]
    """

    gates = 3
    kept_per_unit = 5  # r, z, n, hn and h
    param_names = ("Wx", "Wh", "bx", "bh")

    def build(self, rng: Stream) -> None:
        """Draw Wx, Wh, bx and bh where they are missing."""
        if "Wx" not in self.params:
            self.params["Wx"] = self._draw("x", 0, rng)
        if "Wh" not in self.params:
            self.params["Wh"] = self._draw("h", 1, rng)
        for part, name in enumerate(("bx", "bh"), start=2):
            if name not in self.params:
                self.params[name] = self._draw_bias(part, rng)

    def _weights(self) -> tuple[Array, Array, Array]:
        return self.params["Wx"], self.params["Wh"], self.params["bx"]

    def _step(self, gates: Array, states: States, weight: Array) -> tuple[States, Any]:
        xp = array_namespace(gates)
        (h,) = states
        width = self.hidden_dim
        products = h @ weight
        products += self.params["bh"]
        opened = sigmoid(gates[:, : 2 * width] + products[:, : 2 * width])
        r, z = opened[:, :width], opened[:, width:]
        hn = products[:, 2 * width :]
        n = xp.tanh(gates[:, 2 * width :] + r * hn)
        return (n + z * (h - n),), (opened, n, hn)

    def _step_back(
        self, memory: Any, before: States, dstates: States, weight: Array
    ) -> tuple[Array, Array, States]:
        opened, n, hn = memory
        xp = array_namespace(n)
        width = self.hidden_dim
        r, z = opened[:, :width], opened[:, width:]
        (dh,) = dstates
        dn = dh * (1.0 - z) * (1.0 - n * n)
        dopened = xp.concat([dn * hn, dh * (before[0] - n)], axis=1)
        dopened *= opened * (1.0 - opened)
        dgates = xp.concat([dopened, dn], axis=1)
        dproducts = xp.concat([dopened, dn * r], axis=1)
        return dgates, dproducts, (dproducts @ xp.matrix_transpose(weight) + dh * z,)

    def _write_gradients(self, dWx: Array, dWh: Array, dgates: Array, dproducts: Array) -> None:
        xp = array_namespace(dWx)
        self.grads["Wx"], self.grads["Wh"] = dWx, dWh
        self.grads["bx"] = xp.sum(dgates, axis=0)
        self.grads["bh"] = xp.sum(dproducts, axis=0)
