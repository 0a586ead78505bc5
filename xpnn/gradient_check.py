r"""Gradients against differences: for people who write their own layers.

For random directions d and weights g, the derivative of

.. math:: L(t) = \sum_i g_i \, f(x + t d)_i

at t = 0 is the sum of d times the gradient that ``backward(g)`` returns for x: one number for all
elements at once. The same holds for each parameter in the place of x, and for the loss of a network
in the place of the sum.

Where f has a kink (ReLU at 0) a difference says nothing about the derivative. Such directions are
found by the differences alone, without a look at the gradient under test, and replaced a bounded
number of times, by shorter ones as wide networks have kinks everywhere. If the point itself is one
(ReLU of whole numbers), the check takes place close to it.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from ._checks import expect_kind
from ._standard import Array, array_namespace
from .backend import Backend, backend, backend_of
from .errors import ConfigurationError, GradientError
from .layers.layer import Layer
from .losses import Loss
from .network import Network
from .sequential import Sequential

__all__ = ["check_derivative", "check_gradients", "smooth_slope"]

#: Distances of the points whose difference is taken, one for each direction that is tried: the
#: square is the error by curvature, the inverse times 1e-16 the error by rounding.
STEPS = (1e-5, 1e-5, 1e-6, 1e-6, 1e-7, 1e-7)
#: How far a point that is a kink is moved, and how often.
NUDGE = 1e-2
NUDGES = 3
#: Largest difference between the two derivatives, relative to the sum of |d times gradient|.
RTOL = 1e-7
#: Smallest difference that counts where that sum is small.
ATOL = 1e-9
#: Differences of two slopes from which on a kink must be the cause. Of those to the left and to the
#: right, which curvature moves apart by the step: relative. Of those at the step and at half of it,
#: which it moves apart by the step squared: as part of what the two derivatives may be apart.
KINK_AT_CENTRE = 1e-3
KINK_NEAR_BY = 0.25


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
        One batch, of numbers about as large as 1. Give a layer an array of the library to check it
        on; NumPy by default.
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
        If a gradient is wrong or missing, with its name and the values; if a layer changes its
        input or ``dout``; if its output is another one each time; or if there are kinks everywhere.
    ConfigurationError
        If a network is given no target, or the mode is unknown.

    Notes
    -----
    Cost: five forward and backward passes for each array and direction. A layer that draws random
    numbers must take them from ``self.stream.at(self.step)``, as `Dropout` does.

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
        expect_kind("layer_or_network", layer_or_network, Network)
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
    found = backend_of(input) if is_array_api_obj(input) else backend("numpy", "cpu")
    place = backend(found.name, found.device_name, "float64")
    return Sequential([copy.deepcopy(layer)], _Weighting(rng), 1.0, backend=place, seed=seed)


class _Weighting(Loss):
    """The sum of the outputs, each times a random number that stays."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self._rng = rng
        self._weights: Array = None
        self._handed_out: Array = None

    def forward(self, input: Array, target: Array, sample_weight: Array | None = None) -> Array:
        xp = array_namespace(input)
        if self._weights is None:
            weights = self._rng.standard_normal(tuple(input.shape))
            self._weights = backend_of(input).asarray(weights)
        elif bool(xp.any(self._handed_out != self._weights)):
            raise GradientError("backward changes dout, which it must leave as it is")
        return xp.sum(input * self._weights)

    def backward(self) -> Array:
        self._handed_out = self._weights + 0.0
        return self._handed_out


class _KinkError(GradientError):
    """A point at which a function has no derivative, as far as one can see."""


def _check(
    network: Network, input: Any, target: Any, mode: str, rng: np.random.Generator
) -> dict[str, float]:
    place = network.backend
    input = _copy(place, network.prepare_input(input))
    for remaining in reversed(range(NUDGES + 1)):
        try:
            return _check_here(network, input, target, mode, rng)
        except _KinkError:
            if not remaining:
                raise
        if input.dtype.kind == "f":
            input = input + NUDGE * rng.standard_normal(input.shape)
        values = network.parameters.values
        moved = _copy(place, values.array) + NUDGE * rng.standard_normal(values.array.shape)
        values.array = place.asarray(moved)
    raise AssertionError("unreachable")


def _check_here(
    network: Network,
    input: np.ndarray[Any, Any],
    target: Any,
    mode: str,
    rng: np.random.Generator,
) -> dict[str, float]:
    place = network.backend
    before = input.copy()
    first, dinput = network.gradients(input, target, mode=mode)
    if not np.array_equal(input, before):
        raise GradientError("forward or backward changes the input, which it must leave as it is")
    parameters = network.parameters
    gradients = {key: _copy(place, grad) for key, grad in parameters.grads.named().items()}
    layers = {p.key: parameters.layers[p.layer] for p in parameters.values.parts}
    names = {p.key: p.name for p in parameters.values.parts}

    def loss_at(value: np.ndarray[Any, Any], key: str) -> float:
        if key == "input":
            loss, _ = network.gradients(value, target, mode=mode)
        else:
            layers[key].params[names[key]] = place.asarray(value)
            loss, _ = network.gradients(input, target, mode=mode)
        return float(loss)

    again = loss_at(input, "input")
    if not abs(again - float(first)) <= ATOL * max(1.0, abs(again)):
        raise GradientError(
            f"the same input gives {float(first)!r}, then {again!r}: a layer that draws random "
            "numbers must take them from self.stream.at(self.step)"
        )
    errors = {}
    if dinput is not None:
        slope_at = functools.partial(loss_at, key="input")
        errors["input"] = check_derivative(slope_at, input, _copy(place, dinput), "input", rng)
    elif input.dtype.kind == "f":  # ids have no gradient
        raise GradientError("gradient by input: backward returns None")
    for key, value in parameters.values.named().items():
        point = _copy(place, value)
        slope_at = functools.partial(loss_at, key=key)
        try:
            errors[key] = check_derivative(slope_at, point, gradients[key], key, rng)
        except GradientError as error:
            if isinstance(error, _KinkError) or gradients[key].any():
                raise
            raise GradientError(
                f"{layers[key].name}: backward wrote no gradient of {names[key]!r}, or only zeros; "
                f"{error}"
            ) from None
        layers[key].params[names[key]] = place.asarray(point)
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
    # A step of 1e-5 is nothing to numbers of a million.
    size = max(1.0, float(np.sqrt(np.mean(point * point)))) if point.size else 1.0
    failure: GradientError | None = None
    for step in STEPS:
        direction = size * rng.standard_normal(point.shape)
        slope = smooth_slope(lambda t, d=direction: loss_at(point + t * d), step)  # type: ignore[misc]
        if slope is None:
            continue
        terms = direction * gradient
        told = float(np.sum(terms))
        total = float(np.sum(np.abs(terms)))
        allowed = ATOL + RTOL * total + RTOL * abs(slope)
        if abs(told - slope) <= allowed:
            return abs(told - slope) / max(total, abs(slope), 1.0)
        # Curvature that jumps looks like this too, but not to a shorter step.
        failure = failure or GradientError(
            f"gradient by {name}: backward says {told!r}, differences say {slope!r}, "
            f"apart by {abs(told - slope):.3g}, allowed {allowed:.3g}\n"
            f"{name}:\n{point}\ngradient:\n{gradient}\ndirection:\n{direction}"
        )
    raise failure or _KinkError(
        f"gradient by {name}: a kink in each of {len(STEPS)} directions from\n{point}"
    )


def smooth_slope(loss: Callable[[float], float], step: float = STEPS[0]) -> float | None:
    """Differentiate a function of one number at 0; None if it has a kink within the step."""
    centre = loss(0.0)
    right = (loss(step) - centre) / step
    left = (centre - loss(-step)) / step
    narrow = (loss(step / 2) - loss(-step / 2)) / step
    slope = (right + left) / 2
    size = max(abs(right), abs(left))
    kinked = abs(right - left) > KINK_AT_CENTRE * max(size, 1.0) or abs(
        slope - narrow
    ) > KINK_NEAR_BY * (ATOL + RTOL * size)
    return None if kinked else slope
