"""Checks of host data, standardization, splitting, and what a Dataset demands."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import xpnn.data
from xpnn.data import Dataset, Standardization, check_finite, check_pair, split
from xpnn.data import checks as checks_module
from xpnn.errors import ConfigurationError, DataError, ShapeError
from xpnn.random import Stream


@pytest.fixture(params=[1, 7, 1 << 22])
def chunk_elements(request, monkeypatch):
    """Passes over data in pieces of one row, of a few values, and in one piece."""
    monkeypatch.setattr(checks_module, "CHUNK_ELEMENTS", request.param)
    return request.param


class TestCheckFinite:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    @pytest.mark.usefixtures("chunk_elements")
    def test_names_row_and_column_of_the_first(self, bad, dtype):
        x = np.zeros((9, 5), dtype=dtype)
        x[6, 3] = x[7, 0] = bad
        message = f"samples has {bad} at row 6, column 3 (2 of 45 values are not finite)"
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            check_finite(x, "samples")

    @pytest.mark.usefixtures("chunk_elements")
    @pytest.mark.parametrize(
        ("shape", "index", "place"),
        [
            ((4,), (2,), "at row 2 (1 of 4 values is not finite)"),
            ((4, 2, 3), (3, 1, 0), "at row 3, position (1, 0)"),
            ((4, 2, 3, 2), (1, 0, 2, 1), "at row 1, position (0, 2, 1)"),
        ],
    )
    def test_names_the_place_at_any_rank(self, shape, index, place):
        x = np.ones(shape)
        x[index] = np.nan
        with pytest.raises(DataError, match=re.escape(place)):
            check_finite(x)

    def test_finds_it_in_an_array_that_is_not_contiguous(self):
        x = np.zeros((5, 8))
        x[2, 6] = np.inf
        with pytest.raises(DataError, match="row 3, column 2"):
            check_finite(x.T[::2], "x")

    @pytest.mark.parametrize("dtype", ["float32", "int8", "uint64", "bool"])
    def test_passes_what_is_finite(self, dtype):
        check_finite(np.ones((3, 2), dtype=dtype))
        check_finite(np.ones((0, 2), dtype=dtype))
        check_finite([[1, 2], [3, 4]])


class TestCheckPair:
    @pytest.mark.parametrize(
        "dtype", ["float16", "float32", "float64", "int8", "int64", "uint8", "uint64", "bool"]
    )
    def test_passes_real_numbers_without_a_copy(self, dtype):
        x, y = np.ones((3, 2), dtype=dtype), np.ones(3, dtype=dtype)
        samples, targets = check_pair(x, y)
        assert samples is x
        assert targets is y

    @pytest.mark.parametrize(
        ("x", "y", "message"),
        [
            (np.ones((3, 2)), np.ones(2), "x has 3 rows, y has 2"),
            (np.ones((0, 2)), np.ones(0), "x is empty: its shape is (0, 2)"),
            (np.ones((2, 0)), np.ones(2), "x is empty: its shape is (2, 0)"),
            (np.ones((2, 2)), np.ones((2, 0)), "y is empty"),
            (1.0, np.ones(1), "x is a single number"),
            (np.ones((2, 2), dtype=complex), np.ones(2), "x has dtype complex128"),
            (np.array([[1, None]]), np.ones(1), "x has dtype object"),
            (np.ones(2), np.array(["a", "b"]), "y has dtype <U1"),
            (np.ones(1), np.array(["2020-01-01"], dtype="M8[D]"), "y has dtype datetime64"),
            (np.zeros(2, dtype="i4,f4"), np.ones(2), "x has dtype"),
            ([[1, 2], [3]], [0, 1], "x is not a regular array"),
            (np.ma.masked_equal([1, 2], 2), np.ones(2), "x has masked values"),
        ],
    )
    def test_refuses(self, x, y, message):
        with pytest.raises(DataError, match=re.escape(message)):
            check_pair(x, y)

    def test_names_what_it_was_told(self):
        with pytest.raises(DataError, match=r"^images has 2 rows, labels has 1;"):
            check_pair(np.ones((2, 3)), np.ones(1), "images", "labels")


class TestStandardization:
    X = np.array([[1.0, 10.0, 5.0], [2.0, 30.0, 5.0], [6.0, 50.0, 5.0]])

    @pytest.mark.usefixtures("chunk_elements")
    def test_values_per_feature(self):
        standardization = Standardization().fit(self.X)
        np.testing.assert_allclose(standardization.mean, [3.0, 30.0, 5.0], rtol=1e-15)
        expected = [np.sqrt((4 + 1 + 9) / 3), np.sqrt(800 / 3), 1.0]
        np.testing.assert_allclose(standardization.std, expected, rtol=1e-15)
        z = standardization.transform(self.X, dtype="float64")
        np.testing.assert_allclose(z, (self.X - [3.0, 30.0, 5.0]) / expected, rtol=1e-14)

    @pytest.mark.usefixtures("chunk_elements")
    def test_values_per_set(self):
        images = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
        standardization = Standardization("set").fit(images)
        assert standardization.mean == 11.5
        np.testing.assert_allclose(standardization.std, np.sqrt((24**2 - 1) / 12), rtol=1e-15)
        z = standardization.transform(images)
        assert z.dtype == np.float32
        np.testing.assert_allclose(z.mean(), 0.0, atol=1e-7)
        np.testing.assert_allclose(z.std(), 1.0, rtol=1e-6)

    def test_dividing_images_by_255_first_cancels_out(self):
        images = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
        fractions = images / 255.0
        first = Standardization("set").fit(images).transform(images)
        second = Standardization("set").fit(fractions).transform(fractions)
        np.testing.assert_allclose(first, second, rtol=1e-6)

    @pytest.mark.usefixtures("chunk_elements")
    @pytest.mark.parametrize("value", [0.0, 0.1, 1e9 + 0.1, 1e300, -7.3e-310])
    def test_constant_features_become_exactly_zero(self, value):
        # 0.1 thirty times sums to something else than 3.
        x = np.stack([np.full(30, value), np.arange(30.0)], axis=1)
        standardization = Standardization().fit(x)
        assert standardization.std[0] == 1.0
        assert standardization.mean[0] == value
        assert (standardization.transform(x)[:, 0] == 0.0).all()

    def test_a_spread_too_small_to_divide_by_counts_as_none(self):
        standardization = Standardization().fit(np.array([[0.0], [1e-310]]))
        assert standardization.std[0] == 1.0

    def test_large_offsets_survive_the_cast_to_float32(self):
        seconds = 1.7e9 + np.arange(100.0)[:, None]
        z = Standardization().fit(seconds).transform(seconds)
        expected = (np.arange(100.0) - 49.5) / np.sqrt((100**2 - 1) / 12)
        np.testing.assert_allclose(z[:, 0], expected, rtol=1e-6)

    def test_float16_does_not_overflow(self):
        x = np.full((1000, 1), 60000.0, dtype=np.float16)
        x[::2] = 0
        standardization = Standardization().fit(x)
        np.testing.assert_allclose(standardization.mean, [np.float64(np.float16(60000)) / 2])
        assert sorted(set(standardization.transform(x)[:, 0].tolist())) == [-1.0, 1.0]

    @pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "float32"])
    def test_any_real_dtype(self, dtype):
        x = np.array([[0], [1], [1], [0]]).astype(dtype)
        assert Standardization().fit(x).transform(x)[:, 0].tolist() == [-1.0, 1.0, 1.0, -1.0]

    def test_targets_of_a_regression(self):
        y = np.array([10.0, 20.0, 60.0])
        standardization = Standardization().fit(y)
        assert standardization.mean.shape == ()
        z = standardization.transform(y)
        np.testing.assert_allclose(standardization.inverse_transform(z), y, rtol=1e-6)

    @pytest.mark.usefixtures("chunk_elements")
    def test_inverse(self):
        standardization = Standardization().fit(self.X)
        z = standardization.transform(self.X, dtype="float64")
        back = standardization.inverse_transform(z)
        assert back.dtype == np.float64
        np.testing.assert_allclose(back, self.X, rtol=1e-14)

    def test_leaves_its_input_alone(self):
        x = self.X.copy()
        x.flags.writeable = False
        standardization = Standardization().fit(x)
        standardization.transform(x)
        standardization.inverse_transform(x)
        assert (x == self.X).all()

    def test_transform_uses_what_was_fitted_only(self):
        standardization = Standardization().fit(self.X)
        np.testing.assert_allclose(
            standardization.transform(np.array([[3.0, 30.0, 6.0]])), [[0.0, 0.0, 1.0]], atol=1e-7
        )
        assert standardization.transform(np.empty((0, 3))).shape == (0, 3)

    def test_state_round_trip(self):
        for per in ("feature", "set"):
            first = Standardization(per).fit(self.X)
            state = first.state()
            second = Standardization.from_state(state)
            assert second.per == per
            assert (second.transform(self.X) == first.transform(self.X)).all()
            state["mean"][...] = 99.0  # a copy
            assert (second.transform(self.X) == first.transform(self.X)).all()

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            ({"mean": [0.0]}, "'mean' and 'std'"),
            ({"mean": [0.0], "std": [1.0], "scale": [1.0]}, "'mean' and 'std'"),
            ({"mean": [0.0, 1.0], "std": [1.0]}, "expected the same"),
            ({"mean": [np.nan], "std": [1.0]}, "finite"),
            ({"mean": [0.0], "std": [0.0]}, "positive"),
            ({"mean": [0.0], "std": [-1.0]}, "positive"),
            ({"mean": ["a"], "std": [1.0]}, "not numeric"),
            ({"mean": [1j], "std": [1.0]}, "not numeric"),
        ],
    )
    def test_from_state_refuses(self, state, message):
        with pytest.raises(DataError, match=message):
            Standardization.from_state(state)

    def test_refusals(self):
        with pytest.raises(ConfigurationError, match="per='column'"):
            Standardization("column")
        with pytest.raises(ConfigurationError, match="call fit first"):
            Standardization().transform(self.X)
        with pytest.raises(ConfigurationError, match="call fit first"):
            Standardization().state()
        with pytest.raises(ConfigurationError, match="dtype=int64"):
            Standardization().fit(self.X).transform(self.X, dtype="int64")
        with pytest.raises(DataError, match="x is empty"):
            Standardization().fit(np.empty((0, 3)))
        with pytest.raises(DataError, match="x has dtype complex128"):
            Standardization().fit(self.X * 1j)
        with pytest.raises(ShapeError, match=re.escape("(3,), received (2,)")):
            Standardization().fit(self.X).transform(self.X[:, :2])

    @pytest.mark.usefixtures("chunk_elements")
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_fit_says_where_a_number_is_not_finite(self, bad):
        x = self.X.copy()
        x[1, 2] = bad
        for per in ("feature", "set"):
            with pytest.raises(DataError, match="row 1, column 2"):
                Standardization(per).fit(x)

    def test_overflow_is_an_error(self):
        with pytest.raises(DataError, match="squares overflow"):
            Standardization().fit(np.array([[1e200], [-1e200]]))
        with pytest.raises(DataError, match="squares overflow"):
            Standardization().fit(np.array([[1.7e308], [1.6e308]]))
        standardization = Standardization().fit(self.X)
        with pytest.raises(DataError, match="do not fit float32"):
            standardization.transform(np.array([[1e60, 0.0, 0.0]]))

    @settings(max_examples=60, deadline=None)
    @given(
        hnp.arrays(
            "float64",
            hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6),
            elements=st.floats(-1e6, 1e6, width=32),
        )
    )
    def test_agrees_with_numpy(self, x):
        standardization = Standardization().fit(x)
        np.testing.assert_allclose(standardization.mean, x.mean(axis=0), rtol=1e-12, atol=1e-9)
        varied = x.min(axis=0) != x.max(axis=0)
        std = np.where(varied & (x.std(axis=0) > 0), x.std(axis=0), 1.0)
        np.testing.assert_allclose(standardization.std, std, rtol=1e-9, atol=1e-12)


class TestSplit:
    def test_cuts_all_arrays_alike_and_loses_nothing(self):
        x = np.arange(40.0).reshape(20, 2)
        y, weights = np.arange(20), np.arange(20) * 0.5
        first, second = split(x, y, weights, fraction=0.25, seed=3)
        assert (len(first[0]), len(second[0])) == (15, 5)
        for part in (first, second):
            assert (part[0][:, 0] == 2 * part[1]).all()
            assert (part[2] == 0.5 * part[1]).all()
        assert sorted([*first[1], *second[1]]) == list(range(20))

    def test_the_same_on_every_machine(self):
        _, (second,) = split(np.arange(12), fraction=0.25, seed=0)
        assert second.tolist() == Stream(0, 2**32).permutation(12)[:3].tolist()
        # Known bits: Philox with key (0, 2**32), counter (0, 0, 0, 0).
        assert second.tolist() == [7, 0, 9]

    def test_seed_or_stream(self):
        x = np.arange(50)
        same = split(x, seed=5)[1][0]
        assert (split(x, seed=Stream(5, 2**32))[1][0] == same).all()
        assert (split(x, seed=6)[1][0] != same).any()
        assert (split(x, seed=Stream(5, 2**32, call=1))[1][0] != same).any()

    @pytest.mark.parametrize("as_text", [False, True])
    def test_each_class_gives_its_share(self, as_text):
        labels = np.repeat([0, 1, 2], [60, 30, 10])
        strata = labels.astype("U") if as_text else labels
        (first,), (second,) = split(labels, fraction=0.2, seed=1, stratify=strata)
        assert np.bincount(second).tolist() == [12, 6, 2]
        assert np.bincount(first).tolist() == [48, 24, 8]
        assert (np.diff(first) < 0).any(), "the parts are in random order"

    @settings(max_examples=100, deadline=None)
    @given(
        sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6),
        fraction=st.floats(0.01, 0.99),
        seed=st.integers(0, 2**64 - 1),
    )
    def test_properties_of_stratification(self, sizes, fraction, seed):
        labels = np.repeat(np.arange(len(sizes)), sizes)
        rows = labels.size
        if max(sizes) == 1:
            with pytest.raises(DataError):
                split(labels, fraction=fraction, seed=seed, stratify=labels)
            return
        (first,), (second,) = split(labels, fraction=fraction, seed=seed, stratify=labels)
        wanted = min(max(int(np.floor(rows * fraction + 0.5)), 1), rows - 1)
        assert 1 <= second.size <= wanted
        assert sorted([*first, *second]) == sorted(labels)
        assert (np.bincount(first, minlength=len(sizes)) >= 1).all()
        taken = np.bincount(second, minlength=len(sizes))
        assert (taken <= np.array(sizes) * wanted / rows + 1).all()
        if min(sizes) * (rows - wanted) >= rows:  # no class is cut short to keep its one row
            assert second.size == wanted
            assert (np.abs(taken - np.array(sizes) * wanted / rows) < 1).all()

    def test_refusals(self):
        x = np.arange(10)
        with pytest.raises(ConfigurationError, match="at least one array"):
            split()
        for fraction in (0.0, 1.0, -0.5, float("nan")):
            with pytest.raises(
                ConfigurationError, match=re.escape("fraction must be a number in (0, 1)")
            ):
                split(x, fraction=fraction)
        with pytest.raises(DataError, match=re.escape("different lengths: [10, 9]")):
            split(x, x[1:])
        with pytest.raises(DataError, match=re.escape("different lengths: [10, 9]")):
            split(x, stratify=x[1:])
        with pytest.raises(DataError, match="one label per row"):
            split(x, stratify=x[:, None])
        with pytest.raises(DataError, match="cannot be split"):
            split(x[:1])
        with pytest.raises(DataError, match="one row only"):
            split(x, stratify=x)


class TestDataset:
    X, LABELS = np.ones((4, 3)), np.array([0, 1, 1, 0])

    def dataset(self, **changes):
        arguments = {
            "name": "test",
            "x_train": self.X,
            "y_train": self.LABELS,
            "x_test": self.X[:2],
            "y_test": self.LABELS[:2],
            "task": "classification",
            "class_names": ("no", "yes"),
        }
        return Dataset(**(arguments | changes))

    def test_what_it_says(self):
        data = self.dataset(feature_names=("a", "b", "c"))
        assert repr(data) == "<Dataset test: 4 + 2 samples of shape (3,), 2 classes>"
        assert data.class_count == 2
        values = {"y_train": np.ones(4), "y_test": np.ones(2)}
        regression = self.dataset(task="regression", class_names=None, **values)
        assert repr(regression).endswith("(3,), regression>")
        assert regression.class_count == 0

    def test_is_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            self.dataset().name = "other"

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"task": "clustering"}, ConfigurationError, "task='clustering'"),
            ({"standardization": "rows"}, ConfigurationError, "standardization='rows'"),
            ({"task": "regression"}, ConfigurationError, "no classes"),
            ({"y_train": np.array([0, 1])}, DataError, "x_train has 4 rows, y_train has 2"),
            ({"x_test": np.ones((0, 3)), "y_test": np.ones(0)}, DataError, "x_test is empty"),
            ({"x_test": np.ones((2, 4))}, ShapeError, "x_test has (4,)"),
            ({"feature_names": ("a",)}, ShapeError, "1 feature names"),
            ({"class_names": None}, DataError, "needs class_names"),
            ({"class_names": ("no",)}, DataError, "labels from 0 to 1; expected 0 to 0"),
            ({"y_test": np.array([0, -1])}, DataError, "y_test has labels from -1 to 0"),
            ({"y_test": np.array([0.0, 1.0])}, DataError, "dtype float64"),
        ],
    )
    def test_refuses(self, changes, error, message):
        with pytest.raises(error, match=re.escape(message)):
            self.dataset(**changes)


def test_import_loads_neither_heavy_packages_nor_the_readers():
    code = (
        "import sys, numpy; before = set(sys.modules); import xpnn.data; "
        "print(*set(sys.modules) - before)"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded & {"sklearn", "pooch", "pandas", "scipy", "tarfile", "zipfile", "gzip"} == set()
    assert loaded & {"xpnn.data.loading", "xpnn.data.tables", "xpnn.data.idx"} == set()


def test_what_is_public():
    assert set(xpnn.data.__all__) <= set(dir(xpnn.data))
    for name in xpnn.data.__all__:
        assert getattr(xpnn.data, name).__doc__
    with pytest.raises(AttributeError, match=r"module 'xpnn\.data' has no attribute 'loads'"):
        xpnn.data.loads  # noqa: B018
