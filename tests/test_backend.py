"""Back ends: which library and device is chosen, what comes in and out, and each way to fail."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
import types
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import xpnn
from xpnn import BackendError, ConfigurationError, DataError
from xpnn import backend as open_backend
from xpnn._devices import check_cupy
from xpnn.backend import BACKENDS, Backend, backend_of, to_host

ROOT = Path(__file__).parents[1]


def one_line(error) -> str:
    """The message, which must be one line of a reasonable length."""
    text = str(error.value)
    assert "\n" not in text
    assert 10 < len(text) < 400
    return text


# Choosing


def test_the_cpu_alone_means_numpy():
    for chosen in (open_backend(), open_backend(device="cpu"), open_backend("numpy", "cpu")):
        assert (chosen.name, chosen.device_name, chosen.dtype) == ("numpy", "cpu", "float32")
        assert chosen.asarray([1.0]).dtype == np.float32


def test_the_type_may_be_an_object(backend_each_dtype):
    plain = backend_each_dtype.plain
    for dtype in (getattr(np, plain.dtype), np.dtype(plain.dtype), plain.float_dtype):
        chosen = open_backend(plain.name, plain.device_name, dtype)
        assert chosen == plain
        assert type(chosen.dtype) is str


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_alone_means_cupy(device, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "array_api_compat.cupy", raising=False)
    with pytest.raises(BackendError, match="'cupy' is not installed"):
        open_backend(device=device)


def test_environment_variables_are_the_default(monkeypatch):
    pytest.importorskip("array_api_strict")
    monkeypatch.setenv("XPNN_BACKEND", "array_api_strict")
    monkeypatch.setenv("XPNN_DEVICE", "device1")
    chosen = open_backend()
    assert (chosen.name, chosen.device_name) == ("array_api_strict", "device1")
    net = xpnn.Sequential([xpnn.Linear(2, 2)], xpnn.MeanSquaredError(), lr=0.1)
    assert str(net.backend) == "array_api_strict on device1"
    # What the program names counts.
    assert open_backend("array_api_strict", "device2").device_name == "device2"
    assert open_backend("numpy", "cpu").name == "numpy"


def test_empty_environment_variables_are_none(monkeypatch):
    monkeypatch.setenv("XPNN_BACKEND", "")
    monkeypatch.setenv("XPNN_DEVICE", "")
    assert open_backend().name == "numpy"


def test_the_environment_is_read_when_a_back_end_is_made():
    """Not when xpnn is imported; and a device alone chooses the library, as an argument does."""
    code = (
        "import xpnn, os; os.environ['XPNN_DEVICE'] = 'cuda:3'\n"
        "try: xpnn.backend()\n"
        "except xpnn.BackendError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['cupy'] = None\n" + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'cupy' is not installed" in done.stdout


@pytest.mark.parametrize("variable", ["XPNN_BACKEND", "XPNN_DEVICE"])
def test_a_wrong_environment_variable_is_an_error_and_no_silent_cpu(variable, monkeypatch):
    monkeypatch.setenv(variable, "nonsense")
    with pytest.raises(BackendError, match="'nonsense'"):
        open_backend()


def test_a_back_end_is_a_frozen_value(backend):
    plain = backend.plain
    again = open_backend(plain.name, plain.device_name, plain.dtype)
    assert again == plain
    assert hash(again) == hash(plain)
    with pytest.raises(FrozenInstanceError):
        plain.dtype = "float64"


def test_copies_and_pickles_are_equal(backend_each_dtype):
    plain = backend_each_dtype.plain
    assert copy.deepcopy(plain) == plain
    assert pickle.loads(pickle.dumps(plain)) == plain


def test_its_name_can_be_read(backend):
    plain = backend.plain
    assert str(plain) == f"{plain.name} on {plain.device_name}"
    assert re.fullmatch(r"\w+ on [\w:]+", str(plain))


def test_float_and_index_types(backend_each_dtype):
    plain = backend_each_dtype.plain
    assert plain.float_dtype == getattr(plain.xp, plain.dtype)
    assert plain.xp.isdtype(plain.index_dtype, "signed integer")
    table = plain.asarray([[1.0, 2.0], [3.0, 4.0]])
    rows = plain.xp.take(table, plain.asarray([1, 0]), axis=0)
    np.testing.assert_array_equal(plain.to_host(rows), [[3, 4], [1, 2]])


def test_which_back_ends_are_synchronous(backend):
    assert backend.plain.synchronous is (backend.library in ("numpy", "torch", "array_api_strict"))


# The door in


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "longdouble", ">f4", ">f8"])
def test_floats_become_the_type_of_the_back_end(dtype, backend_each_dtype):
    plain = backend_each_dtype.plain
    host = np.asarray([[0.5, -2.0], [3.0, 4.0]], dtype=dtype)
    array = plain.asarray(host)
    assert array.dtype == plain.float_dtype
    assert plain.owns(array)
    np.testing.assert_array_equal(plain.to_host(array), host.astype("float64"))


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", ">i8", "uint8", "uint16", "uint32"])
def test_integers_become_indices(dtype, backend):
    plain = backend.plain
    array = plain.asarray(np.asarray([0, 1, 7], dtype=dtype))
    assert array.dtype == plain.index_dtype
    np.testing.assert_array_equal(plain.to_host(array), [0, 1, 7])


def test_booleans_stay(backend):
    array = backend.plain.asarray([True, False])
    assert array.dtype == backend.xp.bool
    np.testing.assert_array_equal(backend.to_host(array), [True, False])


@pytest.mark.parametrize(
    "value", [2.5, 3, True, [1.5, 2], [[1, 2], [3, 4]], (0.5,), np.float64(2), range(3), []]
)
def test_numbers_and_lists(value, backend):
    array = backend.plain.asarray(value)
    assert backend.plain.owns(array)
    np.testing.assert_array_equal(backend.to_host(array), np.asarray(value))


def test_another_type_on_request(backend):
    plain = backend.plain
    for value in ([1, 2], [1.0, 2.0], [True, True], plain.asarray([1.0, 2.0])):
        for dtype in (plain.float_dtype, plain.index_dtype, plain.xp.bool):
            assert plain.asarray(value, dtype=dtype).dtype == dtype


def test_what_is_here_already_is_not_copied(backend):
    plain = backend.plain
    array = plain.asarray([1.0, 2.0])
    assert plain.asarray(array) is array
    double = getattr(plain.xp, "float64" if backend.float64 else "float32")
    assert plain.asarray(plain.asarray([1.0], dtype=double)).dtype == plain.xp.float32


@given(
    arrays(st.sampled_from(["<f8", ">f4", "<i4", "u1", "?"]), st.tuples(*[st.integers(0, 4)] * 2))
)
def test_round_trip_of_any_array(host):
    plain = open_backend("numpy", dtype="float64")
    before = host.copy()
    np.testing.assert_array_equal(plain.to_host(plain.asarray(host[::-1, ::2])), host[::-1, ::2])
    np.testing.assert_array_equal(host, before)


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[:, ::-1], np.s_[::2, 1:], np.s_[..., None]])
def test_any_memory_layout(view, backend):
    host = np.arange(12, dtype=np.float32).reshape(4, 3)
    for given_array in (host[view], np.asfortranarray(host)[view]):
        np.testing.assert_array_equal(
            backend.to_host(backend.plain.asarray(given_array)), host[view]
        )


BAD_VALUES = {
    "complex": np.asarray([1j]),
    "a complex number": 1j,
    "objects": np.asarray([None, 1.0]),
    "None": None,
    "text": "abc",
    "a list of text": ["a", "b"],
    "bytes": np.asarray([b"a"]),
    "dates": np.asarray(["2020-01-01"], dtype="datetime64[D]"),
    "durations": np.asarray([3], dtype="timedelta64[s]"),
    "records": np.zeros(2, dtype=[("a", "f4")]),
    "huge integers": [2**70],
    "rows of unequal length": [[1.0, 2.0], [3.0]],
    "a dictionary": {"x": 1.0},
    "masked values": np.ma.masked_array([1.0, 2.0], mask=[False, True]),
}


@pytest.mark.parametrize("kind", BAD_VALUES)
@pytest.mark.parametrize("dtype", [None, "float_dtype"])
def test_what_is_no_array_of_real_numbers_is_refused(kind, dtype, backend):
    plain = backend.plain
    with pytest.raises(DataError) as error:
        plain.asarray(BAD_VALUES[kind], dtype=dtype and getattr(plain, dtype))
    one_line(error)


def test_a_mask_that_hides_nothing_is_accepted(backend):
    array = backend.plain.asarray(np.ma.masked_array([1.0, 2.0], mask=False))
    np.testing.assert_array_equal(backend.to_host(array), [1.0, 2.0])


def test_complex_arrays_of_the_library_itself_are_refused(backend):
    plain = backend.plain
    with plain.scope():
        array = plain.xp.zeros(2, dtype=plain.xp.complex64, device=plain.device)
    for dtype in (None, plain.float_dtype):
        with pytest.raises(DataError, match=r"expected real numbers, got .*complex64"):
            plain.asarray(array, dtype=dtype)


def test_arrays_of_another_library_are_refused(backend):
    plain = backend.plain
    pytest.importorskip("array_api_strict")
    other = open_backend("numpy" if backend.library != "numpy" else "array_api_strict")
    array = other.asarray([1.0])
    assert not plain.owns(array)
    if other.name == "numpy":
        return  # the host's arrays are welcome everywhere
    with pytest.raises(BackendError) as error:
        plain.asarray(array)
    assert one_line(error) == (
        "expected NumPy data, got an array of array_api_strict on CPU_DEVICE: choose "
        "backend='array_api_strict', device='CPU_DEVICE', or convert it by "
        "xpnn.backend('array_api_strict').to_host(array)"
    )


def test_arrays_of_torch_are_refused_by_numpy():
    torch = pytest.importorskip("torch")
    tensor = torch.ones(2, requires_grad=True)
    message = r"choose backend='torch', device='cpu', or convert it by (xpnn\..*\(array\))$"
    with pytest.raises(BackendError, match=message) as error:
        open_backend().asarray(tensor)
    advice = re.search(message, str(error.value))[1]
    assert eval(advice, {"xpnn": xpnn, "array": tensor}).tolist() == [1.0, 1.0]
    assert open_backend("torch", "cpu").owns(tensor)


def test_arrays_of_another_device_are_refused():
    pytest.importorskip("array_api_strict")
    first, second = (open_backend("array_api_strict", name) for name in ("device1", "device2"))
    array = first.asarray([1.0])
    assert first.owns(array)
    assert not second.owns(array)
    with pytest.raises(BackendError, match=r"on device2, got an array of .* on device1: "):
        second.asarray(array)


@pytest.mark.parametrize("value", [1.0, [1.0], None, "text", range(3)])
def test_what_is_no_array_is_not_owned(value, backend):
    assert not backend.plain.owns(value)


# The door out


def test_to_host_gives_numpy_arrays_of_the_same_type(backend_each_dtype):
    plain = backend_each_dtype.plain
    for value in ([[1.5, 2.0]], [1, 2], [True], 2.5, []):
        array = plain.asarray(value)
        host = to_host(array)
        assert type(host) in (np.ndarray, np.float32, np.float64)
        assert host.dtype.name == re.sub(r".*\.", "", str(array.dtype))
        np.testing.assert_array_equal(host, np.asarray(value))


def test_to_host_of_views(backend):
    array = backend.plain.asarray(np.arange(12.0).reshape(4, 3))
    np.testing.assert_array_equal(to_host(array[1:3, ::2]), [[3, 5], [6, 8]])
    np.testing.assert_array_equal(to_host(backend.xp.matrix_transpose(array))[1], [1, 4, 7, 10])


def test_to_host_of_a_tensor_with_a_gradient():
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(to_host(torch.ones(2, requires_grad=True)), [1, 1])


def test_backend_of(backend_each_dtype):
    plain = backend_each_dtype.plain
    assert backend_of(plain.asarray([1.0])) == plain
    assert backend_of(plain.asarray([1])).dtype == "float32"


def test_scope_makes_a_device_the_current_one(backend):
    with backend.plain.scope():
        array = backend.plain.zeros((2, 3))
    assert backend.plain.owns(array)
    assert (tuple(array.shape), array.dtype) == ((2, 3), backend.plain.float_dtype)


# Errors: names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "nupmy"}, "unknown back end 'nupmy': did you mean 'numpy'? Known: array_api_"),
        ({"name": "tensorflow"}, "unknown back end 'tensorflow'. Known: array_api_strict, cupy"),
        ({"name": "numpy", "device": "cuda"}, "back end 'numpy' has no device 'cuda': use 'cpu'"),
        ({"device": "gpu"}, "has no device 'gpu': use 'cpu', or back end 'cupy' for a CUDA GPU"),
        ({"device": 0}, "expected a device such as 'cpu' or 'cuda:1', got 0"),
        ({"name": "array_api_strict", "device": "device9"}, "has no device 'device9': use 'cpu'"),
        ({"name": "torch", "device": "meta:x"}, "has no device 'meta:x': use 'cuda' or"),
        ({"name": "jax", "device": "cuda:x"}, "has no device 'cuda:x': use 'cuda' or"),
        ({"name": "array_api_strict", "device": "no_float64", "dtype": "float64"}, "no float64"),
    ],
)
def test_unknown_names(arguments, message):
    if arguments.get("name") in BACKENDS:
        pytest.importorskip(arguments["name"])
    with pytest.raises(BackendError) as error:
        open_backend(**arguments)
    assert message in one_line(error)


@pytest.mark.parametrize("dtype", ["float16", "float", "double", np.float16, float, None, 32])
def test_unknown_types(dtype):
    with pytest.raises(ConfigurationError, match="unknown dtype"):
        open_backend(dtype=dtype)


def test_jax_without_double_precision_says_how_to_get_it():
    jax = pytest.importorskip("jax")
    with jax.enable_x64(False), pytest.raises(BackendError) as error:
        open_backend("jax", dtype="float64")
    assert "set the environment variable JAX_ENABLE_X64=1" in one_line(error)


# Errors: libraries that are not there, or broken


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "numpy"])
def test_a_missing_library_says_what_to_install(name, monkeypatch):
    class Finder:
        """Finds none of the library's modules."""

        @staticmethod
        def find_spec(module, path=None, target=None):
            if module.split(".")[0] == name:
                raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    for module in [m for m in sys.modules if m.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, BACKENDS[name][0], raising=False)
    with pytest.raises(BackendError) as error:
        open_backend(name)
    text = one_line(error)
    assert f"back end {name!r} is not installed on this machine" in text
    assert "pip install" in text


CUPY_IMPORT_ERROR = """
================================================================
Failed to import CuPy.

If you installed CuPy via wheels (cupy-cudaXXX), make sure that the package matches with the
version of CUDA installed.
================================================================
"""


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            caused(ImportError(CUPY_IMPORT_ERROR), ImportError("libcublas.so.12: cannot open")),
            "Failed to import CuPy. libcublas.so.12: cannot open",
        ),
        (ImportError(), "ImportError"),
        (ModuleNotFoundError("No module named 'numba'", name="numba"), "No module named 'numba'"),
        (OSError("libcudart.so.13: cannot open shared object file"), "libcudart.so.13"),
        (RuntimeError("jaxlib version 9 is incompatible with jax\nversion 1"), "jaxlib version 9"),
        (AttributeError("module 'numpy' has no attribute 'bool8'"), "no attribute 'bool8'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_broken_library_says_what_is_wrong(raised, said, monkeypatch):
    def fail(name, *rest):
        raise raised

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(BackendError) as error:
        open_backend("cupy")
    text = one_line(error)
    assert text.startswith("back end 'cupy' cannot be imported")
    assert said in text
    assert error.value.__cause__ is raised


@pytest.mark.parametrize(
    ("cuda", "available", "count", "device", "message"),
    [
        (None, False, 0, "cuda", "is a CPU build: device 'cuda' is not there"),
        ("13.0", False, 0, "cuda", "finds no GPU or driver: device 'cuda' is not there"),
        ("13.0", True, 2, "cuda:2", "there is no device 'cuda:2': this machine has 2"),
    ],
)
def test_torch_without_the_device(cuda, available, count, device, message, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(BackendError) as error:
        open_backend("torch", device)
    assert message in one_line(error)


def test_jax_without_the_device(monkeypatch):
    jax = pytest.importorskip("jax")
    with pytest.raises(BackendError) as error:
        open_backend("jax", "cuda")
    assert "jax has no device 'cuda'" in one_line(error)
    monkeypatch.setattr(jax, "devices", lambda kind=None: ["the only one"])
    with pytest.raises(BackendError) as error:
        open_backend("jax", "cuda:1")
    assert one_line(error) == "there is no device 'cuda:1': jax has 1 of them"


def test_jax_whose_platform_does_not_start(monkeypatch):
    jax = pytest.importorskip("jax")

    def fail(kind=None):
        raise RuntimeError("Unable to initialize backend 'cuda': no driver\n(set JAX_PLATFORMS='')")

    monkeypatch.setattr(jax, "devices", fail)
    with pytest.raises(BackendError) as error:
        open_backend("jax")
    assert "Unable to initialize backend 'cuda': no driver" in one_line(error)


def test_dpnp_without_the_device(monkeypatch):
    def fail(shape, device=None):
        raise ValueError("No device of requested type available.\nSee sycl-ls")

    fake = types.SimpleNamespace(empty=fail)
    monkeypatch.setattr("importlib.import_module", lambda name: fake)
    with pytest.raises(BackendError) as error:
        open_backend("dpnp", "gpu")
    text = "dpnp cannot use device 'gpu': No device of requested type available."
    assert one_line(error) == text


# Errors: CuPy, with a library that stands for it


class CUDARuntimeError(RuntimeError):
    """What CuPy raises for a status of the CUDA runtime."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class FakeDevice:
    """A device that can be entered."""

    current = None

    def __init__(self, index):
        self.id = index

    def __enter__(self):
        FakeDevice.current = self.id
        return self

    def __exit__(self, *error):
        FakeDevice.current = None


class FakeArray:
    """Enough of an array for the self-test: NumPy does the work, or an exception comes."""

    def __init__(self, host, faults):
        self.host, self.faults = host, faults

    def reshape(self, *shape):
        return FakeArray(self.host.reshape(*shape), self.faults)

    def __add__(self, other):
        self.faults.raise_if("kernel")
        return FakeArray(self.host + other + self.faults.wrong.get("kernel", 0), self.faults)

    def __matmul__(self, other):
        self.faults.raise_if("product")
        wrong = self.faults.wrong.get("product", 0)
        return FakeArray(self.host @ other.host + wrong, self.faults)

    def __getitem__(self, index):
        return FakeArray(self.host[index], self.faults)

    def sum(self):
        return FakeArray(self.host.sum(), self.faults)

    def __float__(self):
        return float(self.host)


class Faults:
    """What goes wrong on a machine."""

    def __init__(self, raised=None, wrong=None):
        self.raised, self.wrong = raised or {}, wrong or {}

    def raise_if(self, where):
        if where in self.raised:
            raise self.raised[where]


def install_cupy(monkeypatch, count=1, driver=13000, runtime=13000, faults=None):
    """Put a library into `sys.modules` that `import cupy` finds."""
    faults = faults or Faults()

    def device_count():
        if isinstance(count, Exception):
            raise count
        return count

    runtime_module = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=device_count,
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: runtime,
    )
    cupy = types.ModuleType("cupy")
    memory = types.SimpleNamespace(OutOfMemoryError=MemoryError)
    cupy.cuda = types.SimpleNamespace(runtime=runtime_module, Device=FakeDevice, memory=memory)
    cupy.float32 = np.float32
    cupy.arange = lambda n, dtype: FakeArray(np.arange(n, dtype=dtype), faults)
    info = types.SimpleNamespace(dtypes=lambda device, kind: {"float32": np.float32})
    namespace = types.ModuleType("array_api_compat.cupy")
    namespace.__array_namespace_info__ = lambda: info
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", namespace)
    check_cupy.cache_clear()


@pytest.fixture
def fresh_self_test():
    check_cupy.cache_clear()
    yield
    check_cupy.cache_clear()


@pytest.mark.usefixtures("fresh_self_test")
class TestCuPy:
    """Each way in which a machine's CuPy can fail to work."""

    def refusal(self, device="cuda"):
        with pytest.raises(BackendError) as error:
            open_backend(device=device)
        return one_line(error)

    def test_a_machine_that_works(self, monkeypatch):
        install_cupy(monkeypatch, count=2)
        for device, index in (("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)):
            chosen = open_backend(device=device)
            assert (chosen.name, chosen.device.id) == ("cupy", index)
            assert str(chosen) == f"cupy on cuda:{index}"
            assert not chosen.synchronous
            with chosen.scope():
                assert FakeDevice.current == index
            assert FakeDevice.current is None

    def test_no_driver(self, monkeypatch):
        error = CUDARuntimeError(35, "cudaErrorInsufficientDriver: CUDA driver version is ...")
        install_cupy(monkeypatch, count=error, driver=0)
        assert self.refusal() == "no CUDA device can be used: no NVIDIA driver was found"

    def test_a_driver_that_is_too_old_for_cuda_13(self, monkeypatch):
        error = CUDARuntimeError(35, "cudaErrorInsufficientDriver: CUDA driver version is ...")
        install_cupy(monkeypatch, count=error, driver=12040)
        assert self.refusal() == (
            "no CUDA device can be used: the NVIDIA driver supports CUDA 12.4, this CuPy needs "
            "CUDA 13: update the driver or install 'xpnn[cuda12]'"
        )

    def test_a_driver_that_is_too_old_for_cuda_12(self, monkeypatch):
        error = CUDARuntimeError(35, "cudaErrorInsufficientDriver: CUDA driver version is ...")
        install_cupy(monkeypatch, count=error, driver=11080, runtime=12090)
        text = self.refusal()
        assert text.endswith("supports CUDA 11.8, this CuPy needs CUDA 12: update the driver")

    def test_another_fault_of_the_runtime(self, monkeypatch):
        error = CUDARuntimeError(802, "cudaErrorSystemNotReady: system not yet initialized")
        install_cupy(monkeypatch, count=error)
        assert "cudaErrorSystemNotReady: system not yet initialized" in self.refusal()

    def test_no_device(self, monkeypatch):
        install_cupy(monkeypatch, count=CUDARuntimeError(100, "cudaErrorNoDevice: no device"))
        assert "cudaErrorNoDevice" in self.refusal()
        install_cupy(monkeypatch, count=0)
        assert self.refusal() == "there is no device 'cuda:0': this machine has 0"

    @pytest.mark.parametrize("device", ["cuda:1", "cuda:7"])
    def test_an_index_out_of_range(self, device, monkeypatch):
        install_cupy(monkeypatch, count=1)
        assert self.refusal(device) == f"there is no device {device!r}: this machine has 1"

    @pytest.mark.parametrize("device", ["cuda:", "cuda:-1", "cuda:one", "cuda0", "cuda: 1"])
    def test_a_device_that_cannot_be_read(self, device, monkeypatch):
        install_cupy(monkeypatch)
        text = self.refusal(device)
        assert text == f"back end 'cupy' has no device {device!r}: use 'cuda' or 'cuda:<index>'"

    def test_the_cpu_is_no_device_of_cupy(self, monkeypatch):
        install_cupy(monkeypatch)
        with pytest.raises(BackendError, match="back end 'cupy' has no device 'cpu'"):
            open_backend("cupy", "cpu")

    @pytest.mark.parametrize(
        ("where", "what"),
        [("kernel", "compile a kernel (NVRTC)"), ("product", "multiply matrices (cuBLAS)")],
    )
    @pytest.mark.parametrize(
        ("raised", "said"),
        [
            (
                RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: cannot open\nmore"),
                "CuPy failed to load libnvrtc.so.13: OSError: cannot open",
            ),
            (ImportError("libcublas.so.13: cannot open."), "libcublas.so.13: cannot open."),
            (OSError(), "OSError"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_missing_libraries(self, where, what, raised, said, monkeypatch):
        install_cupy(monkeypatch, faults=Faults({where: raised}))
        text = self.refusal()
        assert text.startswith(f"CuPy sees device cuda:0 but cannot {what}: {said.rstrip('.')}")
        assert text.endswith(f"install the CUDA libraries: {BACKENDS['cupy'][1]}")
        # The next attempt looks again: the user may have installed them.
        install_cupy(monkeypatch)
        assert open_backend("cupy").name == "cupy"

    @pytest.mark.parametrize("where", ["kernel", "product"])
    def test_a_device_that_computes_nonsense(self, where, monkeypatch):
        install_cupy(monkeypatch, faults=Faults(wrong={where: 1.0}))
        assert "a wrong result" in self.refusal()

    def test_the_self_test_runs_once_a_device(self, monkeypatch):
        install_cupy(monkeypatch, count=2)
        for device in ("cuda:0", "cuda:1", "cuda:0"):
            open_backend(device=device)
        assert (check_cupy.cache_info().misses, check_cupy.cache_info().hits) == (2, 1)


def test_a_made_up_back_end_has_a_name_for_its_device():
    assert Backend("torch", None, "cuda:1").device_name == "cuda:1"
