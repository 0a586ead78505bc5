"""Moving, clearing and fetching memory by its address, as LLVM's own functions do it.

Numba copies rows of arrays number by number. All sizes count bytes, and nothing is checked.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

from ._compile import inlined

__all__ = [
    "clear",
    "copy",
    "copy_past",
    "emit_fetch",
    "fetch",
    "fetch_aside",
    "fetch_once",
    "settle",
]

_LINE = 64  # bytes of a line of the caches
_BIT, _BYTE, _INT, _WIDE = (ir.IntType(bits) for bits in (1, 8, 32, 64))
_POINTER = _BYTE.as_pointer()
_WHOLE_LINE = ir.VectorType(_WIDE, _LINE // 8)


@intrinsic  # type: ignore[untyped-decorator]
def copy(typing_context: Any, to: Any, source: Any, size: Any) -> Any:
    """Copy from one address to another; the two do not overlap."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, source, size = arguments
        function = builder.module.declare_intrinsic("llvm.memcpy", [_POINTER, _POINTER, _WIDE])
        places = (builder.inttoptr(address, _POINTER) for address in (to, source))
        builder.call(function, [*places, size, _BIT(0)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def clear(typing_context: Any, to: Any, size: Any) -> Any:
    """Write zeros."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, size = arguments
        function = builder.module.declare_intrinsic("llvm.memset", [_POINTER, _WIDE])
        builder.call(function, [builder.inttoptr(to, _POINTER), _BYTE(0), size, _BIT(0)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _copy_line_past(typing_context: Any, to: Any, source: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line = _WHOLE_LINE.as_pointer()
        to, source = (builder.inttoptr(address, line) for address in arguments)
        store = builder.store(builder.load(source, align=4), to, align=_LINE)
        store.set_metadata("nontemporal", builder.module.add_metadata([_INT(1)]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@inlined
def copy_past(to, source, size):  # type: ignore[no-untyped-def]
    """Copy whole lines of the caches to where one begins, straight to the memory.

    What is overwritten is not read before, and drives nothing out. Others see it after `settle`.
    """
    for line in range(0, size, _LINE):
        _copy_line_past(to + line, source + line)


@intrinsic  # type: ignore[untyped-decorator]
def settle(typing_context: Any) -> Any:
    """Wait until what `copy_past` wrote is there for everybody."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        module = builder.module
        if module.triple.startswith(("x86_64", "i686")):
            # What LLVM makes of a fence there is not meant for such stores.
            kind = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse.sfence"
            builder.call(module.globals.get(name) or ir.Function(module, kind, name), [])
        else:
            builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


def emit_fetch(builder: Any, address: Any, nearness: int) -> None:
    """Bring a line into a cache, which nobody waits for: 3 is the nearest, 0 past the second."""
    kind = ir.FunctionType(ir.VoidType(), [_POINTER, _INT, _INT, _INT])
    name = "llvm.prefetch.p0i8"
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    place = builder.inttoptr(address, _POINTER)
    read, data = _INT(0), _INT(1)
    builder.call(function, [place, read, _INT(nearness), data])


def _fetcher(nearness: int) -> Any:
    """Make what brings a line into a cache."""

    def fetch_line(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emit_fetch(builder, arguments[0], nearness)
            return context.get_dummy_value()

        return types.void(types.int64), generate

    return intrinsic(fetch_line)


_fetch_line, _fetch_line_aside, _fetch_line_once = _fetcher(3), _fetcher(2), _fetcher(0)


@inlined
def fetch(address, size):  # type: ignore[no-untyped-def]
    """Bring memory that will soon be read into the nearest cache."""
    for line in range(0, size, _LINE):
        _fetch_line(address + line)


@inlined
def fetch_aside(address, size):  # type: ignore[no-untyped-def]
    """Bring memory into the second cache, so that what the nearest one has stays there."""
    for line in range(0, size, _LINE):
        _fetch_line_aside(address + line)


@inlined
def fetch_once(address, size):  # type: ignore[no-untyped-def]
    """Bring what is read a single time past the second cache, which keeps what it has."""
    for line in range(0, size, _LINE):
        _fetch_line_once(address + line)
