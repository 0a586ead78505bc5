"""Constructor arguments, read back from the object: how things are printed and described."""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
import re

import numpy as np
import pytest

import xpnn
from xpnn import layers, losses, optimizers, regularization, schedules
from xpnn._settings import represent, settings
from xpnn.errors import ConfigurationError


class Plain:
    """Keeps its arguments, as the convention has it."""

    def __init__(self, width, factor=1.0, *, name=None):
        self.width, self.factor, self.name = width, factor, name


class Forgetful:
    """Keeps one of two."""

    def __init__(self, kept, lost):
        self.kept = kept


class Nothing:
    """Takes no arguments."""


class Variable:
    """Takes any number of arguments: those have no names to be kept by."""

    def __init__(self, first, *rest, **more):
        self.first = first


def test_settings_are_the_arguments_in_order():
    assert settings(Plain(3, name="x")) == {"width": 3, "factor": 1.0, "name": "x"}
    assert list(settings(Plain(3))) == ["width", "factor", "name"]
    assert settings(Nothing()) == {}
    assert settings(Variable(1, 2, 3, a=4)) == {"first": 1}


def test_an_argument_that_is_not_kept_is_named():
    with pytest.raises(TypeError, match="Forgetful keeps its argument 'lost' in no attribute"):
        settings(Forgetful(1, 2))


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (Plain(3), "Plain(3)"),
        (Plain(3, 2.0), "Plain(3, factor=2.0)"),
        (Plain(width="a", name="b"), "Plain('a', name='b')"),
        (Plain([Plain(1)]), "Plain([Plain(1)])"),
        (Forgetful(1, 2), "Forgetful(1)"),
        (Nothing(), "Nothing()"),
        (Variable(1, 2, a=3), "Variable(1)"),
        (Plain(np.float32(0.5)), "Plain(np.float32(0.5))"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_thing_is_written_as_the_call_that_makes_it(thing, text):
    Plain.__repr__ = represent
    try:
        assert represent(thing) == text
    finally:
        del Plain.__repr__


def test_what_is_not_kept_leaves_a_description_that_can_be_read():
    class Half(xpnn.Layer):
        def __init__(self, dim, scale=2.0):
            super().__init__()

    assert repr(Half(3)) == "Half()"


SAMPLES = {
    "activations": [xpnn.ReLU(), xpnn.LeakyReLU(0.2), xpnn.ELU(0.5), xpnn.Tanh(), xpnn.Sigmoid()],
    "layers": [
        xpnn.Linear(3, 2),
        xpnn.Linear(3, 2, bias=False, weight_initializer="orthogonal", seed=4),
        xpnn.BatchNorm(4, epsilon=1e-3, momentum=0.5),
        xpnn.LayerNorm(4),
        xpnn.Dropout(0.25),
        xpnn.Dropout(0.25, seed=1),
        xpnn.GELU(approximate="tanh"),
        xpnn.Softmax(axis=1),
        xpnn.Flatten(),
    ],
    "losses": [
        xpnn.SoftmaxCrossEntropy(),
        xpnn.SoftmaxCrossEntropy([1.0, 2.0], 0.1, -1),
        xpnn.BinaryCrossEntropy(2.0),
        xpnn.BinaryCrossEntropy([1.0, 2.0]),
        xpnn.MeanSquaredError(),
        xpnn.Huber(0.5),
    ],
    "optimizers": [
        xpnn.SGD(0.1),
        xpnn.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, clip_norm=1.0),
        xpnn.Adam(1e-3, beta2=0.99, decay_roles={"weight", "bias"}, clip_value=0.5),
        xpnn.AdamW(xpnn.Cosine(0.1)),
        xpnn.RMSprop(0.1),
        xpnn.Adagrad(0.1),
    ],
    "regularization": [
        xpnn.L2(1e-4),
        xpnn.L1(0.0, {"weight"}),
        xpnn.ElasticNet(0.1, 0.2, roles={"scale", "bias"}),
    ],
    "schedules": [
        xpnn.Constant(0.1),
        xpnn.Step(0.1, 10, 0.5),
        xpnn.Exponential(0.1, 0.5),
        xpnn.Cosine(0.1, 20),
        xpnn.OneCycle(0.1),
        xpnn.LinearWarmup(xpnn.Cosine(0.1, steps=5), 5),
        xpnn.ReduceOnPlateau(0.1, mode="max"),
    ],
}
#: Values that some class may take for its argument of this name.
GUESSES = {
    "schedule": [xpnn.Constant(0.1)],
    "layer": [xpnn.ReLU(), xpnn.LSTM(2, 2)],
    "layers": [[xpnn.ReLU()]],
    "branches": [[xpnn.ReLU(), xpnn.Tanh()]],
}
EVERY = [thing for things in SAMPLES.values() for thing in things]


@pytest.mark.parametrize("thing", EVERY, ids=repr)
def test_a_thing_can_be_made_anew_from_its_settings(thing):
    again = type(thing)(**settings(thing))
    assert repr(settings(again)) == repr(settings(thing))
    assert type(copy.deepcopy(thing)) is type(thing)


@pytest.mark.parametrize("thing", EVERY, ids=repr)
def test_a_thing_can_be_made_anew_from_what_it_prints(thing):
    again = eval(repr(thing), vars(xpnn))
    assert type(again) is type(thing)
    assert repr(settings(again)) == repr(settings(thing))


@pytest.mark.parametrize(
    "kind",
    [
        value
        for module in (layers, losses, optimizers, regularization, schedules)
        for value in (getattr(module, name) for name in module.__all__)
        if isinstance(value, type) and not inspect.isabstract(value)
    ],
    ids=lambda kind: kind.__name__,
)
def test_every_class_keeps_its_arguments_under_their_names(kind):
    """So a network with it can be written to a file."""
    parameters = inspect.signature(kind).parameters
    required = [name for name, p in parameters.items() if p.default is p.empty]
    for values in itertools.product(*(GUESSES.get(name, [0.5, 2]) for name in required)):
        try:
            thing = kind(**dict(zip(required, values, strict=True)))
        except xpnn.ConfigurationError:
            continue
        assert settings(thing).keys() == parameters.keys()
        return
    pytest.fail(f"no guess makes a {kind.__name__}")


def test_partial_classes_do_not_confuse_it():
    assert settings(functools.partial(Plain, 3)()) == {"width": 3, "factor": 1.0, "name": None}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: xpnn.Linear(3, 2, "zeros"), "Linear: bias must be True or False, got 'zeros'"),
        (lambda: xpnn.Conv2d(1, 2, 3, bias=None), "Conv2d: bias must be True or False, got None"),
        (
            lambda: xpnn.LSTM(3, 2, return_sequences="false"),
            "LSTM: return_sequences must be True or False, got 'false'",
        ),
        (lambda: xpnn.GRU(3, 2, reverse=2), "GRU: reverse must be True or False, got 2"),
        (
            lambda: xpnn.MultiHeadAttention(4, 2, "causal"),
            "MultiHeadAttention: causal must be True or False, got 'causal'",
        ),
        (
            lambda: xpnn.AvgPool2d(2, count_padding=np.ones(2)),
            "AvgPool2d: count_padding must be True or False",
        ),
        (lambda: xpnn.SGD(0.1, nesterov="yes"), "SGD: nesterov must be True or False, got 'yes'"),
        (
            lambda: xpnn.Sequential(
                [xpnn.Linear(3, 2)], xpnn.MeanSquaredError(), lr=0.1, fuse="no"
            ),
            "network: fuse must be True or False, got 'no'",
        ),
        (
            lambda: xpnn.Masked([xpnn.LastStep()], padding="0"),
            "Masked: padding must be a number in (-inf, inf), got '0'",
        ),
    ],
)
def test_a_setting_of_the_wrong_kind_is_refused(make, message):
    with pytest.raises(ConfigurationError, match="^" + re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("make", "name", "value", "range"),
    [
        (lambda: xpnn.BatchNorm(2), "momentum", 2, "[0, 1]"),
        (lambda: xpnn.BatchNorm(2), "epsilon", "x", "(0, inf)"),
        (lambda: xpnn.BatchNorm2d(2), "epsilon", 0.0, "(0, inf)"),
        (lambda: xpnn.LayerNorm(2), "epsilon", -1, "(0, inf)"),
        (lambda: xpnn.GroupNorm(1, 2), "epsilon", np.nan, "(0, inf)"),
        (lambda: xpnn.Dropout(0.5), "p", 1.5, "[0, 1]"),
    ],
)
def test_a_setting_of_a_layer_is_checked_when_it_is_assigned(make, name, value, range):
    layer = make()
    layer.name = "layer 3"
    message = f"layer 3: {name} must be a number in {range}, got {value!r}"
    with pytest.raises(ConfigurationError, match="^" + re.escape(message)):
        setattr(layer, name, value)
    assert repr(layer) == repr(make())
    setattr(layer, name, 1)
    assert getattr(layer, name) == 1.0
    assert getattr(copy.deepcopy(layer), name) == 1.0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("regularization", "L2", "regularization: expected a Regularization, got 'L2'"),
        ("regularization", 0.1, "regularization: expected a Regularization, got 0.1"),
        (
            "regularization",
            xpnn.L2,
            "regularization: expected a Regularization, got the class L2: give L2(...)",
        ),
        ("loss", "mse", "loss: expected a Loss, got 'mse'"),
        ("loss", None, "loss: expected a Loss, got None"),
    ],
)
def test_a_part_of_a_network_is_checked_when_it_is_assigned(name, value, message):
    parts = [xpnn.Linear(3, 2)], xpnn.MeanSquaredError(), 0.1, xpnn.L1(0.1)
    net = xpnn.Sequential(*parts, seed=0)
    with pytest.raises(ConfigurationError, match="^" + re.escape(message)):
        setattr(net, name, value)
    assert (net.loss, net.regularization) == (parts[1], parts[3])
    net.regularization = None
    assert net.regularization is None


def test_a_penalty_that_has_not_called_its_base_is_refused_when_it_is_assigned():
    class Own(xpnn.Regularization):
        def __init__(self):
            pass

    net = xpnn.Sequential([xpnn.Linear(3, 2)], xpnn.MeanSquaredError(), 0.1)
    with pytest.raises(ConfigurationError, match=r"^Own: no weight: has it called super\(\)"):
        net.regularization = Own()
    assert net.regularization is None
    net.regularization = xpnn.L2(0.1)
    assert net.regularization.weight == 0.1


def test_booleans_of_numpy_are_booleans():
    assert xpnn.Linear(3, 2, np.False_).bias is False
