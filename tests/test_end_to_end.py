"""Whole trainings: equal seeds give equal trainings on every library, and as PyTorch has them."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest

import xpnn
from conftest import PRESENT
from tolerances import assert_close
from xpnn import (
    L2,
    SGD,
    Adam,
    AdamW,
    BatchNorm,
    BinaryCrossEntropy,
    Callback,
    Dropout,
    Huber,
    Layer,
    LayerNorm,
    Linear,
    Loss,
    MeanSquaredError,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    fit,
    predict,
)
from xpnn import backend as open_backend
from xpnn.backend import to_host

ROWS, BATCH, EPOCHS = 160, 16, 20  # 200 steps


def variants(*libraries, dtypes=("float32",), skip=()):
    """Make parameters of a fixture: back ends in each of some types, those of JAX marked slow."""
    return [
        pytest.param(
            replace(b, dtype=dtype),
            id=f"{b}-{dtype}",
            marks=[pytest.mark.slow] if b.library == "jax" else [],
        )
        for b in PRESENT
        for dtype in dtypes
        if dtype in b.dtypes and b.library in libraries and b.name not in skip
    ]


LIBRARIES = ("numpy", "array_api_strict", "torch", "jax", "dpnp", "cupy")
#: Other modes of what is there already.
MODES = ("numpy_readonly", "array_api_strict-CPU_DEVICE")


def in_scope(request):
    with request.param.scope():
        yield request.param


@pytest.fixture(params=variants(*LIBRARIES, dtypes=("float32", "float64"), skip=MODES))
def library_each_dtype(request):
    """One back end of each library, in each precision that it has."""
    yield from in_scope(request)


@pytest.fixture(params=variants(*LIBRARIES, skip=(*MODES, "jax-x64")))
def library(request):
    """One back end of each library, in float32."""
    yield from in_scope(request)


@pytest.fixture(
    params=variants("numpy", "array_api_strict", "torch", dtypes=("float64",), skip=MODES)
)
def quick_float64(request):
    """The same in float64, without JAX, which compiles each operation anew for each shape."""
    yield from in_scope(request)


@functools.cache
def data():
    """Four classes of points around centres, in eight dimensions, and labels."""
    rng = np.random.default_rng(11)
    labels = rng.integers(0, 4, ROWS)
    x = 1.5 * rng.standard_normal((4, 8))[labels] + rng.standard_normal((ROWS, 8))
    return x, labels


class Spy(Dropout):
    """Dropout that keeps its masks."""

    def __init__(self, p, seed=None):
        super().__init__(p, seed)
        self.masks = []

    def forward(self, input):
        output = super().forward(input)
        if self.mode == "train":
            self.masks.append(np.packbits(to_host(self.cache["mask"])))
        return output


class Steps(Callback):
    """Keeps the loss of every step."""

    def __init__(self):
        self.losses = []

    def on_batch_end(self, run, loss):
        self.losses.append(loss)


class Rows(Loss):
    """Cross-entropy that keeps the targets of its batches."""

    def __init__(self):
        super().__init__()
        self.inner, self.seen = SoftmaxCrossEntropy(), []

    def forward(self, input, target):
        self.seen.append(to_host(target).tolist())
        return self.inner.forward(input, target)

    def backward(self):
        return self.inner.backward()


@dataclass
class Training:
    """What came out of a training, on the host."""

    first: dict
    masks: list
    order: list
    losses: np.ndarray
    history: list
    predictions: np.ndarray


def train(plain, fuse=True, dropout=Spy, loss=Rows):
    """200 steps with Dropout, BatchNorm, L2 and Adam.

    There is no bias before BatchNorm: its gradient is zero but for rounding, and Adam makes steps
    of full size of that.
    """
    net = Sequential(
        [
            Linear(8, 24, bias=False),
            BatchNorm(24),
            ReLU(),
            dropout(0.3),
            Linear(24, 12),
            Tanh(),
            dropout(0.1),
            Linear(12, 4),
        ],
        loss(),
        regularization=L2(1e-4, {"weight"}),
        optimizer=Adam(5e-3),
        backend=plain,
        seed=2**63 + 5,
        fuse=fuse,
    )
    named = net.parameters.values.named()
    first = {key: np.array(to_host(value)) for key, value in named.items()}
    steps = Steps()
    history = fit(net, data(), EPOCHS, BATCH, callbacks=[steps])
    masks = [layer.masks for layer in net.layers if isinstance(layer, Spy)]
    return Training(
        first,
        masks,
        getattr(net.loss, "seen", []),
        np.asarray([float(one) for one in steps.losses]),
        history["loss"],
        predict(net, data()[0], BATCH),
    )


@functools.cache
def reference(dtype):
    """The training on NumPy, by the layers themselves."""
    return train(open_backend("numpy", dtype=dtype), fuse=False)


#: How far losses may be apart after 200 steps, relative; rounding grows from step to step.
APART = {"float32": 2e-5, "float64": 1e-11}


def assert_same_losses(found, expected, dtype):
    """Compare to rounding: tightly at first, and in the end to what has become of it."""
    assert len(found.losses) == 200
    np.testing.assert_allclose(found.losses[:20], expected.losses[:20], rtol=APART[dtype] / 10)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=APART[dtype])
    np.testing.assert_allclose(found.history, expected.history, rtol=APART[dtype])


def test_equal_seeds_give_equal_trainings_on_every_library(library_each_dtype):
    backend = library_each_dtype
    found, expected = train(backend.plain), reference(backend.dtype)
    assert found.first.keys() == expected.first.keys()
    for name, value in expected.first.items():
        np.testing.assert_array_equal(found.first[name], value, err_msg=name, strict=True)
    assert found.order == expected.order
    assert len(found.order) == 200
    for masks, others in zip(found.masks, expected.masks, strict=True):
        assert len(masks) == 200
        np.testing.assert_array_equal(np.stack(masks), np.stack(others))
    assert_same_losses(found, expected, backend.dtype)
    # They have learned, and not only the same.
    accuracy = (found.predictions.argmax(1) == data()[1]).mean()
    assert found.losses[:10].mean() > 2 * found.losses[-10:].mean()
    assert accuracy > 0.9
    agreement = (found.predictions.argmax(1) == expected.predictions.argmax(1)).mean()
    assert agreement > 0.98


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fused_steps_make_the_same_training(dtype):
    """With the plain layers, which have kernels."""
    plain = open_backend("numpy", dtype=dtype)
    found = train(plain, dropout=Dropout, loss=SoftmaxCrossEntropy)
    assert_same_losses(found, reference(dtype), dtype)


def test_another_seed_is_another_training():
    def losses(seed):
        net = Sequential([Linear(8, 4), Dropout(0.5)], SoftmaxCrossEntropy(), 0.1, seed=seed)
        return fit(net, data(), 2, BATCH)["loss"]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_without_a_seed_every_network_is_another_one():
    def make(seed=None):
        return Sequential([Linear(8, 4), Dropout(0.5)], SoftmaxCrossEntropy(), 0.1, seed=seed)

    first, second = make(), make()
    assert first.seed != second.seed
    again = make(first.seed)
    assert fit(first, data(), 1)["loss"] == fit(again, data(), 1)["loss"]


def test_the_global_generator_plays_no_part():
    def losses():
        net = Sequential([Linear(8, 4), Dropout(0.5)], SoftmaxCrossEntropy(), 0.1, seed=3)
        return fit(net, data(), 1, BATCH)["loss"]

    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    first = losses()
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    np.random.seed(2)
    assert losses() == first


def test_the_numbers_of_a_training_are_pinned():
    """They may change with a version of xpnn that says so, and not by accident."""
    losses = reference("float64").losses
    np.testing.assert_allclose(losses[[0, 1, 10, 100, 199]], PINNED, rtol=1e-7)


PINNED = [
    1.7915738856707708,
    1.4768743953700754,
    1.1399616351193822,
    0.15038986921429548,
    0.1451288083200155,
]


# PyTorch


OPTIMIZERS = {
    "SGD": (
        lambda: SGD(0.05, momentum=0.9, nesterov=True),
        lambda torch, groups: torch.optim.SGD(groups, 0.05, momentum=0.9, nesterov=True),
    ),
    "AdamW": (
        lambda: AdamW(0.01, weight_decay=0.1),
        lambda torch, groups: torch.optim.AdamW(groups, 0.01),
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_is_that_of_pytorch(name, quick_float64):
    """50 steps with BatchNorm and LayerNorm, from equal weights, on equal batches."""
    torch = pytest.importorskip("torch")
    ours, theirs = OPTIMIZERS[name]
    x, y = data()
    net = Sequential(
        [
            Linear(8, 10, bias=False),
            BatchNorm(10),
            ReLU(),
            Linear(10, 6),
            LayerNorm(6),
            Tanh(),
            Linear(6, 4),
        ],
        SoftmaxCrossEntropy(label_smoothing=0.1),
        optimizer=ours(),
        backend=quick_float64.plain,
        seed=0,
    )
    modules = torch.nn.Sequential(
        torch.nn.Linear(8, 10, bias=False),
        torch.nn.BatchNorm1d(10),
        torch.nn.ReLU(),
        torch.nn.Linear(10, 6),
        torch.nn.LayerNorm(6),
        torch.nn.Tanh(),
        torch.nn.Linear(6, 4),
    ).double()
    decayed, others = [], []
    for layer, module in zip(net.layers, modules, strict=True):
        for key, tensor in module.named_parameters():
            mine = {"weight": "W" if "W" in layer.params else "gamma"}.get(
                key, "b" if "b" in layer.params else "beta"
            )
            host = np.array(quick_float64.to_host(layer.params[mine]))
            with torch.no_grad():
                tensor.copy_(torch.tensor(host.T))
            (decayed if mine == "W" else others).append(tensor)
    decay = 0.1 if name == "AdamW" else 0.0
    groups = [
        {"params": decayed, "weight_decay": decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = theirs(torch, groups)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    for start in itertools.islice(itertools.cycle(range(0, ROWS, BATCH)), 50):
        rows = slice(start, start + BATCH)
        _, loss = net.train(x[rows], y[rows])
        optimizer.zero_grad()
        expected = criterion(modules(torch.tensor(x[rows])), torch.tensor(y[rows]))
        expected.backward()
        optimizer.step()
        assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-9)


# Other tasks


def test_regression_learns(library):
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (128, 1))
    net = Sequential(
        [Linear(1, 16), Tanh(), Linear(16, 1)],
        Huber(),
        optimizer=Adam(0.02),
        backend=library.plain,
        seed=0,
    )
    fit(net, (x, np.sin(2 * x[:, 0])), 50, 32)
    found = xpnn.evaluate(net, (x, np.sin(2 * x[:, 0])), 32, metrics=["r2"])
    assert found["r2"] > 0.9


def test_several_yes_or_no_questions_learn(library):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((128, 3))
    y = np.stack([x[:, 0] > 0, x[:, 1] + x[:, 2] > 0.5], axis=1)
    net = Sequential(
        [Linear(3, 8), ReLU(), Linear(8, 2)],
        BinaryCrossEntropy(pos_weight=[1.0, 2.0]),
        optimizer=Adam(0.05),
        backend=library.plain,
        seed=1,
    )
    fit(net, (x, y), 25, 32)
    assert ((predict(net, x, 32) > 0) == y).mean() > 0.95


def test_the_tutorials_own_program():
    """Four-bit numbers to their parity and halves, with its classes, signatures and loop."""

    class Double(Layer):
        """A layer as the tutorial writes one."""

        def __init__(self):
            super().__init__()
            self.params["W"] = np.ones((1, 1))
            self.roles = {"W": "scale"}

        def forward(self, input):
            self.cache["input"] = input
            return input * self.params["W"]

        def backward(self, dout):
            self.grads["W"] = (dout * self.cache["input"]).sum().reshape(1, 1)
            return dout * self.params["W"]

    class Squares(Loss):
        """A loss as the tutorial writes one."""

        def forward(self, pred, target):
            self.cache["difference"] = pred - target
            return np.square(self.cache["difference"]).mean()

        def backward(self):
            return 2 * self.cache["difference"] / self.cache["difference"].size

    numbers = np.arange(16)
    bits = (numbers[:, None] >> np.arange(4)) & 1
    target = np.stack([numbers % 2, numbers >= 8], axis=1)
    layers = [Linear(4, 16), BatchNorm(16, epsilon=1e-5, momentum=0.9), ReLU(), Dropout(0.1)]
    net = Sequential([*layers, Double(), Linear(16, 2)], Squares(), 0.2, L2(1e-5), seed=0)
    for _ in range(300):
        output, loss = net.train(bits, target)
    assert output.shape == (16, 2)
    assert loss < 0.05
    assert (np.round(net.eval(bits)) == target).all()


def test_a_network_can_be_trained_by_its_parts(backend_each_dtype):
    """Forward and backward are there for who writes the loop himself."""
    backend = backend_each_dtype
    net = Sequential([Linear(8, 4)], MeanSquaredError(), 0.1, backend=backend.plain, seed=0)
    x = backend.asarray(data()[0])
    output = net.forward(x)
    dinput = net.backward(output)
    W = np.array(backend.to_host(net.layers[0].params["W"]))
    assert_close(backend.to_host(dinput), backend.to_host(output) @ W.T, backend.dtype)
    gradient = backend.to_host(net.layers[0].grads["W"])
    expected = backend.to_host(x).T @ backend.to_host(output)
    assert_close(gradient, expected, backend.dtype, factor=10)
    net.layers[0].params["W"] -= 0.01 * net.layers[0].grads["W"]
    expected = W - 0.01 * gradient
    assert_close(
        backend.to_host(net.parameters.values.array)[:32].reshape(8, 4), expected, backend.dtype
    )
