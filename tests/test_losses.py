"""Losses: values and gradients against PyTorch and against differences; what they refuse."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tolerances import assert_close
from xpnn.errors import ConfigurationError, DataError, ShapeError, XpnnError
from xpnn.losses import (
    BinaryCrossEntropy,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SoftmaxCrossEntropy,
)

SAMPLES, CLASSES = 7, 5
CLASS_WEIGHT = (0.5, 2.0, 1.0, 0.25, 3.0)
LABELS = np.asarray([0, 4, 2, 2, 1, 3, 4])
SAMPLE_WEIGHT = np.asarray([1.0, 0.5, 2.0, 0.0, 3.0, 1.5, 1.0])


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@dataclass(frozen=True)
class Row:
    """A loss, the shape of its input, its targets, and PyTorch's loss of the same name.

    `twin` takes the torch module, input, target and ``reduction``, and `divisor` the weights of the
    samples: what their weighted sum of PyTorch's unreduced losses has to be divided by.
    """

    name: str
    make: Callable[[], Loss]
    shape: tuple[int, ...]
    target: np.ndarray
    twin: Callable[..., Any]
    divisor: Callable[[np.ndarray], float] = field(default=np.sum)

    def __str__(self) -> str:
        return self.name


def _numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape)


def _probabilities() -> np.ndarray:
    weights = np.random.default_rng(7).random((SAMPLES, CLASSES))
    return weights / weights.sum(axis=1, keepdims=True)


def _softmax(name: str, target: np.ndarray, **settings: Any) -> Row:
    def twin(torch: Any, input: Any, target: Any, reduction: str) -> Any:
        weight = settings.get("class_weight")
        ignore = settings.get("ignore_index")
        target = target if target.shape == input.shape else target.reshape(-1).long()
        return torch.nn.functional.cross_entropy(
            input,
            target,
            weight=None if weight is None else torch.tensor(weight, dtype=input.dtype),
            label_smoothing=settings.get("label_smoothing", 0.0),
            ignore_index=-100 if ignore is None else ignore,
            reduction=reduction,
        )

    def divisor(sample_weight: np.ndarray) -> float:
        if target.shape == (SAMPLES, CLASSES):
            return sample_weight.sum()
        labels = target.reshape(-1)
        counts = labels != settings.get("ignore_index")
        weights = np.asarray(settings.get("class_weight", (1.0,) * CLASSES))
        return (sample_weight * counts * weights[np.where(counts, labels, 0)]).sum()

    def make() -> Loss:
        return SoftmaxCrossEntropy(**settings)

    return Row(f"softmax-{name}", make, (SAMPLES, CLASSES), target, twin, divisor)


def _binary(name: str, shape: tuple[int, ...], target: np.ndarray, pos_weight: Any = None) -> Row:
    def twin(torch: Any, input: Any, target: Any, reduction: str) -> Any:
        weight = None if pos_weight is None else torch.tensor(pos_weight, dtype=input.dtype)
        return torch.nn.functional.binary_cross_entropy_with_logits(
            input, target.to(input.dtype), pos_weight=weight, reduction=reduction
        )

    return Row(f"binary-{name}", lambda: BinaryCrossEntropy(pos_weight), shape, target, twin)


def _regression(
    name: str, make: Callable[[], Loss], function: str, *shapes: tuple[int, ...], **settings: Any
) -> list[Row]:
    def twin(torch: Any, input: Any, target: Any, reduction: str) -> Any:
        return getattr(torch.nn.functional, function)(
            input, target, reduction=reduction, **settings
        )

    return [
        Row(f"{name}-{len(s)}d-{s[-1]}", make, s, _numbers(*s)[::-1].copy(), twin) for s in shapes
    ]


YES_OR_NO = (LABELS > 1).astype(np.int64)
SOFT = np.random.default_rng(3).random((SAMPLES, 3))
IGNORED = np.where(LABELS == 2, -1, LABELS)

ROWS = [
    _softmax("labels", LABELS),
    _softmax("column", LABELS[:, None]),
    _softmax("probabilities", _probabilities()),
    _softmax("one-hot", np.eye(CLASSES)[LABELS]),
    _softmax("class-weight", LABELS, class_weight=CLASS_WEIGHT),
    _softmax("class-weight-probabilities", _probabilities(), class_weight=CLASS_WEIGHT),
    _softmax("smoothing", LABELS, label_smoothing=0.2),
    _softmax("smoothing-1", LABELS, label_smoothing=1.0),
    _softmax("smoothing-probabilities", _probabilities(), label_smoothing=0.2),
    _softmax("smoothing-class-weight", LABELS, label_smoothing=0.2, class_weight=CLASS_WEIGHT),
    _softmax("ignore", IGNORED, ignore_index=-1),
    _softmax("ignore-a-class", LABELS, ignore_index=2),
    _softmax("ignore-smoothing", IGNORED, ignore_index=-1, label_smoothing=0.1),
    _softmax(
        "everything", IGNORED, ignore_index=-1, label_smoothing=0.1, class_weight=CLASS_WEIGHT
    ),
    _softmax(
        "everything-probabilities", _probabilities(), label_smoothing=0.1, class_weight=CLASS_WEIGHT
    ),
    _binary("flat", (SAMPLES,), YES_OR_NO),
    _binary("column", (SAMPLES, 1), YES_OR_NO[:, None]),
    _binary("multi-label", (SAMPLES, 3), (SOFT > 0.5).astype(np.int64)),
    _binary("soft", (SAMPLES, 3), SOFT),
    _binary("booleans", (SAMPLES, 3), SOFT > 0.5),
    _binary("pos-weight", (SAMPLES, 3), SOFT, pos_weight=2.5),
    _binary("pos-weight-flat", (SAMPLES,), YES_OR_NO, pos_weight=0.25),
    _binary("pos-weights", (SAMPLES, 3), SOFT, pos_weight=(0.0, 0.5, 4.0)),
    *_regression("mse", MeanSquaredError, "mse_loss", (SAMPLES,), (SAMPLES, 3), (SAMPLES, 2, 4)),
    *_regression("mae", MeanAbsoluteError, "l1_loss", (SAMPLES, 1), (SAMPLES, 3)),
    *_regression("huber", Huber, "huber_loss", (SAMPLES, 3)),
    *_regression("huber-delta", lambda: Huber(0.25), "huber_loss", (SAMPLES, 3), delta=0.25),
]


@pytest.fixture(params=ROWS, ids=str)
def row(request: pytest.FixtureRequest) -> Row:
    return request.param


def _oracle(
    torch: Any, row: Row, input: np.ndarray, target: np.ndarray, weight: np.ndarray | None
) -> tuple[float, np.ndarray]:
    """PyTorch's loss and gradient in double precision."""
    leaf = torch.tensor(input, dtype=torch.float64, requires_grad=True)
    goal = torch.tensor(target)
    goal = goal.double() if goal.is_floating_point() else goal
    if weight is None:
        loss = row.twin(torch, leaf, goal, "mean")
    else:
        cost = row.twin(torch, leaf, goal, "none").reshape(len(input), -1).mean(dim=1)
        loss = (torch.tensor(weight, dtype=torch.float64) * cost).sum() / row.divisor(weight)
    loss.backward()
    return loss.item(), leaf.grad.numpy()


def _cast(data: np.ndarray, dtype: str) -> np.ndarray:
    return data.astype(dtype) if data.dtype.kind == "f" else data


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_value_and_gradient_against_torch(
    torch: Any, backend_each_dtype: Any, row: Row, weighted: bool
) -> None:
    backend = backend_each_dtype
    host = 3 * _numbers(*row.shape).astype(backend.dtype)
    target = _cast(row.target, backend.dtype)
    weight = SAMPLE_WEIGHT if weighted else None
    expected, gradient = _oracle(torch, row, host, target, weight)

    input, goal = backend.asarray(host), backend.asarray(target)
    weights = () if weight is None else (backend.asarray(weight),)
    loss = row.make()
    value = loss.forward(input, goal, *weights)
    assert value.shape == ()
    assert value.dtype == input.dtype
    assert_close(backend.to_host(value), expected, backend.dtype)

    result = loss.backward()
    assert result.dtype == input.dtype
    assert backend.plain.owns(result)
    assert_close(backend.to_host(result), gradient, backend.dtype)

    assert loss.cache == {}
    np.testing.assert_array_equal(backend.to_host(input), host)
    np.testing.assert_array_equal(backend.to_host(goal), target)
    for array in weights:
        np.testing.assert_array_equal(backend.to_host(array), weight.astype(backend.dtype))


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_gradient_against_central_differences(
    backend_float64: Any, row: Row, weighted: bool
) -> None:
    backend = backend_float64
    host = 3 * _numbers(*row.shape)
    target = backend.asarray(row.target)
    weight = backend.asarray(SAMPLE_WEIGHT) if weighted else None
    loss = row.make()

    def value(shift: np.ndarray) -> float:
        return float(backend.to_host(loss.forward(backend.asarray(host + shift), target, weight)))

    value(np.zeros_like(host))
    gradient = backend.to_host(loss.backward())
    rng = np.random.default_rng(0)
    for _ in range(4):
        direction = rng.normal(size=host.shape)
        slope = (value(1e-6 * direction) - value(-1e-6 * direction)) / 2e-6
        np.testing.assert_allclose(slope, (gradient * direction).sum(), rtol=1e-7, atol=1e-8)


def test_strided_input(backend: Any, row: Row) -> None:
    host = _numbers(*row.shape)
    target = backend.asarray(row.target)
    loss = row.make()
    expected = backend.to_host(loss.forward(backend.asarray(host), target))
    gradient = backend.to_host(loss.backward())
    assert_close(backend.to_host(loss.forward(backend.strided(host), target)), expected, "float32")
    assert_close(backend.to_host(loss.backward()), gradient, "float32")


def test_batch_of_one(torch: Any, backend: Any, row: Row) -> None:
    host, target = _numbers(*row.shape)[:1].astype("float32"), row.target[:1]
    expected, gradient = _oracle(torch, row, host, _cast(target, "float32"), None)
    loss = row.make()
    value = loss.forward(backend.asarray(host), backend.asarray(target))
    assert_close(backend.to_host(value), expected, "float32")
    assert_close(backend.to_host(loss.backward()), gradient, "float32")


def test_empty_batch_is_zero(backend: Any, row: Row) -> None:
    loss = row.make()
    input, target = backend.asarray(_numbers(*row.shape)), backend.asarray(row.target)
    assert backend.to_host(loss.forward(input[:0, ...], target[:0, ...])) == 0.0
    assert loss.backward().shape == (0, *row.shape[1:])


def test_weights_that_sum_to_zero_give_zero(backend: Any, row: Row) -> None:
    loss = row.make()
    value = loss.forward(
        backend.asarray(_numbers(*row.shape)),
        backend.asarray(row.target),
        backend.asarray(np.zeros(SAMPLES)),
    )
    assert backend.to_host(value) == 0.0
    np.testing.assert_array_equal(backend.to_host(loss.backward()), np.zeros(row.shape))


def test_weights_in_integers_and_their_scale_do_not_matter(backend: Any, row: Row) -> None:
    loss = row.make()
    input, target = backend.asarray(_numbers(*row.shape)), backend.asarray(row.target)
    weight = np.asarray([1, 0, 2, 3, 1, 1, 4])
    expected = backend.to_host(loss.forward(input, target, backend.asarray(weight / 4)))
    gradient = backend.to_host(loss.backward())
    value = loss.forward(input, target, backend.asarray(weight))
    assert_close(backend.to_host(value), expected, "float32")
    assert_close(backend.to_host(loss.backward()), gradient, "float32")


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_large_logits(torch: Any, backend: Any, size: float) -> None:
    binary = np.full((4, 1), size, dtype="float32")
    softmax = np.asarray([[size, 0, 0], [0, size, -size], [size, size, size], [0, 0, size]], "f")
    cases = [
        (_softmax("", LABELS), softmax, np.asarray([0, 1, 2, 0])),
        (_softmax("", LABELS, label_smoothing=0.1), softmax, np.asarray([0, 1, 2, 0])),
        (_softmax("", softmax), softmax, np.eye(3, dtype="float32")[[0, 1, 2, 0]]),
        (_binary("", (), LABELS), binary, np.asarray([[0.0], [1.0], [0.5], [1.0]])),
        (_binary("", (), LABELS, 3.0), binary, np.asarray([[0.0], [1.0], [0.5], [1.0]])),
    ]
    for case, input, target in cases:
        expected, gradient = _oracle(torch, case, input, target, None)
        loss = case.make()
        value = loss.forward(backend.asarray(input), backend.asarray(target))
        assert_close(backend.to_host(value), expected, "float32")
        assert_close(backend.to_host(loss.backward()), gradient, "float32")


def test_small_gradients_keep_their_digits() -> None:
    loss = BinaryCrossEntropy()
    loss.forward(np.asarray([-30.0]), np.asarray([0.0]))
    np.testing.assert_allclose(loss.backward(), [math.exp(-30.0)], rtol=1e-12)


def test_masked_logits_do_not_count(torch: Any, backend: Any) -> None:
    input = np.asarray([[0.5, -np.inf, 1.0], [-np.inf, 2.0, 0.0]], dtype="float32")
    target = np.asarray([2, 1])
    expected, gradient = _oracle(torch, _softmax("", LABELS), input, target, None)
    loss = SoftmaxCrossEntropy()
    value = loss.forward(backend.asarray(input), backend.asarray(target))
    assert_close(backend.to_host(value), expected, "float32")
    assert_close(backend.to_host(loss.backward()), gradient, "float32")


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.1}, {"class_weight": CLASS_WEIGHT}])
def test_batch_of_ignored_samples_is_zero(backend: Any, settings: dict[str, Any]) -> None:
    loss = SoftmaxCrossEntropy(ignore_index=-100, **settings)
    value = loss.forward(
        backend.asarray(_numbers(SAMPLES, CLASSES)), backend.asarray(np.full(SAMPLES, -100))
    )
    assert backend.to_host(value) == 0.0
    np.testing.assert_array_equal(backend.to_host(loss.backward()), np.zeros((SAMPLES, CLASSES)))


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.1}, {"class_weight": CLASS_WEIGHT}])
@pytest.mark.parametrize("label", [CLASSES, -1, 10**6, 1.5, math.nan, math.inf, 1e30])
def test_unchecked_bad_label_makes_the_loss_nan(
    backend: Any, label: float, settings: dict[str, Any]
) -> None:
    labels = np.asarray([0, 1, label, 3])
    loss = SoftmaxCrossEntropy(**settings)
    input = backend.asarray(_numbers(4, CLASSES))
    assert np.isnan(backend.to_host(loss.forward(input, backend.asarray(labels))))
    assert np.isnan(backend.to_host(loss.backward())).all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "bool"])
def test_labels_of_any_dtype(backend: Any, dtype: str) -> None:
    labels = np.asarray([0, 1, 1, 0])
    input = backend.asarray(_numbers(4, 3))
    loss = SoftmaxCrossEntropy()
    expected = backend.to_host(loss.forward(input, backend.asarray(labels)))
    gradient = backend.to_host(loss.backward())
    other = backend.asarray(labels.astype(dtype), dtype=getattr(backend.xp, dtype))
    np.testing.assert_array_equal(backend.to_host(loss.forward(input, other)), expected)
    np.testing.assert_array_equal(backend.to_host(loss.backward()), gradient)


def test_flat_targets_of_a_column(backend: Any) -> None:
    host, target = _numbers(SAMPLES, 1), SOFT[:, 0].copy()
    for loss in (MeanSquaredError(), MeanAbsoluteError(), Huber(), BinaryCrossEntropy()):
        expected = backend.to_host(
            loss.forward(backend.asarray(host), backend.asarray(target[:, None]))
        )
        gradient = backend.to_host(loss.backward())
        value = loss.forward(backend.asarray(host), backend.asarray(target))
        np.testing.assert_array_equal(backend.to_host(value), expected)
        np.testing.assert_array_equal(backend.to_host(loss.backward()), gradient)


def test_gradients_at_kinks(backend: Any) -> None:
    input, target = backend.asarray([[1.0], [2.0]]), backend.asarray([[1.0], [1.0]])
    absolute, huber = MeanAbsoluteError(), Huber(1.0)
    absolute.forward(input, target)
    huber.forward(input, target)
    np.testing.assert_array_equal(backend.to_host(absolute.backward()), [[0.0], [0.5]])
    np.testing.assert_array_equal(backend.to_host(huber.backward()), [[0.0], [0.5]])


# ------------------------------------------------------------------------------- the contract


def test_backward_needs_a_forward(row: Row) -> None:
    loss = row.make()
    with pytest.raises(XpnnError, match="backward needs a forward pass before it"):
        loss.backward()
    loss.forward(_numbers(*row.shape), row.target)
    loss.backward()
    with pytest.raises(XpnnError, match=type(loss).__name__):
        loss.backward()


def test_backward_belongs_to_the_last_forward(row: Row) -> None:
    loss, fresh = row.make(), row.make()
    first, second = _numbers(*row.shape), 2 * _numbers(*row.shape)
    loss.forward(first, row.target, SAMPLE_WEIGHT)
    loss.forward(second, row.target)
    fresh.forward(second, row.target)
    np.testing.assert_array_equal(loss.backward(), fresh.backward())
    assert loss.cache == {}


def test_one_loss_serves_several_dtypes_and_copies(backend: Any) -> None:
    for loss in (SoftmaxCrossEntropy(CLASS_WEIGHT), BinaryCrossEntropy(CLASS_WEIGHT)):
        target = _probabilities()
        host = _numbers(SAMPLES, CLASSES)
        expected = loss.forward(host, target)
        value = loss.forward(backend.asarray(host), backend.asarray(target))
        assert_close(backend.to_host(value), expected, "float32")
        loss.backward()
        twin = copy.deepcopy(loss)
        assert_close(twin.forward(host, target), expected, "float64")


def test_one_loss_serves_several_types_and_devices_of_a_library() -> None:
    strict = pytest.importorskip("array_api_strict")
    for loss in (SoftmaxCrossEntropy(CLASS_WEIGHT), BinaryCrossEntropy(CLASS_WEIGHT)):
        target = np.eye(CLASSES)[LABELS]
        for dtype in (strict.float64, strict.float32):
            for device in ("CPU_DEVICE", "device1"):
                place = {"dtype": dtype, "device": strict.Device(device)}
                input = strict.asarray(_numbers(SAMPLES, CLASSES), **place)
                value = loss.forward(input, strict.asarray(target, **place))
                assert value.dtype == loss.backward().dtype == dtype


def test_settings_are_attributes() -> None:
    softmax = SoftmaxCrossEntropy(np.asarray([1, 2]), 0.5, np.int64(-1))
    assert (softmax.class_weight, softmax.label_smoothing) == ((1.0, 2.0), 0.5)
    assert softmax.ignore_index == -1
    assert BinaryCrossEntropy([1, 2]).pos_weight == (1.0, 2.0)
    assert BinaryCrossEntropy(2).pos_weight == 2.0
    assert Huber(2).delta == 2.0
    assert repr(Huber(2)) == "Huber(delta=2.0)"
    assert (
        repr(softmax)
        == "SoftmaxCrossEntropy(class_weight=(1.0, 2.0), label_smoothing=0.5, ignore_index=-1)"
    )
    assert repr(BinaryCrossEntropy(2)) == "BinaryCrossEntropy(pos_weight=2.0)"
    assert repr(MeanSquaredError()) == "MeanSquaredError()"


def test_the_base_class_leaves_the_work_to_others() -> None:
    target = np.asarray([1])
    assert Loss().prepare(target, (1, 2)) is target
    with pytest.raises(NotImplementedError, match="Loss does not define forward"):
        Loss().forward(target, target)
    with pytest.raises(NotImplementedError, match="Loss does not define backward"):
        Loss().backward()


# ------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("shape", "target", "message"),
    [
        ((4, 3), (5,), r"expected targets of shape \(4,\) or \(4, 3\), got \(5,\)"),
        ((4, 3), (4, 2), r"expected targets of shape \(4,\) or \(4, 3\), got \(4, 2\)"),
        ((4, 3), (4, 3, 1), r"got \(4, 3, 1\)"),
        ((4,), (4,), r"expected an output of shape \(N, K\) or \(N, T, K\), got \(4,\)"),
        ((4, 3, 2), (4,), r"expected targets of shape \(4, 3\) or \(4, 3, 2\), got \(4,\)"),
        ((4, 3, 2, 2), (4,), r"expected an output of shape .*, got \(4, 3, 2, 2\)"),
        ((4, 1), (4,), "for one column use BinaryCrossEntropy"),
    ],
)
def test_softmax_refuses_shapes(
    backend: Any, shape: tuple[int, ...], target: tuple[int, ...], message: str
) -> None:
    loss = SoftmaxCrossEntropy()
    zeros = np.zeros(target, dtype=np.int64)
    with pytest.raises(ShapeError, match=f"SoftmaxCrossEntropy: .*{message}"):
        loss.forward(backend.asarray(np.zeros(shape)), backend.asarray(zeros))
    if shape[0] == target[0]:
        with pytest.raises(ShapeError, match="SoftmaxCrossEntropy: "):
            loss.prepare(zeros, shape)


@pytest.mark.parametrize(
    ("shape", "target"),
    [((4,), (4, 1)), ((4, 1), (5, 1)), ((4, 2), (4,)), ((4, 4), (4,)), ((1, 4), (4,)), ((), ())],
)
@pytest.mark.parametrize("loss_type", [MeanSquaredError, MeanAbsoluteError, Huber])
def test_nothing_is_broadcast(
    loss_type: type[Loss], shape: tuple[int, ...], target: tuple[int, ...]
) -> None:
    name = loss_type.__name__
    with pytest.raises(ShapeError, match=f"^{name}: expected "):
        loss_type().forward(np.zeros(shape), np.zeros(target))
    with pytest.raises(ShapeError, match=f"^{name}: expected "):
        loss_type().prepare(np.zeros(target), (None, *shape[1:], 2))


def test_a_mismatch_names_both_shapes() -> None:
    message = (
        r"^BinaryCrossEntropy: expected targets of the output's shape \(4, 2\), got shape \(4,\)$"
    )
    with pytest.raises(ShapeError, match=message):
        BinaryCrossEntropy().forward(np.zeros((4, 2)), np.zeros(4))


def test_sample_weights_of_a_wrong_shape(row: Row) -> None:
    with pytest.raises(ShapeError, match=r"expected sample weights of shape \(7,\), got \(7, 1\)"):
        row.make().forward(_numbers(*row.shape), row.target, SAMPLE_WEIGHT[:, None])


def test_numbers_of_weights_that_do_not_fit() -> None:
    with pytest.raises(ConfigurationError, match="expected 3 class weights, got 2"):
        SoftmaxCrossEntropy((1, 2)).forward(np.zeros((4, 3)), np.zeros(4, dtype=int))
    with pytest.raises(ConfigurationError, match="expected 3 class weights, got 2"):
        SoftmaxCrossEntropy((1, 2)).prepare(np.zeros(4), (None, 3))
    with pytest.raises(ConfigurationError, match="expected 2 columns of logits"):
        BinaryCrossEntropy((1, 2)).forward(np.zeros((4, 3)), np.zeros((4, 3)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: SoftmaxCrossEntropy(class_weight=[1, -1]),
        lambda: SoftmaxCrossEntropy(class_weight=[1, math.nan]),
        lambda: SoftmaxCrossEntropy(class_weight=[]),
        lambda: SoftmaxCrossEntropy(class_weight="balanced"),
        lambda: SoftmaxCrossEntropy(class_weight=3.0),
        lambda: SoftmaxCrossEntropy(label_smoothing=1.1),
        lambda: SoftmaxCrossEntropy(label_smoothing=-0.1),
        lambda: SoftmaxCrossEntropy(label_smoothing=math.nan),
        lambda: SoftmaxCrossEntropy(label_smoothing=None),
        lambda: SoftmaxCrossEntropy(ignore_index=0.5),
        lambda: SoftmaxCrossEntropy(ignore_index=True),
        lambda: BinaryCrossEntropy(pos_weight=-1.0),
        lambda: BinaryCrossEntropy(pos_weight=[1.0, math.inf]),
        lambda: BinaryCrossEntropy(pos_weight="1"),
        lambda: BinaryCrossEntropy(pos_weight=np.asarray(2.0)),
        lambda: Huber(0.0),
        lambda: Huber(math.inf),
        lambda: Huber(math.nan),
        lambda: Huber(True),
    ],
)
def test_bad_settings(make: Callable[[], Loss]) -> None:
    with pytest.raises(ConfigurationError, match=r"^\w+: \w+(\[1\])? must be .*, got "):
        make()


# ------------------------------------------------------------------------------- on the host


@pytest.mark.parametrize("shape", [(None, 3), (4, 3), (100, 3), None])
def test_prepare_labels(shape: tuple[int | None, ...] | None) -> None:
    loss = SoftmaxCrossEntropy(ignore_index=-100)
    given = [
        np.asarray([0.0, 1.0, 2.0, -100.0]),
        np.asarray([[0], [1], [2], [-100]]),
        np.asarray([0, 1, 2, -100], dtype=np.int16),
    ]
    for labels in given:
        before = labels.copy()
        labels.flags.writeable = False
        prepared = loss.prepare(labels, shape)
        assert prepared.dtype == np.int64
        np.testing.assert_array_equal(prepared, [0, 1, 2, -100])
        np.testing.assert_array_equal(labels, before)
    booleans = loss.prepare(np.asarray([True, False]), shape)
    np.testing.assert_array_equal(booleans, [1, 0])
    assert booleans.dtype == np.int64


@pytest.mark.parametrize(
    ("labels", "received"),
    [
        ([0, 1, 3, 7], "got 3 in row 2"),
        ([0, -1, 1], "got -1 in row 1"),
        ([0.0, 0.5], "got 0.5 in row 1"),
        ([[0.0], [math.nan]], "got nan in row 1"),
        ([math.inf, 0.0], "got inf in row 0"),
        (np.asarray([2**64 - 1], dtype=np.uint64), "got 18446744073709551615 in row 0"),
    ],
)
def test_prepare_refuses_labels(labels: Any, received: str) -> None:
    message = (
        f"^SoftmaxCrossEntropy: expected labels that are whole numbers from 0 to 2, {received}$"
    )
    with pytest.raises(DataError, match=message):
        SoftmaxCrossEntropy().prepare(np.asarray(labels), (None, 3))


def test_prepare_refuses_labels_of_an_unknown_number_of_classes() -> None:
    for bad in (-2, 0.5, math.inf, math.nan):
        with pytest.raises(DataError, match=rf"whole numbers from 0, got {bad}.* in row 1"):
            SoftmaxCrossEntropy().prepare(np.asarray([9, bad]), None)


def test_prepare_probabilities() -> None:
    loss = SoftmaxCrossEntropy()
    half = np.full((2, 3), 1 / 3, dtype="float16")
    assert loss.prepare(half, (None, 3)) is half
    whole = loss.prepare(np.eye(3, dtype=int), None)
    assert whole.dtype == np.float64
    np.testing.assert_array_equal(whole, np.eye(3))
    for bad in ([0.5, 0.5, 0.5], [1.5, -0.5, 0.0], [math.nan, 0.5, 0.5], [0.0, 0.0, 0.0]):
        with pytest.raises(DataError, match=r"probabilities >= 0 that sum to 1, got .* in row 1"):
            loss.prepare(np.asarray([[1.0, 0.0, 0.0], bad]), (None, 3))
    with pytest.raises(ShapeError, match=r"got \(2, 3, 1\)"):
        loss.prepare(half[:, :, None], None)
    assert loss.prepare(half[:0], (None, 3)).shape == (0, 3)


@pytest.mark.parametrize("shape", [(None, 2), (3, 2), None])
def test_prepare_numbers(shape: tuple[int | None, ...] | None) -> None:
    for loss in (MeanSquaredError(), MeanAbsoluteError(), Huber(), BinaryCrossEntropy()):
        floats = np.asarray([[0.0, 1.0], [0.25, 0.5], [1.0, 1.0]], dtype="float16")
        assert loss.prepare(floats, shape) is floats
        integers = loss.prepare(floats.astype(int), shape)
        assert integers.dtype == np.float64
        np.testing.assert_array_equal(integers, [[0, 1], [0, 0], [1, 1]])
        with pytest.raises(ShapeError, match="expected a target for each sample"):
            loss.prepare(np.asarray(1.0), shape)
    flat = np.asarray([0.0, 1.0])
    assert BinaryCrossEntropy().prepare(flat, (None, 1)) is flat


@pytest.mark.parametrize("value", [1.5, -0.25, math.nan, 2, -1])
def test_prepare_refuses_what_is_no_probability(value: float) -> None:
    targets = np.asarray([[0, 1], [1, value], [value, 0]])
    with pytest.raises(
        DataError, match=rf"^BinaryCrossEntropy: expected targets from 0 to 1, got {value}.* row 1$"
    ):
        BinaryCrossEntropy().prepare(targets, (None, 2))
    with pytest.raises(DataError, match="row 0"):
        BinaryCrossEntropy().prepare(np.asarray([value]), (None,))


@pytest.mark.parametrize(
    "target",
    [
        np.asarray([1 + 1j, 0]),
        np.asarray([1, None], dtype=object),
        np.asarray(["cat", "dog"]),
        np.asarray(["2020-01-01", "2020-01-02"], dtype="datetime64[D]"),
    ],
    ids=["complex", "object", "text", "date"],
)
@pytest.mark.parametrize(
    "loss", [SoftmaxCrossEntropy(), BinaryCrossEntropy(), MeanSquaredError(), Huber()], ids=repr
)
def test_prepare_refuses_what_is_no_number(loss: Loss, target: np.ndarray) -> None:
    message = f"^{type(loss).__name__}: expected targets that are real numbers, got "
    with pytest.raises(DataError, match=message):
        loss.prepare(target, (None, 2))


@pytest.mark.parametrize(
    "settings",
    [{}, {"class_weight": (0.5, 1.0, 2.0)}, {"label_smoothing": 0.1}, {"ignore_index": 1}],
    ids=["plain", "weights", "smoothing", "ignored"],
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
def test_steps_of_sequences_are_samples(
    backend_float64: Any, settings: dict[str, Any], weighted: bool, kind: str
) -> None:
    """(N, T, K) gives what (N T, K) gives, with the weight of a sequence at each of its steps."""
    backend = backend_float64
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4, 5, 3))
    target = rng.integers(0, 3, (4, 5))
    if kind == "probabilities":
        target = rng.dirichlet([1.0, 1.0, 1.0], (4, 5))
    weight = np.asarray([1.0, 0.0, 0.5, 2.0])
    whole, rows = SoftmaxCrossEntropy(**settings), SoftmaxCrossEntropy(**settings)
    prepared = whole.prepare(target, (4, 5, 3))
    assert prepared.shape == target.shape
    given = [backend.asarray(weight)] if weighted else []
    repeated = [backend.asarray(np.repeat(weight, 5))] if weighted else []
    loss = whole.forward(backend.asarray(logits), backend.asarray(prepared), *given)
    expected = rows.forward(
        backend.asarray(logits.reshape(20, 3)),
        backend.asarray(target.reshape(20, *target.shape[2:])),
        *repeated,
    )
    assert float(loss) == float(expected)
    assert float(whole.weight_sum) == float(rows.weight_sum)
    gradient = backend.to_host(whole.backward())
    np.testing.assert_array_equal(gradient, backend.to_host(rows.backward()).reshape(4, 5, 3))


def test_wrong_label_of_a_sequence_is_found() -> None:
    target = np.zeros((3, 4), dtype=int)
    target[2, 1] = 7
    with pytest.raises(DataError, match="from 0 to 6, got 7 in row 2, step 1"):
        SoftmaxCrossEntropy().prepare(target, (3, 4, 7))
