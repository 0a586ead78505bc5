"""The rows of the layers for sequences, and of the layers that are made of layers.

The latter have no parameters of their own: here they hold layers without any, or such that draw
theirs from a seed. `test_composites.py` looks into them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from case import Arrays, Case, functional
from xpnn import layers
from xpnn.random import Stream

N, T, D, H = 3, 4, 2, 3


def steps(x: Any, cell: Callable[[Any, Any], Any], states: Any, reverse: bool = False) -> Any:
    """Go through a sequence of tensors: ``cell(input, states)`` gives the next states."""
    outputs = [None] * x.shape[1]
    order = range(x.shape[1])
    for t in reversed(order) if reverse else order:
        states = cell(x[:, t], states)
        outputs[t] = states[0]
    return x.new_zeros(()).new_tensor([]) if not outputs else _stack(outputs), states


def _stack(outputs: Any) -> Any:
    import torch

    return torch.stack(outputs, dim=1)


def _rnn_cell(params: Arrays) -> Any:
    return lambda x, states: [(x @ params["Wx"] + states[0] @ params["Wh"] + params["b"]).tanh()]


def torch_lstm_cell(params: Arrays, width: int) -> Any:
    """PyTorch's own cell, whose gates are i, f, g, o, with the parameters of ours: i, f, o, g."""
    i, f, o, g = (list(range(k * width, (k + 1) * width)) for k in range(4))
    weight, bias = params["W"][:, i + f + g + o].T, params["b"][i + f + g + o]
    inputs = weight.shape[1] - width

    def cell(x: Any, states: Any) -> Any:
        import torch

        zero = torch.zeros_like(bias)
        return torch.lstm_cell(x, states, weight[:, :inputs], weight[:, inputs:], bias, zero)

    return cell


def torch_gru_cell(params: Arrays, width: int) -> Any:
    """PyTorch's own cell: the gates are in the same order."""

    def cell(x: Any, states: Any) -> Any:
        import torch

        return [
            torch.gru_cell(x, states[0], params["Wx"].T, params["Wh"].T, params["bx"], params["bh"])
        ]

    return cell


KINDS: dict[str, Any] = {
    "RNN": (layers.RNN, lambda p, w: _rnn_cell(p), {"Wx": (D, H), "Wh": (H, H), "b": (H,)}),
    "LSTM": (layers.LSTM, torch_lstm_cell, {"W": (D + H, 4 * H), "b": (4 * H,)}),
    "GRU": (
        layers.GRU,
        torch_gru_cell,
        {"Wx": (D, 3 * H), "Wh": (H, 3 * H), "bx": (3 * H,), "bh": (3 * H,)},
    ),
}


def recurrent(kind: str, shape: Any = (N, T, D), suffix: str = "", **settings: Any) -> Case:
    """Row of a recurrent layer."""
    make, cell, params = KINDS[kind]

    def twin(x: Any, params: Arrays, buffers: Arrays, training: bool) -> Any:
        zero = x.new_zeros((len(x), H))
        states = [zero, zero] if kind == "LSTM" else [zero]
        outputs, last = steps(x, cell(params, H), states, settings.get("reverse", False))
        return outputs if settings.get("return_sequences", True) else last[0]

    return Case(
        kind + suffix,
        lambda: make(D, H, **settings),
        shape,
        twin,
        params=params,
        wrong_shapes={"rank": (N, D), "width": (N, T, D + 1), "no step": (N, 0, D)},
        factor=5.0,  # where tanh is near 1, rounding of 1 - tanh ** 2 shows
    )


def _recurrent_rows(kind: str) -> list[Case]:
    return [
        recurrent(kind),
        recurrent(kind, suffix=" of one step", shape=(N, 1, D)),
        recurrent(kind, suffix=" that gives its last state", return_sequences=False),
        recurrent(kind, suffix=" backwards", reverse=True),
        recurrent(
            kind,
            suffix=" backwards that gives its last state",
            reverse=True,
            return_sequences=False,
        ),
    ]


def _bidirectional() -> layers.Layer:
    return layers.Bidirectional(layers.RNN(D, H, seed=5))


def _bidirectional_twin(x: Any, params: Arrays, buffers: Arrays, training: bool) -> Any:
    import torch

    both = []
    for reverse in (False, True):
        layer = layers.RNN(D, H)
        layer.build(Stream(5, 3 if reverse else 1))  # as layers 0 and 1 of a network
        drawn = {
            name: x.new_tensor(np.asarray(value).tolist()) for name, value in layer.params.items()
        }
        zero = [x.new_zeros((len(x), H))]
        both.append(steps(x, _rnn_cell(drawn), zero, reverse)[0])
    return torch.cat(both, dim=-1)


def attention_twin(heads: int, causal: bool) -> Any:
    """Attention by PyTorch's own function."""

    def twin(x: Any, params: Arrays, buffers: Arrays, training: bool) -> Any:
        n, t, dim = x.shape
        products = (x @ params["W"] + params["b"]).reshape(n, t, 3, heads, dim // heads)
        q, k, v = products.permute(2, 0, 3, 1, 4)
        seen = functional().scaled_dot_product_attention(q, k, v, is_causal=causal)
        return seen.transpose(1, 2).reshape(n, t, dim) @ params["Wo"] + params["bo"]

    return twin


def _attention(name: str, **settings: Any) -> Case:
    return Case(
        name,
        lambda: layers.MultiHeadAttention(6, 2, **settings),
        (N, T, 6),
        attention_twin(2, settings.get("causal", False)),
        params={"W": (6, 18), "b": (18,), "Wo": (6, 6), "bo": (6,)},
        wrong_shapes={"rank": (N, 6), "width": (N, T, 5)},
        factor=20.0,
    )


def _waves(x: Any, params: Arrays, buffers: Arrays, training: bool) -> Any:
    t, dim = x.shape[1:]
    angles = np.arange(t)[:, None] / 10000.0 ** (np.arange(dim) // 2 * 2 / dim)
    waves = np.where(np.arange(dim) % 2, np.cos(angles), np.sin(angles))
    return x + x.new_tensor(waves.tolist())


def _block() -> layers.Layer:
    """A block whose attention and whose second half add nothing: see test_attention.py."""
    block = layers.TransformerBlock(4, 2, hidden_dim=3)
    for key in ("0.layers.1", "1.layers.3"):
        layer = _find(block, key)
        layer.weight_initializer = "zeros"
    return block


def _find(layer: layers.Layer, key: str) -> Any:
    for name, inner in layer.sublayers():
        if key == name:
            return inner
        if key.startswith(name + "."):
            return _find(inner, key.removeprefix(name + "."))
    raise KeyError(key)


SEQUENCES = [
    *(row for kind in KINDS for row in _recurrent_rows(kind)),
    Case("Bidirectional", _bidirectional, (N, T, D), _bidirectional_twin),
    Case(
        "LastStep",
        layers.LastStep,
        (N, T, D),
        lambda x, p, b, t: x[:, -1] * 1.0,
        wrong_shapes={"rank": (N, D), "no step": (N, 0, D)},
    ),
    Case(
        "MeanOverTime",
        layers.MeanOverTime,
        (N, T, D),
        lambda x, p, b, t: x.mean(1),
        wrong_shapes={"rank": (N, D), "no step": (N, 0, D)},
    ),
    Case(
        "MaxOverTime",
        layers.MaxOverTime,
        (N, T, D),
        lambda x, p, b, t: x.max(1).values,
        wrong_shapes={"rank": (N, D), "no step": (N, 0, D)},
    ),
    Case(
        "Masked",
        lambda: layers.Masked([layers.Tanh(), layers.MeanOverTime()], padding=1.5),
        (N, T, 1),
        lambda x, p, b, t: (x.tanh() * (x != 1.5)).sum(1) / (x != 1.5).sum(1).clamp(min=1),
        special=(1.5, 1.5, 1.5, 1.5, 0.3, 1.5),
        wrong_shapes={"rank": (N, D)},
    ),
    Case(
        "Recompute",
        lambda: layers.Recompute([layers.Tanh(), layers.Softplus()]),
        (N, D),
        lambda x, p, b, t: x.new_zeros(()).logaddexp(x.tanh()),
    ),
    Case(
        "Residual",
        lambda: layers.Residual([layers.Tanh(), layers.Softplus()]),
        (N, D),
        lambda x, p, b, t: x + x.new_zeros(()).logaddexp(x.tanh()),
    ),
    Case(
        "Residual with a shortcut",
        lambda: layers.Residual(layers.Tanh(), shortcut=[layers.Sigmoid()]),
        (N, D),
        lambda x, p, b, t: x.tanh() + x.sigmoid(),
    ),
    Case(
        "Parallel",
        lambda: layers.Parallel([layers.Tanh(), [], [layers.Sigmoid(), layers.Tanh()]]),
        (N, D, 2),
        lambda x, p, b, t: (
            functional().pad(x.tanh(), (0, 0, 0, 2 * D))
            + functional().pad(x, (0, 0, D, D))
            + functional().pad(x.sigmoid().tanh(), (0, 0, 2 * D, 0))
        ),
    ),
    Case(
        "Parallel of a sum",
        lambda: layers.Parallel([layers.Tanh(), layers.Sigmoid()], merge="sum"),
        (N, D),
        lambda x, p, b, t: x.tanh() + x.sigmoid(),
    ),
    _attention("MultiHeadAttention"),
    _attention("MultiHeadAttention of the past", causal=True),
    Case(
        "PositionalEncoding",
        layers.PositionalEncoding,
        (N, T, 5),
        _waves,
        wrong_shapes={"rank": (N, 5), "no step": (N, 0, 5)},
    ),
    Case(
        "TransformerBlock",
        _block,
        (N, T, 4),
        lambda x, p, b, t: x * 1.0,
        wrong_shapes={"rank": (N, 4), "width": (N, T, 3)},
    ),
]
