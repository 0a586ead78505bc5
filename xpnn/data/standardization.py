"""Shift and scale of the inputs, learnt from the training part only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..errors import ConfigurationError, DataError, ShapeError
from .checks import as_host_array, check_finite, chunks

__all__ = ["Standardization"]

#: The ways to gather statistics.
PER = ("feature", "set")


class Standardization:
    """Subtract a mean and divide by a standard deviation, both learnt from training data.

    ``z = (x - mean) / std`` with ``mean = sum(x) / n`` and
    ``std = sqrt(sum((x - mean)**2) / n)`` (divisor n). A constant feature has ``std = 1``,
    so it becomes 0, and does so exactly. Images stay in their own unit: dividing by 255
    first would cancel out.

    Parameters
    ----------
    per : {"feature", "set"}
        "feature": a mean and a standard deviation of each feature (of each pixel, for
        images), over the samples. Good for tables, whose columns have units of their own.
        "set": one number each over all values. Good for images, whose pixels share a unit
        and among which some hardly ever change: those would be blown up one by one. Each
        data set of `xpnn.data.load` says in `Dataset.standardization` which suits it.

    Attributes
    ----------
    mean : numpy.ndarray or None
        float64, of the shape of one sample ("feature") or () ("set"); None before `fit`.
    std : numpy.ndarray or None
        Likewise, positive.

    Raises
    ------
    ConfigurationError
        For another value of `per`.

    Notes
    -----
    Two passes in float64 over pieces of about four million values: no copy of the data is
    made. Fit the targets of a regression with a `Standardization` of their own and undo it
    on the predictions with `inverse_transform`.

    Source: LeCun, Bottou, Orr and Mueller, "Efficient BackProp" (1998), section 4.3.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn.data import Standardization
    >>> standardization = Standardization().fit(np.array([[1.0, 7.0], [3.0, 7.0]]))
    >>> standardization.transform(np.array([[5, 7]])).tolist()
    [[3.0, 0.0]]
    """

    def __init__(self, per: str = "feature") -> None:
        if per not in PER:
            raise ConfigurationError(f"per={per!r}; expected 'feature' or 'set'")
        self.per = per
        self.mean: NDArray[np.float64] | None = None
        self.std: NDArray[np.float64] | None = None

    def __repr__(self) -> str:
        return f"Standardization(per={self.per!r})"

    def fit(self, x: ArrayLike) -> Standardization:
        """Learn mean and standard deviation from `x`, which should be the training part.

        Parameters
        ----------
        x : array_like, shape (N, ...)
            float, integer or bool; not empty.

        Returns
        -------
        Standardization
            Itself.

        Raises
        ------
        DataError
            If `x` is empty, holds NaN, infinity or no real numbers, or numbers so large
            that their sum of squares overflows float64.
        """
        array = as_host_array(x, "x")
        if array.size == 0:
            raise DataError(f"x is empty: its shape is {array.shape}")
        axis = 0 if self.per == "feature" else None
        count = array.shape[0] if self.per == "feature" else array.size
        total: Any = 0.0
        squares: Any = 0.0
        low: Any = None
        high: Any = None
        # NaN and overflow are looked for once, in the results.
        with np.errstate(over="ignore", invalid="ignore"):
            for rows in chunks(array):
                part = array[rows]
                total = total + part.sum(axis=axis, dtype=np.float64)
                least, most = part.min(axis=axis), part.max(axis=axis)
                low = least if low is None else np.minimum(low, least)
                high = most if high is None else np.maximum(high, most)
            # The mean of equal numbers is that number; their sum is rounded.
            constant = low == high
            mean = np.where(constant, np.asarray(low, dtype=np.float64), total / count)
            for rows in chunks(array):
                difference = np.subtract(array[rows], mean, dtype=np.float64)
                squares = squares + np.square(difference, out=difference).sum(axis=axis)
            std = np.sqrt(squares / count)
        if not (np.isfinite(mean).all() and np.isfinite(std).all()):
            check_finite(array, "x")
            raise DataError("x holds numbers too large to standardize: their squares overflow")
        # Below the smallest normal number the division would overflow.
        std = np.where(std < np.finfo(np.float64).tiny, 1.0, std)
        self.mean, self.std = mean, std
        return self

    def transform(self, x: ArrayLike, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return ``(x - mean) / std``, computed in float64 and cast to `dtype`.

        Parameters
        ----------
        x : array_like, shape (N, ...)
            Samples like those of `fit`; N may differ, and be 0.
        dtype : floating dtype
            Of the result.

        Returns
        -------
        numpy.ndarray
            A new array of the shape of `x`. NaN and infinity stay what they are.

        Raises
        ------
        ConfigurationError
            Before `fit`.
        ShapeError
            If a sample's shape is not the one that was fitted.
        DataError
            If `x` holds no real numbers, or a result is too large for `dtype`.
        """
        mean, std = self._fitted()

        def standardized(part: NDArray[Any]) -> NDArray[np.float64]:
            result: NDArray[np.float64] = np.subtract(part, mean, dtype=np.float64)
            return np.divide(result, std, out=result)

        return self._mapped(x, standardized, dtype)

    def inverse_transform(self, z: ArrayLike, dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """Return ``z * std + mean``, the inverse of `transform`.

        Parameters
        ----------
        z : array_like, shape (N, ...)
            Standardized samples.
        dtype : floating dtype
            Of the result.

        Returns
        -------
        numpy.ndarray
            A new array of the shape of `z`.

        Raises
        ------
        ConfigurationError, ShapeError, DataError
            As in `transform`.
        """
        mean, std = self._fitted()

        def restored(part: NDArray[Any]) -> NDArray[np.float64]:
            result: NDArray[np.float64] = np.multiply(part, std, dtype=np.float64)
            return np.add(result, mean, out=result)

        return self._mapped(z, restored, dtype)

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return copies of what was learnt, by name, for a model file.

        Returns
        -------
        dict
            "mean" and "std", float64.

        Raises
        ------
        ConfigurationError
            Before `fit`.
        """
        mean, std = self._fitted()
        return {"mean": mean.copy(), "std": std.copy()}

    @classmethod
    def from_state(cls, state: Mapping[str, ArrayLike]) -> Standardization:
        """Make a standardization from what `state` returned.

        Parameters
        ----------
        state : mapping
            "mean" and "std".

        Returns
        -------
        Standardization
            Ready to transform.

        Raises
        ------
        DataError
            If a key is missing or unknown, the shapes differ, a value is not finite, or a
            standard deviation is not positive.
        """
        if set(state) != {"mean", "std"}:
            raise DataError(f"a standardization has 'mean' and 'std'; got {sorted(state)}")
        try:
            mean = np.array(state["mean"], dtype=np.float64)
            std = np.array(state["std"], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"the state of a standardization is not numeric: {error}") from error
        if mean.shape != std.shape:
            raise DataError(f"mean has shape {mean.shape}, std has {std.shape}; expected the same")
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise DataError("mean must be finite, std finite and positive")
        standardization = cls("feature" if mean.ndim else "set")
        standardization.mean, standardization.std = mean, std
        return standardization

    def _fitted(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.mean is None or self.std is None:
            raise ConfigurationError("this standardization has learnt nothing yet: call fit first")
        return self.mean, self.std

    def _mapped(self, x: ArrayLike, function: Any, dtype: DTypeLike) -> NDArray[Any]:
        mean, _ = self._fitted()
        array = as_host_array(x, "x")
        if np.dtype(dtype).kind != "f":
            raise ConfigurationError(f"dtype={np.dtype(dtype)}; expected a floating dtype")
        if mean.ndim and array.shape[1:] != mean.shape:
            raise ShapeError(
                f"standardization was fitted on samples of shape {mean.shape}, "
                f"received {array.shape[1:]}"
            )
        result = np.empty(array.shape, dtype=dtype)
        try:
            with np.errstate(over="raise", invalid="ignore"):
                for rows in chunks(array):
                    result[rows] = function(array[rows])
        except FloatingPointError as error:
            raise DataError(
                f"x holds numbers too large: standardized, they do not fit {result.dtype}"
            ) from error
        return result
