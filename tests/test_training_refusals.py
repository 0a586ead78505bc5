"""What `fit` refuses, and in which words: before anything has changed."""

from __future__ import annotations

import numpy as np
import pytest

import xpnn
from nets import assert_same, blobs, classifier, snapshot
from xpnn import (
    BackendError,
    Callback,
    ConfigurationError,
    DataError,
    DivergenceError,
    ShapeError,
    evaluate,
    fit,
)
from xpnn import backend as open_backend

X, Y = blobs()

# Bad input: a clear error before anything has changed


BAD_ARGUMENTS = [
    ({"epochs": 0}, "epochs"),
    ({"epochs": -1}, "epochs"),
    ({"epochs": 1.5}, "epochs"),
    ({"epochs": "1"}, "epochs"),
    ({"epochs": True}, "epochs"),
    ({"batch_size": 0}, "batch_size"),
    ({"batch_size": -3}, "batch_size"),
    ({"batch_size": 2.0}, "batch_size"),
    ({"batch_size": None}, "batch_size"),
    ({"steps_per_epoch": 0}, "steps_per_epoch"),
    ({"callbacks": [print]}, r"callbacks\[0\]: expected a Callback"),
    ({"callbacks": [Callback]}, r"callbacks\[0\]: expected a Callback"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS)
def test_bad_arguments_are_refused(arguments, message):
    net = classifier()
    before = snapshot(net)
    with pytest.raises(ConfigurationError, match=message):
        fit(net, **{"data": (X, Y), "epochs": 1} | arguments)
    assert_same(snapshot(net), before)


def at(array, row, value, column=None):
    array = np.array(array, dtype=float)
    array[row if column is None else (row, column)] = value
    return array


BAD_DATA = {
    "different lengths": ((X, Y[:-1]), DataError, "x has 24 rows, y has 23"),
    "weights of another length": ((X, Y, np.ones(5)), DataError, "sample_weight has 5"),
    "no rows": ((X[:0], Y[:0]), DataError, r"empty.*\(0, 4\)"),
    "no columns": ((X[:, :0], Y), DataError, r"empty.*\(24, 0\)"),
    "wrong width": ((X[:, :3], Y), ShapeError, r"^layer 0 \(Linear\): .*\(N, 4\).*\(24, 3\)"),
    "wrong rank": ((X[:, 0], Y), ShapeError, r"^layer 0 \(Linear\)"),
    "a number": ((1.0, Y), DataError, "single number"),
    "nan": ((at(X, 5, np.nan, 2), Y), DataError, "x has nan at row 5, column 2"),
    "infinity": ((at(X, 7, -np.inf, 0), Y), DataError, "x has -inf at row 7, column 0"),
    "nan in y": ((X, at(Y, 3, np.nan)), DataError, "y has nan at row 3"),
    "nan in weights": ((X, Y, at(Y, 4, np.nan)), DataError, "sample_weight has nan at row 4"),
    "too large": ((at(X, 2, 1e300, 1), Y), DataError, "x as float32 has inf at row 2, column 1"),
    "negative weights": ((X, Y, at(Y, 4, -1.0)), DataError, "sample_weight: .* at least 0"),
    "weights of wrong rank": ((X, Y, np.ones((24, 1))), ShapeError, "weight"),
    "label too large": ((X, at(Y, 9, 3)), DataError, r"0 to 2, got 3\.0 in row 9"),
    "negative label": ((X, at(Y, 9, -1)), DataError, r"got -1\.0 in row 9"),
    "fractional label": ((X, at(Y, 9, 0.5)), DataError, r"got 0\.5 in row 9"),
    "text": ((X, Y.astype(str)), DataError, "real numbers|expected floating point"),
    "complex": ((X + 1j, Y), DataError, "real numbers|expected floating point"),
    "objects": ((X, Y.astype(object)), DataError, "real numbers|expected floating point"),
    "masked": ((np.ma.masked_greater(X, 1), Y), DataError, "masked"),
    "ragged": (([[1, 2], [3]], [0, 1]), DataError, "rows of equal length"),
    "targets of wrong width": ((X, np.zeros((24, 5))), ShapeError, r"\(24, 5\)"),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data_are_refused_before_anything_has_changed(kind, quick_library):
    data, error, message = BAD_DATA[kind]
    net = classifier(quick_library.plain)
    before = snapshot(net)
    with pytest.raises(error, match=message) as caught:
        fit(net, data, 2, 8)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    assert_same(snapshot(net), before)
    with pytest.raises(error, match=message):
        evaluate(net, data)
    assert_same(snapshot(net), before)


@pytest.mark.parametrize("kind", ["nan", "label too large", "nan in y", "fractional label"])
def test_the_row_that_is_named_is_the_users_own(kind):
    """Not that of the rows in the order in which some were set aside."""
    data, error, message = BAD_DATA[kind]
    with pytest.raises(error, match=message):
        fit(classifier(), data, 1, validation=0.5)


@pytest.mark.parametrize("kind", ["nan", "nan in y", "label too large", "complex", "wrong width"])
def test_arrays_of_the_library_are_checked_too(kind, library):
    data, error, _ = BAD_DATA[kind]
    plain = library.plain
    if kind == "complex":
        with plain.scope():
            x = plain.xp.ones((24, 4), dtype=plain.xp.complex64, device=plain.device)
        data = (x, Y)
    net = classifier(plain)
    before = snapshot(net)
    own = tuple(value if plain.owns(value) else plain.asarray(value) for value in data)
    with pytest.raises(error):
        fit(net, own, 1, 8)
    assert_same(snapshot(net), before)


def test_arrays_of_another_library_are_refused(library):
    pytest.importorskip("array_api_strict")
    device = "device2" if library.name.endswith("device1") else "device1"
    foreign = open_backend("array_api_strict", device)
    net = classifier(library.plain)
    for data in ((foreign.asarray(X), Y), (X, foreign.asarray(Y))):
        with pytest.raises(BackendError, match="got an array of array_api_strict on"):
            fit(net, data, 1)


def test_the_check_for_what_is_not_finite_can_be_turned_off(library):
    net = classifier(library.plain)
    before = snapshot(net)
    for data in ((at(X, 5, np.nan, 2), Y), [(at(X, 5, np.nan, 2), Y)]):
        with pytest.raises(DataError, match="at row 5, column 2"):
            fit(net, data, 1, 24)
        with pytest.raises(DivergenceError):
            fit(net, data, 1, 24, check_finite=False)
        after = snapshot(net)
        for name, value in before.items():
            if not name.startswith("state"):
                np.testing.assert_array_equal(after[name], value)


def test_bad_batches_of_an_iterable_name_themselves(library):
    net = classifier(library.plain)
    with pytest.raises(DataError, match=r"x of batch 1 has nan at row 5, column 2"):
        fit(net, [(X, Y), (at(X, 5, np.nan, 2), Y)], 1)
    assert net.steps == 1


# Arguments in a shape that is meant well


def test_one_metric_and_one_callback_need_no_list():
    lines = []
    progress = xpnn.Progress(lines.append)
    net = classifier(open_backend())
    history = fit(net, (X, Y), 1, metrics="accuracy", callbacks=progress)
    assert history.columns == ["epoch", "loss", "accuracy", "lr", "seconds"]
    assert len(lines) == 1
    assert list(evaluate(net, (X, Y), metrics=xpnn.metrics.Accuracy())) == ["loss", "accuracy"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((X, Y, 1), DataError, r"^data: arrays are given as a tuple, \(x, y\)$"),
        (((X, Y), Y), ConfigurationError, "^epochs: expected an integer .*, got a ndarray$"),
        (((X, Y), "3"), ConfigurationError, "^epochs: expected an integer .*, got '3'$"),
    ],
)
def test_data_that_are_no_tuple(arguments, error, message):
    with pytest.raises(error, match=message):
        fit(classifier(open_backend()), *arguments)
    if len(arguments) == 3:
        with pytest.raises(error, match=message):
            evaluate(classifier(open_backend()), *arguments[:2])


@pytest.mark.parametrize("data", [(X, Y), (X.tolist(), Y.tolist())])
def test_samples_and_targets_that_come_one_by_one(data):
    net = classifier(open_backend())
    with pytest.raises(DataError, match=r"^data: arrays are given as a tuple, \(x, y\)$"):
        fit(net, *data, epochs=3)
    with pytest.raises(TypeError, match="multiple values for argument 'epochs'"):
        fit(net, data, 3, epochs=3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"validation": 1.5}, ConfigurationError, r"^validation: .* in \(0, 1\), got 1.5"),
        ({"validation": 0.0}, ConfigurationError, r"^validation: .* in \(0, 1\), got 0.0"),
        ({"validation": 1}, DataError, "^validation data: expected a tuple of arrays"),
        ({"validation": X}, DataError, "^validation data: arrays are given as a tuple"),
        ({"validation": (X * np.inf, Y)}, DataError, "^validation x has .*inf at row 0, column 0"),
        ({"validation": (X, Y[:2])}, DataError, "^validation x has .*, validation y has 2"),
        ({"validation": (X[:0], Y[:0])}, DataError, "^validation x is empty: its shape"),
        ({"callbacks": xpnn.EarlyStopping}, ConfigurationError, "^callbacks: expected a list"),
        ({"callbacks": 3}, ConfigurationError, "^callbacks: expected a list of Callback, got 3"),
        ({"metrics": 3}, ConfigurationError, "^metrics: expected a list of names or Metric, got 3"),
    ],
)
def test_the_other_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        fit(classifier(open_backend()), (X, Y), 1, **arguments)


def test_data_without_rows_are_called_by_no_wrong_name():
    with pytest.raises(DataError, match=r"^x is empty: its shape"):
        evaluate(classifier(open_backend()), (X[:0], Y[:0]))
