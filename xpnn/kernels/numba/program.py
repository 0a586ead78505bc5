"""Kernels that run one after the other by one call from Python.

A kernel's compiled function takes each part of an array (its address, sizes and strides) as an
argument of its own. A program is a vector of 64-bit words: for each call the functions' addresses,
then these arguments. So it can be run on other arrays of the same kind: only their addresses have
to be written into it. Between two kernels no Python runs, which takes longer than many of them.

What unpacks the words is a function for each order of integers and floating-point numbers, made by
LLVM when the first such program is.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from llvmlite import binding, ir  # type: ignore[import-untyped]

from ..recording import Call

__all__ = ["Program", "address"]

#: Words before the arguments of a call: the function that unpacks, the length, the kernel, and room
#: for what it returns and for its exception, which nobody reads.
_UNPACK, _LENGTH, _KERNEL, _RESULT, _EXCEPTION, _ARGUMENTS = range(6)

_WORD, _STATUS = ir.IntType(64), ir.IntType(32)
_WORDS = _WORD.as_pointer()
_PLACE = ir.IntType(8).as_pointer()
_TYPES = {"i": _WORD, "d": ir.DoubleType()}
#: What kernels return: they are done, and there is no value.
_DONE = 0, -2

_LOCK = threading.Lock()
_engines: list[Any] = []  # whose code is in use
_addresses: dict[str, int] = {}


class Program:
    """Calls of kernels, in their order.

    Parameters
    ----------
    calls : sequence of Call
        Of kernels without results. Their arrays live as long as the program.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self._kernels = [call.compiled for call in calls]  # whose code is used
        self._arrays: dict[int, np.ndarray[Any, Any]] = {}  # by the place of their address
        layouts, rows = [], []
        position = 0
        for call in calls:
            layout, words, places = _laid_out(call)
            layouts.append(layout)
            rows.append(words)
            position += _ARGUMENTS
            self._arrays |= {position + place: array for place, array in places.items()}
            position += len(words)
        addresses = _unpackers(layouts)
        program: list[int] = []
        for kernel, layout, row in zip(self._kernels, layouts, rows, strict=True):
            program += [addresses[layout], _ARGUMENTS + len(row), _entry(kernel), 0, 0, *row]
        self._words = np.asarray(program, np.int64)
        self._start = address(self._words)
        kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)
        self._run = kind(addresses["run"])

    def places(self, array: np.ndarray[Any, Any]) -> list[int] | None:
        """Return where an array's address is; None if others have a part of its memory."""
        start, found = address(array), []
        for place, other in self._arrays.items():
            offset = address(other) - start
            if other.size == 0 or not -other.nbytes < offset < array.nbytes:
                continue
            if offset or other.nbytes != array.nbytes:
                return None
            found.append(place)
        return found

    def leave(self, places: Sequence[int]) -> None:
        """Hold the arrays at such places no longer: others will be there in each run."""
        for place in places:
            del self._arrays[place]

    def point(self, places: Sequence[int], array: np.ndarray[Any, Any]) -> None:
        """Write an array's address to such places. It must live until the program has run."""
        where = address(array)
        for place in places:
            self._words[place] = where

    def run(self) -> None:
        """Call the kernels.

        Raises
        ------
        MemoryError
            If one of them got none: there is nothing else that they complain of.
        """
        if self._run(self._start, len(self._kernels)):
            raise MemoryError("a kernel got no memory for its sums")


def address(array: np.ndarray[Any, Any]) -> int:
    """Return where an array begins."""
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]


#: Words of an array before its address: two that only Python uses, its size, that of an item.
_ADDRESS = 4


def _laid_out(call: Call) -> tuple[str, list[int], dict[int, np.ndarray[Any, Any]]]:
    """Return the order of a call's arguments, their words, and arrays by the place of addresses."""
    layout = ""
    words: list[int] = []
    arrays: dict[int, np.ndarray[Any, Any]] = {}
    for kind, argument in zip(call.kernel.arguments, call.arguments, strict=True):
        if kind == "real":
            layout += "d"
            words += struct.unpack("q", struct.pack("d", argument))
        elif kind == "integer":
            layout += "i"
            words.append(int(argument))
        else:
            arrays[len(words) + _ADDRESS] = argument
            parts = [0, 0, argument.size, argument.itemsize, address(argument)]
            parts += [*argument.shape, *argument.strides]
            layout += "i" * len(parts)
            words += parts
    return layout, words, arrays


def _entry(compiled: Any) -> int:
    """Return the address of a kernel's compiled function."""
    (result,) = compiled.overloads.values()
    return result.library.get_pointer_to_function(result.fndesc.llvm_func_name)  # type: ignore[no-any-return]


def _unpackers(layouts: Iterable[str]) -> dict[str, int]:
    """Return the addresses of what unpacks such arguments, and that of "run"."""
    with _LOCK:
        missing = sorted(set(layouts) - _addresses.keys())
        if missing or not _addresses:
            module = ir.Module()
            for layout in missing:
                _write_unpacker(module, layout)
            if not _addresses:
                missing.append("run")
                _write_run(module)
            machine = binding.Target.from_default_triple().create_target_machine(opt=1)
            engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), machine)
            engine.finalize_object()
            _engines.append(engine)
            for name in missing:
                _addresses[name] = engine.get_function_address(name)
        return _addresses


def _word(builder: Any, words: Any, index: int) -> Any:
    """Return the address of a word."""
    return builder.gep(words, [_WORD(index)])


def _write_unpacker(module: Any, layout: str) -> None:
    """Write ``status unpack(words)``, which calls the kernel of a call."""
    kind = ir.FunctionType(_STATUS, [_WORDS])
    function = ir.Function(module, kind, name=layout)
    builder = ir.IRBuilder(function.append_basic_block())
    (words,) = function.args
    arguments = [
        builder.bitcast(_word(builder, words, place), _PLACE) for place in (_RESULT, _EXCEPTION)
    ]
    for place, letter in enumerate(layout, _ARGUMENTS):
        where = _word(builder, words, place)
        arguments.append(builder.load(builder.bitcast(where, _TYPES[letter].as_pointer())))
    kernel = ir.FunctionType(_STATUS, [argument.type for argument in arguments])
    entry = builder.load(_word(builder, words, _KERNEL))
    builder.ret(builder.call(builder.inttoptr(entry, kernel.as_pointer()), arguments))


def _write_run(module: Any) -> None:
    """Write ``int run(words, calls)``, which returns 0 if all kernels are done."""
    function = ir.Function(module, ir.FunctionType(_WORD, [_WORDS, _WORD]), name="run")
    start, again, body, good, bad = (function.append_basic_block() for _ in range(5))
    program, calls = function.args
    ir.IRBuilder(start).branch(again)
    builder = ir.IRBuilder(again)
    index, words = builder.phi(_WORD), builder.phi(_WORDS)
    builder.cbranch(builder.icmp_signed("<", index, calls), body, good)
    builder = ir.IRBuilder(body)
    unpack = ir.FunctionType(_STATUS, [_WORDS]).as_pointer()
    unpacker = builder.inttoptr(builder.load(_word(builder, words, _UNPACK)), unpack)
    status = builder.call(unpacker, [words])
    size = builder.load(_word(builder, words, _LENGTH))
    done = builder.or_(*(builder.icmp_signed("==", status, _STATUS(code)) for code in _DONE))
    after, rest = builder.add(index, _WORD(1)), builder.gep(words, [size])
    builder.cbranch(done, again, bad)
    for block, count, place in ((start, _WORD(0), program), (body, after, rest)):
        index.add_incoming(count, block)
        words.add_incoming(place, block)
    ir.IRBuilder(good).ret(_WORD(0))
    ir.IRBuilder(bad).ret(_WORD(1))
