"""What a row of `cases.py` is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnn import layers
from xpnn.random import Stream

#: Where the layers of the tests draw their masks, and the training step that they are in.
STREAM = Stream(seed=0, stream=2)
STEP = 3

Shape = tuple[int, ...]
Arrays = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A layer and what is known of it.

    Attributes
    ----------
    name : str
        Identifier of the row.
    make : callable
        Makes the layer.
    shape : tuple of int
        Shape of an input, batch first.
    twin : callable
        ``twin(input, params, buffers, training)`` computes the output with PyTorch tensors.
    params, buffers : dict of str to tuple of int
        Shapes of the layer's arrays.
    averages : callable, optional
        ``averages(input, buffers)`` gives, with NumPy, the buffers after a training step.
    wrong_shapes : dict of str to tuple of int
        Input shapes that the layer must refuse, by what is wrong with them.
    special : tuple of float
        Values that an input of the comparison with PyTorch must contain.
    factor : float
        By how much more than usual rounding may show, as behind an exponential of large numbers.
    """

    name: str
    make: Callable[[], layers.Layer]
    shape: Shape
    twin: Callable[[Any, Arrays, Arrays, bool], Any]
    params: dict[str, Shape] = field(default_factory=dict)
    buffers: dict[str, Shape] = field(default_factory=dict)
    averages: Callable[[np.ndarray, Arrays], Arrays] | None = None
    wrong_shapes: dict[str, Shape] = field(default_factory=dict)
    special: tuple[float, ...] = ()
    factor: float = 1.0

    def draw(self, rng: np.random.Generator, rows: int | None = None) -> np.ndarray:
        """Draw an input of float64, with another number of rows if one is given."""
        shape = self.shape if rows is None else (rows, *self.shape[1:])
        values = 2.0 * rng.standard_normal(shape)
        values.reshape(-1)[: len(self.special)] = self.special[: values.size]
        return values

    def draw_params(self, rng: np.random.Generator) -> Arrays:
        """Draw parameters that are far from their initial values."""
        return {name: rng.standard_normal(shape) for name, shape in self.params.items()}

    def draw_buffers(self, rng: np.random.Generator) -> Arrays:
        """Draw buffers that are far from their initial values, variances positive."""
        return {name: rng.uniform(0.5, 2.0, shape) for name, shape in self.buffers.items()}

    def prepared(self, backend: Any, params: Arrays, buffers: Arrays, mode: str) -> layers.Layer:
        """Make the layer, with these arrays, as a network would hand it a batch."""
        layer = self.make()
        layer.mode, layer.stream, layer.step = mode, STREAM, STEP
        layer.params |= {name: backend.asarray(value) for name, value in params.items()}
        layer.buffers |= {name: backend.state(value) for name, value in buffers.items()}
        return layer

    def __str__(self) -> str:
        return self.name


def functional() -> Any:
    """`torch.nn.functional`, imported when a twin is called: some test jobs have no PyTorch."""
    import torch

    return torch.nn.functional
