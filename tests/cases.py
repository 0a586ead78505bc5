"""One row per layer: how to make it, a shape of its input, and its twin in PyTorch.

`test_layers.py` holds every row to the same tests. A new layer needs a row here and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnn import layers
from xpnn.random import Stream

#: Where the layers of the tests draw their masks, and the training step that they are in.
STREAM = Stream(seed=0, stream=2)
STEP = 3

Shape = tuple[int, ...]
Arrays = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A layer and what is known of it.

    Attributes
    ----------
    name : str
        Identifier of the row.
    make : callable
        Makes the layer.
    shape : tuple of int
        Shape of an input, batch first.
    twin : callable
        ``twin(input, params, buffers, training)`` computes the output with PyTorch tensors.
    params, buffers : dict of str to tuple of int
        Shapes of the layer's arrays.
    averages : callable, optional
        ``averages(input, buffers)`` gives, with NumPy, the buffers after a training step.
    wrong_shapes : dict of str to tuple of int
        Input shapes that the layer must refuse, by what is wrong with them.
    special : tuple of float
        Values that an input of the comparison with PyTorch must contain.
    """

    name: str
    make: Callable[[], layers.Layer]
    shape: Shape
    twin: Callable[[Any, Arrays, Arrays, bool], Any]
    params: dict[str, Shape] = field(default_factory=dict)
    buffers: dict[str, Shape] = field(default_factory=dict)
    averages: Callable[[np.ndarray, Arrays], Arrays] | None = None
    wrong_shapes: dict[str, Shape] = field(default_factory=dict)
    special: tuple[float, ...] = ()

    def draw(self, rng: np.random.Generator, rows: int | None = None) -> np.ndarray:
        """Draw an input of float64, with another number of rows if one is given."""
        shape = self.shape if rows is None else (rows, *self.shape[1:])
        values = 2.0 * rng.standard_normal(shape)
        values.reshape(-1)[: len(self.special)] = self.special[: values.size]
        return values

    def draw_params(self, rng: np.random.Generator) -> Arrays:
        """Draw parameters that are far from their initial values."""
        return {name: rng.standard_normal(shape) for name, shape in self.params.items()}

    def draw_buffers(self, rng: np.random.Generator) -> Arrays:
        """Draw buffers that are far from their initial values, variances positive."""
        return {name: rng.uniform(0.5, 2.0, shape) for name, shape in self.buffers.items()}

    def prepared(self, backend: Any, params: Arrays, buffers: Arrays, mode: str) -> layers.Layer:
        """Make the layer, with these arrays, as a network would hand it a batch."""
        layer = self.make()
        layer.mode, layer.stream, layer.step = mode, STREAM, STEP
        layer.params |= {name: backend.asarray(value) for name, value in params.items()}
        layer.buffers |= {name: backend.state(value) for name, value in buffers.items()}
        return layer

    def __str__(self) -> str:
        return self.name


def pointwise(
    name: str, make: Callable[[], layers.Layer], twin: Callable[[Any], Any], **more: Any
) -> Case:
    """Row of an activation, which takes any shape. Kinks are at 0, overflow is at the ends."""
    special = (0.0, -0.0, 30.0, -30.0, 100.0, -100.0)
    return Case(name, make, (5, 7), lambda x, p, b, t: twin(x), special=special, **more)


def functional() -> Any:
    """`torch.nn.functional`, imported when a twin is called: some test jobs have no PyTorch."""
    import torch

    return torch.nn.functional


def _linear(x: Any, params: Arrays, buffers: Arrays, training: bool) -> Any:
    return functional().linear(x, params["W"].T, params.get("b"))


def _softplus(x: Any) -> Any:
    # torch's own softplus is the identity from 20 on.
    return x.new_zeros(()).logaddexp(x)


def _layer_norm(x: Any, params: Arrays, buffers: Arrays, training: bool) -> Any:
    return functional().layer_norm(x, x.shape[-1:], params["gamma"], params["beta"], eps=1e-5)


def _batch_norm(x: Any, params: Arrays, buffers: Arrays, training: bool) -> Any:
    if training and len(x) == 1:  # which torch refuses
        centered = x - x.mean(0)
        normalized = centered / (centered.square().mean(0) + 1e-5).sqrt()
        return normalized * params["gamma"] + params["beta"]
    mean, variance = buffers["running_mean"].clone(), buffers["running_var"].clone()
    return functional().batch_norm(
        x, mean, variance, params["gamma"], params["beta"], training=training, eps=1e-5
    )


def _batch_norm_averages(x: np.ndarray, buffers: Arrays) -> Arrays:
    return {
        "running_mean": 0.9 * buffers["running_mean"] + 0.1 * x.mean(0),
        "running_var": 0.9 * buffers["running_var"] + 0.1 * x.var(0, ddof=0),
    }


def _dropout(p: float) -> Callable[[Any, Arrays, Arrays, bool], Any]:
    def twin(x: Any, params: Arrays, buffers: Arrays, training: bool) -> Any:
        if not training:
            return x * 1.0
        lanes = STREAM.at(STEP).bits(math.prod(x.shape)).astype(np.int64).reshape(x.shape)
        threshold = round(p * 65536)
        factors = (lanes >= threshold) * (65536 / max(65536 - threshold, 1))
        return x * x.new_tensor(factors.tolist())

    return twin


CASES = [
    Case(
        "Linear",
        lambda: layers.Linear(4, 3),
        (5, 4),
        _linear,
        params={"W": (4, 3), "b": (3,)},
        wrong_shapes={"rank": (4,), "width": (5, 3)},
    ),
    Case(
        "Linear without bias",
        lambda: layers.Linear(4, 3, bias=False),
        (5, 4),
        _linear,
        params={"W": (4, 3)},
    ),
    Case(
        "Linear on sequences",
        lambda: layers.Linear(4, 3),
        (2, 5, 4),
        _linear,
        params={"W": (4, 3), "b": (3,)},
        wrong_shapes={"width": (2, 4, 5)},
    ),
    pointwise("ReLU", layers.ReLU, lambda x: functional().relu(x)),
    pointwise("LeakyReLU", layers.LeakyReLU, lambda x: functional().leaky_relu(x, 0.01)),
    pointwise(
        "LeakyReLU of slope 0.3",
        lambda: layers.LeakyReLU(0.3),
        lambda x: functional().leaky_relu(x, 0.3),
    ),
    pointwise("ELU", layers.ELU, lambda x: functional().elu(x)),
    pointwise("ELU to -0.5", lambda: layers.ELU(0.5), lambda x: functional().elu(x, 0.5)),
    pointwise("GELU", layers.GELU, lambda x: functional().gelu(x)),
    pointwise(
        "GELU by tanh",
        lambda: layers.GELU(approximate="tanh"),
        lambda x: functional().gelu(x, approximate="tanh"),
    ),
    pointwise("SiLU", layers.SiLU, lambda x: functional().silu(x)),
    pointwise("Tanh", layers.Tanh, lambda x: x.tanh()),
    pointwise("Sigmoid", layers.Sigmoid, lambda x: x.sigmoid()),
    pointwise("Softplus", layers.Softplus, _softplus),
    pointwise("Softmax", layers.Softmax, lambda x: x.softmax(-1), wrong_shapes={"rank": (5,)}),
    Case(
        "Softmax over axis 1",
        lambda: layers.Softmax(axis=1),
        (3, 4, 2),
        lambda x, p, b, t: x.softmax(1),
        wrong_shapes={"rank": (3,)},
    ),
    Case(
        "BatchNorm",
        lambda: layers.BatchNorm(4),
        (6, 4),
        _batch_norm,
        params={"gamma": (4,), "beta": (4,)},
        buffers={"running_mean": (4,), "running_var": (4,)},
        averages=_batch_norm_averages,
        wrong_shapes={"rank": (6, 4, 2), "width": (6, 5)},
    ),
    Case(
        "LayerNorm",
        lambda: layers.LayerNorm(6),
        (4, 6),
        _layer_norm,
        params={"gamma": (6,), "beta": (6,)},
        wrong_shapes={"rank": (6,), "width": (4, 5)},
    ),
    Case(
        "LayerNorm on sequences",
        lambda: layers.LayerNorm(6),
        (2, 3, 6),
        _layer_norm,
        params={"gamma": (6,), "beta": (6,)},
        wrong_shapes={"width": (2, 6, 3)},
    ),
    Case("Dropout", lambda: layers.Dropout(0.4), (6, 7), _dropout(0.4)),
    Case("Dropout of nothing", lambda: layers.Dropout(0.0), (6, 7), _dropout(0.0)),
    Case("Dropout of everything", lambda: layers.Dropout(1.0), (6, 7), _dropout(1.0)),
    Case(
        "Flatten",
        layers.Flatten,
        (3, 2, 2, 5),
        lambda x, p, b, t: x.flatten(1),
        wrong_shapes={"rank": (3,)},
    ),
]
