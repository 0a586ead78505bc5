r"""Derivatives of layers against differences of their outputs, in float64.

For random directions d and weights g, the derivative of

.. math:: L(t) = \sum_i g_i \, f(x + t d)_i

at t = 0 is the sum of d times the gradient that ``backward(g)`` returns for x: one number for all
elements at once. The same holds for each parameter in the place of x.

Where f has a kink (ReLU at 0) a difference says nothing about the derivative. Such directions are
found by the differences alone, without a look at the gradient under test, and replaced a bounded
number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

#: Distance of the points whose difference is taken: its square is the error by curvature, its
#: inverse times 1e-16 the error by rounding.
STEP = 1e-5
#: Largest difference between the two derivatives, relative to the sum of |d times gradient|.
RTOL = 1e-7
#: Smallest difference that counts where that sum is small.
ATOL = 1e-9
#: Relative difference of two slopes from which on a kink must be the cause: of those to the left
#: and to the right, which curvature moves apart by STEP, and of those at STEP and at half of it,
#: which it moves apart by STEP squared.
KINK_AT_CENTRE = 1e-3
KINK_NEAR_BY = 1e-7
#: Directions that are tried before a function counts as kinked everywhere.
ATTEMPTS = 5


class Kinked(AssertionError):
    """No direction was found in which the function is smooth."""


def smooth_slope(loss: Callable[[float], float]) -> float | None:
    """Differentiate a function of one number at 0; None if it has a kink within reach."""
    centre = loss(0.0)
    right = (loss(STEP) - centre) / STEP
    left = (centre - loss(-STEP)) / STEP
    narrow = (loss(STEP / 2) - loss(-STEP / 2)) / STEP
    slope = (right + left) / 2
    scale = max(abs(right), abs(left), 1.0)
    kinked = (
        abs(right - left) > KINK_AT_CENTRE * scale or abs(slope - narrow) > KINK_NEAR_BY * scale
    )
    return None if kinked else slope


def check_layer_gradients(
    layer: Any, input: np.ndarray, backend: Any, rng: np.random.Generator
) -> None:
    """Check what ``layer.backward`` says of its input and of each parameter.

    The layer must give the same output whenever it gets the same input: a dropout layer draws the
    same mask as long as its step does not change.

    Parameters
    ----------
    layer : Layer
        With its parameters and its mode set.
    input : numpy.ndarray
        Input, in float64.
    backend : BackendUnderTest
        A back end in float64.
    rng : numpy.random.Generator
        Draws the directions.

    Raises
    ------
    AssertionError
        Naming the array, both derivatives, and the values of direction and gradient.
    """
    output = backend.to_host(layer.forward(backend.asarray(input)))
    dout = rng.standard_normal(output.shape)
    gradients = {"input": backend.to_host(layer.backward(backend.asarray(dout)))}
    gradients |= {name: backend.to_host(layer.grads[name]) for name in layer.params}
    points = dict(_host(layer.params, backend)) | {"input": input}

    for name, point in points.items():
        gradient = gradients[name]
        assert gradient.shape == point.shape, f"{name}: {gradient.shape} for {point.shape}"

        def loss_at(value: np.ndarray, name: str = name) -> float:
            if name == "input":
                result = layer.forward(backend.asarray(value))
            else:
                layer.params[name] = backend.asarray(value)
                result = layer.forward(backend.asarray(input))
            return float(np.sum(backend.to_host(result) * dout))

        check_derivative(loss_at, point, gradient, name, rng)
        if name != "input":
            layer.params[name] = backend.asarray(point)


def check_derivative(
    loss_at: Callable[[np.ndarray], float],
    point: np.ndarray,
    gradient: np.ndarray,
    name: str,
    rng: np.random.Generator,
) -> None:
    """Check a gradient at a point against the slope of the function in a random direction."""
    for _ in range(ATTEMPTS):
        direction = rng.standard_normal(point.shape)
        slope = smooth_slope(lambda t, d=direction: loss_at(point + t * d))  # type: ignore[misc]
        if slope is None:
            continue
        terms = direction * gradient
        told = float(np.sum(terms))
        allowed = ATOL + RTOL * float(np.sum(np.abs(terms))) + RTOL * abs(slope)
        if not abs(told - slope) <= allowed:
            raise AssertionError(
                f"gradient by {name}: backward says {told!r}, differences say {slope!r}, "
                f"apart by {abs(told - slope):.3g}, allowed {allowed:.3g}\n"
                f"{name}:\n{point}\ngradient:\n{gradient}\ndirection:\n{direction}"
            )
        return
    raise Kinked(f"gradient by {name}: a kink in each of {ATTEMPTS} directions from\n{point}")


def _host(arrays: dict[str, Any], backend: Any) -> Iterator[tuple[str, np.ndarray]]:
    for name, array in arrays.items():
        yield name, np.array(backend.to_host(array))
