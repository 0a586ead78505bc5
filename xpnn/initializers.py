r"""Initial values of parameters.

An initializer is called as ``initializer(shape, rng)`` with a `xpnn.random.Stream` and returns a
NumPy array of float64: a seed gives the same weights on every library. A function of one's own that
does so is an initializer, too.

The scaled ones choose a variance by the number of inputs and outputs of a unit (`fans`). The
uniform ones draw from [-a, a) with a = sqrt(3 variance), the normal ones from an untruncated normal
distribution, as the papers have it (Keras cuts it off at two standard deviations).

==================================  ==========================  ================================
initializer                         variance                    made for
==================================  ==========================  ================================
`HeNormal`, `HeUniform`             2 / fan_in                  ReLU and its relatives
`GlorotNormal`, `GlorotUniform`     2 / (fan_in + fan_out)      tanh, sigmoid, linear layers
`LeCunNormal`, `LeCunUniform`       1 / fan_in                  tanh, SELU, linear layers
`Orthogonal`                        gain^2 / larger dimension   deep and recurrent layers
==================================  ==========================  ================================
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ._checks import checked_number
from ._standard import Array, array_namespace
from .errors import ConfigurationError, unknown
from .random import Stream

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LeCunNormal",
    "LeCunUniform",
    "Ones",
    "Orthogonal",
    "Zeros",
    "fans",
    "get",
]

#: What makes the initial value of a parameter: ``initializer(shape, rng)`` to a NumPy array.
Initializer: TypeAlias = Callable[[tuple[int, ...], Stream], Array]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Count the inputs and the outputs that a unit of a weight of this shape is connected to.

    Parameters
    ----------
    shape : tuple of int
        (in, out) of a matrix; (out, in, k), (out, in, kh, kw) and so on of a convolution, whose
        numbers of channels are multiplied by the size of the kernel.

    Returns
    -------
    fan_in, fan_out : int

    Raises
    ------
    ConfigurationError
        If the shape has fewer than two axes, or no elements.

    Examples
    --------
    >>> fans((784, 256))
    (784, 256)
    >>> fans((32, 16, 3, 3))
    (144, 288)
    """
    return _fans("fans", shape)


class _Scaled(ABC):
    """Base of the initializers whose variance is a function of the fans."""

    @abstractmethod
    def _variance(self, fan_in: int, fan_out: int) -> float: ...

    @abstractmethod
    def _draw(self, shape: tuple[int, ...], std: float, rng: Stream) -> Array: ...

    def __call__(self, shape: tuple[int, ...], rng: Stream) -> Array:
        variance = self._variance(*_fans(type(self).__name__, shape))
        return self._draw(shape, math.sqrt(variance), rng)


class _Normal(_Scaled):
    def _draw(self, shape: tuple[int, ...], std: float, rng: Stream) -> Array:
        return rng.normal(shape, std=std)


class _Uniform(_Scaled):
    def _draw(self, shape: tuple[int, ...], std: float, rng: Stream) -> Array:
        limit = math.sqrt(3.0) * std
        return rng.uniform(shape, -limit, limit)


@dataclass(frozen=True)
class HeNormal(_Normal):
    """Normal with variance 2 / fan_in, for layers followed by ReLU.

    ReLU halves the mean square of its input; the factor of 2 keeps the scale of the signal from
    layer to layer.

    Raises
    ------
    ConfigurationError
        When called, if the shape has fewer than two axes or no elements.

    Source
    ------
    K. He, X. Zhang, S. Ren, J. Sun: Delving deep into rectifiers. ICCV 2015, equation 10.

    Examples
    --------
    >>> HeNormal()((2, 3), Stream(0)).shape
    (2, 3)
    """

    def _variance(self, fan_in: int, fan_out: int) -> float:
        return 2.0 / fan_in


@dataclass(frozen=True)
class HeUniform(_Uniform):
    """Uniform with variance 2 / fan_in: in [-sqrt(6 / fan_in), sqrt(6 / fan_in)).

    Raises
    ------
    ConfigurationError
        When called, if the shape has fewer than two axes or no elements.

    Source
    ------
    As `HeNormal`.

    Examples
    --------
    >>> bool(abs(HeUniform()((6, 3), Stream(0))).max() <= 1.0)
    True
    """

    def _variance(self, fan_in: int, fan_out: int) -> float:
        return 2.0 / fan_in


@dataclass(frozen=True)
class GlorotNormal(_Normal):
    """Normal with variance 2 / (fan_in + fan_out), also called Xavier.

    A compromise between 1 / fan_in, which keeps the scale of the signal forwards, and 1 / fan_out,
    which keeps that of the gradient backwards.

    Raises
    ------
    ConfigurationError
        When called, if the shape has fewer than two axes or no elements.

    Source
    ------
    X. Glorot, Y. Bengio: Understanding the difficulty of training deep feedforward neural networks.
    AISTATS 2010, equation 12.

    Examples
    --------
    >>> GlorotNormal()((2, 3), Stream(0)).shape
    (2, 3)
    """

    def _variance(self, fan_in: int, fan_out: int) -> float:
        return 2.0 / (fan_in + fan_out)


@dataclass(frozen=True)
class GlorotUniform(_Uniform):
    """Uniform with variance 2 / (fan_in + fan_out): below sqrt(6 / (fan_in + fan_out)).

    Raises
    ------
    ConfigurationError
        When called, if the shape has fewer than two axes or no elements.

    Source
    ------
    As `GlorotNormal`, equation 16.

    Examples
    --------
    >>> bool(abs(GlorotUniform()((4, 2), Stream(0))).max() <= 1.0)
    True
    """

    def _variance(self, fan_in: int, fan_out: int) -> float:
        return 2.0 / (fan_in + fan_out)


@dataclass(frozen=True)
class LeCunNormal(_Normal):
    """Normal with variance 1 / fan_in: unit inputs give sums of unit variance.

    Raises
    ------
    ConfigurationError
        When called, if the shape has fewer than two axes or no elements.

    Source
    ------
    Y. LeCun, L. Bottou, G. Orr, K.-R. Müller: Efficient BackProp, in: Neural networks, tricks of
    the trade, 1998, equation 16.

    Examples
    --------
    >>> LeCunNormal()((2, 3), Stream(0)).shape
    (2, 3)
    """

    def _variance(self, fan_in: int, fan_out: int) -> float:
        return 1.0 / fan_in


@dataclass(frozen=True)
class LeCunUniform(_Uniform):
    """Uniform with variance 1 / fan_in: in [-sqrt(3 / fan_in), sqrt(3 / fan_in)).

    Raises
    ------
    ConfigurationError
        When called, if the shape has fewer than two axes or no elements.

    Source
    ------
    As `LeCunNormal`.

    Examples
    --------
    >>> bool(abs(LeCunUniform()((3, 2), Stream(0))).max() <= 1.0)
    True
    """

    def _variance(self, fan_in: int, fan_out: int) -> float:
        return 1.0 / fan_in


@dataclass(frozen=True)
class Orthogonal:
    """Orthonormal rows or columns, whichever are fewer, times ``gain``.

    Q of the QR decomposition of a normal matrix, with the signs of R's diagonal: uniform over all
    such matrices. A convolution (out, in, ...) is taken as the matrix (out, in x kernel size).

    Parameters
    ----------
    gain : float
        Factor: every singular value of the matrix; sqrt(2) suits ReLU.

    Raises
    ------
    ConfigurationError
        If ``gain`` is not a finite number; when called, if the shape has fewer than two axes or no
        elements.

    Source
    ------
    A. Saxe, J. McClelland, S. Ganguli: Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks. ICLR 2014. The signs: F. Mezzadri, How to generate random matrices
    from the classical compact groups, Notices of the AMS 54 (2007).

    Examples
    --------
    >>> weight = Orthogonal()((5, 3), Stream(0))
    >>> (abs(weight.T @ weight).round(12) + 0.0).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", checked_number("Orthogonal", "gain", self.gain))

    def __call__(self, shape: tuple[int, ...], rng: Stream) -> Array:
        """Draw an orthogonal matrix."""
        _fans("Orthogonal", shape)
        rows, columns = shape[0], math.prod(shape[1:])
        normal = rng.normal((max(rows, columns), min(rows, columns)))
        xp = array_namespace(normal)
        q, r = xp.linalg.qr(normal)
        # QR alone would fix the signs by convention, and so the distribution.
        signs = xp.where(xp.linalg.diagonal(r) < 0, -1.0, 1.0)
        matrix = self.gain * signs * q
        return xp.reshape(matrix if rows >= columns else matrix.T, shape)


@dataclass(frozen=True)
class Zeros:
    """Zeros, of any shape.

    Examples
    --------
    >>> Zeros()((2,), Stream(0)).tolist()
    [0.0, 0.0]
    """

    def __call__(self, shape: tuple[int, ...], rng: Stream) -> Array:
        """Make zeros; nothing is drawn."""
        return rng.full(shape, 0.0)


@dataclass(frozen=True)
class Ones:
    """Ones, of any shape.

    Examples
    --------
    >>> Ones()((2,), Stream(0)).tolist()
    [1.0, 1.0]
    """

    def __call__(self, shape: tuple[int, ...], rng: Stream) -> Array:
        """Make ones; nothing is drawn."""
        return rng.full(shape, 1.0)


@dataclass(frozen=True)
class Constant:
    """One value everywhere, in any shape.

    Parameters
    ----------
    value : float
        The value.

    Raises
    ------
    ConfigurationError
        If ``value`` is not a finite number.

    Examples
    --------
    >>> Constant(0.5)((2,), Stream(0)).tolist()
    [0.5, 0.5]
    """

    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", checked_number("Constant", "value", self.value))

    def __call__(self, shape: tuple[int, ...], rng: Stream) -> Array:
        """Fill the shape; nothing is drawn."""
        return rng.full(shape, self.value)


_BY_NAME: dict[str, Initializer] = {
    "he_normal": HeNormal(),
    "he_uniform": HeUniform(),
    "glorot_normal": GlorotNormal(),
    "glorot_uniform": GlorotUniform(),
    "lecun_normal": LeCunNormal(),
    "lecun_uniform": LeCunUniform(),
    "orthogonal": Orthogonal(),
    "zeros": Zeros(),
    "ones": Ones(),
}


def get(initializer: str | Initializer) -> Initializer:
    """Return the initializer of a name, or the initializer itself.

    Parameters
    ----------
    initializer : str or callable
        A name such as "he_normal" or "zeros", an instance, or a function of one's own.

    Raises
    ------
    ConfigurationError
        For an unknown name, a class in place of an instance, and anything that cannot be called.

    Examples
    --------
    >>> get("he_normal")
    HeNormal()
    >>> get(Constant(0.1))
    Constant(value=0.1)
    """
    if isinstance(initializer, str):
        if initializer not in _BY_NAME:
            raise ConfigurationError(unknown("initializer", initializer, _BY_NAME))
        return _BY_NAME[initializer]
    if isinstance(initializer, type):
        name = initializer.__name__
        raise ConfigurationError(f"initializer must be an instance, such as {name}(), got a class")
    if not callable(initializer):
        raise ConfigurationError(f"initializer must be a name or a callable, got {initializer!r}")
    return initializer


def _fans(owner: str, shape: tuple[int, ...]) -> tuple[int, int]:
    if not isinstance(shape, tuple) or len(shape) < 2 or not all(n > 0 for n in shape):
        raise ConfigurationError(
            f"{owner}: shape must have at least two axes and no axis of length 0, got {shape!r}"
        )
    if len(shape) == 2:
        return shape[0], shape[1]
    size = math.prod(shape[2:])
    return shape[1] * size, shape[0] * size
