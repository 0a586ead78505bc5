"""What layers for sequences do besides the contract of `test_layers.py`: masks and states."""

from __future__ import annotations

import numpy as np
import pytest

import xpnn
from cases_sequences import KINDS, D, H
from tolerances import assert_close
from xpnn import layers
from xpnn.errors import ConfigurationError, DataError, ShapeError
from xpnn.gradient_check import check_derivative

each_kind = pytest.mark.parametrize("kind", KINDS)
LENGTHS = [4, 1, 0, 3]


def prepared(kind, backend, **settings):
    """A layer with parameters that are far from their initial values."""
    make, _, shapes = KINDS[kind]
    rng = np.random.default_rng(0)
    layer = make(D, H, **settings)
    layer.params |= {n: backend.asarray(rng.standard_normal(s)) for n, s in shapes.items()}
    return layer


def batch(rows=4, steps=4, seed=1):
    return np.random.default_rng(seed).standard_normal((rows, steps, D))


# Sequences of several lengths


def one_by_one(layer, backend, x, dout):
    """Outputs and gradients of each sequence alone, in the shape of the batch."""
    output, dinput = np.zeros(dout.shape), np.zeros(x.shape)
    grads = {name: 0.0 for name in layer.params}
    for row, length in enumerate(LENGTHS):
        if length == 0:
            continue
        places = (slice(row, row + 1), slice(0, length))
        where = places if layer.return_sequences else places[:1]
        output[where] = backend.to_host(layer.forward(backend.asarray(x[places])))
        dinput[places] = backend.to_host(layer.backward(backend.asarray(dout[where])))
        grads = {n: grads[n] + backend.to_host(layer.grads[n]) for n in grads}
    return {"output": output, "dinput": dinput, **grads}


@each_kind
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_lengths_give_what_the_sequences_give_alone(kind, reverse, return_sequences, backend):
    layer = prepared(kind, backend, reverse=reverse, return_sequences=return_sequences)
    x = batch()
    rng = np.random.default_rng(2)
    dout = rng.standard_normal((4, 4, H) if return_sequences else (4, H))
    expected = one_by_one(layer, backend, x, dout)
    layer.lengths = LENGTHS
    output = layer.forward(backend.asarray(x))
    actual = {"output": output, "dinput": layer.backward(backend.asarray(dout)), **layer.grads}
    for name, value in expected.items():
        assert_close(backend.to_host(actual[name]), value, "float32", factor=5)


@pytest.mark.parametrize("kind", [layers.GRU, lambda d, h: layers.Bidirectional(layers.GRU(d, h))])
def test_lengths_may_come_one_by_one(kind):
    net = xpnn.Sequential([kind(D, H)], xpnn.MeanSquaredError(), lr=0.1, seed=0)
    layer, x = net.layers[0], batch()
    layer.lengths = LENGTHS
    expected = net.eval(x)
    layer.lengths = (length for length in LENGTHS)
    for _ in range(2):
        np.testing.assert_array_equal(net.eval(x), expected)


@each_kind
def test_missing_steps_may_be_anywhere(kind, backend):
    """What is left is as if they had been cut out."""
    layer = prepared(kind, backend)
    x, there = batch(), np.asarray([[1, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    layer.mask = backend.asarray(there)
    output = backend.to_host(layer.forward(backend.asarray(x)))
    layer.mask = None
    for row in (0, 1, 3):
        alone = backend.to_host(layer.forward(backend.asarray(x[row : row + 1, there[row]])))
        assert_close(output[row, there[row]], alone[0], "float32")
    assert (output[~there] == 0).all()


@each_kind
def test_gradients_with_lengths_agree_with_differences(kind, backend_float64):
    backend = backend_float64
    layer = prepared(kind, backend)
    layer.lengths = LENGTHS
    x = batch()
    rng = np.random.default_rng(3)
    dout = rng.standard_normal((4, 4, H))
    layer.forward(backend.asarray(x))
    gradient = backend.to_host(layer.backward(backend.asarray(dout)))

    def loss(value):
        return float(np.sum(backend.to_host(layer.forward(backend.asarray(value))) * dout))

    check_derivative(loss, x, gradient, "input", rng)


@each_kind
@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([4, 5, 1, 1], DataError, r"^layer 3: expected lengths of 0 ... 4, got 5$"),
        ([4, -1, 1, 1], DataError, r"^layer 3: expected lengths of 0 ... 4, got -1$"),
        ([4, 1.5, 1, 1], DataError, r"^layer 3: expected lengths, one whole number for each"),
        (4, DataError, r"^layer 3: expected lengths, one whole number for each sequence, got 4$"),
        ([4, 4], ShapeError, r"^layer 3: expected 4 lengths, got 2$"),
    ],
)
def test_wrong_lengths_are_refused(kind, lengths, error, message, backend):
    layer = prepared(kind, backend)
    layer.name, layer.lengths = "layer 3", lengths
    with pytest.raises(error, match=message):
        layer.forward(backend.asarray(batch()))


def test_a_mask_that_is_no_array_of_booleans_is_refused(backend):
    layer = prepared("GRU", backend)
    for mask in (backend.asarray(np.ones((4, 4))), [[True] * 4] * 4):
        layer.mask = mask
        with pytest.raises(DataError, match=r"^GRU: expected a mask of booleans, got "):
            layer.forward(backend.asarray(batch()))


def test_an_initial_state_that_a_layer_has_not_is_refused(backend):
    layer = prepared("GRU", backend)
    layer.initial = {"c": backend.asarray(np.zeros((4, H)))}
    with pytest.raises(ConfigurationError, match=r"^GRU: unknown initial state 'c'"):
        layer.forward(backend.asarray(batch()))


@pytest.mark.parametrize("state", [None, np.zeros((4, H)), [np.zeros((4, H))]], ids=type)
def test_an_initial_state_without_names_is_refused(state):
    layer = layers.LSTM(D, H)
    layer.initial = state
    with pytest.raises(ConfigurationError, match=r'^LSTM: initial must be a dict {"h": ..., "c": '):
        layer.forward(np.zeros((4, 3, D)))


def test_an_initial_state_that_is_no_array_is_refused(backend):
    layer = layers.RNN(D, H)
    layer.initial = {"h": 0.0}
    with pytest.raises(
        ShapeError, match=r"^RNN: expected an initial h of shape \(4, \d\), got \(\)"
    ):
        layer.forward(backend.asarray(np.zeros((4, 3, D))))


def test_a_mask_of_another_batch_is_refused(backend):
    layer = prepared("GRU", backend)
    layer.mask = backend.asarray(np.ones((4, 3), bool))
    with pytest.raises(ShapeError, match=r"GRU: expected a mask of shape \(4, 4\), got \(4, 3\)"):
        layer.forward(backend.asarray(batch()))


# States


@each_kind
def test_a_sequence_in_two_parts_gives_what_it_gives_at_once(kind, backend):
    layer, x = prepared(kind, backend), batch(steps=6)
    whole = backend.to_host(layer.forward(backend.asarray(x)))
    final = {name: backend.to_host(value) for name, value in layer.final.items()}
    first = backend.to_host(layer.forward(backend.asarray(x[:, :2])))
    layer.initial = layer.final
    second = backend.to_host(layer.forward(backend.asarray(x[:, 2:])))
    assert_close(np.concatenate([first, second], axis=1), whole, "float32")
    for name, value in layer.final.items():
        assert_close(backend.to_host(value), final[name], "float32")


@each_kind
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_the_initial_state_agree_with_differences(kind, reverse, backend_float64):
    backend, rng = backend_float64, np.random.default_rng(4)
    layer, x = prepared(kind, backend, reverse=reverse), backend.asarray(batch())
    states = {name: rng.standard_normal((4, H)) for name in layer.state_names}
    dout = rng.standard_normal((4, 4, H))
    layer.lengths = LENGTHS

    def loss(name, value):
        layer.initial = {n: backend.asarray(v) for n, v in {**states, name: value}.items()}
        return float(np.sum(backend.to_host(layer.forward(x)) * dout))

    for name, value in states.items():
        loss(name, value)
        layer.backward(backend.asarray(dout))
        gradient = backend.to_host(layer.dinitial[name])
        check_derivative(lambda v, name=name: loss(name, v), value, gradient, name, rng)


@each_kind
def test_initial_states_are_taken_in_the_dtype_of_the_input(kind):
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    found = []
    for fuse in (True, False):
        layer = getattr(xpnn, kind)(4, 8)
        layer.initial = {"h": np.full((2, 8), 0.5)}
        net = xpnn.Sequential([layer], xpnn.MeanSquaredError(), 0.1, seed=0, fuse=fuse)
        found.append(net.eval(x))
        assert found[-1].dtype == layer.final["h"].dtype == np.float32
        net.train(x, np.zeros((2, 3, 8)))
        assert layer.final["h"].dtype == layer.dinitial["h"].dtype == np.float32
    assert_close(*found, "float32")


def test_an_initial_state_of_another_batch_is_refused(backend):
    layer = prepared("LSTM", backend)
    layer.initial = {"c": backend.asarray(np.zeros((3, H)))}
    with pytest.raises(ShapeError, match=r"expected an initial c of shape \(4, 3\), got \(3, 3\)"):
        layer.forward(backend.asarray(batch()))


# Initial weights


def test_initial_weights_are_orthonormal_for_the_state():
    layer = layers.LSTM(3, 5, seed=0)
    layer.forward(np.zeros((1, 1, 3)))
    Wh = layer.params["W"][3:]
    np.testing.assert_allclose(Wh @ Wh.T, np.eye(5), atol=1e-12)
    assert (layer.params["b"] == 0).all()
    assert layers.GRU.roles["bx"] == layers.GRU.roles["bh"] == "bias"


@each_kind
def test_parameters_that_are_missing_are_drawn(kind, backend):
    make, _, shapes = KINDS[kind]
    for name in shapes:
        layer, given = make(D, H, seed=0), backend.asarray(np.zeros(shapes[name]))
        layer.params[name] = given
        layer.forward(backend.asarray(batch()))
        assert set(layer.params) == set(shapes)
        assert layer.params[name] is given


# Two directions


def test_the_last_states_of_both_directions_go_out(backend):
    layer = layers.Bidirectional(layers.GRU(D, H, return_sequences=False, seed=0))
    x = backend.asarray(batch())
    output = backend.to_host(layer.forward(x))
    (_, forwards), (_, backwards) = layer.sublayers()
    assert (forwards.reverse, backwards.reverse) == (False, True)
    assert_close(output[:, :H], backend.to_host(forwards.forward(x)), "float32")
    assert_close(output[:, H:], backend.to_host(backwards.forward(x)), "float32")


def test_the_directions_of_a_network_have_weights_of_their_own():
    net = xpnn.Sequential(
        [xpnn.Bidirectional(xpnn.RNN(2, 3))], xpnn.MeanSquaredError(), 0.1, seed=0
    )
    named = net.parameters.values.named()
    assert set(named) == {f"0.{side}.0.{name}" for side in (0, 1) for name in ("Wx", "Wh", "b")}
    assert not np.array_equal(named["0.0.0.Wx"], named["0.1.0.Wx"])


def test_directions_alone_have_weights_of_their_own_that_follow_from_the_seed():
    pairs = []
    for _ in range(2):
        layer = layers.Bidirectional(layers.RNN(2, 3, seed=4))
        layer.forward(np.zeros((1, 1, 2)))
        pairs.append([inner.params["Wx"] for _, inner in layer.sublayers()])
    (forwards, backwards), again = pairs
    assert not np.array_equal(forwards, backwards)
    np.testing.assert_array_equal(pairs[0], again)


def test_only_recurrent_layers_have_two_directions():
    with pytest.raises(ConfigurationError, match=r"Bidirectional: expected an RNN, LSTM or GRU"):
        layers.Bidirectional(layers.ReLU())


TELLS = {
    "lengths": [2, 5, 1],
    "mask": np.arange(5) < np.asarray([2, 5, 1])[:, None],
}


def both_fused_and_not(make):
    """A network with a layer, with kernels where there are any and without."""
    return [
        xpnn.Sequential([layer], xpnn.MeanSquaredError(), 0.1, seed=0, fuse=fuse)
        for fuse in (True, False)
        for layer in (make(),)
    ]


@pytest.mark.parametrize("told", TELLS)
@pytest.mark.parametrize("when", ["before", "after", "one by one"])
def test_both_directions_leave_out_the_steps_that_are_not_there(told, when):
    def make():
        inner = layers.GRU(4, 3)
        if when == "before":
            setattr(inner, told, TELLS[told])
        layer = layers.Bidirectional(inner)
        if when == "after":
            setattr(layer, told, TELLS[told])
        if when == "one by one":
            setattr(layer.layer, told, TELLS[told])
            setattr(layer.backwards, told, TELLS[told])
        assert getattr(layer, told) is TELLS[told]
        return layer

    x = np.random.default_rng(0).standard_normal((3, 5, 4))
    for net in both_fused_and_not(make):
        output = net.eval(x)
        layer = net.layers[0]
        layer.mask = layer.lengths = None
        for row, length in enumerate(TELLS["lengths"]):
            alone = net.eval(x[row : row + 1, :length])
            assert_close(output[row : row + 1, :length], alone, "float32")
            assert (output[row, length:] == 0).all()
    for net in both_fused_and_not(make):
        output = net.eval(x)
        assert_close(net.train(x, np.zeros((3, 5, 6)))[0], output, "float32")


@pytest.mark.parametrize("told", TELLS)
def test_directions_that_are_told_different_things_are_refused(told):
    for net in both_fused_and_not(lambda: layers.Bidirectional(layers.GRU(4, 3))):
        setattr(net.layers[0].layer, told, TELLS[told])
        expected = rf"layer 0 \(Bidirectional\): expected one {told} for both directions: set that"
        for use in (net.eval, lambda x, net=net: net.train(x, np.zeros((3, 5, 6)))):
            with pytest.raises(ConfigurationError, match=expected):
                use(np.zeros((3, 5, 4)))
    layer = layers.Bidirectional(layers.GRU(4, 3))
    layer.lengths, layer.backwards.lengths = 3, 4
    with pytest.raises(ConfigurationError, match="expected one lengths for both"):
        layer.forward(np.zeros((3, 5, 4)))


def test_the_two_directions_have_initial_states_of_their_own():
    state = {"h": np.ones((2, 3))}
    layer = layers.Bidirectional(layers.GRU(4, 3))
    with pytest.raises(ConfigurationError, match=r"initial of its own: set `layer.initial` and `b"):
        layer.initial = state
    assert not hasattr(layer, "initial")
    layer.layer.initial = layer.backwards.initial = state
    layer.forward(np.zeros((2, 1, 4)))
    inner = layers.GRU(4, 3)
    inner.initial = state
    with pytest.raises(ConfigurationError, match=r"^Bidirectional: expected a layer without an in"):
        layers.Bidirectional(inner)


# Over time


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (layers.LastStep, [4.0, 5.0, 0.0]),
        (layers.MeanOverTime, [2.5, 5.0, 0.0]),
        (layers.MaxOverTime, [4.0, 5.0, 0.0]),
    ],
)
def test_one_row_of_the_steps_that_are_there(kind, expected, backend):
    x = np.asarray([[1, 2, 3, 4], [5, 9, 9, 9], [9, 9, 9, 9]], np.float64)[:, :, None]
    layer = kind()
    layer.lengths = [4, 1, 0]
    output = backend.to_host(layer.forward(backend.asarray(x)))
    assert output[:, 0].tolist() == expected
    dinput = backend.to_host(layer.backward(backend.asarray(np.ones((3, 1)))))[:, :, 0]
    assert dinput.sum(axis=1).tolist() == [1, 1, 0]
    assert (dinput[1, 1:] == 0).all()


# Masked


def sentences(rows=80, steps=7, seed=0):
    """Sequences of ids from 2 on, filled up with 0: is their first id even?"""
    rng = np.random.default_rng(seed)
    x = rng.integers(2, 8, (rows, steps))
    lengths = rng.integers(1, steps + 1, rows)
    x[np.arange(steps) >= lengths[:, None]] = 0
    return x, x[:, 0] % 2


def reader(inner, width=8):
    return xpnn.Sequential(
        [
            xpnn.Masked([xpnn.Embedding(8, 4, padding_idx=0), *inner], padding=0),
            xpnn.Linear(width, 2),
        ],
        xpnn.SoftmaxCrossEntropy(),
        optimizer=xpnn.Adam(0.03),
        seed=0,
    )


READERS = {
    "GRU": lambda: [xpnn.GRU(4, 8), xpnn.LastStep()],
    "LSTM": lambda: [xpnn.LSTM(4, 8, return_sequences=False)],
    "two directions": lambda: [xpnn.Bidirectional(xpnn.RNN(4, 4, return_sequences=False))],
    "two layers": lambda: [xpnn.GRU(4, 6), xpnn.GRU(6, 8), xpnn.MeanOverTime()],
    "attention": lambda: [
        xpnn.Linear(4, 8),
        xpnn.PositionalEncoding(),
        xpnn.TransformerBlock(8, 2),
        xpnn.MaxOverTime(),
    ],
}


@pytest.mark.parametrize("name", READERS)
def test_padding_changes_nothing(name):
    net = reader(READERS[name]())
    x, _ = sentences()
    wider = np.concatenate([x, np.zeros((len(x), 3), int)], axis=1)
    assert_close(net.eval(wider), net.eval(x), "float32")
    short = x[(x != 0).sum(axis=1) == 3]
    assert len(short) > 3
    assert_close(net.eval(short[:, :3]), net.eval(short), "float32")


@pytest.mark.parametrize("name", READERS)
def test_networks_learn_from_sequences_of_several_lengths(name):
    net = reader(READERS[name]())
    history = xpnn.fit(net, sentences(), epochs=40, batch_size=20, metrics=["accuracy"])
    assert history["accuracy"][-1] > 0.95


def test_steps_of_nothing_but_padding_are_not_there(backend):
    layer = layers.Masked([prepared("GRU", backend), layers.LastStep()], padding=-1)
    x = batch()
    x[0, 2:], x[1, :] = -1, -1
    output = backend.to_host(layer.forward(backend.asarray(x)))
    alone = layers.Masked([prepared("GRU", backend), layers.LastStep()], padding=-1)
    assert_close(output[:1], backend.to_host(alone.forward(backend.asarray(x[:1, :2]))), "float32")
    assert (output[1] == 0).all()


def test_a_mask_ends_with_the_forward_pass():
    inner = layers.GRU(D, H, seed=0)
    masked = layers.Masked(inner, padding=0)
    masked.forward(np.zeros((2, 3, D)))
    assert inner.mask is None
    with pytest.raises(ShapeError):
        masked.forward(np.zeros((2, 3, D + 1)))
    assert inner.mask is None
