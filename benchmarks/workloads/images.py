"""One step of training networks of images, and convolutions by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from ..workload import Workload

CLASSES = 10

#: What a layer is and what it is made from: ("conv", in, out, kernel, stride), padded by half the
#: kernel and without bias; ("norm", channels); ("relu",); ("pool",), of 2 x 2; ("mean",), over all
#: pixels; ("flatten",); ("linear", in, out); ("residual", layers, layers of the shortcut).
Recipe = list[tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class ImageStep(Workload):
    """Forward, cross-entropy, backward and SGD with momentum; the batch is in memory."""

    kind = "image_step"
    tolerance = 1e-4

    batch: int
    channels: int
    size: int
    recipe: Recipe
    lr: float = 0.01
    momentum: float = 0.9

    def small(self) -> Self:
        """Return a step with few images."""
        return replace(self, batch=6)

    def inputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return images (N, C, H, W) of float32, and labels (N,) of int64."""
        random = self.random()
        shape = self.batch, self.channels, self.size, self.size
        return random.standard_normal(shape, dtype=np.float32), random.integers(
            0, CLASSES, self.batch
        )

    def weights(self) -> Iterator[np.ndarray]:
        """Yield the filters (out, in, k, k) and matrices (in, out) in the order of the recipe."""
        random = self.random(1)

        def draw(recipe: Recipe) -> Iterator[np.ndarray]:
            for kind, *rest in recipe:
                if kind == "conv":
                    shape: tuple[int, ...] = (rest[1], rest[0], rest[2], rest[2])
                    fan = rest[0] * rest[2] ** 2
                elif kind == "linear":
                    shape, fan = (rest[0], rest[1]), rest[0]
                else:
                    for inner in rest if kind == "residual" else ():
                        yield from draw(inner)
                    continue
                yield random.standard_normal(shape, dtype=np.float32) * np.float32((2 / fan) ** 0.5)

        return draw(self.recipe)


@dataclass(frozen=True, kw_only=True)
class Convolution(Workload):
    """Output of a convolution, and the gradients by its input, filters and bias."""

    kind = "convolution"
    steps_to_check = 1

    batch: int
    size: int
    channels: int
    filters: int
    kernel: int
    stride: int
    padding: int

    def small(self) -> Self:
        """Return a batch of two images."""
        return replace(self, batch=2)

    def inputs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return images, filters (out, in, k, k), bias, and gradient of the output."""
        random = self.random()
        count = (self.size + 2 * self.padding - self.kernel) // self.stride + 1
        shapes = (
            (self.batch, self.channels, self.size, self.size),
            (self.filters, self.channels, self.kernel, self.kernel),
            (self.filters,),
            (self.batch, self.filters, count, count),
        )
        x, filters, bias, dout = (random.standard_normal(s, dtype=np.float32) for s in shapes)
        return x, filters, bias, dout


def _run(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> Recipe:
    return [("conv", inputs, outputs, kernel, stride), ("norm", outputs)]


def _cnn() -> Recipe:
    first, second = ([*_run(*c), ("relu",), ("pool",)] for c in ((1, 16), (16, 32)))
    return [*first, *second, ("flatten",), ("linear", 1568, 128), ("relu",), ("linear", 128, 10)]


def _resnet() -> Recipe:
    recipe = [*_run(3, 16), ("relu",)]
    channels = 16
    for width in (16, 32, 64):
        for _ in range(2):
            stride = 1 if channels == width else 2
            layers = [*_run(channels, width, 3, stride), ("relu",), *_run(width, width)]
            shortcut = [] if channels == width else _run(channels, width, 1, stride)
            recipe += [("residual", layers, shortcut), ("relu",)]
            channels = width
    return [*recipe, ("mean",), ("linear", channels, CLASSES)]


#: Batch, size, channels, filters, kernel, stride, padding.
_SHAPES = (
    (64, 28, 1, 16, 3, 1, 1),
    (64, 14, 16, 32, 3, 1, 1),
    (64, 28, 16, 32, 3, 1, 1),
    (64, 28, 1, 6, 5, 1, 2),
    (64, 14, 6, 16, 5, 1, 0),
    (64, 14, 16, 32, 5, 1, 2),
    (64, 32, 3, 32, 3, 1, 1),
    (64, 32, 32, 32, 3, 1, 1),
    (64, 16, 32, 64, 3, 1, 1),
    (64, 8, 64, 128, 3, 1, 1),
    (64, 32, 32, 64, 3, 2, 1),
    (128, 14, 16, 32, 3, 1, 1),
)

WORKLOADS: list[Workload] = [
    *(
        ImageStep(
            name=f"cnn-step-{batch}",
            group="Training step of a CNN, 28x28, conv16 and conv32 with BatchNorm, ReLU, pooling",
            column=f"batch {batch}",
            goal=2.0,
            batch=batch,
            channels=1,
            size=28,
            recipe=_cnn(),
        )
        for batch in (64, 128)
    ),
    ImageStep(
        name="resnet-step-64",
        group="Training step of a ResNet, 32x32x3, 16-32-64 channels, two blocks each",
        column="batch 64",
        goal=1.2,
        batch=64,
        channels=3,
        size=32,
        recipe=_resnet(),
    ),
    *(
        Convolution(
            name=f"conv-{n}x{size}x{size}x{c}-{f}-k{k}" + (f"s{s}" if s > 1 else ""),
            group="Conv2d, forward and backward",
            column=f"{n}x{c}x{size}x{size} to {f}, kernel {k}" + (f", stride {s}" * (s > 1)),
            goal=0.75,
            batch=n,
            size=size,
            channels=c,
            filters=f,
            kernel=k,
            stride=s,
            padding=p,
        )
        for n, size, c, f, k, s, p in _SHAPES
    ),
]
