"""Model files: what is written is read again, on every library, or refused with the reason."""

from __future__ import annotations

import copy
import errno
import json
import os
import pickle
import random
import stat
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy as safetensors

import xpnn
from xpnn import checkpoint, description
from xpnn.checkpoint import Model, load, save, write_file
from xpnn.data import Standardization
from xpnn.description import table
from xpnn.errors import BackendError, CheckpointError, ConfigurationError, DataError, ShapeError

X = np.random.default_rng(0).normal(size=(12, 4))
Y = np.arange(12) % 3


def make(device=None, backend=None, dtype="float32", steps=2):
    network = xpnn.Sequential(
        [
            xpnn.Linear(4, 8),
            xpnn.BatchNorm(8),
            xpnn.ReLU(),
            xpnn.Dropout(0.5),
            xpnn.Linear(8, 3),
        ],
        xpnn.SoftmaxCrossEntropy(),
        regularization=xpnn.L2(1e-3, roles={"weight"}),
        optimizer=xpnn.Adam(xpnn.OneCycle(0.05)),
        device=device,
        backend=backend,
        dtype=dtype,
        seed=3,
    )
    network.total_steps = 10
    for _ in range(steps):
        network.train(X, Y)
    return network


def tensors(network):
    to_host = network.backend.to_host
    parameters = network.parameters
    named = parameters.values.named() | parameters.buffers.named()
    return {key: np.array(to_host(value)) for key, value in named.items()}


def assert_same(first, second):
    one, two = tensors(first), tensors(second)
    assert one.keys() == two.keys()
    for key in one:
        assert one[key].dtype == two[key].dtype
        np.testing.assert_array_equal(one[key], two[key], err_msg=key)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def saved(path):
    save(make(), path)
    return path


def read(path):
    """Header and data of a file, read with nothing but json."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write(path, header, data):
    """Write a file with any header."""
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def forge(path, change):
    """Change what the header says, with digests that agree."""
    header, data = read(path)
    content = json.loads(header["__metadata__"]["content"])
    change(content)
    write_content(path, header, data, content)


def write_content(path, header, data, content):
    import hashlib

    text = json.dumps(content)
    header["__metadata__"]["content"] = text
    header["__metadata__"]["content_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    write(path, header, data)


# ---------------------------------------------------------------- there and back


def test_everything_comes_back(path):
    network = make()
    network.epochs = 7
    scaling = Standardization().fit(X)
    save(
        network,
        path,
        scaling,
        class_names=("a", "b", "ü"),
        extra={"data": {"name": "three"}, "list": [1, 2.5, None, True]},
    )
    model = load(path)
    assert_same(network, model.network)
    assert description.describe(model.network) == description.describe(network)
    assert (model.network.seed, model.network.steps, model.network.epochs) == (3, 2, 7)
    assert model.network.total_steps == 10
    assert model.network.lr == network.lr
    assert model.class_names == ("a", "b", "ü")
    assert model.extra == {"data": {"name": "three"}, "list": [1, 2.5, None, True]}
    assert model.target_standardization is None
    np.testing.assert_array_equal(model.standardization.mean, scaling.mean)
    np.testing.assert_array_equal(model.standardization.std, scaling.std)
    np.testing.assert_array_equal(model.network.eval(X), network.eval(X))


def test_nothing_but_the_network(saved):
    model = load(saved)
    assert model.standardization is model.target_standardization is model.class_names is None
    assert model.extra == {}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_bit_of_every_number(path, dtype):
    """Also the largest, the smallest, those below the normal ones and the negative zero."""
    network = make(dtype=dtype)
    info = np.finfo(dtype)
    odd = [info.max, info.tiny, info.smallest_subnormal, -0.0, info.eps, -info.max]
    values = network.parameters.values
    values.array = np.resize(np.asarray(odd, dtype=dtype), values.array.shape)
    save(network, path)
    again = load(path).network.parameters.values.array
    assert again.dtype == dtype
    assert again.tobytes() == values.array.tobytes()


def test_numbers_that_are_not_finite_are_kept(path):
    """A file says what the network is; whether that is good is not for it to judge."""
    network = make()
    network.layers[0].params["b"] = np.full(8, np.nan, dtype=np.float32)
    save(network, path)
    assert np.isnan(load(path).network.layers[0].params["b"]).all()


def test_any_library_writes_and_any_other_reads(backend, tmp_path):
    network = make(backend=backend.plain)
    there, back = tmp_path / "there", tmp_path / "back"
    save(network, there)
    here = load(there)
    assert here.network.backend.name == "numpy"
    assert_same(network, here.network)
    save(here.network, back)
    returned = load(back, backend=backend.plain).network
    assert returned.backend == backend.plain
    assert_same(network, returned)
    returned.train(X, Y)  # lives


def test_file_of_the_standard_reader(saved):
    """Other programs read the tensors by the keys that the summary shows."""
    found = safetensors.load(saved.read_bytes())
    expected = tensors(make())
    assert found.keys() == expected.keys()
    assert {"0.W", "0.b", "1.gamma", "1.running_mean", "4.W"} <= found.keys()
    for key, value in found.items():
        np.testing.assert_array_equal(value, expected[key])


def test_same_network_same_tensors_and_content(path, tmp_path):
    save(make(), path)
    save(make(), tmp_path / "other")
    assert sorted(read(path)[0]) == sorted(read(tmp_path / "other")[0])
    one, two = (read(p)[0]["__metadata__"]["content"] for p in (path, tmp_path / "other"))
    assert one == two


def test_fortran_order_is_not_mixed_up(path):
    network = make()
    expected = np.arange(32.0, dtype=np.float32).reshape(4, 8)
    network.layers[0].params["W"] = np.asfortranarray(expected)
    save(network, path)
    np.testing.assert_array_equal(load(path).network.layers[0].params["W"], expected)


@pytest.fixture
def own_names(monkeypatch):
    monkeypatch.setattr(table, "_own", {kind: {} for kind in table._own})


class Odd(xpnn.Layer):
    """Parameters without axes and without elements, and one that appears in the first forward."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale
        self.params = {"zero": np.asarray(2.5), "empty": np.zeros((0, 3))}

    def forward(self, input):
        if "late" not in self.params:
            self.params["late"] = np.asarray([self.scale, 1.0])
            self.buffers["count"] = np.asarray(0.0)
        self.cache["input"] = input
        return input * self.params["late"][0] + self.params["zero"]

    def backward(self, dout):
        self.grads["zero"] = dout.sum()
        self.grads["empty"] = np.zeros((0, 3))
        self.grads["late"] = np.asarray([(dout * self.cache["input"]).sum(), 0.0])
        return dout * self.params["late"][0]


def test_own_layer_with_odd_parameters(own_names, path):
    xpnn.description.register(Odd)
    network = xpnn.Sequential([Odd(3.0), xpnn.Linear(4, 1)], xpnn.MeanSquaredError(), lr=0.01)
    network.train(X, X[:, 0])
    save(network, path)
    again = load(path).network
    assert_same(network, again)
    assert again.layers[0].params["empty"].shape == (0, 3)
    assert again.layers[0].params["zero"].shape == ()
    assert "count" in again.layers[0].buffers
    np.testing.assert_array_equal(again.eval(X), network.eval(X))


def test_own_layer_must_be_registered(own_names, path):
    network = xpnn.Sequential([Odd()], xpnn.MeanSquaredError(), lr=0.01)
    with pytest.raises(ConfigurationError, match="register"):
        save(network, path)
    assert not path.exists()
    xpnn.description.register(Odd)
    save(network, path)
    table._own["layer"].clear()
    with pytest.raises(CheckpointError, match=r"model\.layers\[0\]\.type: unknown layer 'Odd'"):
        load(path)


class TwoBranches(xpnn.Network):
    def __init__(self, seed=0, width=5):
        super().__init__(xpnn.MeanSquaredError(), lr=0.1, seed=seed)
        self.left = xpnn.Linear(4, width)
        self.right = xpnn.Linear(4, width)

    def forward(self, input):
        return self.left.forward(input) + self.right.forward(input)

    def backward(self, dout):
        return self.left.backward(dout) + self.right.backward(dout)


def test_own_network_is_filled(path):
    network = TwoBranches()
    network.train(X, np.zeros((12, 5)))
    save(network, path)
    with pytest.raises(CheckpointError, match="class of its own"):
        load(path)
    other = TwoBranches(seed=9)
    model = load(path, network=other)
    assert model.network is other
    assert_same(network, other)
    assert other.steps == 1
    assert other.seed == 9


def test_a_network_that_does_not_fit_stays_as_it_was(path):
    save(TwoBranches(), path)
    other = TwoBranches(seed=9, width=6)
    before = tensors(other)
    with pytest.raises(CheckpointError, match=r"left\.W has shape \(4, 5\).*\(4, 6\)"):
        load(path, network=other)
    for key, value in tensors(other).items():
        np.testing.assert_array_equal(value, before[key])
    with pytest.raises(ConfigurationError, match="network"):
        load(path, device="cpu", network=other)


def test_network_of_another_precision_is_refused(path):
    save(make(dtype="float64"), path)
    network = make()
    before = tensors(network)
    with pytest.raises(CheckpointError, match=r"float64.*float32"):
        load(path, network=network)
    for key, value in tensors(network).items():
        np.testing.assert_array_equal(value, before[key])


def test_parameter_and_buffer_of_one_name(path):
    class Twin(xpnn.Layer):
        def __init__(self):
            super().__init__()
            self.params["a"] = np.zeros(1)
            self.buffers["a"] = np.zeros(1)

    network = TwoBranches()
    network.twin = Twin()
    with pytest.raises(ConfigurationError, match=r"twin\.a"):
        save(network, path)


def test_unknown_place(saved):
    with pytest.raises(BackendError, match="abacus"):
        load(saved, backend="abacus")


# ---------------------------------------------------------------- what is kept with the network


@pytest.mark.parametrize("wrong", [0, 5, None, b"model"])
def test_what_is_no_path_is_refused(wrong):
    """A number would be an open file's."""
    for call in (lambda: save(make(), wrong), lambda: load(wrong)):
        with pytest.raises(ConfigurationError, match="path: expected a path, got "):
            call()


@pytest.mark.parametrize("extra", [{"a": object()}, {"a": float("nan")}, {1: 2}, [1], "x"])
def test_extra_is_plain_data(extra, path):
    with pytest.raises(ConfigurationError, match="extra"):
        save(make(), path, extra=extra)
    assert not path.exists()


@pytest.mark.parametrize("names", ["abc", [1, 2, 3], 3])
def test_class_names_are_texts(names, path):
    with pytest.raises(ConfigurationError, match="class_names"):
        save(make(), path, class_names=names)


@pytest.mark.parametrize("key", ["standardization", "target_standardization"])
def test_standardization_is_one_and_fitted(key, path):
    with pytest.raises(ConfigurationError, match=key):
        save(make(), path, **{key: np.zeros(3)})
    with pytest.raises(ConfigurationError):
        save(make(), path, **{key: Standardization()})
    assert not path.exists()


def test_predictions_of_a_classifier(path):
    network = make()
    scaling = Standardization().fit(X + 5)
    save(network, path, scaling, class_names=["red", "green", "blue"])
    model = load(path)
    logits = network.eval(scaling.transform(X + 5))
    np.testing.assert_allclose(model.output(X + 5, batch_size=5), logits, rtol=1e-5, atol=1e-6)
    names = np.asarray(["red", "green", "blue"])
    np.testing.assert_array_equal(model.predict(X + 5), names[logits.argmax(axis=1)])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.probabilities(X + 5), probabilities, rtol=1e-5)
    model.class_names = None
    np.testing.assert_array_equal(model.predict(X + 5), logits.argmax(axis=1))


def test_predictions_of_yes_or_no():
    network = xpnn.Sequential([xpnn.Linear(1, 1)], xpnn.BinaryCrossEntropy(), lr=1)
    network.layers[0].params["W"] = np.ones((1, 1))
    model = Model(network, class_names=("no", "yes"))
    x = np.asarray([[-1e4], [0.0], [1.0]])
    assert model.predict(x).tolist() == ["no", "no", "yes"]
    expected = [[1.0, 0.0], [0.5, 0.5], [1 - 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-1))]]
    np.testing.assert_allclose(model.probabilities(x), expected, atol=1e-12)


def test_predictions_of_several_yes_or_no():
    network = xpnn.Sequential([xpnn.Linear(4, 2)], xpnn.BinaryCrossEntropy(), lr=1)
    model = Model(network)
    np.testing.assert_array_equal(model.predict(X), network.eval(X))
    with pytest.raises(ConfigurationError, match="BinaryCrossEntropy"):
        model.probabilities(X)


def test_predictions_of_a_regression_are_in_the_unit_of_the_target(path):
    network = xpnn.Sequential([xpnn.Linear(4, 2)], xpnn.MeanSquaredError(), lr=0.1, seed=0)
    target = Standardization().fit(np.asarray([[10.0, 1.0], [20.0, 3.0]]))
    save(network, path, target_standardization=target)
    model = load(path)
    expected = network.eval(X) * [5.0, 1.0] + [15.0, 2.0]
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-6)
    with pytest.raises(ConfigurationError, match="MeanSquaredError"):
        model.probabilities(X)


def test_predictions_of_no_samples():
    model = Model(make(), class_names=("a", "b", "c"))
    assert model.predict(np.zeros((0, 4))).shape == (0,)
    assert model.probabilities(np.zeros((0, 4))).shape == (0, 3)


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (np.full((2, 4), np.nan), DataError),
        (np.zeros((2, 5)), ShapeError),
        (np.zeros((2, 4), dtype=complex), DataError),
        (3.0, DataError),
    ],
)
def test_predictions_of_bad_data(x, error):
    with pytest.raises(error):
        Model(make()).predict(x)
    with pytest.raises(error):
        Model(make(), Standardization().fit(X)).predict(x)


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_batch_size_of_predictions(size):
    with pytest.raises(ConfigurationError, match="batch_size"):
        Model(make()).predict(X, batch_size=size)


def test_data_are_not_changed(saved):
    x = X.copy()
    x.flags.writeable = False
    load(saved).predict(x)
    np.testing.assert_array_equal(x, X)


# ---------------------------------------------------------------- the file on the disk


def test_mode_follows_the_umask(path):
    for mask, expected in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            save(make(), path)
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == expected


def test_order_of_the_system_calls(path, monkeypatch):
    """Written and on the disk before it takes the name; the name on the disk before the end."""
    calls = []

    def record(name, real):
        def wrapped(*arguments, **keywords):
            kind = ""
            if name == "fsync":
                kind = " folder" if stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else " file"
            calls.append(name + kind)
            return real(*arguments, **keywords)

        return wrapped

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, record(name, getattr(os, name)))
    save(make(), path)
    assert calls == ["fsync file", "replace", "fsync folder"]


def test_old_file_stays_until_the_new_one_is_whole(path, monkeypatch):
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for name in ("fsync", "replace", "write"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot .*Input/output"):
                save(make(), path)
        assert path.read_bytes() == b"old"
        assert os.listdir(path.parent) == [path.name], "a temporary file is left"


def test_interrupted_save_leaves_nothing(path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(make(), path)
    assert os.listdir(path.parent) == []


def test_folder_that_cannot_be_synced_is_no_failure(path, monkeypatch):
    """Some file systems have no fsync of folders."""
    real = os.fsync

    def fsync(number):
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    save(make(), path)
    load(path)


def test_short_writes_are_completed(path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda number, data: real(number, data[:1000]))
    save(make(), path)
    assert_same(load(path).network, make())


@pytest.mark.parametrize("place", ["missing/model", "folder", "file/model"])
def test_places_that_cannot_be_written(place, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written") as caught:
        save(make(), tmp_path / place)
    assert str(tmp_path / place) in str(caught.value)


def test_link_is_followed(path, tmp_path):
    link = tmp_path / "latest"
    path.write_bytes(b"old")
    link.symlink_to(path)
    save(make(), link)
    assert link.is_symlink()
    assert_same(load(path).network, make())


def test_long_names(tmp_path):
    path = tmp_path / ("n" * 250)
    save(make(), path)
    assert_same(load(path).network, make())


def test_write_file(tmp_path):
    write_file(tmp_path / "text", b"some bytes")
    assert (tmp_path / "text").read_bytes() == b"some bytes"


# ---------------------------------------------------------------- damaged and foreign files


def refused(path, *words):
    """Loading fails with one line that names the path; returns the line."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def test_truncated_at_every_length(saved):
    content = saved.read_bytes()
    for length in [*range(0, 200), *range(200, len(content), 97), len(content) - 1]:
        saved.write_bytes(content[:length])
        refused(saved)


def test_bytes_appended(saved):
    saved.write_bytes(saved.read_bytes() + b"\0")
    refused(saved)


def test_single_bit_flips(saved):
    content = saved.read_bytes()
    draw = random.Random(0)
    places = [(i, b) for i in range(8) for b in range(8)]
    places += [(draw.randrange(len(content)), draw.randrange(8)) for _ in range(400)]
    for index, bit in places:
        flipped = bytearray(content)
        flipped[index] ^= 1 << bit
        saved.write_bytes(flipped)
        refused(saved)


class Canary:
    def __reduce__(self):
        return os.mkdir, ("canary",)


def test_pickle_is_refused_and_does_not_run(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path.write_bytes(pickle.dumps(Canary()) + bytes(1000))
    refused(path)
    np.save(path.with_suffix(".npy"), np.asarray([Canary()], dtype=object), allow_pickle=True)
    refused(path.with_suffix(".npy"))
    assert not Path("canary").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        bytes(8),
        bytes(1000),
        b"\xff" * 1000,
        b"PK\x03\x04" + bytes(1000),
        (2**40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{}",
        (60000).to_bytes(8, "little") + b"[" * 60000,
        (8).to_bytes(8, "little") + b'{"a": 1}',
    ],
    ids=lambda content: repr(content[:12]),
)
def test_garbage(content, path):
    path.write_bytes(content)
    refused(path)


def test_places_that_cannot_be_read(tmp_path):
    refused(tmp_path / "missing", "No such file")
    refused(tmp_path, "not a file")
    if os.path.exists("/dev/zero"):
        refused(Path("/dev/zero"), "not a file")


def test_model_of_another_program(path):
    path.write_bytes(safetensors.save({"W": np.zeros(3)}))
    refused(path, "not a model of xpnn")
    path.write_bytes(safetensors.save({"W": np.zeros(3)}, metadata={"format": "pt"}))
    refused(path, "not a model of xpnn")


def test_format_of_the_future(saved):
    header, data = read(saved)
    header["__metadata__"]["format_version"] = "2"
    write(saved, header, data)
    refused(saved, "format 2", "format 1")


def test_more_metadata_than_there_should_be(saved):
    header, data = read(saved)
    header["__metadata__"]["more"] = "x"
    write(saved, header, data)
    refused(saved)


def test_content_that_is_no_json(saved):
    import hashlib

    header, data = read(saved)
    for text in ("{", "[]", "3", '{"a": NaN}', "{}"):
        header["__metadata__"]["content"] = text
        header["__metadata__"]["content_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        write(saved, header, data)
        refused(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("steps"),
        lambda c: c.update(more=1),
        lambda c: c.update(steps=-1),
        lambda c: c.update(steps=1.5),
        lambda c: c.update(steps=True),
        lambda c: c.update(epochs="3"),
        lambda c: c.update(total_steps=-1),
        lambda c: c.update(class_names="abc"),
        lambda c: c.update(class_names=[1]),
        lambda c: c.update(extra=[]),
        lambda c: c.update(tensors=[]),
        lambda c: c.update(model=[]),
        lambda c: c["tensors"].pop("0.W"),
        lambda c: c["tensors"].update({"9.W": c["tensors"]["0.W"]}),
        lambda c: c["tensors"]["0.W"].pop("sha256"),
        lambda c: c["tensors"]["0.W"].update(sha256="0" * 64),
        lambda c: c["tensors"]["0.W"].update(kind="gradient"),
        lambda c: c["tensors"]["0.W"].update(kind="buffer"),
        lambda c: c["tensors"]["0.W"].update(shape=[8, 4]),
        lambda c: c["tensors"]["0.W"].update(dtype="float64"),
        lambda c: c["model"].update(seed=-1),
        lambda c: c["model"].update(dtype="float64"),
        lambda c: c["model"]["layers"].pop(),
        lambda c: c["model"]["layers"].insert(0, "ReLU"),
        lambda c: c["model"]["layers"][0].update(output_dim=9),
        lambda c: c["model"]["layers"][0].update(bias=False),
        lambda c: c["model"]["layers"][0].update(type="os.system"),
        lambda c: c["model"]["layers"][0].update(output_dim=10**18),
    ],
)
def test_content_that_is_wrong(change, saved):
    forge(saved, change)
    refused(saved)


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.bool_, np.complex64])
def test_tensors_of_other_types(dtype, saved):
    """Well-formed in itself: the types, lengths and digests agree."""
    import hashlib

    content = json.loads(read(saved)[0]["__metadata__"]["content"])
    arrays = safetensors.load(saved.read_bytes())
    arrays["0.b"] = arrays["0.b"].astype(dtype)
    content["tensors"]["0.b"]["dtype"] = np.dtype(dtype).name
    content["tensors"]["0.b"]["sha256"] = hashlib.sha256(arrays["0.b"].tobytes()).hexdigest()
    saved.write_bytes(safetensors.save(arrays, metadata=read(saved)[0]["__metadata__"]))
    header, data = read(saved)
    write_content(saved, header, data, content)
    refused(saved, "0.b")


def test_wrong_standardization_in_the_file(path):
    save(make(), path, Standardization().fit(X))
    header, data = read(path)
    start, end = header["standardization/std"]["data_offsets"]
    data = data[:start] + np.full(4, -1.0).tobytes() + data[end:]

    def change(content):
        import hashlib

        digest = hashlib.sha256(data[start:end]).hexdigest()
        content["tensors"]["standardization/std"]["sha256"] = digest

    write(path, header, data)
    forge(path, change)
    refused(path, "standardization")
    forge(path, lambda c: c["tensors"].pop("standardization/std"))
    refused(path)


def test_message_names_the_tensor(saved):
    header, data = read(saved)
    start, _ = header["1.gamma"]["data_offsets"]
    data = bytearray(data)
    data[start] ^= 1
    write(saved, header, data)
    refused(saved, "1.gamma", "damaged")


def test_network_of_the_program_is_unchanged_by_a_damaged_file(saved):
    network = make(steps=0)
    before = copy.deepcopy(tensors(network))
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(CheckpointError):
        load(saved, network=network)
    assert network.steps == 0
    for key, value in tensors(network).items():
        np.testing.assert_array_equal(value, before[key])


def test_file_is_hardly_larger_than_the_numbers(tmp_path):
    network = xpnn.Sequential([xpnn.Linear(500, 500)], xpnn.MeanSquaredError(), lr=1)
    save(network, tmp_path / "model")
    assert (tmp_path / "model").stat().st_size < 4 * 500 * 501 + 2000


# ---------------------------------------------------------------- dictionaries of parameters


def test_state_dict_there_and_back(backend):
    network, other = make(backend=backend.plain), make(backend=backend.plain, steps=0)
    state = network.state_dict()
    assert list(state) == list(tensors(network))
    assert all(type(value) is np.ndarray for value in state.values())
    before = copy.deepcopy(state)
    other.load_state_dict(state)
    assert_same(network, other)
    other.train(X, Y)
    for key, value in state.items():
        np.testing.assert_array_equal(value, before[key])


def test_state_dict_is_named_as_the_summary_prints():
    network = make()
    summary = network.summary((4,))
    for key in network.state_dict():
        assert key.split(".")[0] in summary
        assert key.split(".")[1] in summary


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda s: s.pop("0.W"), ConfigurationError, "0.W is missing"),
        (lambda s: s.update(more=X), ConfigurationError, "more is none of the network's"),
        (lambda s: s.update({"0.b": X}), ShapeError, r"0.b has shape \(12, 4\), expected \(8,\)"),
        (lambda s: s.update({"0.b": ["a"] * 8}), DataError, "expected real numbers"),
    ],
)
def test_state_dicts_that_do_not_fit(change, error, words):
    network = make()
    before = copy.deepcopy(tensors(network))
    state = {key: value + 1 for key, value in network.state_dict().items()}
    change(state)
    with pytest.raises(error, match=words):
        network.load_state_dict(state)
    for key, value in tensors(network).items():
        np.testing.assert_array_equal(value, before[key])


def test_public_names():
    assert {"Model", "load", "save", "write_file"} < set(checkpoint.__all__)
