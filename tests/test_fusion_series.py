"""Fused attention, and layers that are made of layers in a row, against the layers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import xpnn
from fusion_cases import pair
from tolerances import assert_close
from xpnn import layers as L
from xpnn.errors import DivergenceError

pytest.importorskip("numba")

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def drawn(shape: tuple[int, ...], stream: xpnn.random.Stream) -> Any:
    """Biases that are not zero."""
    return stream.normal(shape)


BLOCKS: dict[str, Any] = {
    "transformer": lambda: [
        L.Embedding(9, 12),
        L.PositionalEncoding(),
        L.TransformerBlock(12, 3, hidden_dim=7, dropout=0.2, causal=True),
        L.TransformerBlock(12, 2, dropout=0.1),
        L.LastStep(),
        L.Linear(12, 3),
    ],
    "masked": lambda: [
        L.Masked([L.Embedding(9, 6, padding_idx=0), L.Dropout(0.2), L.GRU(6, 5), L.LastStep()]),
        L.Linear(5, 3),
    ],
    "masked transformer": lambda: [
        L.Masked([L.Embedding(9, 8), L.TransformerBlock(8, 2, causal=True), L.MeanOverTime()]),
        L.Linear(8, 3),
    ],
    "masked steps": lambda: [
        L.Embedding(9, 4),
        L.Masked([L.LSTM(4, 6), L.Masked([L.Linear(6, 6), L.RNN(6, 4)], padding=2.0)], padding=9),
        L.MaxOverTime(),
        L.Linear(4, 3),
    ],
}


@each_dtype
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("dim", "heads"), [(6, 3), (32, 2), (40, 1), (70, 2)])
def test_attention(dim, heads, causal, dtype):
    """Outputs and all gradients: with missing steps, none that are there, and other lengths."""
    fused, plain = pair(
        lambda: [
            L.Linear(5, dim),
            L.MultiHeadAttention(dim, heads, causal, bias_initializer=drawn),
            L.Linear(dim, 3),
        ],
        xpnn.MeanSquaredError,
        lambda: xpnn.SGD(0.01),
        dtype=dtype,
    )
    assert "fused by Numba: MultiHeadAttention" in str(xpnn.fusion.plan(fused))
    rng = np.random.default_rng(0)
    for n, t in ((3, 1), (2, 7), (1, 40), (5, 33)):
        x, y = rng.standard_normal((n, t, 5)), rng.standard_normal((n, t, 3))
        empty = rng.random((n, t)) < 0.7
        empty[0] = False
        for mask, lengths in ((None, None), (empty, None), (None, rng.integers(0, t + 1, n))):
            for network in (fused, plain):
                network.layers[1].mask, network.layers[1].lengths = mask, lengths
            output, loss = fused.train(x, y)
            expected_output, expected = plain.train(x, y)
            assert_close(output, expected_output, dtype, 10)
            assert_close(loss, expected, dtype, 10)
            assert_close(fused.parameters.grads.array, plain.parameters.grads.array, dtype, 20)
            assert_close(fused.eval(x), plain.eval(x), dtype, 10)


def test_the_number_of_threads_changes_nothing_in_attention(monkeypatch):
    from xpnn.fusion import attention
    from xpnn.fusion.threads import Team

    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 5, 60, 16))
    found = []
    for parts, pool in itertools.product((1, 2, 40), (False, True)):
        net = xpnn.Sequential(
            [L.MultiHeadAttention(16, 2)], xpnn.MeanSquaredError(), lr=0.1, seed=0
        )
        monkeypatch.setattr(attention, "team", lambda p=parts, q=pool: Team(p, q, {}))
        output, _ = net.train(x, y)
        found.append((output, net.parameters.grads.copy()))
    for output, gradient in found[1:]:
        np.testing.assert_array_equal(output, found[0][0])
        np.testing.assert_array_equal(gradient, found[0][1])


@each_dtype
@pytest.mark.parametrize("name", BLOCKS)
def test_training_is_that_of_the_layers_for_200_steps(name, dtype):
    fused, plain = pair(BLOCKS[name], optimizer=lambda: xpnn.SGD(0.05), dtype=dtype)
    assert "step by step" in str(xpnn.fusion.plan(fused))
    rng = np.random.default_rng(0)
    limit = {"float32": 1e-5, "float64": 1e-11}[dtype]
    for step in range(200):
        x, y = rng.integers(0, 9, (6, 1 + step % 7)), rng.integers(0, 3, 6)
        x[:, -1:] *= x[:, :1] % 2  # ids of 0 are padding
        output, loss = fused.train(x, y)
        expected_output, expected = plain.train(x, y)
        assert math.isclose(float(loss), float(expected), rel_tol=limit)
    assert_close(output, expected_output, dtype, 20)
    assert_close(fused.eval(x), plain.eval(x), dtype, 20)
    for vector in ("values", "grads"):
        actual, wanted = (getattr(net.parameters, vector).array for net in (fused, plain))
        assert_close(actual, wanted, dtype, 40)
    assert all(
        layer.mask is None for _, layer in fused.layers[0].sublayers() if hasattr(layer, "mask")
    )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", BLOCKS)
def test_bad_numbers_are_reported(name, bad):
    fused, _ = pair(BLOCKS[name])
    x, y = np.full((2, 3), 1), np.zeros(2, np.int64)
    fused.train(x, y)
    embedding: Any = fused.layers[0]
    if isinstance(embedding, L.Masked):
        embedding = next(layer for _, layer in embedding.sublayers())
    embedding.params["W"][1] = bad
    before = fused.parameters.values.array.copy()
    with pytest.raises(DivergenceError):
        fused.train(x, y)
    np.testing.assert_array_equal(fused.parameters.values.array, before)
