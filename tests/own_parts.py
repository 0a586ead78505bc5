"""Layers and networks as a user may write them, for the tests of networks."""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace

from xpnn import (
    Layer,
    Linear,
    Network,
    SoftmaxCrossEntropy,
    Tanh,
)


def sum_of_all(array):
    return array_namespace(array).sum(array)


def sum_over_rows(array):
    return array_namespace(array).sum(array, axis=0)


class Scale(Layer):
    """Tutorial style: a parameter made at once, nothing registered, no shapes told."""

    def __init__(self, dim):
        super().__init__()
        self.params["s"] = np.full(dim, 1.5)

    def forward(self, input):
        self.cache["input"] = input
        return input * self.params["s"]

    def backward(self, dout):
        self.grads["s"] = sum_over_rows(dout * self.cache["input"])
        return dout * self.params["s"]


class LazyScale(Scale):
    """Learns its width from its first input."""

    def __init__(self):
        super().__init__(1)
        del self.params["s"]

    def forward(self, input):
        if "s" not in self.params:
            self.params["s"] = 0 * input[0, :] + 1.5
        return super().forward(input)


class NewDictionaries(Scale):
    """Makes its dictionary of gradients anew every time."""

    def backward(self, dout):
        self.grads = {"s": sum_over_rows(dout * self.cache["input"])}
        return dout * self.params["s"]


class Branches(Network):
    """Layers in attributes, lists and dictionaries, also nested ones; a branch can be left out."""

    def __init__(self, **more):
        super().__init__(SoftmaxCrossEntropy(), **more)
        self.note = "text, numbers and lists of them are no layers"
        self.history = [1.0, 2.0]
        self.first = Linear(4, 5)
        self.blocks = [[Tanh(), Linear(5, 5)], [None, Linear(5, 5)]]
        self.heads = {"big": {"linear": Linear(5, 3)}, "small": (Linear(5, 3),)}
        self.use_second = True

    def chain(self):
        second = [self.blocks[1][1]] if self.use_second else []
        return [self.first, *self.blocks[0], *second, self.heads["big"]["linear"]]

    def forward(self, input):
        for layer in self.chain():
            input = layer.forward(input)
        return input

    def backward(self, dout):
        for layer in reversed(self.chain()):
            dout = layer.backward(dout)
        return dout


KEYS = {
    "first",
    "blocks.0.0",
    "blocks.0.1",
    "blocks.1.1",
    "heads.big.linear",
    "heads.small.0",
}


class Residual(Layer):
    """A composite: x + inner(x)."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def sublayers(self):
        yield "inner", self.inner

    def forward(self, input):
        return input + self.inner.forward(input)

    def backward(self, dout):
        return dout + self.inner.backward(dout)
