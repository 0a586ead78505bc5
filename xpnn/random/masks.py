"""Masks for dropout: their thresholds, and who makes them on a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from .._checks import checked_number
from .._standard import Array
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .stream import Stream

__all__ = ["MaskMaker", "drop_threshold", "keep_scale", "mask_maker", "set_mask_maker"]

_LANE_VALUES = 1 << 16

#: Makes a flat mask on the device of an array: (stream, threshold, count, start, like) -> array.
MaskMaker: TypeAlias = Callable[["Stream", int, int, int, Array], Array]

# By library. Filled by xpnn/__init__.py: kernels lie on a higher floor than this module.
_mask_makers: dict[str, MaskMaker] = {}


def set_mask_maker(library: str, maker: MaskMaker) -> None:
    """Let the masks for arrays of a library be made on their device.

    Parameters
    ----------
    library : str
        Name of a library as `xpnn.backend` has it, such as "cupy".
    maker : callable
        ``maker(stream, threshold, count, start, like)`` returns ``count`` booleans, 1-d, on the
        device of ``like``: True where lane ``start + i`` of the stream is at least ``threshold``,
        bit for bit as `Stream.mask` has it.
    """
    _mask_makers[library] = maker


def mask_maker(library: str) -> MaskMaker | None:
    """Return who makes masks on the device of a library; None if the host does."""
    return _mask_makers.get(library)


def drop_threshold(p: float) -> int:
    """Return the threshold below which a lane drops its element: round(65536 p).

    Parameters
    ----------
    p : float, 0 <= p <= 1
        Probability of dropping. Below 2**-17 nothing is dropped, from 1 - 2**-17 on everything.

    Raises
    ------
    ConfigurationError
        If ``p`` is not a number of this range.

    Examples
    --------
    >>> drop_threshold(0.5), drop_threshold(0.3), drop_threshold(1.0)
    (32768, 19661, 65536)
    """
    return round(checked_number("mask", "p", p, low=0.0, high=1.0) * _LANE_VALUES)


def keep_scale(p: float) -> float:
    """Return what the kept elements are multiplied by, so that the mean stays as it was.

    1 / (1 - p) for the probability p that masks really have: 65536 / (65536 - round(65536 p)).

    Parameters
    ----------
    p : float, 0 <= p < 1 - 2**-17
        Probability of dropping.

    Raises
    ------
    ConfigurationError
        If ``p`` is not in [0, 1], and if it is so close to 1 (from 1 - 2**-17 on) that a mask
        keeps nothing and no factor exists.

    Examples
    --------
    >>> keep_scale(0.5)
    2.0
    >>> keep_scale(0.3)
    1.4285776566757493
    """
    kept = _LANE_VALUES - drop_threshold(p)
    if kept == 0:
        raise ConfigurationError(f"mask: p = {p!r} keeps no element, so no factor scales it")
    return _LANE_VALUES / kept
