"""The cells of recurrent layers: one launch for a step of all sequences.

``cells.cu`` has the formulas. All arrays are CuPy's, on the current device, of one floating-point
type and contiguous, but for the gradient of the output. Nothing here waits for the device.

The bytes that a kernel moves are given for a number of the state, with s = 4 bytes for float32 and
8 for float64. Biases count nothing, as they stay in the caches.
"""

from __future__ import annotations

from typing import Any

from ..._standard import Array
from ._launch import dtype_name, nullable, u32, u64
from .loader import function

__all__ = ["CELLS", "WIDE", "backward", "forward"]

#: What the macro CELL can be.
CELLS = ("rnn", "lstm", "gru")

#: Numbers of a state from which on a thread takes 16 bytes of them: below, a GPU has more room for
#: threads than there are, and one number a thread is done sooner.
WIDE = 1 << 18

_BLOCK = 128


def forward(
    kind: str,
    gates: Array,
    products: Array,
    bias: Array,
    state_bias: Array | None,
    there: Array | None,
    hidden: tuple[Array, Array],
    cells: tuple[Array, Array] | None,
    output: Array | None,
    keeps: bool,
) -> None:
    """Make the new states of one step.

    Parameters
    ----------
    kind : str
        One of `CELLS`.
    gates : array, (rows, gates * hidden)
        The products of the inputs. If `keeps`, the backward pass finds there what it needs.
    products : array, (rows, gates * hidden)
        The products of the states before.
    bias, state_bias : array, (gates * hidden,)
        What is added to the two; the second for "gru" alone.
    there : array of bool, (rows,), or None
        For which sequences the step is there; None for all of them.
    hidden, cells : pair of array, (rows, hidden)
        The states before and after; `cells` for "lstm" alone.
    output : array, (rows, hidden), or None
        Gets the new state, and 0 where the step is not there.
    keeps : bool
        Whether there will be a backward pass.

    Notes
    -----
    One launch. Bytes moved, with G gates: 2 G s read for the products, G s written for the backward
    pass (not for "rnn"), s written; "lstm" moves 2 s more for the cell, "gru" reads s more.
    """
    before, after = hidden
    old, new = (None, None) if cells is None else cells
    numbers = map(u32, (*after.shape, int(keeps)))
    arguments = (
        *(gates, products, bias, nullable(state_bias), nullable(there), before, after),
        *(nullable(old), nullable(new), nullable(output), *numbers),
    )
    _launch("cell_forward", kind, after, after.size >= WIDE, arguments)


def backward(
    kind: str,
    gates: Array,
    products: Array | None,
    state_bias: Array | None,
    there: Array | None,
    hidden: tuple[Array, Array],
    cells: tuple[Array, Array] | None,
    dout: Array | None,
    dproduct: Array | None,
    carries: tuple[Array | None, Array | None],
) -> None:
    """Make the gradients of the gates of one step.

    Parameters
    ----------
    kind : str
        One of `CELLS`.
    gates : array, (rows, gates * hidden)
        What `forward` kept; gets the gradients of the input's part of the gates.
    products : array or None
        For "gru": what `forward` got; gets the gradients of the state's part of the gates, which
        are the same for the other cells.
    state_bias, there, hidden, cells
        As `forward` had them.
    dout : array, (rows, hidden), or None
        The gradient of the output, with rows in any distance.
    dproduct : array, (rows, hidden), or None
        What the product of the step behind brings.
    carries : pair of array, (rows, hidden), or None
        What goes from step to step besides, first zeros: of the state for "gru" and wherever steps
        are missing, of the cell for "lstm".

    Notes
    -----
    One launch. Bytes moved, with G gates: s read for the output, s for the product; "rnn" reads s
    and writes s; "lstm" reads 4 s and writes 4 s for the gates, reads 2 s for the cells and moves
    2 s for their gradient; "gru" reads 5 s, writes 6 s and moves 2 s for what is carried.
    """
    old, new = (None, None) if cells is None else cells
    before, after = hidden
    stride = 0
    wide = after.size >= WIDE
    if dout is not None:
        wide = wide and dout.data.ptr % 16 == 0 and dout.strides[0] % 16 == 0
        stride = dout.strides[0] // dout.itemsize
    if dproduct is not None:
        wide = wide and dproduct.data.ptr % 16 == 0
    arguments = (
        *(gates, nullable(products), nullable(state_bias), nullable(there), before, after),
        *(nullable(old), nullable(new), nullable(dout), u64(stride), nullable(dproduct)),
        *(*map(nullable, carries), *map(u32, after.shape)),
    )
    _launch("cell_backward", kind, after, wide, arguments)


def _launch(kernel: str, kind: str, state: Array, wide: bool, arguments: Any) -> None:
    pack = 16 // state.itemsize
    wide = wide and state.shape[1] % pack == 0
    blocks = -(-state.size // (_BLOCK * (pack if wide else 1)))
    if blocks:
        macros = {"CELL": kind.upper(), "WIDTH": "PACK" if wide else "1"}
        found = function("cells", kernel, dtype_name(state), **macros)
        found((blocks,), (_BLOCK,), arguments)
