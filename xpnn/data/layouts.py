"""How the axes of samples are laid out: rows, images or sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigurationError, ShapeError, unknown

__all__ = ["LAYOUTS", "arrange", "check_layout"]

#: What a layer may want.
LAYOUTS = ("flat", "images", "sequences")

#: Channels of images: grey, grey with opacity, colours, colours with opacity.
_CHANNELS = (1, 2, 3, 4)


def check_layout(layout: str) -> str:
    """Return the name of a layout.

    Raises
    ------
    ConfigurationError
        If it is none.
    """
    if layout not in LAYOUTS:
        raise ConfigurationError(unknown("layout", layout, LAYOUTS))
    return layout


def arrange(x: Any, layout: str, shape: Sequence[int] | None = None) -> NDArray[Any]:
    """Give samples the axes that a network wants.

    ============= ================================ ===============================================
    layout        for                              what becomes of samples
    ============= ================================ ===============================================
    "flat"        `Linear`                         any (N, ...): (N, D)
    "images"      `Conv2d`, pooling, `BatchNorm2d` (N, H, W): (N, 1, H, W); (N, C, H, W) stays;
                                                   (N, H, W, C) with 1 to 4 channels:
                                                   (N, C, H, W)
    "sequences"   `LSTM`, `GRU`, `RNN`             (N, T, D) stays, so the rows of an image (N, H,
                                                   W) are its steps; (N, C, H, W): (N, H, C W)
    ============= ================================ ===============================================

    Parameters
    ----------
    x : array_like, (N, ...)
        Samples on the host, of any dtype.
    layout : {"flat", "images", "sequences"}
        What is wanted.
    shape : sequence of int, optional
        Shape of a sample, for those that are stored as rows: (8, 8) for the 64 columns of digits.
        Without effect on others.

    Returns
    -------
    numpy.ndarray
        A view where that is possible.

    Raises
    ------
    ConfigurationError
        For an unknown layout.
    ShapeError
        If the samples cannot have this layout.

    Examples
    --------
    >>> import numpy as np
    >>> arrange(np.zeros((5, 28, 28)), "images").shape
    (5, 1, 28, 28)
    >>> arrange(np.zeros((5, 32, 30, 3)), "images").shape
    (5, 3, 32, 30)
    >>> arrange(np.zeros((5, 64)), "sequences", shape=(8, 8)).shape
    (5, 8, 8)
    """
    check_layout(layout)
    array: NDArray[Any] = np.asarray(x)
    if array.ndim == 0:
        raise ShapeError(f"layout {layout!r}: expected one row per sample, got a single number")
    if layout == "flat":
        return array.reshape(len(array), math.prod(array.shape[1:]))
    if array.ndim == 2 and shape is not None and array.shape[1] == math.prod(shape):
        array = array.reshape(len(array), *shape)
    if array.ndim == 3:
        return array[:, None] if layout == "images" else array
    if array.ndim == 4:
        if array.shape[1] not in _CHANNELS and array.shape[3] in _CHANNELS:
            array = np.moveaxis(array, 3, 1)
        if layout == "images":
            return np.ascontiguousarray(array)
        n, c, h, w = array.shape
        return array.transpose(0, 2, 1, 3).reshape(n, h, c * w)
    wanted = {"images": "(H, W), (C, H, W) or (H, W, C)", "sequences": "(T, D)"}[layout]
    raise ShapeError(
        f"layout {layout!r}: expected samples of shape {wanted}, got {array.shape[1:]}"
    )
