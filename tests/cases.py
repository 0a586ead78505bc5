"""One row per layer: how to make it, a shape of its input, and its twin in PyTorch.

`test_layers.py` holds every row to the same tests. A new layer needs a row here, or in one of the
lists that end this one, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from case import STEP, STREAM, Arrays, Case, functional
from cases_images import IMAGES
from cases_sequences import SEQUENCES
from xpnn import layers


def pointwise(
    name: str, make: Callable[[], layers.Layer], twin: Callable[[Any], Any], **more: Any
) -> Case:
    """Row of an activation, which takes any shape. Kinks are at 0, overflow is at the ends."""
    special = (0.0, -0.0, 30.0, -30.0, 100.0, -100.0)
    return Case(name, make, (5, 7), lambda x, p, b, t: twin(x), special=special, **more)


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
    *IMAGES,
    *SEQUENCES,
]
