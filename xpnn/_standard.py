"""What the array API standard lacks, written in the standard.

Every function takes the array library from its arguments, keeps their dtype and device, changes
none of them and never waits for the device. The creation functions take the place of a device
argument from ``like``, because CuPy ignores that argument (it allocates on the current device).
"""

from __future__ import annotations

import contextlib
import math
import operator
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import array_api_compat
from array_api_compat import device, is_cupy_array, is_jax_array, is_numpy_array, is_torch_array

__all__ = [
    "CACHE_LINE",
    "Array",
    "add_to_slices",
    "arange",
    "array_namespace",
    "clip",
    "device",
    "device_scope",
    "dtype_name",
    "erf",
    "from_host",
    "full",
    "is_immutable",
    "is_synchronous",
    "library_name",
    "norm_scale",
    "ones",
    "scale_slices",
    "segment_sum",
    "sigmoid",
    "sign",
    "softplus",
    "type_name",
    "vector_of_zeros",
    "zeros",
]

#: An array of any library that keeps the standard. The standard has no common base class.
Array: TypeAlias = Any

_SCALARS = (bool, int, float, complex)

#: Bytes that a processor brings from memory at once.
CACHE_LINE = 64


def array_namespace(*arrays: Any) -> Any:
    """Return the library of arrays, in the form that keeps the standard.

    That is NumPy itself, which does so since version 2. The copy of it that array-api-compat makes
    loads all of its submodules: 20 MB, and more time than importing NumPy takes.

    Raises
    ------
    TypeError
        If there is no array, or they are of several libraries.
    """
    there = [array for array in arrays if array is not None and type(array) not in _SCALARS]
    if there and all(map(is_numpy_array, there)):
        return sys.modules["numpy"]
    return array_api_compat.array_namespace(*arrays)


def library_name(array: Array) -> str:
    """Name the library of an array, as `xpnn.backend` calls it: "numpy", "cupy", "torch", ..."""
    name: str = array_namespace(array).__name__.removeprefix("array_api_compat.")
    return name.partition(".")[0]


def device_scope(like: Array) -> AbstractContextManager[Any]:
    """Make the device of ``like`` the current one, on the one library that has a current one."""
    return device(like) if is_cupy_array(like) else contextlib.nullcontext()


def is_immutable(array: Array) -> bool:
    """Tell whether the library of ``array`` has no assignment to elements (JAX)."""
    return bool(is_jax_array(array))


def is_synchronous(array: Array) -> bool:
    """Tell whether the values of ``array`` are there already, so that a look costs nothing."""
    return library_name(array) in ("numpy", "array_api_strict") or (
        is_torch_array(array) and bool(array.device.type == "cpu")
    )


def dtype_name(array: Array) -> str:
    """Return the name of an array's type as NumPy has it, such as "float32"."""
    return type_name(array.dtype)


def type_name(dtype: Any) -> str:
    """Return the name of a type of any library as NumPy has it; of a name, that name."""
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    return str(name).rsplit(".", 1)[-1]


def zeros(shape: int | tuple[int, ...], like: Array, dtype: Any = None) -> Array:
    """Zeros on the device of ``like``, with its dtype unless another is given."""
    xp = array_namespace(like)
    with device_scope(like):
        return xp.zeros(shape, dtype=dtype or like.dtype, device=device(like))


def vector_of_zeros(size: int, like: Array) -> Array:
    """Zeros with one axis, for long loops over them; otherwise like `zeros`.

    On NumPy they begin at a cache line, and lie in large pages where the system has some for those
    who ask. `numpy.zeros` does not ask, and an update of millions of parameters then takes nearly
    twice the time.
    """
    if library_name(like) != "numpy":
        return zeros((size,), like=like)
    more = CACHE_LINE // like.itemsize
    memory = full(size + more, 0.0, like=like)
    start = -memory.ctypes.data % CACHE_LINE // like.itemsize
    return memory[start : start + size]


def ones(shape: int | tuple[int, ...], like: Array, dtype: Any = None) -> Array:
    """Ones on the device of ``like``, with its dtype unless another is given."""
    xp = array_namespace(like)
    with device_scope(like):
        return xp.ones(shape, dtype=dtype or like.dtype, device=device(like))


def full(shape: int | tuple[int, ...], value: float, like: Array, dtype: Any = None) -> Array:
    """Arrays of one value on the device of ``like``, with its dtype unless another is given."""
    xp = array_namespace(like)
    with device_scope(like):
        return xp.full(shape, value, dtype=dtype or like.dtype, device=device(like))


def arange(stop: int, like: Array, dtype: Any = None) -> Array:
    """0, 1, ..., stop - 1 on the device of ``like``, with its dtype unless another is given."""
    xp = array_namespace(like)
    with device_scope(like):
        return xp.arange(stop, dtype=dtype or like.dtype, device=device(like))


def from_host(array: Any, like: Array, dtype: Any = None) -> Array:
    """Bring a NumPy array to the library and device of ``like``, as ``dtype`` if one is given."""
    # torch warns of arrays that it cannot write to, and takes none that run backwards.
    if is_torch_array(like) and (not array.flags.writeable or min(array.strides, default=0) < 0):
        array = array.copy()
    return array_namespace(like).asarray(array, dtype=dtype, device=device(like))


def clip(x: Array, low: float | Array, high: float | Array) -> Array:
    """Limit ``x`` to [low, high]; unlike ``xp.clip`` it does not synchronise on CuPy."""
    xp = array_namespace(x)
    return xp.minimum(xp.maximum(x, low), high)


def sign(x: Array) -> Array:
    """-1, 0 or 1 by the sign of ``x``, 0 for NaN; unlike ``xp.sign`` no synchronisation on CuPy."""
    xp = array_namespace(x)
    return xp.astype(x > 0, x.dtype) - xp.astype(x < 0, x.dtype)


def segment_sum(rows: Array, ids: Array, count: int) -> Array:
    """Add up the rows that have the same id: (n, d) and integers (n,) give (count, d).

    The sum of an id that does not occur is 0; rows of an id outside of 0 ... count - 1 are left
    out. The order of the additions follows from the ids alone, so the result is always the same,
    which scattered additions on a GPU are not. Takes log2(n) passes over the rows.

    Examples
    --------
    >>> import numpy as np
    >>> segment_sum(np.asarray([[1.0], [2.0], [4.0]]), np.asarray([2, 0, 2]), 3).tolist()
    [[2.0], [0.0], [5.0]]
    """
    xp = array_namespace(rows)
    n = rows.shape[0]
    if n == 0:
        return zeros((count, rows.shape[1]), like=rows)
    order = xp.argsort(ids, stable=True)
    ids = xp.take(ids, order, axis=0)
    sums = xp.take(rows, order, axis=0)
    # Each row becomes the sum of the up to 1, 2, 4, ... rows of its id that end with it.
    distance = 1
    while distance < n:
        same = xp.astype(ids[distance:] == ids[:-distance], rows.dtype)[:, None]
        sums = xp.concat([sums[:distance, :], sums[distance:, :] + same * sums[:-distance, :]])
        distance *= 2
    wanted = arange(count, like=ids)
    last = xp.maximum(xp.searchsorted(ids, wanted, side="right") - 1, 0)
    found = xp.take(ids, last, axis=0) == wanted
    return xp.astype(found, rows.dtype)[:, None] * xp.take(sums, last, axis=0)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow and with full relative precision at both ends."""
    xp = array_namespace(x)
    z = xp.exp(-xp.abs(x))
    # The numerator is 1 from 0 on, else z. On NumPy `where` takes five times as long.
    return xp.maximum(z, xp.astype(x >= 0, x.dtype)) / (1.0 + z)


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    xp = array_namespace(x)
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


# erfc(x) = t exp(-x^2) sum_k c_k T_k(2 t - 1) for x >= 0, with t = 3 / (3 + x). The c_k are the
# Chebyshev coefficients of exp(x^2) erfc(x) / t, computed with 50 digits. The series falls by a
# factor of 5 a term: 12 terms reach float32 and 24 terms float64.
_ERFC_COEFFICIENTS = (
    0.4711460746602906,
    0.37715894969156577,
    0.11803603344749546,
    0.028362346699695153,
    0.004871757757605546,
    0.00045985238787654427,
    -2.143022238105315e-05,
    -1.301447369924135e-05,
    -8.809283582853514e-07,
    2.7464800479702846e-07,
    4.415991899223785e-08,
    -6.398408385575483e-09,
    -1.6768357212484645e-09,
    1.9473354700890025e-10,
    6.247441303469389e-11,
    -8.124557552244496e-12,
    -2.330314613222566e-12,
    4.191038539225333e-13,
    8.19333526881303e-14,
    -2.3352472107929263e-14,
    -2.2442585649165363e-15,
    1.2811435298050507e-15,
    1.1054582965396302e-18,
    -6.44579513564904e-17,
)


def erf(x: Array) -> Array:
    """Error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to ``x``.

    The absolute error is a few units in the last place of 1, in float32 and in float64.

    Examples
    --------
    >>> import numpy as np
    >>> np.round(erf(np.asarray([-1.0, 0.0, 0.5])), 12).tolist()
    [-0.84270079295, 0.0, 0.520499877813]
    """
    xp = array_namespace(x)
    terms = 12 if x.dtype == xp.float32 else len(_ERFC_COEFFICIENTS)
    magnitude = xp.minimum(xp.abs(x), 30.0)  # from there on erf is 1, and squares may overflow
    t = 3.0 / (3.0 + magnitude)
    # Clenshaw's recurrence.
    u = 4.0 * t - 2.0
    last, before = 0.0 * u + _ERFC_COEFFICIENTS[terms - 1], 0.0 * u
    for coefficient in _ERFC_COEFFICIENTS[terms - 2 : 0 : -1]:
        following = u * last
        following -= before
        following += coefficient
        last, before = following, last
    series = 0.5 * u * last - before + _ERFC_COEFFICIENTS[0]
    complement = t * xp.exp(-magnitude * magnitude) * series
    return xp.copysign(1.0 - complement, x)


def norm_scale(x: Array) -> float:
    """Return a power of two that makes the squares of all numbers of a floating type small enough.

    So small that two to the power of 32 of them can be added; of float32 it is 2**-80. What is lost
    below is nothing beside numbers whose squares are too large without it.
    """
    xp = array_namespace(x)
    bits = round(math.log2(float(xp.finfo(x.dtype).max)))
    return float(2.0 ** (-5 * bits // 8))


def scale_slices(vector: Array, slices: Sequence[slice], factor: float | Array) -> Array:
    """Multiply disjoint, ascending slices of a vector that the caller owns, and return the vector.

    In place where the library can, so use the result and forget the argument.
    """
    return _edit_slices(vector, slices, [factor] * len(slices), operator.imul)


def add_to_slices(vector: Array, slices: Sequence[slice], addends: Sequence[Array]) -> Array:
    """Add to disjoint, ascending slices of a vector that the caller owns, and return the vector.

    In place where the library can, so use the result and forget the argument.
    """
    return _edit_slices(vector, slices, addends, operator.iadd)


def _edit_slices(
    vector: Array,
    slices: Sequence[slice],
    operands: Sequence[Any],
    operation: Callable[[Array, Any], Array],
) -> Array:
    if not is_immutable(vector):
        for part, operand in zip(slices, operands, strict=True):
            operation(vector[part], operand)  # a view: the vector itself changes
        return vector
    pieces, end = [], 0
    for part, operand in zip(slices, operands, strict=True):
        pieces += [vector[end : part.start], operation(vector[part], operand)]
        end = part.stop
    return array_namespace(vector).concat([*pieces, vector[end:]])
