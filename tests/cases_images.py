"""The rows of the layers for images."""

from __future__ import annotations

from typing import Any

from case import Arrays, Case, functional
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
]
