"""Random networks of composites, for vectors and for images, that fused steps are compared on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from fusion_cases import ACTIVATIONS
from xpnn import layers as L

Make = Callable[[], list[L.Layer]]

WIDTHS = st.sampled_from([1, 3, 16, 17])
FIRST = {False: 5, True: 2}  # features of vectors, channels of images


@st.composite
def networks(draw: Any, images: bool, outputs: int) -> Make:
    """Layers with composites in one another, from `FIRST` to some outputs."""
    make, width = draw(_sequences(images, FIRST[images], 2))

    def layers() -> list[L.Layer]:
        end = [L.GlobalAvgPool2d()] if images else []
        return [*make(), *end, L.Linear(width, outputs)]

    return layers


@st.composite
def _sequences(draw: Any, images: bool, width: int, depth: int) -> tuple[Make, int]:
    makes: list[Make] = []
    for _ in range(draw(st.integers(1, 3))):
        kinds = ["concat", "concat", "sum", "residual", "recompute"] if depth else []
        kind = draw(st.sampled_from([*kinds, "product", "product", "other"]))
        if kind == "product":
            make, width = draw(_products(images, width))
        elif kind == "other":
            make = draw(_others(images, width))
        else:
            make, width = draw(_composites(kind, images, width, depth - 1))
        makes.append(make)
    return lambda: [layer for make in makes for layer in make()], width


@st.composite
def _products(draw: Any, images: bool, width: int) -> tuple[Make, int]:
    """A product, with normalization and activation or not."""
    filters, bias = draw(WIDTHS), draw(st.booleans())
    size = draw(st.sampled_from([1, 3]))
    norm, activation = draw(st.booleans()), draw(st.sampled_from(["", "ReLU", "GELU"]))

    def make() -> list[L.Layer]:
        layers: list[L.Layer] = [L.Linear(width, filters, bias)]
        if images:
            layers = [L.Conv2d(width, filters, size, padding=size // 2, bias=bias)]
        if norm:
            layers.append(L.BatchNorm2d(filters) if images else L.BatchNorm(filters))
        return layers + ([ACTIVATIONS[activation]()] if activation else [])

    return make, filters


@st.composite
def _others(draw: Any, images: bool, width: int) -> Make:
    """A layer that leaves the shape as it is, with a kernel or without."""
    p = draw(st.sampled_from([0.0, 0.3]))
    choices: list[Make] = [
        lambda: [L.Tanh()],
        lambda: [L.Softplus()],
        lambda: [L.Dropout(p)],
    ]
    if images:
        choices += [
            lambda: [L.MaxPool2d(3, 1, 1)],
            lambda: [L.AvgPool2d(3, 1, 1)],
            lambda: [L.GroupNorm(1, width)],
        ]
    return draw(st.sampled_from(choices))


@st.composite
def _composites(draw: Any, kind: str, images: bool, width: int, depth: int) -> tuple[Make, int]:
    if kind == "recompute":
        make, after = draw(_sequences(images, width, depth))
        return lambda: [L.Recompute(make())], after
    count = 1 if kind == "residual" else draw(st.integers(1, 3))
    ways, after = [], width if kind == "residual" else draw(WIDTHS)
    for _ in range(count):
        make, last = draw(_sequences(images, width, depth))
        if kind == "concat":
            ways.append((make, last))
        else:
            ways.append((_ending(make, last, after, images), after))
    if draw(st.booleans()) and (kind == "concat" or after == width):
        ways.append((list, width))  # the input itself
    total = sum(last for _, last in ways) if kind == "concat" else after
    if kind == "residual":
        return lambda: [L.Residual(ways[0][0]())], width
    return lambda: [L.Parallel([make() for make, _ in ways], kind)], total


def _ending(make: Make, width: int, after: int, images: bool) -> Make:
    """Add what changes the width."""
    return lambda: [*make(), L.Conv2d(width, after, 1) if images else L.Linear(width, after)]
