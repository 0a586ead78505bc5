"""Layers, optimizers and penalties that fused steps are compared on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

import xpnn
from xpnn import layers as L

ACTIVATIONS: dict[str, Callable[[], L.Layer]] = {
    "ReLU": L.ReLU,
    "LeakyReLU": lambda: L.LeakyReLU(0.2),
    "ELU": lambda: L.ELU(0.7),
    "Sigmoid": L.Sigmoid,
    "Tanh": L.Tanh,
    "SiLU": L.SiLU,
    "GELU": L.GELU,
    "GELU-tanh": lambda: L.GELU("tanh"),
}
NORMS: dict[str, Callable[[int], list[L.Layer]]] = {
    "": lambda width: [],
    "BatchNorm": lambda width: [L.BatchNorm(width)],
    "LayerNorm": lambda width: [L.LayerNorm(width)],
}


class Own(L.ReLU):
    """Not what its base class computes."""

    def forward(self, input):
        self.cache["input"] = input
        return input * 0.5

    def backward(self, dout):
        self.saved("input")
        return dout * 0.5


def pair(
    make: Callable[[], Sequence[L.Layer]],
    loss: Callable[[], Any] = xpnn.SoftmaxCrossEntropy,
    optimizer: Callable[[], Any] = lambda: xpnn.SGD(0.05, momentum=0.9),
    **settings: Any,
) -> tuple[xpnn.Sequential, xpnn.Sequential]:
    """The same network twice, fused and not."""
    settings = {"seed": 5, **settings}
    fused, plain = (
        xpnn.Sequential(make(), loss(), optimizer=optimizer(), fuse=fuse, **settings)
        for fuse in (True, False)
    )
    return fused, plain


WIDTHS = st.sampled_from([1, 3, 8, 17, 32])


@st.composite
def layer_lists(draw: Any, outputs: int) -> list[tuple[Any, ...]]:
    """Recipes of layers from 6 features to some outputs, in any order that makes sense."""
    recipe: list[tuple[Any, ...]] = []
    width = 6
    for _ in range(draw(st.integers(1, 7))):
        kind = draw(
            st.sampled_from(["Linear", "BatchNorm", "LayerNorm", "act", "act", "Dropout", "other"])
        )
        if kind == "Linear":
            width_out = draw(WIDTHS)
            recipe.append((L.Linear, width, width_out, draw(st.booleans())))
            width = width_out
        elif kind in ("BatchNorm", "LayerNorm"):
            recipe.append((getattr(L, kind), width))
        elif kind == "act":
            recipe.append((ACTIVATIONS[draw(st.sampled_from(sorted(ACTIVATIONS)))],))
        elif kind == "Dropout":
            recipe.append((L.Dropout, draw(st.sampled_from([0.0, 0.25, 0.5]))))
        else:
            recipe.append((draw(st.sampled_from([Own, L.Flatten, L.Softplus])),))
    recipe.append((L.Linear, width, outputs))
    return recipe


# The epsilons keep rounding errors in gradients of nearly zero from deciding the step.
OPTIMIZERS: dict[str, Callable[[], xpnn.Optimizer]] = {
    "SGD": lambda: xpnn.SGD(0.02),
    "momentum": lambda: xpnn.SGD(0.01, momentum=0.8, weight_decay=0.01),
    "Nesterov": lambda: xpnn.SGD(0.01, momentum=0.8, nesterov=True, clip_norm=0.5),
    "Adam": lambda: xpnn.Adam(1e-3, epsilon=1e-2, clip_value=0.05),
    "AdamW": lambda: xpnn.AdamW(1e-3, epsilon=1e-2, decay_roles={"weight", "scale"}),
    "RMSprop": lambda: xpnn.RMSprop(1e-4, epsilon=1e-2),
    "RMSprop with momentum": lambda: xpnn.RMSprop(1e-4, epsilon=1e-2, momentum=0.5),
    "Adagrad": lambda: xpnn.Adagrad(1e-3, epsilon=1e-2, clip_norm=0.1),
}
# The slope of L1 jumps at 0: on biases, which begin there, rounding errors would decide its sign.
PENALTIES: dict[str, Callable[[], xpnn.Regularization | None]] = {
    "none": lambda: None,
    "L2": lambda: xpnn.L2(1e-3),
    "L2 of weights": lambda: xpnn.L2(1e-3, roles={"weight"}),
    "L1": lambda: xpnn.L1(1e-4, roles={"weight"}),
    "ElasticNet": lambda: xpnn.ElasticNet(1e-4, 1e-3, roles={"weight"}),
}

POOLS: dict[str, Callable[[], list[L.Layer]]] = {
    "none": list,
    "max 2": lambda: [L.MaxPool2d(2)],
    "max 3 that overlaps": lambda: [L.MaxPool2d(3, 2, 1)],
    "max with gaps": lambda: [L.MaxPool2d((1, 2), (2, 3))],
    "mean 2": lambda: [L.AvgPool2d(2)],
    "mean 3 with padding": lambda: [L.AvgPool2d(3, 2, 1)],
    "mean 3 of pixels": lambda: [L.AvgPool2d(3, 2, 1, count_padding=False)],
}


@st.composite
def convolutions(draw: Any) -> tuple[Any, ...]:
    """Settings of a convolution, and a size of images that it can take."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    depth, multiple = draw(st.sampled_from([1, 2, 5])), draw(st.sampled_from([1, 3, 17]))
    pairs = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731
    kernel, dilation = draw(pairs(1, 4)), draw(pairs(1, 3))
    same = draw(st.booleans())
    stride = (1, 1) if same else draw(pairs(1, 4))
    padding: Any = "same" if same else draw(pairs(0, 3))
    margin = (0, 0) if same else padding
    least = [
        max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, margin, strict=True)
    ]
    size = tuple(n + draw(st.integers(0, 6)) for n in least)
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (
        groups * depth,
        groups * multiple,
        kernel,
        {**settings, "bias": draw(st.booleans())},
        size,
    )
