"""How many inputs and outputs a unit of a weight is connected to."""

from __future__ import annotations

import math

from ..errors import ConfigurationError

__all__ = ["fans", "fans_of"]


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
    return fans_of("fans", shape)


def fans_of(owner: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return `fans`; errors speak of the owner of the weight."""
    if not isinstance(shape, tuple) or len(shape) < 2 or not all(n > 0 for n in shape):
        raise ConfigurationError(
            f"{owner}: shape must have at least two axes and no axis of length 0, got {shape!r}"
        )
    if len(shape) == 2:
        return shape[0], shape[1]
    size = math.prod(shape[2:])
    return shape[1] * size, shape[0] * size
