"""The CUDA kernels: compiled for every architecture, and bit for bit what NumPy computes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnn.kernels import cuda
from xpnn.random import Stream, drop_threshold, masks, set_mask_maker

gpu = pytest.mark.gpu

LARGEST = 2**64 - 1


def device_like(index: int = 0):
    """An array on a device of CuPy."""
    import cupy

    if index >= cupy.cuda.runtime.getDeviceCount():
        pytest.skip(f"there is no device cuda:{index}")
    with cupy.cuda.Device(index):
        return cupy.zeros(1)


def host_mask(stream: Stream, threshold: int, count: int, start: int) -> np.ndarray:
    """What the kernel must give, by its definition."""
    return stream.bits(count, start) >= threshold


# Sources


def test_sources_are_found_and_have_kernels():
    assert sorted(CHOICES) == cuda.names()
    for name in cuda.names():
        code = cuda.source(name, "float64")
        assert re.search(r'extern "C" __global__', code), name
        assert code.startswith("#define REAL double\n")
        assert '#include "' not in code


def test_a_header_is_included_once():
    code = cuda.source("rows", NORM="LAYER", ACTIVATION="RELU")
    assert code.count("void philox_block(") == code.count("REAL over_row(") == 1
    assert code.startswith("#define REAL float\n#define NORM LAYER\n#define ACTIVATION RELU\n")


#: Which choices a source is compiled with: each activation and each normalization, not every pair.
CHOICES: dict[str, list[dict[str, str]]] = {
    "cells": [
        *({"CELL": kind.upper(), "WIDTH": "1"} for kind in cuda.cells.CELLS),
        *({"CELL": kind.upper(), "WIDTH": "PACK"} for kind in cuda.cells.CELLS),
    ],
    "cross_entropy": [{}],
    "embedding": [{"WIDTH": "1"}, {"WIDTH": "PACK"}],
    "images": [{"WIDTH": width, "MEAN": mean} for width in ("1", "PACK") for mean in ("0", "1")],
    "philox": [{}],
    "update": [{"RULE": rule.upper()} for rule in cuda.optimizers.RULES],
    "elements": [
        *({"ACTIVATION": "RELU", "NORM": norm, "POOLED": "1"} for norm in ("NONE", "BATCH")),
        *({"ACTIVATION": kind.upper(), "NORM": "BATCH"} for kind in cuda.ACTIVATIONS),
        *({"ACTIVATION": "GELU", "NORM": norm} for norm in ("NONE", "RUNNING", "LAYER")),
    ],
    "columns": [
        *({"ACTIVATION": "RELU", "NORM": norm, "POOLED": "1"} for norm in ("NONE", "BATCH")),
        *({"ACTIVATION": kind.upper(), "NORM": "NONE"} for kind in cuda.ACTIVATIONS),
        *({"ACTIVATION": "GELU", "NORM": norm} for norm in ("BATCH", "LAYER")),
    ],
    "pooled": [
        {"ACTIVATION": kind, "NORM": norm, "WIDTH": width}
        for kind, norm in (("GELU", "NONE"), ("RELU", "BATCH"), ("SILU", "RUNNING"))
        for width in ("1", "PACK")
    ],
    "rows": [{"ACTIVATION": kind.upper(), "NORM": "LAYER"} for kind in cuda.ACTIVATIONS],
}


@pytest.mark.parametrize("architecture", cuda.ARCHITECTURES)
@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name in CHOICES for dtype in ("float32", "float64")],
)
def test_source_compiles_for_every_architecture(name, dtype, architecture):
    """By NVRTC, which needs neither a GPU nor a driver, with the options that CuPy adds."""
    pytest.importorskip("cupy", reason="CuPy is not installed here")
    assert CHOICES.keys() == set(cuda.names())
    # The last ones are the most various. The oldest architecture and the newest get all in float32;
    # no source asks which one it is for, so one choice does for those between. The rest runs on the
    # pretend GPU alone.
    outer = architecture in (cuda.ARCHITECTURES[0], cuda.ARCHITECTURES[-1])
    some = CHOICES[name][-4 if outer else -1 :]
    if outer and (dtype == "float32" or name == "update"):
        some = CHOICES[name]
    for choice in some:
        compile_for(architecture, name, cuda.source(name, dtype, **choice))


def compile_for(architecture: int, name: str, code: str) -> None:
    from cupy_backends.cuda.libs import nvrtc

    program = nvrtc.createProgram(code, f"{name}.cu", [], [])
    try:
        arguments = [
            *cuda.options(),
            f"-arch=sm_{architecture}",
            "-ftz=true",
            "-Werror=all-warnings",
            "-diag-suppress=177",  # a header has functions that not every source uses
        ]
        try:
            nvrtc.compileProgram(program, arguments)
        except nvrtc.NVRTCError:
            pytest.fail(nvrtc.getProgramLog(program))
        binary = nvrtc.getCUBIN(program)
    finally:
        nvrtc.destroyProgram(program)
    kernels = re.findall(r'extern "C" __global__ void __launch_bounds__\([^)]*\)\s+(\w+)\(', code)
    assert kernels, f"no kernel was found in {name}.cu"
    for kernel in kernels:
        assert f".text.{kernel}".encode() in binary


# How xpnn.random reaches them


def test_kernels_are_handed_to_the_random_streams(monkeypatch):
    monkeypatch.setattr(cuda, "mask", lambda *arguments: arguments)
    assert "cupy" in masks._mask_makers
    arguments = (Stream(1), 2, 3, 4, None)
    assert masks._mask_makers["cupy"](*arguments) == arguments


def test_a_maker_gets_checked_numbers(monkeypatch):
    asked = []

    def maker(stream, threshold, count, start, like):
        asked.append((stream, threshold, count, start, like))
        return np.zeros(count, dtype=bool)

    monkeypatch.setattr(masks, "_mask_makers", {})
    set_mask_maker("numpy", maker)
    like = np.zeros(1)
    mask = Stream(1, 2, 3).mask((2, np.int64(3)), 0.25, like=like, start=np.int32(7))
    assert mask.shape == (2, 3)
    assert asked == [(Stream(1, 2, 3), drop_threshold(0.25), 6, 7, like)]
    assert Stream(1).mask(4, 0.0).all()  # without `like` it is NumPy itself


# The mask


@gpu
@pytest.mark.parametrize("start", [0, 1, 15, 16, 17, 250, 2**40 + 3, LARGEST])
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 4095, 4096, 4097])
def test_mask_is_bit_equal_at_every_offset(count, start):
    stream = Stream(0x0123456789ABCDEF, 0xFEDCBA9876543210, 77)
    mask = cuda.mask(stream, 19661, count, start, device_like())
    assert mask.dtype == np.bool_
    assert mask.shape == (count,)
    assert mask.flags.c_contiguous
    assert mask.get().tolist() == host_mask(stream, 19661, count, start).tolist()


@gpu
@pytest.mark.parametrize("threshold", [0, 1, 2, 19661, 32768, 65534, 65535, 65536])
def test_mask_is_bit_equal_at_every_threshold(threshold):
    stream = Stream(5, 2, 9)
    mask = cuda.mask(stream, threshold, 1 << 17, 3, device_like()).get()
    np.testing.assert_array_equal(mask, host_mask(stream, threshold, 1 << 17, 3))


@gpu
@given(
    stream=st.builds(Stream, *[st.integers(0, LARGEST)] * 3),
    threshold=st.integers(0, 65536),
    count=st.integers(0, 600),
    start=st.integers(0, LARGEST),
)
@settings(deadline=None, max_examples=200, derandomize=True)
def test_mask_is_bit_equal(stream, threshold, count, start):
    mask = cuda.mask(stream, threshold, count, start, device_like()).get()
    np.testing.assert_array_equal(mask, host_mask(stream, threshold, count, start))


@gpu
def test_large_mask_is_bit_equal():
    """More blocks of threads than a GPU runs at a time."""
    stream, count = Stream(1, 4, 2), (1 << 22) + 5
    mask = cuda.mask(stream, 32768, count, 11, device_like())
    np.testing.assert_array_equal(mask.get(), host_mask(stream, 32768, count, 11))


@gpu
def test_mask_bytes_are_zeros_and_ones():
    """Other bytes would be true, too, but would not multiply as 1."""
    mask = cuda.mask(Stream(3), 30000, 100_000, 5, device_like())
    assert set(np.unique(mask.get().view(np.uint8)).tolist()) == {0, 1}


@gpu
@pytest.mark.parametrize("index", [0, 1])
def test_mask_lies_on_the_device_of_like_whatever_the_current_one(index):
    import cupy

    like = device_like(index)
    for current in {0, index}:
        with cupy.cuda.Device(current):
            mask = Stream(8, 3).mask((13, 11), 0.3, like=like, start=5)
        assert mask.device == like.device
        with mask.device:
            np.testing.assert_array_equal(mask.get(), Stream(8, 3).mask((13, 11), 0.3, start=5))


@gpu
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (7,), [2, 3], (4, 5, 6)])
def test_mask_of_any_shape(shape):
    expected = Stream(6, 1).mask(shape, 0.5)
    mask = Stream(6, 1).mask(shape, 0.5, like=device_like())
    assert mask.shape == expected.shape
    assert mask.get().tolist() == expected.tolist()


@gpu
def test_mask_is_a_fresh_writable_array():
    stream, like = Stream(0), device_like()
    first = stream.mask((4, 4), 0.5, like=like)
    first[...] = True
    assert not stream.mask((4, 4), 0.5, like=like).all()


@gpu
def test_mask_runs_on_the_current_stream():
    import cupy

    like = device_like()
    with cupy.cuda.Stream(non_blocking=True) as current:
        mask = Stream(2).mask(1000, 0.5, like=like)
        total = mask.sum()
        current.synchronize()
    assert int(total) == int(Stream(2).mask(1000, 0.5).sum())


@gpu
def test_mask_costs_one_launch_and_no_copy():
    rig = pytest.importorskip("cupy_on_cpu", reason="launches are counted on the rig")
    like = device_like()
    Stream(0).mask(16, 0.5, like=like)
    before = rig.stats()
    with rig.no_sync():
        Stream(0).mask((1000, 100), 0.5, like=like, start=3)
    after = rig.stats()
    assert after["launches"] - before["launches"] == 1
    for copies in ("host_to_device", "device_to_host", "device_to_device", "memsets"):
        assert after[copies] == before[copies]
    assert rig.launches()["philox_mask"] > 0
