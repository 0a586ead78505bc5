"""Matrix product, normalization, activation and dropout as one step, by Numba's kernels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._standard import Array
from ..kernels.numba import activations, batchnorm, lanes, layernorm
from ..layers import ELU, BatchNorm, Dropout, LayerNorm, LeakyReLU, Linear
from ..layers.layer import Layer
from ..random import drop_threshold, keep_scale
from .memory import empty
from .products import multiply
from .steps import Scratch, Step, as_rows

__all__ = ["ChainStep"]

_LANES_A_WORD = 4
#: What takes this many times as long as a pass over as many numbers.
_COSTLY = 4


class ChainStep(Step):
    """Up to four layers: Linear, BatchNorm or LayerNorm, an activation, Dropout.

    Parameters
    ----------
    layers : tuple of Layer
        In this order, at least one of them other than Linear.
    kind : str
        The activation, as `xpnn.kernels.numba.activations` names it; "identity" if there is none.
    dtype : str
        "float32" or "float64".
    scratch : Scratch
        Shared by the steps of a plan.
    remark : str
        For people.
    """

    replays = True

    def __init__(
        self, layers: tuple[Layer, ...], kind: str, dtype: str, scratch: Scratch, remark: str
    ) -> None:
        super().__init__(layers, dtype, scratch, remark)
        kinds: dict[type, Any] = {type(layer): layer for layer in layers}
        self._linear: Linear | None = kinds.pop(Linear, None)
        self._batchnorm: BatchNorm | None = kinds.pop(BatchNorm, None)
        self._layernorm: LayerNorm | None = kinds.pop(LayerNorm, None)
        self._dropout: Dropout | None = kinds.pop(Dropout, None)
        self._activation: Any = next(iter(kinds.values()), None)
        self._norm: Any = self._batchnorm or self._layernorm
        self._test_kind = kind
        self._kind = "dropout" if kind == "identity" and self._dropout is not None else kind
        self._has_slope = self._kind in activations.FORWARD_WITH_SLOPE
        self._key = np.zeros(3, np.uint64)
        self._rate = 0.0, 0, 1.0  # of the dropout: p, threshold, scale
        self._drawn: tuple[Array, Array] = (np.zeros(0, np.uint64), np.zeros((0, 0), np.uint16))
        self._vectors: dict[str, Array] = {}
        self._kept: Any = None

    # ---------------------------------------------------------------- training

    def forward(self, input: Array) -> Array:
        """Return the output in training mode."""
        x, shape = self._enter(input)
        rows, inputs, linear = x.shape[0], x, self._linear
        width = x.shape[1] if linear is None else linear.output_dim
        zeros, ones, _ = self._scratch.constants(width)
        bias = zeros
        if linear is not None:
            x = multiply(x, linear.params["W"], self._buffer("product", rows, width))
            bias = linear.params["b"] if linear.bias else zeros
        centre, scale, shift = zeros, ones, bias
        if self._batchnorm is not None:
            norm = self._batchnorm
            centre, inverse, scale = (self._vector(v, width) for v in ("mean", "inverse", "scale"))
            shift = norm.params["beta"]
            self._launch(
                batchnorm.statistics,
                x.size,
                x,
                bias,
                norm.params["gamma"],
                norm.epsilon,
                norm.momentum,
                norm.buffers["running_mean"],
                norm.buffers["running_var"],
                centre,
                inverse,
                scale,
            )
        drawn, threshold, keep = self._draw(rows, width)
        output = (
            self._buffer("output", rows, width) if self.keeps_output else empty(x.shape, x.dtype)
        )
        told, work = output, x.size
        if self._has_slope:
            told, work = self._buffer("slope", rows, width), _COSTLY * x.size
        chance = drawn, threshold, keep, self._setting()
        if self._layernorm is not None:
            centre, scale = bias, self._layernorm.params["gamma"]
            kernel = layernorm.FORWARD[self._kind, self._has_slope]
            moments = self._vector("mean", rows), self._vector("inverse", rows)
            given = self._by_rows(x, bias, *moments)
            self._launch(kernel, work, *given, *chance, output, told)
        elif self._has_slope:
            kernel = activations.FORWARD_WITH_SLOPE[self._kind]
            self._launch(kernel, work, x, centre, scale, shift, *chance, output, told)
        else:
            kernel = activations.FORWARD[self._kind]
            self._launch(kernel, work, x, centre, scale, shift, *chance, output)
        self._kept = inputs, x, centre, scale, told, keep, input.shape
        return output if output.shape == shape else output.reshape(shape)

    def backward(self, dout: Array) -> Array | None:
        """Write the gradients of the parameters; return that of the input if it is wanted."""
        inputs, x, centre, scale, told, keep, shape = self._kept
        self._kept = None
        rows, width = x.shape
        linear, norm = self._linear, self._norm
        dbias, dscale = self._vector("dbias", width), self._vector("dscale", width)
        if linear is not None and linear.bias:
            dbias = linear.grads["b"]
        dshift = dbias
        if norm is not None:
            dshift, dscale = norm.grads["beta"], norm.grads["gamma"]
        dx = self._scratch.inner.matrix(rows, width) if linear is not None else None
        if dx is None:
            dx = self._gradient(rows, width)
        derivative = "slope" if self._has_slope else self._kind
        douts = as_rows(dout, width, self._dtype)
        blocks = activations.blocks(rows)
        if self._layernorm is not None:
            backward = layernorm.BACKWARD[derivative]
            mean, inverse = self._vectors["mean"], self._vectors["inverse"]
            given = (douts, told, keep, x, centre, mean, inverse, scale)
            has_bias = linear is not None and linear.bias
            sums = self._scratch.sums.matrix(3 * blocks, width)
            self._launch(backward, x.size, *given, dx, dshift, dscale, dbias, has_bias, sums)
        else:
            backward = activations.BACKWARD[derivative, norm is not None]
            sums = self._scratch.sums.matrix(2 * blocks, width)
            self._launch(backward, x.size, douts, told, keep, x, centre, dx, dshift, dscale, sums)
        if self._batchnorm is not None:
            inverse = self._vectors["inverse"]
            means = centre, inverse, scale
            self._launch(batchnorm.finish, x.size, x, *means, dshift, dscale, dbias, dx)
        if linear is None:
            return dx.reshape(shape)
        multiply(inputs, dx, linear.grads["W"], transpose_a=True)
        if not self.wants_gradient:
            return None
        dinput = self._gradient(*inputs.shape)
        return multiply(dx, linear.params["W"], dinput, transpose_b=True).reshape(shape)

    def forget(self) -> None:
        """Drop what `forward` left."""
        self._kept = None

    def refresh(self) -> None:
        """Write the key of the random bits."""
        if self._dropout is not None:
            stream: Any = self._dropout.stream
            self._key[:] = stream.seed, stream.stream, self._dropout.step

    def renew(self) -> None:
        """Take other memory from now on."""
        super().renew()
        self._vectors = {}
        self._drawn = np.zeros(0, np.uint64), np.zeros((0, 0), np.uint16)

    # ---------------------------------------------------------------- test mode

    def evaluate(self, input: Array) -> Array:
        """Return the output in test mode, in new memory: threads may share a network."""
        if self._linear is None and self._norm is None and self._activation is None:
            return input
        x, shape = self._enter(input)
        bias = None
        if self._linear is not None:
            x = multiply(x, self._linear.params["W"])
            bias = self._linear.params.get("b")
            if self._norm is None and self._activation is None:
                return (x if bias is None else np.add(x, bias, out=x)).reshape(shape)
        rows, width = x.shape
        centre, scale, no_lanes = self._scratch.constants(width)
        shift = centre if bias is None else bias
        if self._batchnorm is not None:
            norm = self._batchnorm
            centre = norm.buffers["running_mean"] - shift
            scale = np.sqrt(norm.buffers["running_var"] + norm.epsilon)
            scale = np.divide(norm.params["gamma"], scale, out=scale)
            shift = norm.params["beta"]
        output = empty(x.shape, x.dtype)
        chance = no_lanes, 0, 1.0, self._setting()
        if self._layernorm is not None:
            forward = layernorm.FORWARD[self._test_kind, False]
            moments = empty((rows,), x.dtype), empty((rows,), x.dtype)
            given = self._by_rows(x, shift, *moments)
            self._launch(forward, x.size, *given, *chance, output, output)
        else:
            forward = activations.FORWARD[self._test_kind]
            self._launch(forward, x.size, x, centre, scale, shift, *chance, output)
        return output.reshape(shape)

    # ---------------------------------------------------------------- details

    def _enter(self, input: Array) -> tuple[Array, tuple[int, ...]]:
        """Return the input as rows, and the shape of the output."""
        shape = self._checked(input.shape)
        if self._linear is not None or self._norm is not None:
            width = input.shape[-1]
        else:  # nothing but elementwise: few long rows
            width = math.prod(input.shape[1:]) if input.ndim > 1 else input.shape[0]
        return as_rows(input, width, self._dtype), shape

    def _by_rows(self, x: Array, bias: Array, mean: Array, inverse: Array) -> tuple[Any, ...]:
        """Return what the kernels of layer normalization are told of it."""
        norm: Any = self._layernorm
        return x, bias, norm.epsilon, norm.params["gamma"], norm.params["beta"], mean, inverse

    def _setting(self) -> float:
        """Return the number that the activation is set by."""
        activation = self._activation
        if isinstance(activation, LeakyReLU):
            return activation.slope
        return activation.alpha if isinstance(activation, ELU) else 0.0

    def _draw(self, rows: int, width: int) -> tuple[Array, int, float]:
        """Return lanes, the threshold below which an element is dropped, and the scale."""
        dropout = self._dropout
        p = 0.0 if dropout is None else dropout.p
        if p != self._rate[0]:
            nothing = drop_threshold(p) == drop_threshold(1.0)
            self._rate = p, drop_threshold(p), 0.0 if nothing else keep_scale(p)
        _, threshold, keep = self._rate
        if dropout is None or threshold == 0 or keep == 0.0:
            return self._scratch.constants(width)[2], 0, keep
        words, drawn = self._drawn
        if drawn.shape != (rows, width):
            # Lanes are words in little-endian order; the plan refuses other machines.
            size = -(-rows * width // (_LANES_A_WORD * lanes.BLOCK)) * lanes.BLOCK
            words = self._scratch.words.matrix(1, size)[0]
            drawn = words.view(np.uint16)[: rows * width].reshape(rows, width)
            self._drawn = words, drawn
        self.refresh()
        self._launch(lanes.fill, _COSTLY * drawn.size, self._key, words)
        return drawn, threshold, keep

    def _vector(self, name: str, size: int) -> Array:
        """Return a vector of the step's own, with whatever is there."""
        found = self._vectors.get(name)
        if found is None or found.size != size:
            found = self._vectors[name] = empty((size,), self._dtype)
        return found
