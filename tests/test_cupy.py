"""CuPy: devices, waiting, launches, transfers, memory, and what the CPU computes.

They need a GPU, or the pretend one of ``ci/cupy_on_cpu.sh`` (the rig). What only the rig can tell
(does the host wait, how many kernels are launched, what is copied) is skipped elsewhere.
"""

from __future__ import annotations

import copy
import gc
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnn
from cases import CASES
from nets import assert_same, blobs, classifier, snapshot, values
from xpnn.backend import backend as open_backend
from xpnn.backend import backend_of, to_host
from xpnn.data.arrays import array_batches
from xpnn.data.streaming import StreamedBatches
from xpnn.random import Stream
from xpnn.summary import step_memory

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[1]
X, Y = blobs(48)


@pytest.fixture(params=["cuda", "cuda:1"])
def device(request) -> str:
    """Each of two devices, while the first is the current one."""
    return a_device(request.param)


def a_device(name: str) -> str:
    import cupy

    if int(name.partition(":")[2] or 0) >= cupy.cuda.runtime.getDeviceCount():
        pytest.skip(f"there is no device {name}")
    return name


@pytest.fixture
def rig() -> Any:
    """The pretend GPU's counters."""
    module = pytest.importorskip("cupy_on_cpu", reason="only the rig counts and sees waiting")
    if not module.active():
        pytest.skip("the rig is not switched on")
    return module


@pytest.fixture
def pool() -> Iterator[Any]:
    """CuPy's memory of the current device, empty, and without a limit afterwards."""
    import cupy

    if os.environ.get("CUPY_ON_CPU_CHECK"):
        pytest.skip("the rig's checked mode has no pool")
    gc.collect()
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    yield pool
    pool.set_limit(size=0)


def counted(rig: Any, action: Any) -> dict[str, int]:
    """Return by how much the rig's counters grow, those that do."""
    before = rig.stats()
    action()
    after = rig.stats()
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def one_line(error: Any) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# Devices


def arrays_of(net: Any) -> dict[str, Any]:
    """Every array that a network holds."""
    parameters = net.parameters
    arrays = {
        "values": parameters.values.array,
        "grads": parameters.grads.array,
        "buffers": parameters.buffers.array,
        **net.optimizer_state,
    }
    for key, layer in parameters.layers.items():
        for kind in ("params", "grads", "buffers", "cache"):
            for name, value in getattr(layer, kind).items():
                if hasattr(value, "shape"):
                    arrays[f"{key}.{kind}.{name}"] = value
    return arrays


def test_everything_that_a_network_makes_lies_on_its_device(device):
    net = classifier(device=device, regularization=xpnn.L2(1e-3))
    backend = net.backend
    output, loss = net.train(X, Y, np.ones(48))
    with backend.scope():  # a forward pass whose cache stays
        net.forward(net.prepare_input(X))
        net.loss.forward(output, net.prepare_target(Y, output.shape))
    arrays = arrays_of(net) | {"output": output, "loss": loss, "eval": net.eval(X)}
    arrays |= {f"loss.{k}": v for k, v in net.loss.cache.items() if hasattr(v, "shape")}
    assert {name for name in arrays if name.endswith("cache.mask")} == {"3.cache.mask"}
    assert [name for name, array in arrays.items() if not backend.owns(array)] == []


@pytest.mark.parametrize("resident", [True, False])
def test_batches_lie_on_the_device(device, resident):
    backend = open_backend(device=device)
    arrays = (X.astype("float32"), Y, np.ones(48))
    batches = array_batches(arrays, backend, 16, order=Stream(0), resident=resident)
    with backend.scope():
        for batch in batches.epoch(0):
            assert all(backend.owns(part) for part in batch)


@pytest.mark.parametrize("resident", [True, False])
def test_two_devices_compute_the_same_bits(resident):
    a_device("cuda:1")
    snapshots, histories = [], []
    for name in ("cuda:0", "cuda:1"):
        net = classifier(device=name, regularization=xpnn.L2(1e-3))
        history = xpnn.fit(
            net, (X, Y), 3, 10, metrics=["accuracy"], validation=(X, Y), resident=resident
        )
        snapshots.append(snapshot(net))
        histories.append([history[c] for c in ("loss", "accuracy", "val_loss", "val_accuracy")])
    assert_same(*snapshots)
    assert histories[0] == histories[1]


def test_arrays_of_another_device_are_refused_before_anything_changes():
    a_device("cuda:1")
    net, other = classifier(device="cuda:0"), open_backend(device="cuda:1")
    net.train(X, Y)
    x, y = other.asarray(X), other.asarray(Y)
    weight = other.asarray(np.ones(48))
    before = snapshot(net)
    attempts = [
        lambda: net.train(x, Y),
        lambda: net.train(X, y),
        lambda: net.train(X, Y, weight),
        lambda: net.eval(x),
        lambda: xpnn.fit(net, (x, Y), 1),
        lambda: xpnn.fit(net, (X, y), 1),
        lambda: xpnn.fit(net, (X, Y, weight), 1),
        lambda: xpnn.fit(net, [(x, y)], 1),
        lambda: xpnn.evaluate(net, (x, Y)),
        lambda: xpnn.predict(net, x),
        lambda: net.layers[0].params.update(W=other.zeros((4, 8))),
    ]
    for attempt in attempts:
        with pytest.raises(xpnn.BackendError) as error:
            attempt()
        text = one_line(error)
        assert "cuda:0" in text
        assert "cuda:1" in text
        assert_same(snapshot(net), before)


def test_arrays_of_numpy_and_of_the_device_make_the_same_step(device):
    nets = [classifier(device=device) for _ in range(2)]
    backend = nets[0].backend
    nets[0].train(X, Y)
    nets[1].train(backend.asarray(X), backend.asarray(Y))
    assert_same(snapshot(nets[0]), snapshot(nets[1]))


def test_a_network_moves_as_a_whole_and_goes_on_as_if_it_had_not():
    a_device("cuda:1")
    stays, moves = (classifier(device="cuda:0") for _ in range(2))
    for _ in range(3):
        stays.train(X, Y)
    for place in ("cuda:1", "cuda:0", "cuda:1"):
        moves.train(X, Y)
        assert moves.to(place) is moves
        assert str(moves.backend) == f"cupy on {place}"
        assert [k for k, v in arrays_of(moves).items() if not moves.backend.owns(v)] == []
    assert_same(snapshot(moves), snapshot(stays))
    moves.to("cpu")
    assert_same(snapshot(moves), snapshot(stays))
    assert moves.backend.name == "numpy"


@pytest.mark.parametrize(
    "make", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]
)
def test_a_copy_lies_on_the_same_device_and_goes_on(device, make):
    net, expected = (classifier(device=device) for _ in range(2))
    for each in (net, expected):
        each.loss = xpnn.SoftmaxCrossEntropy(class_weight=[1.0, 2.0, 3.0])
    net.train(X, Y)
    other = make(net)
    assert [k for k, v in arrays_of(other).items() if not net.backend.owns(v)] == []
    other.train(X, Y)
    for _ in range(2):
        expected.train(X, Y)
    assert_same(snapshot(other), snapshot(expected))


def test_a_network_that_goes_takes_its_memory_along(pool):
    """At once, and not when Python's garbage collector comes by: it knows no device memory."""
    net = classifier(device="cuda:0")
    net.train(X, Y)  # constants that stay
    del net
    gc.collect()
    gc.disable()
    try:
        before = pool.used_bytes()
        net = classifier(device="cuda:0")
        xpnn.fit(net, (X, Y), 1)
        assert pool.used_bytes() > before
        net.to("cpu")
        assert pool.used_bytes() == before
        net.to("cuda:0")
        del net
        assert pool.used_bytes() == before
    finally:
        gc.enable()


def test_the_current_device_is_as_before(device):
    import cupy

    net = classifier(device=device)
    net.train(X, Y)
    xpnn.fit(net, (X, Y), 1)
    assert cupy.cuda.runtime.getDevice() == 0


def test_callbacks_run_on_the_device(device):
    losses = []

    class Square(xpnn.Callback):
        def on_batch_end(self, run, loss):
            losses.append(loss * loss)  # a kernel

    net = classifier(device=device)
    xpnn.fit(net, (X, Y), 1, callbacks=[Square()])
    assert [backend_of(loss) for loss in losses] == [net.backend] * 2


# Waiting


def network_of(layers: Any, loss: Any = None, optimizer: Any = None, **more: Any) -> Any:
    return xpnn.Sequential(
        layers,
        loss or xpnn.SoftmaxCrossEntropy(),
        optimizer=optimizer or xpnn.SGD(0.1),
        device="cuda",
        seed=0,
        **more,
    )


@pytest.mark.parametrize("fuse", [True, False])
def test_twenty_steps_do_not_wait_for_the_device(rig, fuse):
    net = classifier(
        device="cuda",
        fuse=fuse,
        optimizer=xpnn.Adam(1e-3, weight_decay=0.01, clip_norm=1.0, clip_value=0.5),
        regularization=xpnn.L2(1e-4, roles={"weight"}),
    )
    first = net.train(X, Y)[1]
    x, y, weight = (net.backend.asarray(a) for a in (X, Y, np.ones(48, dtype="float32")))
    with rig.no_sync():
        losses = [net.train(x, y)[1] for _ in range(20)]
        net.train(x, y, weight)
        net.train(X, Y)  # host data go there without waiting, too
        net.eval(x)
    assert net.steps == 23
    assert float(losses[-1]) < float(first)


class Watch(xpnn.Callback):
    """Forbid waiting from the beginning of an epoch to the end of its last step."""

    def __init__(self, rig: Any) -> None:
        self.rig, self.entered, self.epochs = rig, None, 0

    def on_epoch_begin(self, run: Any) -> None:
        self.steps, self.entered = 0, self.rig.no_sync()
        self.entered.__enter__()

    def on_batch_end(self, run: Any, loss: Any) -> None:
        self.steps += 1
        if self.steps == run.steps_per_epoch:
            self.entered.__exit__(None, None, None)
            self.epochs += 1


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("metric", ["accuracy", "top2", xpnn.metrics.Accuracy(ignore_index=1)])
def test_an_epoch_with_metrics_does_not_wait(rig, resident, metric, monkeypatch):
    monkeypatch.setattr("xpnn.data.streaming.CHUNK_BYTES", 500)
    watch = Watch(rig)
    data = (X, Y, np.ones(48))
    xpnn.fit(classifier(device="cuda"), data, 3, 10, metrics=[metric], callbacks=[watch],
             resident=resident)  # fmt: skip
    assert watch.epochs == 3


REGRESSION = [xpnn.MeanSquaredError(), xpnn.MeanAbsoluteError(), xpnn.Huber(0.5)]
CLASSIFICATION = [
    xpnn.SoftmaxCrossEntropy(),
    xpnn.SoftmaxCrossEntropy(class_weight=[1.0, 2.0, 0.5]),
    xpnn.SoftmaxCrossEntropy(label_smoothing=0.1, ignore_index=2),
    xpnn.SoftmaxCrossEntropy(class_weight=[1.0, 2.0, 0.5], label_smoothing=0.1),
]
BINARY = [xpnn.BinaryCrossEntropy(), xpnn.BinaryCrossEntropy(pos_weight=2.0)]


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("loss", [*REGRESSION, *CLASSIFICATION, *BINARY], ids=repr)
def test_no_loss_and_no_metric_waits(rig, loss, weighted):
    xp = open_backend(device="cuda")
    if loss in CLASSIFICATION:
        columns, targets, metrics = 3, [Y, np.eye(3)[Y]], ["accuracy", "top2"]
    else:
        columns, targets = 2, [np.eye(3)[Y, :2]]
        metrics = ["accuracy"] if loss in BINARY else ["mae", "rmse", "r2"]
        if loss in BINARY:
            columns, targets = 1, [np.minimum(Y, 1.0)]
    net = network_of([xpnn.Linear(4, columns)], loss)
    weight = xp.asarray(np.linspace(0.5, 2.0, 48)) if weighted else None
    x = xp.asarray(X)
    for target in targets:
        y = xp.asarray(target)
        output, _ = net.train(x, y, weight)  # constants of the loss go there once
        with rig.no_sync():
            net.train(x, y, weight)
            net.data_loss(output, y, weight)
            for metric in metrics:
                xpnn.metrics.get(metric).batch(output, y, weight)


CLIPPING = {"clip_norm": 1.0, "clip_value": 0.1, "weight_decay": 0.01}
OPTIMIZERS = [
    lambda: xpnn.SGD(0.1, **CLIPPING),
    lambda: xpnn.SGD(0.1, momentum=0.9, **CLIPPING),
    lambda: xpnn.SGD(0.1, momentum=0.9, nesterov=True, **CLIPPING),
    lambda: xpnn.Adam(1e-2, **CLIPPING),
    lambda: xpnn.AdamW(xpnn.Cosine(0.1, steps=100), **CLIPPING),
    lambda: xpnn.RMSprop(**CLIPPING),
    lambda: xpnn.RMSprop(momentum=0.9, **CLIPPING),
    lambda: xpnn.Adagrad(**CLIPPING),
]


@pytest.mark.parametrize("make", OPTIMIZERS, ids=lambda make: repr(make()))
@pytest.mark.parametrize(
    "penalty", [xpnn.L1(1e-3), xpnn.L2(1e-3, roles={"weight"}), xpnn.ElasticNet(1e-3, 1e-3)]
)
def test_no_optimizer_and_no_regularization_waits(rig, make, penalty):
    net = classifier(device="cuda", optimizer=make(), regularization=penalty)
    x, y = net.backend.asarray(X), net.backend.asarray(Y)
    with rig.no_sync():
        for _ in range(2):
            net.train(x, y)


@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_layer_waits(rig, case, mode):
    from conftest import BackendUnderTest

    backend = BackendUnderTest("cupy", "cupy")
    rng = np.random.default_rng(0)
    layer = case.prepared(backend, case.draw_params(rng), case.draw_buffers(rng), mode)
    input = backend.asarray(case.draw(rng))
    with rig.no_sync():
        output = layer.forward(input)
        layer.backward(output)


# Launches and copies

#: Kernels of one step of the MLP below by fused and by portable steps, but for the products of
#: matrices, which are cuBLAS's. docs/gpu.md says what they are.
LAUNCHES = {True: 14, False: 123}


@pytest.mark.parametrize("fuse", [True, False])
def test_launches_of_a_training_step(rig, fuse):
    """The MLP of the benchmarks: BatchNorm, ReLU, Dropout, SGD with momentum, L2."""
    layers: list[Any] = []
    for width in (784, 512):
        layers += [xpnn.Linear(width, 512), xpnn.BatchNorm(512), xpnn.ReLU(), xpnn.Dropout(0.5)]
    net = network_of(
        [*layers, xpnn.Linear(512, 10)],
        optimizer=xpnn.SGD(0.1, momentum=0.9),
        regularization=xpnn.L2(1e-4, roles={"weight"}),
        fuse=fuse,
    )
    rng = np.random.default_rng(0)
    x = net.backend.asarray(rng.standard_normal((128, 784)))
    y = net.backend.asarray(rng.integers(0, 10, 128))
    for _ in range(2):
        net.train(x, y)
    grown = counted(rig, lambda: net.train(x, y))
    assert grown["launches"] <= LAUNCHES[fuse]
    assert grown.get("host_to_device", 0) == 0
    assert grown.get("device_to_host", 0) == 0


def test_no_mask_travels(rig):
    net = network_of([xpnn.Dropout(0.5), xpnn.Linear(400, 3)])
    x, y = net.backend.zeros((50, 400)), net.backend.asarray(np.zeros(50, dtype="int64"))
    net.train(x, y)
    grown = counted(rig, lambda: net.train(x, y))
    assert "host_to_device" not in grown


def test_an_epoch_of_resident_data_copies_one_index(rig):
    """The order of the rows: 8 bytes a row. The rest of an epoch is one gather a batch."""
    net = classifier(device="cuda")
    xpnn.fit(net, (X, Y), 1, 8)
    begun, copied = [], []

    class Count(xpnn.Callback):
        def on_epoch_begin(self, run):
            begun.append(rig.stats())

        def on_batch_end(self, run, loss):
            copied.append(rig.stats())

    xpnn.fit(net, (X, Y), 2, 8, callbacks=[Count()])
    for first, last in zip(begun, copied[5::6], strict=True):
        assert last["host_to_device"] - first["host_to_device"] == 1
        assert last["bytes_host_to_device"] - first["bytes_host_to_device"] == 8 * 48
        assert last["device_to_host"] == first["device_to_host"]


def test_streamed_data_travel_once_an_epoch_in_their_own_type(rig):
    backend = open_backend(device="cuda")
    x = np.arange(50 * 30, dtype="uint8").reshape(50, 30)
    labels = np.arange(50)
    stream = StreamedBatches(
        (x, labels), (backend.float_dtype, None), backend, 10, Stream(1), chunk_bytes=800
    )
    grown = counted(rig, lambda: [None for _ in stream.epoch(0)])
    assert grown["bytes_host_to_device"] == x.nbytes + labels.nbytes
    assert grown["host_to_device"] == 2 * 3  # two arrays, chunks of 2, 2 and 1 batches
    assert "device_to_host" not in grown


# Memory


def needed_limit(pool: Any, attempt: Any) -> int:
    """The least limit of the pool with which an attempt works, to half a percent."""

    def works(limit: int) -> bool:
        pool.free_all_blocks()
        pool.set_limit(size=limit)
        try:
            attempt()
        except xpnn.OutOfMemoryError:
            return False
        finally:
            pool.set_limit(size=0)
        return True

    low, high = 0, 1 << 28
    while high - low > high // 200:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


SIZES = [
    (784, (256, 256), 64, lambda: xpnn.SGD(0.1, momentum=0.9)),
    (100, (64,), 4096, lambda: xpnn.Adam(clip_norm=1.0)),
    (64, (64,) * 5, 1024, lambda: xpnn.SGD(0.1)),
    (784, (1024,), 4, lambda: xpnn.RMSprop(momentum=0.9)),
]


@pytest.mark.parametrize(("width", "hidden", "rows", "optimizer"), SIZES)
def test_estimate_of_a_step_is_right_to_a_factor(pool, width, hidden, rows, optimizer):
    def make():
        layers, size = [], width
        for wide in hidden:
            layers += [xpnn.Linear(size, wide), xpnn.BatchNorm(wide), xpnn.ReLU()]
            layers += [xpnn.Dropout(0.5)]
            size = wide
        layers += [xpnn.Linear(size, 10)]
        return network_of(layers, optimizer=optimizer(), regularization=xpnn.L2(1e-4))

    x = np.zeros((rows, width), dtype="float32")
    y = np.zeros(rows, dtype="int64")

    def attempt():
        net = make()
        for _ in range(2):
            net.train(x, y)

    estimated = step_memory(make(), (width,), rows).total
    assert 0.8 <= estimated / needed_limit(pool, attempt) <= 2.0


@pytest.mark.parametrize(
    ("make", "steps"),
    [(OPTIMIZERS[3], 0), *((make, 2) for make in OPTIMIZERS)],
    ids=lambda value: f"step {value}" if isinstance(value, int) else repr(value()),
)
def test_no_shortage_of_memory_leaves_a_trace(pool, make, steps):
    """The memory ends at every possible place of a step."""
    net = classifier(device="cuda", optimizer=make(), regularization=xpnn.L2(1e-3))
    x, y = net.backend.asarray(X), net.backend.asarray(Y)
    for _ in range(steps):
        net.train(x, y)
    before = snapshot(net)
    failed = 0
    pool.free_all_blocks()
    for limit in range(pool.total_bytes(), 1 << 20, 512):
        pool.free_all_blocks()
        pool.set_limit(size=limit)
        try:
            net.train(x, y)
        except xpnn.OutOfMemoryError:
            pool.set_limit(size=0)
            failed += 1
            assert_same(snapshot(net), before)
            assert not any(layer.cache for layer in net.layers)
            assert not net.loss.cache
        else:
            break
    assert failed >= 10
    assert net.steps == steps + 1
    # The step that worked in the end is the one that a network without trouble makes.
    other = classifier(device="cuda", optimizer=make(), regularization=xpnn.L2(1e-3))
    pool.set_limit(size=0)
    for _ in range(steps + 1):
        other.train(x, y)
    assert_same(snapshot(net), snapshot(other))


def test_no_shortage_of_memory_elsewhere_leaves_a_trace(pool):
    net = xpnn.Sequential(
        [xpnn.Linear(4, 1 << 16), xpnn.Linear(1 << 16, 3)],
        xpnn.SoftmaxCrossEntropy(),
        optimizer=xpnn.Adam(),
        device="cpu",
        seed=0,
    )
    net.train(X, Y)
    before = snapshot(net)
    # Of the five vectors of 2 MiB, two find room.
    pool.set_limit(size=pool.total_bytes() + (5 << 20))
    with pytest.raises(xpnn.OutOfMemoryError):
        net.to("cuda")
    assert net.backend.name == "numpy"
    assert_same(snapshot(net), before)
    net.train(X, Y)
    pool.set_limit(size=0)
    net.to("cuda")
    before = snapshot(net)
    rows = 1 << 18
    x, y = np.zeros((rows, 4), dtype="float32"), np.zeros(rows, dtype="int64")  # 4 and 2 MiB
    pool.set_limit(size=pool.total_bytes() + (1 << 20))
    for attempt in (
        lambda: net.eval(x),
        lambda: xpnn.predict(net, x, batch_size=rows),
        lambda: xpnn.fit(net, (x, y), 1, resident=True),
        lambda: xpnn.evaluate(net, (x, y), resident=True),
    ):
        with pytest.raises(xpnn.OutOfMemoryError):
            attempt()
        assert_same(snapshot(net), before)
        assert not any(layer.cache for layer in net.layers)


def test_out_of_memory_says_how_much_and_what_to_try(pool):
    net = classifier(device="cuda")
    pool.set_limit(size=pool.total_bytes() + (1 << 20))
    with pytest.raises(xpnn.OutOfMemoryError) as error:
        net.eval(np.zeros((1 << 20, 4), dtype="float32"))
    assert isinstance(error.value, xpnn.BackendError)
    assert isinstance(error.value, MemoryError)
    assert re.fullmatch(
        r"device cuda:0 is out of memory: 16\.0 MiB wanted, [\d.]+ \w+ free, [\d.]+ \w+ in use "
        r"here, 1\.\d MiB in all\. Try a smaller batch_size, a smaller network, or "
        r"resident=False, which leaves the data on the host",
        one_line(error),
    )


SMALL_DEVICE = """
import numpy as np, xpnn

rng = np.random.default_rng(0)
x, y = rng.random((20000, 784), dtype=np.float32), rng.integers(0, 10, 20000)  # 60 MiB

def network():
    return xpnn.Sequential(
        [xpnn.Linear(784, 32), xpnn.BatchNorm(32), xpnn.ReLU(), xpnn.Dropout(0.5),
         xpnn.Linear(32, 10)],
        xpnn.SoftmaxCrossEntropy(), lr=0.1, device="cuda", seed=0,
    )

class Say(xpnn.Callback):
    def on_train_begin(self, run):
        print(run.memory)

for resident in (True, None):
    net = network()
    try:
        xpnn.fit(net, (x, y), 1, 500, resident=resident, callbacks=[Say()])
    except xpnn.OutOfMemoryError as error:
        print(error)
    print(net.steps)
"""


def test_data_that_the_device_has_no_room_for_are_streamed(rig):
    """On a device of 32 MiB."""
    environment = {**os.environ, "CUPY_ON_CPU_MEMORY_MIB": "32"}
    done = subprocess.run(
        [sys.executable, "-c", SMALL_DEVICE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refused, none, memory, steps = done.stdout.splitlines()
    assert refused.startswith("device cuda:0 is out of memory: 59.8 MiB wanted, ")
    assert refused.count("32.0 MiB in all") == 1
    assert none == "0"
    assert re.fullmatch(
        r"cuda:0: about [\d.]+ MiB for a training step, 60\.0 MiB of data go there in chunks, "
        r"[\d.]+ MiB free",
        memory,
    )
    assert steps == "40"


# What the CPU computes


def digits() -> tuple[np.ndarray, np.ndarray]:
    sklearn = pytest.importorskip("sklearn.datasets")
    x, y = sklearn.load_digits(return_X_y=True)
    return (x / 16.0).astype("float32"), y


class Masks(xpnn.Dropout):
    """A Dropout that copies its masks to the host."""

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.seen: list[np.ndarray] = []

    def forward(self, input: Any) -> Any:
        output = super().forward(input)
        if self.mode == "train":
            self.seen.append(to_host(self.cache["mask"]).copy())
        return output


def test_two_hundred_steps_on_digits_are_those_of_numpy(device):
    """Masks and batches bit for bit; losses, whose rounding differs, to 1e-4."""
    losses, masks, orders = [], [], []
    for place in ("cpu", device):
        layers = [
            xpnn.Linear(64, 64, bias=False),
            xpnn.BatchNorm(64),
            xpnn.ReLU(),
            Masks(0.3),
            xpnn.Linear(64, 10),
        ]
        net = xpnn.Sequential(
            layers,
            xpnn.SoftmaxCrossEntropy(),
            optimizer=xpnn.SGD(0.05, momentum=0.9),
            regularization=xpnn.L2(1e-4, roles={"weight"}),
            device=place,
            seed=3,
            fuse=False,
        )
        seen, rows = [], []
        backend = net.backend
        train = net.train

        def watched(x, y, weight, *, train=train, rows=rows, backend=backend):
            rows.append(backend.to_host(y).copy())
            return train(x, y, weight)

        class Losses(xpnn.Callback):
            def on_batch_end(self, run, loss, seen=seen):
                seen.append(float(loss))

        net.train = watched
        xpnn.fit(net, digits(), 7, 62, callbacks=[Losses()])
        losses.append(np.asarray(seen))
        masks.append(layers[3].seen)
        orders.append(rows)
    assert len(losses[0]) >= 200
    assert all(np.array_equal(a, b) for a, b in zip(*orders, strict=True))
    assert len(masks[0]) == len(losses[0])
    assert all(np.array_equal(a, b) for a, b in zip(*masks, strict=True))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert losses[1][-20:].mean() < 0.15 * losses[1][0]


def test_initial_weights_are_those_of_numpy_bit_for_bit(device):
    np.testing.assert_array_equal(
        values(classifier(device=device)), values(classifier(device="cpu"))
    )


# Machines that lack something


def refusal(folder: Path, options: str, code: str = "", **environment: str | None) -> str:
    """Run ``xpnn train`` as a user does; return what it says, which must be one line.

    Python runs `code` when it starts.
    """
    (folder / "sitecustomize.py").write_text(code)
    path = f"{folder}{os.pathsep}{ROOT}"
    variables = {**os.environ, "PYTHONPATH": path, **environment}
    done = subprocess.run(
        [sys.executable, "-m", "xpnn", "train", *options.split()],
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert sorted(p.name for p in folder.iterdir() if p.name != "__pycache__") == [
        "sitecustomize.py"
    ]
    return line


HIDE = """
from cuda import pathfinder
real = pathfinder.load_nvidia_dynamic_lib
def load(name):
    if name == {name!r}:
        raise pathfinder.DynamicLibNotFoundError(f'no lib{{name}}.so was found')
    return real(name)
pathfinder.load_nvidia_dynamic_lib = load
"""


def test_no_cupy(tmp_path):
    line = refusal(tmp_path, "--device cuda", "import sys; sys.modules['cupy'] = None")
    assert "'cupy' is not installed" in line
    assert "pip install 'xpnn[cuda13]'" in line


def test_no_driver(rig, tmp_path):
    line = refusal(tmp_path, "--device cuda", CUPY_ON_CPU=None)
    assert line.endswith("no CUDA device can be used: no NVIDIA driver was found")


@pytest.mark.parametrize("index", [7, 64])
def test_no_such_device(index, tmp_path):
    line = refusal(tmp_path, f"--device cuda:{index}")
    assert re.search(rf"there is no device 'cuda:{index}': this machine has \d+$", line)


@pytest.mark.parametrize(
    ("library", "what"),
    [("nvrtc", "compile a kernel (NVRTC)"), ("cublas", "multiply matrices (cuBLAS)")],
)
def test_a_missing_library_of_cuda(rig, library, what, tmp_path):
    line = refusal(tmp_path, "--device cuda", HIDE.format(name=library))
    assert f"CuPy sees device cuda:0 but cannot {what}: no lib{library}.so was found" in line
    assert "install the CUDA libraries: pip install 'xpnn[cuda13]'" in line
