"""`fit`: order, data, sample weights, validation, history, learning rates."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nets import assert_same, blobs, classifier, classifier_without_state, snapshot, values
from tolerances import assert_close
from xpnn import (
    L2,
    SGD,
    BatchNorm,
    BinaryCrossEntropy,
    Callback,
    ConfigurationError,
    Cosine,
    DataError,
    Linear,
    LinearWarmup,
    Loss,
    ReduceOnPlateau,
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

X, Y = blobs()


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
