"""Layers that are made of layers, in networks: names, gradients, modes, descriptions."""

from __future__ import annotations

import numpy as np
import pytest

import xpnn
from tolerances import assert_close
from xpnn import description
from xpnn.checkpoint import load, save
from xpnn.errors import ConfigurationError, ShapeError
from xpnn.gradient_check import check_derivative
from xpnn.summary import step_memory


def resnet_block(before, after, stride):
    return xpnn.Residual(
        [
            xpnn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
            xpnn.BatchNorm2d(after),
            xpnn.Tanh(),
            xpnn.Conv2d(after, after, 3, padding=1),
        ],
        shortcut=[xpnn.Conv2d(before, after, 1, stride=stride), xpnn.BatchNorm2d(after)],
    )


def inception_block():
    return xpnn.Parallel(
        [
            xpnn.Conv2d(2, 1, 1),
            [xpnn.Conv2d(2, 2, 1), xpnn.Tanh(), xpnn.Conv2d(2, 3, 3, padding=1)],
            [xpnn.AvgPool2d(3, stride=1, padding=1), xpnn.Conv2d(2, 1, 1)],
        ]
    )


#: Networks for images (2, 6, 5) with two classes, or for sequences (4, 3).
NETWORKS = {
    "ResNet": lambda: [resnet_block(2, 3, 2), resnet_block(3, 3, 1), xpnn.GlobalAvgPool2d()],
    "Inception": lambda: [inception_block(), xpnn.MaxPool2d(2), xpnn.GlobalAvgPool2d()],
    "nested": lambda: [
        xpnn.Residual(xpnn.Parallel([xpnn.Conv2d(2, 2, 3, padding="same"), []], merge="sum")),
        xpnn.GroupNorm(1, 2),
        xpnn.Dropout2d(0.3),
        xpnn.GlobalAvgPool2d(),
    ],
    "transposed": lambda: [
        xpnn.Conv2d(2, 4, 3, stride=2),
        xpnn.ConvTranspose2d(4, 3, 3, stride=2),
        xpnn.Flatten(),
    ],
    "recurrent": lambda: [
        xpnn.Bidirectional(xpnn.LSTM(3, 2), merge="sum"),
        xpnn.Masked([xpnn.GRU(2, 4), xpnn.MeanOverTime()], padding=9),
    ],
    "recomputed": lambda: [
        xpnn.Recompute([xpnn.Linear(3, 4), xpnn.LayerNorm(4), xpnn.Dropout(0.3)]),
        xpnn.Recompute(xpnn.GRU(4, 4)),
        xpnn.MeanOverTime(),
    ],
    "transformer": lambda: [
        xpnn.Linear(3, 4),
        xpnn.PositionalEncoding(),
        xpnn.TransformerBlock(4, 2, hidden_dim=5, dropout=0.2, causal=True),
        xpnn.LastStep(),
    ],
}
WIDTHS = {"ResNet": 3, "Inception": 5, "nested": 2, "transposed": 75, "recurrent": 4}
each_network = pytest.mark.parametrize("name", NETWORKS)


def shape(name):
    return (4, 3) if name in ("recurrent", "recomputed", "transformer") else (2, 6, 5)


def network(name, backend=None, **settings):
    return xpnn.Sequential(
        [*NETWORKS[name](), xpnn.Linear(WIDTHS.get(name, 4), 2)],
        xpnn.SoftmaxCrossEntropy(),
        backend=backend,
        seed=0,
        **{"lr": 0.1, **settings},
    )


def batch(name, rows=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, *shape(name))), np.arange(rows) % 2


@each_network
def test_gradients_of_all_parameters_agree_with_differences(name, backend_float64):
    """What the update sees: the vector of all gradients, with masks and statistics of the batch."""
    backend, (x, y) = backend_float64, batch(name)
    net = network(name, backend.plain, lr=1.0)
    net.steps = 5
    before = np.array(backend.to_host(net.parameters.values.array))
    net.train(x, y)
    gradient = before - backend.to_host(net.parameters.values.array)

    def loss(values):
        net.steps = 5
        net.parameters.values.array = backend.asarray(values)
        return float(backend.to_host(net.train(x, y)[1]))

    check_derivative(loss, before, gradient, "parameters", np.random.default_rng(1))


@each_network
def test_fusion_changes_nothing(name):
    x, y = batch(name)
    losses = []
    for fuse in (True, False):
        net = network(name, fuse=fuse)
        losses.append([float(net.train(x, y)[1]) for _ in range(5)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@each_network
def test_every_device_trains_alike(name, backend):
    """The same initial weights and masks, from the same seed."""
    x, y = batch(name)
    expected, net = network(name, fuse=False), network(name, backend.plain)
    for _ in range(2):
        want, got = expected.train(x, y), net.train(x, y)
    assert_close(backend.to_host(got[0]), want[0], "float32", factor=50)
    assert_close(backend.to_host(net.eval(x)), expected.eval(x), "float32", factor=50)


@each_network
def test_networks_come_back_from_their_descriptions_and_files(name, tmp_path):
    x, y = batch(name)
    net = network(name)
    again = description.build(description.describe(net))
    assert repr(again.layers) == repr(net.layers)
    np.testing.assert_array_equal(again.eval(x), net.eval(x))
    net.train(x, y)
    save(net, tmp_path / "model.xpnn")
    np.testing.assert_array_equal(load(tmp_path / "model.xpnn").network.eval(x), net.eval(x))


@each_network
def test_summary_knows_all_layers(name):
    net = network(name)
    text = net.summary(shape(name))
    assert all(f"{key} " in text for key in net.parameters.layers)
    assert "not used" not in text


def test_keys_say_where_a_parameter_is():
    named = network("ResNet").parameters.values.named()
    assert {"0.layers.0.W", "0.layers.1.gamma", "0.shortcut.0.W", "3.b"} <= set(named)
    assert "0.layers.0.b" not in named
    assert "0.1.2.W" in network("Inception").parameters.values.named()
    assert "0.layers.0.0.0.W" in network("nested").parameters.values.named()


def test_modes_and_steps_reach_all_layers():
    net = network("transformer")
    x, y = batch("transformer")
    net.train(x, y)
    assert {layer.mode for layer in net.parameters.layers.values()} == {"train"}
    net.train(x, y)
    assert {layer.step for layer in net.parameters.layers.values()} == {1}
    net.eval(x)
    assert {layer.mode for layer in net.parameters.layers.values()} == {"test"}


def test_errors_name_the_layer_inside():
    net = xpnn.Sequential(
        [xpnn.Residual([xpnn.Linear(2, 2)])], xpnn.MeanSquaredError(), 0.1, seed=0
    )
    with pytest.raises(ShapeError, match=r"^layer 0.layers.0 \(Linear\): expected input of shape"):
        net.eval(np.zeros((1, 3)))


def test_outputs_that_do_not_fit_are_refused():
    layer = xpnn.Residual([xpnn.Linear(2, 3)])
    expected = (
        r"^Residual: expected outputs of layers and shortcut of one shape, got \(1, 3\), \(1, 2"
    )
    with pytest.raises(ShapeError, match=expected):
        layer.forward(np.zeros((1, 2)))
    layer = xpnn.Parallel([xpnn.Conv2d(1, 1, 3), []])
    expected = r"^Parallel: expected outputs of the branches that differ in axis 1 only"
    with pytest.raises(ShapeError, match=expected):
        layer.forward(np.zeros((1, 1, 5, 5)))
    with pytest.raises(ShapeError, match=r"with an axis 2 behind the first, got \(1, 2\)"):
        xpnn.Parallel([[], []], axis=2).forward(np.zeros((1, 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: xpnn.Residual(["Linear"]), r"^Residual: layers: expected layers, got 'Linear'$"),
        (lambda: xpnn.Residual([], shortcut=3), r"^Residual: shortcut: expected layers, got 3$"),
        (lambda: xpnn.Parallel([]), r"^Parallel: expected at least one branch, got \[\]$"),
        (lambda: xpnn.Parallel([[3]]), r"^Parallel: branches: expected layers, got 3$"),
        (lambda: xpnn.Parallel([[]], merge="add"), r"^Parallel: unknown merge 'add'"),
        (lambda: xpnn.Parallel([[]], axis=0), r"^Parallel: axis must be"),
        (lambda: xpnn.Masked(3), r"^Masked: layers: expected layers, got 3$"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_branches_may_take_ids():
    net = xpnn.Sequential(
        [xpnn.Parallel([xpnn.Embedding(5, 2), xpnn.Embedding(5, 3)], axis=-1), xpnn.Flatten()],
        xpnn.MeanSquaredError(),
        0.1,
        seed=0,
    )
    output, _ = net.train(np.asarray([[1, 4]]), np.zeros((1, 10)))
    assert output.shape == (1, 10)
    with pytest.raises(xpnn.DataError, match=r"layer 0.0.0 \(Embedding\): expected ids of 0 ... 4"):
        net.eval(np.asarray([[5]]))


# Recompute


def blocks(wrap):
    """Layers with masks, statistics, ids, steps that are not there and a state that goes on."""
    return [
        xpnn.Masked(
            [
                wrap([xpnn.Embedding(9, 4), xpnn.Dropout(0.4), xpnn.GRU(4, 5)]),
                wrap([wrap(xpnn.LSTM(5, 3)), xpnn.LastStep()]),
            ]
        ),
        wrap([xpnn.BatchNorm(3), xpnn.Linear(3, 6), xpnn.Dropout(0.2), xpnn.Tanh()]),
        xpnn.Linear(6, 2),
    ]


class Kept(xpnn.Recompute):
    """The same layers at the same places, run once."""

    def forward(self, input):
        return self._layers.forward(input)

    def backward(self, dout):
        return self._layers.backward(dout)


def test_recomputed_results_are_the_same_bit_by_bit(backend):
    nets = [
        xpnn.Sequential(
            blocks(wrap),
            xpnn.SoftmaxCrossEntropy(),
            0.1,
            backend=backend.plain,
            seed=0,
            fuse=backend.plain.name != "numpy",  # `Kept` has no kernels
        )
        for wrap in (xpnn.Recompute, Kept)
    ]
    ids = np.asarray([[3, 1, 0], [8, 0, 0], [2, 2, 5], [4, 7, 6]])
    for _ in range(3):
        (output, loss), (expected_output, expected) = (net.train(ids, [0, 1, 1, 0]) for net in nets)
        to_host = backend.to_host
        np.testing.assert_array_equal(to_host(output), to_host(expected_output))
        np.testing.assert_array_equal(to_host(loss), to_host(expected))
        for vector in ("values", "grads", "buffers"):
            ours, theirs = (to_host(getattr(net.parameters, vector).array) for net in nets)
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(*(to_host(net.eval(ids)) for net in nets))


def test_recomputed_layers_keep_nothing_and_come_back_as_they_were():
    inner = [xpnn.BatchNorm(2), xpnn.Dropout(0.5, seed=1), xpnn.Tanh()]
    layer, x = xpnn.Recompute(inner), np.asarray([[1.0, 2.0], [3.0, 5.0]])
    layer.forward(x)
    assert layer.cache["input"] is x
    assert all(not each.cache for each in inner)
    average, steps = inner[0].buffers["running_mean"].copy(), inner[1].step
    layer.backward(np.ones((2, 2)))
    np.testing.assert_array_equal(inner[0].buffers["running_mean"], average)
    assert inner[1].step == steps == 1
    assert not layer.cache
    assert all(not each.cache for each in inner)


@pytest.mark.parametrize("fuse", [True, False])
def test_what_layers_were_told_may_change_before_they_are_run_again(fuse):
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    gradients = []
    for changes in (False, True):
        inner = xpnn.GRU(3, 4)
        layer = xpnn.Recompute([inner, xpnn.Bidirectional(xpnn.RNN(4, 2))])
        net = xpnn.Sequential([layer, Changes()], xpnn.MeanSquaredError(), 0.1, seed=0, fuse=fuse)
        inner.initial = {"h": np.ones((2, 4), np.float32)}
        inner.lengths = [3, 5]
        layer.layers[1].mask = np.arange(5) < np.asarray([[3], [5]])
        state, lengths, mask = inner.initial["h"], inner.lengths, layer.layers[1].mask

        def change(told=(state, mask), lengths=lengths):
            for array in told:
                array[...] = 0
            lengths[0] = 1

        net.layers[1].change = change if changes else None
        net.train(x, np.zeros((2, 5, 4)))
        gradients.append(net.parameters.grads.array)
        assert inner.initial["h"] is state
        assert inner.lengths is lengths
        assert layer.layers[1].mask is mask
    np.testing.assert_array_equal(*gradients)


class Changes(xpnn.Layer):
    """Does something between the forward and the backward pass."""

    change = None

    def forward(self, input):
        return input + 0.0

    def backward(self, dout):
        if self.change is not None:
            self.change()
        return dout + 0.0


def test_summary_tells_what_recomputation_saves():
    def memory(wrap):
        layers = [wrap([xpnn.Linear(8, 8), xpnn.Tanh(), xpnn.Linear(8, 8)]) for _ in range(4)]
        net = xpnn.Sequential(layers, xpnn.MeanSquaredError(), 0.1, seed=0)
        return step_memory(net, (8,), 100)

    kept, recomputed = memory(xpnn.Residual), memory(xpnn.Recompute)
    assert recomputed.parameters == kept.parameters
    assert kept.activations == 4 * 100 * 8 * (1 + 4 * 4)
    assert recomputed.activations == 4 * 100 * 8 * (1 + 4)
    assert recomputed.temporaries == kept.temporaries + 4 * 100 * 8 * 3
    assert recomputed.total < kept.total
