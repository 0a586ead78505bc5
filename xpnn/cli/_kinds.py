"""Kinds of settings: how the text of an option is read, and what values a file may have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError, unknown


@dataclass(frozen=True)
class Kind:
    """A kind of setting.

    Attributes
    ----------
    expected : str
        What a message says was expected.
    read : callable
        Makes a value of the text of an option, or raises ValueError.
    accepts : callable
        Tells whether a value will do.
    choices : tuple of str
        All values, where there are few.
    """

    expected: str
    read: Callable[[str], Any]
    accepts: Callable[[Any], bool]
    choices: tuple[str, ...] = ()

    def from_text(self, place: str, text: str) -> Any:
        """Return the value of an option."""
        try:
            value = self.read(text)
        except ValueError:
            raise self._wrong(place, text) from None
        return self.check(place, value)

    def check(self, place: str, value: Any) -> Any:
        """Return a value, in its usual spelling, or raise ConfigurationError."""
        if self.choices and isinstance(value, str):
            for choice in self.choices:
                if value.casefold().replace("_", "-") == choice.casefold():
                    return choice
            raise ConfigurationError(f"{place}: {unknown('choice', value, self.choices)}")
        if not self.accepts(value):
            raise self._wrong(place, value)
        return value

    def _wrong(self, place: str, value: Any) -> ConfigurationError:
        return ConfigurationError(f"{place}: expected {self.expected}, got {value!r}")


def choice(choices: Iterable[str]) -> Kind:
    """Return the kind of one of some names, upper or lower case."""
    names = tuple(choices)
    return Kind(f"one of {', '.join(names)}", str, lambda value: False, names)


def number(
    low: float = -math.inf, high: float = math.inf, *, above: bool = False, below: bool = False
) -> Kind:
    """Return the kind of the finite numbers of a range, without ``low`` if ``above``, and so on."""

    def accepts(value: Any) -> bool:
        if type(value) not in (int, float) or not math.isfinite(value):
            return False
        return bool(low < value if above else low <= value) and bool(
            value < high if below else value <= high
        )

    left = "(" if above or math.isinf(low) else "["
    right = ")" if below or math.isinf(high) else "]"
    return Kind(f"a number in {left}{low:g}, {high:g}{right}", float, accepts)


def integer(low: int, high: int | None = None) -> Kind:
    """Return the kind of the integers of a range."""

    def accepts(value: Any) -> bool:
        return type(value) is int and low <= value and (high is None or value <= high)

    limit = f"of at least {low}" if high is None else f"from {low} to {high}"
    return Kind(f"an integer {limit}", int, accepts)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text.strip() else []


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)


TEXT = Kind("text", str, lambda value: isinstance(value, str) and value != "")
COLUMN = Kind(
    "the name of a column or its number",
    str,
    lambda value: type(value) in (str, int) and value != "",
)
FLAG = Kind("true or false", str, lambda value: isinstance(value, bool))
SEED = integer(0, 2**64 - 1)
NAMES = Kind("a list of names such as accuracy,top5", _split, lambda v: _is_list_of(str, v))
WIDTHS = Kind(
    "a list of widths such as 256,128",
    lambda text: [int(part) for part in _split(text)],
    lambda value: _is_list_of(int, value) and all(width >= 1 for width in value),
)
THING = Kind("a name or a table with a type", str, lambda value: isinstance(value, str | dict))
LIST = Kind("a list", _split, lambda value: isinstance(value, list))
