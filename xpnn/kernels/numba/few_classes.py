"""Softmax and cross-entropy of few classes: a row in each lane of a vector.

A row of ten numbers does not fill a vector of AVX-512. So squares of rows by columns are turned
around in registers, until each class of as many rows as a vector has lanes is one vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

from ._compile import outlined, part
from ._functions import emit_exp_of_negative, emit_log, everywhere, integers
from ._memory import copy
from .squares import transpose

__all__ = ["labels_by_lanes"]

_WIDE = ir.IntType(64)
_LINE = 64  # bytes of a vector


@intrinsic  # type: ignore[untyped-decorator]
def _lanes(
    typing_context: Any, share: Any, classes: Any, scores: Any, target: Any, losses: Any
) -> Any:
    """Replace logits by the gradient of ``share`` times the loss, a class after the other.

    ``scores``, ``target`` and ``losses`` are addresses: of (classes, lanes) numbers like ``share``,
    and of (lanes,) int64 and float64. The loss of a label that is no class is 0.
    """
    count = 8 * _LINE // share.bitwidth

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        share, classes, scores, target, losses = arguments
        kind = ir.VectorType(share.type, count)
        integer, _, _ = integers(kind)

        def place(index: Any) -> Any:
            address = builder.add(scores, builder.mul(index, _WIDE(_LINE)))
            return builder.inttoptr(address, kind.as_pointer())

        def load(index: Any) -> Any:
            return builder.load(place(index), align=_LINE // count)

        def spread(value: Any, kind: Any) -> Any:
            nothing = ir.Constant(kind, ir.Undefined)
            first = builder.insert_element(nothing, value, ir.IntType(32)(0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), count), None)
            return builder.shuffle_vector(first, nothing, zeros)

        zeros = everywhere(kind, 0.0)
        shares = spread(share, kind)
        wide = ir.VectorType(_WIDE, count)
        label = builder.load(builder.inttoptr(target, wide.as_pointer()), align=8)
        known = builder.icmp_unsigned("<", label, spread(classes, wide))
        label = builder.select(known, label, everywhere(wide, -1))
        if integer.element.width < 64:
            label = builder.trunc(label, integer)

        def is_label(index: Any) -> Any:
            number = index if integer.element.width == 64 else builder.trunc(index, integer.element)
            return builder.icmp_signed("==", label, spread(number, integer))

        largest = cgutils.alloca_once_value(builder, load(_WIDE(0)))
        with cgutils.for_range(builder, classes) as loop:
            # Of NaN the comparison is false; the exponential brings it to the sum.
            z, known_largest = load(loop.index), builder.load(largest)
            larger = builder.fcmp_ordered(">", z, known_largest)
            builder.store(builder.select(larger, z, known_largest), largest)
        top = builder.load(largest)
        total = cgutils.alloca_once_value(builder, zeros)
        picked = cgutils.alloca_once_value(builder, zeros)
        with cgutils.for_range(builder, classes) as loop:
            z = builder.fsub(load(loop.index), top)
            e = emit_exp_of_negative(builder, z)
            builder.store(e, place(loop.index), align=_LINE // count)
            builder.store(builder.fadd(builder.load(total), e), total)
            old = builder.load(picked)
            builder.store(builder.select(is_label(loop.index), z, old), picked)
        total = builder.load(total)
        ratio = builder.fdiv(shares, total)
        with cgutils.for_range(builder, classes) as loop:
            p = builder.fmul(load(loop.index), ratio)
            there = builder.select(is_label(loop.index), shares, zeros)
            builder.store(builder.fsub(p, there), place(loop.index), align=_LINE // count)
        loss = builder.fsub(emit_log(builder, total), builder.load(picked))
        loss = builder.select(known, loss, zeros)
        doubles = ir.VectorType(ir.DoubleType(), count)
        if kind.element != doubles.element:
            loss = builder.fpext(loss, doubles)
        builder.store(loss, builder.inttoptr(losses, doubles.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(share, *[types.int64] * 4), generate


@outlined
def _turn(share, source, stride, target, step):  # type: ignore[no-untyped-def]
    transpose(share, source, stride, target, step)


@part
def labels_by_lanes(logits, target, gradient, losses, top, bottom):  # type: ignore[no-untyped-def]
    """Do rows ``top`` to ``bottom`` of `cross_entropy.labels`."""
    T = logits.dtype.type
    share = T(1) / T(logits.shape[0])
    classes, size = logits.shape[1], logits.itemsize
    lanes, row = _LINE // size, classes * size
    squares = (classes + lanes - 1) // lanes
    columns = np.empty((squares * lanes, lanes), logits.dtype)
    rows = np.zeros((classes + 1, lanes), logits.dtype)
    some_labels, some_losses = np.empty(lanes, np.int64), np.empty(lanes, np.float64)
    for first in range(top, bottom, lanes):
        # Squares reach beyond the last column, into the next rows, which come later.
        aside = (bottom - first - lanes) * classes < lanes
        count = min(lanes, bottom - first)
        source = np.int64(logits.ctypes.data) + first * row
        goal = np.int64(gradient.ctypes.data) + first * row
        labels_at = np.int64(target.ctypes.data) + 8 * first
        losses_at = np.int64(losses.ctypes.data) + 8 * first
        if aside:
            there = np.int64(rows.ctypes.data)
            copy(there, source, count * row)
            copy(np.int64(some_labels.ctypes.data), labels_at, 8 * count)
            source, labels_at = there, np.int64(some_labels.ctypes.data)
            losses_at = np.int64(some_losses.ctypes.data)
        columns_at = np.int64(columns.ctypes.data)
        for k in range(squares):
            _turn(share, source + _LINE * k, row, columns_at + _LINE * lanes * k, _LINE)
        _lanes(share, classes, columns_at, labels_at, losses_at)
        for k in range(squares - 1, -1, -1):
            to = np.int64(rows.ctypes.data) if aside else goal
            _turn(share, columns_at + _LINE * lanes * k, _LINE, to + _LINE * k, row)
        if aside:
            copy(goal, np.int64(rows.ctypes.data), count * row)
            copy(np.int64(losses.ctypes.data) + 8 * first, losses_at, 8 * count)
