"""Layers of somebody's own among fused steps: what they return is looked at before it is read."""

from __future__ import annotations

import numpy as np
import pytest

import xpnn
from xpnn import layers as L


class WithoutLast(xpnn.Layer):
    """Forgets in its backward pass that it has cut something off."""

    def __init__(self, cut):
        super().__init__()
        self.cut = cut

    def forward(self, input):
        return input[self.cut]

    def backward(self, dout):
        return dout


@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize(
    ("first", "cut", "shape"),
    [
        (lambda: [L.Linear(6, 8), L.ReLU()], (slice(None), slice(None, -1)), (5000, 6)),
        (lambda: [L.Linear(6, 8), L.ReLU()], (slice(None, -1),), (5000, 6)),
        (lambda: [L.LSTM(6, 8)], (slice(None), -1), (9, 40, 6)),
        (lambda: [L.Conv2d(6, 8, 3), L.ReLU()], (slice(None), slice(None), 0, 0), (9, 6, 5, 5)),
    ],
)
def test_a_gradient_of_another_shape_is_refused(first, cut, shape, steps):
    """Kernels would read beyond its end. Also when the steps around are replayed."""
    layer = WithoutLast(())
    net = xpnn.Sequential([*first(), layer], xpnn.MeanSquaredError(), lr=0.1, seed=0)
    x = np.ones(shape)
    for step in range(steps):
        if step == steps - 1:
            layer.cut = cut
        y = np.zeros(net.eval(x).shape)
        if step == steps - 1:
            before = net.parameters.values.copy()
            with pytest.raises(xpnn.ShapeError, match=r"\(WithoutLast\): the input has shape"):
                net.train(x, y)
            assert (net.parameters.values.array == before).all()
        else:
            net.train(x, y)


def test_a_layer_that_returns_a_list_is_named():
    class Listing(xpnn.Layer):
        def forward(self, input):
            return input.tolist()

    net = xpnn.Sequential([L.Linear(3, 3), Listing()], xpnn.MeanSquaredError(), lr=0.1)
    with pytest.raises(xpnn.ShapeError, match=r"\(Listing\): forward returned no array, but list"):
        net.train(np.ones((2, 3)), np.ones((2, 3)))
