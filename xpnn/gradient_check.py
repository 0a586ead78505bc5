r"""Gradients against differences: for people who write their own layers.

For random directions d and weights g, the derivative of

.. math:: L(t) = \sum_i g_i \, f(x + t d)_i

at t = 0 is the sum of d times the gradient that ``backward(g)`` returns for x: one number for all
elements at once. The same holds for each parameter in the place of x, and for the loss of a network
in the place of the sum.

Where f has a kink (ReLU at 0) a difference says nothing about the derivative. Such directions are
found by the differences alone, without a look at the gradient under test, and replaced a bounded
number of times.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ._standard import Array, array_namespace
from .backend import Backend, backend, backend_of
from .errors import ConfigurationError, GradientError
from .layers.layer import Layer
from .losses import Loss
from .network import Network, Sequential

__all__ = ["check_derivative", "check_gradients", "smooth_slope"]

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


def check_gradients(
    layer_or_network: Layer | Network,
    input: Any,
    target: Any = None,
    *,
    mode: str = "train",
    seed: int = 0,
) -> dict[str, float]:
    """Check what ``backward`` says against differences of what ``forward`` computes.

    A layer is checked by a random weighting of its outputs; a network by its loss with the penalty
    of its regularization. Everything happens in float64, on a copy: what is given stays as it is.
    A layer that draws random numbers draws the same ones for each difference.

    Parameters
    ----------
    layer_or_network : Layer or Network
        With its parameters, or without: then it draws them.
    input : array_like
        One batch. Give a layer an array of the library to check it on; NumPy by default.
    target : array_like, optional
        For a network.
    mode : {"train", "test"}
        The mode of the layers.
    seed : int
        Of the directions, and of parameters that are missing.

    Returns
    -------
    dict of str to float
        For "input" (unless it holds ids) and every parameter, such as "0.W": the distance of the
        two derivatives relative to the gradient. Below 1e-7, else there is an error.

    Raises
    ------
    GradientError
        If a gradient is wrong, with its name and the values.
    ConfigurationError
        If a network is given no target, or the mode is unknown.

    Notes
    -----
    Cost: five forward passes for each array and direction.

    Examples
    --------
    >>> import numpy as np, xpnn
    >>> errors = check_gradients(xpnn.Linear(3, 2), np.ones((4, 3)))
    >>> sorted(errors), max(errors.values()) < 1e-7
    (['0.W', '0.b', 'input'], True)
    """
    if mode not in ("train", "test"):
        raise ConfigurationError(f"mode: expected 'train' or 'test', got {mode!r}")
    rng = np.random.default_rng(seed)
    if isinstance(layer_or_network, Layer):
        network: Network = _alone(layer_or_network, input, seed, rng)
        target = 0.0
    else:
        if target is None:
            raise ConfigurationError("check_gradients: a network needs a target")
        network = copy.deepcopy(layer_or_network)
        source = network.backend
        # Arrays of the network's own type would be refused by its copy in float64.
        target, input = (source.to_host(a) if source.owns(a) else a for a in (target, input))
        network.to(backend=backend(source.name, source.device_name, "float64"))
    with network.backend.scope():
        return _check(network, input, target, mode, rng)


def _alone(layer: Layer, input: Any, seed: int, rng: np.random.Generator) -> Network:
    """Make a network of a copy of the layer, in float64 on the library of the input."""
    host = isinstance(input, list | tuple | int | float)
    found = backend("numpy", "cpu") if host else backend_of(input)
    place = backend(found.name, found.device_name, "float64")
    return Sequential([copy.deepcopy(layer)], _Weighting(rng), 1.0, backend=place, seed=seed)


class _Weighting(Loss):
    """The sum of the outputs, each times a random number that stays."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self._rng = rng
        self._weights: Array = None

    def forward(self, input: Array, target: Array, sample_weight: Array | None = None) -> Array:
        if self._weights is None:
            weights = self._rng.standard_normal(tuple(input.shape))
            self._weights = backend_of(input).asarray(weights)
        return array_namespace(input).sum(input * self._weights)

    def backward(self) -> Array:
        return self._weights


def _check(
    network: Network, input: Any, target: Any, mode: str, rng: np.random.Generator
) -> dict[str, float]:
    place = network.backend
    input = place.to_host(network.prepare_input(input))
    _, dinput = network.gradients(input, target, mode=mode)
    parameters = network.parameters
    gradients = {key: _copy(place, grad) for key, grad in parameters.grads.named().items()}

    def loss_at(value: np.ndarray[Any, Any], key: str) -> float:
        if key == "input":
            loss, _ = network.gradients(value, target, mode=mode)
        else:
            parts[key][names[key]] = place.asarray(value)
            loss, _ = network.gradients(input, target, mode=mode)
        return float(loss)

    errors = {}
    if dinput is not None:  # ids have no gradient
        slope_at = functools.partial(loss_at, key="input")
        errors["input"] = check_derivative(slope_at, input, _copy(place, dinput), "input", rng)
    parts = {p.key: parameters.layers[p.layer].params for p in parameters.values.parts}
    names = {p.key: p.name for p in parameters.values.parts}
    for key, value in parameters.values.named().items():
        point = _copy(place, value)
        slope_at = functools.partial(loss_at, key=key)
        errors[key] = check_derivative(slope_at, point, gradients[key], key, rng)
        parts[key][names[key]] = place.asarray(point)
    return errors


def _copy(place: Backend, array: Array) -> np.ndarray[Any, Any]:
    return np.array(place.to_host(array))


def check_derivative(
    loss_at: Callable[[np.ndarray], float],
    point: np.ndarray,
    gradient: np.ndarray,
    name: str,
    rng: np.random.Generator,
) -> float:
    """Check a gradient at a point against the slope of the function in a random direction.

    Parameters
    ----------
    loss_at : callable
        The function, of an array.
    point, gradient : numpy.ndarray
        Where it is differentiated, and what is said to be its gradient there. float64.
    name : str
        What the message calls the point.
    rng : numpy.random.Generator
        Draws the directions.

    Returns
    -------
    float
        Distance of the two derivatives, relative to the sum of |direction times gradient|.

    Raises
    ------
    GradientError
        If they differ, with the values; or if the function has a kink in every direction tried.
    """
    if gradient.shape != point.shape:
        raise GradientError(
            f"gradient by {name}: expected shape {point.shape}, got {gradient.shape}"
        )
    for _ in range(ATTEMPTS):
        direction = rng.standard_normal(point.shape)
        slope = smooth_slope(lambda t, d=direction: loss_at(point + t * d))  # type: ignore[misc]
        if slope is None:
            continue
        terms = direction * gradient
        told = float(np.sum(terms))
        size = float(np.sum(np.abs(terms)))
        allowed = ATOL + RTOL * size + RTOL * abs(slope)
        if not abs(told - slope) <= allowed:
            raise GradientError(
                f"gradient by {name}: backward says {told!r}, differences say {slope!r}, "
                f"apart by {abs(told - slope):.3g}, allowed {allowed:.3g}\n"
                f"{name}:\n{point}\ngradient:\n{gradient}\ndirection:\n{direction}"
            )
        return abs(told - slope) / max(size, abs(slope), 1.0)
    raise GradientError(
        f"gradient by {name}: a kink in each of {ATTEMPTS} directions from\n{point}"
    )


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
