"""Data on the device for the whole run or brought there in chunks: the same batches."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import xpnn
from xpnn.backend import Backend
from xpnn.data.arrays import array_batches
from xpnn.data.batches import ArrayBatches, batch_bounds
from xpnn.data.streaming import StreamedBatches
from xpnn.random import Stream

ROWS = 53
EVERYTHING = 1 << 30


def data(dtype="float32", rows=ROWS):
    """Samples of (3, 2) numbers, labels and weights, all of them different."""
    rng = np.random.default_rng(rows)
    x = rng.integers(0, 200, (rows, 3, 2)).astype(dtype)
    return x, np.arange(rows) % 7, rng.uniform(0.5, 2.0, rows)


def streamed(arrays, backend, batch_size=8, **settings):
    dtypes = (backend.float_dtype, None, backend.float_dtype)[: len(arrays)]
    return StreamedBatches(tuple(arrays), dtypes, backend, batch_size, **settings)


def resident(arrays, backend, batch_size=8, **settings):
    x, *rest = arrays
    moved = [backend.asarray(x, dtype=backend.float_dtype), *map(backend.asarray, rest)]
    return ArrayBatches(tuple(moved), batch_size, **settings)


def on_host(backend, batches):
    """Copy batches to the host, each as it comes, with the types that they had."""
    return [
        [(backend.to_host(part), part.dtype) for part in batch if part is not None]
        for batch in batches
    ]


def assert_equal_batches(backend, actual, expected):
    actual, expected = on_host(backend, actual), on_host(backend, expected)
    assert len(actual) == len(expected)
    for left, right in zip(actual, expected, strict=True):
        assert [dtype for _, dtype in left] == [dtype for _, dtype in right]
        for (a, _), (b, _) in zip(left, right, strict=True):
            np.testing.assert_array_equal(a, b)


def loading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("xpnn-data")]


# Batches


def test_bounds_cover_each_row_once():
    for rows in (1, 2, 7, 16, 17):
        for size in (1, 2, 5, 16, 100):
            for join in (False, True):
                bounds = batch_bounds(rows, size, join)
                assert [r for start, stop in bounds for r in range(start, stop)] == [*range(rows)]
                if join and rows > 1 and size > 1:
                    assert min(stop - start for start, stop in bounds) > 1


@pytest.mark.parametrize("order", [None, Stream(3)], ids=["in order", "shuffled"])
@pytest.mark.parametrize("chunk_bytes", [0, 500, 1100, EVERYTHING])
@pytest.mark.parametrize("batch_size", [1, 8, 26, 100])
def test_streamed_batches_are_those_of_resident_data(backend, order, chunk_bytes, batch_size):
    plain, arrays = backend.plain, data()
    stream = streamed(arrays, plain, batch_size, order=order, chunk_bytes=chunk_bytes)
    stay = resident(arrays, plain, batch_size, order=order)
    assert stream.length == stay.length
    for epoch in (0, 1, 5):
        assert_equal_batches(plain, stream.epoch(epoch), stay.epoch(epoch))


def test_the_order_is_drawn_over_all_rows_and_not_within_a_chunk(backend):
    plain, arrays = backend.plain, data()
    stream = streamed(arrays, plain, order=Stream(3), chunk_bytes=0)
    labels = [plain.to_host(y) for _, y, _ in stream.epoch(2)]
    expected = arrays[1][Stream(3, call=2).permutation(ROWS)]
    np.testing.assert_array_equal(np.concatenate(labels), expected)


def test_a_last_batch_of_one_row_joins_the_one_before(backend):
    plain, arrays = backend.plain, data()  # 53 rows: 4 batches of 13 and one row
    for chunk_bytes in (0, EVERYTHING):
        stream = streamed(arrays, plain, 13, join_single=True, chunk_bytes=chunk_bytes)
        assert [x.shape[0] for x, _, _ in stream.epoch(0)] == [13, 13, 13, 14]
        assert stream.length == 4


@pytest.mark.parametrize(
    "dtype", ["uint8", "bool", "int64", "float16", "float32", "float64", ">f4", ">i2", ">f8"]
)
def test_samples_of_any_type_are_cast_as_resident_ones_are(backend_each_dtype, dtype):
    plain, arrays = backend_each_dtype.plain, data(dtype)
    stream = streamed(arrays, plain, order=Stream(1), chunk_bytes=300)
    stay = resident(arrays, plain, order=Stream(1))
    assert_equal_batches(plain, stream.epoch(0), stay.epoch(0))


@pytest.mark.parametrize("order", [None, Stream(3)], ids=["in order", "shuffled"])
def test_samples_of_any_layout(backend, order, tmp_path):
    plain, (x, y, weight) = backend.plain, data()
    file = np.memmap(tmp_path / "x", dtype=x.dtype, mode="w+", shape=x.shape)
    file[...] = x
    expected = resident((x, y, weight), plain, order=order)
    layouts = {
        "memory-mapped": file,
        "Fortran": np.asfortranarray(x),
        "strided": np.repeat(x, 2, axis=0)[::2],
        "reversed": x[::-1].copy()[::-1],
        "read-only": np.frombuffer(x.tobytes(), dtype=x.dtype).reshape(x.shape),
    }
    for layout in layouts.values():
        stream = streamed((layout, y, weight), plain, order=order, chunk_bytes=700)
        assert_equal_batches(plain, stream.epoch(0), expected.epoch(0))


def test_batches_that_somebody_keeps_do_not_change(backend):
    plain, arrays = backend.plain, data()
    stream = streamed(arrays, plain, chunk_bytes=300, order=Stream(2))
    kept = list(stream.epoch(0))  # all of them, at the end of the pass
    assert_equal_batches(plain, kept, resident(arrays, plain, order=Stream(2)).epoch(0))


def test_data_are_not_changed(backend):
    plain, arrays = backend.plain, data()
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    for _ in streamed(arrays, plain, order=Stream(2), chunk_bytes=300).epoch(0):
        pass
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_pass_that_is_left_early_ends_its_thread(backend):
    plain, arrays = backend.plain, data()
    stream = streamed(arrays, plain, chunk_bytes=300)
    batches = stream.epoch(0)
    next(batches)
    batches.close()
    assert loading_threads() == []
    assert_equal_batches(plain, stream.epoch(0), resident(arrays, plain).epoch(0))
    assert loading_threads() == []


class Broken(np.ndarray):
    """A file that cannot be read to its end."""

    readings = 0

    def __getitem__(self, rows):
        Broken.readings += 1
        if Broken.readings == 3:
            raise OSError("the disk is gone")
        return np.asarray(self)[rows]


def test_an_error_in_the_background_is_raised_where_the_batches_are_used(backend, monkeypatch):
    monkeypatch.setattr(Broken, "readings", 0)
    x, y, _ = data()
    # In order, so that rows are read by indexing on every library.
    stream = streamed((x, y), backend.plain, batch_size=8, chunk_bytes=0)
    stream.arrays = (x.view(Broken), y)
    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen += [labels.shape[0] for _, labels, _ in stream.epoch(0)]
    assert loading_threads() == []


# The choice


def test_data_stay_on_a_device_whose_memory_nobody_knows(backend):
    plain = backend.plain
    if plain.free_memory() is not None:
        assert plain.free_memory() > 0
        return
    batches = array_batches(data(), plain, 8, step_bytes=1 << 60)
    assert isinstance(batches, ArrayBatches)
    assert batches.memory is None


@pytest.mark.parametrize(("free", "kind"), [(10_000, ArrayBatches), (5_000, StreamedBatches)])
def test_data_stay_on_the_device_if_there_is_room_beside_a_step(backend, free, kind, monkeypatch):
    monkeypatch.setattr(Backend, "free_memory", lambda self: free)
    # 53 rows of 6 floats, an index and a float.
    needed = 53 * (6 * 4 + 8 + 4)
    x, y, weight = data("uint8")
    batches = array_batches((x, y, weight.astype("float32")), backend.plain, 8, step_bytes=4000)
    assert needed + 4000 <= 0.9 * 10_000
    assert needed + 4000 > 0.9 * 5_000
    assert isinstance(batches, kind)
    where = "stay there" if kind is ArrayBatches else "go there in chunks"
    assert batches.memory == (
        f"{backend.plain.device_name}: about 3.9 KiB for a training step, 1.9 KiB of data "
        f"{where}, {free / 1024:.1f} KiB free"
    )


def test_what_the_user_says_counts(backend, monkeypatch):
    monkeypatch.setattr(Backend, "free_memory", lambda self: 100)
    assert isinstance(array_batches(data(), backend.plain, 8, resident=True), ArrayBatches)
    monkeypatch.setattr(Backend, "free_memory", lambda self: None)
    assert isinstance(array_batches(data(), backend.plain, 8, resident=False), StreamedBatches)


def test_data_on_the_device_stay_there(backend, monkeypatch):
    plain, (x, y, _) = backend.plain, data()
    if plain.name == "numpy":
        pytest.skip("NumPy's device is the host")
    monkeypatch.setattr(Backend, "free_memory", lambda self: 100)
    own = plain.asarray(x)
    for wanted in (None, True, False):
        batches = array_batches((own, y), plain, 8, resident=wanted)
        assert isinstance(batches, ArrayBatches)
        assert batches.arrays[0] is own


def test_chunks_leave_room_for_a_step(backend, monkeypatch):
    plain, arrays = backend.plain, data()
    row = sum(array.nbytes for array in arrays) / ROWS
    monkeypatch.setattr(Backend, "free_memory", lambda self: 4000 + int(4 * 16 * row) + 8)
    batches = array_batches(arrays, plain, 8, resident=False, step_bytes=4000)
    assert [len(chunk) for chunk in batches._chunks] == [2, 2, 2, 1]


# Training


def network(backend):
    return xpnn.Sequential(
        [
            xpnn.Flatten(),
            xpnn.Linear(6, 9),
            xpnn.BatchNorm(9),
            xpnn.ReLU(),
            xpnn.Dropout(0.3),
            xpnn.Linear(9, 7),
        ],
        xpnn.SoftmaxCrossEntropy(),
        optimizer=xpnn.SGD(0.1, momentum=0.9),
        regularization=xpnn.L2(1e-3),
        backend=backend,
        seed=4,
    )


def train(backend, arrays, **settings):
    net = network(backend)
    history = xpnn.fit(
        net, arrays, 3, batch_size=13, metrics=["accuracy"], validation=0.2, **settings
    )
    return history, backend.to_host(net.parameters.values.array)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "float64"])
def test_training_is_the_same(backend, dtype, monkeypatch):
    monkeypatch.setattr("xpnn.data.streaming.CHUNK_BYTES", 800)
    plain, arrays = backend.plain, data(dtype)
    stay, stay_values = train(plain, arrays, resident=True)
    stream, stream_values = train(plain, arrays, resident=False)
    np.testing.assert_array_equal(stream_values, stay_values)
    for column in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert stream[column] == stay[column]


def test_evaluation_is_the_same(backend, monkeypatch):
    monkeypatch.setattr("xpnn.data.streaming.CHUNK_BYTES", 800)
    net, arrays = network(backend.plain), data()
    results = [
        xpnn.evaluate(net, arrays, 10, metrics=["accuracy"], resident=wanted)
        for wanted in (True, False)
    ]
    assert results[0] == results[1]


def test_an_interrupted_training_leaves_no_thread(backend, monkeypatch):
    monkeypatch.setattr("xpnn.data.streaming.CHUNK_BYTES", 100)

    class Stop(xpnn.Callback):
        def on_batch_end(self, run, loss):
            run.stop("enough")

    net = network(backend.plain)
    history = xpnn.fit(net, data(), 2, batch_size=8, resident=False, callbacks=[Stop()])
    assert (history.stop_reason, net.steps) == ("enough", 1)
    assert loading_threads() == []


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("value", [1e39, -1e200, np.longdouble(1e300)])
def test_numbers_too_large_for_the_type_of_the_network_are_refused(backend, wanted, value):
    x, y, _ = data("float64")
    x = x.astype(type(value) if isinstance(value, np.longdouble) else "float64")
    x[17, 1, 1] = value
    net = network(backend.plain)
    with pytest.raises(xpnn.DataError, match=r"x as float32 has -?inf at row 17"):
        xpnn.fit(net, (x, y), 1, resident=wanted)
    assert net.steps == 0
