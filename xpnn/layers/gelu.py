"""The smooth relatives of ReLU: GELU, SiLU and Softplus."""

from __future__ import annotations

import math

from .._standard import Array, array_namespace, erf, sigmoid, softplus
from ..errors import ConfigurationError, unknown
from .activations import Activation

__all__ = ["GELU", "SiLU", "Softplus"]

# Of tanh(_SLOPE * (x + _CUBIC * x**3)), which is close to erf(x / sqrt(2)).
_SLOPE = math.sqrt(2.0 / math.pi)
_CUBIC = 0.044715


class GELU(Activation):
    """Gaussian error linear unit: multiply each element by the normal probability below it.

    ::

        gate   = (1 + erf(input / sqrt(2))) / 2
        output = input * gate
        dinput = dout * (gate + input * dgate)
        dgate  = exp(-input**2 / 2) / sqrt(2 * pi)

    or, with ``approximate="tanh"``::

        gate  = (1 + tanh(sqrt(2 / pi) * (input + 0.044715 * input**3))) / 2
        dgate = 2 * gate * (1 - gate) * sqrt(2 / pi) * (1 + 3 * 0.044715 * input**2)

    Parameters
    ----------
    approximate : {"none", "tanh"}
        Whether to take the second form, which GPT-2 and its like use. It is off by up to 5e-4, and
        quicker.

    Raises
    ------
    ConfigurationError
        For another word.

    Notes
    -----
    Arrays: input and output of any one shape and floating-point dtype. Both modes do the same.

    Cost in FLOPs an element: 3 and an error function forward, 6 and an exponential backward; with
    "tanh" 8 and a tanh forward, 10 backward. The cache keeps the input and the gate.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units (GELUs)", arXiv:1606.08415, 2016,
    section 2. The standard has no error function: ours is a series, good to rounding.

    Examples
    --------
    >>> import numpy as np
    >>> GELU().forward(np.asarray([[-1.0, 0.0, 2.0]])).round(4).tolist()
    [[-0.1587, 0.0, 1.9545]]
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            reason = unknown("approximation", approximate, ("none", "tanh"))
            raise ConfigurationError(f"{self.name}: {reason}")
        self.approximate = approximate

    def forward(self, input: Array) -> Array:
        """Return ``input * gate``."""
        gate = self._gate(input)
        self.cache["input"], self.cache["gate"] = input, gate
        return input * gate

    def backward(self, dout: Array) -> Array:
        """Return ``dout * (gate + input * dgate)``."""
        input, gate = self.saved("input"), self.saved("gate")
        dinput = self._gate_slope(input, gate)
        dinput *= input
        dinput += gate
        dinput *= dout
        return dinput

    def _gate(self, input: Array) -> Array:
        if self.approximate == "none":
            gate = erf(math.sqrt(0.5) * input)
        else:
            bend = (_SLOPE * _CUBIC) * input * input
            gate = array_namespace(input).tanh((bend + _SLOPE) * input)
        gate += 1.0
        gate *= 0.5
        return gate

    def _gate_slope(self, input: Array, gate: Array) -> Array:
        if self.approximate == "none":
            slope = array_namespace(input).exp(-0.5 * input * input)
            slope *= 1.0 / math.sqrt(2.0 * math.pi)
        else:
            slope = (6.0 * _SLOPE * _CUBIC) * input * input
            slope += 2.0 * _SLOPE
            slope *= gate * (1.0 - gate)
        return slope


class SiLU(Activation):
    """Multiply each element by its sigmoid; also called swish.

    ::

        gate   = 1 / (1 + exp(-input))
        output = input * gate
        dinput = dout * (gate + output * (1 - gate))

    Notes
    -----
    Arrays: input and output of any one shape and floating-point dtype. Both modes do the same.

    Cost in FLOPs an element: 5 and an exponential forward, 4 backward. The cache keeps the output
    and the gate.

    Source: Elfwing, Uchibe and Doya, "Sigmoid-Weighted Linear Units for Neural Network Function
    Approximation in Reinforcement Learning", Neural Networks 107, 2018; proposed before
    by Hendrycks and Gimpel, arXiv:1606.08415, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> SiLU().forward(np.asarray([[-1.0, 0.0, 2.0]])).round(4).tolist()
    [[-0.2689, 0.0, 1.7616]]
    """

    def forward(self, input: Array) -> Array:
        """Return ``input * gate``."""
        gate = sigmoid(input)
        output = input * gate
        self.cache["output"], self.cache["gate"] = output, gate
        return output

    def backward(self, dout: Array) -> Array:
        """Return ``dout * (gate + output * (1 - gate))``."""
        output, gate = self.saved("output"), self.saved("gate")
        dinput = 1.0 - gate
        dinput *= output
        dinput += gate
        dinput *= dout
        return dinput


class Softplus(Activation):
    """A smooth ReLU.

    ::

        output = log(1 + exp(input))
        dinput = dout * (1 - exp(-output))

    where ``1 - exp(-output)`` is the sigmoid of the input.

    Notes
    -----
    Arrays: input and output of any one shape and floating-point dtype. Both modes do the same.
    Nothing overflows.

    Cost in FLOPs an element: 4, an exponential and a logarithm forward, 3 and an exponential
    backward. The cache keeps the output.

    Source: Dugas, Bengio, Bélisle, Nadeau and Garcia, "Incorporating Second-Order Functional
    Knowledge for Better Option Pricing", NIPS 2000.

    Examples
    --------
    >>> import numpy as np
    >>> Softplus().forward(np.asarray([[-1.0, 0.0, 1000.0]])).round(4).tolist()
    [[0.3133, 0.6931, 1000.0]]
    """

    def forward(self, input: Array) -> Array:
        """Return ``log(1 + exp(input))``."""
        output = softplus(input)
        self.cache["output"] = output
        return output

    def backward(self, dout: Array) -> Array:
        """Return ``dout * (1 - exp(-output))``."""
        dinput = -array_namespace(dout).expm1(-self.saved("output"))
        dinput *= dout
        return dinput
