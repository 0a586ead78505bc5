"""Gradients of a layer as the tests make it, with given parameters: see `xpnn.gradient_check`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnn.gradient_check import check_derivative


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


def _host(arrays: dict[str, Any], backend: Any) -> Iterator[tuple[str, np.ndarray]]:
    for name, array in arrays.items():
        yield name, np.array(backend.to_host(array))
