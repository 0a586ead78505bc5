"""Checks of settings on the host, shared by losses, regularization, optimizers and networks."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from numbers import Real
from pathlib import Path
from typing import Any

from .errors import ConfigurationError, unknown

__all__ = [
    "ROLES",
    "checked",
    "checked_flag",
    "checked_number",
    "checked_numbers",
    "checked_path",
    "checked_roles",
    "expect_kind",
    "expect_settings",
]

#: What a parameter can be to regularization and weight decay.
ROLES = ("weight", "bias", "scale")

#: A representation of more characters than these says less in an error than the type does.
_LONG = 100


class _Checked:
    """A setting that is checked whenever it is assigned.

    It has no `__get__`, so that to read the setting costs what any attribute does.
    """

    def __init__(
        self,
        check: Callable[..., Any],
        optional: bool,
        agrees: Callable[[Any, dict[str, Any]], None] | None,
        ranges: dict[str, Any],
    ) -> None:
        self._check, self._optional, self._ranges = check, optional, ranges
        self._agrees = agrees

    def __set_name__(self, kind: type, name: str) -> None:
        self._name = name

    def __set__(self, instance: Any, value: Any) -> None:
        if value is not None or not self._optional:
            # A layer's name says where in the network it is.
            owner = getattr(instance, "name", type(instance).__name__)
            value = self._check(owner, self._name, value, **self._ranges)
        if self._agrees is not None:
            self._agrees(instance, vars(instance) | {self._name: value})
        vars(instance)[self._name] = value


def checked(
    check: Callable[..., Any],
    *,
    optional: bool = False,
    agrees: Callable[[Any, dict[str, Any]], None] | None = None,
    **ranges: Any,
) -> Any:
    """Return what makes an attribute of a class a setting that is checked when it is assigned.

    Parameters
    ----------
    check : callable
        ``check(owner, name, value, **ranges)`` returns what is kept, or raises.
    optional : bool
        Whether None is kept unchecked.
    agrees : callable, optional
        ``agrees(instance, attributes)`` raises if the value does not go with the other attributes,
        of which some may not be there yet.

    Examples
    --------
    >>> class Scale:
    ...     factor: float = checked(checked_number, low=0.0)
    >>> scale = Scale()
    >>> scale.factor = 2
    >>> scale.factor
    2.0
    >>> scale.factor = -1
    Traceback (most recent call last):
        ...
    xpnn.errors.ConfigurationError: Scale: factor must be a number in [0, inf), got -1
    """
    return _Checked(check, optional, agrees, ranges)


def checked_flag(owner: str, name: str, value: object) -> bool:
    """Return a setting as a bool if it is one: text such as "false" would be true.

    Raises
    ------
    ConfigurationError
        With one line that names the owner, the setting and what was received.

    Examples
    --------
    >>> checked_flag("LSTM", "reverse", True)
    True
    >>> checked_flag("LSTM", "reverse", "no")
    Traceback (most recent call last):
        ...
    xpnn.errors.ConfigurationError: LSTM: reverse must be True or False, got 'no'
    """
    if isinstance(value, bool) or type(value).__name__ == "bool":  # NumPy's as well
        return bool(value)
    raise ConfigurationError(f"{owner}: {name} must be True or False, got {value!r}")


def checked_number(
    owner: str,
    name: str,
    value: object,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return a setting as a float if it is a finite number of the range.

    Parameters
    ----------
    owner, name : str
        Whose setting it is, and how it is called.
    value : object
        What the user gave. NumPy's numbers are numbers too; booleans and text are not.
    low, high : float
        The range. An infinite end is never part of it.
    open_low, open_high : bool
        Whether a finite end is excluded.

    Raises
    ------
    ConfigurationError
        With one line that names the owner, the setting, the range and what was received.

    Examples
    --------
    >>> checked_number("SGD", "momentum", 0.5, low=0, high=1, open_high=True)
    0.5
    >>> checked_number("SGD", "momentum", 1, low=0, high=1, open_high=True)
    Traceback (most recent call last):
        ...
    xpnn.errors.ConfigurationError: SGD: momentum must be a number in [0, 1), got 1
    """
    number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    if math.isfinite(number):
        above = number > low if open_low else number >= low
        below = number < high if open_high else number <= high
        if above and below:
            return number
    left = "(" if open_low or math.isinf(low) else "["
    right = ")" if open_high or math.isinf(high) else "]"
    raise ConfigurationError(
        f"{owner}: {name} must be a number in {left}{low:g}, {high:g}{right}, got {value!r}"
    )


def checked_numbers(owner: str, name: str, values: Iterable[object]) -> tuple[float, ...]:
    """Return settings as floats if each is a finite number of at least zero.

    Raises
    ------
    ConfigurationError
        If they are not one sequence of such numbers.

    Examples
    --------
    >>> checked_numbers("SoftmaxCrossEntropy", "class_weight", [1, 2.5])
    (1.0, 2.5)
    """
    try:
        items = [] if isinstance(values, str | dict) else list(values)
    except TypeError:  # no iterable, or a NumPy array without axes
        items = []
    if not items:
        raise ConfigurationError(f"{owner}: {name} must be a sequence of numbers, got {values!r}")
    return tuple(
        checked_number(owner, f"{name}[{index}]", value, low=0.0)
        for index, value in enumerate(items)
    )


def checked_path(name: str, value: object) -> Path:
    """Return a path, or raise ConfigurationError if it is none: a number is an open file's."""
    if not isinstance(value, str | os.PathLike):
        raise ConfigurationError(f"{name}: expected a path, got {value!r}")
    return Path(value)


def checked_roles(owner: str, name: str, roles: Iterable[str]) -> tuple[str, ...]:
    """Return roles of parameters in the order of `ROLES`, each once.

    Raises
    ------
    ConfigurationError
        For a name that is no role, or for text where a set of names is meant.

    Examples
    --------
    >>> checked_roles("L2", "roles", {"scale", "weight"})
    ('weight', 'scale')
    """
    if isinstance(roles, str) or not isinstance(roles, Iterable):
        raise ConfigurationError(f"{owner}: {name} must be a set of {ROLES}, got {roles!r}")
    chosen = set(roles)
    for role in chosen:
        if role not in ROLES:
            raise ConfigurationError(f"{owner}: {unknown('role', role, ROLES)}")
    return tuple(role for role in ROLES if role in chosen)


def expect_kind(name: str, value: object, kind: type) -> None:
    """Raise unless a value is of a kind."""
    if isinstance(value, kind):
        return
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    raise ConfigurationError(
        f"{name}: expected {article} {kind.__name__}, got {_told(value, kind)}"
    )


def expect_settings(thing: object) -> None:
    """Raise unless all checked settings of an object have been assigned.

    Of one that has not, the class would be read, which is no number.

    Raises
    ------
    ConfigurationError
        With the class and the setting.
    """
    kind, here = type(thing), vars(thing)
    for base in reversed(kind.__mro__):
        for name, found in vars(base).items():
            if isinstance(found, _Checked) and name not in here and getattr(kind, name) is found:
                raise ConfigurationError(
                    f"{kind.__name__}: no {name}: has it called super().__init__(...)?"
                )


def _told(value: object, kind: type) -> str:
    """Describe what was given in a few words: arrays and data sets by their type alone."""
    if isinstance(value, type):
        hint = f": give {value.__name__}(...)" if issubclass(value, kind) else ""
        return f"the class {value.__name__}{hint}"
    text = repr(value)
    long = len(text) > _LONG or "\n" in text or isinstance(value, tuple | list)
    return f"a {type(value).__name__}" if long else text
