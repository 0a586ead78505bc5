"""Every row of `cases.py` on every back end: gradients, values of PyTorch, and the contract."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from array_api_compat import device

import xpnn
from case import STREAM
from cases import CASES, Case
from gradcheck import check_layer_gradients
from tolerances import assert_close
from xpnn import layers
from xpnn.errors import ShapeError, XpnnError
from xpnn.layers._chain import every_layer
from xpnn.summary import step_memory

each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_mode = pytest.mark.parametrize("mode", ["train", "test"])
refusals = pytest.mark.parametrize(
    ("case", "fault"),
    [(case, fault) for case in CASES for fault in case.wrong_shapes],
    ids=lambda value: str(value),
)


def seeded(case: Case) -> np.random.Generator:
    """Return a generator of the row's own, so that a new row changes no other."""
    return np.random.default_rng(zlib.crc32(case.name.encode()))


class Setting:
    """A layer of a row with an input and an incoming gradient, on the host and on a back end."""

    def __init__(self, case, backend, mode, rows=None):
        rng = seeded(case)
        self.case, self.backend, self.mode = case, backend, mode
        self.params = case.draw_params(rng)
        self.buffers = case.draw_buffers(rng)
        self.host_input = case.draw(rng, rows)
        shape = case.make().output_shape(self.host_input.shape)
        self.host_dout = rng.standard_normal(shape)
        self.layer = self.fresh()
        self.input = backend.asarray(self.host_input)
        self.dout = backend.asarray(self.host_dout)

    def fresh(self):
        return self.case.prepared(self.backend, self.params, self.buffers, self.mode)

    def host_results(self, layer, input, dout):
        """Output, gradient of the input and gradients of the parameters, on the host."""
        output = layer.forward(input)
        results = {"output": output, "dinput": layer.backward(dout), **layer.grads}
        return {name: self.backend.to_host(value) for name, value in results.items()}

    def arrays(self):
        """All arrays that come out of a forward and a backward pass."""
        output = self.layer.forward(self.input)
        results = {"output": output, "dinput": self.layer.backward(self.dout)}
        return results | self.layer.grads | self.layer.buffers


def test_every_layer_has_a_row():
    """But for `Embedding`, whose input has no gradient: see test_embedding.py."""
    exported = {getattr(layers, name) for name in layers.__all__}
    exported -= {layers.Layer, layers.Embedding}
    assert exported == {type(case.make()) for case in CASES}


# Gradients


@each_case
@each_mode
def test_gradients_agree_with_differences(case, mode, backend_float64):
    setting = Setting(case, backend_float64, mode)
    input = setting.host_input + 1e-3  # away from the kinks that the special values hit
    check_layer_gradients(setting.layer, input, backend_float64, seeded(case))


# PyTorch


def torch_results(setting, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed here")

    def tensor(value):
        return torch.tensor(np.asarray(value), dtype=getattr(torch, dtype), requires_grad=True)

    input = tensor(setting.host_input)
    params = {name: tensor(value) for name, value in setting.params.items()}
    buffers = {name: tensor(value).detach() for name, value in setting.buffers.items()}
    output = setting.case.twin(input, params, buffers, setting.mode == "train")
    output.backward(tensor(setting.host_dout).detach())
    results = {"output": output.detach(), "dinput": input.grad}
    results |= {name: value.grad for name, value in params.items()}
    return {name: value.numpy() for name, value in results.items()}


@each_case
@each_mode
@pytest.mark.parametrize("rows", [None, 1], ids=["batch", "one row"])
def test_values_and_gradients_agree_with_pytorch(case, mode, rows, backend_each_dtype):
    setting = Setting(case, backend_each_dtype, mode, rows)
    expected = torch_results(setting, backend_each_dtype.dtype)
    actual = setting.host_results(setting.layer, setting.input, setting.dout)
    assert actual.keys() == expected.keys()
    for name, value in actual.items():
        assert_close(value, expected[name], backend_each_dtype.dtype, case.factor)


@pytest.mark.parametrize("case", [case for case in CASES if case.averages], ids=str)
def test_training_moves_the_buffers(case, backend_each_dtype):
    setting = Setting(case, backend_each_dtype, "train")
    setting.layer.forward(setting.input)
    expected = case.averages(setting.host_input, setting.buffers)
    assert setting.layer.buffers.keys() == expected.keys()
    for name, value in expected.items():
        actual = backend_each_dtype.to_host(setting.layer.buffers[name])
        assert_close(actual, value, backend_each_dtype.dtype)


@pytest.mark.parametrize("case", [case for case in CASES if case.buffers], ids=str)
def test_test_mode_leaves_the_buffers(case, backend):
    setting = Setting(case, backend, "test")
    before = {n: np.array(backend.to_host(v)) for n, v in setting.layer.buffers.items()}
    setting.arrays()
    for name, value in before.items():
        np.testing.assert_array_equal(backend.to_host(setting.layer.buffers[name]), value)


# The contract


@each_case
@each_mode
def test_inputs_and_parameters_are_not_modified(case, mode, backend):
    setting = Setting(case, backend, mode)
    # Arrays that may be written to, so that a layer that writes is caught by the values.
    input, dout = backend.state(setting.host_input), backend.state(setting.host_dout)
    watched = {"input": input, "dout": dout, **setting.layer.params}
    before = {name: np.array(backend.to_host(value)) for name, value in watched.items()}
    setting.layer.forward(input)
    setting.layer.backward(dout)
    for name, value in before.items():
        np.testing.assert_array_equal(backend.to_host(watched[name]), value, err_msg=name)


@each_case
@each_mode
def test_dtype_device_and_shapes_are_kept(case, mode, backend_each_dtype):
    setting = Setting(case, backend_each_dtype, mode)
    shapes = {"output": setting.host_dout.shape, "dinput": setting.host_input.shape}
    shapes |= case.params | case.buffers
    arrays = setting.arrays()
    assert arrays.keys() == shapes.keys()
    for name, array in arrays.items():
        assert array.dtype == setting.input.dtype, name
        assert device(array) == device(setting.input), name
        assert tuple(array.shape) == shapes[name], name


@each_case
@each_mode
def test_strided_inputs_give_the_same(case, mode, backend):
    setting = Setting(case, backend, mode)
    expected = setting.host_results(setting.layer, setting.input, setting.dout)
    strided = backend.strided(setting.host_input), backend.strided(setting.host_dout)
    for name, value in setting.host_results(setting.fresh(), *strided).items():
        assert_close(value, expected[name], "float32", case.factor)


@each_case
@each_mode
def test_a_broadcast_gradient_gives_the_same(case, mode, backend):
    """As a sum gives it: one number, seen in every place, which on NumPy cannot be written to."""
    if backend.library == "dpnp":
        pytest.skip("dpnp 0.20 refuses products of matrices whose strides are 0")
    setting = Setting(case, backend, mode)
    setting.host_dout = np.full_like(setting.host_dout, 0.75)
    dense = backend.asarray(setting.host_dout)
    broadcast = backend.xp.broadcast_to(backend.asarray(np.asarray(0.75)), dense.shape)
    expected = setting.host_results(setting.layer, setting.input, dense)
    for name, value in setting.host_results(setting.fresh(), setting.input, broadcast).items():
        assert_close(value, expected[name], "float32", case.factor)


@each_case
def test_an_empty_batch_in_test_mode(case, backend):
    setting = Setting(case, backend, "test", rows=0)
    output = setting.layer.forward(setting.input)
    assert tuple(output.shape) == setting.host_dout.shape
    assert output.shape[0] == 0
    assert output.dtype == setting.input.dtype


@refusals
def test_wrong_shapes_are_refused(case, fault, backend):
    layer = case.make()
    layer.name = "layer 3 (so called)"
    shape = case.wrong_shapes[fault]
    numbers = r"\(" + ", ".join(map(str, shape)) + r",?\)"
    message = rf"^layer 3 \(so called\): expected input of shape \(N, .*, got {numbers}($|: give )"
    with pytest.raises(ShapeError, match=message):
        layer.forward(backend.asarray(np.zeros(shape)))
    assert (layer.cache, layer.params, layer.buffers) == ({}, {}, {})


@refusals
def test_wrong_shapes_are_refused_before_there_is_an_array(case, fault):
    with pytest.raises(ShapeError):
        case.make().output_shape(case.wrong_shapes[fault])


@each_case
@each_mode
def test_the_cache_is_empty_after_backward(case, mode, backend):
    setting = Setting(case, backend, mode)
    setting.arrays()
    assert setting.layer.cache == {}
    setting.layer.name = "layer 3 (so called)"
    with pytest.raises(XpnnError, match=r"layer 3 \(so called\): backward needs a forward pass"):
        setting.layer.backward(setting.dout)


@each_case
@each_mode
def test_backward_belongs_to_the_last_of_two_forward_passes(case, mode, backend):
    setting = Setting(case, backend, mode)
    expected = setting.host_results(setting.layer, setting.input, setting.dout)
    layer = setting.fresh()
    # Of another value everywhere, and of another batch size: one for which JAX has compiled.
    earlier = setting.host_input[-1:] - 0.5
    layer.forward(backend.asarray(earlier))
    layer.buffers |= {name: backend.state(value) for name, value in setting.buffers.items()}
    for name, value in setting.host_results(layer, setting.input, setting.dout).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize("case", [case for case in CASES if case.params], ids=str)
def test_a_layer_used_alone_builds_itself(case, backend_each_dtype):
    backend = backend_each_dtype
    layer, input = case.make(), backend.asarray(case.draw(seeded(case)))
    output = layer.forward(input)
    layer.backward(output)
    built = layer.params | layer.buffers
    assert {name: tuple(value.shape) for name, value in built.items()} == case.params | case.buffers
    assert layer.grads.keys() == layer.params.keys()
    for name, array in (built | layer.grads | {"output": output}).items():
        assert array.dtype == input.dtype, name
        assert device(array) == device(input), name


@pytest.mark.parametrize("case", [case for case in CASES if case.params], ids=str)
def test_build_leaves_what_a_user_has_set(case, backend):
    setting = Setting(case, backend, "train")
    before = dict(setting.layer.params)
    setting.layer.build(setting.layer.stream)
    assert setting.layer.params.keys() == before.keys()
    assert all(setting.layer.params[name] is value for name, value in before.items())


def _arrays(value):
    """Yield the arrays in nested containers."""
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _arrays(item)
    elif isinstance(value, np.ndarray):
        yield value


def _bytes_besides(arrays, others):
    """Add up arrays that are no views of others; each counts once, a view as what it shows."""
    distinct = {array.__array_interface__["data"][0]: array for array in arrays}
    return sum(
        array.nbytes
        for array in distinct.values()
        if not any(np.may_share_memory(array, other) for other in others)
    )


@each_case
def test_what_the_cache_keeps_is_what_the_summary_counts(case):
    """Exactly where a layer states it, up to one state; else input and output to a factor of 2."""
    rng = np.random.default_rng(0)
    layer = case.make()
    layer.stream = STREAM
    layer.params |= case.draw_params(rng)
    layer.buffers |= case.draw_buffers(rng)
    input = case.draw(rng)
    output = layer.forward(input)
    own = _bytes_besides(_arrays(layer.cache), [input, output])
    stated = 8 * layer.cache_size(input.shape)
    if stated:
        view = input.nbytes if case.shape[1] == 1 else 0  # of one step the rows are no copy
        assert stated - view <= own <= stated + 8 * len(input) * getattr(layer, "hidden_dim", 0)
    caches = [inner.cache for inner in every_layer(layer)]
    held = _bytes_besides(_arrays(caches), [input, output]) + input.nbytes + output.nbytes
    backend = xpnn.backend("numpy", dtype="float64")
    network = xpnn.Sequential([case.make()], xpnn.MeanSquaredError(), 0.1, backend=backend)
    counted = step_memory(network, case.shape[1:], len(input)).activations
    assert counted <= 2 * held
    assert held <= (2 if not stated else 1.1) * counted


def test_the_summary_counts_the_weights_of_attention_and_the_gates_of_an_lstm():
    def activations(layer, shape):
        network = xpnn.Sequential([layer], xpnn.MeanSquaredError(), 0.1, seed=0)
        memory = step_memory(network, shape, 2)
        assert memory.temporaries >= 8 * layer.cache_size((1, *shape))  # as much again, backward
        return memory.activations / 8

    # Input and output; q, k, v and what the heads have seen; the weights.
    attention = activations(layers.MultiHeadAttention(8, heads=4), (100, 8))
    assert attention == 2 * 100 * 8 + 4 * 100 * 8 + 4 * 100 * 100
    # Input and output; the steps' inputs; four gates, two states and a tanh.
    lstm = activations(layers.LSTM(3, 5), (10, 3))
    assert lstm == 10 * (3 + 5) + 10 * (3 + 7 * 5)
    both = activations(layers.Bidirectional(layers.LSTM(3, 5)), (10, 3))
    assert both == 10 * (3 + 10) + 2 * 10 * (5 + 3 + 7 * 5)
