"""The gradient check itself: it must find wrong gradients, and tell kinks from errors."""

from __future__ import annotations

import numpy as np
import pytest
from array_api_compat import array_namespace

import xpnn
from nets import assert_same, snapshot
from xpnn.gradient_check import STEPS, check_derivative, check_gradients, smooth_slope


def check(function, point, gradient, seed=0):
    def loss_at(value):
        return float(np.sum(function(value)))

    check_derivative(loss_at, point, gradient, "x", np.random.default_rng(seed))


def test_a_right_gradient_passes():
    point = np.linspace(-2.0, 2.0, 12).reshape(3, 4)
    check(np.sin, point, np.cos(point))


@pytest.mark.parametrize("error", [1e-5, -1.0, 1.0])
def test_a_wrong_element_is_found_and_its_values_are_printed(error):
    point = np.linspace(-2.0, 2.0, 12).reshape(3, 4)
    gradient = np.cos(point)
    gradient[1, 2] += error
    with pytest.raises(AssertionError, match=r"gradient by x: backward says .*(?s:.*)direction:"):
        check(np.sin, point, gradient)


def test_a_gradient_of_nan_is_found():
    with pytest.raises(AssertionError, match="backward says nan"):
        check(np.sin, np.ones(3), np.full(3, np.nan))


def test_a_kink_in_every_direction_is_told_from_an_error():
    with pytest.raises(xpnn.GradientError, match="a kink in each of 6 directions"):
        check(np.abs, np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("offset", [0.1, 0.5, 0.9])
def test_a_kink_within_the_step_gives_no_slope(offset):
    assert smooth_slope(lambda t: abs(t - offset * STEPS[0])) is None


def test_a_kink_beyond_the_step_does_no_harm():
    assert smooth_slope(lambda t: abs(t - 2 * STEPS[0])) == pytest.approx(-1.0, rel=1e-9)


def test_a_curve_has_a_slope():
    assert smooth_slope(lambda t: np.exp(3.0 * t)) == pytest.approx(3.0, rel=1e-8)


LAYERS = [
    xpnn.Linear(5, 3),
    xpnn.BatchNorm(5),
    xpnn.Dropout(0.4),
    xpnn.Residual([xpnn.Linear(5, 5), xpnn.Tanh(), xpnn.Dropout(0.2)]),
]


@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_a_right_layer_passes_and_stays_as_it_was(layer, mode, backend_float64):
    rng = np.random.default_rng(1)
    errors = check_gradients(layer, backend_float64.asarray(rng.normal(size=(6, 5))), mode=mode)
    assert "input" in errors
    assert max(errors.values()) < 1e-7
    assert layer.params == {}
    assert layer.mode == "train"


class WrongByTheFactor(xpnn.Layer):
    """Squares, and forgets the 2 in the derivative."""

    def forward(self, input):
        self.cache["input"] = input
        return input**2

    def backward(self, dout):
        return dout * self.saved("input")


def test_a_wrong_layer_is_found():
    with pytest.raises(xpnn.GradientError, match="gradient by input: backward says"):
        check_gradients(WrongByTheFactor(), np.ones((2, 3)))


class Scaled(xpnn.Layer):
    """A parameter for each column; subclasses get one thing wrong."""

    def __init__(self, dim=3):
        super().__init__()
        self.params["s"] = np.linspace(0.5, 1.5, dim)

    def forward(self, input):
        self.cache["input"] = input
        return input * self.params["s"]

    def backward(self, dout):
        xp = array_namespace(dout)
        self.grads["s"] = xp.sum(dout * self.saved("input"), axis=0)
        return dout * self.params["s"]


class ForgetsAGradient(Scaled):
    def backward(self, dout):
        return dout * self.params["s"]


class ForgetsADictionary(Scaled):
    def backward(self, dout):
        self.grads = {}
        return dout * self.params["s"]


class ForgetsToReturn(Scaled):
    def backward(self, dout):
        super().backward(dout)


class ForgetsTheMean(Scaled):
    def backward(self, dout):
        dinput = super().backward(dout)
        self.grads["s"] = self.grads["s"] / dout.shape[0]
        return dinput


class SumsTooMuch(Scaled):
    def backward(self, dout):
        return super().backward(dout)[:, :1]


class ChangesItsInput(Scaled):
    def forward(self, input):
        input += 1.0
        return super().forward(input)


class ChangesTheGradient(Scaled):
    def backward(self, dout):
        dinput = super().backward(dout)
        dout *= 0.5
        return dinput


class DrawsItsOwnNumbers(Scaled):
    def forward(self, input):
        return super().forward(input) + np.random.default_rng().standard_normal(input.shape)


class WrongInTestMode(Scaled):
    def backward(self, dout):
        return super().backward(dout) * (2.0 if self.mode == "test" else 1.0)


BATCH = np.random.default_rng(5).standard_normal((4, 3))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            ForgetsAGradient,
            r"^layer 0 \(ForgetsAGradient\): backward wrote no gradient of 's', or only zeros; "
            r"gradient by 0\.s: backward says 0\.0, differences say",
        ),
        (ForgetsToReturn, "gradient by input: backward returns None"),
        (ForgetsTheMean, r"gradient by 0\.s: backward says"),
        (SumsTooMuch, r"gradient by input: expected shape \(4, 3\), got \(4, 1\)"),
        (ChangesItsInput, "changes the input, which it must leave"),
        (ChangesTheGradient, "backward changes dout"),
        (DrawsItsOwnNumbers, "the same input gives .* from self.stream.at"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_common_mistakes_are_called_by_their_names(kind, message):
    batch = BATCH.copy()
    with pytest.raises(xpnn.GradientError, match=message) as error:
        check_gradients(kind(), batch)
    assert isinstance(error.value, AssertionError)
    assert isinstance(error.value, xpnn.XpnnError)


def test_a_missing_gradient_is_an_error_of_the_network():
    with pytest.raises(xpnn.XpnnError, match="backward wrote no gradient of 's'"):
        check_gradients(ForgetsADictionary(), BATCH)


def test_modes_are_checked_one_at_a_time():
    assert max(check_gradients(WrongInTestMode(), BATCH).values()) < 1e-7
    with pytest.raises(xpnn.GradientError, match="gradient by input"):
        check_gradients(WrongInTestMode(), BATCH, mode="test")


def test_a_layer_of_ones_own_is_checked_on_the_library_of_the_input(backend_float64):
    layer = Scaled()
    before = layer.params["s"].copy()
    errors = check_gradients(layer, backend_float64.asarray(BATCH))
    assert set(errors) == {"input", "0.s"}
    assert max(errors.values()) < 1e-7
    # It is as it was: NumPy's parameters, nothing in the cache, no name of a network's.
    assert type(layer.params["s"]) is np.ndarray
    np.testing.assert_array_equal(layer.params["s"], before)
    assert (layer.grads, layer.cache, layer.name, layer.stream) == ({}, {}, "Scaled", None)


def test_a_layer_may_belong_to_a_network_and_be_of_single_precision():
    net = small_network()
    net.train(np.ones((4, 4)) * [[1.0], [2.0], [3.0], [4.0]], [0, 1, 2, 0])
    before = net.parameters.values.copy()
    errors = check_gradients(net.layers[1], np.random.default_rng(0).normal(size=(5, 6)))
    assert set(errors) == {"input", "0.gamma", "0.beta"}
    np.testing.assert_array_equal(net.parameters.values.array, before)
    assert net.layers[1].name == "layer 1 (BatchNorm)"
    np.testing.assert_array_equal(
        net.parameters.values.named()["1.gamma"], net.layers[1].params["gamma"]
    )


@pytest.mark.parametrize("data", [[[1.0, 2.0]], ((1, 2), (3, 4)), np.float32([[1, 2]])], ids=repr)
def test_inputs_of_any_kind(data):
    assert max(check_gradients(xpnn.Linear(2, 2), data).values()) < 1e-7


def test_the_seed_decides():
    def errors(seed):
        return check_gradients(xpnn.Linear(3, 2), BATCH, seed=seed)

    assert errors(1) == errors(1)
    assert errors(1) != errors(2)


def test_kinks_at_the_point_itself_are_avoided():
    whole = np.arange(-3.0, 3.0).reshape(2, 3)
    assert max(check_gradients(xpnn.ReLU(), whole).values()) < 1e-7
    zeros = np.zeros((5, 3))
    layers = [xpnn.Linear(3, 4), xpnn.ReLU(), xpnn.Linear(4, 2)]
    for loss in (xpnn.MeanAbsoluteError(), xpnn.MeanSquaredError(), xpnn.Huber()):
        for penalty in (None, xpnn.L1(0.1)):
            net = xpnn.Sequential(layers, loss, 0.1, penalty, seed=0)
            assert max(check_gradients(net, zeros, np.zeros((5, 2))).values()) < 1e-7


def test_a_wrong_gradient_at_a_kink_is_found():
    class AlwaysOne(xpnn.ReLU):
        def backward(self, dout):
            return dout + 0 * self.saved("output")

    with pytest.raises(xpnn.GradientError, match="backward says"):
        check_gradients(AlwaysOne(), np.arange(-3.0, 3.0).reshape(2, 3))


def test_kinks_everywhere_are_an_error():
    class Fractal(xpnn.Layer):
        def forward(self, input):
            return np.floor(1e12 * input) % 7

        def backward(self, dout):
            return 0 * dout

    with pytest.raises(xpnn.GradientError, match="a kink in each of 6 directions"):
        check_gradients(Fractal(), BATCH)


def test_wide_networks_have_kinks_everywhere_and_can_be_checked():
    layers = [xpnn.Linear(20, 400), xpnn.ReLU(), xpnn.Linear(400, 400), xpnn.ReLU()]
    net = xpnn.Sequential([*layers, xpnn.Linear(400, 3)], xpnn.SoftmaxCrossEntropy(), 0.1, seed=0)
    x = np.random.default_rng(0).standard_normal((64, 20))
    assert max(check_gradients(net, x, np.arange(64) % 3).values()) < 1e-7


def test_a_networks_loss_of_ones_own_is_checked_with_it():
    class Cubes(xpnn.Loss):
        factor = 3.0

        def forward(self, input, target):
            self.cache["difference"] = input - target
            return ((input - target) ** 3).sum()

        def backward(self):
            return self.factor * self.saved("difference") ** 2

    class Wrong(Cubes):
        factor = 2.0

    def network(loss):
        return xpnn.Sequential([xpnn.Linear(3, 2)], loss, 0.1, seed=0)

    target = np.ones((4, 2))
    assert set(check_gradients(network(Cubes()), BATCH, target)) == {"input", "0.W", "0.b"}
    with pytest.raises(xpnn.GradientError, match="gradient by input"):
        check_gradients(network(Wrong()), BATCH, target)


def test_a_network_of_ones_own_is_checked(backend_float64):
    class Sum(xpnn.Network):
        def __init__(self, right):
            super().__init__(xpnn.MeanSquaredError(), lr=0.1, backend=backend_float64.plain, seed=0)
            self.left, self.other = xpnn.Linear(3, 2), [xpnn.Linear(3, 2), xpnn.Tanh()]
            self.right = right

        def forward(self, input):
            return self.left.forward(input) + self.other[1].forward(self.other[0].forward(input))

        def backward(self, dout):
            second = self.other[0].backward(self.other[1].backward(dout))
            return self.left.backward(dout) + self.right * second

    target = np.zeros((4, 2))
    errors = check_gradients(Sum(1.0), BATCH, target)
    assert set(errors) == {"input", "left.W", "left.b", "other.0.W", "other.0.b"}
    with pytest.raises(xpnn.GradientError, match="gradient by input"):
        check_gradients(Sum(0.5), BATCH, target)


def test_a_trained_network_is_checked_and_stays_as_it_was(backend):
    if not backend.float64:
        pytest.skip("the check is in double precision")
    net = small_network(backend=backend.plain)
    x, y = np.random.default_rng(3).normal(size=(6, 4)), [0, 1, 2, 0, 1, 2]
    net.train(x, y)
    before = snapshot(net)
    for mode in ("train", "test"):
        errors = check_gradients(net, x, y, mode=mode)
        assert max(errors.values()) < 1e-7
    assert_same(snapshot(net), before)


def test_a_shape_that_does_not_fit_is_an_error_of_its_own():
    with pytest.raises(xpnn.ShapeError, match=r"\(N, 3\)"):
        check_gradients(xpnn.Linear(3, 2), np.ones((2, 4)))


def small_network(**more):
    layers = [xpnn.Linear(4, 6), xpnn.BatchNorm(6), xpnn.ReLU(), xpnn.Linear(6, 3)]
    return xpnn.Sequential(layers, xpnn.SoftmaxCrossEntropy(), lr=0.1, seed=0, **more)


def test_a_network_is_checked_with_its_penalty_and_stays_as_it_was():
    network = small_network(regularization=xpnn.L2(0.1))
    before = network.parameters.values.copy()
    x = np.random.default_rng(2).normal(size=(5, 4))
    errors = check_gradients(network, x, [0, 1, 2, 0, 1])
    assert set(errors) == {"input", *network.parameters.values.named()}
    assert max(errors.values()) < 1e-7
    assert network.backend.dtype == "float32"
    np.testing.assert_array_equal(network.parameters.values.array, before)


class WrongPenalty(xpnn.L2):
    def backward(self, param):
        return self.weight * param


def test_a_wrong_penalty_is_found_in_the_network():
    network = small_network(regularization=WrongPenalty(0.1))
    with pytest.raises(xpnn.GradientError, match="gradient by"):
        check_gradients(network, np.ones((3, 4)) * [[1.0], [2.0], [3.0]], [0, 1, 2])


def test_ids_have_no_gradient():
    assert set(check_gradients(xpnn.Embedding(7, 3), np.asarray([[1, 2], [6, 0]]))) == {"0.W"}


def test_wrong_arguments_are_refused():
    with pytest.raises(xpnn.ConfigurationError, match="a network needs a target"):
        check_gradients(small_network(), np.ones((2, 4)))
    with pytest.raises(xpnn.ConfigurationError, match="expected 'train' or 'test'"):
        check_gradients(xpnn.ReLU(), np.ones((2, 4)), mode="eval")
