"""The gradient check itself: it must find wrong gradients, and tell kinks from errors."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck import STEP, Kinked, check_derivative, smooth_slope


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
    with pytest.raises(Kinked, match="a kink in each of 5 directions"):
        check(np.abs, np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("offset", [0.1, 0.5, 0.9])
def test_a_kink_within_the_step_gives_no_slope(offset):
    assert smooth_slope(lambda t: abs(t - offset * STEP)) is None


def test_a_kink_beyond_the_step_does_no_harm():
    assert smooth_slope(lambda t: abs(t - 2 * STEP)) == pytest.approx(-1.0, rel=1e-9)


def test_a_curve_has_a_slope():
    assert smooth_slope(lambda t: np.exp(3.0 * t)) == pytest.approx(3.0, rel=1e-8)
