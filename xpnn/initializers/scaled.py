"""Normal and uniform values whose variance follows from the number of inputs and outputs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from .._standard import Array
from ..random import Stream
from ._fans import fans_of

__all__ = ["GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LeCunNormal", "LeCunUniform"]


class _Scaled(ABC):
    """Base of the initializers whose variance is a function of the fans."""

    @abstractmethod
    def _variance(self, fan_in: int, fan_out: int) -> float: ...

    @abstractmethod
    def _draw(self, shape: tuple[int, ...], std: float, rng: Stream) -> Array: ...

    def __call__(self, shape: tuple[int, ...], rng: Stream) -> Array:
        variance = self._variance(*fans_of(type(self).__name__, shape))
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
