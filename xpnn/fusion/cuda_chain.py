"""Matrix product, normalization, activation and dropout as one step on CuPy, by CUDA kernels."""

from __future__ import annotations

import math
from typing import Any

from .._standard import Array
from ..kernels.cuda import Chain, Counters
from ..layers import ELU, BatchNorm, BatchNorm2d, Dropout, LayerNorm, LeakyReLU, Linear
from ..layers.layer import Layer
from ..random import Stream, drop_threshold, keep_scale
from .steps import PlanStep

__all__ = ["CudaChainStep"]

_ELEMENTS_A_BLOCK = 16  # of Philox


class CudaChainStep(PlanStep):
    """Up to four layers: Linear, BatchNorm or LayerNorm, an activation, Dropout.

    Besides the products it takes one launch forward and one backward, two each where there is a
    normalization. Its arrays come from CuPy's pool at every step and go back there. The mask of
    the dropout is kept as one bit an element.

    Parameters
    ----------
    layers : tuple of Layer
        In this order, at least one of them.
    kind : str
        The activation, as `xpnn.kernels.cuda.chain` names it; "identity" if there is none.
    dtype : str
        "float32" or "float64".
    counters : Counters
        Shared by the steps of a plan.
    remark : str
        For people.
    """

    def __init__(
        self, layers: tuple[Layer, ...], kind: str, dtype: str, counters: Counters, remark: str
    ) -> None:
        super().__init__(layers, remark)
        kinds: dict[type, Any] = {type(layer): layer for layer in layers}
        self._product = self._pop_product(kinds)
        self._batchnorm: Any = kinds.pop(BatchNorm, None) or kinds.pop(BatchNorm2d, None)
        self._layernorm: LayerNorm | None = kinds.pop(LayerNorm, None)
        self._dropout: Dropout | None = kinds.pop(Dropout, None)
        self._activation: Any = next(iter(kinds.values()), None)
        self._norm: Any = self._batchnorm or self._layernorm
        self._kind = kind
        self._dtype = dtype
        self._counters = counters
        self._rate = 0.0, 0, 1.0  # of the dropout: p, threshold, scale
        self._kept: Any = None

    # ---------------------------------------------------------------- training

    def forward(self, input: Array) -> Array:
        """Return the output in training mode."""
        import cupy

        inputs, x, bias, shape = self._enter(input)
        width = x.shape[1]
        chain = self._chain(x, bias, "none")
        if self._batchnorm is not None:
            norm = self._batchnorm
            chain.norm = "batch"
            chain.mean, chain.inverse = cupy.empty((2, width), dtype=x.dtype)
            averages = norm.buffers["running_mean"], norm.buffers["running_var"]
            chain.batch_statistics(norm.momentum, *averages, self._counters)
        elif self._layernorm is not None:
            self._of_rows(chain)
        threshold, chain.keep = self._drop()
        stream = None
        if self._dropout is not None and threshold and chain.keep:
            blocks = -(-x.size // _ELEMENTS_A_BLOCK)
            chain.bits = cupy.empty(blocks, dtype=cupy.uint16)
            stream = self._dropout.stream.at(self._dropout.step)  # type: ignore[union-attr]
        output = self._leave(chain, shape, True, stream, threshold)
        self._kept = inputs, chain, input.shape
        return output

    def backward(self, dout: Array) -> Array | None:
        """Write the gradients of the parameters; return that of the input if it is wanted."""
        import cupy

        inputs, chain, shape = self._kept
        self._kept = None
        product, norm = self._product, self._norm
        dout = self._enter_back(dout, chain)
        dbias = product.grads["b"] if product is not None and product.bias else None
        wants_dx = product is not None or self.wants_gradient
        dx = None
        if self._batchnorm is not None:
            dbeta, dgamma = norm.grads["beta"], norm.grads["gamma"]
            chain.column_sums(dout, None, dbias, dbeta, dgamma, self._counters)
            if wants_dx:
                dx = cupy.empty_like(chain.x)
                chain.backward(dout, dx, dbeta, dgamma)
        elif norm is not None:
            dbeta, dgamma = norm.grads["beta"], norm.grads["gamma"]
            if wants_dx:
                dx = cupy.empty_like(chain.x)
                chain.row_gradient(dout, dx)
            chain.column_sums(dout, dx, dbias, dbeta, dgamma, self._counters)
        else:
            dx, written = dout, None
            idle = self._kind == "identity" and chain.bits is None and chain.keep == 1.0
            if chain.x.size and not idle:
                dx = written = cupy.empty_like(chain.x)
            if dbias is not None:
                chain.column_sums(dout, written, dbias, None, None, self._counters)
            elif written is not None:
                chain.backward(dout, written)
        return self._leave_back(inputs, dx, shape)

    def forget(self) -> None:
        """Drop what `forward` left."""
        self._kept = None

    # ---------------------------------------------------------------- test mode

    def evaluate(self, input: Array) -> Array:
        """Return the output in test mode."""
        _, x, bias, shape = self._enter(input)
        chain = self._chain(x, bias, "none")
        if self._batchnorm is not None:
            chain.norm = "running"
            chain.mean = self._batchnorm.buffers["running_mean"]
            chain.inverse = self._batchnorm.buffers["running_var"]
        elif self._layernorm is not None:
            self._of_rows(chain)
        return self._leave(chain, shape, False)

    # ---------------------------------------------------------------- around the kernels

    def _pop_product(self, kinds: dict[type, Any]) -> Any:
        """Take the layer that multiplies out of the layers; None if there is none."""
        return kinds.pop(Linear, None)

    def _enter(self, input: Array) -> tuple[Any, Array, Array | None, tuple[int, ...]]:
        """Return what `_leave_back` needs, the rows that the kernels begin with, bias and shape."""
        shape = input.shape
        for layer in self.layers:
            shape = layer.output_shape(shape)
        linear = self._product
        inputs = _as_rows(input, input.shape[-1] if input.ndim else 1, self._dtype)
        if linear is None:
            return inputs, inputs, None, shape
        return inputs, inputs.dot(linear.params["W"]), linear.params.get("b"), shape

    def _leave(
        self,
        chain: Chain,
        shape: tuple[int, ...],
        training: bool,
        stream: Stream | None = None,
        threshold: int = 0,
    ) -> Array:
        """Do what comes behind the product and the statistics; return the output of the step."""
        import cupy

        if self._is_trivial(chain):
            return chain.x.reshape(shape)
        output = cupy.empty_like(chain.x)
        chain.forward(output, stream, threshold)
        return output.reshape(shape)

    def _enter_back(self, dout: Array, chain: Chain) -> Array:
        """Return the gradient of the output as rows."""
        return _as_rows(dout, chain.x.shape[1], self._dtype)

    def _leave_back(self, inputs: Any, dx: Array | None, shape: tuple[int, ...]) -> Array | None:
        """Write the gradient of the matrix; return that of the input if it is wanted."""
        linear = self._product
        if linear is None:
            return None if dx is None else dx.reshape(shape)
        assert dx is not None
        inputs.T.dot(dx, out=linear.grads["W"])
        if not self.wants_gradient:
            return None
        return dx.dot(linear.params["W"].T).reshape(shape)

    # ---------------------------------------------------------------- details

    def _chain(self, x: Array, bias: Array | None, norm: str) -> Chain:
        activation, setting, epsilon = self._activation, 0.0, 0.0
        if isinstance(activation, LeakyReLU):
            setting = activation.slope
        elif isinstance(activation, ELU):
            setting = activation.alpha
        chain = Chain(x, self._kind, norm, setting, epsilon, bias=bias)
        if self._norm is not None:
            chain.epsilon = self._norm.epsilon
            chain.gamma, chain.beta = self._norm.params["gamma"], self._norm.params["beta"]
        return chain

    def _of_rows(self, chain: Chain) -> None:
        """Take the statistics of the rows."""
        import cupy

        chain.norm = "layer"
        chain.mean, chain.inverse = cupy.empty((2, chain.x.shape[0]), dtype=chain.x.dtype)
        if chain.x.size:
            chain.row_statistics()

    def _drop(self) -> tuple[int, float]:
        """Return the threshold below which an element is dropped, and the scale of the others."""
        p = 0.0 if self._dropout is None else self._dropout.p
        if p != self._rate[0]:
            nothing = drop_threshold(p) == drop_threshold(1.0)
            self._rate = p, drop_threshold(p), 0.0 if nothing else keep_scale(p)
        return self._rate[1:]

    def _is_trivial(self, chain: Chain) -> bool:
        """Tell whether there is nothing to do behind the product."""
        idle = chain.bits is None and chain.keep == 1.0 and self._kind == "identity"
        return chain.x.size == 0 or (idle and chain.bias is None and chain.norm == "none")


def _as_rows(array: Array, width: int, dtype: str) -> Array:
    """Return (rows, width) of a type, in C order: a view where the array is so."""
    import cupy

    if array.dtype != dtype or not array.flags.c_contiguous:
        array = cupy.ascontiguousarray(array, dtype=dtype)
    if array.ndim == 2 and array.shape[1] == width:
        return array
    return array.reshape(math.prod(array.shape) // max(width, 1), width)
