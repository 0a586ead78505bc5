"""One step of a recurrent layer for one sequence, forward and backward.

Each function goes through the features several times with few arrays at a time: LLVM makes vector
code of a loop only if it has to compare few addresses before it. A row stays in the nearest cache.

``g`` comes as sums: products with the weights and biases. It leaves as the values of the gates,
and in the backward pass as the gradients by the sums.
"""

from __future__ import annotations

from ._compile import outlined
from ._mathematics import sigmoid, tanh

__all__ = ["gru", "gru_back", "lstm", "lstm_back", "rnn", "rnn_back"]


@outlined
def rnn(g, h):  # type: ignore[no-untyped-def]
    """``h = tanh(g)``."""
    T = h.dtype.type
    for j in range(h.size):
        h[j] = tanh(g[j], T)


@outlined
def rnn_back(g, h, dh):  # type: ignore[no-untyped-def]
    """Leave 0 in ``dh``: all that goes back goes through the product with the weights."""
    T = h.dtype.type
    for j in range(h.size):
        g[j] = dh[j] * (T(1) - h[j] * h[j])
    dh[:] = T(0)


@outlined
def lstm(g, c_before, c, h):  # type: ignore[no-untyped-def]
    """``c = f * c_before + i * g``, ``h = o * tanh(c)``; the gates are i, f, o, g."""
    T = h.dtype.type
    n = h.size
    for j in range(3 * n):
        g[j] = sigmoid(g[j], T)
    i, f, o, new = g[:n], g[n : 2 * n], g[2 * n : 3 * n], g[3 * n :]
    for j in range(n):
        new[j] = tanh(new[j], T)
    for j in range(n):
        c[j] = f[j] * c_before[j] + i[j] * new[j]
    for j in range(n):
        h[j] = o[j] * tanh(c[j], T)


@outlined
def lstm_back(g, c_before, c, dh, dc):  # type: ignore[no-untyped-def]
    """Leave in ``dc`` what goes back to the cell before, and 0 in ``dh``."""
    T = dh.dtype.type
    n = dh.size
    i, f, o, new = g[:n], g[n : 2 * n], g[2 * n : 3 * n], g[3 * n : 4 * n]
    for j in range(n):
        squashed, opened = tanh(c[j], T), o[j]
        d = dh[j]
        dc[j] += d * opened * (T(1) - squashed * squashed)
        dh[j] = d * squashed
    for j in range(n):
        opened = o[j]
        o[j] = dh[j] * opened * (T(1) - opened)
    for j in range(n):
        d, opened, value = dc[j], i[j], new[j]
        i[j] = d * value * opened * (T(1) - opened)
        new[j] = d * opened * (T(1) - value * value)
    for j in range(n):
        d, opened = dc[j], f[j]
        f[j] = d * c_before[j] * opened * (T(1) - opened)
        dc[j] = d * opened
    dh[:] = T(0)


@outlined
def gru(g, sums, hn, h_before, h):  # type: ignore[no-untyped-def]
    """Mix ``h_before`` with n; the gates are r, z, n.

    ``g`` comes with the input's part of the sums; ``sums`` is the state's, the last third of which
    is kept in ``hn``.
    """
    T = h.dtype.type
    n = h.size
    for j in range(2 * n):
        g[j] = sigmoid(g[j] + sums[j], T)
    r, z, new, last = g[:n], g[n : 2 * n], g[2 * n : 3 * n], sums[2 * n : 3 * n]
    for j in range(n):
        hn[j] = last[j]
    for j in range(n):
        new[j] = tanh(new[j] + r[j] * last[j], T)
    for j in range(n):
        h[j] = new[j] + z[j] * (h_before[j] - new[j])


@outlined
def gru_back(g, hn, h_before, dh):  # type: ignore[no-untyped-def]
    """Leave in ``hn`` the gradient by the state's part of n, in ``dh`` what z hands back."""
    T = dh.dtype.type
    n = dh.size
    r, z, new = g[:n], g[n : 2 * n], g[2 * n : 3 * n]
    for j in range(n):
        d, opened, value = dh[j], z[j], new[j]
        new[j] = d * (T(1) - opened) * (T(1) - value * value)
        z[j] = d * (h_before[j] - value) * opened * (T(1) - opened)
        dh[j] = d * opened
    for j in range(n):
        d, opened = new[j], r[j]
        r[j] = d * hn[j] * opened * (T(1) - opened)
        hn[j] = d * opened
