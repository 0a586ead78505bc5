"""Metrics: values over uneven batches against scikit-learn, and what is refused."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tolerances import RTOL
from xpnn.errors import ConfigurationError, DataError, ShapeError
from xpnn.metrics import MAE, R2, RMSE, Accuracy, Metric, TopK, get

#: Ends of the batches: uneven, and one of a single sample.
CUTS = (0, 40, 41, 64)
SAMPLES, CLASSES = 64, 6
RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(SAMPLES, CLASSES)).astype("float32")
LABELS = RNG.integers(0, CLASSES, SAMPLES)
WEIGHT = RNG.random(SAMPLES).astype("float32") * (RNG.random(SAMPLES) > 0.2)
NUMBERS = RNG.normal(size=(SAMPLES, 3)).astype("float32")
ESTIMATES = (NUMBERS + RNG.normal(size=(SAMPLES, 3)) * [0.1, 0.5, 2.0]).astype("float32")


@pytest.fixture
def sklearn_metrics() -> Any:
    return pytest.importorskip("sklearn.metrics")


def over_batches(
    backend: Any,
    metric: Metric,
    output: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    cuts: Sequence[int] = CUTS,
) -> float:
    """Gather statistics batch by batch, as a training loop does, and combine them."""
    rows = []
    for start, end in itertools.pairwise(cuts):
        part = slice(start, end)
        x, y = backend.asarray(output[part]), backend.asarray(target[part])
        w = None if weight is None else backend.asarray(weight[part])
        row = metric.batch(x, y, w)
        assert row.ndim == 1
        assert row.dtype == x.dtype
        assert backend.plain.owns(row)
        np.testing.assert_array_equal(backend.to_host(x), output[part])
        np.testing.assert_array_equal(backend.to_host(y), target[part])
        rows.append(backend.to_host(row).astype("float64"))
    value = metric.combine(np.stack(rows))
    assert type(value) is float
    return value


def expect(value: float, expected: float) -> None:
    np.testing.assert_allclose(value, expected, rtol=RTOL["float32"])


weights = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])


# ------------------------------------------------------------------------------- classification


@weights
def test_accuracy_of_classes(sklearn_metrics: Any, backend: Any, weight: np.ndarray | None) -> None:
    expected = sklearn_metrics.accuracy_score(LABELS, SCORES.argmax(axis=1), sample_weight=weight)
    for target in (LABELS, LABELS[:, None], np.eye(CLASSES, dtype="float32")[LABELS]):
        expect(over_batches(backend, Accuracy(), SCORES, target, weight), expected)


@weights
def test_accuracy_of_one_output(
    sklearn_metrics: Any, backend: Any, weight: np.ndarray | None
) -> None:
    output, target = SCORES[:, 0], LABELS % 2
    expected = sklearn_metrics.accuracy_score(target, output > 0, sample_weight=weight)
    for x, y in (
        (output, target),
        (output, target.astype(bool)),
        (output[:, None], target),
        (output[:, None], target[:, None].astype("float32")),
    ):
        expect(over_batches(backend, Accuracy(), x, y, weight), expected)


@weights
@pytest.mark.parametrize("k", [1, 2, 5, 6, 9])
def test_top_k(sklearn_metrics: Any, backend: Any, k: int, weight: np.ndarray | None) -> None:
    if k < CLASSES:
        expected = sklearn_metrics.top_k_accuracy_score(LABELS, SCORES, k=k, sample_weight=weight)
    else:
        expected = 1.0
    for target in (LABELS, np.eye(CLASSES)[LABELS].astype("float32")):
        expect(over_batches(backend, TopK(k), SCORES, target, weight), expected)


def test_top_1_is_accuracy_among_equal_outputs(backend: Any) -> None:
    scores = np.round(SCORES)
    accuracy = over_batches(backend, Accuracy(), scores, LABELS)
    assert over_batches(backend, TopK(1), scores, LABELS) == accuracy


def test_a_network_that_says_the_same_of_everything_is_not_always_right(backend: Any) -> None:
    labels = np.arange(SAMPLES) % 4
    assert over_batches(backend, TopK(2), np.zeros((SAMPLES, 4), "f"), labels) == 0.5
    assert over_batches(backend, TopK(2), np.full((SAMPLES, 4), np.nan, "f"), labels) == 0.0


def test_ignored_labels_do_not_count(backend: Any) -> None:
    target = np.where(LABELS == 3, -100, LABELS)
    kept = LABELS != 3
    right = (SCORES.argmax(axis=1) == LABELS)[kept]
    expect(over_batches(backend, Accuracy(-100), SCORES, target), right.mean())
    expect(
        over_batches(backend, Accuracy(-100), SCORES, target, WEIGHT),
        np.average(right, weights=WEIGHT[kept]),
    )
    expect(over_batches(backend, TopK(1, -100), SCORES, target), right.mean())


def test_bad_labels_are_wrong(backend: Any) -> None:
    """On a device nothing is checked; there is no hit, no wild read and no exception."""
    labels = np.asarray([0.0, 99.0, -1.0, 0.5])
    scores = np.asarray([[2.0, 1.0, 0.0]] * 4, dtype="float32")
    for metric in (Accuracy(), TopK(2)):
        assert over_batches(backend, metric, scores, labels, cuts=(0, 1, 4)) == 0.25


# ------------------------------------------------------------------------------- regression


@weights
@pytest.mark.parametrize("columns", [1, 3])
def test_regression(
    sklearn_metrics: Any, backend: Any, columns: int, weight: np.ndarray | None
) -> None:
    output, target = ESTIMATES[:, :columns], NUMBERS[:, :columns]
    settings = {"sample_weight": weight}
    r2 = sklearn_metrics.r2_score(target, output, **settings)
    mae = sklearn_metrics.mean_absolute_error(target, output, **settings)
    rmse = math.sqrt(sklearn_metrics.mean_squared_error(target, output, **settings))
    targets = [target] if columns > 1 else [target, target[:, 0]]
    for goal in targets:
        expect(over_batches(backend, R2(), output, goal, weight), r2)
        expect(over_batches(backend, MAE(), output, goal, weight), mae)
        expect(over_batches(backend, RMSE(), output, goal, weight), rmse)


def test_flat_outputs_and_more_axes(sklearn_metrics: Any, backend: Any) -> None:
    expected = sklearn_metrics.r2_score(NUMBERS[:, 0], ESTIMATES[:, 0])
    expect(over_batches(backend, R2(), ESTIMATES[:, 0], NUMBERS[:, 0]), expected)
    output, target = ESTIMATES.reshape(32, 2, 3), NUMBERS.reshape(32, 2, 3)
    cuts = (0, 5, 32)
    expect(
        over_batches(backend, R2(), output, target, cuts=cuts),
        sklearn_metrics.r2_score(target.reshape(32, 6), output.reshape(32, 6)),
    )
    expect(over_batches(backend, MAE(), output, target, cuts=cuts), np.abs(output - target).mean())


@weights
@pytest.mark.parametrize("offset", [1e4, -1e6])
def test_r2_far_from_zero(
    sklearn_metrics: Any, backend: Any, offset: float, weight: np.ndarray | None
) -> None:
    """In float32 a sum of squares would have no digit left; sorted data part the batches' means."""
    target = np.sort(NUMBERS[:, 0] + np.float32(offset))
    output = target + ESTIMATES[:, 1] / 4
    expected = sklearn_metrics.r2_score(
        target.astype("float64"), output.astype("float64"), sample_weight=weight
    )
    assert 0.5 < expected < 0.99
    expect(over_batches(backend, R2(), output, target, weight), expected)


def test_r2_does_not_depend_on_the_batches(backend: Any) -> None:
    whole = over_batches(backend, R2(), ESTIMATES, NUMBERS, cuts=(0, SAMPLES))
    single = over_batches(backend, R2(), ESTIMATES, NUMBERS, cuts=range(SAMPLES + 1))
    expect(single, whole)


def test_r2_of_constant_targets(sklearn_metrics: Any, backend: Any) -> None:
    target = np.full(SAMPLES, 0.5, dtype="float32")
    for output in (target, target + 1):
        expected = sklearn_metrics.r2_score(target, output)
        assert over_batches(backend, R2(), output, target) == expected
        # Nor does it matter that the mean of this constant has to be rounded.
        shift = np.float32(0.1) - target
        assert over_batches(backend, R2(), output + shift, target + shift) == expected


def test_r2_of_one_sample_is_not_defined(backend: Any) -> None:
    value = over_batches(backend, R2(), ESTIMATES[:1], NUMBERS[:1], cuts=(0, 1))
    assert math.isnan(value)


def test_batches_without_weight_do_not_count(backend: Any) -> None:
    weight = np.ones(SAMPLES, dtype="float32")
    weight[:41] = 0.0  # the first two batches
    for metric in (R2(), MAE(), RMSE()):
        value = over_batches(backend, metric, ESTIMATES, NUMBERS, weight)
        cuts = (0, 7, SAMPLES - 41)
        expect(value, over_batches(backend, metric, ESTIMATES[41:], NUMBERS[41:], cuts=cuts))


@pytest.mark.parametrize("metric", [R2(), MAE(), RMSE()], ids=repr)
def test_no_weight_at_all(backend: Any, metric: Metric) -> None:
    weight = np.zeros(SAMPLES, dtype="float32")
    assert math.isnan(over_batches(backend, metric, ESTIMATES, NUMBERS, weight))


def test_nan_shows(backend: Any) -> None:
    output = ESTIMATES.copy()
    output[45, 1] = np.nan
    for metric in (R2(), MAE(), RMSE()):
        assert math.isnan(over_batches(backend, metric, output, NUMBERS))


# ------------------------------------------------------------------------------- settings, errors


def test_get() -> None:
    for name, kind in {"accuracy": Accuracy, "r2": R2, "mae": MAE, "rmse": RMSE}.items():
        metric = get(name)
        assert type(metric) is kind
        assert metric.name == name
    assert get("top5").name == "top5"
    assert get("top12").k == 12
    assert get(metric) is metric
    assert repr(get("r2")) == "R2()"


@pytest.mark.parametrize(
    ("name", "meant"),
    [("acuracy", "accuracy"), ("acc", "accuracy"), ("MSE", "rmse"), ("xyz", None)],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, meant):
    question = r"\." if meant is None else f": did you mean '{meant}'\\?"
    with pytest.raises(ConfigurationError, match=f"unknown metric '{name}'{question} Known: "):
        get(name)


@pytest.mark.parametrize("name", ["acuracy", "top0", "top", "top-1", "", None, 5, Accuracy])
def test_get_refuses(name: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown metric .*Known: accuracy, .*top5"):
        get(name)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "5"])
def test_top_k_refuses(k: Any) -> None:
    with pytest.raises(ConfigurationError, match="TopK: k must be an integer of at least 1"):
        TopK(k)


def test_ignore_index_must_be_an_integer() -> None:
    with pytest.raises(ConfigurationError, match="Accuracy: ignore_index must be an integer"):
        Accuracy(0.5)


@pytest.mark.parametrize("name", ["accuracy", "top5", "r2", "mae", "rmse"])
def test_shapes_that_do_not_fit(backend: Any, name: str) -> None:
    metric, array = get(name), backend.asarray
    start = f"^{type(metric).__name__}: expected "
    with pytest.raises(ShapeError, match=start):
        metric.batch(array(SCORES), array(LABELS[1:]))
    with pytest.raises(ShapeError, match=start):
        metric.batch(array(SCORES), array(SCORES[:, 1:]))
    with pytest.raises(ShapeError, match=start):
        metric.batch(array(1.0), array(1.0))
    with pytest.raises(ShapeError, match=f"{start}sample weights of shape"):
        metric.batch(array(SCORES), array(SCORES), array(WEIGHT[1:]))
    with pytest.raises(DataError, match=f"{start}at least one sample, got an empty batch"):
        metric.batch(array(SCORES[:0]), array(SCORES[:0]))


def test_classes_need_two_axes(backend: Any) -> None:
    array = backend.asarray
    with pytest.raises(ShapeError, match=r"TopK: expected outputs of shape \(N, K\)"):
        TopK().batch(array(SCORES[:, :1]), array(LABELS))
    with pytest.raises(ShapeError, match=r"Accuracy: expected outputs of shape \(N, K\)"):
        Accuracy().batch(array(SCORES[:, :, None]), array(LABELS))


def test_the_base_class_leaves_the_work_to_others() -> None:
    with pytest.raises(NotImplementedError, match="Metric does not define batch"):
        Metric().batch(SCORES, LABELS)
    with pytest.raises(NotImplementedError, match="Metric does not define combine"):
        Metric().combine(np.zeros((1, 1)))


@pytest.mark.parametrize("name", ["accuracy", "top2"])
@pytest.mark.parametrize("weighted", [False, True])
def test_steps_of_sequences_are_samples(backend: Any, name: str, weighted: bool) -> None:
    rng = np.random.default_rng(2)
    output, target = rng.normal(size=(3, 5, 4)), rng.integers(0, 4, (3, 5))
    weight = np.asarray([1.0, 0.5, 2.0])
    metric = get(name)
    found = metric.batch(
        backend.asarray(output),
        backend.asarray(target),
        *([backend.asarray(weight)] if weighted else []),
    )
    expected = metric.batch(
        backend.asarray(output.reshape(15, 4)),
        backend.asarray(target.reshape(15)),
        *([backend.asarray(np.repeat(weight, 5))] if weighted else []),
    )
    assert backend.to_host(found).tolist() == backend.to_host(expected).tolist()
    with pytest.raises(ShapeError, match=r"expected targets of shape \(3, 5\), got \(3, 4\)"):
        metric.batch(backend.asarray(output), backend.asarray(target[:, :4]))
