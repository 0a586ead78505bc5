"""Orthogonal matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._checks import checked_number
from .._standard import Array, array_namespace
from ..random import Stream
from ._fans import fans_of

__all__ = ["Orthogonal"]


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
        fans_of("Orthogonal", shape)
        rows, columns = shape[0], math.prod(shape[1:])
        normal = rng.normal((max(rows, columns), min(rows, columns)))
        xp = array_namespace(normal)
        q, r = xp.linalg.qr(normal)
        # QR alone would fix the signs by convention, and so the distribution.
        signs = xp.where(xp.linalg.diagonal(r) < 0, -1.0, 1.0)
        matrix = self.gain * signs * q
        return xp.reshape(matrix if rows >= columns else matrix.T, shape)
