"""Files that are damaged, forged or foreign: refused, in no more memory than twice their size."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import tiny_training as training
from hypothesis import given, settings
from hypothesis import strategies as st

import xpnn
from conftest import PRESENT
from xpnn.checkpoint._cost import ALLOWANCE, cost
from xpnn.errors import CheckpointError

HERE = Path(__file__).parent
FLIPS = 1000
#: What checking a file takes besides: Python's own objects, and the header.
SLACK = 300_000


def large():
    return xpnn.Sequential(
        [xpnn.Linear(100, 200), xpnn.BatchNorm(200), xpnn.Linear(200, 50)],
        xpnn.SoftmaxCrossEntropy(),
        optimizer=xpnn.Adam(),
        seed=0,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a checkpoint of some 0.4 megabytes."""
    folder = tmp_path_factory.mktemp("whole")
    x, y = np.random.default_rng(0).standard_normal((20, 100)), np.arange(20)
    xpnn.fit(large(), (x, y), 1, 10, checkpoint=folder)
    return training.last(folder).read_bytes()


@pytest.fixture(scope="module")
def network():
    return large()


@pytest.fixture
def refused(tmp_path, network):
    """Every way to read a file refuses it, takes little memory and changes no network."""
    path = tmp_path / "file"
    before = {key: value.tobytes() for key, value in network.state_dict().items()}

    def attempt(read, content, slack):
        tracemalloc.start()
        try:
            with pytest.raises(CheckpointError) as caught:
                read()
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert peak < 2 * len(content) + slack, f"{peak} bytes for {len(content)}: {caught.value}"

    ways = {
        "into a network": lambda: xpnn.load(path, network=network),
        "load": lambda: xpnn.load(path),
        "resume": lambda: xpnn.checkpoint.read_training(path),
    }

    def check(content, chosen=tuple(ways), slack=SLACK):
        path.write_bytes(content)
        for way in chosen:
            attempt(ways[way], content, slack)
        after = {key: value.tobytes() for key, value in network.state_dict().items()}
        assert after == before
        assert network.steps == network.epochs == 0

    return check


def parts(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header, data):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def forged(content, change):
    """A file whose description says something else, with a digest that agrees."""
    header, data = parts(content)
    described = json.loads(header["__metadata__"]["content"])
    change(described, header)
    text = json.dumps(described)
    header["__metadata__"]["content"] = text
    header["__metadata__"]["content_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return join(header, data)


def test_truncated_at_every_percent(whole, refused, tried):
    lengths = [len(whole) * percent // 100 for percent in range(100)] + [len(whole) - 1]
    for length in lengths:
        refused(whole[:length])
    tried("truncated at every 1 % of the length", len(lengths), "refused")


def test_flipped_bits(whole, refused, tried):
    draw = random.Random(0)
    for _ in range(FLIPS):
        flipped = bytearray(whole)
        flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        refused(bytes(flipped), ["into a network"])
    header = int.from_bytes(whole[:8], "little") + 8
    for _ in range(FLIPS // 4):  # nine in ten of the others hit the numbers
        flipped = bytearray(whole)
        flipped[draw.randrange(header)] ^= 1 << draw.randrange(8)
        refused(bytes(flipped), ["into a network"])
    tried("a single bit flipped", FLIPS + FLIPS // 4, "refused")


def test_garbage(whole, refused, tried):
    draw = random.Random(1)
    cases = [b"", b"\0", bytes(8), bytes(100_000), b"\xff" * 100_000, b"{" * 100_000]
    cases += [draw.randbytes(draw.randrange(100_000)) for _ in range(100)]
    cases += [whole[:8] + draw.randbytes(len(whole) - 8), whole + b"\0", whole[1:], whole[::-1]]
    for size in (2**63, 2**64 - 1, 2**40, len(whole), len(whole) - 8):  # lengths of the header
        cases.append(size.to_bytes(8, "little") + whole[8:])
    for text in (b"[" * 90_000, b"[1," * 30_000, b'{"a":' * 15_000, b'{"a":1,"a":2}', b"NaN"):
        cases.append(len(text).to_bytes(8, "little") + text)
    for text in (b"[" * 3_000_000, b"[0," * 1_000_000, b'"a":{' * 500_000):
        cases.append(len(text).to_bytes(8, "little") + text)
    for content in cases:
        refused(content, slack=ALLOWANCE)
    tried("garbage, and headers that are long, deep or dense", len(cases), "refused")


#: Headers of about n bytes that become as much as possible in memory.
HOSTILE = {
    "digits": lambda n: "[" + "1," * (n // 2) + "1]",
    "numbers": lambda n: "[" + "999," * (n // 4) + "1]",
    "long numbers": lambda n: "[" + ",".join(["9" * 4000] * (n // 4000)) + "]",
    "fractions": lambda n: "[" + ".1,".replace(".", "0.") * (n // 4) + "1]",
    "texts": lambda n: "[" + ",".join(f'"{i:04x}"' for i in range(n // 7)) + "]",
    "short texts": lambda n: "[" + '"ab",' * (n // 5) + "1]",
    "empty lists": lambda n: "[" + "[]," * (n // 3) + "1]",
    "lists of lists": lambda n: "[" + "[[1],[1]]," * (n // 10) + "1]",
    "tables": lambda n: "[" + '{"a":1},' * (n // 8) + "1]",
    "tables far apart": lambda n: "[" + ('{"a":1}' + " " * 30 + ",") * (n // 38) + "1]",
    "keys": lambda n: "{" + ",".join(f'"{i:05x}":1' for i in range(n // 10)) + "}",
    "metadata": lambda n: (
        '{"__metadata__":{' + ",".join(f'"{i:05x}":"ab"' for i in range(n // 13)) + "}}"
    ),
    "a wide character": lambda n: '["\U0001f600' + "a" * n + '"]',
    "an escaped wide character": lambda n: '["\\ud83d\\ude00' + "a" * n + '"]',
    "escapes": lambda n: '["' + '\\"' * (n // 2) + '"]',
    "no end": lambda n: '["' + '\\"' * (n // 2),
    "a description of lists": lambda n: json.dumps(
        {"__metadata__": {"format": "xpnn", "content": "[" + "[1]," * (n // 4) + "1]"}}
    ),
    "a description that is long": lambda n: json.dumps(
        {"__metadata__": {"format": "xpnn", "content": "a" * n}}
    ),
}

MEASURE = """
import os, resource, sys
import xpnn
from xpnn.errors import CheckpointError

def attempt(path):
    try:
        xpnn.load(path)
    except CheckpointError:
        return
    raise AssertionError("it was read")

attempt(sys.argv[1])  # so that everything is imported
for path in sys.argv[2:]:
    reading, writing = os.pipe()
    child = os.fork()  # whose peak begins at what it has now
    if child == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        attempt(path)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        os.write(writing, str(1024 * (after - before)).encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print(os.read(reading, 100).decode())
"""


def as_header(text):
    text = text.encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize("kind", HOSTILE)
def test_headers_that_become_large_in_memory(kind, refused):
    for length in (1_000, 100_000, 700_000):
        refused(as_header(HOSTILE[kind](length)), ["load"], slack=ALLOWANCE)


def test_memory_of_a_process_that_reads_large_headers(tmp_path, tried):
    """As the system counts it, and not Python."""
    size = 24_000_000
    paths = [tmp_path / "small", *(tmp_path / kind for kind in HOSTILE)]
    for path, make in zip(paths, [HOSTILE["numbers"], *HOSTILE.values()], strict=True):
        path.write_bytes(as_header(make(1000 if path.name == "small" else size)))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)],
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for path, peak in zip(paths[1:], map(int, done.stdout.split()), strict=True):
        assert 0 < peak < 2 * path.stat().st_size + ALLOWANCE, path.name
    tried("headers of 24 MB made to fill memory", len(HOSTILE), "refused, in twice their size")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=9), inner, max_size=30)
    ),
    max_leaves=100,
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(json_values)
def test_no_text_becomes_larger_than_expected(value):
    text = json.dumps([value] * 3)
    json.loads(text, object_pairs_hook=dict)
    tracemalloc.start()
    try:
        kept = json.loads(text, object_pairs_hook=dict)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(kept) == 3
    assert peak <= cost(text.encode(), 1 << 40) + 2000  # the function's own objects


def test_what_is_written_can_be_read(tmp_path):
    """A long history and much else stay within what a reader allows."""
    net, extra = large(), {"notes": [f"note {k}" for k in range(20_000)]}
    xpnn.save(net, tmp_path / "a", class_names=[f"class {k} é" for k in range(50)], extra=extra)
    assert xpnn.load(tmp_path / "a").extra == extra
    before = (tmp_path / "a").read_bytes()
    for extra in ({"lists": [[]] * 10**6}, {"text": "é" * 10**7}):
        with pytest.raises(CheckpointError, match=r"cannot be written: .*extra"):
            xpnn.save(net, tmp_path / "a", extra=extra)
    assert (tmp_path / "a").read_bytes() == before


def shapes(key, shape, offsets=None):
    def change(described, header):
        header[key]["shape"] = shape
        described["tensors"][key]["shape"] = shape
        if offsets is not None:
            header[key]["data_offsets"] = offsets

    return change


def model(index, **more):
    return lambda described, header: described["model"]["layers"][index].update(more)


def add_layer(layer):
    return lambda described, header: described["model"]["layers"].append(layer)


FORGED = {
    "beyond the end": shapes("0.b", [10**9], [0, 4 * 10**9]),
    "beyond memory": shapes("0.b", [2**50], [0, 2**52]),
    "more than memory can address": shapes("0.b", [2**70], [0, 2**72]),
    "a count below zero": shapes("0.b", [-200]),
    "a fraction": shapes("0.b", [200.0]),
    "true": shapes("0.b", [True]),
    "another shape": shapes("0.W", [200, 100]),
    "no axes": shapes("0.b", []),
    "empty, with a length that no array has": shapes("0.b", [2**70, 0]),
    "text for a shape": shapes("0.b", "200"),
    "wider than the file": model(0, output_dim=10**6),
    "as wide as memory": model(0, output_dim=10**10),
    "wider than memory": model(0, output_dim=10**18),
    "a norm as wide as memory": model(1, dim=10**11),
    "more layers": add_layer({"type": "Linear", "input_dim": 50, "output_dim": 10**9}),
    "a norm more": add_layer({"type": "LayerNorm", "dim": 10**11}),
    "an embedding more": add_layer({"type": "Embedding", "num": 10**9, "dim": 100}),
    "an LSTM more": add_layer({"type": "LSTM", "input_dim": 10**5, "hidden_dim": 10**5}),
    "a convolution more": add_layer(
        {"type": "Conv2d", "in_channels": 10**5, "out_channels": 10**5, "kernel_size": 30}
    ),
    "a constant more": add_layer(
        {
            "type": "Linear",
            "input_dim": 10**5,
            "output_dim": 10**5,
            "weight_initializer": {"type": "Constant", "value": 1.0},
        }
    ),
    "an orthogonal matrix more": add_layer(
        {
            "type": "Linear",
            "input_dim": 10**5,
            "output_dim": 10**5,
            "weight_initializer": {"type": "Orthogonal"},
        }
    ),
    "a dotted class": model(0, type="os.system"),
    "a class of another module": model(0, type="xpnn.layers.linear.Linear"),
    "a private class": model(0, type="__class__"),
    "a class of another kind": model(0, type="Adam"),
    "no class": model(0, type=7),
    "a missing tensor": lambda c, h: (c["tensors"].pop("0.W"), h.pop("0.W")),
    "a tensor more in the description": lambda c, h: c["tensors"].update(more=c["tensors"]["0.W"]),
    "a tensor that is not described": lambda c, h: c["tensors"].pop("0.W"),
    "another kind of tensor": lambda c, h: c["tensors"]["0.W"].update(kind="gradient"),
    "a digest that differs": lambda c, h: c["tensors"]["0.W"].update(sha256="0" * 64),
    "a type that is not kept": lambda c, h: h["0.W"].update(dtype="F16"),
    "a type that nobody has": lambda c, h: h["0.W"].update(dtype="F17"),
    "the future": lambda c, h: h["__metadata__"].update(format_version="2"),
    "another format": lambda c, h: h["__metadata__"].update(format="pt"),
    "numbers for metadata": lambda c, h: h["__metadata__"].update(format_version=1),
    "metadata more": lambda c, h: h["__metadata__"].update(more="x"),
    "a key more": lambda c, h: h["0.W"].update(more=1),
    "a count of steps below zero": lambda c, h: c.update(steps=-1),
    "an entry more": lambda c, h: c.update(more=1),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged(name, whole, refused):
    content = forged(whole, FORGED[name])
    # What a layer more asks for only shows when one is made.
    refused(content, ["load"])


def test_forged_count(tried):
    tried("descriptions and headers forged, with digests that agree", len(FORGED), "refused")


@pytest.mark.parametrize("kind", ["overlap", "swap", "gap", "beyond", "negative", "three"])
def test_offsets(kind, whole, refused):
    header, data = parts(whole)
    one, two = header["0.W"]["data_offsets"], header["2.W"]["data_offsets"]
    if kind == "overlap":
        header["2.W"]["data_offsets"] = [two[0] - 4, two[1] - 4]
    elif kind == "swap":
        header["0.W"]["data_offsets"] = one[::-1]
    elif kind == "gap":
        data = data[: two[0]] + bytes(4) + data[two[0] :]
        for entry in header.values():
            offsets = entry.get("data_offsets", [0, 0])
            if offsets[0] >= two[0]:
                entry["data_offsets"] = [offsets[0] + 4, offsets[1] + 4]
    elif kind == "beyond":
        header["2.W"]["data_offsets"] = [len(data), len(data) + two[1] - two[0]]
    elif kind == "negative":
        header["0.W"]["data_offsets"] = [-4, one[1] - one[0] - 4]
    else:
        header["0.W"]["data_offsets"] = [*one, 0]
    refused(join(header, data))
    # The standard reader says the same of the file.
    with pytest.raises(safetensors.SafetensorError):
        safetensors.numpy.load(join(header, data))


class Canary:
    """Sings when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_files_that_run_code(tmp_path, refused, tried):
    canary = str(tmp_path / "canary")
    cases = [pickle.dumps(Canary(canary), protocol) + bytes(1000) for protocol in range(6)]
    np.save(tmp_path / "a.npy", np.asarray([Canary(canary)], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=np.asarray([Canary(canary)], dtype=object))
    cases += [(tmp_path / "a.npy").read_bytes(), (tmp_path / "a.npz").read_bytes()]
    with contextlib.suppress(ImportError):
        import torch

        torch.save({"weight": Canary(canary)}, tmp_path / "a.pt")
        torch.save({"0.W": torch.zeros(3)}, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
        cases += [(tmp_path / f"{name}.pt").read_bytes() for name in "ab"]
    # As the header, and as the numbers, of a file of the right form.
    cases += [len(c).to_bytes(8, "little") + c for c in cases]
    for content in cases:
        refused(content)
        assert not Path(canary).exists()
    pickle.loads(cases[0])
    assert Path(canary).exists()  # it can sing
    tried("pickle, .pt, .npy, .npz with a canary", len(cases), "refused; it never sang")


# ---------------------------------------------------------------- other libraries, odd tensors

FAMILIES = {b.library: b for b in PRESENT if "float32" in b.dtypes and not b.read_only}


def odd_layer():
    class Odd(xpnn.Layer):
        def __init__(self):
            super().__init__()
            self.params = {
                "scalar": np.asarray(2.5),
                "empty": np.zeros((0, 3)),
                "long": np.zeros((3, 0, 2)),
                "transposed": np.arange(6.0).reshape(2, 3).T,
                "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
                "strided": np.arange(20.0)[::-3],
                "broadcast": np.broadcast_to(np.float64(7), (2, 3)),
                "special": np.asarray([-0.0, 1e-45, 3.4e38, 2**-126]),
            }

        def forward(self, input):
            return input

    return Odd()


@pytest.mark.parametrize("writer", FAMILIES)
@pytest.mark.parametrize("reader", FAMILIES)
def test_written_by_one_library_and_read_by_another(writer, reader, tmp_path, tried):
    def make(name):
        with FAMILIES[name].scope():
            return xpnn.Sequential(
                [odd_layer(), xpnn.Linear(2, 2)], xpnn.MeanSquaredError(), lr=1, seed=0,
                backend=FAMILIES[name].plain,
            )  # fmt: skip

    with FAMILIES[writer].scope():
        first = make(writer)
        first.save = None
        xpnn.save(xpnn.Sequential([xpnn.Linear(2, 2)], xpnn.MeanSquaredError(), lr=1,
                                  backend=FAMILIES[writer].plain), tmp_path / "plain")  # fmt: skip
        state = first.state_dict()
        named = first.parameters.named()
        from xpnn.checkpoint._container import read_header, read_tensors, write_tensors

        write_tensors(tmp_path / "odd", named, {"by": writer})
    header = read_header(tmp_path / "odd")
    found = read_tensors(tmp_path / "odd", header)
    theirs = safetensors.numpy.load_file(tmp_path / "odd")
    assert found.keys() == theirs.keys() == state.keys()
    with FAMILIES[reader].scope():
        second = make(reader)
        second.load_state_dict(found)
        again = second.state_dict()
        for key, value in state.items():
            for other in (found[key], theirs[key], again[key]):
                assert other.dtype == value.dtype
                assert other.shape == value.shape
                assert other.tobytes() == value.tobytes(), key
        model = xpnn.load(tmp_path / "plain", backend=FAMILIES[reader].plain)
        assert model.network.backend.name == FAMILIES[reader].library
    tried(f"written by {writer}, read by {reader}, odd tensors", len(state), "exact")
