"""Layers that are made of layers: blocks of networks that are no chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add
from typing import Any

from .._standard import Array, array_namespace
from ..errors import ConfigurationError, ShapeError, unknown
from ._chain import Chain
from .layer import Layer

__all__ = ["Parallel", "Residual"]


class Residual(Layer):
    """Add the input to what some layers make of it.

    ::

        output = layers(input) + shortcut(input)
        dinput = gradient of the input by the layers + the same by the shortcut

    Parameters
    ----------
    layers : Layer or sequence of Layer
        In the order of the forward pass.
    shortcut : Layer or sequence of Layer, optional
        By default the input itself. Where the layers change its shape, layers that change it to the
        same, such as a `Conv2d` with a kernel of 1 and the same stride.

    Raises
    ------
    ConfigurationError
        If there is something that is no layer.
    ShapeError
        In the forward pass, if the two shapes differ, or by one of the layers.

    Notes
    -----
    Arrays: input and output as the layers have them. The layers and their parameters have keys
    such as "3.layers.0.W" and "3.shortcut.0.W". Both modes do the same.

    Cost: that of the layers, and 1 FLOP an element of the output. The cache keeps nothing besides.

    Source: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
    equations 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn.layers import ReLU
    >>> Residual([ReLU()]).forward(np.asarray([[-1.0, 2.0]])).tolist()
    [[-1.0, 4.0]]
    """

    def __init__(
        self, layers: Layer | Sequence[Layer], shortcut: Layer | Sequence[Layer] | None = None
    ) -> None:
        super().__init__()
        self.layers = layers
        self.shortcut = shortcut
        self._layers = Chain(self.name, "layers", layers)
        self._shortcut = Chain(self.name, "shortcut", () if shortcut is None else shortcut)

    def sublayers(self) -> Iterator[tuple[str, Layer]]:
        """Yield the layers, then those of the shortcut."""
        yield from self._layers.named("layers.")
        yield from self._shortcut.named("shortcut.")

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape that the layers and the shortcut have in common."""
        shape = self._layers.output_shape(input_shape)
        short = self._shortcut.output_shape(input_shape)
        if shape is not None and short is not None:
            _expect_equal(self.name, "of layers and shortcut", [tuple(shape), tuple(short)])
        return shape if short is None else short

    def forward(self, input: Array) -> Array:
        """Return ``layers(input) + shortcut(input)``."""
        self.output_shape(input.shape)
        self.cache["forward"] = True
        output, short = self._layers.forward(input), self._shortcut.forward(input)
        _expect_equal(
            self.name, "of layers and shortcut", [tuple(output.shape), tuple(short.shape)]
        )
        return output + short

    def backward(self, dout: Array) -> Array:
        """Return the sum of the two gradients."""
        self.saved("forward")
        return self._layers.backward(dout) + self._shortcut.backward(dout)


class Parallel(Layer):
    """Give the input to several branches, and put together what they make of it.

    ::

        output = branches side by side along an axis, or their sum
        dinput = sum of the gradients of the input by the branches

    Parameters
    ----------
    branches : sequence of Layer or of sequences of Layer
        At least one. An empty sequence hands the input on.
    merge : {"concat", "sum"}
        How the outputs are put together.
    axis : int
        Of "concat": 1 for the channels of images, -1 for the features of sequences. Not 0.

    Raises
    ------
    ConfigurationError
        If there is no branch, something in it is no layer, or another argument is out of its range.
    ShapeError
        In the forward pass, if the outputs do not fit together, or by one of the layers.

    Notes
    -----
    Arrays: input and output as the branches have them. Branch 1 of layer 3 has keys such as
    "3.1.0.W". Both modes do the same.

    Cost: that of the branches, and 1 FLOP an element of the input and of a sum. The cache keeps the
    widths of the outputs.

    Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 4: the Inception
    module.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn.layers import ReLU
    >>> Parallel([[], ReLU()]).forward(np.asarray([[-1.0, 2.0]])).tolist()
    [[-1.0, 2.0, 0.0, 2.0]]
    """

    def __init__(
        self,
        branches: Sequence[Layer | Sequence[Layer]],
        merge: str = "concat",
        axis: int = 1,
    ) -> None:
        super().__init__()
        if not isinstance(branches, list | tuple) or not branches:
            raise ConfigurationError(f"{self.name}: expected at least one branch, got {branches!r}")
        if merge not in ("concat", "sum"):
            raise ConfigurationError(f"{self.name}: {unknown('merge', merge, ['concat', 'sum'])}")
        if not isinstance(axis, int) or axis == 0:
            raise ConfigurationError(
                f"{self.name}: axis must be a whole number other than 0, the batch axis, "
                f"got {axis!r}"
            )
        self.branches, self.merge, self.axis = branches, merge, axis
        self._branches = [Chain(self.name, "branches", branch) for branch in branches]

    def sublayers(self) -> Iterator[tuple[str, Layer]]:
        """Yield the layers of one branch after the other."""
        for index, branch in enumerate(self._branches):
            yield from branch.named(f"{index}.")

    @property
    def takes_ids(self) -> bool:  # type: ignore[override]
        """Whether the branches take ids."""
        return any(branch.takes_ids for branch in self._branches)

    def check_ids(self, ids: Array) -> None:
        """Let the branches check their ids."""
        for branch in self._branches:
            branch.check_ids(ids)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape of the outputs put together."""
        shapes = [branch.output_shape(input_shape) for branch in self._branches]
        known = [tuple(shape) for shape in shapes if shape is not None]
        return self._merged_shape(known) if len(known) == len(shapes) else None

    def forward(self, input: Array) -> Array:
        """Return the outputs of the branches, put together."""
        self.output_shape(input.shape)
        outputs = [branch.forward(input) for branch in self._branches]
        self._merged_shape([tuple(output.shape) for output in outputs])
        if self.merge == "sum":
            self.cache["widths"] = [None] * len(outputs)
            return outputs[0] + 0.0 if len(outputs) == 1 else reduce(add, outputs)
        self.cache["widths"] = [output.shape[self.axis] for output in outputs]
        return array_namespace(input).concat(outputs, axis=self.axis)

    def backward(self, dout: Array) -> Array:
        """Return the sum of the gradients of the branches."""
        gradients: list[Any] = []
        start = 0
        axis = self.axis % dout.ndim
        for branch, width in zip(self._branches, self.saved("widths"), strict=True):
            part = dout
            if width is not None:
                part = dout[(*[slice(None)] * axis, slice(start, start + width), ...)]
                start += width
            gradients.append(branch.backward(part))
        # There is none of ids.
        return None if gradients[0] is None else reduce(add, gradients)

    def _merged_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
        if self.merge == "sum":
            _expect_equal(self.name, "of the branches", shapes)
            return shapes[0]
        axes = len(shapes[0])
        if not -axes < self.axis < axes:
            raise ShapeError(
                f"{self.name}: expected outputs with an axis {self.axis} behind the first, "
                f"got {shapes[0]}"
            )
        axis = self.axis % axes
        others = [shape[:axis] + shape[axis + 1 :] for shape in shapes]
        if any(len(s) != axes for s in shapes) or any(other != others[0] for other in others):
            raise ShapeError(
                f"{self.name}: expected outputs of the branches that differ in axis {axis} only, "
                f"got {', '.join(map(str, shapes))}"
            )
        width = sum(shape[axis] for shape in shapes)
        return (*shapes[0][:axis], width, *shapes[0][axis + 1 :])


def _expect_equal(owner: str, what: str, shapes: list[tuple[int, ...]]) -> None:
    if any(shape != shapes[0] for shape in shapes):
        raise ShapeError(
            f"{owner}: expected outputs {what} of one shape, got {', '.join(map(str, shapes))}"
        )
