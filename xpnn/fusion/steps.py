"""Steps: what a plan runs in the place of layers.

A step keeps what its backward pass needs until that has run, as a layer does in its cache. The
buffers that it computes in stay with it from one training step to the next. What leaves the plan,
or goes to a layer that is not xpnn's and may keep it, is never in such a buffer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._standard import Array
from ..errors import ShapeError
from ..kernels.recording import current, spoil
from ..layers import Flatten, Linear
from ..layers.layer import Layer
from .memory import empty
from .products import multiply
from .threads import team

__all__ = [
    "Buffer",
    "LayerStep",
    "LinearStep",
    "PlanStep",
    "Scratch",
    "Step",
    "as_rows",
]


class Buffer:
    """Memory for a matrix of changing shape, which grows when it has to."""

    def __init__(self, dtype: Any) -> None:
        self._memory = np.empty(0, dtype)
        self._shown: dict[tuple[int, int], Array] = {}

    def matrix(self, rows: int, columns: int) -> Array:
        """Return (rows, columns) of it, with whatever is there."""
        found = self._shown.get((rows, columns))
        if found is None:
            size = rows * columns
            if self._memory.size < size:
                self._memory = empty((size,), self._memory.dtype)
                self._shown.clear()
            elif len(self._shown) > 16:
                self._shown.clear()
            found = self._shown[rows, columns] = self._memory[:size].reshape(rows, columns)
        return found


class Scratch:
    """Buffers that the steps of a plan share."""

    def __init__(self, dtype: Any) -> None:
        self._dtype = dtype
        self._constants = np.zeros(0, dtype), np.ones(0, dtype), np.zeros((1, 0), np.uint16)
        self.renew()

    def renew(self) -> None:
        """Take other memory from now on."""
        dtype = self._dtype
        # Gradients on their way from step to step: one is read while the other is written.
        self.gradients = Buffer(dtype), Buffer(dtype)
        self.inner = Buffer(dtype)  # gradients inside a step
        self.sums = Buffer(dtype)  # of blocks of rows
        self.words = Buffer(np.uint64)  # random bits
        self.images = Buffer(dtype)  # gradients inside a convolution, with margins
        self.packed = Buffer(dtype)  # filters in another order
        self.partial = Buffer(dtype)  # what parts of a batch add to the gradients of filters

    def constants(self, width: int) -> tuple[Array, Array, Array]:
        """Return zeros (width,), ones (width,), and lanes (1, width) that drop nothing."""
        zeros, ones, lanes = self._constants
        if zeros.size < width:
            zeros, ones = empty((width,), zeros.dtype), empty((width,), zeros.dtype)
            lanes = empty((1, width), np.uint16)
            zeros[:], ones[:], lanes[:] = 0.0, 1.0, 0
            self._constants = zeros, ones, lanes  # at once: another thread may be reading
        return zeros[:width], ones[:width], lanes[:, :width]


class PlanStep:
    """A run of layers; the base class of what a plan is made of.

    Attributes
    ----------
    layers : tuple of Layer
        What it does.
    remark : str
        How it does it, for people.
    wants_gradient : bool
        Whether anybody uses the gradient by the input.
    joins : bool
        Whether it makes no matrix product but by `multiply`, so that the pool may work on it.
    replays : bool
        Whether its training steps are nothing but kernels, so that `Replays` may call them by
        itself. What they read of the layers is the same in all steps or written by `refresh`.
    takes_last : bool
        Whether it is as fast with images (N, C, H, W) whose channels are last in memory.
    channels_last : bool
        Whether it is one for CuPy that gives images with their channels last in memory.
    ways : sequence of pair of str and sequence of PlanStep
        Names and steps of what the layer is made of.
    """

    joins = False
    replays = False
    takes_last = False
    channels_last = False
    ways: Sequence[tuple[str, Sequence[PlanStep]]] = ()

    def __init__(self, layers: tuple[Layer, ...], remark: str) -> None:
        self.layers = layers
        self.remark = remark
        self.wants_gradient = True

    def forward(self, input: Array) -> Array:
        """Return the output in training mode."""
        raise NotImplementedError

    def backward(self, dout: Array) -> Array | None:
        """Write the gradients of the parameters; return that of the input if it is wanted."""
        raise NotImplementedError

    def meet(self, after: PlanStep) -> None:
        """Learn which step comes next in the plan."""

    def as_recorded(self) -> bool:
        """Tell whether a replay would do the same as the Python of the step, just before it.

        The settings of all layers are looked at when a step of the network begins. What a layer is
        told for one batch may come later, from a layer of somebody's own.
        """
        return True

    def hand_outs(self, number: int) -> Sequence[Callable[[], None]]:
        """Return what gives people the results of the last pass that are no output or gradient.

        ``number`` is 0 for the forward pass, 1 for the backward pass. A replay that has written the
        same memory anew calls it as well.
        """
        return ()

    def refresh(self) -> None:
        """Write what differs from step to step to where the kernels read it."""

    def renew(self) -> None:
        """Take other memory from now on: somebody else goes on with that of the last step."""

    def forget(self) -> None:
        """Drop what `forward` left, as there will be no backward pass."""
        for layer in self.layers:
            layer.cache.clear()

    def evaluate(self, input: Array) -> Array:
        """Return the output in test mode."""
        raise NotImplementedError

    def told(self, tiles: bool) -> str:
        """Return the remark for a plan whose products are made by xpnn's own tiles, or not."""
        return self.remark


class LayerStep(PlanStep):
    """A layer as it is."""

    def __init__(
        self, layer: Layer, remark: str, joins: bool = False, takes_last: bool = False
    ) -> None:
        super().__init__((layer,), remark)
        self._layer = layer
        self.joins = joins
        self.takes_last = takes_last
        self.replays = type(layer) is Flatten  # which shows the same memory, as a rule
        self._shape: tuple[int, ...] = ()  # of the last input

    def forward(self, input: Array) -> Array:
        """Return what the layer makes of the input.

        Raises
        ------
        ShapeError
            If that is no array.
        """
        output = self._layer.forward(input)
        if not hasattr(output, "shape"):
            raise ShapeError(
                f"{self._layer.name}: forward returned no array, but {type(output).__name__}"
            )
        _expect_same_memory(input, output)
        self._shape = input.shape
        return output

    def backward(self, dout: Array) -> Array:
        """Let the layer do its backward pass.

        Raises
        ------
        ShapeError
            If the gradient has not the shape of the input: kernels would read beyond its end.
        """
        dinput = self._layer.backward(dout)
        shape = getattr(dinput, "shape", None)
        if dinput is not None and shape != self._shape:  # there is none of ids
            raise ShapeError(
                f"{self._layer.name}: the input has shape {tuple(self._shape)}, but backward "
                f"returned {type(dinput).__name__ if shape is None else 'a gradient'} "
                f"of shape {shape}"
            )
        _expect_same_memory(dout, dinput)
        return dinput

    def evaluate(self, input: Array) -> Array:
        """Return what the layer makes of the input."""
        return self._layer.forward(input)


def _expect_same_memory(given: Array, returned: Array) -> None:
    """Say in a recording if something was copied."""
    if current() is not None and not np.may_share_memory(given, returned):
        spoil()


class Step(PlanStep):
    """Layers on NumPy that compute in buffers; the base class of faster steps.

    Attributes
    ----------
    keeps_output, keeps_gradient : bool
        Whether `forward` and `backward` may return a buffer that a later step overwrites.
    gives_last, returns_last : bool
        Whether `forward` and `backward` may return images with channels last in memory.
    slot : int
        Which of the two shared buffers takes the gradient by the input.
    """

    joins = True

    def __init__(
        self, layers: tuple[Layer, ...], dtype: str, scratch: Scratch, remark: str
    ) -> None:
        super().__init__(layers, remark)
        self.keeps_output = False
        self.keeps_gradient = False
        self.gives_last = False
        self.returns_last = False
        self.slot = 0
        self._dtype = np.dtype(dtype)
        self._name = dtype  # NumPy takes 4 us to name a dtype
        self._scratch = scratch
        self._buffers: dict[str, Buffer] = {}
        self._shapes: tuple[Any, Any] = (None, None)

    def renew(self) -> None:
        """Take other memory from now on."""
        self._buffers.clear()
        self._scratch.renew()

    def _launch(self, kernel: Any, work: int, *arguments: Any) -> Any:
        """Run a kernel that is cut into parts, on the pool if the work is large enough."""
        parts, parallel = team().share(work)
        return kernel[self._name, parallel](*arguments, parts)

    def _checked(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the output, after every layer has checked that of its input."""
        known, result = self._shapes
        if shape != known:
            result = shape
            for layer in self.layers:
                result = layer.output_shape(result)
            self._shapes = shape, result
        return result  # type: ignore[no-any-return]

    def _buffer(self, name: str, rows: int, columns: int) -> Array:
        """Return a matrix of the step's own, with whatever is there."""
        if name not in self._buffers:
            self._buffers[name] = Buffer(self._dtype)
        return self._buffers[name].matrix(rows, columns)

    def _result(self, rows: int, columns: int) -> Array:
        """Return where the output goes."""
        if self.keeps_output:
            return self._buffer("output", rows, columns)
        return empty((rows, columns), self._dtype)

    def _gradient(self, rows: int, columns: int) -> Array:
        """Return where the gradient by the input goes."""
        if self.keeps_gradient:
            return self._scratch.gradients[self.slot].matrix(rows, columns)
        return empty((rows, columns), self._dtype)


class LinearStep(Step):
    """A `Linear` layer on NumPy that writes into buffers and into the vector of gradients.

    Parameters
    ----------
    layer : Linear
        Of exactly this class.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of a plan.
    kernels : bool
        Whether there are compiled kernels.
    """

    replays = True

    def __init__(self, layer: Linear, dtype: str, scratch: Scratch, kernels: bool) -> None:
        super().__init__((layer,), dtype, scratch, "into buffers, by BLAS")
        self._layer = layer
        self._rows: Any = None
        self._bias: Any = None  # the kernels for it
        if kernels:
            from ..kernels.numba import bias  # loads Numba

            self._bias = bias

    def forward(self, input: Array) -> Array:
        """Return ``input @ W + b``."""
        layer = self._layer
        shape = self._checked(input.shape)
        rows = self._rows = as_rows(input, layer.input_dim, self._dtype)
        output = self._result(rows.shape[0], layer.output_dim)
        multiply(rows, layer.params["W"], output)
        if layer.bias and self._bias:
            self._launch(self._bias.add, output.size, layer.params["b"], output)
        elif layer.bias:
            output += layer.params["b"]
        return output.reshape(shape)

    def backward(self, dout: Array) -> Array | None:
        """Write the gradients of W and b where they belong, without a copy."""
        layer, rows = self._layer, self._rows
        self._rows = None
        drows = as_rows(dout, layer.output_dim, self._dtype)
        multiply(rows, drows, layer.grads["W"], transpose_a=True)
        if layer.bias and self._bias:
            self._launch(self._bias.sum_rows, drows.size, drows, layer.grads["b"])
        elif layer.bias:
            np.add.reduce(drows, axis=0, out=layer.grads["b"])
        if not self.wants_gradient:
            return None
        dinput = self._gradient(*rows.shape)
        multiply(drows, layer.params["W"], dinput, transpose_b=True)
        return dinput.reshape(*dout.shape[:-1], layer.input_dim)

    def forget(self) -> None:
        """Drop what `forward` left."""
        self._rows = None

    def evaluate(self, input: Array) -> Array:
        """Return ``input @ W + b``."""
        layer = self._layer
        shape = self._checked(input.shape)
        output = multiply(as_rows(input, layer.input_dim, self._dtype), layer.params["W"])
        if layer.bias:
            output += layer.params["b"]
        return output.reshape(shape)

    def told(self, tiles: bool) -> str:
        """Return who makes the products."""
        return "into buffers, by xpnn's tiles" if tiles else self.remark


def as_rows(array: Array, width: int, dtype: Any) -> Array:
    """Return (rows, width) of a type, in C order and aligned: a view where the array is so."""
    if type(array) is not np.ndarray:
        array = np.asarray(array)
    flags = array.flags
    if array.dtype != dtype or not flags.c_contiguous or not flags.aligned:
        spoil()
        array = np.array(array, dtype=dtype, order="C")
    if array.ndim == 2 and array.shape[1] == width:
        return array
    return array.reshape(math.prod(array.shape) // max(width, 1), width)
