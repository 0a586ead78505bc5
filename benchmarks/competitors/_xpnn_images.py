"""Networks of images in xpnn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..competitor import Task
from ..workload import norm
from ..workloads.images import Convolution, ImageStep, Recipe


class XpnnImages:
    """What `Xpnn` does with images."""

    xpnn: Any
    backend: Any
    fuse: bool

    def image_step(self, work: ImageStep) -> Task:
        """``Network.train``."""
        xpnn = self.xpnn
        net = xpnn.Sequential(
            self._layers(work.recipe, work.weights()),
            xpnn.SoftmaxCrossEntropy(),
            optimizer=xpnn.SGD(work.lr, momentum=work.momentum),
            backend=self.backend,
            seed=0,
            fuse=self.fuse,
        )
        x, y = map(self.backend.asarray, work.inputs())
        to_host = self.backend.to_host
        return Task(lambda: net.train(x, y), lambda result: [float(to_host(result[1]))])

    def _layers(self, recipe: Recipe, weights: Iterator[np.ndarray]) -> list[Any]:
        kinds = self.xpnn.layers
        layers = []
        for kind, *rest in recipe:
            if kind == "conv":
                layer = kinds.Conv2d(*rest, padding=rest[2] // 2, bias=False)
                layer.params["W"] = next(weights)
            elif kind == "linear":
                layer = kinds.Linear(*rest)
                layer.params["W"], layer.params["b"] = next(weights), np.zeros(rest[1])
            elif kind == "residual":
                layer = kinds.Residual(*(self._layers(inner, weights) for inner in rest))
            else:
                layer = {
                    "norm": kinds.BatchNorm2d, "relu": kinds.ReLU, "flatten": kinds.Flatten,
                    "pool": lambda: kinds.MaxPool2d(2), "mean": kinds.GlobalAvgPool2d,
                }[kind](*rest)  # fmt: skip
            layers.append(layer)
        return layers

    def convolution(self, work: Convolution) -> Task:
        """``Conv2d`` as a plan runs it behind other layers: with the gradient by its input."""
        xpnn = self.xpnn
        x, filters, bias, dout = (self.backend.asarray(array) for array in work.inputs())
        layer = xpnn.layers.Conv2d(
            work.channels, work.filters, work.kernel, work.stride, work.padding
        )
        layer.params["W"], layer.params["b"] = filters, bias
        net = xpnn.Sequential(
            [layer], xpnn.MeanSquaredError(), lr=0.1, backend=self.backend, seed=0, fuse=self.fuse
        )
        plan = xpnn.fusion.plan(net)
        run, together = layer, self.fuse and plan.together
        if self.fuse:
            (run,) = plan.steps
            run.wants_gradient = True
        from xpnn.fusion.threads import working

        def step() -> Any:
            with working(together):
                run.forward(x)
                return run.backward(dout)

        to_host = self.backend.to_host
        return Task(
            step,
            lambda dinput: [norm(to_host(a)) for a in (dinput, layer.grads["W"], layer.grads["b"])],
        )
