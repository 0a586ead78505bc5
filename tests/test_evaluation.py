"""`evaluate` and `predict`: they depend on no batch size, and metrics are scikit-learn's."""

from __future__ import annotations

import copy
import gc
import math
import tracemalloc

import numpy as np
import pytest

import xpnn
from nets import (
    assert_same,
    blobs,
    classifier,
    classifier_without_state,
    regression,
    regressor,
    snapshot,
)
from tolerances import RTOL, assert_close
from xpnn import (
    L2,
    ConfigurationError,
    DataError,
    Linear,
    Loss,
    MeanSquaredError,
    ReLU,
    Sequential,
    ShapeError,
    SoftmaxCrossEntropy,
    evaluate,
    fit,
    predict,
)

X, Y = blobs()

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
