"""The array libraries that the tests run on, and the fixtures that hand them out.

Without further ado the tests run on every library that is installed here. The environment variable
``XPNN_TEST_BACKENDS``, a list such as ``numpy,torch``, requires the named ones: then the tests run
on these, and one that does not work ends the run before the first test.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Before any library is imported: two cores do not carry a pool of threads for each library, and
# JAX reads its setting when it is imported.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
# Every process of the tests compiles much the same for JAX: the first one does it for all.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.mkdtemp(prefix="xpnn-tests-jax-")
    atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# Which of two compilers XLA has for elementwise operations. One that has no such flag any more ends
# the process, hence the trial.
_flag = "--xla_cpu_use_fusion_emitters=false"
if os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") and "XLA_FLAGS" not in os.environ:
    _command = [sys.executable, "-c", "import jax; jax.numpy.zeros(1)"]
    _trial = subprocess.run(_command, env=os.environ | {"XLA_FLAGS": _flag}, capture_output=True)
    os.environ["XLA_FLAGS"] = _flag if _trial.returncode == 0 else ""
# The garbage collector comes less often: pytest and compilers make many objects, few of them in
# cycles. Whoever leaves what is large in a cycle is found out all the more.
gc.set_threshold(100_000, 10, 10)
# A user's own defaults are no business of the tests.
for _variable in ("XPNN_BACKEND", "XPNN_DEVICE"):
    os.environ.pop(_variable, None)

import numpy as np
import pytest

from xpnn.backend import Backend
from xpnn.backend import backend as open_backend
from xpnn.errors import BackendError

#: The standard that array_api_strict is held to: the newest that all libraries keep.
ARRAY_API_VERSION = "2024.12"

#: What XPNN_TEST_BACKENDS may name: the library behind it, and the module that must be there.
FAMILIES = {
    "numpy": ("numpy", "numpy"),
    "numpy_readonly": ("numpy", "numpy"),
    "array_api_strict": ("array_api_strict", "array_api_strict"),
    "torch": ("torch", "torch"),
    "jax": ("jax", "jax"),
    "dpnp": ("dpnp", "dpnp"),
    "cupy": ("cupy", "cupy"),
}


BOTH = ("float32", "float64")

#: Devices of array_api_strict, and the precisions that they have. "device2" is like "device1".
STRICT_DEVICES: dict[str, tuple[str, ...]] = {
    "CPU_DEVICE": BOTH,
    "device1": BOTH,
    "no_float64": ("float32",),
}


@dataclass(frozen=True)
class BackendUnderTest:
    """A back end of xpnn as the tests see it.

    Attributes
    ----------
    name : str
        What the test's identifier shows: "numpy_readonly", "array_api_strict-device1".
    library, device : str, str or None
        The arguments of `xpnn.backend`.
    dtype : str
        "float32" or "float64": the type of what `asarray` makes of floating-point numbers.
    read_only : bool
        Whether `asarray` makes arrays that cannot be written to.
    dtypes : tuple of str
        The types that the tests run in.
    x64 : bool
        False for JAX as most people run it: without 64-bit integers and floats.
    """

    name: str
    library: str
    device: str | None = None
    dtype: str = "float32"
    read_only: bool = False
    dtypes: tuple[str, ...] = BOTH
    x64: bool = True

    @property
    def float64(self) -> bool:
        """Whether there is double precision."""
        return "float64" in self.dtypes

    @property
    def plain(self) -> Backend:
        """The back end itself, for the code under test."""
        return _open(self.library, self.device, self.dtype, self.x64)

    @property
    def xp(self) -> Any:
        """The library's namespace."""
        return self.plain.xp

    def asarray(self, host: Any, dtype: Any = None) -> Any:
        """Data that the code under test may only read; NumPy sees to it where `read_only`."""
        array = self.plain.asarray(np.array(host), dtype=dtype)
        if self.read_only:
            array.flags.writeable = False
        return array

    def state(self, host: Any, dtype: Any = None) -> Any:
        """An array of its own that the code under test may update in place."""
        return self.plain.asarray(np.array(host), dtype=dtype)

    def strided(self, host: Any) -> Any:
        """Like `asarray`, but every second element of a longer array along its last axis."""
        host = np.asarray(host)
        return self.asarray(np.repeat(host, 2, axis=-1))[..., ::2]

    def to_host(self, array: Any) -> np.ndarray[Any, Any]:
        """Copy an array to NumPy."""
        return self.plain.to_host(array)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Enter what the library needs around a test: CuPy's device, JAX's word length."""
        if self.library == "jax":
            import jax

            return jax.enable_x64(self.x64)
        return self.plain.scope()

    def __str__(self) -> str:
        return self.name


@functools.cache
def _open(library: str, device: str | None, dtype: str, x64: bool) -> Backend:
    """Open a back end once: on CuPy opening it runs a self-test. JAX's differ by word length."""
    if library == "array_api_strict":
        import array_api_strict

        array_api_strict.set_array_api_strict_flags(
            api_version=ARRAY_API_VERSION, boolean_indexing=False, data_dependent_shapes=False
        )
    return open_backend(library, device=device, dtype=dtype)


def _variants(family: str) -> list[BackendUnderTest]:
    """List the devices and modes of a library that the tests run on."""
    library = FAMILIES[family][0]
    default = BackendUnderTest(family, library)
    if family == "numpy_readonly":
        return [replace(default, read_only=True)]
    if family == "jax":
        # Its word length is a setting, and it compiles every operation anew for the other one.
        single = replace(default, dtypes=("float32",), x64=False)
        return [single, replace(default, name="jax-x64", dtypes=("float64",))]
    if family == "array_api_strict":
        # The default device is the host; the others catch arrays that slip back to it.
        return [
            replace(default, name=f"{family}-{device}", device=device, dtypes=dtypes)
            for device, dtypes in STRICT_DEVICES.items()
        ]
    if family == "cupy":
        second = replace(default, name="cupy-cuda1", device="cuda:1")
        return [default, second] if _cuda_devices() > 1 else [default]
    if family == "dpnp":
        with contextlib.suppress(BackendError):
            device = open_backend("dpnp").device
            if not device.sycl_device.has_aspect_fp64:
                return [replace(default, dtypes=("float32",))]
    return [default]


def _cuda_devices() -> int:
    import cupy

    return int(cupy.cuda.runtime.getDeviceCount())


def _fault(family: str) -> str | None:
    """Say why a library cannot be tested here; None if it can."""
    library, module = FAMILIES[family]
    if importlib.util.find_spec(module) is None:
        return f"{module} is not installed"
    if library == "cupy":  # installed is not enough: it needs a GPU
        try:
            open_backend("cupy")
        except BackendError as error:
            return str(error)
    return None


def _required() -> list[str]:
    names = (name.strip() for name in os.environ.get("XPNN_TEST_BACKENDS", "").split(","))
    return [name for name in names if name]


def _survey() -> tuple[list[BackendUnderTest], dict[str, str]]:
    """Find the back ends to test, and those that are left out with the reason."""
    required = _required()
    present: list[BackendUnderTest] = []
    absent: dict[str, str] = {}
    for family in FAMILIES:
        if required and family not in required:
            continue
        fault = _fault(family)
        if fault is None:
            present += _variants(family)
        else:
            absent[family] = fault
    absent |= {name: "no such name" for name in required if name not in FAMILIES}
    return present, absent


PRESENT, ABSENT = _survey()


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to start without a back end that XPNN_TEST_BACKENDS requires."""
    if _required() and ABSENT:
        faults = "; ".join(f"{name}: {fault}" for name, fault in ABSENT.items())
        raise pytest.UsageError(f"XPNN_TEST_BACKENDS requires what does not work here: {faults}")


def pytest_report_header() -> list[str]:
    """Name the back ends, and why others are not there."""
    lines = [f"back ends: {', '.join(map(str, PRESENT))}"]
    return lines + [f"not tested: {name} ({fault})" for name, fault in ABSENT.items()]


#: Files that take longest, the longest first. The benchmarks' quick run comes behind those that
#: compile its kernels.
LONG = (
    *("test_layers", "test_composites", "test_fusion_images", "test_examples", "test_threads"),
    *("test_cli_models", "test_cli", "test_bad_inputs", "test_damaged_files", "test_fusion"),
    *("test_whole_step", "test_fusion_composites", "test_fusion_sequences", "test_attention"),
    *("test_fusion_series", "test_embedding", "test_benchmarks"),
)


def _rank(item: pytest.Item) -> int:
    return LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the fault suite; skip GPU tests, with the reason, where there is no GPU.

    Where processes share the tests out, long files come first: at the end none waits for another.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_rank)
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker(pytest.mark.faults)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    fault = _fault("cupy") if marked else None
    if fault is not None:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"no GPU: {fault}"))


def pytest_collection_finish() -> None:
    """Spare the garbage collector the tests themselves, which stay until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_context_for_jax() -> Iterator[None]:
    """Keep JAX from making a context of MLIR, and all of its dialects, for each operation.

    Each takes as long as the rest of the lowering, and a megabyte that is not given back. One for
    each thread does as well; it needs no threads of its own for a single operation. This asks for
    what JAX hides; a JAX that has it no more only takes longer.
    """
    with pytest.MonkeyPatch.context() as patch:
        if any(b.library == "jax" for b in PRESENT):
            with contextlib.suppress(ImportError, AttributeError):
                from jax._src.interpreters import mlir

                make, threads = mlir.make_ir_context, mlir.ir.Context.enable_multithreading
                made = threading.local()

                def make_ir_context() -> Any:
                    if not hasattr(made, "context"):
                        made.context = make()
                        threads(made.context, False)
                    return made.context

                patch.setattr(mlir, "make_ir_context", make_ir_context)
        yield


def _in_scope(backend: BackendUnderTest) -> Iterator[BackendUnderTest]:
    with backend.scope():
        yield backend


@pytest.fixture(params=[b for b in PRESENT if "float32" in b.dtypes], ids=str)
def backend(request: pytest.FixtureRequest) -> Iterator[BackendUnderTest]:
    """Every library, device and mode, in float32."""
    yield from _in_scope(request.param)


@pytest.fixture(params=[b for b in PRESENT if "float64" in b.dtypes], ids=str)
def backend_float64(request: pytest.FixtureRequest) -> Iterator[BackendUnderTest]:
    """Every library, device and mode that has double precision, in float64."""
    yield from _in_scope(replace(request.param, dtype="float64"))


@pytest.fixture(
    params=[replace(b, dtype=dtype) for b in PRESENT for dtype in b.dtypes],
    ids=lambda b: f"{b}-{b.dtype}",
)
def backend_each_dtype(request: pytest.FixtureRequest) -> Iterator[BackendUnderTest]:
    """Every library, device and mode, in each precision that it has."""
    yield from _in_scope(request.param)


#: One back end of each library, where a test takes long on all of them.
ONE_OF_EACH = ("numpy", "array_api_strict-device1", "torch", "jax", "dpnp", "cupy")


@pytest.fixture(params=[b for b in PRESENT if b.name in ONE_OF_EACH], ids=str)
def library(request: pytest.FixtureRequest) -> Iterator[BackendUnderTest]:
    """One back end of each library."""
    yield from _in_scope(request.param)


@pytest.fixture(params=[b for b in PRESENT if b.name in ONE_OF_EACH and b.name != "jax"], ids=str)
def quick_library(request: pytest.FixtureRequest) -> Iterator[BackendUnderTest]:
    """The same without JAX, which compiles each operation anew for each shape."""
    yield from _in_scope(request.param)


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Callable[[str, int, str], None]:
    """Note how often a fault was tried, for the end of the report."""

    def note(fault: str, count: int, outcome: str) -> None:
        request.node.user_properties.append(("fault", (fault, count, outcome)))

    return note


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print a line for each fault, with its count."""
    rows = [
        tuple(value)
        for report in terminalreporter.stats.get("passed", [])
        for name, value in getattr(report, "user_properties", [])
        if name == "fault"
    ]
    if rows:
        terminalreporter.section("faults")
        for fault, count, outcome in sorted(rows):
            terminalreporter.write_line(f"{count:>6,}  {fault}: {outcome}")


@pytest.fixture
def in_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of programs that write where they run."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small run of the command line that many tests read."""
    from xpnn.cli import main

    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "--hidden", "32", "--epochs", "5", "--quiet", "--out", str(folder)]) == 0
    return folder
