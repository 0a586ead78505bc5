"""The pool of threads: the same results however many work, and a process left as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import xpnn
from tolerances import assert_close
from xpnn import fusion
from xpnn import layers as L

pytest.importorskip("numba")

from xpnn.fusion import products, threads
from xpnn.kernels.numba import (
    activations,
    batchnorm,
    bias,
    cross_entropy,
    inspection,
    lanes,
    layernorm,
)
from xpnn.kernels.numba import optimizers as rules

if not threads._addresses():
    pytest.skip("this NumPy has no OpenBLAS of its own", allow_module_level=True)

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
#: Another thread, which lives and may have the pool.
SOMEBODY = SimpleNamespace(is_alive=lambda: True)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = fusion.num_threads()
    yield
    assert threads.team() is threads._ALONE
    fusion.set_num_threads(before)


def network(dtype: str = "float32", fuse: bool = True, **settings: Any) -> xpnn.Sequential:
    """Large enough that all of its passes are cut into parts."""
    layers = [
        *(L.Linear(48, 320), L.BatchNorm(320), L.ReLU(), L.Dropout(0.5)),
        *(L.Linear(320, 300), L.LayerNorm(300), L.GELU(), L.Dropout(0.25)),
        L.Linear(300, 10),
    ]
    settings = {
        "optimizer": xpnn.SGD(0.05, momentum=0.9),
        "regularization": xpnn.L2(1e-4),
    } | settings
    return xpnn.Sequential(
        layers, xpnn.SoftmaxCrossEntropy(), dtype=dtype, seed=3, fuse=fuse, **settings
    )


def batches(count: int) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(0)
    return [(rng.standard_normal((96, 48)), rng.integers(0, 10, 96)) for _ in range(count)]


# ------------------------------------------------------------------ the same results


@pytest.mark.parametrize(
    ("count", "dtype"), [(1, "float32"), (2, "float32"), (3, "float32"), (2, "float64")]
)
def test_training_is_that_of_the_layers(count, dtype):
    fusion.set_num_threads(count)
    fused, plain = network(dtype), network(dtype, fuse=False)
    limit = {"float32": 1e-5, "float64": 1e-11}[dtype]
    for x, y in batches(10):
        loss, expected = float(fused.train(x, y)[1]), float(plain.train(x, y)[1])
        assert loss == pytest.approx(expected, rel=limit)
    assert_close(fused.eval(x), plain.eval(x), dtype, 20)
    assert fusion.plan(fused).together


@pytest.mark.parametrize("count", [2, 3])
def test_results_repeat_bit_for_bit(count, monkeypatch):
    """Also where the pool is somebody else's, and one thread does all parts."""
    fusion.set_num_threads(count)
    found = []
    for alone in (False, True, False):
        net = network()
        with monkeypatch.context() as patch:
            if alone:
                patch.setitem(threads._POOL._owner, "thread", SOMEBODY)
            losses = [float(net.train(x, y)[1]) for x, y in batches(5)]
        found.append((losses, net.parameters.values.copy(), net.eval(batches(1)[0][0])))
    for losses, values, output in found[1:]:
        assert losses == found[0][0]
        assert (values == found[0][1]).all()
        assert (output == found[0][2]).all()


def test_every_count_gives_the_same_bits_with_the_own_products(monkeypatch):
    monkeypatch.setattr(products, "_choose", lru_cache(products._Panels))
    found = []
    for count in (1, 2, 3):
        fusion.set_num_threads(count)
        net = network()
        losses = [float(net.train(x, y)[1]) for x, y in batches(5)]
        found.append((losses, net.parameters.values.copy()))
    for losses, values in found[1:]:
        assert losses == found[0][0]
        assert (values == found[0][1]).all()


def arrays(dtype: str, rows: int, width: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    shapes = {name: (rows, width) for name in ("x", "dout", "dx", "told", "output")}
    shapes |= {name: (width,) for name in ("a", "b", "c", "d", "e", "f")}
    return {name: rng.uniform(0.5, 2.0, shape).astype(dtype) for name, shape in shapes.items()}


def calls(dtype: str) -> dict[str, tuple[Any, ...]]:
    """Every kernel that is cut into parts, and fresh arguments."""
    m = arrays(dtype, 37, 83)
    x, a, b, c, d, e, f = (m[name] for name in "xabcdef")
    sums = np.zeros((2 * activations.blocks(37), 83), dtype)
    drawn = np.random.default_rng(2).integers(0, 1 << 16, x.shape, np.uint16)
    common = (x, a, b, c, drawn, 1 << 15, 2.0, 0.3, m["output"])
    ends = np.asarray([1000, 1000, 3050])
    vectors = [np.resize(v, 3050) for v in (x, m["dout"], m["dx"], m["told"])]
    factors = (ends, *(np.asarray([0.1, 0.2, 0.0]) * k for k in (1, 2, 3)), 0.7, 0.9)
    one, two = (*vectors[:3], *factors), (*vectors, *factors)
    found = {f"forward {k}": (v, *common) for k, v in activations.FORWARD.items()}
    for name, kernel in activations.FORWARD_WITH_SLOPE.items():
        found[f"slope {name}"] = (kernel, *common, m["told"])
    for name, kernel in activations.BACKWARD.items():
        found[f"backward {name}"] = (kernel, m["dout"], m["told"], 2.0, x, a, m["dx"], b, c, sums)
    rows = [np.resize(v, 37) for v in (a, b)]
    norm, chance = (x, a, 1e-5, b, c, *rows), (drawn, 1 << 15, 2.0, 0.3)
    written, given = (m["output"], m["told"]), (m["dout"], m["told"], 2.0, x, a, *rows, b)
    sums = np.zeros((3 * activations.blocks(37), 83), dtype)
    gradients = m["dx"], c, d, e, True, sums
    return found | {
        "statistics": (batchnorm.statistics, x, a, b, 1e-5, 0.9, c, d, e, f, np.copy(a)),
        "batchnorm": (batchnorm.finish, x, a, b, c, d, e, f, m["dx"]),
        "add bias": (bias.add, a, m["output"]),
        "sum rows": (bias.sum_rows, x, b),
        "layernorm forward": (layernorm.FORWARD["gelu", True], *norm, *chance, *written),
        "layernorm backward": (layernorm.BACKWARD["slope"], *given, *gradients),
        "labels": (cross_entropy.labels, x, np.arange(37), m["dx"], np.empty(37)),
        "fill": (lanes.fill, np.arange(3, dtype=np.uint64), np.zeros(1000, np.uint64)),
        "inspect": (inspection.inspect, *vectors[:2], *factors[:3], 0.7, 1),
        "sgd": (rules.sgd, *vectors[:2], *factors, 0.1),
        "momentum_sgd": (rules.momentum_sgd, *one, 0.1, 0.9, 1.0, 0.0),
        "adam": (rules.adam, *two, 0.1, 0.9, 0.99, 1e-8),
        "rmsprop": (rules.rmsprop, *one, 0.1, 0.9, 1e-8),
        "momentum_rmsprop": (rules.momentum_rmsprop, *two, 0.1, 0.9, 1e-8, 0.5),
        "adagrad": (rules.adagrad, *one, 0.1, 1e-8),
    }


#: Kernels that the network above has run on the pool: to compile all for it takes a minute.
COMPILED = {
    "forward relu",
    "backward ('relu', True)",
    "statistics",
    "batchnorm",
    "layernorm forward",
    "layernorm backward",
    "fill",
    "inspect",
    "momentum_sgd",
}


@pytest.mark.parametrize("name", calls("float32"))
def test_parts_change_no_bit(name):
    """Sums have one order, whatever the number of parts and whoever does them."""
    dtype = "float32"
    results = []
    for parts, parallel in ((1, False), (2, False), (3, False), (9, False), (3, True)):
        if parallel and name not in COMPILED:
            continue
        kernel, *arguments = calls(dtype)[name]
        returned = kernel[dtype, parallel](*arguments, parts)
        results.append([returned, *arguments])
    for result in results[1:]:
        for value, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(value, expected)


SHAPES = [(1, 1, 1), (3, 200, 5), (200, 3, 700), (130, 70, 450), (90, 90, 0), (700, 65, 1024)]


@each_dtype
@pytest.mark.parametrize("parts", [1, 2, 3, 40])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("way", ["panels", "blas"])
def test_products(way, shape, parts, dtype, monkeypatch):
    """Whatever is transposed, however it is cut, and where tiles and panels end within it."""
    rows, columns, inner = shape
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((rows, inner)), rng.standard_normal((inner, columns))
    a, b = a.astype(dtype), b.astype(dtype)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    maker = products._by_blas if way == "blas" else products._Panels(dtype)
    monkeypatch.setattr(products, "_choose", lambda dtype: maker)
    fusion.set_num_threads(parts)
    with threads.working(True):
        for left in (False, True):
            for right in (False, True):
                first = np.ascontiguousarray(a.T) if left else a
                second = np.ascontiguousarray(b.T) if right else b
                output = np.full((rows, columns), np.nan, dtype)
                given = products.multiply(first, second, output, left, right)
                assert given is output
                scale = 10 * max(inner, 1) ** 0.5
                assert_close(given, expected, dtype, scale)
                again = products.multiply(first, second, None, left, right)
                assert (again == given).all()


@pytest.mark.parametrize("rows", [1, 13, 14, 56, 57, 128, 784, 10_000])
def test_tiles_cover_all_rows_once(rows):
    heights = (14, 8, 4, 2, 1)
    table = products._tiles(rows, heights).reshape(-1, 2)
    assert table[0, 0] == 0
    assert set(table[:, 1]) <= set(heights)
    assert (table[1:, 0] == table[:-1].sum(axis=1)).all()
    assert table[-1].sum() == rows


def test_panels_add_up_in_one_order():
    """Results do not depend on the number of threads, where the own products are used."""
    rng = np.random.default_rng(4)
    a, b = (rng.standard_normal((150, 500)).astype(np.float32) for _ in range(2))
    results = []
    for count in (1, 2, 3, 4):
        fusion.set_num_threads(count)
        with threads.working(True):
            output = np.empty((150, 150), np.float32)
            products._Panels("float32")(threads.team(), "float32", a, False, b, True, output)
            results.append(output)
    assert all((result == results[0]).all() for result in results)


# ------------------------------------------------------------------ who works


def openblas_threads() -> int:
    found = threads.controls()
    assert found is not None
    return int(found.get())


def test_openblas_is_held_during_a_step_and_put_back():
    fusion.set_num_threads(2)
    seen = []

    class Loss(xpnn.SoftmaxCrossEntropy):
        def forward(self, input, target):
            seen.append((openblas_threads(), fusion.num_threads(), threads.team()[:2]))
            return super().forward(input, target)

    layers = [L.Linear(48, 320), L.ReLU(), L.Linear(320, 10)]
    net = xpnn.Sequential(layers, Loss(), lr=0.1)
    x, y = batches(1)[0]
    net.train(x, y)
    assert seen == [(1, 2, (2, True))]
    assert openblas_threads() == 2
    with pytest.raises(xpnn.DataError):
        net.train(x, y + 100)
    assert openblas_threads() == 2
    fusion.set_num_threads(1)
    net.train(x, y)
    assert seen[-1] == (1, 1, (1, False))


@pytest.mark.parametrize("method", ["train", "eval"])
def test_a_step_inside_of_another_that_fails_leaves_it_its_threads(method, monkeypatch):
    fusion.set_num_threads(2)
    inner, (x, y) = network(), batches(1)[0]
    inner.train(x, y)
    call = (lambda: inner.train(x, y)) if method == "train" else (lambda: inner.eval(x))
    step, name = inner._plan.steps[-1], "forward" if method == "train" else "evaluate"
    seen = []

    def fail(input):
        raise MemoryError

    class Loss(xpnn.SoftmaxCrossEntropy):
        def forward(self, input, target):
            with monkeypatch.context() as patch:
                patch.setattr(step, name, fail)
                with pytest.raises(MemoryError):
                    call()
            seen.append((openblas_threads(), threads.team()[:2]))
            call()
            seen.append((openblas_threads(), threads.team()[:2]))
            return super().forward(input, target)

    layers = [L.Linear(48, 320), L.ReLU(), L.Linear(320, 10)]
    xpnn.Sequential(layers, Loss(), lr=0.1).train(x, y)
    assert seen == [(1, (2, True)), (1, (2, True))]
    assert openblas_threads() == 2
    assert not threads._POOL._owner


def test_a_thread_that_ends_within_a_step_leaves_the_pool_to_others():
    fusion.set_num_threads(2)
    lost = threading.Thread(target=lambda: threads.working(True).__enter__())
    lost.start()
    lost.join()
    for _ in range(2):
        with threads.working(True):
            assert threads.team().parallel
        assert openblas_threads() == 2


def test_count_set_during_a_step_counts_afterwards():
    fusion.set_num_threads(2)
    with threads.working(True):
        fusion.set_num_threads(3)
        assert (openblas_threads(), fusion.num_threads()) == (1, 3)
    assert openblas_threads() == 3


def test_layers_that_multiply_by_themselves_leave_the_pool_asleep():
    class Own(L.Layer):
        def __init__(self):
            super().__init__()
            self.params["W"] = np.ones((2, 2), dtype=np.float32)

        def forward(self, input):
            seen.append((openblas_threads(), threads.team()))
            return input

        def backward(self, dout):
            self.grads["W"] = np.zeros((2, 2), dtype=np.float32)
            return dout

    seen: list[Any] = []
    fusion.set_num_threads(2)
    layers = [L.Linear(48, 320), L.ReLU(), Own(), L.Linear(320, 10)]
    net = xpnn.Sequential(layers, xpnn.SoftmaxCrossEntropy(), lr=0.1)
    net.train(*batches(1)[0])
    assert seen == [(2, threads._ALONE)]
    assert not fusion.plan(net).together


def test_pools_size_is_numbas_own_again():
    import numba

    fusion.set_num_threads(1)
    before = numba.get_num_threads()
    network().train(*batches(1)[0])
    assert numba.get_num_threads() == before


def train_in_threads() -> None:
    """Several networks at once: equal to one that trained alone."""
    fusion.set_num_threads(2)
    data = batches(8)
    reference = network()
    expected = [float(reference.train(x, y)[1]) for x, y in data]
    found: list[list[float]] = []

    def work() -> None:
        net = network()
        found.append([float(net.train(x, y)[1]) for x, y in data])

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [expected] * 4
    assert openblas_threads() == 2


def test_networks_in_threads():
    train_in_threads()


def run(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.path.dirname(__file__)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_networks_in_threads_on_a_pool_for_one_thread():
    """Numba's "workqueue" ends a process that uses it from two threads at once."""
    program = (
        "import test_threads, numba; test_threads.train_in_threads(); "
        "print(numba.threading_layer())"
    )
    assert run(program, NUMBA_THREADING_LAYER="workqueue") == "workqueue"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_child_trains_without_the_pool():
    """GNU's OpenMP ends a child that uses the pool of its parent."""
    program = """
import os, sys
import test_threads as t
t.fusion.set_num_threads(2)
net = t.network()
data = t.batches(3)
net.train(*data[0])
sys.stdout.flush()
child = os.fork()
losses = [float(net.train(x, y)[1]) for x, y in data[1:]]
print(losses, t.threads._forked, t.openblas_threads(), flush=True)
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    lines = run(program).splitlines()
    ends = sorted(line.partition("] ")[2] for line in lines)
    assert ends == ["False 2", "True 2"]
    assert len({line.partition("] ")[0] for line in lines}) == 1


def most_threads():
    """How many the library can have; it has as many afterwards."""
    with pytest.warns(RuntimeWarning, match=r"^threads: NumPy's OpenBLAS has \d+ threads at most"):
        fusion.set_num_threads(2**20)
    return fusion.num_threads()


@pytest.mark.parametrize("count", [2**32 + 1, 2**80])
def test_a_count_that_no_library_has_is_its_most(count):
    most = most_threads()
    fusion.set_num_threads(1)
    message = rf"^threads: NumPy's OpenBLAS has {most} threads at most, got {count}: {most} work$"
    with pytest.warns(RuntimeWarning, match=message) as found:
        fusion.set_num_threads(count)
    assert fusion.num_threads() == most > 1
    assert found[0].filename == __file__
    fusion.set_num_threads(most)  # is no reason to say anything


def test_count_from_the_environment():
    program = "import xpnn; print(xpnn.fusion.num_threads())"
    assert run(program, XPNN_NUM_THREADS="3") == "3"


def test_a_wrong_count_from_the_environment_names_the_variable(monkeypatch):
    monkeypatch.setenv("XPNN_NUM_THREADS", "0")
    with pytest.raises(xpnn.ConfigurationError, match=r"^XPNN_NUM_THREADS: .* at least 1, got 0"):
        threads.set_from_environment()


def test_too_high_a_count_from_the_environment_is_said(monkeypatch):
    most = most_threads()
    monkeypatch.setenv("XPNN_NUM_THREADS", "100000")
    message = (
        rf"^XPNN_NUM_THREADS: NumPy's OpenBLAS has {most} threads at most, got 100000: {most} "
    )
    with pytest.warns(RuntimeWarning, match=message):
        threads.set_from_environment()
    assert fusion.num_threads() == most
    monkeypatch.setenv("XPNN_NUM_THREADS", str(most))
    threads.set_from_environment()


def test_threads_may_share_a_network_for_predictions():
    """Also what says in the data which steps are there, and what returns the last state."""

    def ragged(number: int) -> Any:
        ids = np.random.default_rng(number).integers(1, 20, (5, 9))
        return np.where(np.arange(9) < 2 * number + 2, ids, 0)

    layers = [L.Embedding(20, 8, padding_idx=0), L.LSTM(8, 16, return_sequences=False)]
    net = xpnn.Sequential(
        [L.Masked(layers), L.Linear(16, 4)], xpnn.SoftmaxCrossEntropy(), lr=0.1, seed=0
    )
    inputs = [ragged(number) for number in range(4)]
    expected = [net.eval(ids) for ids in inputs]
    faults: list[Any] = []

    def look(number: int) -> None:
        try:
            for _ in range(200):
                if (net.eval(inputs[number]) != expected[number]).any():
                    faults.append(number)
        except Exception as error:
            faults.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=look, args=(number,)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert faults == []


def test_a_layer_of_ones_own_keeps_the_pool_unless_it_has_a_matrix():
    class Own(xpnn.Layer):
        def __init__(self, shape):
            super().__init__()
            self.params["W"] = np.ones(shape, dtype=np.float32)

        def forward(self, input):
            return input

        def backward(self, dout):
            self.grads["W"] = np.zeros_like(self.params["W"])
            return dout

    for shape, together in [((4,), True), ((4, 4), False)]:
        net = xpnn.Sequential(
            [xpnn.Linear(4, 4), Own(shape)], xpnn.MeanSquaredError(), lr=0.1, seed=0
        )
        net.train(np.ones((3, 4)), np.ones((3, 4)))
        assert xpnn.fusion.plan(net).together is together


# ------------------------------------------------------------------ interrupts


def interrupted(work: Any, file: str, place: int) -> bool:
    """Run with an interrupt at one place of a file; tell whether it has come to that.

    Places are where Python looks for signals: at the beginning of its functions, and when a
    function that is not written in it returns.
    """
    seen = 0

    def notice(frame: Any, event: str, _: Any) -> None:
        nonlocal seen
        if event in ("call", "c_return") and frame.f_code.co_filename == file:
            seen += 1
            if seen == place:
                sys.setprofile(None)
                raise KeyboardInterrupt

    before = sys.getprofile()
    sys.setprofile(notice)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(before)
    return False


@pytest.mark.parametrize("method", ["train", "eval"])
def test_an_interrupt_leaves_no_thread_held(method):
    fusion.set_num_threads(2)
    net, (x, y) = network(), batches(1)[0]
    for _ in range(5):
        net.train(x, y)
    arguments = (x, y) if method == "train" else (x,)
    places = 0
    while interrupted(lambda: getattr(net, method)(*arguments), threads.__file__, places + 1):
        places += 1
        assert threads.team() is threads._ALONE
        assert not threads._POOL._owner
        assert not threads._holders
        assert openblas_threads() == 2
    assert places > 20


def test_an_interrupt_behind_the_update_leaves_a_whole_step(monkeypatch):
    """The kernel has run when Python raises it."""
    fusion.set_num_threads(2)
    nets, data = [network(), network()], batches(8)
    for step, (x, y) in enumerate(data):
        nets[0].train(x, y)
        with monkeypatch.context() as patch:
            if step == 5:
                key = ("float32", True)
                rule = nets[1]._plan.update._rule[key]

                def fall(*arguments: Any, rule: Any = rule) -> None:
                    rule(*arguments)
                    raise KeyboardInterrupt

                patch.setitem(nets[1]._plan.update._rule._compiled, key, fall)
                with pytest.raises(KeyboardInterrupt):
                    nets[1].train(x, y)
                continue
            nets[1].train(x, y)
    assert nets[0].steps == nets[1].steps == len(data)
    for name in ("values", "buffers"):
        one, other = (getattr(net.parameters, name).array for net in nets)
        assert (one == other).all()


# ---------------------------------------------------------------- what is said


@pytest.mark.parametrize(("fastest", "maker"), [(True, "xpnn's tiles"), (False, "BLAS")])
def test_a_plan_says_what_makes_the_products(fastest, maker, monkeypatch):
    monkeypatch.setattr(products, "_tiles_are_fastest", lambda: fastest)
    layers = [L.Linear(4, 8), L.ReLU(), L.Recompute([L.Linear(8, 2)]), L.Linear(2, 2)]
    net = xpnn.Sequential(layers, xpnn.MeanSquaredError(), lr=0.1, seed=0)
    lines = [line for line in str(fusion.plan(net)).splitlines() if "into buffers" in line]
    assert len(lines) == 2
    assert all(line.endswith(f"into buffers, by {maker}") for line in lines)
    plan = fusion.plan(net)
    # A remark in the same words of what is no Linear layer stays.
    plan._update_remark = "into buffers, by BLAS"
    assert str(plan).count("into buffers, by BLAS") == (1 if fastest else 3)
    plan.together = False  # as with layers whose products are left to NumPy
    assert str(plan).count("into buffers, by BLAS") == 3


def test_one_thread_is_no_pool():
    threads.set_num_threads(1)
    assert threads.describe() == "1 thread: the one that calls, for kernels and for products"
    threads.set_num_threads(2)
    assert threads.describe().startswith("2 threads: Numba's pool")
