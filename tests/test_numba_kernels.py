"""The kernels by themselves: accuracy, random bits, determinism, and their cache on disk."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from tolerances import assert_close
from xpnn._standard import erf
from xpnn.kernels.numba import (
    activations,
    cross_entropy,
    embedding,
    inspection,
    lanes,
    layernorm,
)
from xpnn.kernels.numba._compile import Kernel
from xpnn.kernels.numba._mathematics import log
from xpnn.random import Stream

ROOT = Path(__file__).parents[1]
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def apply(name: str, x: np.ndarray[Any, Any], setting: float = 0.0) -> tuple[Any, Any]:
    """f(x) and f'(x) of an activation, without scale, shift and dropout."""
    dtype, width = x.dtype.name, x.size
    zeros, ones = np.zeros(width, dtype), np.ones(width, dtype)
    output, slope = np.empty((1, width), dtype), np.empty((1, width), dtype)
    arguments = (x[None, :], zeros, ones, zeros, np.zeros((1, width), np.uint16), 0, 1.0, setting)
    activations.FORWARD_WITH_SLOPE[name][dtype](*arguments, output, slope, 1)
    plain = np.empty_like(output)
    activations.FORWARD[name][dtype](*arguments, plain, 1)
    assert_close(plain, output, dtype)
    return output[0], slope[0]


def reference(name: str, x: Any, a: float) -> Any:
    """The same functions in extended precision, as written in a textbook."""
    x = x.astype(np.longdouble)
    if name == "elu":
        return np.where(x > 0, x, a * np.expm1(x))
    if name == "sigmoid":
        return 1 / (1 + np.exp(-x))
    if name == "tanh":
        return np.tanh(x)
    if name == "silu":
        return x / (1 + np.exp(-x))
    if name == "gelu":
        root = math.sqrt(0.5)
        return x * np.asarray([0.5 * math.erfc(-root * float(v)) for v in x])
    return x * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x**3))) / 2


@each_dtype
@pytest.mark.parametrize("name", ["elu", "sigmoid", "tanh", "silu", "gelu", "gelu_tanh"])
def test_activations_are_good_to_rounding(name, dtype):
    rng = np.random.default_rng(0)
    x = np.concatenate([scale * rng.standard_normal(400) for scale in (1e-6, 1e-2, 1.0, 6.0)])
    x = x.astype(dtype)
    output, slope = apply(name, x, 0.7)
    expected = reference(name, x, 0.7)
    epsilon = np.finfo(dtype).eps
    error = np.abs(output - expected)
    # The Gaussian's tail is the difference of numbers near 1, good in absolute terms.
    scale = np.maximum(np.abs(expected), np.abs(x) if "gelu" in name else 0.0)
    assert (error <= 4 * epsilon * scale + np.finfo(dtype).tiny).all()
    step = 1e-5
    wide = x.astype(np.float64)
    derivative = (reference(name, wide + step, 0.7) - reference(name, wide - step, 0.7)) / (
        2 * step
    )
    away = np.abs(wide) > 2 * step  # ELU has a kink
    np.testing.assert_allclose(
        slope[away], derivative[away], atol=5e-6 if dtype == "float32" else 1e-8
    )


@each_dtype
def test_activations_at_the_ends(dtype):
    x = np.asarray([-math.inf, -1e30, -1000.0, -0.0, 0.0, 1000.0, 1e30, math.inf], dtype)
    for name, ends in {
        "sigmoid": [0, 0, 0, 0.5, 0.5, 1, 1, 1],
        "tanh": [-1, -1, -1, 0, 0, 1, 1, 1],
        "elu": [-2, -2, -2, 0, 0, 1000, np.asarray(1e30, dtype), math.inf],
        "leaky_relu": [*(2.0 * x[:5]), *x[5:]],
    }.items():
        output, slope = apply(name, x, 2.0)
        np.testing.assert_array_equal(output, np.asarray(ends, dtype))
        assert not np.isnan(slope).any()
    for name in activations.FORWARD_WITH_SLOPE:
        output, _ = apply(name, np.asarray([math.nan, 1.0], dtype), 0.5)
        assert np.isnan(output).tolist() == [True, False], name


@each_dtype
def test_gelu_agrees_with_the_layers_error_function(dtype):
    x = np.linspace(-8, 8, 1001).astype(dtype)
    expected = x * (1 + erf(math.sqrt(0.5) * x)) / 2
    assert_close(apply("gelu", x)[0], expected, dtype)


@pytest.mark.parametrize("count", [8, 16, 1000])
@pytest.mark.parametrize("stream", [(0, 0, 0), (7, 2, 3), (2**64 - 1, 2**63, 2**64 - 1)])
def test_lanes_are_those_of_the_stream(stream, count):
    words = np.zeros(count, np.uint64)
    lanes.fill["float32"](np.asarray(stream, np.uint64), words, 1)
    np.testing.assert_array_equal(words, Stream(*stream).words(count))
    np.testing.assert_array_equal(words.view(np.uint16), Stream(*stream).bits(4 * count))


@each_dtype
def test_logarithm_is_good_to_rounding(dtype):
    def logarithms(x, y):
        for i in range(x.size):
            y[i] = log(x[i])

    compiled = Kernel(logarithms, "vector vector!")[dtype]
    rng = np.random.default_rng(3)
    limits = np.finfo(dtype)
    exponents = np.arange(limits.minexp, limits.maxexp)
    parts = (
        np.ldexp(1.0 + rng.random(exponents.size), exponents),
        1.0 + np.linspace(-0.5, 1.0, 20_001),
        1.0 + np.linspace(-10.0, 10.0, 201) * limits.eps,
        [math.sqrt(0.5), math.sqrt(2.0), limits.tiny, limits.max],
    )
    x = np.concatenate(parts).astype(dtype)
    y = np.empty_like(x)
    compiled(x, y)
    expected = np.log(x.astype(np.longdouble))
    assert (np.abs(y - expected) <= 1.5 * np.spacing(np.abs(expected.astype(dtype)))).all()
    x = np.asarray([1.0, math.inf, math.nan], dtype)
    y = np.empty_like(x)
    compiled(x, y)
    np.testing.assert_array_equal(y, [0.0, math.inf, math.nan])


@each_dtype
def test_cross_entropy(dtype):
    rng = np.random.default_rng(1)
    sizes = [(rows, classes) for rows in (1, 15, 16, 35) for classes in (2, 10, 16, 17, 33, 128)]
    for rows, classes in (*sizes, (3, 129), (3, 1000)):
        logits = (30.0 * rng.standard_normal((rows, classes))).astype(dtype)
        labels = rng.integers(0, classes, rows)
        gradient = np.empty_like(logits)
        loss, bad = cross_entropy.labels[dtype](logits, labels, gradient, np.empty(rows), 1)
        wide = logits.astype(np.longdouble)
        wide -= wide.max(axis=1, keepdims=True)
        probability = np.exp(wide) / np.exp(wide).sum(axis=1, keepdims=True)
        costs = np.log(np.exp(wide).sum(axis=1)) - wide[np.arange(rows), labels]
        probability[np.arange(rows), labels] -= 1.0
        assert bad == 0
        assert_close(loss, float(costs.mean()), dtype)
        assert_close(gradient, (probability / rows).astype(dtype), dtype)


def test_cross_entropy_of_special_logits():
    labels = np.asarray([0])

    def loss(*logits: float) -> float:
        row = np.asarray([logits])
        kernel = cross_entropy.labels["float64"]
        return float(kernel(row, labels, np.empty_like(row), np.empty(1), 1)[0])

    assert loss(0.0, -math.inf) == 0.0
    assert loss(-math.inf, 0.0) == math.inf
    assert math.isnan(loss(0.0, math.nan))
    assert math.isnan(loss(math.inf, 0.0))
    row = np.zeros((2, 3))
    target, gradient = np.asarray([3, -1]), np.empty_like(row)
    _, bad = cross_entropy.labels["float64"](row, target, gradient, np.empty(2), 1)
    assert bad == 2


@each_dtype
@pytest.mark.parametrize("classes", [2, 10, 24, 128])
def test_rows_of_few_classes_do_not_meet(classes, dtype):
    """In whatever parts; nothing is written beside the gradient, and each row has its own NaN."""
    rng = np.random.default_rng(4)
    rows = 53
    logits = rng.standard_normal((rows, classes)).astype(dtype)
    labels = rng.integers(0, classes, rows)
    kernel = cross_entropy.labels[dtype]

    def compute(parts: int) -> tuple[Any, Any, Any]:
        room = np.full((rows + 40, classes), 7.0, dtype)
        losses = np.full(rows + 40, 7.0)
        _, bad = kernel(logits, labels, room[20:-20], losses[20:-20], parts)
        assert (room[:20] == 7.0).all()
        assert (room[-20:] == 7.0).all()
        assert (losses[:20] == 7.0).all()
        assert (losses[-20:] == 7.0).all()
        return room[20:-20], losses[20:-20], bad

    gradient, losses, bad = compute(1)
    assert bad == 0.0
    for parts in (2, 3, 7):
        for found, expected in zip(compute(parts), (gradient, losses, bad), strict=True):
            np.testing.assert_array_equal(found, expected)
    logits[5, 1], logits[20, 0], logits[52, 1] = math.nan, math.inf, -math.inf
    labels[[7, 33, 50]], labels[52] = [classes, -1, 2**32 + 1], 1
    spoiled, costs, bad = compute(2)
    assert bad == 3.0
    assert np.isnan(costs[[5, 20]]).all()
    assert np.isnan(spoiled[[5, 20]]).all()
    assert costs[52] == math.inf
    assert (costs[[7, 33, 50]] == 0.0).all()
    others = np.setdiff1d(np.arange(rows), [5, 7, 20, 33, 50, 52])
    np.testing.assert_array_equal(spoiled[others], gradient[others])
    np.testing.assert_array_equal(costs[others], losses[others])


@each_dtype
@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.25), (0.5, 0.25)])
def test_inspection(a, b, dtype):
    rng = np.random.default_rng(2)
    values, grads = rng.standard_normal((2, 10_001)).astype(dtype)
    ends = np.asarray([6_000, 6_000, 10_001])
    l1, l2 = np.asarray([a, 9.0, 0.0]), np.asarray([b, 9.0, 0.0])
    inspect = inspection.inspect[dtype]
    given = values, grads, ends, l1, l2, 1.5
    penalty, witness, squares = inspect(*given, 1, 1)
    part = values[:6_000].astype(np.float64)
    total = grads.astype(np.float64)
    assert_close(penalty, a * np.abs(part).sum() + b * (part**2).sum(), dtype)
    assert_close(witness, total.sum(), dtype, 200)
    total[:6_000] += 2 * b * part + a * np.sign(part)
    assert_close(squares, (np.clip(total, -1.5, 1.5) ** 2).sum(), dtype)
    assert inspect(*given, 1, 1) == (penalty, witness, squares)
    found = inspect(*given, 0, 1)
    assert_close(found[0], penalty, dtype)
    assert_close(found[1], witness, dtype, 200)
    assert found[2] == 0.0
    for bad in (math.nan, math.inf, -math.inf):
        for place in (0, 3_000, 10_000):
            spoiled = grads.copy()
            spoiled[place] = bad
            for squared in (0, 1):
                found = inspect(values, spoiled, ends, l1, l2, math.inf, squared, 1)
                assert not math.isfinite(found[1])


@each_dtype
@pytest.mark.parametrize("has_bias", [False, True])
def test_layer_normalization_and_activation(has_bias, dtype):
    """Against textbook formulas in extended precision, and the same in whatever parts."""
    rng = np.random.default_rng(5)
    rows, width, epsilon, keep = 83, 45, 1e-3, 1.25
    x, dout = rng.standard_normal((2, rows, width)).astype(dtype)
    x[4] += 100.0
    bias, gamma, beta = rng.standard_normal((3, width)).astype(dtype)
    bias *= has_bias
    drawn = rng.integers(0, 2**16, (rows, width), dtype=np.uint16)

    def compute(parts: int) -> list[Any]:
        mean, inverse = np.empty((2, rows), dtype)
        output, slope, dx = np.empty((3, rows, width), dtype)
        dbeta, dgamma, dbias = sums = np.empty((3, width), dtype)
        room = np.empty((3 * activations.blocks(rows), width), dtype)
        norm = x, bias, epsilon, gamma, beta, mean, inverse
        chance = drawn, 20_000, keep, 0.0
        layernorm.FORWARD["silu", True][dtype](*norm, *chance, output, slope, parts)
        told = dout, slope, keep, x, bias, mean, inverse, gamma
        arguments = dx, dbeta, dgamma, dbias, has_bias, room, parts
        layernorm.BACKWARD["slope"][dtype](*told, *arguments)
        plain = np.full_like(output, 7.0)
        layernorm.FORWARD["silu", False][dtype](*norm, *chance, plain, plain, parts)
        np.testing.assert_array_equal(plain, output)
        return [output, slope, dx, *sums[: 2 + has_bias]]

    wide = x.astype(np.longdouble) + bias
    centered = wide - wide.mean(axis=1, keepdims=True)
    inverse = 1 / np.sqrt((centered**2).mean(axis=1, keepdims=True) + epsilon)
    n = centered * inverse
    z = n * gamma + beta
    gate, factor = 1 / (1 + np.exp(-z)), np.where(drawn >= 20_000, keep, 0.0)
    slope = gate * (1 + z * (1 - gate)) * factor
    t = dout * slope
    d = t * gamma
    means = (m.mean(axis=1, keepdims=True) for m in (d, d * n))
    dx = inverse * (d - next(means) - n * next(means))
    expected = [z * gate * factor, slope, dx, t.sum(axis=0), (t * n).sum(axis=0), dx.sum(axis=0)]
    found = compute(1)
    for actual, wanted in zip(found, expected, strict=False):
        away = np.arange(len(actual)) != 4 if len(actual) == rows else slice(None)
        assert_close(actual[away], wanted[away].astype(dtype), dtype, 5)
    for actual, wanted in zip(found[:3], expected, strict=False):  # its mean is 100 deviations
        assert_close(actual[4], wanted[4].astype(dtype), dtype, 100)
    for parts in (2, 3):
        for actual, wanted in zip(compute(parts), found, strict=True):
            np.testing.assert_array_equal(actual, wanted)


@each_dtype
@pytest.mark.parametrize("past", [0, 1])
@pytest.mark.parametrize("start", [0, 1])  # at a line of the caches, and behind one
@pytest.mark.parametrize("width", [5, 32])
def test_rows_are_copied_past_the_caches_or_through_them(width, start, past, dtype):
    weight = np.random.default_rng(0).standard_normal((9, width)).astype(dtype)
    ids = np.random.default_rng(1).integers(0, 9, 50)
    memory = np.zeros(50 * width + 64, dtype)
    start += -memory.ctypes.data % 64 // memory.itemsize
    output = memory[start : start + 50 * width].reshape(50, width)
    for parts, pool in ((1, False), (3, True)):
        output[:] = -1.0
        assert embedding.look_up[dtype, pool](weight, ids, output, past, parts)
        np.testing.assert_array_equal(output, weight[ids])
    assert not memory[:start].any()
    assert not memory[start + 50 * width :].any()


@each_dtype
@pytest.mark.parametrize("wrong", [-1, 9, np.iinfo(np.int64).min, np.iinfo(np.int64).max])
def test_no_row_is_copied_if_an_id_is_not_of_one(wrong, dtype):
    weight, ids = np.ones((9, 4), dtype), np.arange(9)
    ids[7] = wrong
    output = np.zeros((9, 4), dtype)
    for parts, pool in ((1, False), (3, True)):
        assert not embedding.look_up[dtype, pool](weight, ids, output, 0, parts)
        assert not output.any()


def test_another_type_is_refused():
    with pytest.raises(TypeError):
        lanes.fill["float32"](np.zeros(3), np.zeros(8, np.uint64), 1)


# ------------------------------------------------------------------ the cache

PROGRAM = """
import numpy as np
from xpnn.kernels.numba import lanes
words = np.zeros(8, np.uint64)
lanes.fill["float32"](np.zeros(3, np.uint64), words, 1)
print(hex(words[0]))
"""


def run(**environment: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def test_kernels_are_compiled_once_with_a_message(tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    output, message = run(**environment)
    assert output == hex(Stream(0).words(1)[0])
    assert message.startswith("xpnn: compiling")
    assert len(message.splitlines()) == 1
    assert run(**environment) == (output, "")


def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch, tmp_path):
    """Neither a folder that cannot be made nor one that fails when it is used."""
    from numba.core import caching

    def refuse(*arguments: Any) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    def fail(*arguments: Any) -> None:
        raise OSError("no space left on device")

    for owner, name, broken in (
        (caching.FunctionCache, "__init__", refuse),
        (caching.IndexDataCacheFile, "save", fail),
    ):
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / name))
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, broken)

            def double(x, y):
                for i in range(x.size):
                    y[i] = x[i] + x[i]

            x = np.arange(3.0)
            y = np.zeros(3)
            Kernel(double, "vector vector!")["float64"](x, y)
            assert y.tolist() == [0.0, 2.0, 4.0]
