"""Networks: how they are made, one step, one evaluation, copies, moves, threads, the summary."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

import xpnn
from nets import assert_same, blobs, classifier, snapshot, values
from own_parts import KEYS, Branches, LazyScale, Residual, sum_of_all
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
    Dropout,
    ElasticNet,
    Layer,
    Linear,
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
    assert classifier(plain, dtype=np.float64).backend is plain
    assert classifier(None, dtype=np.float64).backend.dtype == "float64"


def test_a_forward_pass_by_itself_takes_what_eval_takes(library):
    net = classifier(library.plain)
    expected = library.to_host(net.eval(X))
    for input in (X.tolist(), X.astype(np.float32), library.asarray(X.astype(np.float32))):
        assert_close(library.to_host(net.forward(input)), expected, "float32")


@pytest.mark.parametrize("call", ["forward", "eval"])
def test_what_is_no_input_is_named(call):
    pytest.importorskip("array_api_strict")
    foreign = open_backend("array_api_strict").asarray(X)
    with pytest.raises(DataError, match=r"^input: expected real numbers, got None$"):
        getattr(classifier(), call)(None)
    with pytest.raises(BackendError, match=r"^input: expected NumPy data, got an array of ar"):
        getattr(classifier(), call)(foreign)
    with pytest.raises(ShapeError, match=r"layer 0 \(Linear\)"):
        getattr(classifier(), call)([1.0, 2.0])


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
        return self.weight * sum_of_all(param * param)

    def backward(self, param):
        return 2 * self.weight * param


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


def test_layers_without_parameters_may_be_exchanged_in_a_training():
    net, other = (
        Sequential([Linear(4, 8), Tanh(), Linear(8, 3)], SoftmaxCrossEntropy(), lr=0.1, seed=4)
        for _ in range(2)
    )
    for each in (net, other):
        each.optimizer.momentum = 0.9
        each.train(X, Y)
    net.layers[1] = Tanh()
    for _ in range(6):
        assert net.train(X, Y)[1] == other.train(X, Y)[1]
    net.layers[1] = ReLU()
    other.train(X, Y), net.train(X, Y)
    assert (values(net) != values(other)).any()


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
        ((None, Y), "^input: expected real numbers, got None$"),
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
