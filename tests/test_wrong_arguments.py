"""What is given by mistake: each is refused in one sentence that names it, before anything changes.

Arguments of a training are in test_training_refusals.py, settings of optimizers and losses in
their files; here are the mistakes that would otherwise end deep inside, or in a wrong result.
"""

import numpy as np
import pytest

import xpnn
from xpnn.data import Vocabulary, load, load_text, split
from xpnn.errors import ConfigurationError, DataError

X, Y = np.linspace(-1.0, 1.0, 48).reshape(12, 4), np.arange(12) % 3


def network(**settings):
    layers = [xpnn.Linear(4, 3)]
    return xpnn.Sequential(layers, xpnn.SoftmaxCrossEntropy(), 0.1, seed=0, **settings)


NO_NETWORK = "network: expected a Network, got Linear"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: xpnn.fit(xpnn.Linear(4, 3), (X, Y), 1), NO_NETWORK),
        (lambda: xpnn.fit((X, Y), network(), 1), "network: expected a Network, got a tuple$"),
        (lambda: xpnn.evaluate(xpnn.Linear(4, 3), (X, Y)), NO_NETWORK),
        (lambda: xpnn.evaluate(xpnn.Sequential, (X, Y)), "the class Sequential: give Sequential"),
        (lambda: xpnn.predict(xpnn.Linear(4, 3), X), NO_NETWORK),
        (lambda: xpnn.predict(X, network()), "network: expected a Network, got a ndarray$"),
        (lambda: xpnn.save("model", "model.safetensors"), "expected a Network, got 'model'"),
        (lambda: xpnn.check_gradients("model", X), "expected a Network, got 'model'"),
        (lambda: network().load_state_dict(None), "state: expected a Mapping, got None"),
        (lambda: network().load_state_dict([X]), "state: expected a Mapping, got a list"),
        (
            lambda: xpnn.fit(network(), (X, Y), 1, shuffle="no"),
            "fit: shuffle must be True or False",
        ),
        (
            lambda: xpnn.fit(network(), (X, Y), 1, progress="no"),
            "fit: progress must be True or False",
        ),
        (
            lambda: xpnn.fit(network(), (X, Y), 1, check_finite=2),
            "fit: check_finite must be True or False",
        ),
        (lambda: xpnn.fit(network(), (X, Y), 1, force="no"), "fit: force must be True or False"),
        (
            lambda: xpnn.fit(network(), (X, Y), 1, resident="no"),
            "fit: resident must be True or False",
        ),
        (lambda: xpnn.Adam(xpnn.Cosine), "Adam: lr: expected a Schedule, .* give Cosine"),
        (
            lambda: xpnn.Sequential([xpnn.Linear(4, 3)], xpnn.MeanSquaredError(), xpnn.Adam(0.1)),
            "give optimizer=Adam",
        ),
        (
            lambda: xpnn.Sequential([xpnn.Linear(4, 3)], xpnn.MeanSquaredError(), xpnn.Cosine(0.1)),
            "give optimizer=xpnn.SGD",
        ),
        (lambda: xpnn.EarlyStopping(3), "EarlyStopping: monitor: expected the name of a column"),
        (lambda: xpnn.CSVLog(3), "CSVLog: path: expected a path, got 3"),
        (lambda: xpnn.Progress("log"), "Progress: write: expected a function, got 'log'"),
        (lambda: load(3), "load: name_or_path: expected a path, got 3"),
        (lambda: load("digits", test_fraction="a"), r"test_fraction must be a number in \(0, 1\)"),
        (lambda: load_text(3), "load_text: path: expected a path, got 3"),
        (lambda: load_text("a", test_fraction="a"), r"test_fraction must be a number in \(0, 1\)"),
        (lambda: load_text("a", vocabulary="abc"), "vocabulary: expected a Vocabulary, got 'abc'"),
        (lambda: split(X, Y, fraction="a"), r"split: fraction must be a number in \(0, 1\)"),
        (lambda: split(X, Y, fraction=float("nan")), r"fraction must be a number in \(0, 1\)"),
        (lambda: Vocabulary(3), "Vocabulary: expected text, got 3"),
        (lambda: Vocabulary([3]), r"Vocabulary: expected text, got \[3\]"),
    ],
)
def test_a_wrong_argument_is_named(call, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [("left",), ("left", "right"), tuple("abcd")])
def test_a_model_has_a_name_for_each_class(names):
    # With too few of them indexing would fail, with too many the names may be another network's.
    model = xpnn.Model(network(), class_names=names)
    with pytest.raises(ConfigurationError, match=f"expected 3 names, .*got {len(names)}"):
        model.predict(X)


@pytest.mark.parametrize("text", [3, None, ["a", 3], b"ab"])
def test_only_text_is_encoded(text):
    with pytest.raises(DataError, match="Vocabulary: "):
        Vocabulary("ab").encode(text)


WHOLE = {
    "Linear": (lambda: xpnn.Linear(4, 3), (2, 4)),
    "BatchNorm": (lambda: xpnn.BatchNorm(4), (2, 4)),
    "LayerNorm": (lambda: xpnn.LayerNorm(4), (2, 4)),
    "Conv2d": (lambda: xpnn.Conv2d(1, 2, 3), (2, 1, 5, 5)),
    "GRU": (lambda: xpnn.GRU(4, 3), (2, 3, 4)),
    "MultiHeadAttention": (lambda: xpnn.MultiHeadAttention(4, 2), (2, 3, 4)),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_layer_alone_draws_no_weights_in_whole_numbers(kind):
    # Weights of integers would nearly all be 0, and so would be what the layer gives.
    make, shape = WHOLE[kind]
    layer = make()
    with pytest.raises(DataError, match=f"{kind}: expected floating-point numbers, got .*int64"):
        layer.forward(np.ones(shape, dtype=np.int64))
    assert layer.forward(np.ones(shape)).dtype == np.float64
