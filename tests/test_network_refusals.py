"""What a network refuses before anything has changed, and what stays when a step fails."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import xpnn
from nets import assert_same, blobs, classifier, snapshot, values
from tolerances import RTOL
from xpnn import (
    L2,
    SGD,
    Adam,
    BackendError,
    BatchNorm,
    DataError,
    DivergenceError,
    Layer,
    Linear,
    Sequential,
    ShapeError,
    SoftmaxCrossEntropy,
)
from xpnn import backend as open_backend
from xpnn.backend import Backend

X, Y = blobs()

# Bad input: a clear error before anything has changed


BAD_BATCHES = {
    "wrong width": (
        np.zeros((24, 5)),
        Y,
        ShapeError,
        r"^layer 0 \(Linear\): .*\(N, 4\).*\(24, 5\)",
    ),
    "wrong rank": (np.zeros(24), Y, ShapeError, r"^layer 0 \(Linear\): .*\(24,\)"),
    "too many axes for BatchNorm": (np.zeros((24, 2, 4)), Y, ShapeError, r"^layer 1 \(BatchNorm\)"),
    "a number": (1.0, Y, DataError, "single number"),
    "fewer targets": (X, Y[:-1], ShapeError, r"\(24.*23"),
    "label too large": (X, np.where(Y == 2, 3, Y), DataError, "from 0 to 2, got 3 in row 2"),
    "negative label": (X, -Y, DataError, "got -1 in row 1"),
    "fractional label": (X, Y + 0.5, DataError, r"got 0\.5 in row 0"),
    "label not a number": (X, np.where(Y == 1, np.nan, Y), DataError, "got nan in row 1"),
    "complex": (X + 0j, Y, DataError, "real numbers"),
    "objects": (X.astype(object), Y, DataError, "real numbers"),
    "text": (X, Y.astype(str), DataError, "real numbers"),
    "ragged": ([[1.0, 2.0], [3.0]], [0, 1], DataError, "rows of equal length"),
    "masked": (np.ma.masked_less(X, 0), Y, DataError, "masked"),
    "targets of wrong width": (X, np.zeros((24, 4)), ShapeError, r"\(24, 4\)"),
    "probabilities": (X, np.ones((24, 3)), DataError, "sum to 1"),
}


@pytest.mark.parametrize("kind", BAD_BATCHES)
def test_bad_batches_are_refused_and_leave_no_trace(kind, backend):
    x, y, error, message = BAD_BATCHES[kind]
    net = classifier(backend.plain)
    net.train(X, Y)
    before = snapshot(net)
    with pytest.raises(error, match=message) as caught:
        net.train(x, y)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    assert_same(snapshot(net), before)
    net.train(X, Y)


@pytest.mark.parametrize(
    ("weight", "error"),
    [
        (np.ones(23), ShapeError),
        (np.ones((24, 1)), ShapeError),
        (1.0, ShapeError),
        (np.where(Y == 1, -1.0, 1.0), DataError),
        (["a"] * 24, DataError),
        (np.full(24, 1e38), DataError),  # float32 holds each of them, but not their sum
        (np.full(24, 1e-45), DataError),  # nor the reciprocal of this one
        (np.full(24, 1e308), DataError),
    ],
)
def test_bad_weights_are_refused_and_leave_no_trace(weight, error, backend):
    net = classifier(backend.plain)
    before = snapshot(net)
    with pytest.raises(error, match=r"weight|real numbers"):
        net.train(X, Y, weight)
    assert_same(snapshot(net), before)


def test_arrays_of_another_library_are_refused(backend):
    pytest.importorskip("array_api_strict")
    device = "device2" if backend.name.endswith("device1") else "device1"
    foreign = open_backend("array_api_strict", device)
    net = classifier(backend.plain)
    before = snapshot(net)
    for batch in (
        (foreign.asarray(X), Y),
        (X, foreign.asarray(Y)),
        (X, Y, foreign.asarray(np.ones(24))),
    ):
        own = "" if net.backend.name == "numpy" else f" or an array of {net.backend}"
        with pytest.raises(BackendError, match=f"data{own}, got an array of array_api_strict on"):
            net.train(*batch)
    assert_same(snapshot(net), before)


@pytest.mark.parametrize("x", [np.zeros((2, 5)), np.zeros(4), np.asarray([["a"] * 4]), 1.0])
def test_eval_refuses_what_train_refuses(x, backend):
    with pytest.raises(ValueError, match=r"layer 0|real numbers|single number"):
        classifier(backend.plain).eval(x)


# Divergence: the last good parameters stay, on back ends that wait and on those that do not


@pytest.fixture(params=[True, False], ids=["waits", "does not wait"])
def waits(request, monkeypatch):
    """Whether the back end looks at every loss; all of them are made to do both."""
    monkeypatch.setattr(Backend, "synchronous", property(lambda self: request.param))
    return request.param


class Trap(Layer):
    """Passes everything on until it is armed; then its gradient is infinite or not a number."""

    def __init__(self, value=None):
        super().__init__()
        self.value = value

    def forward(self, input):
        return input

    def backward(self, dout):
        return dout if self.value is None else 0 * dout + self.value


def armed(backend, optimizer=None, **more):
    return Sequential(
        [Linear(4, 5), Trap(), BatchNorm(5), Linear(5, 3)],
        SoftmaxCrossEntropy(),
        optimizer=optimizer or Adam(0.01, weight_decay=0.1),
        regularization=L2(1e-3),
        backend=backend.plain,
        seed=0,
        # The kernels for NumPy look at every loss in any case, those for CuPy never do.
        fuse=backend.plain.synchronous != (backend.plain.name == "cupy"),
        **more,
    )


FAULTS = {
    "nan in the input": (np.nan, None),
    "infinity in the input": (np.inf, None),
    "nan in the gradient": (1.0, np.nan),
    "infinity in the gradient": (1.0, np.inf),
    "minus infinity in the gradient": (1.0, -np.inf),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_divergence_leaves_parameters_and_buffers_bit_equal(fault, waits, backend):
    scale, value = FAULTS[fault]
    bad = np.array(X)
    bad[3, 1] *= scale
    net = armed(backend)
    net.train(X, Y)
    before = snapshot(net)
    net.layers[1].value = value
    if waits:
        with pytest.raises(DivergenceError) as error:
            net.train(bad, Y)
        assert (error.value.step, error.value.epoch, error.value.lr) == (1, 1, 0.01)
        text = str(error.value)
        assert "diverged at step 1, epoch 1" in text
        assert "learning rate is 0.01" in text
        assert "the loss is nan" in text if value is None else "the gradient is not finite" in text
        assert_same(snapshot(net), before)
    else:
        _, loss = net.train(bad, Y)
        assert np.isnan(float(loss))
        # Nothing changes any more until somebody has taken notice.
        net.layers[1].value = None
        _, loss = net.train(X, Y)
        assert np.isnan(float(loss))
        after = snapshot(net)
        for name, value_before in before.items():
            if name.startswith(("value", "buffer")):
                np.testing.assert_array_equal(after[name], value_before, err_msg=name)
        net.reset_divergence()
    net.layers[1].value = None
    _, loss = net.train(X, Y)
    assert np.isfinite(float(loss))
    assert np.isfinite(values(net)).all()
    assert (values(net) != before_vector(before, net)).any()


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("place", ["samples", "targets"])
def test_divergence_that_came_with_the_batch_says_so(place, fuse):
    net = xpnn.Sequential([xpnn.Linear(2, 1)], xpnn.MeanSquaredError(), lr=0.1, seed=0, fuse=fuse)
    batch = {"samples": np.ones((3, 2), np.float32), "targets": np.ones((3, 1), np.float32)}
    batch[place][1, 0] = np.nan
    with pytest.raises(DivergenceError) as error:
        net.train(batch["samples"], batch["targets"].tolist())
    assert str(error.value).endswith(f"It began in the batch: the {place} have NaN or infinity")
    assert error.value.culprit == f"the {place}"
    with np.errstate(all="ignore"), pytest.raises(DivergenceError) as error:
        net.train(np.full((3, 2), 1e38), np.ones((3, 1)))
    assert "batch" not in str(error.value)
    assert error.value.culprit is None


@pytest.mark.parametrize("fuse", [True, False])
def test_targets_that_the_cast_makes_infinite_are_named(fuse, backend):
    net = Sequential(
        [Linear(2, 1)], xpnn.MeanSquaredError(), lr=0.1, backend=backend.plain, seed=0, fuse=fuse
    )
    x, y = np.ones((3, 2)), np.full((3, 1), 1e300)
    with pytest.raises(xpnn.DataError, match=r"^y as float32 has inf at row 0, column 0 \(3 of 3"):
        xpnn.fit(net, (x, y), 1, progress=False)
    assert net.steps == 0
    batches = [(x, y)]
    message = r"the targets have numbers that are infinite as float32"
    with pytest.raises(DivergenceError, match=message) as error:
        xpnn.fit(net, batches, 1, progress=False)
    assert error.value.culprit == "the targets"


def before_vector(before, net):
    names = [f"value {part.key}" for part in net.parameters.values.parts]
    return np.concatenate([before[name].reshape(-1) for name in names])


@pytest.mark.parametrize(
    "optimizer",
    [SGD(0.1), SGD(0.1, momentum=0.9, nesterov=True), xpnn.RMSprop(0.01), xpnn.Adagrad(0.1)],
    ids=repr,
)
def test_every_optimizer_survives_divergence(optimizer, waits, backend):
    net = armed(backend, copy.deepcopy(optimizer))
    net.train(X, Y)
    before = values(net)
    net.layers[1].value = np.inf
    if waits:
        with pytest.raises(DivergenceError):
            net.train(X, Y)
    else:
        net.train(X, Y)
    np.testing.assert_array_equal(values(net), before)


def test_a_network_whose_first_step_diverges(waits, backend):
    net = armed(backend)
    before = values(net)
    net.layers[1].value = np.nan
    if waits:
        with pytest.raises(DivergenceError):
            net.train(X, Y)
    else:
        net.train(X, Y)
        net.reset_divergence()
    np.testing.assert_array_equal(values(net), before)
    net.layers[1].value = None
    net.train(X, Y)
    fresh = armed(backend)
    fresh.train(X, Y)
    if waits:
        assert_same(snapshot(net), snapshot(fresh))


def test_clipping_makes_no_good_gradient_of_an_infinite_one(waits, backend):
    net = armed(backend, Adam(0.01, clip_norm=1.0, clip_value=0.5))
    before = values(net)
    net.layers[1].value = np.inf
    if waits:
        with pytest.raises(DivergenceError, match="the gradient is not finite"):
            net.train(X, Y)
    else:
        assert np.isnan(float(net.train(X, Y)[1]))
    np.testing.assert_array_equal(values(net), before)


def test_a_new_learning_rate_lets_the_training_go_on(backend, monkeypatch):
    monkeypatch.setattr(Backend, "synchronous", property(lambda self: False))
    net = armed(backend)
    net.layers[1].value = np.inf
    net.train(X, Y)
    net.layers[1].value = None
    net.lr = 0.001
    assert np.isfinite(float(net.train(X, Y)[1]))


def test_waiting_or_not_gives_the_same_training(backend, monkeypatch):
    results = []
    for waiting in (True, False):
        monkeypatch.setattr(Backend, "synchronous", property(lambda self, w=waiting: w))
        net = armed(backend)
        results.append([float(net.train(X, Y)[1]) for _ in range(4)])
    np.testing.assert_allclose(results[0], results[1], rtol=RTOL["float32"])


def test_a_layer_that_fails_half_way_leaves_no_trace(backend):
    """Also if it replaces its dictionaries, and if others have already moved their averages."""

    class Fragile(Layer):
        def __init__(self):
            super().__init__()
            self.buffers["seen"] = np.zeros(5)
            self.fails = None

        def forward(self, input):
            self.buffers = {"seen": self.buffers["seen"] + 1}
            if self.fails == "forward":
                raise RuntimeError("broken")
            return input

        def backward(self, dout):
            if self.fails == "backward":
                raise RuntimeError("broken")
            return dout

    net = Sequential(
        [Linear(4, 5), BatchNorm(5), Fragile(), Linear(5, 3)],
        SoftmaxCrossEntropy(),
        optimizer=Adam(0.01),
        backend=backend.plain,
        seed=0,
    )
    net.train(X, Y)
    before = snapshot(net)
    for where in ("forward", "backward"):
        net.layers[2].fails = where
        with pytest.raises(RuntimeError, match="broken"):
            net.train(X, Y)
        assert_same(snapshot(net), before)
    net.layers[2].fails = None
    net.train(X, Y)
    assert snapshot(net)["buffer 2.seen"].tolist() == [2.0] * 5


# Parameters that somebody has set before the network was made

WRONG_ARRAYS = {
    "as PyTorch has it": (xpnn.GRU(4, 8), "Wx", (24, 4), r"'Wx' has shape \(4, 24\), got .*24, 4"),
    "too few rows": (xpnn.GRU(4, 8), "Wh", (4, 24), r"'Wh' has shape \(8, 24\), got .*4, 24"),
    "transposed": (Linear(4, 6), "W", (6, 4), r"'W' has shape \(4, 6\), got .*6, 4"),
    "a row for each": (Linear(4, 6), "b", (1, 6), r"'b' has shape \(6,\), got .*1, 6"),
    "too few ids": (xpnn.Embedding(10, 4), "W", (5, 4), r"'W' has shape \(10, 4\), got .*5, 4"),
    "too many filters": (xpnn.Conv2d(3, 4, 3), "W", (8, 3, 3, 3), r"'W' has shape \(4, 3, 3, 3\)"),
}


@pytest.mark.parametrize("wrong", WRONG_ARRAYS)
@pytest.mark.parametrize("fuse", [True, False])
def test_given_parameters_of_a_wrong_shape(wrong, fuse):
    layer, name, shape, message = WRONG_ARRAYS[wrong]
    layer = copy.deepcopy(layer)
    layer.params[name] = np.ones(shape, np.float32)
    with pytest.raises(ShapeError, match=rf"^layer 0 \({type(layer).__name__}\): {message}"):
        Sequential([layer], SoftmaxCrossEntropy(), lr=0.1, fuse=fuse)


def test_a_given_parameter_that_is_no_array():
    layer = Linear(3, 2)
    layer.params["W"] = [[1], [2, 3]]
    with pytest.raises(ShapeError, match=r"^layer 0 .*'W' has shape \(3, 2\), got rows of"):
        Sequential([layer], SoftmaxCrossEntropy(), lr=0.1)


@pytest.mark.parametrize("value", [None, "ones", ["a", "b"], np.asarray([1j]), {"a": 1}])
@pytest.mark.parametrize("kind", ["params", "buffers"])
def test_a_given_array_that_is_no_numbers(kind, value):
    layer = BatchNorm(1)
    getattr(layer, kind)[{"params": "gamma", "buffers": "running_mean"}[kind]] = value
    message = (
        r"^layer 0 \(BatchNorm\): '\w+': expected an array of real numbers of shape \(1,\), got "
    )
    with pytest.raises(xpnn.DataError, match=message):
        Sequential([layer], SoftmaxCrossEntropy(), lr=0.1)


@pytest.mark.parametrize("value", [None, "ones"])
def test_what_is_no_numbers_is_not_assigned(value):
    net = Sequential([Linear(3, 2)], SoftmaxCrossEntropy(), lr=0.1)
    before = net.state_dict()
    with pytest.raises(xpnn.DataError, match=r"^layer 0 \(Linear\): 'W': expected real numbers"):
        net.layers[0].params["W"] = value
    assert_same(net.state_dict(), before)


def test_given_buffers_of_a_wrong_shape():
    layer = BatchNorm(4)
    layer.buffers["running_mean"] = np.zeros(3)
    with pytest.raises(ShapeError, match=r"'running_mean' has shape \(4,\), got .* \(3,\)"):
        Sequential([layer], SoftmaxCrossEntropy(), lr=0.1)


def test_a_given_parameter_of_no_known_name():
    layer = Linear(4, 6)
    layer.params["w"] = np.ones((4, 6))
    with pytest.raises(xpnn.ConfigurationError, match=r"unknown parameter 'w': did you mean 'W'"):
        Sequential([layer], SoftmaxCrossEntropy(), lr=0.1)


def test_given_parameters_that_fit_stay():
    layer, w = xpnn.LSTM(4, 8), np.random.default_rng(0).standard_normal((12, 32))
    layer.params["W"] = w
    network = Sequential([layer], SoftmaxCrossEntropy(), lr=0.1, dtype="float64")
    assert set(network.parameters.named()) == {"0.W", "0.b"}
    np.testing.assert_array_equal(layer.params["W"], w)
