"""Normalization, ReLU and the maximum of 2 x 2 pixels in one pass each way, a vector at a time.

`images` has the passes for every activation and window. There each tap is a loop over the channels
of one pixel, which are so few that the loops cost more than their numbers; and four taps in one
loop have more arrays than LLVM looks through for a loop that it could do by vectors. So the vectors
are written out here.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

from ._compile import outlined
from .vectors import BYTES, Vectors

__all__ = ["activate_pairs", "spread_pairs"]


class _Vectors(Vectors):
    """With what is done to the pixels of a window."""

    def __init__(self, builder: Any, real: Any) -> None:
        super().__init__(builder, real)
        self.bytes = ir.VectorType(ir.IntType(8), self.lanes)
        self.zero = self.constant(0.0)

    def tap(self, number: int) -> Any:
        return ir.Constant(self.bytes, [number] * self.lanes)

    def normalized(self, x: Any, norm: tuple[Any, Any, Any]) -> tuple[Any, Any]:
        """Return ``x - centre``, and that times scale plus shift."""
        centre, scale, shift = norm
        away = self.subtract(x, centre)
        return away, self.add(self.multiply(away, scale), shift)


def _taps(builder: Any, upper: Any, lower: Any, step: Any) -> list[Any]:
    return [upper, builder.add(upper, step), lower, builder.add(lower, step)]


@intrinsic  # type: ignore[untyped-decorator]
def _activate(
    typing_context: Any, real: Any, rectify: Any, upper: Any, lower: Any, step: Any, centre: Any,
    scale: Any, shift: Any, output: Any, codes: Any,
) -> Any:  # fmt: skip
    """Make a vector of a pooled pixel out of four. All are addresses, ``step`` counts bytes."""
    rectifies = rectify.count > 0

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, _, upper, lower, step, centre, scale, shift, output, codes = arguments
        v = _Vectors(builder, real)
        norm = v.load(centre), v.load(scale), v.load(shift)
        best = tap = None
        for number, address in enumerate(_taps(builder, upper, lower, step)):
            _, z = v.normalized(v.load(address), norm)
            if rectifies:  # NaN stays
                z = builder.select(builder.fcmp_ordered("<=", z, v.zero), v.zero, z)
            if best is None:
                best, tap = z, v.tap(0)
                continue
            # Of equal ones the first is taken, and NaN stays.
            larger = builder.and_(
                builder.fcmp_unordered(">", z, best), builder.fcmp_ordered("ord", best, best)
            )
            best = builder.select(larger, z, best)
            tap = builder.select(larger, v.tap(number), tap)
        v.store(best, output)
        v.store(tap, codes)
        return context.get_dummy_value()

    return types.void(real, rectify, *[types.int64] * 8), generate


@outlined
def activate_pairs(  # type: ignore[no-untyped-def]
    rectify, x, image, width, centre, scale, shift, output, start, line, codes, first, down, across
):
    """Normalize, rectify and pool an image, whose channels fill whole vectors.

    Parameters
    ----------
    rectify : tuple
        Not empty for ReLU.
    x : (N * H * W * C,)
    image, width : int
        Where the image begins, and its width.
    centre, scale, shift : (C,)
    output : vector
        The pooled image begins at ``start``, its rows are ``line`` apart.
    codes : vector of uint8
        The number of the tap that is the maximum; those of the image begin at ``first``.
    down, across : int
        Size of the pooled image.
    """
    zero, size, channels = x.dtype.type(0), x.itemsize, centre.size
    step = size * channels
    for oy in range(down):
        for ox in range(across):
            upper = x.ctypes.data + size * (image + (2 * oy * width + 2 * ox) * channels)
            target = output.ctypes.data + size * (start + oy * line + ox * channels)
            code = codes.ctypes.data + first + (oy * across + ox) * channels
            for c in range(0, channels, BYTES // size):
                at = size * c
                _activate(
                    zero,
                    rectify,
                    upper + at,
                    upper + width * step + at,
                    step,
                    centre.ctypes.data + at,
                    scale.ctypes.data + at,
                    shift.ctypes.data + at,
                    target + at,
                    code + c,
                )


@intrinsic  # type: ignore[untyped-decorator]
def _spread(
    typing_context: Any, real: Any, rectify: Any, dout: Any, codes: Any, upper: Any, lower: Any,
    step: Any, centre: Any, scale: Any, shift: Any, above: Any, below: Any, totals: Any,
    products: Any,
) -> Any:  # fmt: skip
    """Bring a vector of the gradient of a pooled pixel back to its four. All are addresses."""
    rectifies = rectify.count > 0

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, _, dout, codes, upper, lower, step, *norm = arguments[:10]
        above, below, totals, products = arguments[10:]
        v = _Vectors(builder, real)
        given, code = v.load(dout), v.load(codes, v.bytes)
        norm = tuple(map(v.load, norm))
        total, product = v.load(totals), v.load(products)
        sources, targets = _taps(builder, upper, lower, step), _taps(builder, above, below, step)
        for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
            away, z = v.normalized(v.load(source), norm)
            chosen = builder.icmp_unsigned("==", code, v.tap(number))
            t = builder.select(chosen, given, v.zero)
            if rectifies:  # times the slope, so that NaN and infinity stay
                slope = builder.fcmp_ordered(">", z, v.zero)
                t = builder.fmul(t, builder.select(slope, v.constant(1.0), v.zero))
            v.store(t, target)
            total = v.add(total, t)
            product = v.add(product, v.multiply(t, away))
        v.store(total, totals)
        v.store(product, products)
        return context.get_dummy_value()

    return types.void(real, rectify, *[types.int64] * 12), generate


@outlined
def spread_pairs(  # type: ignore[no-untyped-def]
    rectify, dout, codes, first, x, image, width, centre, scale, shift, gradient, start, line,
    totals, products, down, across,
):  # fmt: skip
    """Bring the gradient of a pooled image back through pooling and ReLU.

    Parameters
    ----------
    dout, codes : vector
        Those of the pooled image begin at ``first``.
    rectify, x, image, width, centre, scale, shift, down, across
        As for `activate_pairs`.
    gradient : vector
        The image begins at ``start``, its rows are ``line`` apart.
    totals, products : (W' * C,)
        Get the sums over the rows of the gradient t, and of ``t * (x - centre)``, added.
    """
    zero, size, channels = x.dtype.type(0), x.itemsize, centre.size
    step = size * channels
    for oy in range(down):
        for ox in range(across):
            upper = x.ctypes.data + size * (image + (2 * oy * width + 2 * ox) * channels)
            above = gradient.ctypes.data + size * (start + 2 * oy * line + 2 * ox * channels)
            pixel = first + (oy * across + ox) * channels
            for c in range(0, channels, BYTES // size):
                at = size * c
                _spread(
                    zero,
                    rectify,
                    dout.ctypes.data + size * pixel + at,
                    codes.ctypes.data + pixel + c,
                    upper + at,
                    upper + width * step + at,
                    step,
                    centre.ctypes.data + at,
                    scale.ctypes.data + at,
                    shift.ctypes.data + at,
                    above + at,
                    above + size * line + at,
                    totals.ctypes.data + ox * step + at,
                    products.ctypes.data + ox * step + at,
                )
