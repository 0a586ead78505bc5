"""Targets and weights as losses and metrics share them: checks on the host, casts on the device."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from .._standard import Array, array_namespace, device, is_immutable
from ..errors import ConfigurationError, DataError, ShapeError

__all__ = [
    "Constant",
    "aligned_target",
    "check_real",
    "check_target_shape",
    "checked_index",
    "checked_labels",
    "checked_weight",
    "class_labels",
    "reciprocal",
]


class Constant:
    """Numbers of a setting, moved to where they are needed once and kept there."""

    def __init__(self, numbers: tuple[float, ...]) -> None:
        self.numbers = numbers
        self._array: Array | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the array out: a copy may be used on another device, and makes one of its own."""
        return {"numbers": self.numbers, "_array": None}

    def like(self, array: Array) -> Array:
        """Return the numbers as a 1-d array of the library, device and dtype of ``array``."""
        held = self._array
        if (
            held is None
            or type(held) is not type(array)
            or held.dtype != array.dtype
            or device(held) != device(array)
        ):
            xp = array_namespace(array)
            held = xp.asarray(list(self.numbers), dtype=array.dtype, device=device(array))
            if not is_immutable(array):  # on JAX it may be the stand-in of one trace
                self._array = held
        return held


def reciprocal(total: Array) -> Array:
    """1 / total, or 1 where the total is 0; NaN stays."""
    xp = array_namespace(total)
    return 1.0 / xp.where(total == 0, 1.0, total)


def class_labels(target: Array, classes: int) -> tuple[Array, Array]:
    """Read labels on the device.

    Parameters
    ----------
    target : array, (N,) or (N, 1)
        Labels of any dtype.
    classes : int
        How many classes there are.

    Returns
    -------
    labels : array, (N,)
        Of the dtype that the library indexes with.
    valid : array, (N,), bool
        Which of them are whole numbers from 0 to ``classes - 1``.
    """
    xp = array_namespace(target)
    given = xp.reshape(target, (-1,))
    index_dtype = xp.__array_namespace_info__().default_dtypes(device=device(given))["indexing"]
    if not xp.isdtype(given.dtype, "real floating"):
        labels = given if given.dtype == index_dtype else xp.astype(given, index_dtype)
        return labels, labels % classes == labels
    # NaN and what no integer can hold have no defined cast.
    tame = xp.where(xp.abs(given) < 2.0**31, given, -0.5)
    labels = xp.astype(tame, index_dtype)
    whole = xp.astype(labels, given.dtype) == tame
    return labels, xp.logical_and(whole, labels % classes == labels)


def aligned_target(owner: str, input: Array, target: Array) -> Array:
    """Give a target the shape and dtype of the output that it is compared with.

    Raises
    ------
    ShapeError
        If the shapes differ, unless the target is (N,) and the output (N, 1).
    """
    shape = tuple(input.shape)
    _check_aligned(owner, shape, tuple(target.shape))
    xp = array_namespace(input)
    if target.dtype != input.dtype:
        target = xp.astype(target, input.dtype)
    return target if tuple(target.shape) == shape else xp.reshape(target, shape)


def checked_weight(owner: str, input: Array, sample_weight: Array) -> Array:
    """Give weights of samples the dtype of the output.

    Raises
    ------
    ShapeError
        If there is not one weight for each sample.
    """
    expected = (input.shape[0],)
    if tuple(sample_weight.shape) != expected:
        raise ShapeError(
            f"{owner}: expected sample weights of shape {expected}, "
            f"got {tuple(sample_weight.shape)}"
        )
    if sample_weight.dtype != input.dtype:
        return array_namespace(input).astype(sample_weight, input.dtype)
    return sample_weight


def check_real(owner: str, target: Any) -> None:
    """Refuse complex numbers, text and objects in a NumPy array.

    Raises
    ------
    DataError
        If the dtype is not one of real numbers.
    """
    if target.dtype.kind not in "biuf":
        raise DataError(f"{owner}: expected targets that are real numbers, got {target.dtype}")


def check_target_shape(
    owner: str, target: Any, output_shape: tuple[int | None, ...] | None
) -> None:
    """Compare the shape of a NumPy array with that of the output, the batch axis aside.

    Raises
    ------
    ShapeError
        If the shapes differ, unless the target is (N,) and the output (N, 1).
    """
    if target.ndim == 0:
        raise ShapeError(f"{owner}: expected a target for each sample, got a single number")
    if output_shape is not None:
        _check_aligned(owner, (target.shape[0], *output_shape[1:]), target.shape)


def checked_index(owner: str, ignore_index: object) -> int | None:
    """Return the label that does not count, as an int.

    Raises
    ------
    ConfigurationError
        If it is neither an integer nor None.
    """
    if ignore_index is None:
        return None
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, Integral):
        raise ConfigurationError(
            f"{owner}: ignore_index must be an integer or None, got {ignore_index!r}"
        )
    return int(ignore_index)


def checked_labels(owner: str, target: Any, classes: int | None, ignore_index: int | None) -> Any:
    """Read labels on the host.

    Parameters
    ----------
    owner : str
        Who asks, for the message.
    target : numpy.ndarray, (N,), (N, 1) or (N, T)
        Real numbers.
    classes : int or None
        How many classes there are, if that is known.
    ignore_index : int or None
        A label that is allowed although it is no class.

    Returns
    -------
    numpy.ndarray, (N,) or (N T,), int64
        The labels.

    Raises
    ------
    DataError
        If one is fractional, negative, too large or not a number.
    """
    xp = array_namespace(target)
    labels = target.reshape(-1)
    good = labels >= 0
    if labels.dtype.kind == "f":
        good &= labels == xp.floor(labels)
        good &= xp.isfinite(labels)
    if classes is not None:
        good &= labels < classes
    if ignore_index is not None:
        good |= labels == ignore_index
    if not good.all():
        row = int(good.argmin())
        place = f"row {row}"
        if target.ndim == 2 and target.shape[1] > 1:
            place = f"row {row // target.shape[1]}, step {row % target.shape[1]}"
        largest = "" if classes is None else f" to {classes - 1}"
        raise DataError(
            f"{owner}: expected labels that are whole numbers from 0{largest}, "
            f"got {labels[row]} in {place}"
        )
    return labels.astype(xp.int64)


def _check_aligned(owner: str, output: tuple[int | None, ...], target: tuple[int, ...]) -> None:
    if not output:
        raise ShapeError(f"{owner}: expected an output with a batch axis, got a single number")
    if target == output or (len(output) == 2 and (*target, 1) == output):
        return
    raise ShapeError(
        f"{owner}: expected targets of the output's shape {output}, got shape {target}"
    )
