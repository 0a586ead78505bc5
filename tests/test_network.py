"""Networks: how they are made, one step, one evaluation, their layers, copies and moves."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
from array_api_compat import array_namespace

import xpnn
from nets import assert_same, blobs, classifier, snapshot, values
from tolerances import RTOL, assert_close
from xpnn import (
    L1,
    L2,
    SGD,
    Adam,
    BackendError,
    BatchNorm,
    ConfigurationError,
    DataError,
    DivergenceError,
    Dropout,
    ElasticNet,
    Layer,
    Linear,
    Loss,
    MeanSquaredError,
    Network,
    Regularization,
    ReLU,
    Sequential,
    ShapeError,
    SoftmaxCrossEntropy,
    Tanh,
    XpnnError,
)
from xpnn import backend as open_backend
from xpnn.backend import Backend

X, Y = blobs()


# Making one


def test_lr_or_optimizer_one_of_the_two():
    for arguments in ({}, {"lr": 0.1, "optimizer": SGD(0.1)}):
        with pytest.raises(ConfigurationError, match="either lr or optimizer, one of the two"):
            Sequential([Linear(2, 2)], MeanSquaredError(), **arguments)


@pytest.mark.parametrize("lr", [0, 0.0, -0.1, float("nan"), float("inf"), "0.1", True, [0.1]])
def test_a_learning_rate_that_is_not_positive_is_refused(lr):
    with pytest.raises(ConfigurationError, match=r"^Network: lr must be a number in \(0, inf\)"):
        Sequential([Linear(2, 2)], MeanSquaredError(), lr=lr)
    net = Sequential([Linear(2, 2)], MeanSquaredError(), lr=0.1)
    with pytest.raises(ConfigurationError, match="lr must be"):
        net.lr = lr
    assert net.lr == 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"loss": MeanSquaredError},
            r"loss: expected a Loss, got the class .*: give MeanSq",
        ),
        ({"loss": "mse"}, "loss: expected a Loss, got 'mse'"),
        ({"loss": None}, "loss: expected a Loss, got None"),
        ({"lr": None, "optimizer": "adam"}, "optimizer: expected an Optimizer, got 'adam'"),
        ({"lr": None, "optimizer": Adam}, "optimizer: expected an Optimizer, got the class Adam: "),
        ({"regularization": 1e-4}, "regularization: expected a Regularization, got 0.0001"),
        ({"layers": [Linear(2, 2), ReLU]}, r"layers\[1\]: expected a Layer, got the class ReLU: "),
        ({"layers": [Linear(2, 2), abs]}, r"layers\[1\]: expected a Layer, got <built-in"),
        ({"layers": Linear(2, 2)}, r"layers: expected a list of layers, got Linear\(2, 2\)"),
        ({"layers": 3}, "layers: expected a list of layers, got 3"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"dtype": "float16"}, "unknown dtype 'float16'"),
        ({"backend": open_backend(), "device": "cpu"}, "either a Backend or a device"),
        ({"backend": open_backend(), "dtype": "float64"}, "either a Backend or a dtype"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    complete = {"layers": [Linear(2, 2)], "loss": MeanSquaredError(), "lr": 0.1} | arguments
    with pytest.raises(ConfigurationError, match=message):
        Sequential(**complete)


def test_a_back_end_that_is_there_may_be_given():
    plain = open_backend(dtype="float64")
    assert classifier(plain).backend is plain
    assert classifier(plain, dtype="float64").parameters.values.array.dtype == np.float64


def test_an_unusable_back_end_is_an_error_at_once():
    with pytest.raises(BackendError, match="unknown back end"):
        classifier("nmupy")
    with pytest.raises(BackendError, match="no device"):
        classifier("numpy", device="cuda")


def test_the_same_layer_twice_is_an_error():
    layer = Linear(2, 2)
    with pytest.raises(ConfigurationError, match="layers 0 and 2 are one object: make two"):
        Sequential([layer, ReLU(), layer], MeanSquaredError(), lr=0.1)


def test_a_layer_without_init_is_an_error():
    class Forgetful(Layer):
        def __init__(self):
            pass

    with pytest.raises(ConfigurationError, match=r"layer 1 \(Forgetful\) has not called super"):
        Sequential([Linear(2, 2), Forgetful()], MeanSquaredError(), lr=0.1)


def test_the_base_class_says_what_is_missing():
    net = Network(MeanSquaredError(), lr=0.1)
    for method in (net.forward, net.backward):
        with pytest.raises(NotImplementedError, match=f"does not define {method.__name__}"):
            method(X)


def test_the_tutorials_signature():
    net = Sequential([Linear(4, 3)], SoftmaxCrossEntropy(), 0.5, L2(1e-3))
    assert (net.lr, net.regularization.weight) == (0.5, 1e-3)
    output, loss = net.train(X, Y)
    assert output.shape == (24, 3)
    assert net.eval(X).shape == (24, 3)
    assert np.ndim(loss) == 0


def test_types_of_everything(backend_each_dtype):
    backend = backend_each_dtype
    net = classifier(backend.plain, regularization=L2(1e-3))
    output, loss = net.train(X, Y)
    parameters = net.parameters
    arrays = [output, loss, net.eval(X), parameters.grads.array, *net.optimizer_state.values()]
    arrays += [parameters.values.array, parameters.buffers.array]
    for array in arrays:
        assert array.dtype == backend.plain.float_dtype
        assert backend.plain.owns(array)
    assert tuple(loss.shape) == ()


# One step


def by_hand(x, y, W, b, lr, weight):
    """Linear, mean squared error, L2 on everything, gradient descent: what one step gives."""
    output = x @ W + b
    error = output - y
    loss = (error**2).mean() + weight * ((W**2).sum() + (b**2).sum())
    dout = 2 * error / error.size
    return (
        output,
        loss,
        W - lr * (x.T @ dout + 2 * weight * W),
        b - lr * (dout.sum(0) + 2 * weight * b),
    )


def test_a_step_is_the_one_by_hand(backend_each_dtype):
    backend = backend_each_dtype
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    layer = Linear(3, 2)
    W, b = rng.standard_normal((3, 2)), rng.standard_normal(2)
    layer.params = {"W": W, "b": b}
    net = Sequential([layer], MeanSquaredError(), 0.1, L2(0.05), backend=backend.plain)
    for step in range(3):
        expected_output, expected_loss, W, b = by_hand(x, y, W, b, 0.1, 0.05)
        output, loss = net.train(x, y)
        assert_close(backend.to_host(output), expected_output, backend.dtype)
        assert_close(backend.to_host(loss), expected_loss, backend.dtype)
        assert_close(backend.to_host(layer.params["W"]), W, backend.dtype)
        assert_close(backend.to_host(layer.params["b"]), b, backend.dtype)
        assert net.steps == step + 1


def test_a_weighted_step_is_that_of_repeated_rows(backend):
    weight = np.asarray([0, 1, 2, 3] * 6)
    nets = [classifier_without_randomness(backend) for _ in range(2)]
    _, loss = nets[0].train(X, Y, weight)
    _, expected = nets[1].train(np.repeat(X, weight, axis=0), np.repeat(Y, weight))
    assert float(loss) == pytest.approx(float(expected), rel=RTOL["float32"])
    assert_close(values(nets[0]), values(nets[1]), "float32")


def classifier_without_randomness(backend, optimizer=None, **more):
    return Sequential(
        [Linear(4, 5), Tanh(), Linear(5, 3)],
        SoftmaxCrossEntropy(),
        optimizer=optimizer or SGD(0.5),
        backend=backend.plain,
        seed=3,
        **more,
    )


def test_what_a_step_returns_stays_as_it_is(backend):
    """However the network uses its memory again."""
    net = classifier(backend.plain)
    arrays, copies = [], []
    for rows in (24, 24, 7, 24):
        output, loss = net.train(X[:rows], Y[:rows])
        arrays += [output, loss, net.eval(X[:rows])]
        copies += [np.array(backend.to_host(array)) for array in arrays[-3:]]
    for array, expected in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(backend.to_host(array), expected)


def test_weights_that_are_all_zero_change_nothing(backend):
    net = classifier_without_randomness(backend)
    before = values(net)
    _, loss = net.train(X, Y, np.zeros(24))
    assert float(loss) == 0.0
    np.testing.assert_array_equal(values(net), before)


def test_lr_is_plain_gradient_descent(backend):
    nets = [
        Sequential(
            [Linear(4, 3)], SoftmaxCrossEntropy(), backend=backend.plain, seed=0, **arguments
        )
        for arguments in ({"lr": 0.3}, {"optimizer": SGD(0.3)})
    ]
    for net in nets:
        for _ in range(3):
            net.train(X, Y)
    assert_same(snapshot(nets[0]), snapshot(nets[1]))


def test_lr_can_be_read_and_assigned():
    net = classifier(optimizer=SGD(xpnn.Step(0.4, step_size=1, factor=0.5)))
    assert net.lr == 0.4
    net.train(X, Y)
    assert net.lr == 0.2
    net.lr = 0.05
    net.train(X, Y)
    assert net.lr == 0.05


def test_a_new_optimizer_begins_with_a_new_state():
    net = classifier(optimizer=SGD(0.1, momentum=0.9))
    net.train(X, Y)
    assert set(net.optimizer_state) == {"velocity"}
    net.optimizer = Adam(0.01)
    net.train(X, Y)
    assert set(net.optimizer_state) == {"mean", "square"}
    with pytest.raises(ConfigurationError, match="optimizer: expected"):
        net.optimizer = 0.1


def test_data_of_any_kind_are_cast(backend):
    losses = []
    whole = np.round(X)
    for x in (
        whole,
        whole.astype("float16"),
        whole.astype("int8"),
        whole.tolist(),
        whole[::-1][::-1],
    ):
        for y in (Y, Y.astype("uint8"), Y.astype("float32"), Y[:, None], Y.tolist()):
            net = classifier_without_randomness(backend)
            losses.append(float(net.train(x, y)[1]))
    assert losses == pytest.approx([losses[0]] * 25, rel=1e-6)


def test_booleans_are_data(backend):
    net = Sequential(
        [Linear(2, 1)], xpnn.BinaryCrossEntropy(), lr=0.1, backend=backend.plain, seed=0
    )
    x = np.asarray([[True, False], [False, False]])
    with_booleans = float(net.train(x, np.asarray([True, False]))[1])
    again = Sequential(
        [Linear(2, 1)], xpnn.BinaryCrossEntropy(), lr=0.1, backend=backend.plain, seed=0
    )
    assert float(again.train(x.astype(float), np.asarray([1.0, 0.0]))[1]) == with_booleans


def test_arrays_of_the_library_itself_are_taken(backend):
    net, again = classifier(backend.plain), classifier(backend.plain)
    plain = backend.plain
    _, loss = net.train(plain.asarray(X), plain.asarray(Y), plain.asarray(np.ones(24)))
    _, expected = again.train(X, Y, np.ones(24))
    assert float(loss) == float(expected)
    assert_same(snapshot(net), snapshot(again))


def test_inputs_are_never_modified(backend):
    net = classifier(backend.plain)
    plain = backend.plain
    weight = np.linspace(0.5, 1.5, 24)
    given = [plain.asarray(np.array(value)) for value in (X, Y, weight)]
    host = [np.array(X, dtype=np.float32), np.array(Y), np.array(weight, dtype=np.float32)]
    for batch in (given, host):
        before = [np.array(backend.to_host(plain.asarray(value))) for value in batch]
        for _ in range(2):
            net.train(*batch)
            net.eval(batch[0])
        for value, old in zip(batch, before, strict=True):
            np.testing.assert_array_equal(backend.to_host(plain.asarray(value)), old)


def test_read_only_inputs_are_accepted(backend):
    batch = [np.array(X, dtype=np.float32), np.array(Y), np.ones(24, dtype=np.float32)]
    for value in batch:
        value.flags.writeable = False
    net = classifier(backend.plain)
    net.train(*batch)
    net.eval(batch[0])


def test_eval_is_in_test_mode_and_changes_nothing(backend):
    net = classifier(backend.plain)
    net.train(X, Y)
    before = snapshot(net)
    first, second = backend.to_host(net.eval(X)), backend.to_host(net.eval(X))
    np.testing.assert_array_equal(first, second)
    # Row by row it is the same: no statistics over the batch, no mask.
    rows = np.concatenate([backend.to_host(net.eval(X[i : i + 1])) for i in range(24)])
    assert_close(rows, first, "float32")
    assert_same(snapshot(net), before)
    assert all(layer.cache == {} for layer in net.layers)


def test_eval_between_steps_does_not_change_the_training(backend):
    net, again = classifier(backend.plain), classifier(backend.plain)
    for _ in range(3):
        net.train(X, Y)
        net.eval(X[:5])
        again.train(X, Y)
    assert_same(snapshot(net), snapshot(again))


def test_an_empty_batch(backend):
    net = classifier(backend.plain)
    assert tuple(net.eval(np.zeros((0, 4))).shape) == (0, 3)
    before = snapshot(net)
    with pytest.raises(DataError, match="empty batch"):
        net.train(np.zeros((0, 4)), np.zeros(0, dtype=int))
    assert_same(snapshot(net), before)


# Regularization


class Squares(Regularization):
    """L2 as a user writes it, one parameter at a time."""

    def forward(self, param):
        self.shapes = [*getattr(self, "shapes", []), tuple(param.shape)]
        return self.weight * _sum(param * param)

    def backward(self, param):
        return 2 * self.weight * param


def _sum(array):
    return array_namespace(array).sum(array)


@pytest.mark.parametrize(
    "roles",
    [None, {"weight"}, {"bias", "scale"}, {"scale"}, set()],
    ids=["all", "weight", "bias-scale", "scale", "none"],
)
def test_three_ways_to_regularize_are_equal(roles, backend_float64):
    """On slices of the flat vector, on one parameter at a time, and by hand through the loss."""
    backend = backend_float64
    nets = []
    for regularization in (L2(0.1, roles), Squares(0.1, roles), ElasticNet(0.0, 0.1, roles)):
        net = classifier(backend.plain, optimizer=SGD(0.2), regularization=regularization)
        losses = [float(net.train(X, Y)[1]) for _ in range(3)]
        nets.append((values(net), losses))
    for other in nets[1:]:
        np.testing.assert_allclose(other[0], nets[0][0], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(other[1], nets[0][1], rtol=1e-12)


def test_a_penalty_of_a_users_own_sees_shaped_parameters():
    penalty = Squares(0.1, {"weight"})
    classifier(optimizer=SGD(0.2), regularization=penalty).train(X, Y)
    assert penalty.shapes == [(4, 8), (8, 3)]


def test_the_loss_includes_the_penalty(backend):
    plain, penalized = (
        classifier(backend.plain, regularization=penalty) for penalty in (None, L1(0.01))
    )
    expected = 0.01 * np.abs(values(plain)).sum()
    difference = float(penalized.train(X, Y)[1]) - float(plain.train(X, Y)[1])
    assert difference == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("penalty", [L2(10.0), L1(10.0), Squares(10.0)], ids=["L2", "L1", "own"])
def test_the_gradients_after_a_step_are_those_of_the_layers(penalty, fuse, backend):
    """Without the penalty, and not clipped: the same on every library, fused or not."""
    plain = classifier(backend.plain, fuse=False)
    plain.train(X, Y)
    expected = plain.parameters.grads.named()
    optimizer = SGD(0.1, clip_value=1e-3, clip_norm=1e-3)
    net = classifier(backend.plain, regularization=penalty, optimizer=optimizer, fuse=fuse)
    net.train(X, Y)
    assert net.parameters.grads.named().keys() == expected.keys()
    for key, gradient in net.parameters.grads.named().items():
        assert_close(backend.to_host(gradient), backend.to_host(expected[key]), "float32", 20)
    for index, layer in enumerate(net.layers):
        for name in layer.params:
            held = backend.to_host(layer.grads[name])
            of_vector = net.parameters.grads.named()[f"{index}.{name}"]
            np.testing.assert_array_equal(held, backend.to_host(of_vector))


def test_weight_decay_acts_on_its_roles(backend):
    net = classifier(backend.plain, optimizer=SGD(0.5, weight_decay=0.2))
    before = net.parameters.values.named()
    before = {key: np.array(backend.to_host(value)) for key, value in before.items()}
    net.train(X, Y, np.zeros(24))  # no gradient
    for key, value in net.parameters.values.named().items():
        factor = 0.9 if key.endswith("W") else 1.0
        assert_close(backend.to_host(value), factor * before[key], "float32")


# Layers of a user's own


class Scale(Layer):
    """Tutorial style: a parameter made at once, nothing registered, no shapes told."""

    def __init__(self, dim):
        super().__init__()
        self.params["s"] = np.full(dim, 1.5)

    def forward(self, input):
        self.cache["input"] = input
        return input * self.params["s"]

    def backward(self, dout):
        self.grads["s"] = _sum0(dout * self.cache["input"])
        return dout * self.params["s"]


class LazyScale(Scale):
    """Learns its width from its first input."""

    def __init__(self):
        super().__init__(1)
        del self.params["s"]

    def forward(self, input):
        if "s" not in self.params:
            self.params["s"] = 0 * input[0, :] + 1.5
        return super().forward(input)


class NewDictionaries(Scale):
    """Makes its dictionary of gradients anew every time."""

    def backward(self, dout):
        self.grads = {"s": _sum0(dout * self.cache["input"])}
        return dout * self.params["s"]


def _sum0(array):
    return array_namespace(array).sum(array, axis=0)


class SquaredError(Loss):
    """Tutorial style: forward and backward and nothing else."""

    def forward(self, input, target):
        self.cache["difference"] = input - target
        return _sum(self.cache["difference"] ** 2) / input.shape[0]

    def backward(self):
        return 2 * self.cache["difference"] / self.cache["difference"].shape[0]


@pytest.mark.parametrize("make", [lambda: Scale(4), LazyScale, lambda: NewDictionaries(4)])
def test_layers_and_losses_of_a_users_own(make, backend_each_dtype):
    backend = backend_each_dtype
    target = np.linspace(-1, 1, 72).reshape(24, 3)
    net = Sequential([make(), Linear(4, 3)], SquaredError(), 0.1, backend=backend.plain, seed=0)
    W, b = (np.array(backend.to_host(net.layers[1].params[n]), dtype=float) for n in "Wb")
    s = np.full(4, 1.5)
    for _ in range(3):
        net.train(X, target)
        dout = 2 * (X * s @ W + b - target) / 24
        s, W, b = (
            s - 0.1 * ((dout @ W.T) * X).sum(0),
            W - 0.1 * (X * s).T @ dout,
            b - 0.1 * dout.sum(0),
        )
    expected = {"0.s": s, "1.W": W, "1.b": b}
    assert net.parameters.values.named().keys() == expected.keys()
    for key, value in net.parameters.values.named().items():
        assert_close(backend.to_host(value), expected[key], backend.dtype, factor=10)


def test_a_layer_that_grows_at_its_first_step_trains_with_a_stateful_optimizer(backend):
    lazy, eager = (
        Sequential(
            [scale, Tanh(), BatchNorm(4), Linear(4, 3)],
            SoftmaxCrossEntropy(),
            optimizer=Adam(0.05),
            backend=backend.plain,
            seed=0,
        )
        for scale in (LazyScale(), Scale(4))
    )
    for _ in range(3):
        lazy.train(X, Y)
        eager.train(X, Y)
    assert lazy.optimizer_state.keys() == {"mean", "square"}
    assert_close(values(lazy), values(eager), "float32", factor=10)


def test_a_layer_that_grows_in_an_evaluation(backend):
    lazy, eager = (
        Sequential([scale, Linear(4, 3)], SoftmaxCrossEntropy(), 0.1, backend=backend.plain, seed=0)
        for scale in (LazyScale(), Scale(4))
    )
    assert_close(backend.to_host(lazy.eval(X)), backend.to_host(eager.eval(X)), "float32")
    lazy.train(X, Y)
    eager.train(X, Y)
    assert_close(values(lazy), values(eager), "float32")


class Counter(Layer):
    """Makes a buffer when it is first tested, after the training has begun."""

    def forward(self, input):
        if self.mode == "test":
            self.buffers["tests"] = self.buffers.get("tests", 0 * _sum(input)) + 1
        return input

    def backward(self, dout):
        return dout


def test_a_buffer_may_come_late(backend):
    net = Sequential(
        [Linear(4, 3), Counter()],
        SoftmaxCrossEntropy(),
        optimizer=Adam(0.01),
        backend=backend.plain,
        seed=0,
    )
    net.train(X, Y)
    net.eval(X)
    net.eval(X)
    net.train(X, Y)
    assert float(net.layers[1].buffers["tests"]) == 2.0
    assert net.parameters.buffers.named().keys() == {"1.tests"}


def test_a_parameter_may_not_come_late_to_an_optimizer_with_a_state():
    net = classifier()
    net.train(X, Y)
    net.layers[0].params["late"] = np.ones(2)
    with pytest.raises(XpnnError, match="added or removed after training had begun"):
        net.train(X, Y)
    del net.layers[0].params["late"]
    net.train(X, Y)
    assert net.steps == 2


def test_a_missing_gradient_is_an_error_that_names_the_layer():
    class Forgetful(Scale):
        def backward(self, dout):
            self.grads = {}
            return dout

    net = Sequential([Linear(4, 3), Forgetful(3)], SoftmaxCrossEntropy(), 0.1, seed=0)
    before = snapshot(net)
    with pytest.raises(
        XpnnError, match=r"layer 1 \(Forgetful\): backward wrote no gradient of 's'"
    ):
        net.train(X, Y)
    assert_same(snapshot(net), before)


def test_a_gradient_of_wrong_shape_is_an_error_that_names_the_layer(backend):
    class Wrong(Scale):
        def backward(self, dout):
            self.grads["s"] = dout
            return dout

    net = Sequential(
        [Linear(4, 3), Wrong(3)], SoftmaxCrossEntropy(), 0.1, backend=backend.plain, seed=0
    )
    before = snapshot(net)
    with pytest.raises(ShapeError, match=r"layer 1 \(Wrong\): 's' has shape \(3,\), got .*24, 3"):
        net.train(X, Y)
    assert_same(snapshot(net), before)


def test_a_loss_whose_gradient_has_a_wrong_shape_is_an_error(backend):
    """The difference of (N, 1) and (N,) is (N, N): every library broadcasts it silently."""
    net = Sequential([Linear(4, 1)], SquaredError(), 0.1, backend=backend.plain, seed=0)
    before = snapshot(net)
    with pytest.raises(ShapeError, match=r"SquaredError.*\(24, 1\).*\(24, 24\)"):
        net.train(X, X[:, 0])
    assert_same(snapshot(net), before)


def test_integer_targets_of_a_loss_of_ones_own_do_not_change_the_type(backend_each_dtype):
    class Distance(SquaredError):
        def forward(self, input, target):
            xp = array_namespace(input)
            return super().forward(input, xp.astype(target, input.dtype))

    backend = backend_each_dtype
    net = Sequential([Linear(4, 3)], Distance(), 0.1, backend=backend.plain, seed=0)
    net.train(X, np.ones((24, 3), dtype=int))
    assert net.parameters.grads.array.dtype == backend.plain.float_dtype


def test_a_loss_that_promotes_does_not_change_the_type():
    """NumPy makes float64 of float32 and integers."""
    net = Sequential([Linear(4, 3)], SquaredError(), 0.1, seed=0)
    _, loss = net.train(X, np.ones((24, 3), dtype=int))
    assert (loss.dtype, net.parameters.values.array.dtype) == (np.float32, np.float32)


def test_a_loss_without_sample_weights_says_so():
    net = Sequential([Linear(4, 3)], SquaredError(), 0.1, seed=0)
    before = snapshot(net)
    with pytest.raises(ConfigurationError, match="SquaredError takes no sample_weight"):
        net.train(X, np.zeros((24, 3)), np.ones(24))
    assert_same(snapshot(net), before)


# Networks of a user's own


class Branches(Network):
    """Layers in attributes, lists and dictionaries, also nested ones; a branch can be left out."""

    def __init__(self, **more):
        super().__init__(SoftmaxCrossEntropy(), **more)
        self.note = "text, numbers and lists of them are no layers"
        self.history = [1.0, 2.0]
        self.first = Linear(4, 5)
        self.blocks = [[Tanh(), Linear(5, 5)], [None, Linear(5, 5)]]
        self.heads = {"big": {"linear": Linear(5, 3)}, "small": (Linear(5, 3),)}
        self.use_second = True

    def chain(self):
        second = [self.blocks[1][1]] if self.use_second else []
        return [self.first, *self.blocks[0], *second, self.heads["big"]["linear"]]

    def forward(self, input):
        for layer in self.chain():
            input = layer.forward(input)
        return input

    def backward(self, dout):
        for layer in reversed(self.chain()):
            dout = layer.backward(dout)
        return dout


KEYS = {
    "first",
    "blocks.0.0",
    "blocks.0.1",
    "blocks.1.1",
    "heads.big.linear",
    "heads.small.0",
}


def test_layers_are_found_in_attributes_lists_and_dictionaries(backend):
    net = Branches(lr=0.1, backend=backend.plain, seed=0)
    assert dict(net.named_layers()).keys() == KEYS
    linear = {key for key in KEYS if key != "blocks.0.0"}
    expected = {f"{key}.{name}" for key in linear for name in "Wb"}
    assert net.parameters.values.named().keys() == expected
    before = snapshot(net)
    net.train(X, Y)
    after = snapshot(net)
    unused = {"value heads.small.0.W", "value heads.small.0.b"}
    for name in expected:
        same = np.array_equal(before[f"value {name}"], after[f"value {name}"])
        assert same == (f"value {name}" in unused), name


def test_a_layer_that_a_step_leaves_out_has_no_gradient(backend):
    """Not that of the step before."""
    net = Branches(lr=0.1, backend=backend.plain, seed=0)
    net.train(X, Y)
    left_out = net.blocks[1][1]
    before = np.array(backend.to_host(left_out.params["W"]))
    net.use_second = False
    net.train(X, Y)
    np.testing.assert_array_equal(backend.to_host(left_out.params["W"]), before)
    np.testing.assert_array_equal(backend.to_host(left_out.grads["W"]), np.zeros((5, 5)))


def test_a_network_of_ones_own_equals_sequential(backend):
    own = Branches(lr=0.1, backend=backend.plain, seed=0)
    chain = copy.deepcopy(own).chain()
    again = Sequential(chain, SoftmaxCrossEntropy(), 0.1, backend=backend.plain, seed=0)
    for source, target in zip(own.chain(), chain, strict=True):
        _ = own.parameters
        target.params |= {name: backend.to_host(value) for name, value in source.params.items()}
    for _ in range(3):
        expected = pytest.approx(float(again.train(X, Y)[1]), rel=RTOL["float32"])
        assert float(own.train(X, Y)[1]) == expected


def test_layers_may_be_attributes_before_init():
    class Early(Network):
        def __init__(self):
            self.layer = Linear(4, 3)
            super().__init__(SoftmaxCrossEntropy(), lr=0.1, seed=0)

        def forward(self, input):
            return self.layer.forward(input)

        def backward(self, dout):
            return self.layer.backward(dout)

    net = Early()
    losses = [float(net.train(X, Y)[1]) for _ in range(5)]
    assert losses[-1] < losses[0]


class Residual(Layer):
    """A composite: x + inner(x)."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def sublayers(self):
        yield "inner", self.inner

    def forward(self, input):
        return input + self.inner.forward(input)

    def backward(self, dout):
        return dout + self.inner.backward(dout)


def test_composites(backend):
    net = Sequential(
        [Residual(Residual(Linear(4, 4))), Residual(Dropout(0.5)), Linear(4, 3)],
        SoftmaxCrossEntropy(),
        0.1,
        backend=backend.plain,
        seed=0,
    )
    keys = ["0.inner.inner", "0.inner", "0", "1.inner", "1", "2"]
    assert list(dict(net.named_layers())) == keys
    before = values(net)
    net.train(X, Y)
    assert (values(net) != before).any()
    assert [layer.mode for _, layer in net.named_layers()] == ["train"] * 6
    net.eval(X)
    assert [layer.mode for _, layer in net.named_layers()] == ["test"] * 6


# Changed lists of layers


def test_layers_may_be_added_and_removed_before_the_training(backend):
    net = classifier(backend.plain)
    kept = np.array(backend.to_host(net.layers[0].params["W"]))
    net.layers.insert(3, Tanh())
    net.layers.append(Linear(3, 3))
    assert net.parameters.values.named().keys() == {
        "0.W", "1.gamma", "1.beta", "5.W", "5.b", "6.W", "6.b",
    }  # fmt: skip
    np.testing.assert_array_equal(backend.to_host(net.layers[0].params["W"]), kept)
    assert net.layers[6].name == "layer 6 (Linear)"
    net.train(X, Y)
    assert tuple(net.optimizer_state["mean"].shape) == tuple(net.parameters.values.array.shape)


def test_layers_may_change_if_the_optimizer_has_no_state(backend):
    net = classifier(backend.plain, optimizer=SGD(0.1))
    net.train(X, Y)
    kept = np.array(backend.to_host(net.layers[0].params["W"]))
    net.layers[4:] = [Linear(8, 8), ReLU(), Linear(8, 3)]
    np.testing.assert_array_equal(backend.to_host(net.parameters.values.named()["0.W"]), kept)
    net.train(X, Y)


@pytest.mark.parametrize("change", ["append", "pop", "swap", "replace"])
def test_layers_may_not_change_under_an_optimizer_with_a_state(change):
    net = classifier()
    net.train(X, Y)
    before = values(net)
    old = list(net.layers)
    if change == "append":
        net.layers.append(Linear(3, 3))
    elif change == "pop":
        net.layers.pop()
    elif change == "swap":
        net.layers[1], net.layers[4] = net.layers[4], net.layers[1]
    else:
        net.layers[4] = Linear(8, 3)
    for call in (lambda: net.train(X, Y), lambda: net.eval(X)):
        with pytest.raises(XpnnError, match="added or removed after training had begun"):
            call()
    net.layers[:] = old
    np.testing.assert_array_equal(values(net), before)
    net.train(X, Y)


# Layers shared between networks


def test_networks_may_share_layers(backend):
    """Both train the shared layer, whoever comes first; each has masks and names of its own."""
    shared = [Linear(4, 8), BatchNorm(8), ReLU(), Dropout(0.5)]
    one = Sequential(
        [*shared, Linear(8, 3)], SoftmaxCrossEntropy(), 0.2, seed=0, backend=backend.plain
    )
    head = [Tanh(), *shared, Linear(8, 3)]
    two = Sequential(head, SoftmaxCrossEntropy(), 0.2, seed=1, backend=backend.plain)

    def W():
        return np.array(backend.to_host(shared[0].params["W"]))

    for net in (one, two, two, one):
        before = W()
        net.train(X, Y)
        assert (W() != before).any()
        np.testing.assert_array_equal(backend.to_host(one.parameters.values.named()["0.W"]), W())
        np.testing.assert_array_equal(backend.to_host(two.parameters.values.named()["1.W"]), W())
    with pytest.raises(ShapeError, match=r"^layer 0 \(Linear\)"):
        one.eval(np.zeros((1, 5)))
    with pytest.raises(ShapeError, match=r"^layer 1 \(Linear\)"):
        two.eval(np.zeros((1, 5)))


def test_a_second_network_on_the_same_layers_does_not_change_the_masks_of_the_first():
    alone, sharing = classifier(seed=0), classifier(seed=0)
    alone.train(X, Y)
    other = Sequential([Tanh(), *sharing.layers], SoftmaxCrossEntropy(), 0.2, seed=9)
    _ = other.parameters
    sharing.train(X, Y)
    np.testing.assert_array_equal(values(sharing), values(alone))


# Copies


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))],
    ids=["copy", "pickle"],
)
@pytest.mark.parametrize("steps", [0, 3])
def test_copies_train_on_equal_and_are_independent(duplicate, steps, backend):
    net = classifier(backend.plain, regularization=L2(1e-3))
    for _ in range(steps):
        net.train(X, Y)
    twin = duplicate(net)
    assert_same(snapshot(twin), snapshot(net))
    for _ in range(2):
        net.train(X, Y)
    twin_losses = [float(twin.train(X, Y)[1]) for _ in range(2)]
    assert_same(snapshot(twin), snapshot(net))
    before = snapshot(net)
    twin.train(X, Y)
    assert_same(snapshot(net), before)
    assert np.isfinite(twin_losses).all()
    assert twin.seed == net.seed


def test_a_pickle_needs_no_library_but_its_own(backend):
    """What is in it is NumPy's, so that it can be read where an array cannot be."""
    net = classifier(backend.plain)
    net.train(X, Y)
    twin = pickle.loads(pickle.dumps(net))
    assert all(type(v) is np.ndarray for v in twin.layers[0].params.values())
    assert all(backend.plain.owns(v) for v in twin.optimizer_state.values())
    _ = twin.parameters
    assert all(backend.plain.owns(v) for v in twin.layers[0].params.values())


def test_a_copy_of_a_network_of_ones_own(backend):
    net = Branches(optimizer=Adam(0.01), backend=backend.plain, seed=0)
    net.train(X, Y)
    twin = copy.deepcopy(net)
    net.train(X, Y)
    twin.train(X, Y)
    assert_same(snapshot(twin), snapshot(net))


def test_a_copy_of_a_changed_network_is_an_error_too():
    net = classifier()
    net.train(X, Y)
    net.layers.append(Linear(3, 3))
    with pytest.raises(XpnnError, match="after training had begun"):
        copy.deepcopy(net).train(X, Y)


# Moves


def test_training_goes_on_after_a_move(backend):
    """Of all arrays, and of the masks: as if nothing had happened."""
    moved, stayed = classifier("numpy"), classifier("numpy")
    for _ in range(2):
        moved.train(X, Y)
        stayed.train(X, Y)
    assert moved.to(backend=backend.plain) is moved
    assert moved.backend == backend.plain
    _, loss = moved.train(X, Y)
    assert backend.plain.owns(loss)
    assert float(loss) == pytest.approx(float(stayed.train(X, Y)[1]), rel=1e-5)
    moved.train(X, Y)
    stayed.train(X, Y)
    assert_close(values(moved), values(stayed), "float32", factor=20)
    moved.to(backend="numpy", device="cpu")
    assert_close(moved.eval(X), stayed.eval(X), "float32", factor=20)
    for array in (*moved.layers[0].params.values(), *moved.optimizer_state.values()):
        assert type(array) is np.ndarray


def test_a_move_to_another_precision():
    net = classifier()
    net.train(X, Y)
    before = values(net)
    net.to(backend=open_backend(dtype="float64"))
    assert values(net).dtype == np.float64
    np.testing.assert_array_equal(values(net), before)
    net.train(X, Y)
    assert {v.dtype for v in net.optimizer_state.values()} == {np.dtype("float64")}


def test_a_move_that_fails_changes_nothing():
    net = classifier()
    net.train(X, Y)
    before = snapshot(net)
    with pytest.raises(BackendError):
        net.to("cuda:99", "numpy")
    assert_same(snapshot(net), before)


def test_a_move_before_the_training(backend):
    net = classifier("numpy").to(backend=backend.plain)
    assert_close(values(net), values(classifier("numpy")), "float32")
    net.train(X, Y)


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
        with pytest.raises(BackendError, match=f"of {net.backend}, got an array of array_api_str"):
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


# Threads


def test_two_networks_train_in_two_threads(backend):
    def losses(seed):
        net = classifier(backend.plain, seed=seed)
        with backend.scope():
            return [float(net.train(X, Y)[1]) for _ in range(20)]

    found = {}
    threads = [
        threading.Thread(target=lambda s=seed: found.update({s: losses(s)})) for seed in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {seed: losses(seed) for seed in range(4)}


# The summary


def test_the_summary_is_a_table(backend):
    net = classifier(backend.plain)
    lines = net.summary((4,), batch_size=100).splitlines()
    assert [line.split() for line in lines[:7]] == [
        ["layer", "output", "shape", "parameters", "names"],
        ["-" * max(map(len, lines[:7]))],
        ["0", "Linear(4,", "8,", "bias=False)", "(N,", "8)", "32", "W"],
        ["1", "BatchNorm(8)", "(N,", "8)", "16", "beta,", "gamma,", "running_mean,", "running_var"],
        ["2", "ReLU()", "(N,", "8)", "0"],
        ["3", "Dropout(0.3)", "(N,", "8)", "0"],
        ["4", "Linear(8,", "3)", "(N,", "3)", "27", "W,", "b"],
    ]
    assert lines[8] == f"75 parameters; {net.backend}, float32"
    # Values, gradients, and Adam's two vectors, of 4 bytes an element.
    assert lines[9].startswith(f"{75 * 4 * 4 / 1024:.1f} KiB for parameters")
    # The batch and what the layers make of it.
    assert lines[10].startswith(f"{(4 + 4 * 8 + 3) * 4 * 100 / 1024:.1f} KiB for the outputs")
    assert lines[7] == lines[1]


def test_the_summary_of_a_trained_network_is_that_of_a_fresh_one(backend):
    """Also where its steps are fused by then, and pass the layers by."""
    net = classifier(backend.plain)
    before = net.summary((4,))
    net.train(X, Y)
    assert net.summary((4,)) == before
    assert net.fuse


def test_the_summary_changes_nothing():
    net = classifier()
    net.train(X, Y)
    before = snapshot(net)
    net.summary((4,))
    assert_same(snapshot(net), before)
    assert all("forward" not in vars(layer) for layer in net.layers)


def test_the_summary_of_layers_that_are_composed_unused_or_tell_no_shape():
    net = Branches(lr=0.1, seed=0)
    net.use_second = False
    text = net.summary((4,))
    rows = {line.split()[0]: line for line in text.splitlines()[2:8]}
    assert rows.keys() == KEYS
    assert "not used" in rows["blocks.1.1"]
    assert "(N, 3)" in rows["heads.big.linear"]
    composed = Sequential([Residual(Linear(4, 4))], MeanSquaredError(), 0.1).summary((4,))
    assert "0.inner Linear(4, 4) " in composed
    lazy = Sequential([LazyScale(), Linear(4, 3)], SoftmaxCrossEntropy(), 0.1)
    assert "19 parameters" in lazy.summary((4,))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(((5,),), ShapeError), (((4,), 0), ConfigurationError), (((4, 4),), ShapeError)],
)
def test_the_summary_of_a_wrong_shape(arguments, error):
    with pytest.raises(error):
        classifier().summary(*arguments)


@pytest.mark.parametrize("shape", [4, "4", (4.0,), None])
def test_summary_wants_the_shape_of_a_sample(shape):
    with pytest.raises(ConfigurationError, match=r"^input_shape: expected integers"):
        classifier(open_backend()).summary(shape)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X.astype(str), Y), "^input: expected real numbers, got an array of dtype <U"),
        ((None, Y), "^input: expected real numbers, got an array of dtype object$"),
        ((X, list("abc" * 20)[: len(Y)]), "^target: .* dtype <U1: .*numpy.unique"),
        ((X, np.array(["a", None] * (len(Y) // 2))), "^target: .* dtype object: .*numpy.unique"),
        (([[1.0], [1.0, 2.0]], Y), "^input: expected rows of equal length"),
        ((X, np.ma.masked_equal(Y, 0)), "^target: .*masked values"),
        ((X, Y, np.ones(len(Y), dtype=complex)), "^sample_weight: expected real numbers"),
    ],
)
def test_an_error_says_which_argument_it_speaks_of(arguments, message):
    with pytest.raises(DataError, match=message):
        classifier(open_backend()).train(*arguments)


def test_a_network_shows_what_it_is_made_of():
    net = Sequential([Linear(2, 3), ReLU()], MeanSquaredError(), lr=0.1)
    assert repr(net) == "Sequential([Linear(2, 3), ReLU()], MeanSquaredError())"
