"""Layers, losses and networks of a user's own."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from array_api_compat import array_namespace

from nets import assert_same, blobs, classifier, snapshot, values
from own_parts import (
    KEYS,
    Branches,
    LazyScale,
    NewDictionaries,
    Residual,
    Scale,
    sum_of_all,
)
from tolerances import RTOL, assert_close
from xpnn import (
    Adam,
    BatchNorm,
    ConfigurationError,
    Dropout,
    Layer,
    Linear,
    Loss,
    Network,
    Sequential,
    ShapeError,
    SoftmaxCrossEntropy,
    Tanh,
    XpnnError,
)

X, Y = blobs()

# Layers of a user's own


class SquaredError(Loss):
    """Tutorial style: forward and backward and nothing else."""

    def forward(self, input, target):
        self.cache["difference"] = input - target
        return sum_of_all(self.cache["difference"] ** 2) / input.shape[0]

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
            self.buffers["tests"] = self.buffers.get("tests", 0 * sum_of_all(input)) + 1
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
