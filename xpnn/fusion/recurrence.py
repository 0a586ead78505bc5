"""Recurrent layers as steps, by Numba's kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._standard import Array
from ..kernels.numba import recurrent, recurrent_weights
from ..kernels.numba.blocked_product import Panel, panel, tiles
from ..kernels.recording import spoil
from ..layers import LSTM
from ..layers.recurrent import Recurrent
from .memory import empty
from .steps import Scratch, Step, as_rows
from .threads import team

__all__ = ["RecurrentStep"]

#: Rows of the gates that are packed at once for the gradients of the weights: they and the columns
#: of the weights stay in the cache.
_BLOCK = 256


class RecurrentStep(Step):
    """An `RNN`, `LSTM` or `GRU` with all that it can: masks, lengths, initial states, both orders.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        Of exactly one of these classes.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of a plan.
    remark : str
        For people.
    """

    replays = True

    def __init__(self, layer: Recurrent, dtype: str, scratch: Scratch, remark: str) -> None:
        super().__init__((layer,), dtype, scratch, remark)
        self._layer = layer
        self._panel: Panel = panel(dtype)
        self._has_cells = isinstance(layer, LSTM)
        self._none = np.empty((0, layer.hidden_dim), self._dtype)
        self._tables: dict[tuple[int, int], tuple[Array, Array]] = {}
        ways = [
            tiles(rows, self._panel.heights, False) for rows in (layer.input_dim, layer.hidden_dim)
        ]
        # The tiles of the rows of the weights of the input, then of the state, and an offset of 0.
        table = np.concatenate([*(way.ravel() for way in ways), [0]])
        self._weight_tiles = table, len(ways[0])
        self._nothing = np.empty(0, self._dtype)
        self._kept: Any = None
        self._hand_outs: list[Sequence[Callable[[], None]]] = [(), ()]

    # ---------------------------------------------------------------- training

    def forward(self, input: Array) -> Array:
        """Return the states of all steps, or the last one, and keep what `backward` needs."""
        n, t, _ = input.shape
        layer = self._layer
        shape = layer.output_shape(input.shape)  # whether it has steps may have been set otherwise
        if not self.as_recorded():
            spoil()
        kept = {
            "xs": self._rows("xs", t * n, layer.input_dim),
            "gates": self._rows("gates", t * n, layer.gates * layer.hidden_dim),
            "hs": self._rows("hs", (t + 1) * n, layer.hidden_dim),
            "cs": self._buffer("cs", (t + 1) * n if self._has_cells else 0, layer.hidden_dim),
            "hn": self._buffer("hn", t * n if layer.gates == 3 else 0, layer.hidden_dim),
        }
        out = self._result(math.prod(shape[:-1]), layer.hidden_dim)
        there, last = self._run(input, kept, out, t)
        self._hand_out(0, "final", last)
        self._kept = kept, there, input.shape, layer.reverse, layer.return_sequences
        return out.reshape(shape)

    def backward(self, dout: Array) -> Array | None:
        """Write the gradients of the parameters; return that of the input if it is wanted."""
        kept, there, shape, reverse, sequences = self._kept
        self._kept = None
        layer, (n, t, inputs) = self._layer, shape
        hidden = layer.hidden_dim
        weights = [as_rows(w, layer.gates * hidden, self._dtype) for w in layer._weights()[:2]]
        dh, dc = self._buffer("dh", n, hidden), self._buffer("dc", n, hidden)
        dinput, dx, px = self._none, self._none, self._none
        if self.wants_gradient:
            dinput = self._gradient(n * t, inputs)
            dx = self._buffer("dx", recurrent.CHUNK * n, inputs)
            px = self._packed("x back", layer.gates * hidden, inputs)
        ph = self._packed("h back", layer.gates * hidden, hidden)
        gates, hn, hs, cs = (kept[name] for name in ("gates", "hn", "hs", "cs"))
        parts, parallel = self._share(n * t, n)
        recurrent.prepare[self._name, parallel](
            weights[0], self._nothing, px, weights[1], self._nothing, ph, 1, parts
        )
        recurrent.backward[self._name, parallel](
            as_rows(dout, hidden, self._dtype), there, px, ph, gates, hn, hs, cs, dh, dc, dx,
            dinput, n, t, int(reverse), int(sequences), self._panel.address, *self._cut(n, parts),
            parts,
        )  # fmt: skip
        self._hand_out(1, "dinitial", [dh, dc])
        self._write_gradients(kept)
        return dinput.reshape(shape) if self.wants_gradient else None

    def _write_gradients(self, kept: dict[str, Array]) -> None:
        """Sum the gradients of the parameters into their place in the vector."""
        layer = self._layer
        inputs, grads = layer.input_dim, layer.grads
        if self._has_cells:
            places = [grads["W"][:inputs], grads["W"][inputs:], grads["b"], self._nothing]
        elif layer.gates == 3:
            places = [grads[name] for name in ("Wx", "Wh", "bx", "bh")]
        else:
            places = [grads[name] for name in ("Wx", "Wh", "b")] + [self._nothing]
        width = 2 * self._panel.lanes
        count = -(-layer.gates * layer.hidden_dim // width)
        parts, parallel = self._share(len(kept["gates"]), count)
        recurrent_weights.weights[self._name, parallel](
            kept["xs"], kept["hs"], kept["gates"], kept["hn"],
            self._buffer("panels", parts * (_BLOCK + 2), width),
            self._buffer("products", count * (inputs + layer.hidden_dim), width),
            *places, self._panel.address, *self._weight_tiles, parts,
        )  # fmt: skip

    def forget(self) -> None:
        """Drop what `forward` left."""
        self._kept = None

    def renew(self) -> None:
        """Take other memory from now on."""
        super().renew()
        self._hand_outs = [(), ()]

    def as_recorded(self) -> bool:
        """Tell whether the layer has been told nothing of this batch."""
        layer = self._layer
        return not layer.initial and layer.lengths is None and layer._mask is None

    def hand_outs(self, number: int) -> Sequence[Callable[[], None]]:
        """Return what gives the layer its last states, or the gradients of its first ones."""
        return self._hand_outs[number]

    # ---------------------------------------------------------------- test mode

    def evaluate(self, input: Array) -> Array:
        """Return the output in test mode, in new memory: threads may share a network."""
        n = len(input)
        layer = self._layer
        shape = layer.output_shape(input.shape)
        hidden = layer.hidden_dim
        kept = {
            "xs": empty((n, layer.input_dim), self._dtype),
            "gates": empty((n, layer.gates * hidden), self._dtype),
            "hs": empty((2 * n, hidden), self._dtype),
            "cs": empty((2 * n if self._has_cells else 0, hidden), self._dtype),
            "hn": empty((n if layer.gates == 3 else 0, hidden), self._dtype),
        }
        out = empty((math.prod(shape[:-1]), hidden), self._dtype)
        _, last = self._run(input, kept, out, 1)
        layer.final = self._named_copies(last)
        return out.reshape(shape)

    # ---------------------------------------------------------------- details

    def _run(
        self, input: Array, kept: dict[str, Array], out: Array, slots: int
    ) -> tuple[Array, list[Array]]:
        """Go through the sequences; return which steps are there, and the last states."""
        layer, (n, t, inputs) = self._layer, input.shape
        hidden, width = layer.hidden_dim, layer.gates * layer.hidden_dim
        there = self._flags(input)
        wx, wh, bx = (as_rows(w, width, self._dtype) for w in layer._weights())
        bx = bx[0]
        bh = as_rows(layer.params["bh"], width, self._dtype)[0] if layer.gates == 3 else bx
        states = [kept["hs"], kept["cs"]]
        if layer.initial:
            for all_states, first in zip(states, layer._first_states(input), strict=False):
                all_states[:n, :hidden] = first
        parts, parallel = self._share(n * t, n)
        px, ph = self._packed("x", inputs, width), self._packed("h", hidden, width)
        recurrent.prepare[self._name, parallel](wx, bx, px, wh, bh, ph, 0, parts)
        sums = empty((n if layer.gates == 3 else 0, width), self._dtype)
        recurrent.forward[self._name, parallel](
            as_rows(input, inputs, self._dtype), there, kept["xs"], px, ph, kept["gates"], sums,
            kept["hn"], kept["hs"], kept["cs"], out, n, t, hidden, int(layer.reverse),
            int(not layer.initial), int(layer.return_sequences), slots, self._panel.address,
            *self._cut(n, parts), parts,
        )  # fmt: skip
        last = t % (slots + 1) * n
        return there, [every[last : last + n, :hidden] for every in states]

    def _named_copies(self, states: Sequence[Array]) -> dict[str, Array]:
        return {n: state.copy() for n, state in zip(self._layer.state_names, states, strict=False)}

    def _hand_out(self, number: int, name: str, states: Sequence[Array]) -> None:
        """Give the layer its states, now and after each replay of a pass."""

        def hand_out() -> None:
            setattr(self._layer, name, self._named_copies(states))

        self._hand_outs[number] = [hand_out]
        hand_out()

    def _share(self, rows: int, most: int) -> tuple[int, bool]:
        """Return into how many parts work on some rows is cut, and whether the pool does them."""
        width = self._layer.gates * self._layer.hidden_dim
        parts, parallel = team().share(rows * width)
        parts = max(min(parts, most), 1)
        return parts, parallel and parts > 1

    def _flags(self, input: Array) -> Array:
        mask = self._layer._steps_there(input)
        if mask is None:
            return np.empty((0, 0), np.uint8)
        return np.array(mask, dtype=bool, order="C").view(np.uint8)

    def _rows(self, name: str, rows: int, columns: int) -> Array:
        """Return a matrix with room for so many columns, that products read side by side."""
        return self._buffer(name, rows, recurrent.row_length(columns, self._dtype.itemsize))

    def _packed(self, name: str, depth: int, columns: int) -> Array:
        """Return room for a packed matrix (depth, columns)."""
        width = 2 * self._panel.lanes
        return self._buffer(f"packed {name}", -(-columns // width) * (depth + 1), width)

    def _cut(self, n: int, parts: int) -> tuple[Array, Array]:
        """Return tiles of the rows of each thread, and where those of a thread begin."""
        found = self._tables.get((n, parts))
        if found is None:
            steps = np.arange(recurrent.CHUNK)[:, None, None] * [n, 0]
            rows = [(part + 1) * n // parts - part * n // parts for part in range(parts)]
            tables = [
                (steps + tiles(count, self._panel.heights, False).reshape(-1, 2)).ravel()
                for count in rows
            ]
            bounds = np.cumsum([0, *(table.size // 2 for table in tables)], dtype=np.int64)
            self._tables.clear()
            found = self._tables[n, parts] = np.concatenate([*tables, [0]]), bounds
        return found
