"""Networks of images in PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..competitor import Task
from ..workload import norm
from ..workloads.images import Convolution, ImageStep, Recipe


class TorchImages:
    """What `TorchEager` does with images."""

    torch: Any
    device: str
    channels_last = False

    def _laid_out(self, value: Any) -> Any:
        """Return images, filters or a network in the memory layout that is measured."""
        if self.channels_last:
            return value.to(memory_format=self.torch.channels_last)
        return value

    def image_step(self, work: ImageStep) -> Task:
        """``torch.nn.Sequential`` with ``Conv2d``, ``BatchNorm2d``, ``MaxPool2d``."""
        torch: Any = self.torch
        me: Any = self
        net = self._laid_out(self._layers(work.recipe, work.weights()).to(self.device))
        x, y = map(me.tensor, work.inputs())
        x = self._laid_out(x)
        optimizer = torch.optim.SGD(
            net.parameters(), lr=work.lr, momentum=work.momentum, fused=me.fused
        )
        loss_of = me.compiled(lambda x, y: torch.nn.functional.cross_entropy(net(x), y))

        def step() -> Any:
            optimizer.zero_grad()
            loss = loss_of(x, y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return Task(step, lambda loss: [float(loss)])

    def _layers(self, recipe: Recipe, weights: Iterator[np.ndarray]) -> Any:
        torch: Any = self.torch
        nn = torch.nn
        make = self._layers

        class Residual(nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self, layers: Recipe, shortcut: Recipe) -> None:
                super().__init__()
                self.layers, self.shortcut = make(layers, weights), make(shortcut, weights)

            def forward(self, x: Any) -> Any:
                return self.layers(x) + self.shortcut(x)

        class Mean(nn.Module):  # type: ignore[misc, name-defined]
            def forward(self, x: Any) -> Any:
                return x.mean((2, 3))

        layers = []
        for kind, *rest in recipe:
            if kind == "conv":
                layer = nn.Conv2d(*rest[:3], rest[3], rest[2] // 2, bias=False)
                layer.weight = nn.Parameter(torch.from_numpy(next(weights)))
            elif kind == "linear":
                layer = nn.Linear(*rest)
                layer.weight = nn.Parameter(torch.from_numpy(next(weights).T.copy()))
                nn.init.zeros_(layer.bias)
            elif kind == "residual":
                layer = Residual(*rest)
            else:
                layer = {
                    "norm": nn.BatchNorm2d, "relu": nn.ReLU, "pool": lambda: nn.MaxPool2d(2),
                    "mean": Mean, "flatten": nn.Flatten,
                }[kind](*rest)  # fmt: skip
            layers.append(layer)
        return nn.Sequential(*layers)

    def convolution(self, work: Convolution) -> Task:
        """``torch.nn.functional.conv2d``."""
        me: Any = self
        arrays = [me.tensor(array) for array in work.inputs()]
        x, filters, bias, dout = arrays
        x, filters, dout = (self._laid_out(array) for array in (x, filters, dout))
        leaves = [array.detach().requires_grad_() for array in (x, filters, bias)]
        conv2d = self.torch.nn.functional.conv2d
        forward = me.compiled(lambda x, w, b: conv2d(x, w, b, work.stride, work.padding))

        def step() -> Any:
            for leaf in leaves:
                leaf.grad = None
            forward(*leaves).backward(dout)
            return leaves

        return Task(step, lambda result: [norm(leaf.grad.cpu()) for leaf in result])
