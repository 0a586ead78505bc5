"""How far results may differ by rounding: the one place where the tests' tolerances live."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Relative and absolute tolerance of results that differ by rounding only, by name of the dtype.
#: They allow for sums of a few hundred terms in another order, and for another library's exp,
#: log and tanh. Longer computations multiply them by a factor of their own.
RTOL = {"float32": 2e-5, "float64": 1e-11}
ATOL = {"float32": 2e-6, "float64": 1e-12}


def assert_close(actual: Any, expected: Any, dtype: str, factor: float = 1.0) -> None:
    """Compare two host arrays to ``factor`` times the tolerance of ``dtype``; shapes must agree."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(
        actual, expected, rtol=factor * RTOL[dtype], atol=factor * ATOL[dtype]
    )
