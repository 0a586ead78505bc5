"""Writing TOML. Python reads it, and has nothing to write it with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def write_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Write tables of plain data: text, numbers, booleans, lists, and tables inside of them.

    Entries that are None are left out, because TOML has nothing for them.
    """
    sections = []
    for name, table in tables.items():
        lines = [f"[{_key(name)}]"]
        lines += [f"{_key(k)} = {_value(v, 0)}" for k, v in table.items() if v is not None]
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    # JSON's escapes are TOML's, which also wants one for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any, depth: int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        entries = (f"{_key(k)} = {_value(v, depth + 1)}" for k, v in value.items() if v is not None)
        return f"{{ {', '.join(entries)} }}" if value else "{}"
    if any(isinstance(item, Mapping) for item in value) and depth == 0:
        return "[\n" + "".join(f"    {_value(item, depth + 1)},\n" for item in value) + "]"
    return f"[{', '.join(_value(item, depth + 1) for item in value)}]"
