"""The rows of the layers for images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from case import STEP, STREAM, Arrays, Case, functional
from xpnn import layers


def _conv(axes: int, *, transposed: bool = False, **settings: Any) -> Any:
    """Twin of a convolution with these settings."""
    name = f"conv_transpose{axes}d" if transposed else f"conv{axes}d"

    def twin(x: Any, params: Arrays, buffers: Arrays, training: bool) -> Any:
        if settings.get("padding") == "same":  # of which torch warns where it is odd
            margins = [m for k in params["W"].shape[:1:-1] for m in ((k - 1) // 2, k // 2)]
            x = functional().pad(x, margins)
        more = {k: v for k, v in settings.items() if v != "same"}
        return getattr(functional(), name)(x, params["W"], params.get("b"), **more)

    return twin


def convolution(name: str, shape: Any, W: Any, faults: Any = None, **settings: Any) -> Case:
    """Row of Conv1d or Conv2d with filters of a shape."""
    axes, groups = len(W) - 2, settings.get("groups", 1)
    kind = layers.Conv2d if axes == 2 else layers.Conv1d
    kernel = W[2:] if axes == 2 else W[2]
    return Case(
        name,
        lambda: kind(W[1] * groups, W[0], kernel, **settings),
        shape,
        _conv(axes, **settings),
        params={"W": W, "b": (W[0],)},
        wrong_shapes=faults or {},
    )


def transposed(name: str, shape: Any, W: Any, faults: Any = None, **settings: Any) -> Case:
    """Row of ConvTranspose2d with filters of a shape."""
    outputs = W[1] * settings.get("groups", 1)
    return Case(
        name,
        lambda: layers.ConvTranspose2d(W[0], outputs, W[2:], **settings),
        shape,
        _conv(2, transposed=True, **settings),
        params={"W": W, "b": (outputs,)},
        wrong_shapes=faults or {},
    )


def pooling(name: str, shape: Any, make: Any, twin: Any, **more: Any) -> Case:
    """Row of a pooling."""
    return Case(name, make, shape, lambda x, p, b, t: twin(x), **more)


def _batch_norm(x: Any, params: Arrays, buffers: Arrays, training: bool) -> Any:
    mean, variance = buffers["running_mean"].clone(), buffers["running_var"].clone()
    return functional().batch_norm(
        x, mean, variance, params["gamma"], params["beta"], training=training, eps=1e-5
    )


def _averages(x: np.ndarray, buffers: Arrays) -> Arrays:
    return {
        "running_mean": 0.9 * buffers["running_mean"] + 0.1 * x.mean((0, 2, 3)),
        "running_var": 0.9 * buffers["running_var"] + 0.1 * x.var((0, 2, 3), ddof=0),
    }


def _group_norm(x: Any, params: Arrays, buffers: Arrays, training: bool) -> Any:
    return functional().group_norm(x, 2, params["gamma"], params["beta"], eps=1e-5)


def _dropout(p: float) -> Any:
    def twin(x: Any, params: Arrays, buffers: Arrays, training: bool) -> Any:
        if not training:
            return x * 1.0
        shape = x.shape[:2]
        lanes = STREAM.at(STEP).bits(math.prod(shape)).astype(np.int64).reshape(*shape, 1, 1)
        threshold = round(p * 65536)
        factors = (lanes >= threshold) * (65536 / max(65536 - threshold, 1))
        return x * x.new_tensor(factors.tolist())

    return twin


IMAGES = [
    convolution(
        "Conv2d",
        (3, 2, 5, 6),
        (4, 2, 3, 3),
        {
            "rank": (2, 5, 6),
            "channels": (3, 4, 5, 6),
            "layout": (3, 5, 6, 2),
            "height": (3, 2, 2, 6),
            "width": (3, 2, 5, 1),
        },
    ),
    convolution("Conv2d with padding", (2, 3, 5, 4), (2, 3, 3, 3), padding=1),
    convolution("Conv2d that keeps the size", (2, 2, 5, 4), (3, 2, 4, 3), padding="same"),
    convolution(
        "Conv2d of everything",
        (2, 4, 9, 8),
        (6, 2, 3, 2),
        {"height": (2, 4, 2, 8), "groups": (2, 2, 9, 8)},
        stride=(2, 3),
        padding=(1, 2),
        dilation=(2, 1),
        groups=2,
    ),
    convolution("Conv2d of depth", (2, 3, 6, 5), (6, 1, 3, 3), stride=2, padding=1, groups=3),
    convolution("Conv2d of points", (2, 3, 3, 2), (4, 3, 1, 1), stride=2),
    Case(
        "Conv2d without bias",
        lambda: layers.Conv2d(2, 3, 2, bias=False),
        (2, 2, 3, 3),
        _conv(2),
        params={"W": (3, 2, 2, 2)},
    ),
    convolution(
        "Conv1d",
        (3, 2, 7),
        (4, 2, 3),
        {"rank": (3, 2, 7, 1), "channels": (3, 3, 7), "layout": (3, 7, 2), "length": (3, 2, 2)},
    ),
    convolution(
        "Conv1d of everything", (2, 4, 9), (6, 2, 3), stride=2, padding=3, dilation=2, groups=2
    ),
    convolution("Conv1d that keeps the length", (2, 2, 5), (3, 2, 4), padding="same"),
    transposed(
        "ConvTranspose2d",
        (3, 2, 3, 4),
        (2, 3, 3, 2),
        {"rank": (3, 2, 4), "channels": (3, 3, 3, 4), "layout": (3, 3, 4, 2)},
    ),
    transposed(
        "ConvTranspose2d of everything",
        (2, 4, 3, 2),
        (4, 3, 3, 2),
        {"nothing left": (2, 4, 0, 2)},
        stride=(2, 3),
        padding=(2, 1),
        output_padding=(1, 2),
        dilation=(2, 1),
        groups=2,
    ),
    transposed("ConvTranspose2d that doubles", (2, 2, 3, 3), (2, 1, 2, 2), stride=2),
    pooling(
        "MaxPool2d",
        (3, 2, 6, 4),
        lambda: layers.MaxPool2d(2),
        lambda x: functional().max_pool2d(x, 2),
        wrong_shapes={"rank": (3, 6, 4), "height": (3, 2, 1, 4)},
    ),
    pooling(
        "MaxPool2d of windows that overlap",
        (2, 3, 6, 7),
        lambda: layers.MaxPool2d((3, 2), stride=(2, 1), padding=1),
        lambda x: functional().max_pool2d(x, (3, 2), stride=(2, 1), padding=1),
    ),
    pooling(
        "AvgPool2d",
        (3, 2, 6, 4),
        lambda: layers.AvgPool2d(2),
        lambda x: functional().avg_pool2d(x, 2),
        wrong_shapes={"rank": (3, 6, 4), "width": (3, 2, 6, 1)},
    ),
    pooling(
        "AvgPool2d of windows that overlap",
        (2, 3, 6, 7),
        lambda: layers.AvgPool2d((3, 2), stride=(2, 1), padding=1),
        lambda x: functional().avg_pool2d(x, (3, 2), stride=(2, 1), padding=1),
    ),
    pooling(
        "AvgPool2d of true pixels",
        (2, 3, 6, 7),
        lambda: layers.AvgPool2d(3, stride=2, padding=1, count_padding=False),
        lambda x: functional().avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
    ),
    pooling(
        "GlobalAvgPool2d",
        (3, 2, 3, 4),
        layers.GlobalAvgPool2d,
        lambda x: x.mean((2, 3)),
        wrong_shapes={"rank": (3, 2, 3), "nothing": (3, 2, 0, 4)},
    ),
    Case(
        "BatchNorm2d",
        lambda: layers.BatchNorm2d(3),
        (4, 3, 2, 5),
        _batch_norm,
        params={"gamma": (3,), "beta": (3,)},
        buffers={"running_mean": (3,), "running_var": (3,)},
        averages=_averages,
        wrong_shapes={"rank": (4, 3, 2), "channels": (4, 2, 2, 5), "layout": (4, 2, 5, 3)},
    ),
    Case(
        "GroupNorm",
        lambda: layers.GroupNorm(2, 6),
        (3, 6, 2, 3),
        _group_norm,
        params={"gamma": (6,), "beta": (6,)},
        wrong_shapes={"rank": (6,), "channels": (3, 4, 2, 3)},
    ),
    Case(
        "GroupNorm of rows",
        lambda: layers.GroupNorm(2, 6),
        (3, 6),
        _group_norm,
        params={"gamma": (6,), "beta": (6,)},
    ),
    Case(
        "Dropout2d",
        lambda: layers.Dropout2d(0.4),
        (3, 4, 2, 3),
        _dropout(0.4),
        wrong_shapes={"rank": (3, 4, 2)},
    ),
    Case("Dropout2d of everything", lambda: layers.Dropout2d(1.0), (3, 4, 2, 3), _dropout(1.0)),
]
