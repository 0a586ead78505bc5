"""Activations that act on each element, and their base class.

Several of them find the derivative from the output, which the next layer keeps anyway. They
multiply by masks rather than choose by ``xp.where``, which is ten times slower on NumPy when the
signs are mixed.
"""

from __future__ import annotations

from .._checks import checked_number
from .._standard import Array, array_namespace, sigmoid
from .layer import Layer

__all__ = ["ELU", "Activation", "LeakyReLU", "ReLU", "Sigmoid", "Tanh"]


class Activation(Layer):
    """A layer without parameters whose output has the shape of its input; a base class.

    A subclass defines `forward` and `backward`.
    """

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input: every shape is right."""
        return input_shape


class ReLU(Activation):
    """Set negative elements to zero.

    ::

        output = max(input, 0)
        dinput = dout * (output > 0)

    Notes
    -----
    Arrays: input and output of any one shape and floating-point dtype. Both modes do the same.

    Cost in FLOPs an element: 1 forward, 2 backward. The cache keeps the output.

    Source: Nair and Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines", ICML
    2010. The derivative at exactly 0 is 0; Bertoin, Bolte, Gerchinovitz and Pauwels, "Numerical
    influence of ReLU'(0) on backpropagation", NeurIPS 2021, show that the choice matters.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ReLU()
    >>> layer.forward(np.asarray([[-1.0, 0.0, 2.0]])).tolist()
    [[0.0, 0.0, 2.0]]
    >>> layer.backward(np.asarray([[5.0, 5.0, 5.0]])).tolist()
    [[0.0, 0.0, 5.0]]
    """

    def forward(self, input: Array) -> Array:
        """Return ``max(input, 0)``."""
        output = array_namespace(input).maximum(input, 0.0)
        self.cache["output"] = output
        return output

    def backward(self, dout: Array) -> Array:
        """Return ``dout`` where the output is positive, 0 elsewhere."""
        positive = self.saved("output") > 0
        dinput = array_namespace(dout).astype(positive, dout.dtype)
        dinput *= dout
        return dinput


class LeakyReLU(Activation):
    """Multiply negative elements by a small slope.

    ::

        output = max(input, slope * input)
        dinput = dout * (1 if output > 0 else slope)

    Parameters
    ----------
    slope : float
        Slope at negative elements, 0 <= slope < 1.

    Raises
    ------
    ConfigurationError
        If the slope is out of its range.

    Notes
    -----
    Arrays: input and output of any one shape and floating-point dtype. Both modes do the same. The
    derivative at 0 is the slope.

    Cost in FLOPs an element: 2 forward, 3 backward. The cache keeps the output.

    Source: Maas, Hannun and Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic Models",
    ICML 2013, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> LeakyReLU(slope=0.25).forward(np.asarray([[-2.0, 0.0, 2.0]])).tolist()
    [[-0.5, 0.0, 2.0]]
    """

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = checked_number(self.name, "slope", slope, low=0.0, high=1.0, open_high=True)

    def forward(self, input: Array) -> Array:
        """Return ``max(input, slope * input)``."""
        output = array_namespace(input).maximum(input, self.slope * input)
        self.cache["output"] = output
        return output

    def backward(self, dout: Array) -> Array:
        """Return ``dout`` where the output is positive, ``slope * dout`` elsewhere."""
        xp = array_namespace(dout)
        positive = self.saved("output") > 0
        dinput = xp.maximum(xp.astype(positive, dout.dtype), self.slope)
        dinput *= dout
        return dinput


class ELU(Activation):
    """Exponential linear unit: negative elements approach ``-alpha`` smoothly.

    ::

        output = input if input > 0 else alpha * (exp(input) - 1)
        dinput = dout * (1 if input > 0 else output + alpha)

    Parameters
    ----------
    alpha : float
        The bound is ``-alpha``, > 0.

    Raises
    ------
    ConfigurationError
        If alpha is not positive and finite.

    Notes
    -----
    Arrays: input and output of any one shape and floating-point dtype. Both modes do the same. The
    derivative at 0 is alpha.

    Cost in FLOPs an element: 4 and an exponential forward, 6 backward. The cache keeps the output,
    whose sign is that of the input.

    Source: Clevert, Unterthiner and Hochreiter, "Fast and Accurate Deep Network Learning by
    Exponential Linear Units (ELUs)", ICLR 2016, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> ELU().forward(np.asarray([[-1.0, 0.0, 2.0]])).round(4).tolist()
    [[-0.6321, 0.0, 2.0]]
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = checked_number(self.name, "alpha", alpha, low=0.0, open_low=True)

    def forward(self, input: Array) -> Array:
        """Return the input where it is positive, ``alpha * (exp(input) - 1)`` elsewhere."""
        xp = array_namespace(input)
        output = xp.expm1(xp.minimum(input, 0.0))
        output *= self.alpha
        output += xp.maximum(input, 0.0)
        self.cache["output"] = output
        return output

    def backward(self, dout: Array) -> Array:
        """Return ``dout`` where the input is positive, ``dout * (output + alpha)`` elsewhere."""
        output = self.saved("output")
        xp = array_namespace(dout)
        dinput = xp.minimum(output, 0.0)
        dinput += self.alpha
        if self.alpha != 1:  # so far, the slope at positive elements is alpha
            dinput += (1.0 - self.alpha) * xp.astype(output > 0, dout.dtype)
        dinput *= dout
        return dinput


class Sigmoid(Activation):
    """Squash each element into (0, 1).

    ::

        output = 1 / (1 + exp(-input))
        dinput = dout * output * (1 - output)

    Notes
    -----
    Arrays: input and output of any one shape and floating-point dtype. Both modes do the same.
    Nothing overflows.

    For a network that ends in a probability train the logits with `BinaryCrossEntropy`, which
    includes the sigmoid.

    Cost in FLOPs an element: 4 and an exponential forward, 3 backward. The cache keeps the output.

    Source: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors",
    Nature 323, 1986, equation 2.

    Examples
    --------
    >>> import numpy as np
    >>> Sigmoid().forward(np.asarray([[-1000.0, 0.0, 1.0]])).round(4).tolist()
    [[0.0, 0.5, 0.7311]]
    """

    def forward(self, input: Array) -> Array:
        """Return ``1 / (1 + exp(-input))``."""
        output = sigmoid(input)
        self.cache["output"] = output
        return output

    def backward(self, dout: Array) -> Array:
        """Return ``dout * output * (1 - output)``."""
        output = self.saved("output")
        dinput = 1.0 - output
        dinput *= output
        dinput *= dout
        return dinput


class Tanh(Activation):
    """Hyperbolic tangent: squash each element into (-1, 1).

    ::

        output = tanh(input)
        dinput = dout * (1 - output * output)

    Notes
    -----
    Arrays: input and output of any one shape and floating-point dtype. Both modes do the same.

    Cost in FLOPs an element: a tanh forward, 3 backward. The cache keeps the output.

    Source: LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998, section 4.4.

    Examples
    --------
    >>> import numpy as np
    >>> Tanh().forward(np.asarray([[-1.0, 0.0, 1.0]])).round(4).tolist()
    [[-0.7616, 0.0, 0.7616]]
    """

    def forward(self, input: Array) -> Array:
        """Return ``tanh(input)``."""
        output = array_namespace(input).tanh(input)
        self.cache["output"] = output
        return output

    def backward(self, dout: Array) -> Array:
        """Return ``dout * (1 - output * output)``."""
        output = self.saved("output")
        dinput = 1.0 - output * output
        dinput *= dout
        return dinput
