"""The gradient check itself: it must find wrong gradients, and tell kinks from errors."""

from __future__ import annotations

import numpy as np
import pytest

import xpnn
from xpnn.gradient_check import STEP, check_derivative, check_gradients, smooth_slope


def check(function, point, gradient, seed=0):
    def loss_at(value):
        return float(np.sum(function(value)))

    check_derivative(loss_at, point, gradient, "x", np.random.default_rng(seed))


def test_a_right_gradient_passes():
    point = np.linspace(-2.0, 2.0, 12).reshape(3, 4)
    check(np.sin, point, np.cos(point))


@pytest.mark.parametrize("error", [1e-5, -1.0, 1.0])
def test_a_wrong_element_is_found_and_its_values_are_printed(error):
    point = np.linspace(-2.0, 2.0, 12).reshape(3, 4)
    gradient = np.cos(point)
    gradient[1, 2] += error
    with pytest.raises(AssertionError, match=r"gradient by x: backward says .*(?s:.*)direction:"):
        check(np.sin, point, gradient)


def test_a_gradient_of_nan_is_found():
    with pytest.raises(AssertionError, match="backward says nan"):
        check(np.sin, np.ones(3), np.full(3, np.nan))


def test_a_kink_in_every_direction_is_told_from_an_error():
    with pytest.raises(xpnn.GradientError, match="a kink in each of 5 directions"):
        check(np.abs, np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("offset", [0.1, 0.5, 0.9])
def test_a_kink_within_the_step_gives_no_slope(offset):
    assert smooth_slope(lambda t: abs(t - offset * STEP)) is None


def test_a_kink_beyond_the_step_does_no_harm():
    assert smooth_slope(lambda t: abs(t - 2 * STEP)) == pytest.approx(-1.0, rel=1e-9)


def test_a_curve_has_a_slope():
    assert smooth_slope(lambda t: np.exp(3.0 * t)) == pytest.approx(3.0, rel=1e-8)


LAYERS = [
    xpnn.Linear(5, 3),
    xpnn.BatchNorm(5),
    xpnn.Dropout(0.4),
    xpnn.Residual([xpnn.Linear(5, 5), xpnn.Tanh(), xpnn.Dropout(0.2)]),
]


@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_a_right_layer_passes_and_stays_as_it_was(layer, mode, backend_float64):
    rng = np.random.default_rng(1)
    errors = check_gradients(layer, backend_float64.asarray(rng.normal(size=(6, 5))), mode=mode)
    assert "input" in errors
    assert max(errors.values()) < 1e-7
    assert layer.params == {}
    assert layer.mode == "train"


class WrongByTheFactor(xpnn.Layer):
    """Squares, and forgets the 2 in the derivative."""

    def forward(self, input):
        self.cache["input"] = input
        return input**2

    def backward(self, dout):
        return dout * self.saved("input")


def test_a_wrong_layer_is_found():
    with pytest.raises(xpnn.GradientError, match="gradient by input: backward says"):
        check_gradients(WrongByTheFactor(), np.ones((2, 3)))


def small_network(**more):
    layers = [xpnn.Linear(4, 6), xpnn.BatchNorm(6), xpnn.ReLU(), xpnn.Linear(6, 3)]
    return xpnn.Sequential(layers, xpnn.SoftmaxCrossEntropy(), lr=0.1, seed=0, **more)


def test_a_network_is_checked_with_its_penalty_and_stays_as_it_was():
    network = small_network(regularization=xpnn.L2(0.1))
    before = network.parameters.values.copy()
    x = np.random.default_rng(2).normal(size=(5, 4))
    errors = check_gradients(network, x, [0, 1, 2, 0, 1])
    assert set(errors) == {"input", *network.parameters.values.named()}
    assert max(errors.values()) < 1e-7
    assert network.backend.dtype == "float32"
    np.testing.assert_array_equal(network.parameters.values.array, before)


class WrongPenalty(xpnn.L2):
    def backward(self, param):
        return self.weight * param


def test_a_wrong_penalty_is_found_in_the_network():
    network = small_network(regularization=WrongPenalty(0.1))
    with pytest.raises(xpnn.GradientError, match="gradient by"):
        check_gradients(network, np.ones((3, 4)) * [[1.0], [2.0], [3.0]], [0, 1, 2])


def test_ids_have_no_gradient():
    assert set(check_gradients(xpnn.Embedding(7, 3), np.asarray([[1, 2], [6, 0]]))) == {"0.W"}


def test_wrong_arguments_are_refused():
    with pytest.raises(xpnn.ConfigurationError, match="a network needs a target"):
        check_gradients(small_network(), np.ones((2, 4)))
    with pytest.raises(xpnn.ConfigurationError, match="expected 'train' or 'test'"):
        check_gradients(xpnn.ReLU(), np.ones((2, 4)), mode="eval")
