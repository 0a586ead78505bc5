"""Initial weights: their variance against theory, their range, orthogonality, their names."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xpnn.errors import ConfigurationError
from xpnn.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LeCunNormal,
    LeCunUniform,
    Ones,
    Orthogonal,
    Zeros,
    fans,
    get,
)
from xpnn.random import Stream

# (initializer, variance as a function of fan in and fan out, whether uniform)
SCALED = [
    (HeNormal(), lambda fan_in, fan_out: 2 / fan_in, False),
    (HeUniform(), lambda fan_in, fan_out: 2 / fan_in, True),
    (GlorotNormal(), lambda fan_in, fan_out: 2 / (fan_in + fan_out), False),
    (GlorotUniform(), lambda fan_in, fan_out: 2 / (fan_in + fan_out), True),
    (LeCunNormal(), lambda fan_in, fan_out: 1 / fan_in, False),
    (LeCunUniform(), lambda fan_in, fan_out: 1 / fan_in, True),
]
SCALED_IDS = [type(row[0]).__name__ for row in SCALED]

# shape, fan in, fan out
FANS = [
    ((300, 200), 300, 200),
    ((40, 30, 50), 30 * 50, 40 * 50),
    ((40, 30, 5, 10), 30 * 50, 40 * 50),
    ((20, 10, 5, 5, 12), 10 * 300, 20 * 300),
]

NAMES = {
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "glorot_normal": GlorotNormal,
    "glorot_uniform": GlorotUniform,
    "lecun_normal": LeCunNormal,
    "lecun_uniform": LeCunUniform,
    "orthogonal": Orthogonal,
    "zeros": Zeros,
    "ones": Ones,
}


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), FANS)
def test_fans(shape, fan_in, fan_out):
    assert fans(shape) == (fan_in, fan_out)


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), FANS)
@pytest.mark.parametrize(("initializer", "variance", "uniform"), SCALED, ids=SCALED_IDS)
def test_variance_is_that_of_the_paper(initializer, variance, uniform, shape, fan_in, fan_out):
    weight = initializer(shape, Stream(3, 1))
    n = weight.size
    expected = variance(fan_in, fan_out)
    assert weight.dtype == np.float64
    assert weight.shape == shape
    assert abs(weight.mean()) < 4 * math.sqrt(expected / n)
    # Variance of a squared deviation: (kurtosis - 1) variance^2; kurtosis 9/5 or 3.
    spread = math.sqrt((0.8 if uniform else 2.0) / n)
    assert abs(np.mean(weight**2) / expected - 1) < 4 * spread
    limit = math.sqrt(3 * expected)
    if uniform:
        assert np.max(np.abs(weight)) <= limit
        assert np.max(np.abs(weight)) > 0.99 * limit
    else:
        assert np.mean(np.abs(weight) > limit) == pytest.approx(math.erfc(math.sqrt(1.5)), abs=0.01)


def test_draws_are_those_of_the_stream():
    rng = Stream(5, 7)
    he = HeNormal()((4, 3), rng)
    np.testing.assert_allclose(he, rng.normal((4, 3)) * math.sqrt(2 / 4), rtol=1e-15)
    glorot = GlorotUniform()((4, 3), rng)
    limit = math.sqrt(6 / 7)
    np.testing.assert_allclose(glorot, rng.uniform((4, 3), -limit, limit), rtol=1e-15)
    assert he.tolist() == HeNormal()((4, 3), Stream(5, 7)).tolist()
    assert he.tolist() != HeNormal()((4, 3), rng.at(1)).tolist()


@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (1, 5), (5, 1), (1, 1)])
def test_orthogonal_matrix(shape, gain):
    weight = Orthogonal(gain)(shape, Stream(2))
    assert weight.dtype == np.float64
    assert weight.shape == shape
    rows, columns = shape
    gram = weight @ weight.T if rows <= columns else weight.T @ weight
    np.testing.assert_allclose(gram, gain**2 * np.eye(min(shape)), atol=1e-14)


@pytest.mark.parametrize("shape", [(8, 3, 2, 2), (30, 3, 3, 3), (4, 5, 2)])
def test_orthogonal_convolution(shape):
    weight = Orthogonal()(shape, Stream(2))
    assert weight.shape == shape
    matrix = weight.reshape(shape[0], -1)
    rows, columns = matrix.shape
    gram = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    np.testing.assert_allclose(gram, np.eye(min(rows, columns)), atol=1e-14)


def test_orthogonal_is_uniform_over_all_orthogonal_matrices():
    # Without the signs of R's diagonal, QR would fix the signs of the result. Under the Haar
    # measure an entry of a 3 x 3 matrix has mean 0 and variance 1/3, and the determinant is +-1
    # with equal probability.
    draws = np.stack([Orthogonal()((3, 3), Stream(2, 0, call)) for call in range(1000)])
    assert np.max(np.abs(draws.mean(axis=0))) < 4 * math.sqrt(1 / 3 / 1000)
    np.testing.assert_allclose(np.mean(draws**2, axis=0), 1 / 3, atol=0.04)
    assert abs(np.mean(np.linalg.det(draws))) < 4 / math.sqrt(1000)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0)])
def test_constants(shape):
    for initializer, value in ((Zeros(), 0.0), (Ones(), 1.0), (Constant(-2.5), -2.5)):
        result = initializer(shape, Stream(0))
        assert result.dtype == np.float64
        assert result.tolist() == np.full(shape, value).tolist()


def test_representation_and_equality():
    assert repr(HeNormal()) == "HeNormal()"
    assert repr(Orthogonal(2)) == "Orthogonal(gain=2.0)"
    assert repr(Constant(3)) == "Constant(value=3.0)"
    assert Constant(3) == Constant(3.0)
    assert HeNormal() == HeNormal()
    assert HeNormal() != HeUniform()


@pytest.mark.parametrize(("name", "cls"), NAMES.items())
def test_get_by_name(name, cls):
    assert get(name) == cls()


def test_get_returns_instances_and_functions():
    initializer = Orthogonal(1.5)
    assert get(initializer) is initializer

    def mine(shape, rng):
        return rng.uniform(shape)

    assert get(mine) is mine


def test_get_rejects_the_rest():
    with pytest.raises(ConfigurationError, match=r"unknown initializer 'he_norml'.*'he_normal'"):
        get("he_norml")
    with pytest.raises(ConfigurationError, match=r"HeNormal\(\)"):
        get(HeNormal)
    for wrong in (None, 3, 0.5):
        with pytest.raises(ConfigurationError, match=rf"initializer must be .*got {wrong!r}"):
            get(wrong)


@pytest.mark.parametrize(
    "initializer", [*(row[0] for row in SCALED), Orthogonal()], ids=[*SCALED_IDS, "Orthogonal"]
)
@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (3, 0), (2, 3, 0), 5])
def test_weights_need_two_axes_and_some_elements(initializer, shape):
    name = type(initializer).__name__
    with pytest.raises(ConfigurationError, match=rf"{name}: shape must .*got"):
        initializer(shape, Stream(0))


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", None])
def test_settings_are_checked(value):
    with pytest.raises(ConfigurationError, match="Constant: value must be"):
        Constant(value)
    with pytest.raises(ConfigurationError, match="Orthogonal: gain must be"):
        Orthogonal(value)
