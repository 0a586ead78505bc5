"""Regularization: penalties on parameters that a network adds to its loss."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import ClassVar

from ._checks import checked, checked_number, checked_roles
from ._settings import represent
from ._standard import Array, array_namespace, sign

__all__ = ["L1", "L2", "ElasticNet", "Regularization"]


class Regularization:
    """A penalty on parameters; the base class of every regularization.

    A penalty of your own derives from it and defines `forward` and `backward`.

    Parameters
    ----------
    weight : float
        Factor of the penalty, finite and >= 0.
    roles : set of {"weight", "bias", "scale"}, optional
        Which parameters are penalized. By default all, as in the tutorial; the usual choice of
        today is ``{"weight"}``.

    Attributes
    ----------
    weight : float
        As given. Assigned later it is checked likewise, as are the roles.
    roles : tuple of str or None
        As given, in a fixed order.
    elementwise : bool
        Whether the penalty of two arrays is the sum of their penalties, and the gradient of an
        element depends on that element alone. Then a network may call it once for a flat vector
        of many parameters. False unless a subclass says so.

    Raises
    ------
    ConfigurationError
        If the weight is negative or not finite, or a role is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> class Fourth(Regularization):
    ...     elementwise = True
    ...
    ...     def forward(self, param):
    ...         return self.weight * (param**4).sum()
    ...
    ...     def backward(self, param):
    ...         return 4 * self.weight * param**3
    >>> penalty = Fourth(0.5)
    >>> w = np.asarray([1.0, -2.0])
    >>> float(penalty.forward(w)), penalty.backward(w).tolist()
    (8.5, [2.0, -16.0])
    """

    elementwise: ClassVar[bool] = False
    weight: float = checked(checked_number, low=0.0)
    roles: Collection[str] | None = checked(checked_roles, optional=True)

    def __init__(self, weight: float, roles: Iterable[str] | None = None) -> None:
        self.weight = weight
        self.roles = None if roles is None else checked_roles(type(self).__name__, "roles", roles)

    def forward(self, param: Array) -> Array:
        """Return the penalty of a parameter.

        Parameters
        ----------
        param : array, any shape, floating-point
            Not changed.

        Returns
        -------
        array, 0-d
            Of the parameter's dtype, on its device (a scalar of that dtype on NumPy).
        """
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def backward(self, param: Array) -> Array:
        """Return the gradient of the penalty: a new array like ``param``."""
        raise NotImplementedError(f"{type(self).__name__} does not define backward")

    def __repr__(self) -> str:
        return represent(self)


class L2(Regularization):
    """Sum of squares, as in the tutorial.

    ``forward = weight * sum(param ** 2)``; ``backward = 2 * weight * param``. There is no factor
    1/2: a decay of d in the sense of ``W -= lr * d * W`` is ``L2(d / 2)``.

    Parameters
    ----------
    weight : float
        Factor of the penalty, finite and >= 0.
    roles : set of {"weight", "bias", "scale"}, optional
        Which parameters are penalized, by default all.

    Raises
    ------
    ConfigurationError
        If the weight is negative or not finite, or a role is unknown.

    Notes
    -----
    Cost: 2 FLOPs an element forward, 1 backward; nothing is kept between them.

    Source: Hoerl and Kennard, "Ridge Regression", Technometrics 12 (1970).

    Examples
    --------
    >>> import numpy as np
    >>> penalty, w = L2(0.1), np.asarray([1.0, -2.0])
    >>> round(float(penalty.forward(w)), 9), penalty.backward(w).tolist()
    (0.5, [0.2, -0.4])
    """

    elementwise: ClassVar[bool] = True

    def forward(self, param: Array) -> Array:
        """Return ``weight * sum(param ** 2)``, a 0-d array."""
        return self.weight * _sum_of_squares(param)

    def backward(self, param: Array) -> Array:
        """Return ``2 * weight * param``, a new array."""
        return (2.0 * self.weight) * param


class L1(Regularization):
    """Sum of absolute values, which drives parameters to exactly zero.

    ``forward = weight * sum(abs(param))``; ``backward = weight * sign(param)``, 0 at 0.

    Parameters
    ----------
    weight : float
        Factor of the penalty, finite and >= 0.
    roles : set of {"weight", "bias", "scale"}, optional
        Which parameters are penalized, by default all.

    Raises
    ------
    ConfigurationError
        If the weight is negative or not finite, or a role is unknown.

    Notes
    -----
    Cost: 2 FLOPs an element forward, 4 backward; nothing is kept between them.

    Source: Tibshirani, "Regression Shrinkage and Selection via the Lasso", J. R. Stat. Soc. B 58
    (1996), in the Lagrangian form. At 0 we take 0 of the subgradients [-weight, weight].

    Examples
    --------
    >>> import numpy as np
    >>> penalty, w = L1(0.5), np.asarray([1.0, -2.0, 0.0])
    >>> float(penalty.forward(w)), penalty.backward(w).tolist()
    (1.5, [0.5, -0.5, 0.0])
    """

    elementwise: ClassVar[bool] = True

    def forward(self, param: Array) -> Array:
        """Return ``weight * sum(abs(param))``, a 0-d array."""
        xp = array_namespace(param)
        return self.weight * xp.sum(xp.abs(param))

    def backward(self, param: Array) -> Array:
        """Return ``weight * sign(param)``, a new array."""
        return self.weight * sign(param)


class ElasticNet(Regularization):
    """A mixture of L1 and L2.

    ``forward = l1 * sum(abs(param)) + l2 * sum(param ** 2)``;
    ``backward = l1 * sign(param) + 2 * l2 * param``.

    Parameters
    ----------
    l1, l2 : float
        Factors of the two penalties, finite and >= 0.
    roles : set of {"weight", "bias", "scale"}, optional
        Which parameters are penalized, by default all.

    Attributes
    ----------
    weight : float
        A factor of the whole penalty, 1.

    Raises
    ------
    ConfigurationError
        If a factor is negative or not finite, or a role is unknown.

    Notes
    -----
    Cost: 4 FLOPs an element forward, 6 backward; nothing is kept between them.

    Source: Zou and Hastie, "Regularization and variable selection via the elastic net", J. R.
    Stat. Soc. B 67 (2005), eq. 3 (the naive elastic net).

    Examples
    --------
    >>> import numpy as np
    >>> penalty, w = ElasticNet(0.5, 0.25), np.asarray([1.0, -2.0])
    >>> float(penalty.forward(w)), penalty.backward(w).tolist()
    (2.75, [1.0, -1.5])
    """

    elementwise: ClassVar[bool] = True
    l1: float = checked(checked_number, low=0.0)
    l2: float = checked(checked_number, low=0.0)

    def __init__(self, l1: float, l2: float, roles: Iterable[str] | None = None) -> None:
        super().__init__(1.0, roles)
        self.l1 = l1
        self.l2 = l2

    def forward(self, param: Array) -> Array:
        """Return ``l1 * sum(abs(param)) + l2 * sum(param ** 2)``, a 0-d array."""
        xp = array_namespace(param)
        absolute = self.l1 * xp.sum(xp.abs(param))
        return self.weight * (absolute + self.l2 * _sum_of_squares(param))

    def backward(self, param: Array) -> Array:
        """Return ``l1 * sign(param) + 2 * l2 * param``, a new array."""
        gradient = (2.0 * self.weight * self.l2) * param
        gradient += (self.weight * self.l1) * sign(param)
        return gradient


def _sum_of_squares(param: Array) -> Array:
    """Sum the squares of all elements in one pass, without an array of squares."""
    xp = array_namespace(param)
    flat = xp.reshape(param, (-1,))
    return xp.matmul(flat, flat)
