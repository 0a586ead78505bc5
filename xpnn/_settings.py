"""The constructor arguments of layers, losses and the like, read back from the object.

Whatever has settings keeps each constructor argument in an attribute of the same name. So it can
be printed, written to a model file and made anew without a word in its own class.
"""

from __future__ import annotations

import inspect
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["arguments", "represent", "settings"]

# Every checkpoint asks for them, and to find them takes a while.
_arguments: WeakKeyDictionary[type, dict[str, inspect.Parameter]] = WeakKeyDictionary()


def settings(thing: object) -> dict[str, Any]:
    """Return the constructor arguments of an object by their names, in order.

    Raises
    ------
    TypeError
        If the object does not keep one of them.

    Examples
    --------
    >>> class Scale:
    ...     def __init__(self, factor, offset=0.0):
    ...         self.factor, self.offset = factor, offset
    >>> settings(Scale(2))
    {'factor': 2, 'offset': 0.0}
    """
    found = {}
    for name in arguments(type(thing)):
        if not hasattr(thing, name):
            raise TypeError(
                f"{type(thing).__name__} keeps its argument {name!r} in no attribute of that name"
            )
        found[name] = getattr(thing, name)
    return found


def represent(thing: object) -> str:
    """Write an object as the call that makes it, without arguments that have their defaults.

    Examples
    --------
    >>> class Scale:
    ...     def __init__(self, factor, offset=0.0):
    ...         self.factor, self.offset = factor, offset
    >>> represent(Scale(2)), represent(Scale(2, offset=1.0))
    ('Scale(2)', 'Scale(2, offset=1.0)')
    """
    shown = []
    for name, parameter in arguments(type(thing)).items():
        value = getattr(thing, name, parameter.empty)
        if parameter.default is parameter.empty and value is not parameter.empty:
            shown.append(repr(value))
        elif value is not parameter.empty and repr(value) != repr(parameter.default):
            shown.append(f"{name}={value!r}")
    return f"{type(thing).__name__}({', '.join(shown)})"


def arguments(kind: type) -> dict[str, inspect.Parameter]:
    """Return the constructor arguments of a class by their names."""
    if kind not in _arguments:
        every = inspect.signature(kind).parameters
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        _arguments[kind] = {name: p for name, p in every.items() if p.kind not in variable}
    return _arguments[kind]
