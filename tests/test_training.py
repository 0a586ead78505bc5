"""The loop: `fit`, `evaluate` and `predict` on all kinds of data, good and bad."""

from __future__ import annotations

import copy
import gc
import itertools
import math
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpnn
from conftest import PRESENT
from nets import assert_same, blobs, classifier, snapshot, values
from tolerances import RTOL, assert_close
from xpnn import (
    L2,
    SGD,
    BackendError,
    BatchNorm,
    BinaryCrossEntropy,
    Callback,
    ConfigurationError,
    Cosine,
    DataError,
    DivergenceError,
    Layer,
    Linear,
    LinearWarmup,
    Loss,
    MeanSquaredError,
    ReduceOnPlateau,
    ReLU,
    Sequential,
    ShapeError,
    SoftmaxCrossEntropy,
    Tanh,
    evaluate,
    fit,
    predict,
)
from xpnn import backend as open_backend
from xpnn.backend import Backend, to_host
from xpnn.random import Stream

ROOT = Path(__file__).parents[1]
X, Y = blobs()


def regression(rows=20, outputs=1):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((rows, 3))
    return x, np.tanh(x @ rng.standard_normal((3, outputs))) + 0.1 * rng.standard_normal(
        (rows, outputs)
    )


def regressor(backend, outputs=1, optimizer=None, **more):
    return Sequential(
        [Linear(3, 6), Tanh(), Linear(6, outputs)],
        MeanSquaredError(),
        optimizer=optimizer or SGD(0.1, momentum=0.5),
        backend=backend,
        seed=0,
        **more,
    )


class Recorder(Loss):
    """A loss that notes which targets it is shown, batch by batch."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, input, target):
        self.batches.append(to_host(target).tolist())
        self.cache["zero"] = 0 * input
        return (0 * input)[0, 0]

    def backward(self):
        return self.cache.pop("zero")


def recorded(backend, rows=10, epochs=1, batch_size=4, layers=(), seed=7, **more):
    """Train on targets that are the numbers of the rows, and return them batch by batch."""
    net = Sequential([Linear(2, 2), *layers], Recorder(), 0.1, backend=backend.plain, seed=seed)
    fit(net, (np.ones((rows, 2)), np.arange(rows)), epochs, batch_size, **more)
    return net.loss.batches


#: One back end of each library, where a test takes long on all of them.
ONE_OF_EACH = ("numpy", "array_api_strict-device1", "torch", "jax", "dpnp", "cupy")


def in_scope(request):
    with request.param.scope():
        yield request.param


@pytest.fixture(params=[b for b in PRESENT if b.name in ONE_OF_EACH], ids=str)
def library(request):
    """One back end of each library."""
    yield from in_scope(request)


@pytest.fixture(params=[b for b in PRESENT if b.name in ONE_OF_EACH and b.name != "jax"], ids=str)
def quick_library(request):
    """The same without JAX, which compiles each operation anew for each shape."""
    yield from in_scope(request)


# Order


def test_the_order_of_the_rows_is_that_of_the_stream_on_every_library(library):
    batches = recorded(library, rows=12, epochs=3)
    assert [len(batch) for batch in batches] == [4, 4, 4] * 3
    for epoch in range(3):
        order = list(itertools.chain(*batches[3 * epoch : 3 * epoch + 3]))
        assert order == Stream(7).at(epoch).permutation(12).tolist()
    assert batches[:3] != batches[3:6]


def test_rows_stay_in_their_order_without_shuffling(library):
    assert recorded(library, shuffle=False) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(
    ("rows", "batch_size", "sizes"),
    [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (1, 4, [1]), (4, 9, [4]), (5, 2, [2, 3])],
)
def test_a_last_batch_of_one_row_joins_the_one_before_it(rows, batch_size, sizes, quick_library):
    batches = recorded(quick_library, rows, batch_size=batch_size, layers=[BatchNorm(2)])
    assert [len(batch) for batch in batches] == sizes
    assert sorted(itertools.chain(*batches)) == list(range(rows))


def test_a_last_batch_of_one_row_is_one_without_batch_statistics():
    sizes = [len(batch) for batch in recorded(Plain, 9, batch_size=4)]
    assert sizes == [4, 4, 1]


class Plain:
    """NumPy, as the fixtures show a back end."""

    plain = open_backend()


@given(
    rows=st.integers(1, 30),
    batch_size=st.integers(1, 40),
    join=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
)
@settings(deadline=None, max_examples=50)
def test_every_row_comes_once_an_epoch(rows, batch_size, join, seed):
    layers = [BatchNorm(2)] if join else []
    batches = recorded(Plain, rows, 2, batch_size, layers, seed)
    for half in (batches[: len(batches) // 2], batches[len(batches) // 2 :]):
        assert sorted(itertools.chain(*half)) == list(range(rows))
        assert all(1 <= len(batch) <= batch_size + join for batch in half)


def test_a_second_call_goes_on_where_the_first_ended(library):
    once, twice = classifier(library.plain), classifier(library.plain)
    whole = fit(once, (X, Y), 4, 8)
    parts = [fit(twice, (X, Y), 2, 8) for _ in range(2)]
    assert_same(snapshot(twice), snapshot(once))
    assert parts[0]["epoch"] + parts[1]["epoch"] == whole["epoch"] == [1, 2, 3, 4]
    assert parts[0]["loss"] + parts[1]["loss"] == whole["loss"]


def test_fit_is_train_batch_by_batch(library):
    looped, fitted = (classifier(library.plain, regularization=L2(1e-3)) for _ in range(2))
    history = fit(fitted, (X[:20], Y[:20]), 2, 8)
    means = []
    for epoch in range(2):
        order = Stream(0).at(epoch).permutation(20)
        batches = [order[0:8], order[8:16], order[16:20]]
        losses = [float(looped.train(X[rows], Y[rows])[1]) for rows in batches]
        means.append(np.average(losses, weights=[8, 8, 4]))
        looped.epochs += 1
    assert_same(snapshot(fitted), snapshot(looped))
    np.testing.assert_allclose(history["loss"], means, rtol=1e-6)


# Kinds of data


def test_batches_may_come_from_any_iterable(library):
    batches = [(X[:8], Y[:8]), (X[8:16], Y[8:16]), (X[16:], Y[16:])]

    class Loader:
        def __iter__(self):
            return iter(batches)

    histories, results = [], []
    endless = itertools.cycle(batches)
    for data, steps in (
        (batches, None),
        (Loader(), None),
        ((batch for batch in batches * 2), 3),
        (endless, 3),
        ([list(batch) for batch in batches], None),
        ([(*batch, None) for batch in batches], None),
        ((X, Y), None),
    ):
        net = classifier(library.plain)
        histories.append(fit(net, data, 2, 8, shuffle=False, steps_per_epoch=steps)["loss"])
        results.append(values(net))
    for history, result in zip(histories[1:], results[1:], strict=True):
        np.testing.assert_allclose(history, histories[0], rtol=1e-6)
        assert_close(result, results[0], "float32")


def test_batches_may_be_arrays_of_the_library(library):
    plain = library.plain
    batches = [(plain.asarray(X[:8]), plain.asarray(Y[:8]), plain.asarray(np.ones(8)))] * 2
    net = classifier(plain)
    history = fit(net, batches, 1, validation=batches, metrics=["accuracy"])
    assert history.columns == [
        "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds",
    ]  # fmt: skip


def test_arrays_of_the_library_are_data(library):
    plain = library.plain
    own, host = classifier(plain), classifier(plain)
    data = (plain.asarray(X), plain.asarray(Y), plain.asarray(np.ones(24)))
    first = fit(own, data, 2, 8, validation=data[:2], metrics=["accuracy"])
    second = fit(host, (X, Y, np.ones(24)), 2, 8, validation=(X, Y), metrics=["accuracy"])
    assert_same(snapshot(own), snapshot(host))
    assert first["val_loss"] == second["val_loss"]
    np.testing.assert_array_equal(predict(own, data[0], 16), predict(host, X, 16))


def test_a_generator_lasts_until_it_is_exhausted():
    net = classifier()
    generator = ((X[:8], Y[:8]) for _ in range(5))
    with pytest.raises(DataError, match=r"no batch left for this epoch.*steps_per_epoch") as error:
        fit(net, generator, 4, steps_per_epoch=2)
    assert "\n" not in str(error.value)
    assert net.steps == 5
    assert net.epochs == 3


def test_a_generator_without_steps_is_good_for_one_epoch():
    net = classifier()
    assert len(fit(net, ((X[:8], Y[:8]) for _ in range(5)), 1)) == 1
    assert net.steps == 5


@pytest.mark.parametrize(
    "data",
    [
        [X, Y],
        X,
        [X.tolist(), Y.tolist()],
        [(X,)],
        [(X, Y, None, None)],
        [{"x": X, "y": Y}],
        iter([]),
        [],
        "ab",
        {"x": X, "y": Y},
        None,
        3,
        (X,),
        (X, Y, Y, Y),
        (),
    ],
    ids=lambda data: f"{type(data).__name__} of {len(data) if hasattr(data, '__len__') else '?'}",
)
def test_what_is_no_data_is_refused_in_one_line(data):
    net = classifier()
    before = snapshot(net)
    with pytest.raises(DataError, match=r"\(x, y\)|no batch left") as error:
        fit(net, data, 1)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300
    assert_same(snapshot(net), before)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "bool", ">f4"])
def test_data_are_cast_to_the_type_of_the_network(dtype, library):
    x = (X > 0).astype(dtype)
    cast, plain = classifier(library.plain), classifier(library.plain)
    fit(cast, (x, Y.astype("uint8")), 1, 8)
    fit(plain, ((X > 0).astype("float32"), Y), 1, 8)
    assert_same(snapshot(cast), snapshot(plain))


def test_read_only_data_and_views_are_data_and_are_never_modified(library):
    x, y = np.repeat(X, 2, axis=1)[::-1, ::2], Y[::-1]
    w = np.broadcast_to(1.0, 24)
    before = x.copy(), y.copy()
    for array in (x, y):
        array.flags.writeable = False
    net = classifier(library.plain)
    fit(net, (x, y, w), 2, 8, validation=(x, y), metrics=["accuracy"])
    evaluate(net, (x, y, w), 8)
    predict(net, x, 8)
    again = classifier(library.plain)
    fit(again, (before[0].copy(), before[1].copy(), np.ones(24)), 2, 8)
    assert_same(snapshot(net), snapshot(again))
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


def test_writable_data_are_never_modified(library):
    x, y, w = X.astype("float32"), Y.copy(), np.ones(24, dtype="float32")
    net = classifier(library.plain)
    fit(net, (x, y, w), 2, 8, validation=1 / 3)
    evaluate(net, (x, y, w), 8)
    result = predict(net, x, 8)
    result += 1.0
    np.testing.assert_array_equal(x, X.astype("float32"))
    np.testing.assert_array_equal(y, Y)
    np.testing.assert_array_equal(w, np.ones(24))


# Sample weights


def test_rows_of_weight_zero_are_as_good_as_absent(quick_library):
    """In one batch, as the mean is over the rows that count; their values do not matter."""
    plain = open_backend(quick_library.library, quick_library.device, "float64")
    absent = np.arange(24) % 4 == 1
    x = np.where(absent[:, None], 1e3, X)
    weight = np.where(absent, 0.0, 2.0)
    nets, histories, found = [], [], []
    for data in ((x, Y, weight), (X[~absent], Y[~absent])):
        net = Sequential(
            [Linear(4, 6), Tanh(), Linear(6, 3)],
            SoftmaxCrossEntropy(class_weight=[1.0, 2.0, 0.5]),
            0.3,
            L2(1e-3),
            backend=plain,
            seed=0,
        )
        histories.append(fit(net, data, 3, 24, validation=data, metrics=["accuracy"]))
        found.append(evaluate(net, data, 5, metrics=["accuracy", "top2"]))
        nets.append(values(net))
    np.testing.assert_allclose(nets[0], nets[1], rtol=1e-10)
    for column in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(histories[0][column], histories[1][column], rtol=1e-10)
    assert found[0] == pytest.approx(found[1], rel=1e-10)


def test_weights_that_are_all_zero(library):
    net = classifier_without_state(library)
    before = values(net)
    history = fit(net, (X, Y, np.zeros(24)), 2, 8)
    assert history["loss"] == [0.0, 0.0]
    np.testing.assert_array_equal(values(net), before)
    assert evaluate(net, (X, Y, np.zeros(24)), 8)["loss"] == 0.0


def classifier_without_state(backend, loss=None):
    return Sequential(
        [Linear(4, 6), Tanh(), Linear(6, 3)],
        loss or SoftmaxCrossEntropy(),
        0.3,
        backend=backend.plain,
        seed=0,
    )


# Evaluation


LOSSES = {
    "plain": SoftmaxCrossEntropy(),
    "class weights": SoftmaxCrossEntropy(class_weight=[0.2, 1.0, 5.0]),
    "smoothing": SoftmaxCrossEntropy(class_weight=[0.2, 1.0, 5.0], label_smoothing=0.1),
    "ignored": SoftmaxCrossEntropy(ignore_index=1),
    "all of it": SoftmaxCrossEntropy([0.2, 1.0, 5.0], 0.1, ignore_index=1),
}


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weighted"])
@pytest.mark.parametrize("name", LOSSES)
def test_evaluation_does_not_depend_on_the_batch_size(name, weighted, quick_library):
    net = classifier_without_state(quick_library, copy.deepcopy(LOSSES[name]))
    # Sorted by class, so that batches differ in their weights.
    order = np.argsort(Y, kind="stable")
    data = (X[order], Y[order], np.linspace(0, 3, 24)) if weighted else (X[order], Y[order])
    expected = evaluate(net, data, 24)
    for batch_size in (1, 7, 23, 1000):
        assert evaluate(net, data, batch_size) == pytest.approx(expected, rel=RTOL["float32"])


def test_the_loss_of_an_epoch_is_the_mean_over_what_counts(quick_library):
    """Of batches that count differently."""
    loss = SoftmaxCrossEntropy(class_weight=[0.0, 1.0, 5.0], ignore_index=1)
    net = classifier_without_state(quick_library, loss)
    net.lr = 1e-30
    order = np.argsort(Y, kind="stable")
    data = (X[order], Y[order])
    expected = evaluate(net, data, 24)["loss"]
    history = fit(net, data, 1, 6, shuffle=False, validation=data)
    assert history["loss"][0] == pytest.approx(expected, rel=1e-5)
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-5)


class MeanOfUsers(Loss):
    """A mean of a user's own, which does not tell what it has divided by."""

    def forward(self, input, target):
        self.cache["difference"] = input - target
        return ((input - target) ** 2).mean()

    def backward(self):
        return 2 * self.cache["difference"] / self.cache["difference"].shape[0]


def test_a_loss_of_a_users_own_is_averaged_over_the_rows():
    x, y = regression()
    net = Sequential([Linear(3, 1)], MeanOfUsers(), 0.1, seed=0)
    expected = evaluate(net, (x, y), 20)["loss"]
    assert expected == pytest.approx(float(((net.eval(x) - y) ** 2).mean()), rel=1e-5)
    for batch_size in (1, 7, 19):
        assert evaluate(net, (x, y), batch_size)["loss"] == pytest.approx(expected, rel=1e-5)


def test_evaluation_leaves_the_penalty_out_and_the_network_alone(library):
    nets = [classifier(library.plain, regularization=r) for r in (None, L2(10.0))]
    before = snapshot(nets[1])
    assert evaluate(nets[0], (X, Y)) == evaluate(nets[1], (X, Y))
    assert_same(snapshot(nets[1]), before)


def test_a_list_of_batches_can_be_evaluated(library):
    net = classifier(library.plain)
    batches = [(X[:8], Y[:8]), (X[8:16], Y[8:16]), (X[16:20], Y[16:20])]
    expected = evaluate(net, (X[:20], Y[:20]), metrics=["accuracy"])
    assert evaluate(net, batches, metrics=["accuracy"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weighted"])
def test_classification_metrics_are_those_of_scikit_learn(weighted, quick_library):
    sklearn = pytest.importorskip("sklearn.metrics")
    net = classifier(quick_library.plain)
    weight = np.linspace(0, 2, 24) if weighted else None
    data = (X, Y, weight) if weighted else (X, Y)
    output = predict(net, X)
    expected = {
        "accuracy": sklearn.accuracy_score(Y, output.argmax(1), sample_weight=weight),
        "top2": sklearn.top_k_accuracy_score(Y, output, k=2, sample_weight=weight),
    }
    for batch_size in (5, 24):
        found = evaluate(net, data, batch_size, metrics=list(expected))
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weighted"])
def test_regression_metrics_are_those_of_scikit_learn(weighted, outputs, quick_library):
    sklearn = pytest.importorskip("sklearn.metrics")
    x, y = regression(outputs=outputs)
    y += 100.0  # far from zero, where sums of squares lose their digits
    net = regressor(quick_library.plain, outputs)
    weight = np.linspace(0.5, 2, 20) if weighted else None
    data = (x, y, weight) if weighted else (x, y)
    output = predict(net, x).astype("float64")
    expected = {
        "mae": sklearn.mean_absolute_error(y, output, sample_weight=weight),
        "rmse": math.sqrt(sklearn.mean_squared_error(y, output, sample_weight=weight)),
        "r2": sklearn.r2_score(y, output, sample_weight=weight),
        "loss": sklearn.mean_squared_error(y, output, sample_weight=weight),
    }
    for batch_size in (3, 20):
        found = evaluate(net, data, batch_size, metrics=["mae", "rmse", "r2"])
        assert found == pytest.approx(expected, rel=2e-4)


def test_metrics_of_the_training_are_those_of_the_outputs_of_its_steps(library):
    net, again = classifier(library.plain), classifier(library.plain)
    history = fit(net, (X[:20], Y[:20]), 1, 8, shuffle=False, metrics=["accuracy"])
    hits = 0
    for rows in (slice(0, 8), slice(8, 16), slice(16, 20)):
        output = library.to_host(again.train(X[rows], Y[rows])[0])
        hits += (output.argmax(1) == Y[rows]).sum()
    assert history["accuracy"] == pytest.approx([hits / 20])


def test_unknown_metrics_are_refused():
    with pytest.raises(ConfigurationError, match="unknown metric 'acuracy': did you mean 'acc"):
        fit(classifier(), (X, Y), 1, metrics=["acuracy"])
    with pytest.raises(ConfigurationError, match="unknown metric"):
        evaluate(classifier(), (X, Y), metrics=["f1"])


# Prediction


@pytest.mark.parametrize("batch_size", [1, 7, 23, 24, 1000])
def test_prediction_does_not_depend_on_the_batch_size(batch_size, quick_library):
    net = classifier(quick_library.plain)
    expected = quick_library.to_host(net.eval(X))
    result = predict(net, X, batch_size)
    assert type(result) is np.ndarray
    assert result.dtype == np.float32
    assert_close(result, expected, "float32")


def test_a_prediction_is_a_copy_of_its_own(library):
    """Even where the network gives back its input."""
    net = Sequential([ReLU()], MeanSquaredError(), 0.1, backend=library.plain)
    net.layers[:] = [xpnn.Dropout(0.5)]
    x = np.ones((5, 2), dtype=np.float32)
    for batch_size in (2, 5):
        result = predict(net, x, batch_size)
        result += 1.0
        np.testing.assert_array_equal(result, np.full((5, 2), 2.0))
    np.testing.assert_array_equal(x, np.ones((5, 2)))


def test_prediction_of_nothing(library):
    assert predict(classifier(library.plain), np.zeros((0, 4))).shape == (0, 3)


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (np.zeros((3, 5)), ShapeError),
        (np.zeros(4), ShapeError),
        (1.0, DataError),
        ([["a"] * 4], DataError),
        (np.zeros((3, 4), dtype=complex), DataError),
        (None, DataError),
    ],
)
def test_prediction_refuses_bad_input(x, error, quick_library):
    with pytest.raises(error):
        predict(classifier(quick_library.plain), x)
    with pytest.raises(ConfigurationError, match="batch_size"):
        predict(classifier(quick_library.plain), X, 0)


def test_prediction_of_a_memory_mapped_file_needs_little_memory(tmp_path):
    rows, width = 40_000, 64
    path = tmp_path / "x.npy"
    mapped = np.lib.format.open_memmap(path, "w+", "float64", (rows, width))
    mapped[:] = np.arange(rows)[:, None] % 7
    del mapped
    net = Sequential([Linear(width, 256), ReLU(), Linear(256, 1)], MeanSquaredError(), 0.1, seed=0)
    x = np.load(path, mmap_mode="r")
    predict(net, x[:500], 100)
    gc.collect()
    tracemalloc.start()
    result = predict(net, x, 100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The result, and a few batches; the file has 20 MB, the hidden layer 41 MB.
    assert peak < 2 * result.nbytes + 1_000_000
    np.testing.assert_array_equal(result[:500], predict(net, np.array(x[:500]), 100))


# Validation


def test_validation_is_evaluation_after_each_epoch(library):
    class Check(Callback):
        def on_epoch_end(self, run, row):
            found = evaluate(run.network, (X[:12], Y[:12]), metrics=["accuracy"])
            assert row["val_loss"] == pytest.approx(found["loss"], rel=1e-5)
            assert row["val_accuracy"] == pytest.approx(found["accuracy"])

    for held_out in ((X[:12], Y[:12]), [(X[:4], Y[:4]), (X[4:12], Y[4:12])]):
        net = classifier(library.plain)
        fit(net, (X, Y), 2, 8, validation=held_out, metrics=["accuracy"], callbacks=[Check()])


def test_validation_does_not_change_the_training(library):
    with_it, without = classifier(library.plain), classifier(library.plain)
    fit(with_it, (X, Y), 2, 8, validation=(X, Y))
    fit(without, (X, Y), 2, 8)
    assert_same(snapshot(with_it), snapshot(without))


def test_a_fraction_is_set_aside_alike_on_every_library(library):
    rows = np.arange(20)
    net = Sequential([Linear(2, 2)], Recorder(), 0.1, backend=library.plain, seed=7)
    fit(net, (np.ones((20, 2)), rows), 2, 4, validation=0.25)
    batches = net.loss.batches
    # In each epoch 4 batches to train on, of 15 rows, and 2 to validate, of 5 rows.
    parts = [batches[0:4], batches[4:6], batches[6:10], batches[10:12]]
    trained, held_out, again, held_out_again = (sorted(itertools.chain(*p)) for p in parts)
    assert (len(trained), len(held_out)) == (15, 5)
    assert sorted(trained + held_out) == rows.tolist()
    assert (again, held_out_again) == (trained, held_out)
    reference = Sequential([Linear(2, 2)], Recorder(), 0.1, seed=7)
    fit(reference, (np.ones((20, 2)), rows), 2, 4, validation=0.25)
    assert batches == reference.loss.batches


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 1.5, math.nan])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ConfigurationError, match=r"^validation: a fraction must be in \(0, 1\)"):
        fit(classifier(), (X, Y), 1, validation=fraction)


def test_a_fraction_needs_arrays():
    with pytest.raises(ConfigurationError, match="a fraction needs arrays"):
        fit(classifier(), [(X, Y)], 1, validation=0.5)


@pytest.mark.parametrize(
    ("validation", "error"),
    [
        ((X, Y + 5), DataError),
        ((X[:, :3], Y), ShapeError),
        ((X, Y[:-1]), DataError),
        ((X * np.nan, Y), DataError),
        (3, DataError),
        (True, DataError),
    ],
)
def test_bad_validation_data_are_found_before_the_training(validation, error):
    net = classifier()
    before = snapshot(net)
    with pytest.raises(error):
        fit(net, (X, Y), 1, validation=validation)
    assert_same(snapshot(net), before)


# History


def test_columns_of_the_history(library):
    net = classifier(library.plain)
    history = fit(net, (X, Y), 2, 8, metrics=["accuracy", "top2"], validation=(X, Y))
    names = ["loss", "accuracy", "top2"]
    expected = ["epoch", *names, *(f"val_{name}" for name in names), "lr", "seconds"]
    assert history.columns == expected
    assert [list(row) for row in history] == [expected] * 2
    assert all(type(row[name]) is float for row in history for name in expected[1:])
    assert history["epoch"] == [1, 2]
    assert history["lr"] == [0.01, 0.01]
    assert (len(history), history.stop_reason) == (2, "finished")
    assert history[-1]["epoch"] == 2
    assert repr(history) == "History(2 epochs, finished)"
    assert min(history["seconds"]) > 0


# Learning rates


def test_schedules_know_the_length_of_the_training():
    net = classifier(optimizer=SGD(Cosine(0.4)))
    rates = []

    class Note(Callback):
        def on_batch_end(self, run, loss):
            rates.append(run.network.lr)

    history = fit(net, (X, Y), 2, 8, callbacks=[Note()])
    expected = [0.2 * (1 + math.cos(math.pi * step / 6)) for step in range(1, 7)]
    assert rates == pytest.approx(expected, abs=1e-12)
    assert history["lr"] == pytest.approx([0.4, expected[2]])


def test_a_schedule_of_unknown_length_is_an_error_before_the_first_step():
    net = classifier(optimizer=SGD(Cosine(0.4)))
    before = snapshot(net)
    with pytest.raises(ConfigurationError, match="length of the training"):
        fit(net, (batch for batch in [(X, Y)]), 1)
    assert_same(snapshot(net), before)
    fit(net, (batch for batch in [(X, Y)]), 1, steps_per_epoch=1)
    assert net.steps == 1


@pytest.mark.parametrize("warmup", [False, True], ids=["alone", "warmed up"])
def test_a_plateau_is_noticed(warmup):
    schedule = ReduceOnPlateau(0.1, factor=0.5, patience=1)
    net = classifier_without_state(Plain)
    net.optimizer = SGD(LinearWarmup(schedule, 3) if warmup else schedule)
    # Weights of zero: the loss is always 0, so that nothing ever gets better.
    history = fit(net, (X, Y, np.zeros(24)), 7, 24)
    expected = [0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    assert history["lr"][3:] == pytest.approx(expected[3:])


def test_the_plateau_is_that_of_the_validation_loss():
    schedule = ReduceOnPlateau(0.1, factor=0.5, patience=0)
    seen = []
    schedule.observe = seen.append
    net = classifier_without_state(Plain)
    net.optimizer = SGD(schedule)
    history = fit(net, (X, Y), 2, 8, validation=(X[:9], Y[:9]))
    assert seen == history["val_loss"]


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


# Divergence


class Bomb(Layer):
    """Passes everything on, and from some step on makes it infinite."""

    def __init__(self, step):
        super().__init__()
        self.first = step

    def forward(self, input):
        return input * math.inf if self.mode == "train" and self.step >= self.first else input

    def backward(self, dout):
        return dout


@pytest.mark.parametrize("waits", [True, False], ids=["waits", "does not wait"])
def test_divergence_stops_with_the_last_good_parameters(waits, library, monkeypatch):
    monkeypatch.setattr(Backend, "synchronous", property(lambda self: waits))

    def make(step):
        layers = [Linear(4, 6), BatchNorm(6), ReLU(), Bomb(step), Linear(6, 3)]
        return Sequential(
            layers,
            SoftmaxCrossEntropy(),
            optimizer=xpnn.Adam(xpnn.Step(0.02, 4, 0.5)),
            backend=library.plain,
            seed=0,
            fuse=waits,
        )

    net, good = make(7), make(10**9)
    with pytest.raises(DivergenceError) as error:
        fit(net, (X, Y), 5, 8, validation=(X, Y))
    error = error.value
    assert (error.step, error.epoch, error.lr) == (7, 3, 0.01)
    assert "step 7, epoch 3" in str(error)
    assert "learning rate is 0.01" in str(error)
    assert error.history["epoch"] == [1, 2]
    assert error.history.stop_reason == "diverged"
    assert (net.steps, net.epochs) == (7, 2)
    fit(good, (X, Y), 2, 8)
    rows = Stream(0).at(2).permutation(24)[:8]
    good.train(X[rows], Y[rows])
    expected, found = snapshot(good), snapshot(net)
    for name, value in expected.items():
        if not name.startswith("state"):  # where nobody waits it has gone on a little
            np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert np.isfinite(predict(net, X)).all()
    # The network can be trained on at once.
    net.layers[3].first = 10**9
    before = values(net)
    assert np.isfinite(float(net.train(X, Y)[1]))
    assert (values(net) != before).any()


def test_a_learning_rate_that_is_too_large(library):
    """The real thing: warnings of NumPy are no part of it."""
    x, y = regression()
    net = regressor(library.plain, optimizer=SGD(1e6))
    net.layers[1:2] = []
    with pytest.raises(DivergenceError) as error:
        fit(net, (x, y), 50, 20, validation=(x, y))
    assert np.isfinite(values(net)).all()
    assert 0 < error.value.step < 50


# Ctrl-C


class Interrupt(Callback):
    """Presses Ctrl-C after some steps."""

    def __init__(self, *steps):
        self.steps = steps

    def on_batch_end(self, run, loss):
        if run.network.steps in self.steps:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def default_handler():
    """The state in which an interactive Python is."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("default_handler")
class TestInterrupt:
    """Ctrl-C ends a training; network and history stay usable."""

    def test_the_first_ends_the_training_after_the_step(self, library):
        net, again = classifier(library.plain), classifier(library.plain)
        history = fit(net, (X, Y), 5, 8, callbacks=[Interrupt(4)])
        assert (history.stop_reason, len(history), net.steps) == ("interrupted", 1, 4)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        fit(again, (X, Y), 1, 8)
        rows = Stream(0).at(1).permutation(24)[:8]
        again.train(X[rows], Y[rows])
        assert_same(snapshot(net), snapshot(again))
        assert len(fit(net, (X, Y), 1, 8)) == 1

    def test_at_the_end_of_an_epoch_its_row_is_there(self):
        class AtTheEnd(Callback):
            def on_epoch_end(self, run, row):
                os.kill(os.getpid(), signal.SIGINT)

        history = fit(classifier(), (X, Y), 5, 8, callbacks=[AtTheEnd()])
        assert (history.stop_reason, len(history)) == ("interrupted", 1)

    def test_the_second_ends_it_at_once(self):
        net = classifier()
        ended = []

        class Twice(Callback):
            def on_batch_end(self, run, loss):
                if run.network.steps == 4:
                    os.kill(os.getpid(), signal.SIGINT)
                    os.kill(os.getpid(), signal.SIGINT)
                    pytest.fail("the second Ctrl-C was ignored")

            def on_train_end(self, run):
                ended.append((run.history, run.stop_reason))

        with pytest.raises(KeyboardInterrupt):
            fit(net, (X, Y), 5, 8, callbacks=[Twice()])
        [(history, reason)] = ended
        assert (len(history), reason, history.stop_reason) == (1, "interrupted", "interrupted")
        assert net.steps == 4
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        fit(net, (X, Y), 1, 8)

    def test_in_the_middle_of_a_step_nothing_is_left_behind(self, library):
        class Slow(Layer):
            presses = False

            def forward(self, input):
                if self.presses:
                    raise KeyboardInterrupt
                return input

            def backward(self, dout):
                return dout

        net = Sequential(
            [Linear(4, 6), BatchNorm(6), Slow(), Linear(6, 3)],
            SoftmaxCrossEntropy(),
            optimizer=xpnn.Adam(0.01),
            backend=library.plain,
            seed=0,
        )
        net.train(X, Y)
        before = snapshot(net)
        net.layers[2].presses = True
        with pytest.raises(KeyboardInterrupt):
            fit(net, (X, Y), 1, 8)
        assert_same(snapshot(net), before)

    def test_another_threads_training_is_left_alone(self):
        found = []

        def train():
            found.append(fit(classifier(), (X, Y), 2, 8).stop_reason)

        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
        assert found == ["finished"]

    def test_somebody_elses_handler_is_left_alone(self):
        heard = []
        signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
        history = fit(classifier(), (X, Y), 2, 8, callbacks=[Interrupt(2)])
        assert (heard, history.stop_reason, len(history)) == ([signal.SIGINT], "finished", 2)


PROGRAM = """
import numpy as np, sys, xpnn
x = np.random.default_rng(0).standard_normal((512, 8))
net = xpnn.Sequential([xpnn.Linear(8, 8)], xpnn.MeanSquaredError(), lr=1e-3, seed=0)
class Ready(xpnn.Callback):
    def on_epoch_begin(self, run):
        if len(run.history) == 1:
            print("ready", flush=True)
history = xpnn.fit(net, (x, x), 10**9, callbacks=[Ready()], progress=False)
print(history.stop_reason, len(history) > 0, np.isfinite(xpnn.predict(net, x)).all(), flush=True)
"""


def test_ctrl_c_at_a_real_program():
    command = [sys.executable, "-c", PROGRAM]
    program = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
    finally:
        program.kill()
    assert (out, err, program.returncode) == ("interrupted True True\n", "", 0)


# What the loop asks of losses


def test_targets_are_prepared_once_as_far_as_values_go():
    """Labels that a loss has cast are still its labels: preparing them again changes nothing."""
    for loss, y in ((SoftmaxCrossEntropy(), Y), (BinaryCrossEntropy(), (Y > 0)[:, None])):
        prepared = loss.prepare(np.asarray(y), (24, 3) if y.ndim == 1 else (24, 1))
        again = loss.prepare(prepared, (24, 3) if y.ndim == 1 else (24, 1))
        np.testing.assert_array_equal(prepared, again)


def test_no_synchronization_in_an_epoch(monkeypatch):
    """Where looking at a loss costs time nobody looks before the end of the epoch."""
    pytest.importorskip("jax")
    net = classifier("jax")
    looks, real = [], Backend.to_host

    def to_host(self, array):
        looks.append(array)
        return real(self, array)

    monkeypatch.setattr(Backend, "to_host", to_host)

    class Count(Callback):
        def on_epoch_begin(self, run):
            looks.clear()

        def on_batch_end(self, run, loss):
            assert looks == []

    fit(net, (X, Y), 2, 8, metrics=["accuracy"], callbacks=[Count()])
    assert 0 < len(looks) <= 4


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
