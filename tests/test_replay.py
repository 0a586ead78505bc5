"""Recorded training steps: the same bits as step by step, and new ones when anything changes."""

from __future__ import annotations

import copy
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import xpnn
from fusion_cases import Own
from xpnn import fusion
from xpnn import layers as L

pytest.importorskip("numba")

from xpnn.fusion import replay, runs, threads
from xpnn.fusion.fixed_settings import Settings, owners_of
from xpnn.kernels import recording
from xpnn.kernels.numba import bias, program

if not threads._addresses():
    pytest.skip("this NumPy has no OpenBLAS of its own", allow_module_level=True)

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
#: Another thread, which lives and may have the pool.
SOMEBODY = SimpleNamespace(is_alive=lambda: True)


def mlp() -> list[L.Layer]:
    return [
        *(L.Linear(20, 70), L.BatchNorm(70), L.ReLU(), L.Dropout(0.5)),
        *(L.Linear(70, 33), L.LayerNorm(33), L.GELU(), L.Dropout(0.25)),
        L.Linear(33, 4),
    ]


def cnn() -> list[L.Layer]:
    return [
        *(L.Conv2d(2, 5, 3, padding=1), L.BatchNorm2d(5), L.ReLU(), L.MaxPool2d(2)),
        *(L.Conv2d(5, 16, 3), L.BatchNorm2d(16), L.ReLU(), L.AvgPool2d(2)),
        *(L.Flatten(), L.Linear(16 * 4, 12), L.Tanh(), L.Linear(12, 4)),
    ]


def resnet() -> list[L.Layer]:
    def ways(c: int, d: int, stride: int) -> L.Layer:
        inside = [L.Conv2d(c, d, 3, stride, 1), L.BatchNorm2d(d), L.ReLU()]
        inside += [L.Conv2d(d, d, 3, padding=1), L.BatchNorm2d(d)]
        around = [] if c == d and stride == 1 else [L.Conv2d(c, d, 1, stride), L.BatchNorm2d(d)]
        return L.Residual(inside, around)

    first = [L.Conv2d(2, 6, 3, padding=1), L.BatchNorm2d(6), L.ReLU()]
    blocks = [ways(6, 6, 1), L.ReLU(), ways(6, 9, 2), L.ReLU()]
    return [*first, *blocks, L.GlobalAvgPool2d(), L.Dropout(0.3), L.Linear(9, 4)]


def side_by_side() -> list[L.Layer]:
    def run(before: int, after: int, size: int) -> list[L.Layer]:
        conv = L.Conv2d(before, after, size, padding=size // 2, bias=False)
        return [conv, L.BatchNorm2d(after), L.ReLU()]

    ways = [run(6, 4, 1), [*run(6, 3, 1), *run(3, 7, 3)], []]
    vectors = [[L.Linear(12, 4), L.Dropout(0.3)], [L.Linear(12, 4), L.Tanh()]]
    images = [*run(2, 6, 3), L.Parallel(ways), *run(17, 5, 3)]
    return [*images, L.Flatten(), L.Linear(450, 12), L.Parallel(vectors, merge="sum")]


def wide() -> list[L.Layer]:
    return [L.Linear(20, 200), L.ReLU(), L.Linear(200, 200), L.Tanh(), L.Linear(200, 4)]


def between() -> list[L.Layer]:
    """Kernels before and behind what has none."""
    return [L.Linear(20, 8), L.Tanh(), Own(), L.Linear(8, 8), L.Softplus(), L.Linear(8, 4)]


def flattened() -> list[L.Layer]:
    """A run whose first step shows the memory of the second one."""
    wide = [L.Linear(12, 300), L.Tanh(), L.Linear(300, 400), L.Tanh(), L.Linear(400, 4)]
    return [L.Conv2d(1, 3, 3), L.Flatten(), *wide]


def recurrent() -> list[L.Layer]:
    """Gradients that come in buffers which the run behind uses as well."""
    before = [L.Linear(3, 200), L.Tanh(), L.Linear(200, 300), L.Tanh(), L.Linear(300, 5), L.Tanh()]
    behind = [L.Linear(8, 500), L.Tanh(), L.Linear(500, 600), L.Tanh(), L.Linear(600, 4)]
    return [*before, L.GRU(5, 8), L.LastStep(), *behind]


def sequences() -> list[L.Layer]:
    """Rows of gates that are laid further apart, both orders, the last state alone."""
    inner = L.Residual([L.GRU(256, 256, reverse=True)])
    return [L.LSTM(5, 256), inner, L.RNN(256, 9, return_sequences=False), L.Linear(9, 4)]


#: Layers, the shape of a sample, and which runs are programs.
NETS: dict[str, tuple[Callable[[], list[L.Layer]], tuple[int, ...], list[bool]]] = {
    "mlp": (mlp, (20,), [True]),
    "cnn": (cnn, (2, 13, 12), [True]),
    "resnet": (resnet, (2, 9, 10), [True, False, True]),
    "side by side": (side_by_side, (2, 9, 10), [True]),
    "idle steps first": (lambda: [L.Dropout(0.3), L.Tanh(), *mlp()], (20,), [True, True]),
    "flattened": (flattened, (1, 4, 4), [False, True]),
    "recurrent": (recurrent, (5, 3), [True, False, True]),
    "sequences": (sequences, (3, 5), [True]),
}


def network(make: Callable[[], list[L.Layer]] = mlp, **settings: Any) -> xpnn.Sequential:
    settings = {"optimizer": xpnn.SGD(0.05, momentum=0.9), "seed": 3} | settings
    return xpnn.Sequential(make(), xpnn.SoftmaxCrossEntropy(), **settings)


def batch(step: int, rows: int = 24, shape: tuple[int, ...] = (20,)) -> tuple[Any, Any]:
    rng = np.random.default_rng(step)
    return rng.standard_normal((rows, *shape), dtype=np.float32), rng.integers(0, 4, rows)


def replayed(net: xpnn.Sequential) -> list[list[bool]]:
    """For each shape that is known: which of its runs are programs."""
    passes = net._plan._replays.known.values()
    return [[isinstance(run, runs.ReplayedRun) for run in known.runs] for known in passes]


def both_ways(work: Callable[[], Any]) -> tuple[Any, Any]:
    """Return what work brings whose steps stay in Python, and what the same replayed brings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "_FAMILIAR", 1 << 30)
        plain = work()
    return plain, work()


def vectors(net: xpnn.Sequential) -> list[Any]:
    """Copies of all that a step changes or writes in a network's parameters."""
    return [getattr(net.parameters, name).copy() for name in ("values", "grads", "buffers")]


def assert_equal(some: list[Any], others: list[Any]) -> None:
    assert len(some) == len(others)
    assert all((a == b).all() for a, b in zip(some, others, strict=True))


@each_dtype
@pytest.mark.parametrize("name", NETS)
def test_same_bits_as_step_by_step(name, dtype):
    """Two shapes in turn, new arrays in each step, and what has left stays as it was."""
    make, shape, programs = NETS[name]

    def work() -> tuple[xpnn.Sequential, list[Any]]:
        net = network(make, dtype=dtype)
        outputs, copies, losses = [], [], []
        for step in range(14):
            x, y = batch(step, 9 if step % 3 == 2 else 24, shape)
            output, loss = net.train(x, y)
            outputs.append(output)
            copies.append(output.copy())
            losses.append(loss)
        assert_equal(outputs, copies)
        return net, [*outputs, *losses, *vectors(net)]

    (plain, expected), (net, results) = both_ways(work)
    assert replayed(plain) == []
    assert replayed(net) == [programs, programs]
    assert_equal(results, expected)


def test_states_of_recurrent_layers_are_handed_out():
    """Those of this step, in memory of their own; lengths that come later count."""

    def work() -> tuple[list[bool], list[Any]]:
        net = network(lambda: [L.Residual([L.LSTM(5, 5)]), L.GRU(5, 4, return_sequences=False)])
        lstm, gru = net.layers[0].layers[0], net.layers[1]
        found, copies, programs = [], [], []
        for step in range(14):
            gru.lengths = [3, 1] * 4 if 6 <= step < 9 else None
            net.train(*batch(step, 8, (3, 5)))
            programs.append(bool(replayed(net)))
            for layer in (lstm, gru):
                for told in (layer.final, layer.dinitial):
                    assert list(told) == list(layer.state_names)
                    found += told.values()
                    copies += [array.copy() for array in told.values()]
        assert_equal(found, copies)
        return programs, found

    (_, expected), (programs, found) = both_ways(work)
    assert_equal(found, expected)
    assert programs == [step in (*range(2, 6), *range(11, 14)) for step in range(14)]


class Padding(L.Layer):
    """Tell a recurrent layer in each forward pass what it finds in its input."""

    def __init__(self, other: Any, telling: str) -> None:
        super().__init__()
        self.other, self.telling = other, telling

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape

    def forward(self, input: Any) -> Any:
        if not input[:, -1].any():
            ends = [2] * len(input)
            told = {"lengths": ends, "mask": np.arange(3) < np.array(ends)[:, None]}
            told["initial"] = {"h": np.ones((len(input), 4), input.dtype)}
            setattr(self.other, self.telling, told[self.telling])
        else:
            setattr(self.other, self.telling, {} if self.telling == "initial" else None)
        return input

    def backward(self, dout: Any) -> Any:
        setattr(self.other, self.telling, {} if self.telling == "initial" else None)
        return dout


@pytest.mark.parametrize("first", [3, 0])  # batches without padding before the first one with it
@pytest.mark.parametrize("telling", ["lengths", "mask", "initial"])
def test_what_a_layer_tells_another_one_of_a_batch_counts_at_once(telling, first):
    """Also where the steps of such a batch would be recorded, or others have been."""

    def work(fuse: bool) -> list[Any]:
        gru = L.GRU(5, 4, return_sequences=False)
        net = network(lambda: [Padding(gru, telling), L.Residual([L.Tanh()]), gru], fuse=fuse)
        found = []
        for step in range(12):
            x, y = batch(step, 8, (3, 5))
            if step >= first and step % 2:
                x[:, -1] = 0.0
            found.append(net.train(x, y)[0])
        return found

    for ours, expected in zip(work(True), work(False), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["return_sequences", "reverse"])
@pytest.mark.parametrize("value", [False, True])
def test_the_form_of_a_recurrent_layer_is_set_between_steps(name, value):
    """Before and after steps have been recorded; a large one, whose memory would be overrun."""

    def work(fuse: bool) -> list[Any]:
        net = xpnn.Sequential(
            [L.GRU(5, 16, **{name: value})], xpnn.MeanSquaredError(), lr=0.1, seed=0, fuse=fuse
        )
        found = []
        for step in range(14):
            setattr(net.layers[0], name, value if step in (0, *range(6, 11)) else not value)
            x, _ = batch(step, 8, (60, 5))
            y = np.zeros(net.layers[0].output_shape(x.shape))
            found += [net.train(x, y)[0], net.parameters.grads.copy()]
        return found

    for ours, expected in zip(work(True), work(False), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_layers_without_kernels_run_between():
    def work() -> list[Any]:
        net = network(between)
        losses = [net.train(*batch(step))[1] for step in range(8)]
        return [*losses, *vectors(net)]

    assert_equal(*both_ways(work))


@pytest.mark.parametrize("kind", ["reversed", "read-only", "other order", "list", "float64"])
def test_inputs_of_every_kind(kind):
    shape = (2, 13, 12)
    nets = [network(cnn) for _ in range(2)]
    for step in range(8):
        x, y = batch(step, shape=shape)
        given: Any = x
        if kind == "reversed":
            given = np.ascontiguousarray(x[:, ::-1])[:, ::-1]
        elif kind == "read-only":
            given = x.copy()
            given.flags.writeable = False
        elif kind == "other order":
            given = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        elif kind == "list":
            given = x.tolist()
        else:
            given = x.astype(np.float64)
        for net, images in zip(nets, (x, given if step > 4 else x), strict=True):
            net.train(images, y)
    assert all(map(replayed, nets))
    assert (nets[0].parameters.values.array == nets[1].parameters.values.array).all()


CHANGES: dict[str, Callable[[xpnn.Sequential], Any]] = {
    "probability of dropping": lambda net: setattr(net.layers[3], "p", 0.25),
    "no dropping": lambda net: setattr(net.layers[3], "p", 0.0),
    "epsilon": lambda net: setattr(net.layers[1], "epsilon", 0.5),
    "momentum": lambda net: setattr(net.layers[1], "momentum", 0.5),
    "another parameter": lambda net: net.layers[0].params.update(W=np.full((20, 70), 0.1)),
    "another dictionary": lambda net: setattr(
        net.layers[0], "params", {"W": np.full((20, 70), 0.1), "b": np.zeros(70)}
    ),
    "another loss": lambda net: setattr(net, "loss", xpnn.SoftmaxCrossEntropy(label_smoothing=0.1)),
    "another rate": lambda net: setattr(net, "lr", 0.2),
    "another penalty": lambda net: setattr(net, "regularization", xpnn.L2(0.1)),
    "another stream": lambda net: net.reseed(77),
    "a state": lambda net: net.load_state_dict(network(seed=8).state_dict()),
    "steps made": lambda net: setattr(net, "steps", 1000),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_noticed(name):
    def work() -> tuple[bool, list[Any]]:
        net = network()
        losses = [net.train(*batch(step))[1] for step in range(5)]
        programs = bool(replayed(net))
        CHANGES[name](net)
        losses += [net.train(*batch(step))[1] for step in range(5, 10)]
        return programs, [*losses, *vectors(net)]

    (in_python, expected), (programs, results) = both_ways(work)
    assert (in_python, programs) == (False, True)
    assert_equal(results, expected)


def test_change_matters():
    """What the test above changes does change the results."""
    for name, change in CHANGES.items():
        nets = [network() for _ in range(2)]
        for net in nets:
            for step in range(5):
                net.train(*batch(step))
        change(nets[0])
        for net in nets:
            for step in range(5, 7):
                net.train(*batch(step))
        found = [
            np.concatenate([net.parameters.values.array, net.parameters.buffers.array])
            for net in nets
        ]
        assert (found[0] != found[1]).any(), name


def test_number_of_threads_is_noticed():
    before = fusion.num_threads()
    try:
        net = network()
        for count in (2, 1, 2):
            fusion.set_num_threads(count)
            for step in range(5):
                net.train(*batch(step))
        assert {key[1] for key in net._plan._replays.known} == {1, 2}
    finally:
        fusion.set_num_threads(before)


def test_while_another_thread_has_the_pool(monkeypatch):
    nets = [network() for _ in range(2)]
    for step in range(10):
        nets[0].train(*batch(step))
        with monkeypatch.context() as patch:
            if step >= 5:
                patch.setitem(threads._POOL._owner, "thread", SOMEBODY)
            nets[1].train(*batch(step))
    assert (nets[0].parameters.values.array == nets[1].parameters.values.array).all()


def test_networks_in_threads():
    def work(net: xpnn.Sequential) -> None:
        for step in range(40):
            net.train(*batch(step))

    nets = [network() for _ in range(3)]
    workers = [threading.Thread(target=work, args=(net,)) for net in nets[:2]]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    work(nets[2])
    for net in nets[:2]:
        assert (net.parameters.values.array == nets[2].parameters.values.array).all()


def test_recorded_in_one_thread_and_trained_in_others():
    """Products have memory for each thread; one thread of OpenBLAS, so that no lock is shared."""
    before = fusion.num_threads()
    fusion.set_num_threads(1)
    try:
        nets = [network(wide) for _ in range(3)]
        for net in nets:
            for step in range(5):
                net.train(*batch(step, 64))

        def work(net: xpnn.Sequential) -> None:
            for step in range(60):
                net.train(*batch(step, 64))

        workers = [threading.Thread(target=work, args=(net,)) for net in nets[:2]]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        work(nets[2])
    finally:
        fusion.set_num_threads(before)
    for net in nets[:2]:
        assert (net.parameters.values.array == nets[2].parameters.values.array).all()


def test_a_run_that_ends_in_an_activation_is_replayed():
    def work() -> xpnn.Sequential:
        net = xpnn.Sequential(
            [L.Linear(20, 6), L.ReLU(), Counting(), L.Linear(6, 4), L.ReLU()],
            xpnn.MeanSquaredError(),
            lr=0.1,
            seed=2,
        )
        for step in range(8):
            x, _ = batch(step)
            net.train(x, x[:, :4])
        return net

    plain, net = both_ways(work)
    assert replayed(plain) == []
    assert replayed(net) == [[True, False, True]]
    assert_equal(vectors(net), vectors(plain))


def test_copies_go_on_alike():
    net = network()
    for step in range(5):
        net.train(*batch(step))
    other = copy.deepcopy(net)
    for step in range(5, 10):
        for each in (net, other):
            each.train(*batch(step))
    assert (net.parameters.values.array == other.parameters.values.array).all()


def test_wrong_label_and_divergence_leave_no_trace():
    net = network()
    for step in range(5):
        net.train(*batch(step))
    before = [v.copy() for v in (net.parameters.values.array, net.parameters.buffers.array)]
    x, y = batch(5)
    with pytest.raises(xpnn.DataError, match="label"):
        net.train(x, np.where(y == y[0], 4, y))
    x[0, 0] = np.nan
    with pytest.raises(xpnn.DivergenceError):
        net.train(x, y)
    after = net.parameters.values.array, net.parameters.buffers.array
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert replayed(net) == [[True]]


def test_no_batch_is_kept():
    net = network()
    alive = []
    for step in range(8):
        x, y = batch(step)
        output, _ = net.train(x, y)
        alive += [weakref.ref(array) for array in (x, output)]
    del x, y, output
    gc.collect()
    assert replayed(net) == [[True]]
    assert not any(array() is not None for array in alive)


def test_no_more_shapes_than_are_worth_their_memory():
    net = network()
    for _ in range(5):
        for rows in range(2, 12):
            net.train(*batch(rows, rows))
    assert len(replayed(net)) == replay._MOST


def test_shapes_that_come_no_more_make_room():
    net = network()
    for rows in (4, 5, 6):
        for step in range(6):
            net.train(*batch(step, rows))
    assert [key[0] for key in net._plan._replays.known] == [(4, 20), (5, 20)]
    for step in range(replay._GONE):
        net.train(*batch(step, 8))
    assert [key[0] for key in net._plan._replays.known] == [(8, 20)]


@pytest.mark.parametrize("weighted", [True, False])
def test_another_loss_and_weights_of_samples(weighted):
    def work() -> xpnn.Sequential:
        net = xpnn.Sequential(mlp(), xpnn.MeanSquaredError(), lr=0.01, seed=1)
        for step in range(6):
            x, _ = batch(step)
            net.train(x, x[:, :4], x[:, 0] ** 2 if weighted else None)
        return net

    plain, net = both_ways(work)
    assert not replayed(plain)
    assert replayed(net)
    assert_equal(vectors(net), vectors(plain))


class Sometimes(L.Layer):
    """Returns fewer rows, or numbers of another type, every now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def forward(self, input):
        self.cache["shape"] = input.shape
        self.count += 1
        if self.count % 3 == 0:
            return input[:5]
        return input.astype(np.float64) if self.count % 3 == 1 else input

    def backward(self, dout):
        dinput = np.zeros(self.saved("shape"), np.float32)
        dinput[: len(dout)] = dout
        return dinput


def test_a_layer_that_changes_shape_and_type():
    def work() -> list[Any]:
        net = network(
            lambda: [L.Linear(20, 6), L.Tanh(), Sometimes(), L.Linear(6, 4), L.Dropout(0)]
        )
        for step in range(1, 13):
            x, y = batch(step)
            net.train(x, y[:5] if step % 3 == 0 else y)
        return vectors(net)

    assert_equal(*both_ways(work))


class WrongGradient(xpnn.MeanSquaredError):
    """A gradient of a wrong shape, once it is asked to."""

    wrong = False

    def backward(self):
        gradient = super().backward()
        return gradient[:3] if self.wrong else gradient


def test_gradient_of_a_wrong_shape_is_refused():
    net = xpnn.Sequential(mlp(), WrongGradient(), lr=0.01, seed=1)
    x, _ = batch(0)
    for _ in range(6):
        net.train(x, x[:, :4])
    before = net.parameters.values.copy()
    net.loss.wrong = True
    with pytest.raises((xpnn.ShapeError, ValueError)):
        net.train(x, x[:, :4])
    assert (net.parameters.values.array == before).all()


# ------------------------------------------------------------------ programs


def record(*arrays: Any) -> recording.Recording:
    found = recording.Recording()
    with recording.recorded(found):
        bias.add["float32"](arrays[0], arrays[1], 1)
        bias.sum_rows["float32"](arrays[1], arrays[0], 1)
    return found


def test_program_does_what_was_recorded():
    shift, rows = np.arange(3, dtype=np.float32), np.ones((4, 3), np.float32)
    calls = record(shift, rows).calls
    assert [call.kernel for call in calls] == [bias.add, bias.sum_rows]
    assert recording.current() is None
    made = program.Program(calls)
    other = np.full((4, 3), 2.0, np.float32)
    places = made.places(rows)
    assert places is not None
    assert len(places) == 2
    assert made.places(np.ones(3)) == []
    assert made.places(rows[1:]) is None  # lies inside
    made.leave(places)
    made.point(places, other)
    shift[:] = 1.0
    made.run()
    assert (other == 3.0).all()
    assert (shift == 12.0).all()


def test_what_is_no_kernel_spoils_a_recording():
    shift, rows = np.zeros(3, np.float32), np.zeros((4, 3), np.float32)
    assert record(shift, rows).whole
    found = recording.Recording()
    with recording.recorded(found):
        recording.spoil()
    assert not found.whole
    recording.spoil()  # nobody listens


def test_only_what_is_replayed_is_looked_at():
    """A layer of one's own may change in every step."""
    net = network(lambda: [L.Linear(20, 6), L.Tanh(), Counting(), L.Linear(6, 4)])
    for step in range(6):
        net.train(*batch(step))
    assert replayed(net) == [[True, False, True]]
    assert xpnn.fusion.plan(network(lambda: [Counting()]))._replays is None


class Counting(L.Layer):
    """Keeps its last input."""

    def forward(self, input):
        self.last = input
        return input

    def backward(self, dout):
        return dout


def test_settings_of_a_plain_network_are_looked_at_quickly():
    """Otherwise the look takes longer than a small step."""
    net = network(regularization=xpnn.L2(1e-4))
    settings = Settings(owners_of(net, net.parameters))
    settings._all = []  # what a thorough look would compare with
    assert settings.hold()
    net.layers[3].p = 0.25
    assert not settings.hold()
    for make in (resnet, side_by_side):
        net = network(make)
        settings = Settings(owners_of(net, net.parameters))
        settings._all = []
        assert settings.hold()
        composite = next(each for each in net.layers if any(each.sublayers()))
        layers = composite.layers if make is resnet else composite.branches[0]
        layers.append(L.ReLU())
        assert not settings.hold()


def test_kernels_of_several_processes_are_told_apart(tmp_path):
    """Numba counts functions in each process: what two have compiled may get the same name."""
    program = """
import sys
from xpnn.kernels.numba import activations, program
wanted = [norm for norm in (False, True) if str(norm) in sys.argv]
kernels = [activations.BACKWARD["relu", norm]["float32"] for norm in wanted]
assert len({program._entry(kernel) for kernel in kernels}) == len(kernels)
"""
    # Names have the settings of the compiler in them, in the order of a set.
    settings = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONHASHSEED": "0"}
    for kinds in (["False"], ["True"], ["False", "True"]):
        command = [sys.executable, "-c", program, *kinds]
        subprocess.run(command, check=True, env=os.environ | settings)
