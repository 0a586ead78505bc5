"""Flat vectors and the dictionaries that show their parts: one thing seen from two sides."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpnn
from xpnn import BackendError, ConfigurationError, DataError, Layer, ShapeError
from xpnn import backend as open_backend
from xpnn.parameters import Parameters, Part


class Holder(Layer):
    """A layer that has arrays and does nothing."""

    roles = Layer.roles | {"s": "scale"}

    def __init__(self, params=None, buffers=None):
        super().__init__()
        self.params |= params or {}
        self.buffers |= buffers or {}


def numbers(*shape, start=0.0):
    """Different numbers in every element."""
    return start + np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape)


def make(backend):
    """Two layers whose parameters are all different numbers."""
    first = Holder(
        {"W": numbers(2, 3, start=10), "b": numbers(3, start=20)},
        {"running_mean": numbers(3, start=30)},
    )
    second = Holder(
        {"gamma": numbers(2, start=40), "V": numbers(2, 2, start=50), "beta": numbers(2, start=60)},
        {"running_var": numbers(2, start=70)},
    )
    first.name, second.name = "layer 0 (Holder)", "layer 1 (Holder)"
    return first, second, Parameters({"0": first, "1": second}, backend.plain)


EXPECTED = [*range(10, 16), *range(50, 54), 20, 21, 22, 60, 61, 40, 41]


def host(backend, array):
    return np.array(backend.to_host(array))


# The layout


def test_weights_come_first_then_biases_then_scales(backend_each_dtype):
    backend = backend_each_dtype
    _, _, parameters = make(backend)
    keys = ["0.W", "1.V", "0.b", "1.beta", "1.gamma"]
    assert [part.key for part in parameters.values.parts] == keys
    assert [part.start for part in parameters.values.parts] == [0, 6, 10, 13, 15]
    assert parameters.values.parts[-1].stop == 17
    assert [part.key for part in parameters.buffers.parts] == ["0.running_mean", "1.running_var"]
    for vector in (parameters.values, parameters.grads, parameters.buffers):
        assert vector.array.dtype == backend.plain.float_dtype
        assert backend.plain.owns(vector.array)
    np.testing.assert_array_equal(host(backend, parameters.values.array), EXPECTED)
    np.testing.assert_array_equal(host(backend, parameters.grads.array), np.zeros(17))
    np.testing.assert_array_equal(host(backend, parameters.buffers.array), [30, 31, 32, 70, 71])


def test_every_role_is_one_slice():
    _, _, parameters = make_numpy()
    assert parameters.slices({"weight"}) == [slice(0, 10)]
    assert parameters.slices({"bias"}) == [slice(10, 15)]
    assert parameters.slices(("scale",)) == [slice(15, 17)]
    assert parameters.slices({"weight", "scale"}) == [slice(0, 10), slice(15, 17)]
    assert parameters.slices(None) == [slice(0, 17)]
    assert parameters.slices(()) == []
    assert [part.key for part in parameters.parts({"bias"})] == ["0.b", "1.beta"]


def make_numpy():
    return make(Plain)


class Plain:
    """NumPy as `make` wants it."""

    plain = open_backend("numpy")
    to_host = staticmethod(np.asarray)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["W", "b", "gamma", "beta", "s", "other"]),
            st.lists(st.integers(0, 3), max_size=3),
            max_size=4,
        ),
        max_size=4,
    )
)
def test_any_layout_covers_the_vector_once(shapes):
    layers = {
        str(index): Holder({name: numbers(*shape, start=100 * index) for name, shape in r.items()})
        for index, r in enumerate(shapes)
    }
    given_arrays = {
        f"{key}.{name}": value for key, one in layers.items() for name, value in one.params.items()
    }
    parameters = Parameters(layers, Plain.plain)
    covered = [i for part in parameters.values.parts for i in range(part.start, part.stop)]
    assert covered == list(range(parameters.values.array.size))
    named = parameters.values.named()
    assert named.keys() == given_arrays.keys()
    for key, value in given_arrays.items():
        np.testing.assert_array_equal(named[key], value)
    for roles in ({"weight"}, {"bias"}, {"scale"}):
        assert len(parameters.slices(roles)) <= 1


def test_an_unknown_role_is_an_error():
    layer = Holder({"W": numbers(2)})
    layer.roles = {"W": "wieght"}
    with pytest.raises(ConfigurationError, match="'W': unknown role 'wieght': did you mean 'weig"):
        Parameters({"0": layer}, Plain.plain)


def test_part_is_a_value():
    part = Part("3", "W", (2, 5), "weight", 7)
    assert (part.key, part.stop) == ("3.W", 17)
    assert Part("3", "s", (), "scale", 7).stop == 8


@pytest.mark.parametrize("value", [2.5, [1.0, 2.0], [[1, 2], [3, 4]], np.float32(1)])
def test_parameters_may_be_numbers_and_lists_at_first(value, backend):
    layer = Holder({"s": value})
    Parameters({"0": layer}, backend.plain)
    assert backend.plain.owns(layer.params["s"])
    np.testing.assert_array_equal(host(backend, layer.params["s"]), np.asarray(value))


def test_no_layers_and_no_parameters(backend):
    for layers in ({}, {"0": Holder()}):
        parameters = Parameters(layers, backend.plain)
        assert tuple(parameters.values.array.shape) == (0,)
        assert parameters.values.named() == {}
        assert parameters.slices(None) == []


@pytest.mark.parametrize(
    ("value", "error"),
    [(np.asarray([1j]), DataError), (np.asarray(["a"]), DataError), ("array", BackendError)],
)
def test_what_is_no_parameter_is_refused(value, error, backend):
    if isinstance(value, str):
        pytest.importorskip("array_api_strict")
        other = "no_x64" if backend.library != "array_api_strict" else "device2"
        value = open_backend("array_api_strict", other).asarray([1.0])
    with pytest.raises(error):
        Parameters({"0": Holder({"W": value})}, backend.plain)


# Two sides of one thing


def test_the_vector_shows_what_is_assigned_to_an_entry(backend):
    first, _, parameters = make(backend)
    first.params["W"] = backend.asarray(np.full((2, 3), -1.0))
    expected = [-1.0] * 6 + EXPECTED[6:]
    np.testing.assert_array_equal(host(backend, parameters.values.array), expected)
    np.testing.assert_array_equal(host(backend, first.params["W"]), np.full((2, 3), -1.0))


def test_entries_show_what_is_done_to_the_vector(backend):
    first, second, parameters = make(backend)
    vector = parameters.values.array
    vector *= 2
    parameters.values.array = vector
    np.testing.assert_array_equal(host(backend, first.params["b"]), [40, 42, 44])
    np.testing.assert_array_equal(host(backend, second.params["V"]), [[100, 102], [104, 106]])
    parameters.values.array = backend.state(np.arange(17.0))
    np.testing.assert_array_equal(host(backend, first.params["W"]), [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(host(backend, parameters.values.array), np.arange(17))


def test_entries_are_views_where_the_library_has_them(backend):
    first, _, parameters = make(backend)
    if backend.library == "jax":
        pytest.skip("JAX has no views")
    first.params["W"][...] = 0.0
    assert host(backend, parameters.values.array)[:6].tolist() == [0.0] * 6
    vector = parameters.values.array
    vector[1] = 7.0
    assert float(first.params["W"][0, 1]) == 7.0
    before = first.params["W"]
    first.params["W"] = backend.asarray(np.ones((2, 3)))
    assert float(before[0, 1]) == 1.0  # the same memory for ever


def test_augmented_assignment(backend):
    first, second, parameters = make(backend)
    first.params["W"] -= 10.0
    second.params["gamma"] *= 0.5
    first.buffers["running_mean"] += 1.0
    expected = [*range(6), *EXPECTED[6:15], 20, 20.5]
    np.testing.assert_array_equal(host(backend, parameters.values.array), expected)
    np.testing.assert_array_equal(host(backend, parameters.buffers.array), [31, 32, 33, 70, 71])


WAYS_TO_WRITE = {
    "assign": lambda params, W: params.__setitem__("W", W),
    "update": lambda params, W: params.update({"W": W}),
    "update by name": lambda params, W: params.update(W=W),
    "update by pairs": lambda params, W: params.update([("W", W)]),
    "or": lambda params, W: params.__ior__({"W": W}),
}


@pytest.mark.parametrize("way", WAYS_TO_WRITE)
def test_every_way_to_write_an_entry_reaches_the_vector(way, backend):
    first, _, parameters = make(backend)
    _ = parameters.values.array
    WAYS_TO_WRITE[way](first.params, backend.asarray(np.full((2, 3), -1.0)))
    np.testing.assert_array_equal(host(backend, parameters.values.array)[:6], [-1.0] * 6)
    # And the entry goes on to show the vector.
    parameters.values.array = backend.state(np.zeros(17))
    np.testing.assert_array_equal(host(backend, first.params["W"]), np.zeros((2, 3)))


def test_setdefault_leaves_what_is_there(backend):
    first, _, parameters = make(backend)
    assert first.params.setdefault("W", None) is first.params["W"]
    assert not parameters.outdated


@pytest.mark.parametrize(
    "value",
    [np.full((2, 3), 2, dtype="int8"), np.full((2, 3), 2.0), [[2, 2, 2], [2.0, 2.0, 2.0]]],
    ids=["integers", "float64", "a list"],
)
def test_host_data_may_be_assigned(value, backend_each_dtype):
    backend = backend_each_dtype
    first, _, parameters = make(backend)
    first.params["W"] = value
    np.testing.assert_array_equal(host(backend, parameters.values.array)[:6], [2.0] * 6)
    assert first.params["W"].dtype == backend.plain.float_dtype
    assert backend.plain.owns(first.params["W"])


def test_assigning_copies(backend):
    first, _, parameters = make(backend)
    mine = backend.state(np.full((2, 3), 2.0))
    first.params["W"] = mine
    vector = parameters.values.array
    vector *= 2
    parameters.values.array = vector
    np.testing.assert_array_equal(host(backend, mine), np.full((2, 3), 2.0))


def test_an_entry_may_be_assigned_a_view_of_itself(backend):
    if backend.library == "torch":
        pytest.skip("torch refuses, and asks for a clone")
    layer = Holder({"W": numbers(40, 40)})
    Parameters({"0": layer}, backend.plain)
    layer.params["W"] = backend.xp.matrix_transpose(layer.params["W"])
    np.testing.assert_array_equal(host(backend, layer.params["W"]), numbers(40, 40).T)


@pytest.mark.parametrize("shape", [(3, 2), (6,), (2, 3, 1), (1, 3), (), (2, 4)])
def test_a_wrong_shape_is_an_error_and_changes_nothing(shape, backend):
    first, _, parameters = make(backend)
    for value in (backend.asarray(np.ones(shape)), np.ones(shape)):
        with pytest.raises(ShapeError) as error:
            first.params["W"] = value
        text = f"layer 0 (Holder): 'W' has shape (2, 3), got an array of shape {shape}"
        assert str(error.value) == text
    np.testing.assert_array_equal(host(backend, parameters.values.array), EXPECTED)
    np.testing.assert_array_equal(host(backend, first.params["W"]), numbers(2, 3, start=10))


def test_arrays_of_another_device_are_refused():
    pytest.importorskip("array_api_strict")
    here, there = (open_backend("array_api_strict", name) for name in ("device1", "device2"))
    layer = Holder({"b": numbers(3)})
    Parameters({"0": layer}, here)
    with pytest.raises(BackendError, match=r"on device1, got an array of .* on device2"):
        layer.params["b"] = there.asarray([1.0, 2.0, 3.0])


OPERATIONS = st.sampled_from(
    ["assign", "augment", "update", "replace", "vector", "in place", "remove", "read", "sync"]
)


@pytest.mark.parametrize("library", ["numpy", "array_api_strict", "jax"])
@given(operations=st.lists(st.tuples(OPERATIONS, st.sampled_from(["W", "b"])), max_size=8))
@settings(max_examples=25, deadline=None)
def test_any_sequence_of_writes_leaves_both_sides_equal(library, operations):
    """Against a plain dictionary of NumPy arrays, to which the same is done."""
    pytest.importorskip(library)
    plain = open_backend(library)
    model = {"W": numbers(2, 2, start=1), "b": numbers(2, start=5)}
    layer = Holder(dict(model))
    parameters = Parameters({"0": layer}, plain)
    for count, (operation, name) in enumerate(operations):
        new = np.full(model[name].shape, 10.0 * count)
        if operation == "assign":
            layer.params[name], model[name] = plain.asarray(new), new
        elif operation == "augment":
            layer.params[name] *= 2.0
            model[name] = 2 * model[name]
        elif operation == "update":
            layer.params |= {name: new}
            model[name] = new
        elif operation == "replace":
            layer.params = {**layer.params, name: new}
            parameters.sync()
            model[name] = new
        elif operation == "vector":
            parameters.values.array = plain.asarray(np.full(6, float(count)))
            model = {key: np.full(value.shape, float(count)) for key, value in model.items()}
        elif operation == "in place":
            vector = parameters.values.array
            vector += 1.0
            parameters.values.array = vector
            model = {key: value + 1 for key, value in model.items()}
        elif operation == "remove":
            del layer.params[name]
            layer.params[name], model[name] = plain.asarray(new), new
        elif operation == "read":
            _ = parameters.values.copy()
        else:
            parameters.sync()
        for key, value in model.items():
            np.testing.assert_array_equal(plain.to_host(layer.params[key]), value)
            np.testing.assert_array_equal(
                plain.to_host(parameters.values.named()[f"0.{key}"]), value
            )


# Dictionaries in the place of the layer's own


def test_a_new_dictionary_is_brought_home(backend):
    first, _, parameters = make(backend)
    shown = first.params
    first.params = {"W": backend.asarray(np.ones((2, 3))), "b": np.zeros(3)}
    first.buffers = {"running_mean": [1.0, 2.0, 3.0]}
    parameters.sync()
    assert first.params is shown
    expected = [*[1.0] * 6, *EXPECTED[6:10], 0, 0, 0, *EXPECTED[13:]]
    np.testing.assert_array_equal(host(backend, parameters.values.array), expected)
    np.testing.assert_array_equal(host(backend, parameters.buffers.array), [1, 2, 3, 70, 71])


def test_a_new_dictionary_of_wrong_shape_is_an_error(backend):
    first, _, parameters = make(backend)
    first.params = {"W": backend.asarray(np.ones((3, 3)))}
    with pytest.raises(ShapeError, match=r"layer 0 .*'W' has shape \(2, 3\), got .*\(3, 3\)"):
        parameters.sync()


def test_a_new_name_makes_the_layout_outdated(backend):
    first, _, parameters = make(backend)
    assert not parameters.outdated
    first.params["new"] = backend.asarray([1.0])
    assert parameters.outdated
    again = Parameters(parameters.layers, backend.plain)
    assert "0.new" in again.values.named()
    value = host(backend, again.values.named()["0.W"])
    np.testing.assert_array_equal(value, numbers(2, 3, start=10))


@pytest.mark.parametrize("remove", [dict.pop, dict.__delitem__], ids=["pop", "del"])
def test_a_name_that_is_gone_makes_the_layout_outdated(remove, backend):
    first, _, parameters = make(backend)
    getattr(first.params, remove.__name__)("b")
    assert parameters.outdated
    again = Parameters(parameters.layers, backend.plain)
    assert again.values.named().keys() == {"0.W", "1.V", "1.beta", "1.gamma"}
    expected = [value for value in EXPECTED if value not in (20, 21, 22)]
    np.testing.assert_array_equal(host(backend, again.values.array), expected)


def test_gradients_are_gathered_from_any_dictionary(backend):
    first, second, parameters = make(backend)
    first.grads["W"] = backend.asarray(np.ones((2, 3)))
    first.grads["b"] = backend.asarray(np.full(3, 2.0))
    second.grads = {
        "beta": backend.asarray(np.full(2, 4.0)),
        "gamma": backend.asarray(np.full(2, 5.0)),
        "V": backend.asarray(np.full((2, 2), 3.0)),
    }
    expected = [*[1] * 6, *[3] * 4, *[2] * 3, *[4] * 2, *[5] * 2]
    np.testing.assert_array_equal(host(backend, parameters.gather_grads()), expected)
    assert host(backend, second.grads["V"]).tolist() == [[3, 3], [3, 3]]


def test_gradients_may_be_emptied_and_written_anew(backend):
    first, _, parameters = make(backend)
    for value in (1.0, 2.0):
        first.grads.clear()
        first.grads["W"] = backend.asarray(np.full((2, 3), value))
        first.grads["b"] = backend.asarray(np.full(3, value))
        gathered = host(backend, parameters.gather_grads())
        assert gathered.tolist() == [*[value] * 6, *[0] * 4, *[value] * 3, *[0] * 4]


@pytest.mark.parametrize("how", ["a new dictionary", "an emptied one"])
def test_a_missing_gradient_is_an_error(how, backend):
    first, _, parameters = make(backend)
    if how == "a new dictionary":
        first.grads = {}
    else:
        first.grads.clear()
    first.grads["W"] = backend.asarray(np.ones((2, 3)))
    with pytest.raises(xpnn.XpnnError, match=r"^layer 0 \(Holder\): .*no gradient of 'b'$"):
        parameters.gather_grads()


def test_a_gradient_of_wrong_shape_is_an_error(backend):
    first, _, _ = make(backend)
    with pytest.raises(ShapeError, match=r"'W' has shape \(2, 3\), got .* \(3, 2\)"):
        first.grads["W"] = backend.asarray(np.ones((3, 2)))


# Copies


def test_copy_is_independent(backend):
    _, _, parameters = make(backend)
    kept = parameters.values.copy()
    parameters.values.array = backend.state(np.zeros(17))
    np.testing.assert_array_equal(host(backend, kept), EXPECTED)


def test_named_parts_of_another_vector(backend):
    _, _, parameters = make(backend)
    named = parameters.values.named(backend.asarray(np.arange(17.0)))
    assert host(backend, named["1.V"]).tolist() == [[6, 7], [8, 9]]
    assert host(backend, parameters.values.named()["1.V"]).tolist() == [[50, 51], [52, 53]]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_of_a_layer_stand_on_their_own(duplicate, backend):
    first, _, parameters = make(backend)
    twin = duplicate(first)
    assert type(twin.params) is dict
    np.testing.assert_array_equal(host(backend, twin.params["W"]), numbers(2, 3, start=10))
    parameters.values.array = backend.state(np.zeros(17))
    np.testing.assert_array_equal(host(backend, twin.params["W"]), numbers(2, 3, start=10))
    twin.params["W"] = backend.asarray(np.ones((2, 3)))
    np.testing.assert_array_equal(host(backend, first.params["W"]), np.zeros((2, 3)))


def test_a_shallow_copy_of_a_dictionary_is_a_dictionary(backend):
    first, _, parameters = make(backend)
    twin = copy.copy(first.params)
    twin["W"] = None
    twin["new"] = 1
    assert not parameters.outdated
    np.testing.assert_array_equal(host(backend, first.params["W"]), numbers(2, 3, start=10))
