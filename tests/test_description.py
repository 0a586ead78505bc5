"""A network as plain data and back: xpnn.description."""

from __future__ import annotations

import json

import numpy as np
import pytest

import xpnn
from tolerances import assert_close
from xpnn import description, initializers, schedules
from xpnn.description import build, describe, register, table
from xpnn.errors import BackendError, ConfigurationError

NAMED = {
    "layers": [{"type": "Linear", "input_dim": 3, "output_dim": 2}],
    "loss": "SoftmaxCrossEntropy",
    "optimizer": {"type": "SGD", "lr": 0.1},
    "seed": 1,
}


def changed(**entries):
    return {**NAMED, **entries}


def everything() -> xpnn.Sequential:
    """A network that uses each kind of thing, none with its default settings."""
    return xpnn.Sequential(
        [
            xpnn.Flatten(),
            xpnn.Linear(4, 6, bias=False, weight_initializer="glorot_uniform", seed=2**63),
            xpnn.BatchNorm(6, epsilon=1e-3, momentum=0.75),
            xpnn.LeakyReLU(0.125),
            xpnn.Dropout(0.25, seed=3),
            xpnn.Linear(6, 3, weight_initializer=initializers.Orthogonal(gain=2.0)),
        ],
        xpnn.SoftmaxCrossEntropy(class_weight=[1, 2, 0.5], label_smoothing=0.125, ignore_index=2),
        regularization=xpnn.ElasticNet(1e-3, 1e-4, roles={"weight", "bias"}),
        optimizer=xpnn.AdamW(
            schedules.LinearWarmup(schedules.Cosine(0.01, steps=10, final_lr=0.001), 5),
            beta1=0.75,
            weight_decay=0.5,
            decay_roles={"weight", "scale"},
            clip_norm=2.0,
        ),
        dtype="float64",
        seed=7,
    )


def test_description_is_json_and_says_everything():
    written = describe(everything())
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert written == {
        "layers": [
            {"type": "Flatten"},
            {
                "type": "Linear",
                "input_dim": 4,
                "output_dim": 6,
                "bias": False,
                "weight_initializer": "glorot_uniform",
                "bias_initializer": "zeros",
                "seed": 2**63,
            },
            {"type": "BatchNorm", "dim": 6, "epsilon": 1e-3, "momentum": 0.75},
            {"type": "LeakyReLU", "slope": 0.125},
            {"type": "Dropout", "p": 0.25, "seed": 3},
            {
                "type": "Linear",
                "input_dim": 6,
                "output_dim": 3,
                "bias": True,
                "weight_initializer": {"type": "Orthogonal", "gain": 2.0},
                "bias_initializer": "zeros",
            },
        ],
        "loss": {
            "type": "SoftmaxCrossEntropy",
            "class_weight": [1.0, 2.0, 0.5],
            "label_smoothing": 0.125,
            "ignore_index": 2,
        },
        "optimizer": {
            "type": "AdamW",
            "lr": {
                "type": "LinearWarmup",
                "schedule": {"type": "Cosine", "lr": 0.01, "steps": 10, "final_lr": 0.001},
                "warmup_steps": 5,
            },
            "beta1": 0.75,
            "beta2": 0.999,
            "epsilon": 1e-8,
            "weight_decay": 0.5,
            "decay_roles": ["weight", "scale"],
            "clip_norm": 2.0,
        },
        "regularization": {
            "type": "ElasticNet",
            "l1": 1e-3,
            "l2": 1e-4,
            "roles": ["weight", "bias"],
        },
        "dtype": "float64",
        "seed": 7,
    }


def test_built_network_is_the_described_one():
    first = everything()
    second = build(json.loads(json.dumps(describe(first))))
    assert describe(second) == describe(first)
    x = np.random.default_rng(0).normal(size=(16, 2, 2))
    y = np.arange(16) % 3
    for _ in range(3):
        one, two = first.train(x, y), second.train(x, y)
        assert_close(two[0], one[0], "float64")
        assert_close(two[1], one[1], "float64")
    assert first.parameters.values.named().keys() == second.parameters.values.named().keys()


def every_class(kind):
    return sorted(description.known(kind).items())


@pytest.mark.parametrize("kind", ["layer", "loss", "regularization", "optimizer", "schedule"])
def test_table_has_all_that_the_room_exports(kind):
    rooms = {
        "layer": xpnn.layers,
        "loss": xpnn.losses,
        "regularization": xpnn.regularization,
        "optimizer": xpnn.optimizers,
        "schedule": xpnn.schedules,
    }
    bases = {"Layer", "Loss", "Regularization", "Optimizer", "Schedule"}
    assert set(description.known(kind)) == set(rooms[kind].__all__) - bases


def test_table_of_initializers():
    assert {"HeNormal", "LeCunUniform", "Orthogonal", "Zeros", "Constant"} <= set(
        description.known("initializer")
    )
    assert not {"get", "fans", "Initializer"} & set(description.known("initializer"))


SAMPLE = {
    "input_dim": 4,
    "output_dim": 4,
    "dim": 4,
    "in_channels": 4,
    "out_channels": 4,
    "channels": 4,
    "groups": 2,
    "kernel_size": 3,
    "p": 0.5,
    "weight": 0.5,
    "l1": 0.25,
    "l2": 0.5,
    "lr": 0.125,
    "max_lr": 0.5,
    "factor": 0.5,
    "step_size": 3,
    "warmup_steps": 2,
    "schedule": {"type": "Constant", "lr": 0.5},
    "value": 0.25,
    "hidden_dim": 4,
    "heads": 2,
    "num": 5,
    "layer": {"type": "GRU", "input_dim": 4, "hidden_dim": 3},
    "layers": [{"type": "Linear", "input_dim": 4, "output_dim": 4}, "ReLU"],
    "branches": [[{"type": "Linear", "input_dim": 4, "output_dim": 4}, "ReLU"], []],
}


@pytest.mark.parametrize(
    ("kind", "name", "cls"),
    [
        (kind, name, cls)
        for kind in ("layer", "loss", "regularization", "optimizer", "schedule", "initializer")
        for name, cls in every_class(kind)
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_class_makes_the_round_trip(kind, name, cls):
    """With sample values for what it requires, so that a class that forgets one shows here."""
    import inspect

    required = {
        key: SAMPLE[key]  # a new name among the arguments: give it a value in SAMPLE
        for key, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is parameter.empty
    }
    places = {
        "layer": lambda entry: changed(layers=[entry]),
        "loss": lambda entry: changed(loss=entry),
        "regularization": lambda entry: changed(regularization=entry),
        "optimizer": lambda entry: changed(optimizer=entry),
        "schedule": lambda entry: changed(optimizer={"type": "SGD", "lr": entry}),
        "initializer": lambda entry: changed(
            layers=[{**NAMED["layers"][0], "weight_initializer": entry}]
        ),
    }
    found = {
        "layer": lambda net: net.layers[0],
        "loss": lambda net: net.loss,
        "regularization": lambda net: net.regularization,
        "optimizer": lambda net: net.optimizer,
        "schedule": lambda net: net.optimizer.lr,
        "initializer": lambda net: net.layers[0].weight_initializer,
    }
    network = build(places[kind]({"type": name, **required}))
    assert type(found[kind](network)) is cls
    again = build(describe(network))
    assert type(found[kind](again)) is cls
    assert describe(again) == describe(network)


def test_sizes_that_differ_by_axis():
    """JSON has no tuples: a list does as well."""
    entry = {"type": "Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": [3, 2]}
    network = build(changed(layers=[entry]))
    assert network.layers[0].params["W"].shape == (2, 1, 3, 2)
    assert describe(build(describe(network))) == describe(network)


def test_layers_in_layers():
    inner = [{"type": "Linear", "input_dim": 2, "output_dim": 2}, "ReLU"]
    layers = [{"type": "Residual", "layers": inner, "shortcut": {"type": "Tanh"}}]
    network = build(changed(layers=layers))
    assert repr(network.layers) == "[Residual([Linear(2, 2), ReLU()], shortcut=Tanh())]"
    assert describe(build(describe(network))) == describe(network)
    inner[1] = "Relu"
    with pytest.raises(ConfigurationError, match=r"^model\.layers\[0\]: Residual: .*'Relu'"):
        build(changed(layers=layers))
    inner[1] = {"type": "Relu"}
    place = r"^model\.layers\[0\]\.layers\[1\]\.type: unknown .* 'Relu': did you mean 'ReLU'"
    with pytest.raises(ConfigurationError, match=place):
        build(changed(layers=layers))


def test_a_name_alone_is_a_thing_without_settings():
    network = build(changed(layers=[*NAMED["layers"], "ReLU", {"type": "ReLU"}]))
    assert [type(layer).__name__ for layer in network.layers] == ["Linear", "ReLU", "ReLU"]


def test_seed_dtype_and_place():
    network = build(changed(seed=5, dtype="float64"), device="cpu", backend="numpy")
    assert network.seed == 5
    assert network.backend.dtype == "float64"
    assert network.layers[0].params["W"].dtype == np.float64
    other = build(changed(seed=5, dtype="float64"), backend=xpnn.backend("numpy", dtype="float32"))
    assert other.backend.dtype == "float32"
    with pytest.raises(BackendError, match="quantum"):
        build(NAMED, backend="quantum")


BAD = [
    ({"layer": []}, "model.layer: unknown key 'layer': did you mean 'layers'?"),
    ({"layers": None}, "model.layers: expected a list, got None"),
    ({"layers": [3]}, "model.layers[0]: expected the name of a layer or a table with a type"),
    ({"layers": [{}]}, "model.layers[0]: expected the name of a layer or a table with a type"),
    ({"layers": ["Relu"]}, "model.layers[0]: unknown layer 'Relu': did you mean 'ReLU'?"),
    (
        {"layers": ["ReLU", {"type": "Liner"}]},
        "model.layers[1].type: unknown layer 'Liner': did you mean 'Linear'?",
    ),
    ({"layers": [{"type": 3}]}, "model.layers[0].type: expected the name of a layer, got 3"),
    ({"layers": ["SGD"]}, "model.layers[0]: unknown layer 'SGD'"),
    ({"layers": ["xpnn.layers.ReLU"]}, "model.layers[0]: unknown layer 'xpnn.layers.ReLU'"),
    ({"layers": ["Layer"]}, "model.layers[0]: unknown layer 'Layer'"),
    (
        {"layers": [{"type": "Linear", "units": 3}]},
        "model.layers[0].units: unknown key 'units'",
    ),
    (
        {"layers": [{"type": "Linear", "input_dim": 3, "output_din": 3}]},
        "model.layers[0].output_din: unknown key 'output_din': did you mean 'output_dim'?",
    ),
    ({"layers": [{"type": "Linear", "input_dim": 3}]}, "model.layers[0]: Linear needs output_dim"),
    (
        {"layers": [{"type": "Linear", "input_dim": 3, "output_dim": 0}]},
        "model.layers[0]: Linear: output_dim",
    ),
    ({"layers": ["ReLU", {"type": "Dropout", "p": 2}]}, "model.layers[1]: Dropout: p must be"),
    (
        {"layers": [{"type": "Linear", "input_dim": 1, "output_dim": 1, "bias": "no"}]},
        "model.layers[0].bias: expected true or false, got 'no'",
    ),
    (
        {"layers": [{"type": "Linear", "input_dim": 1, "output_dim": 1, "bias": 0}]},
        "model.layers[0].bias: expected true or false, got 0",
    ),
    (
        {
            "layers": [
                {
                    "type": "Linear",
                    "input_dim": 1,
                    "output_dim": 1,
                    "weight_initializer": {"type": "HeNorml"},
                }
            ]
        },
        "model.layers[0].weight_initializer.type: unknown initializer or layer 'HeNorml': "
        "did you mean 'HeNormal'?",
    ),
    (
        {
            "layers": [
                {"type": "Linear", "input_dim": 1, "output_dim": 1, "weight_initializer": "he"}
            ]
        },
        "model.layers[0]: unknown initializer 'he'",
    ),
    ({"loss": {"type": "Hubr"}}, "model.loss.type: unknown loss 'Hubr': did you mean 'Huber'?"),
    ({"loss": {"type": "Huber", "delta": -1}}, "model.loss: Huber: delta must be"),
    ({"loss": None}, "model.loss: expected the name of a loss or a table with a type, got None"),
    ({"optimizer": "Adm"}, "model.optimizer: unknown optimizer 'Adm': did you mean 'Adam'?"),
    ({"optimizer": {"type": "Adam", "lr": -1}}, "model.optimizer: Adam: lr must be"),
    (
        {"optimizer": {"type": "Adam", "lr": {"type": "Cosine", "lr": 1, "stops": 3}}},
        "model.optimizer.lr.stops: unknown key 'stops': did you mean 'steps'?",
    ),
    (
        {"optimizer": {"type": "Adam", "lr": {"type": "Cosin", "lr": 1}}},
        "model.optimizer.lr.type: unknown schedule 'Cosin': did you mean 'Cosine'?",
    ),
    (
        {"optimizer": {"type": "Adam", "lr": {"type": "Cosine", "lr": 0}}},
        "model.optimizer.lr: Cosine: lr must be",
    ),
    ({"optimizer": {"type": "Adam", "lr": [1]}}, "model.optimizer: Adam: lr must be"),
    (
        {"regularization": {"type": "L2", "weight": 1, "roles": ["wight"]}},
        "model.regularization: L2: unknown role 'wight': did you mean 'weight'?",
    ),
    ({"dtype": "float16"}, "model.dtype: unknown dtype 'float16'"),
    ({"dtype": 3}, "model.dtype: unknown dtype 3"),
    ({"seed": -1}, "model.seed: "),
    ({"seed": 1.5}, "model.seed: "),
    ({"seed": 2**64}, "model.seed: "),
]


@pytest.mark.parametrize(("entries", "message"), BAD, ids=lambda value: str(value)[:60])
def test_mistakes_are_named_with_their_place(entries, message):
    with pytest.raises(ConfigurationError) as caught:
        build(changed(**entries))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["layers", "loss", "optimizer"])
def test_missing_parts(missing):
    with pytest.raises(ConfigurationError, match=rf"^model: {missing} is missing$"):
        build({key: value for key, value in NAMED.items() if key != missing})


@pytest.mark.parametrize("wrong", [None, [], "model", 3])
def test_what_is_no_table_at_all(wrong):
    with pytest.raises(ConfigurationError, match=r"^model: expected a table, got"):
        build(wrong)


def test_another_place_begins_the_paths():
    with pytest.raises(ConfigurationError, match=r"^network\.loss: unknown loss 'Hubr'"):
        build(changed(loss="Hubr"), path="network")


def test_description_is_not_changed_by_build():
    text = json.dumps(NAMED)
    build(NAMED)
    assert json.dumps(NAMED) == text


@pytest.fixture(autouse=True)
def own_names(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(table, "_own", {kind: {} for kind in table._own})


class Scale(xpnn.Layer):
    def __init__(self, factor, widths=(1, 2), inner=None):
        super().__init__()
        self.factor, self.widths, self.inner = factor, widths, inner

    def forward(self, input):
        return input * float(self.factor)

    def backward(self, dout):
        return dout * float(self.factor)


class Tripled(xpnn.Loss):
    def forward(self, input, target):
        return (input * 3.0).sum()

    def backward(self):
        return 3.0


class Halving(xpnn.Schedule):
    def __init__(self, lr):
        self.lr = lr

    def __call__(self, step, total_steps=None):
        return self.lr / (step + 1)


class Small:
    def __init__(self, size=0.5):
        self.size = size

    def __call__(self, shape, rng):
        return rng.normal(shape, std=self.size)


def test_own_classes_are_registered(own_names):
    for cls in (Scale, Tripled, Halving, Small):
        assert register(cls) is cls
    network = xpnn.Sequential(
        [
            xpnn.Linear(3, 2, weight_initializer=Small(0.25)),
            Scale(np.float32(0.5), widths=np.arange(2).tolist(), inner=Scale(2)),
        ],
        Tripled(),
        optimizer=xpnn.SGD(Halving(0.5)),
        seed=0,
    )
    written = describe(network)
    assert written["layers"][1] == {
        "type": "Scale",
        "factor": 0.5,
        "widths": [0, 1],
        "inner": {"type": "Scale", "factor": 2, "widths": [1, 2]},
    }
    again = build(json.loads(json.dumps(written)))
    assert describe(again) == written
    assert isinstance(again.layers[1].inner, Scale)
    assert again.lr == 0.5
    np.testing.assert_array_equal(again.layers[0].params["W"], network.layers[0].params["W"])


def test_unregistered_class_is_named():
    network = xpnn.Sequential([Scale(1)], xpnn.MeanSquaredError(), lr=1)
    with pytest.raises(ConfigurationError, match=r"model\.layers\[0\]: Scale .*register\(Scale\)"):
        describe(network)
    with pytest.raises(
        ConfigurationError, match=r"model\.layers\[0\]\.type: unknown layer 'Scale'"
    ):
        build(changed(layers=[{"type": "Scale", "factor": 1}]))


def test_registering_again_replaces_an_own_class_and_no_other(own_names):
    register(Scale)
    second = type("Scale", (xpnn.Layer,), {})
    register(second)
    assert description.known("layer")["Scale"] is second
    with pytest.raises(ConfigurationError, match="'ReLU' is a layer of xpnn"):
        register(type("ReLU", (xpnn.Layer,), {}))
    assert description.known("layer")["ReLU"] is xpnn.ReLU


@pytest.mark.parametrize("wrong", [3, Scale(1), type("Nothing", (), {}), print, xpnn.Layer])
def test_what_cannot_be_registered(wrong, own_names):
    with pytest.raises(ConfigurationError, match=r"^register: "):
        register(wrong)


def test_a_setting_called_type_cannot_be_registered(own_names):
    class Odd(xpnn.Layer):
        def __init__(self, type):
            super().__init__()
            self.type = type

    with pytest.raises(ConfigurationError, match="type"):
        register(Odd)


def test_errors_of_an_own_class_get_the_path(own_names):
    class Picky(xpnn.Layer):
        def __init__(self, size):
            super().__init__()
            self.size = 10 // size

    register(Picky)
    with pytest.raises(ConfigurationError, match=r"^model\.layers\[0\]: Picky: .*zero"):
        build(changed(layers=[{"type": "Picky", "size": 0}]))


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (np.zeros(2), "array"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (lambda shape, rng: 0, "function"),
        (object(), "object"),
        ({"a": 1}, "dict"),
        (1j, "1j"),
        (b"x", "bytes|b'x'"),
    ],
    ids=["array", "nan", "infinity", "function", "object", "dict", "complex", "bytes"],
)
def test_settings_that_are_no_plain_data(value, complaint, own_names):
    register(Scale)
    network = xpnn.Sequential([Scale([1, value])], xpnn.MeanSquaredError(), lr=1)
    with pytest.raises(
        ConfigurationError, match=rf"model\.layers\[0\]\.factor\[1\]: .*{complaint}"
    ):
        describe(network)


def test_settings_that_a_class_does_not_keep(own_names):
    class Forgetful(xpnn.Layer):
        def __init__(self, size):
            super().__init__()

    register(Forgetful)
    network = xpnn.Sequential([Forgetful(1)], xpnn.MeanSquaredError(), lr=1)
    with pytest.raises(ConfigurationError, match=r"model\.layers\[0\]: Forgetful .*'size'"):
        describe(network)


def test_only_sequential_networks_are_described():
    class Own(xpnn.Sequential):
        pass

    network = Own([xpnn.Linear(1, 1)], xpnn.MeanSquaredError(), lr=1)
    with pytest.raises(ConfigurationError, match="Own"):
        describe(network)
