"""What `xpnn._standard` adds to the array API standard: values, dtypes and devices."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from array_api_compat import device
from hypothesis import example, given
from hypothesis import strategies as st

from tolerances import ATOL, assert_close
from xpnn import _standard

EDGES = [0.0, -0.0, 1e-30, -1e-30, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0, 20.0, -20.0, 88.0, -88.0]
EDGES += [200.0, -200.0, math.inf, -math.inf, math.nan]


def same(array, expected, backend):
    """Compare exactly, NaN with NaN, and see to the dtype and the device."""
    assert device(array) == backend.plain.device
    host = backend.to_host(array)
    np.testing.assert_array_equal(host, np.asarray(expected, dtype=host.dtype))


# The library


def test_library_of_numpy_is_numpy_itself():
    assert _standard.array_namespace(np.ones(2), None, 1.0, np.float32(1)) is np
    with pytest.raises(TypeError):
        _standard.array_namespace(None, 1.0)


def test_library_is_that_of_all_arrays(backend):
    array = backend.asarray([1.0])
    xp = _standard.array_namespace(array, None)
    assert xp.asarray(array) is not None
    assert _standard.library_name(array) == backend.plain.name
    if backend.plain.name != "numpy":
        with pytest.raises(TypeError):
            _standard.array_namespace(array, np.ones(2))


def test_training_on_numpy_loads_few_of_its_submodules():
    """array-api-compat's copy of the namespace would load all of them, which takes 20 MB."""
    program = (
        "import sys, xpnn; n = xpnn.Sequential([xpnn.Linear(2, 2)], xpnn.MeanSquaredError(), 0.1, "
        "fuse=False); n.train([[1, 2]], [[1, 2]]); "
        "print(*({'numpy.f2py', 'numpy.testing'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


# Creation


@pytest.mark.parametrize("shape", [3, (), (0,), (2, 0, 3), (2, 3)])
@pytest.mark.parametrize(("create", "value"), [("zeros", 0), ("ones", 1)])
def test_constants_take_dtype_and_device_from_an_array(create, value, shape, backend_each_dtype):
    backend = backend_each_dtype
    like = backend.asarray([[1.5]])
    made = getattr(_standard, create)(shape, like=like)
    assert made.dtype == like.dtype
    same(made, np.full(shape, value), backend)
    whole = getattr(_standard, create)(shape, like=like, dtype=backend.xp.int32)
    assert whole.dtype == backend.xp.int32


@pytest.mark.parametrize("stop", [0, 1, 5])
def test_arange(stop, backend):
    labels = backend.asarray([7, 8])
    made = _standard.arange(stop, like=labels)
    assert made.dtype == labels.dtype
    same(made, range(stop), backend)
    assert _standard.arange(stop, like=labels, dtype=backend.xp.float32).dtype == backend.xp.float32


def host_arrays():
    plain = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    locked = plain.copy()
    locked.flags.writeable = False
    return {
        "plain": plain,
        "read-only": locked,
        "broadcast": np.broadcast_to(np.float32(2.5), (2, 3)),
        "backwards": plain[::-1, ::-1],
        "strided": np.repeat(plain, 2, axis=1)[:, ::2],
        "Fortran": np.asfortranarray(plain),
        "empty": np.zeros((0, 3), dtype=np.float32),
        "empty and locked": np.broadcast_to(np.float32(2.5), (0, 3)),
        "one number": np.asarray(2.5, dtype=np.float32),
    }


@pytest.mark.parametrize("kind", host_arrays())
def test_from_host_takes_any_memory_layout(kind, backend):
    host = host_arrays()[kind]
    before = host.copy()
    array = _standard.from_host(host, like=backend.asarray([0.0]))
    same(array, before, backend)
    assert array.dtype == backend.xp.float32
    halves = _standard.from_host(host, like=array, dtype=backend.xp.int32)
    assert halves.dtype == backend.xp.int32
    np.testing.assert_array_equal(host, before)


def test_from_host_of_a_locked_array_gives_one_of_its_own():
    """It would share memory that nobody may write to, and warn of it."""
    torch = pytest.importorskip("torch")
    host = host_arrays()["read-only"]
    array = _standard.from_host(host, like=torch.zeros(1))
    array += 1
    assert host[0, 0] == 0


# Functions of each element


def test_clip_keeps_what_is_inside(backend):
    x = np.asarray([-5.0, -1.0, 0.25, 1.0, 5.0, math.inf, -math.inf])
    same(_standard.clip(backend.asarray(x), -1.0, 1.0), np.clip(x, -1, 1), backend)
    bound = backend.asarray(np.asarray(0.5))
    same(_standard.clip(backend.asarray(x), -1.0, bound), np.clip(x, -1, 0.5), backend)


def test_clip_and_sign_of_nan(backend):
    x = backend.asarray([math.nan])
    assert np.isnan(backend.to_host(_standard.clip(x, -1.0, 1.0)))[0]
    same(_standard.sign(x), [0.0], backend)


def test_sign(backend_each_dtype):
    x = np.asarray([-math.inf, -2.0, -2e-38, -0.0, 0.0, 2e-38, 7.0, math.inf])
    made = _standard.sign(backend_each_dtype.asarray(x))
    same(made, [-1, -1, -1, 0, 0, 1, 1, 1], backend_each_dtype)
    assert made.dtype == backend_each_dtype.plain.float_dtype


def expected_sigmoid(x):
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-np.asarray(x, dtype=np.longdouble)))


def expected_softplus(x):
    with np.errstate(invalid="ignore"):
        return np.logaddexp(np.longdouble(0), np.asarray(x, dtype=np.longdouble))


def expected_erf(x):
    return np.vectorize(math.erf)(x)


FUNCTIONS = {
    "sigmoid": expected_sigmoid,
    "softplus": expected_softplus,
    "erf": expected_erf,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_agree_with_their_definition(name, backend_each_dtype):
    backend = backend_each_dtype
    x = np.concatenate([np.asarray(EDGES), np.linspace(-12, 12, 487)]).astype(backend.dtype)
    array = backend.state(x)
    made = getattr(_standard, name)(array)
    expected = FUNCTIONS[name](x.astype(np.float64)).astype(backend.dtype)
    assert made.dtype == array.dtype
    assert device(made) == backend.plain.device
    assert_close(backend.to_host(made), expected, backend.dtype)
    np.testing.assert_array_equal(backend.to_host(array), x)  # the argument has not changed


@given(st.floats(-700, 700))
def test_sigmoid_has_full_relative_precision(x):
    actual = float(_standard.sigmoid(np.asarray([x]))[0])
    assert actual == pytest.approx(float(expected_sigmoid(x)), rel=1e-15, abs=0)


@given(st.floats(-700, 1e300))
def test_softplus_has_full_relative_precision(x):
    actual = float(_standard.softplus(np.asarray([x]))[0])
    assert actual == pytest.approx(float(expected_softplus(x)), rel=1e-15, abs=0)


@given(st.floats(allow_nan=False))
@example(0.03)
@example(0.037857016014577693)  # of 600,000 numbers the one with the largest error, 3.2 units
def test_erf_is_exact_to_a_few_units_of_one(x):
    limit = 4.0 * np.finfo(np.float64).eps
    assert float(_standard.erf(np.asarray([x]))[0]) == pytest.approx(math.erf(x), abs=limit)


@given(st.floats(allow_nan=False, width=32))
def test_erf_in_single_precision(x):
    actual = _standard.erf(np.asarray([x], dtype=np.float32))
    assert actual.dtype == np.float32
    assert float(actual[0]) == pytest.approx(math.erf(x), abs=4e-7)


def test_erf_is_odd_and_has_its_limits(backend):
    x = backend.asarray(np.asarray([0.3, 1.0, 2.5]))
    negative = backend.to_host(_standard.erf(-x))
    np.testing.assert_array_equal(negative, -backend.to_host(_standard.erf(x)))
    ends = _standard.erf(backend.asarray([math.inf, -math.inf]))
    np.testing.assert_array_equal(backend.to_host(ends), [1.0, -1.0])


# Slices of vectors


PARTS = [
    [],
    [slice(0, 6)],
    [slice(0, 2)],
    [slice(2, 3), slice(3, 6)],
    [slice(1, 2), slice(4, 4), slice(5, 6)],
]


@pytest.mark.parametrize("slices", PARTS, ids=str)
def test_slices_are_scaled(slices, backend):
    expected = np.arange(1.0, 7.0)
    for part in slices:
        expected[part] *= -0.5
    vector = backend.state(np.arange(1.0, 7.0))
    same(_standard.scale_slices(vector, slices, -0.5), expected, backend)


@pytest.mark.parametrize("slices", PARTS, ids=str)
def test_slices_are_added_to(slices, backend):
    expected, addends = np.arange(6.0), []
    for number, part in enumerate(slices):
        addend = 10.0 * number + np.arange(part.stop - part.start)
        expected[part] += addend
        addends.append(backend.asarray(addend))
    vector = backend.state(np.arange(6.0))
    same(_standard.add_to_slices(vector, slices, addends), expected, backend)


def test_slices_change_in_place_where_the_library_can(backend):
    vector = backend.state(np.ones(4))
    result = _standard.scale_slices(vector, [slice(1, 3)], 2.0)
    expected = [1, 1, 1, 1] if _standard.is_immutable(vector) else [1, 2, 2, 1]
    np.testing.assert_array_equal(backend.to_host(vector), expected)
    np.testing.assert_array_equal(backend.to_host(result), [1, 2, 2, 1])


def test_only_jax_is_immutable(backend):
    assert _standard.is_immutable(backend.asarray([1.0])) is (backend.library == "jax")


def test_tolerances_cover_both_precisions():
    assert ATOL.keys() == {"float32", "float64"}
