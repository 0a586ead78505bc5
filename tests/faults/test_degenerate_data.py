"""Data at the edge of what makes sense: everything stays finite, and right."""

from __future__ import annotations

import numpy as np
import pytest

import xpnn
from conftest import PRESENT

LIBRARIES = {b.library: b for b in PRESENT if "float32" in b.dtypes and not b.read_only}


@pytest.fixture(params=LIBRARIES)
def library(request):
    with LIBRARIES[request.param].scope():
        yield LIBRARIES[request.param]


def network(library, loss=None, outputs=3, width=4):
    return xpnn.Sequential(
        [xpnn.Linear(width, 6), xpnn.BatchNorm(6), xpnn.ReLU(), xpnn.Linear(6, outputs)],
        loss or xpnn.SoftmaxCrossEntropy(),
        optimizer=xpnn.Adam(0.01),
        backend=library.plain,
        seed=0,
    )


def data(rows=9):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 4)), np.arange(rows) % 3


def check_finite(net, history):
    assert all(np.isfinite(value).all() for value in net.state_dict().values())
    for column in history.columns:
        assert np.isfinite(history[column]).all(), column


def test_constant_features(library, tried):
    x, y = data()
    x[:, 1], x[:, 2] = 7.0, 0.0
    scaled = xpnn.data.Standardization().fit(x).transform(x)
    assert np.isfinite(scaled).all()
    np.testing.assert_array_equal(scaled[:, 1:3], 0.0)
    np.testing.assert_allclose(scaled[:, [0, 3]].std(axis=0), 1.0, rtol=1e-12)
    for samples in (x, scaled, np.full_like(x, 5.0)):
        net = network(library)
        history = xpnn.fit(net, (samples, y), 3, 3, metrics=["accuracy"], validation=(samples, y))
        check_finite(net, history)
    # All samples are alike: the best that one can say is how often each class comes.
    output = xpnn.predict(net, np.full_like(x, 5.0))
    np.testing.assert_array_equal(output, np.broadcast_to(output[0], output.shape))
    tried(f"constant features on {library.library}", 3, "finite and right")


@pytest.mark.parametrize("scale", [1e4, -1e4, 1e30])
def test_logits_of_ten_thousand(scale, library, tried):
    plain = library.plain
    logits = np.asarray([[scale, 0.0, -scale], [0.0, scale, 0.0]], dtype=np.float32)
    labels = np.asarray([0, 2])
    loss = xpnn.SoftmaxCrossEntropy()
    value = float(loss.forward(plain.asarray(logits), plain.asarray(labels)))
    exact = logits.astype(np.float64)
    costs = np.logaddexp.reduce(exact, axis=1) - exact[np.arange(2), labels]
    np.testing.assert_allclose(value, costs.mean(), rtol=1e-6)
    gradient = library.to_host(loss.backward())
    p = np.exp(exact - np.logaddexp.reduce(exact, axis=1, keepdims=True))
    np.testing.assert_allclose(gradient, (p - np.eye(3)[labels]) / 2, atol=1e-7)
    loss = xpnn.BinaryCrossEntropy()
    value = float(loss.forward(plain.asarray(logits), plain.asarray((logits > 0) * 1.0)))
    np.testing.assert_allclose(value, np.log(2) * 3 / 6, rtol=1e-6)
    assert np.isfinite(library.to_host(loss.backward())).all()
    tried(f"logits of {scale:g} on {library.library}", 2, "finite and right")


def test_one_class_only(library, tried):
    x, _ = data()
    net = network(library)
    history = xpnn.fit(net, (x, np.ones(9, dtype=int)), 40, 9, metrics=["accuracy"])
    check_finite(net, history)
    assert history["accuracy"][-1] == 1.0
    np.testing.assert_array_equal(xpnn.predict(net, x).argmax(axis=1), 1)
    tried(f"one class only on {library.library}", 1, "finite and right")


def test_batch_of_one_and_one_row_left_over(library, tried):
    for rows, batch_size, steps in ((1, 1, 1), (9, 4, 2), (5, 2, 2), (3, 1, 3)):
        x, y = data(rows)
        net = network(library)
        net.layers[1] = xpnn.LayerNorm(6) if batch_size == 1 else xpnn.BatchNorm(6)
        history = xpnn.fit(net, (x, y), 2, batch_size, metrics=["accuracy"])
        check_finite(net, history)
        assert net.steps == 2 * steps
        alone = [xpnn.predict(net, x[k : k + 1])[0] for k in range(rows)]
        np.testing.assert_allclose(alone, xpnn.predict(net, x), rtol=1e-4, atol=1e-5)
    tried(f"a batch of one, one row left over, on {library.library}", 4, "finite and right")


def test_nothing_to_test_on(library, tried):
    net = network(library)
    nothing = np.zeros((0, 4))
    assert xpnn.predict(net, nothing).shape == (0, 3)
    assert xpnn.Model(net, class_names=("a", "b", "c")).predict(nothing).shape == (0,)
    for call in (
        lambda: xpnn.evaluate(net, (nothing, np.zeros(0, dtype=int))),
        lambda: xpnn.fit(net, (nothing, np.zeros(0, dtype=int)), 1),
        lambda: xpnn.fit(net, data(), 1, validation=(nothing, np.zeros(0, dtype=int))),
    ):
        with pytest.raises(xpnn.DataError, match="empty"):
            call()
    assert net.steps == 0
    tried(f"an empty test set on {library.library}", 5, "empty, or a clear error")


def test_a_constant_target(library, tried):
    x, _ = data()
    net = network(library, xpnn.MeanSquaredError(), outputs=1)
    y = np.full((9, 1), 3.0)
    history = xpnn.fit(net, (x, y), 3, 3, metrics=["r2", "mae"], validation=(x, y))
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(history["val_mae"]).all()
    tried(f"a constant target on {library.library}", 1, "finite")
