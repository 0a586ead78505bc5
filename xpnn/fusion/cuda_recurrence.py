"""Recurrent layers as steps on CuPy: a product and a kernel of ours for each step of a sequence."""

from __future__ import annotations

from dataclasses import dataclass

from .._standard import Array
from ..kernels.cuda import Chain, Counters, cells
from ..layers import LSTM
from ..layers.recurrent import Recurrent
from .steps import PlanStep

__all__ = ["CudaRecurrentStep"]


@dataclass(slots=True)
class _Run:
    """What a pass through the sequences leaves. The steps come first, in their natural order."""

    rows: Array  # the inputs, (T N, D)
    gates: Array  # (T, N, G H)
    products: Array  # (T, N, G H) for a GRU that trains, else of one step
    h: Array  # (T + 1, N, H): the states, that before the first step included
    c: Array | None
    there: Array | None  # (T, N)
    output: Array | None  # (T, N, H), where it is not h


class CudaRecurrentStep(PlanStep):
    """An `RNN`, `LSTM` or `GRU` with all that it can: masks, lengths, initial states, both orders.

    The products with the inputs of all steps are one by cuBLAS. Then a step of the sequence is a
    product with the state and one launch; so it is backward, before a product for each gradient of
    weights. Sequences lie with the steps first, and go out as a view: another recurrent layer takes
    them without a copy. All arrays come from CuPy's pool and go back there.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        Of exactly one of these classes.
    dtype : str
        "float32" or "float64".
    counters : Counters
        Shared by the steps of a plan.
    remark : str
        For people.
    """

    def __init__(self, layer: Recurrent, dtype: str, counters: Counters, remark: str) -> None:
        super().__init__((layer,), remark)
        self._layer = layer
        self._dtype = dtype
        self._counters = counters
        self._kind = type(layer).__name__.lower()
        self._has_cells = isinstance(layer, LSTM)
        self._is_gru = self._kind == "gru"
        self._kept: _Run | None = None

    # ---------------------------------------------------------------- training

    def forward(self, input: Array) -> Array:
        """Return the states of all steps, or the last one, and keep what `backward` needs."""
        self._kept, output = self._run(input, training=True)
        return output

    def backward(self, dout: Array) -> Array | None:
        """Write the gradients of the parameters; return that of the input if it is wanted."""
        import cupy

        run, layer = self._kept, self._layer
        assert run is not None
        self._kept = None
        t, n, _ = run.gates.shape
        shape = n, layer.hidden_dim
        weight_x, weight_h, _ = layer._weights()
        transposed = weight_h.T
        douts, behind = None, None
        if layer.return_sequences:
            douts = _with_rows(dout.transpose(1, 0, 2), self._dtype)
        else:
            behind = cupy.ascontiguousarray(dout, dtype=self._dtype)
        carried = self._is_gru or run.there is not None
        h_carry = cupy.zeros(shape, dtype=self._dtype) if carried else None
        c_carry = cupy.zeros(shape, dtype=self._dtype) if self._has_cells else None
        dh = cupy.empty(shape, dtype=self._dtype)
        of_state = run.products if self._is_gru else run.gates
        for count in range(t - 1, -1, -1):
            step, before, after = self._places(count, t, t)
            cells.backward(
                self._kind,
                run.gates[step],
                run.products[step] if self._is_gru else None,
                layer.params.get("bh"),
                None if run.there is None else run.there[step],
                (run.h[before], run.h[after]),
                None if run.c is None else (run.c[before], run.c[after]),
                None if douts is None else douts[step],
                behind,
                (h_carry, c_carry),
            )
            of_state[step].dot(transposed, out=dh)
            behind = dh
        if h_carry is not None:
            dh += h_carry
        layer.dinitial = {"h": dh} if c_carry is None else {"h": dh, "c": c_carry}
        drows = run.gates.reshape(t * n, -1)
        self._write_gradients(run, drows, of_state.reshape(t * n, -1))
        if not self.wants_gradient:
            return None
        return drows.dot(weight_x.T).reshape(t, n, layer.input_dim).transpose(1, 0, 2)

    def _write_gradients(self, run: _Run, drows: Array, dproducts: Array) -> None:
        """Write the gradients of the parameters into their place in the vector."""
        layer, grads = self._layer, self._layer.grads
        t = len(run.gates)
        before = run.h[1:] if layer.reverse else run.h[:t]
        if self._has_cells:
            of_input, of_state = grads["W"][: layer.input_dim], grads["W"][layer.input_dim :]
        else:
            of_input, of_state = grads["Wx"], grads["Wh"]
        run.rows.T.dot(drows, out=of_input)
        before.reshape(-1, layer.hidden_dim).T.dot(dproducts, out=of_state)
        biases = [(grads["bx"], drows), (grads["bh"], dproducts)] if self._is_gru else []
        for bias, rows in biases or [(grads["b"], drows)]:
            sums = Chain(rows, "identity", "none")
            sums.column_sums(rows, None, bias, None, None, self._counters)

    def forget(self) -> None:
        """Drop what `forward` left."""
        self._kept = None

    # ---------------------------------------------------------------- test mode

    def evaluate(self, input: Array) -> Array:
        """Return the output in test mode."""
        return self._run(input, training=False)[1]

    # ---------------------------------------------------------------- details

    def _run(self, input: Array, training: bool) -> tuple[_Run, Array]:
        """Go through the sequences; return what that leaves, and the output."""
        import cupy

        layer = self._layer
        layer.output_shape(input.shape)
        n, t, _ = input.shape
        hidden, width = layer.hidden_dim, layer.gates * layer.hidden_dim
        weight_x, weight_h, bias = layer._weights()
        there = layer._steps_there(input)
        rows = cupy.ascontiguousarray(input.transpose(1, 0, 2), dtype=self._dtype)
        rows = rows.reshape(t * n, layer.input_dim)
        # Two places are enough where nobody asks for what is between the first and the last state.
        slots = t if training or layer.return_sequences else 1
        run = _Run(
            rows,
            rows.dot(weight_x).reshape(t, n, width),
            cupy.empty((t if training and self._is_gru else 1, n, width), dtype=self._dtype),
            cupy.empty((slots + 1, n, hidden), dtype=self._dtype),
            None,
            None if there is None else cupy.ascontiguousarray(there.T),
            None,
        )
        if self._has_cells:
            run.c = cupy.empty_like(run.h)
        if there is not None and layer.return_sequences:
            run.output = cupy.empty((t, n, hidden), dtype=self._dtype)
        first = self._places(0, t, slots)[1]
        for states, state in zip((run.h, run.c), layer._first_states(input), strict=False):
            states[first][...] = state
        last = first
        for count in range(t):
            step, before, last = self._places(count, t, slots)
            products = run.products[step % len(run.products)]
            run.h[before].dot(weight_h, out=products)
            cells.forward(
                self._kind,
                run.gates[step],
                products,
                bias,
                layer.params.get("bh"),
                None if run.there is None else run.there[step],
                (run.h[before], run.h[last]),
                None if run.c is None else (run.c[before], run.c[last]),
                None if run.output is None else run.output[step],
                training,
            )
        layer.final = {"h": run.h[last].copy()}
        if run.c is not None:
            layer.final["c"] = run.c[last].copy()
        if not layer.return_sequences:
            return run, layer.final["h"]
        output = run.output
        if output is None:
            output = run.h[:t] if layer.reverse else run.h[1:]
        return run, output.transpose(1, 0, 2)

    def _places(self, count: int, t: int, slots: int) -> tuple[int, int, int]:
        """Return the place of a step in the sequence, and of the states before and after it."""
        step = t - 1 - count if self._layer.reverse else count
        if slots < t:
            return step, count % 2, (count + 1) % 2
        return (step, step + 1, step) if self._layer.reverse else (step, step, step + 1)


def _with_rows(array: Array, dtype: str) -> Array:
    """Return an array of a type whose last axis is contiguous: the same one where it is so."""
    import cupy

    is_so = array.shape[-1] == 1 or array.strides[-1] == array.itemsize
    if array.dtype == dtype and is_so and all(stride >= 0 for stride in array.strides):
        return array
    return cupy.ascontiguousarray(array, dtype=dtype)
