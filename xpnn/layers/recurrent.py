"""The loop of recurrent layers, and the simplest of them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from .._checks import checked_flag
from .._standard import Array, array_namespace, zeros
from ..errors import ConfigurationError, ShapeError, unknown
from ..initializers import Initializer
from ..initializers import get as get_initializer
from ..random import Stream
from ._alone import build_alone
from ._sequence import SequenceLayer, expect_sequences
from ._shapes import checked_width

__all__ = ["RNN", "Recurrent"]

States = tuple[Array, ...]


class Recurrent(SequenceLayer):
    """A layer that goes through a sequence step by step; a base class.

    The products of all steps' inputs with the weights are one matrix product; the loop has the
    products with the states, which depend on each other. A subclass defines one step, forward and
    backward, and says which of its parameters are what.

    Attributes
    ----------
    initial : dict of str to array
        The state before the first step by its names ("h", and "c" of an LSTM), (N, hidden_dim)
        each, of any floating-point dtype. A name that is missing stands for zeros.
    final : dict of str to array
        The state after the last step of the last forward pass. Assign it to `initial` to go on.
    dinitial : dict of str to array
        The gradients of the initial state, written by `backward`.
    """

    gates: ClassVar[int]
    kept_per_unit: ClassVar[int] = 1  # numbers that a step leaves for each unit; 1 is h
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    param_names: ClassVar[tuple[str, ...]] = ()
    roles: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("W", "Wx", "Wh"), "weight"),
        **dict.fromkeys(("b", "bx", "bh"), "bias"),
    }

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        return_sequences: bool = True,
        reverse: bool = False,
        weight_initializer: str | Initializer = "glorot_uniform",
        recurrent_initializer: str | Initializer = "orthogonal",
        bias_initializer: str | Initializer = "zeros",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.input_dim = checked_width(self.name, "input_dim", input_dim)
        self.hidden_dim = checked_width(self.name, "hidden_dim", hidden_dim)
        self.return_sequences = checked_flag(self.name, "return_sequences", return_sequences)
        self.reverse = checked_flag(self.name, "reverse", reverse)
        for initializer in (weight_initializer, recurrent_initializer, bias_initializer):
            get_initializer(initializer)  # mistakes show here, not at the first step
        self.weight_initializer = weight_initializer
        self.recurrent_initializer = recurrent_initializer
        self.bias_initializer = bias_initializer
        self.seed = None if seed is None else Stream(seed).seed
        self._number = 0  # tells layers of one seed apart that are used alone but together
        self.initial: dict[str, Array] = {}
        self.final: dict[str, Array] = {}
        self.dinitial: dict[str, Array] = {}

    # ---------------------------------------------------------------- what a subclass defines

    @abstractmethod
    def _weights(self) -> tuple[Array, Array, Array]:
        """Return the weights of the input, those of the state, and the bias of the input."""

    @abstractmethod
    def _step(self, gates: Array, states: States, weight: Array) -> tuple[States, Any]:
        """Make one step.

        Takes the input's part of the gates (N, gates * hidden_dim), the states and the weights of
        the state; returns the new states, and what `_step_back` needs.
        """

    @abstractmethod
    def _step_back(
        self, memory: Any, before: States, dstates: States, weight: Array
    ) -> tuple[Array, Array, States]:
        """Go one step back.

        Returns the gradients of the input's part of the gates, of the state's part of them, and of
        the states before the step.
        """

    @abstractmethod
    def _write_gradients(self, dWx: Array, dWh: Array, dgates: Array, dproducts: Array) -> None:
        """Write the gradients of the parameters.

        Takes those of the weights, and those of both parts of the gates, one row a step.
        """

    # ---------------------------------------------------------------- the loop

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(N, T, input_dim) becomes (N, T, hidden_dim), or (N, hidden_dim)."""
        expect_sequences(self.name, self.input_dim, input_shape)
        steps = (input_shape[1],) if self.return_sequences else ()
        return (input_shape[0], *steps, self.hidden_dim)

    def cache_size(self, input_shape: tuple[int, ...]) -> int:
        """N T (input_dim + kept_per_unit * hidden_dim): the steps' inputs, gates and states."""
        n, t, _ = input_shape
        return n * t * (self.input_dim + self.kept_per_unit * self.hidden_dim)

    def forward(self, input: Array) -> Array:
        """Return the states h of all steps, or of the last one."""
        self.output_shape(input.shape)
        if not self.params or any(name not in self.params for name in self.param_names):
            build_alone(self, self.seed, input, number=self._number)
        xp = array_namespace(input)
        n, t, _ = input.shape
        there = self._columns(input)
        rows = xp.reshape(self._time_first(input), (t * n, self.input_dim))
        weight_x, weight_h, bias = self._weights()
        gates = rows @ weight_x
        gates += bias
        gates = xp.reshape(gates, (t, n, gates.shape[1]))
        states = self._first_states(input)
        before, memories, outputs = [], [], []
        for step in range(t):
            before.append(states)
            after, memory = self._step(gates[step, ...], states, weight_h)
            memories.append(memory)
            output = after[0]
            if there is not None:  # a step that is not there leaves the state, and its output is 0
                now = there[step, ...]
                output = xp.where(now, output, 0.0)
                after = tuple(xp.where(now, a, b) for a, b in zip(after, states, strict=True))
            states = after
            outputs.append(output)
        self.final = dict(zip(self.state_names, states, strict=True))
        self.cache = {"rows": rows, "before": before, "memories": memories, "there": there}
        if not self.return_sequences:
            return states[0]
        return self._batch_first(xp.stack(outputs, axis=0))

    def backward(self, dout: Array) -> Array:
        """Return the gradient of the input, and write those of the parameters."""
        rows, before = self.saved("rows"), self.saved("before")
        memories, there = self.saved("memories"), self.saved("there")
        xp = array_namespace(dout)
        t, n = len(before), dout.shape[0]
        weight_x, weight_h, _ = self._weights()
        dstates: States = tuple(xp.zeros_like(state) for state in before[0])
        douts = None
        if self.return_sequences:
            douts = self._time_first(dout)
        else:
            dstates = (dout, *dstates[1:])
        dgates, dproducts = [], []
        for step in range(t - 1, -1, -1):
            dskipped = None
            if douts is not None and there is None:
                dstates = (dstates[0] + douts[step, ...], *dstates[1:])
            elif there is not None:
                now = xp.astype(there[step, ...], dout.dtype)
                dskipped = tuple((1.0 - now) * d for d in dstates)
                if douts is not None:
                    dstates = (dstates[0] + douts[step, ...], *dstates[1:])
                dstates = tuple(now * d for d in dstates)
            dgate, dproduct, dstates = self._step_back(
                memories[step], before[step], dstates, weight_h
            )
            if dskipped is not None:
                dstates = tuple(a + b for a, b in zip(dstates, dskipped, strict=True))
            dgates.append(dgate)
            dproducts.append(dproduct)
        self.dinitial = dict(zip(self.state_names, dstates, strict=True))
        drows = xp.concat(dgates[::-1], axis=0)
        dproduct_rows = drows if dproducts[0] is dgates[0] else xp.concat(dproducts[::-1], axis=0)
        states = xp.concat([state[0] for state in before], axis=0)
        transpose = xp.matrix_transpose
        self._write_gradients(
            transpose(rows) @ drows, transpose(states) @ dproduct_rows, drows, dproduct_rows
        )
        dinput = xp.reshape(drows @ transpose(weight_x), (t, n, self.input_dim))
        return self._batch_first(dinput)

    # ---------------------------------------------------------------- details

    def _draw(self, name: str, part: int, rng: Stream) -> Array:
        """Draw weights of all gates: "x" those of the input, "h" those of the state."""
        width = self.gates * self.hidden_dim
        if name == "x":
            draw = get_initializer(self.weight_initializer)
            return draw((self.input_dim, width), rng.at(part))
        draw = get_initializer(self.recurrent_initializer)
        return draw((self.hidden_dim, width), rng.at(part))

    def _draw_bias(self, part: int, rng: Stream) -> Array:
        return get_initializer(self.bias_initializer)((self.gates * self.hidden_dim,), rng.at(part))

    def _first_states(self, input: Array) -> States:
        shape = (input.shape[0], self.hidden_dim)
        given: Any = self.initial  # anybody may have assigned it
        if not isinstance(given, dict):
            wanted = ", ".join(f'"{name}": ...' for name in self.state_names)
            raise ConfigurationError(
                f"{self.name}: initial must be a dict {{{wanted}}}, got {given!r}"
            )
        for name in self.initial:
            if name not in self.state_names:
                text = unknown("initial state", name, self.state_names)
                raise ConfigurationError(f"{self.name}: {text}")
        states = []
        for name in self.state_names:
            state = self.initial.get(name)
            if state is not None and tuple(getattr(state, "shape", ())) != shape:
                raise ShapeError(
                    f"{self.name}: expected an initial {name} of shape {shape}, "
                    f"got {tuple(getattr(state, 'shape', ()))}"
                )
            if state is None:
                state = zeros(shape, like=input)
            elif state.dtype != input.dtype:
                state = array_namespace(input).astype(state, input.dtype)
            states.append(state)
        return tuple(states)

    def _columns(self, input: Array) -> Array | None:
        """Return the mask in the order of the steps: (T, N, 1)."""
        mask = self._steps_there(input)
        return None if mask is None else self._time_first(mask[:, :, None])

    def _time_first(self, sequences: Array) -> Array:
        """(N, T, ...) as (T, N, ...), in the order in which the layer takes the steps."""
        xp = array_namespace(sequences)
        steps = xp.permute_dims(sequences, (1, 0, 2))
        return xp.flip(steps, axis=0) if self.reverse else steps

    def _batch_first(self, steps: Array) -> Array:
        """Undo `_time_first`."""
        xp = array_namespace(steps)
        if self.reverse:
            steps = xp.flip(steps, axis=0)
        return xp.permute_dims(steps, (1, 0, 2))


class RNN(Recurrent):
    """Go through sequences with a state that a tanh makes of input and state.

    ::

        h[t] = tanh(input[:, t] @ Wx + h[t - 1] @ Wh + b)
        output[:, t] = h[t], or output = h[T - 1]

        da[t]     = dh[t] * (1 - h[t] ** 2), where dh[t] = dout[:, t] + da[t + 1] @ Wh.T
        dinput[:, t] = da[t] @ Wx.T
        dWx = sum over t of input[:, t].T @ da[t]
        dWh = sum over t of h[t - 1].T @ da[t]
        db  = sum of da[t] over t and the batch

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
        How the first Wx, Wh and b are drawn; see `xpnn.initializers`.
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
    hidden_dim), Wh (hidden_dim, hidden_dim), b (hidden_dim,), all of one floating-point dtype. By
    default Wx is uniform with variance 2 / (input_dim + hidden_dim), Wh orthogonal and b zero. Both
    modes do the same.

    h[-1] is ``initial["h"]``, zeros unless it is set. Sequences of several lengths: see `Masked`,
    or set ``lengths``. A step that is not there leaves the state as it is, and its output is 0.

    Cost in FLOPs a step of a sequence: 2 hidden_dim (input_dim + hidden_dim) forward, twice that
    backward. The cache keeps the input and the states.

    Source: Elman, "Finding Structure in Time", Cognitive Science 14, 1990.

    Examples
    --------
    >>> import numpy as np
    >>> layer = RNN(1, 1, weight_initializer="ones", recurrent_initializer="ones")
    >>> layer.forward(np.asarray([[[0.5], [0.0]]])).round(4).tolist()
    [[[0.4621], [0.4318]]]
    """

    gates = 1
    param_names = ("Wx", "Wh", "b")

    def build(self, rng: Stream) -> None:
        """Draw Wx, Wh and b where they are missing."""
        if "Wx" not in self.params:
            self.params["Wx"] = self._draw("x", 0, rng)
        if "Wh" not in self.params:
            self.params["Wh"] = self._draw("h", 1, rng)
        if "b" not in self.params:
            self.params["b"] = self._draw_bias(2, rng)

    def _weights(self) -> tuple[Array, Array, Array]:
        return self.params["Wx"], self.params["Wh"], self.params["b"]

    def _step(self, gates: Array, states: States, weight: Array) -> tuple[States, Any]:
        h = array_namespace(gates).tanh(states[0] @ weight + gates)
        return (h,), h

    def _step_back(
        self, memory: Any, before: States, dstates: States, weight: Array
    ) -> tuple[Array, Array, States]:
        da = 1.0 - memory * memory
        da *= dstates[0]
        return da, da, (da @ array_namespace(da).matrix_transpose(weight),)

    def _write_gradients(self, dWx: Array, dWh: Array, dgates: Array, dproducts: Array) -> None:
        self.grads["Wx"], self.grads["Wh"] = dWx, dWh
        self.grads["b"] = array_namespace(dgates).sum(dgates, axis=0)
