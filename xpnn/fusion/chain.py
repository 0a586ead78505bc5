"""Matrix product, normalization, activation and dropout as one step, by Numba's kernels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._standard import Array
from ..kernels.numba import activations, batchnorm, lanes, layernorm
from ..layers import ELU, GELU, BatchNorm, Dropout, LayerNorm, LeakyReLU, Linear
from ..layers.layer import Layer
from ..random import drop_threshold, keep_scale
from .steps import Buffer, Step, as_rows

__all__ = ["ChainStep", "Scratch"]


class Scratch:
    """Buffers that all steps of a plan share: none is in use when a step has returned."""

    def __init__(self, dtype: Any) -> None:
        self.gradient = Buffer(dtype)  # by the input, on its way to the step before
        self.inner = Buffer(dtype)  # by what is inside a step
        self.words = Buffer(np.uint64)
        self._zeros = np.zeros(0, dtype)
        self._ones = np.ones(0, dtype)
        self._lanes = np.zeros((1, 0), np.uint16)

    def constants(self, width: int) -> tuple[Array, Array, Array]:
        """Return zeros and ones (width,), and a row of lanes (1, width) for "no dropout"."""
        if self._zeros.size < width:
            self._zeros = np.zeros(width, self._zeros.dtype)
            self._ones = np.ones(width, self._ones.dtype)
            self._lanes = np.zeros((1, width), np.uint16)
        return self._zeros[:width], self._ones[:width], self._lanes[:, :width]


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

    def __init__(
        self, layers: tuple[Layer, ...], kind: str, dtype: str, scratch: Scratch, remark: str
    ) -> None:
        super().__init__(layers, remark)
        self._dtype = np.dtype(dtype)
        self._scratch = scratch
        self._linear = _of(layers, Linear)
        self._norm: Any = _of(layers, BatchNorm, LayerNorm)
        self._dropout = _of(layers, Dropout)
        self._activation = next((a for a in layers if type(a) not in _OTHERS), None)
        self._kind = kind
        if kind == "identity" and self._dropout is not None:
            self._kind = "dropout"
        self._has_slope = self._kind in activations.FORWARD_WITH_SLOPE
        self._product = Buffer(dtype)
        self._output = Buffer(dtype)
        self._slope = Buffer(dtype)
        self._normalized = Buffer(dtype)
        self._vectors: dict[str, Array] = {}
        self._key = np.zeros(3, np.uint64)
        self._kept: Any = None
        self._compile(dtype)

    def _compile(self, dtype: str) -> None:
        """Fetch the kernels; the first process on a machine compiles them here."""
        if self._has_slope:
            self._forward = activations.FORWARD_WITH_SLOPE[self._kind][dtype]
        else:
            self._forward = activations.FORWARD[self._kind][dtype]
        derivative = "slope" if self._has_slope else self._kind
        self._backward = activations.BACKWARD[derivative, self._norm is not None][dtype]
        if self._dropout is not None:
            self._fill = lanes.fill[dtype]
        if isinstance(self._norm, BatchNorm):
            self._statistics = batchnorm.statistics[dtype]
            self._finish = batchnorm.finish[dtype]
        elif self._norm is not None:
            self._normalize = layernorm.normalize[dtype]
            self._finish = layernorm.finish[dtype]

    # ---------------------------------------------------------------- training

    def forward(self, input: Array) -> Array:
        """Return the output in training mode."""
        x, shape = self._enter(input)
        rows, width = x.shape[0], shape[-1] if self._linear is not None else x.shape[1]
        zeros, ones, no_lanes = self._scratch.constants(width)
        bias, inputs = zeros, x
        if self._linear is not None:
            x = np.matmul(x, self._linear.params["W"], out=self._product.matrix(rows, width))
            if self._linear.bias:
                bias = self._linear.params["b"]
        centre, scale, shift = zeros, ones, bias
        norm = self._norm
        if isinstance(norm, BatchNorm):
            centre, inverse, scale = self._own(width, "mean", "inverse", "scale")
            shift = norm.params["beta"]
            self._statistics(
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
        elif norm is not None:
            normalized = self._normalized.matrix(rows, width)
            inverse = self._own(rows, "inverse")[0]
            self._normalize(x, bias, norm.epsilon, normalized, inverse)
            x, scale, shift = normalized, norm.params["gamma"], norm.params["beta"]
        drawn, threshold, keep = self._draw(rows, width, no_lanes)
        output = self._output.matrix(rows, width) if self.keeps_output else np.empty_like(x)
        common = (x, centre, scale, shift, drawn, threshold, keep, self._setting, output)
        if self._has_slope:
            told = self._slope.matrix(rows, width)
            self._forward(*common, told)
        else:
            told = output
            self._forward(*common)
        self._kept = inputs, x, centre, scale, told, keep, input.shape
        return output if output.shape == shape else output.reshape(shape)

    def backward(self, dout: Array) -> Array | None:
        """Write the gradients of the parameters; return that of the input if it is wanted."""
        inputs, x, centre, scale, told, keep, shape = self._kept
        self._kept = None
        rows, width = x.shape
        douts = as_rows(dout, width, self._dtype)
        linear, norm = self._linear, self._norm
        dshift, dscale = self._own(width, "dshift", "dscale")
        dbias = dshift
        if linear is not None and linear.bias:
            dbias = linear.grads["b"]
        if norm is not None:
            dshift, dscale = norm.grads["beta"], norm.grads["gamma"]
        else:
            dshift = dbias
        if linear is None and self.wants_gradient and not self.keeps_gradient:
            dx = np.empty_like(x)
        else:
            dx = self._scratch.inner.matrix(rows, width)
        self._backward(douts, told, keep, x, centre, dx, dshift, dscale)
        if isinstance(norm, BatchNorm):
            inverse = self._vectors["inverse"]
            self._finish(x, centre, inverse, scale, dshift, dscale, dx)
            dbias[:] = 0.0  # the mean takes the bias away
        elif norm is not None:
            self._finish(x, self._vectors["inverse"], scale, dx, dbias)
        if linear is None:
            return dx.reshape(shape)
        np.matmul(inputs.T, dx, out=linear.grads["W"])
        if not self.wants_gradient:
            return None
        dinput = self._scratch.gradient.matrix(*inputs.shape) if self.keeps_gradient else None
        return np.matmul(dx, linear.params["W"].T, out=dinput).reshape(shape)

    # ---------------------------------------------------------------- test mode

    def evaluate(self, input: Array) -> Array:
        """Return the output in test mode, in memory of its own: threads may share a network."""
        x, shape = self._enter(input)
        linear, norm, bias = self._linear, self._norm, None
        if linear is not None:
            x = np.matmul(x, linear.params["W"])
            bias = linear.params["b"] if linear.bias else None
        rows, width = x.shape
        zeros, ones, no_lanes = np.zeros(width, self._dtype), None, None
        ...
        return x
