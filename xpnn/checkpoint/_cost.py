"""How much memory a JSON text takes once it is parsed, found before anything is made of it."""

from __future__ import annotations

import re

__all__ = ["ALLOWANCE", "cost"]

#: Bytes that a file may take in memory besides twice its size: Python's objects are larger than
#: the text of which they are made, which only counts where there is little else.
ALLOWANCE = 1 << 24

# A string; the beginning of a string without end; that of a list or a table; what parts a key
# from its value; a number or a constant. Possessive: no way back is kept in memory.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[{:]|[^\s"\[\]{},:]++', re.DOTALL)
# Bytes of each with its place in a list, at most. While a table is made a pair has a tuple, a place
# in a list and in the table, and its key one among all the keys.
_STRING, _NUMBER, _LIST, _TABLE, _PAIR = 80, 56, 144, 352, 208


def cost(text: bytes, limit: int) -> int:
    """Return an upper bound of what a text takes once it is parsed, in bytes.

    Parameters
    ----------
    text : bytes
        JSON of ASCII characters, or anything else.
    limit : int
        Counting ends as soon as it is exceeded, and the result is larger then. So it is for a
        text that is no JSON or has other characters, which may take four bytes each.
    """
    if not text.isascii():
        return limit + 1
    total = 0
    for match in _TOKEN.finditer(text):
        start, stop = match.span()
        length = stop - start
        first = text[start : start + 1]
        if first == b'"':
            if length == 1:
                return limit + 1
            # Grows by a quarter while it is made; by one escape all of it may get wide.
            wide = text.find(b"\\u", start, stop) >= 0
            total += _STRING + (6 * length if wide else length + length // 4)
        elif first == b":":
            total += _PAIR
        elif first == b"[":
            total += _LIST
        elif first == b"{":
            total += _TABLE
        else:
            total += _NUMBER + length
        if total > limit:
            break
    return total
