"""Anything at all as an argument: a documented error or a right result, and nothing is modified."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import xpnn
from conftest import PRESENT
from xpnn.errors import DivergenceError, XpnnError

#: For each library here, which has to see at least 5,000 examples in all.
EXAMPLES = {"step": 2600, "fit": 1000, "predict": 900, "constructor": 600}
LIBRARIES = {b.library: b for b in PRESENT if b.library in ("numpy", "array_api_strict", "cupy")}
needs_a_library = pytest.mark.skipif(not LIBRARIES, reason="on none of the libraries here")
WIDTH, CLASSES = 4, 3
#: How many examples there were, and to how many the answer was a result.
COUNTS: dict[str, list[int]] = {}

VALUES = [0, 1, 2, 0.5, -1, 3, 0.25, 1e-40, 1e30, -1e39, 1e300, math.nan, math.inf, -math.inf]
DTYPES = ["float32", "float64", "float16", "int8", "int64", "uint8", "uint64", "bool", ">f4"]
ODD = ["complex64", "object", "U3", "S2", "datetime64[s]"]
LAYOUTS = ["C", "F", "strided", "reversed", "read-only", "list", "masked"]

dimensions = st.one_of(st.integers(0, 5), st.just(WIDTH), st.just(CLASSES))


@st.composite
def numbers(draw, shape, palette=None):
    """An array-like of every dtype, layout and value; of some values alone, and then sound."""
    kind = 19 if palette is not None else draw(st.integers(0, 19))
    if kind == 0:
        return draw(st.sampled_from([None, "text", 3, 2.5, [], [[1, 2], [3]], {}, object(), b"x"]))
    sound = kind < 12
    dtype = draw(st.sampled_from(ODD if kind == 1 else DTYPES))
    palette = palette or (VALUES[:7] if sound else VALUES)
    values = draw(st.lists(st.sampled_from(palette), min_size=1, max_size=7))
    flat = np.resize(np.asarray(values, dtype=np.float64), math.prod(shape))
    with np.errstate(all="ignore"):
        if dtype == "object":
            array = flat.astype(object).reshape(shape)
        elif dtype == "datetime64[s]":
            array = np.nan_to_num(flat, posinf=0, neginf=0).clip(0, 9).astype(dtype).reshape(shape)
        elif np.dtype(dtype).kind in "iub":
            tame = np.nan_to_num(flat, posinf=0, neginf=0)
            array = tame.clip(0 if "u" in dtype else -99, 99).astype(dtype).reshape(shape)
        else:
            array = flat.astype(dtype).reshape(shape)
    layout = draw(st.sampled_from(LAYOUTS))
    if layout == "F":
        array = np.asfortranarray(array)
    elif layout == "strided" and array.ndim:
        array = np.repeat(array, 2, axis=-1)[..., ::2]
    elif layout == "reversed" and array.ndim:
        array = np.flip(array, 0).copy()[::-1]
    elif layout == "read-only":
        array.flags.writeable = False
    elif layout == "list":
        array = array.tolist()
    elif layout == "masked":
        array = np.ma.masked_array(array, mask=kind < 19 and draw(st.booleans()))
    return array


@st.composite
def samples(draw, rows):
    shape = draw(
        st.one_of(
            st.just((rows, WIDTH)),
            st.just((rows, WIDTH)),
            st.lists(dimensions, max_size=4).map(tuple),
        )
    )
    return draw(numbers(shape))


@st.composite
def targets(draw, rows):
    shape = draw(
        st.one_of(
            st.just((rows,)),
            st.just((rows, CLASSES)),
            st.just((rows, 1)),
            st.lists(dimensions, max_size=3).map(tuple),
        )
    )
    return draw(numbers(shape))


@st.composite
def arguments(draw):
    """A loss, samples, targets and weights: sound, or one of them anything, or all of them."""
    name = draw(st.sampled_from(sorted(LOSSES)))
    odd = draw(st.sampled_from(["none", "none", "samples", "targets", "weights", "all"]))
    rows = draw(st.integers(0 if odd == "all" else 1, 5))
    x = numbers((rows, WIDTH), VALUES[:7])
    y = numbers((rows,) if name == "SoftmaxCrossEntropy" else (rows, CLASSES), GOOD[name])
    w = st.one_of(st.none(), numbers((rows,), [0, 1, 2, 0.5]))
    if odd in ("samples", "all"):
        x = samples(rows)
    if odd in ("targets", "all"):
        y = targets(rows)
    if odd in ("weights", "all"):
        w = st.one_of(st.none(), numbers((rows,)), numbers((rows, 1)))
    return name, draw(x), draw(y), draw(w)


GOOD = {
    "SoftmaxCrossEntropy": [0, 1, 2],
    "MeanSquaredError": VALUES[:7],
    "BinaryCrossEntropy": [0, 1, 0.5, 0.25],
}
LOSSES = {
    "SoftmaxCrossEntropy": xpnn.SoftmaxCrossEntropy,
    "MeanSquaredError": xpnn.MeanSquaredError,
    "BinaryCrossEntropy": xpnn.BinaryCrossEntropy,
}


def make(library, loss, lr=0.5):
    return xpnn.Sequential(
        [xpnn.Linear(WIDTH, CLASSES)], LOSSES[loss](), lr=lr, backend=library.plain, seed=1
    )


def reference(weights, bias, x):
    """The output, in float64, of samples as the network's type has them."""
    with np.errstate(all="ignore"):
        x = np.asarray(x).astype(np.float32).astype(np.float64)
        if x.ndim < 2 or x.shape[-1] != WIDTH:
            raise ValueError("no samples")
        return x, x @ weights.astype(np.float64) + bias.astype(np.float64)


def reference_loss(name, z, y, w):
    """The loss and its gradient by the output, in float64, from their definitions.

    Of sequences each step is a row, with the weight of its sample.
    """
    y = np.asarray(y).astype(np.float64)
    rows = len(z)
    with np.errstate(over="ignore"):
        w = np.ones(rows) if w is None else np.asarray(w).astype(np.float32).astype(np.float64)
    if w.shape != (rows,) or len(y) != rows or not ((w >= 0) & np.isfinite(w)).all():
        raise ValueError("no weights")
    if y.shape == z.shape:
        y = y.reshape(-1, CLASSES)
    z = z.reshape(-1, CLASSES)
    w = np.repeat(w, len(z) // rows)
    rows = len(z)
    share = w / (w.sum() or 1.0)
    with np.errstate(all="ignore"):
        if name == "SoftmaxCrossEntropy":
            if y.shape != z.shape:
                y = np.eye(CLASSES)[y.reshape(rows).astype(int)]
            shifted = z - z.max(axis=1, keepdims=True)
            total = np.exp(shifted).sum(axis=1, keepdims=True)
            costs = -(y * (shifted - np.log(total))).sum(axis=1)
            gradient = y.sum(axis=1, keepdims=True) * np.exp(shifted) / total - y
        else:
            if y.shape != z.shape:
                raise ValueError("no targets")
            if name == "MeanSquaredError":
                costs = ((z - y) ** 2).mean(axis=1)
                gradient = 2 * (z - y) / CLASSES
            else:
                costs = (np.logaddexp(0, z) - y * z).mean(axis=1)
                gradient = (1 / (1 + np.exp(-z)) - y) / CLASSES
        return (share * costs).sum(), share[:, None] * gradient


def frozen(value):
    """What an argument is, for a comparison afterwards."""
    if isinstance(value, np.ma.MaskedArray):
        return ("masked", value.filled(0).tobytes(), np.ma.getmaskarray(value).tobytes())
    if isinstance(value, np.ndarray):
        content = repr(value.tolist()) if value.dtype == object else value.tobytes()
        return ("array", value.dtype.str, value.shape, value.strides, content)
    return repr(value)


def tolerance(reference):
    """Float32, with cancellation in a sum of five."""
    finite = np.abs(reference)[np.isfinite(reference)]
    return 1e-4 * max(1.0, finite.max(initial=0.0))


def too_large(*arrays):
    """Whether float32 may not have carried the numbers to the end."""
    return not all(np.isfinite(a).all() and np.abs(a).max(initial=0.0) < 1e18 for a in arrays)


def check_message(error, word=""):
    """It is one line, and says something."""
    text = str(error)
    assert text
    assert "\n" not in text
    assert word in text


def check_halted(net, old):
    """As is documented of a step that diverges where the host does not wait: nothing changes any
    more, whatever comes, until somebody allows it.
    """
    x, y = np.ones((2, WIDTH)), np.full((2, CLASSES), 1 / CLASSES)
    for allowed in (False, True):
        after = net.state_dict()
        for key, value in old.items():
            np.testing.assert_array_equal(after[key], value)
        if allowed:
            net.reset_divergence()
        _, loss = net.train(x, y)
        assert math.isfinite(float(loss)) == allowed
    assert net.steps == 3
    assert any((net.state_dict()[key] != value).any() for key, value in old.items())


def counted(kind, library, part=0):
    COUNTS.setdefault(f"{kind} on {library}", [0, 0])[part] += 1


def run(kind):
    return settings(
        max_examples=EXAMPLES[kind],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def on_every_library(check, *arguments):
    """An example takes longer to draw than to try: each library gets the same."""
    for name, library in LIBRARIES.items():
        note(f"on {name}")
        with library.scope():
            check(name, library, *arguments)


def try_a_step(name, library, given_arguments):
    counted("a training step", name)
    loss_name, x, y, w = given_arguments
    before = [frozen(value) for value in (x, y, w)]
    net = make(library, loss_name)
    old = net.state_dict()
    weights, bias = old["0.W"], old["0.b"]
    waits = library.plain.synchronous
    try:
        output, loss = net.train(x, y, w)
    except DivergenceError:
        assert waits, "the host has waited for the device"
        x64, z = reference(weights, bias, x)
        cost, gradient = reference_loss(loss_name, z, y, w)
        assert too_large(x64, z, cost, gradient), "diverged without a reason"
        raised = True
    except XpnnError as error:
        check_message(error)
        raised = True
    else:
        raised = False
        output, loss = library.to_host(output), float(loss)
    assert [frozen(value) for value in (x, y, w)] == before, "an argument was modified"
    after = net.state_dict()
    if raised:
        for key, value in old.items():
            np.testing.assert_array_equal(after[key], value)
        assert net.steps == 0
        return
    x64, z = reference(weights, bias, x)
    cost, gradient = reference_loss(loss_name, z, y, w)
    if not math.isfinite(loss):
        assert not waits, "a loss that is not finite, and no error"
        assert too_large(x64, z, cost, gradient), "diverged without a reason"
        if not too_large(x64, z):
            np.testing.assert_allclose(output, z, rtol=1e-4, atol=tolerance(z))
        check_halted(net, old)
        return
    counted("a training step", name, 1)
    np.testing.assert_allclose(output, z, rtol=1e-4, atol=tolerance(z))
    np.testing.assert_allclose(loss, cost, rtol=1e-3, atol=tolerance(z))
    if not too_large(x64, z, gradient):
        scale = tolerance(x64) * max(1.0, np.abs(gradient).max(initial=0.0))
        expected = weights - 0.5 * x64.reshape(-1, WIDTH).T @ gradient
        np.testing.assert_allclose(after["0.W"], expected, rtol=1e-3, atol=10 * scale)
        expected = bias - 0.5 * gradient.sum(axis=0)
        np.testing.assert_allclose(after["0.b"], expected, rtol=1e-3, atol=10 * scale)


@needs_a_library
def test_steps():
    @run("step")
    @given(arguments())
    def check(given_arguments):
        on_every_library(try_a_step, given_arguments)

    check()


def try_an_output(name, library, x, way):
    counted("an output", name)
    before = frozen(x)
    net = make(library, "MeanSquaredError")
    state = net.state_dict()
    try:
        if way == "eval":
            output = library.to_host(net.eval(x))
        elif way == "predict":
            output = xpnn.predict(net, x, 2)
        else:
            output = xpnn.Model(net).output(x, 2)
    except XpnnError as error:
        check_message(error)
    else:
        counted("an output", name, 1)
        _, expected = reference(state["0.W"], state["0.b"], x)
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=tolerance(expected))
        assert output.dtype == np.float32
    assert frozen(x) == before, "an argument was modified"


@needs_a_library
def test_outputs():
    @run("predict")
    @given(st.integers(0, 5).flatmap(samples), st.sampled_from(["eval", "predict", "Model"]))
    def check(x, way):
        on_every_library(try_an_output, x, way)

    check()


def try_a_training(name, library, given_arguments, batch_size, validation):
    counted("a training", name)
    loss_name, x, y, w = given_arguments
    before = [frozen(value) for value in (x, y, w)]
    net = make(library, loss_name, lr=1e-3)
    old = net.state_dict()
    data = (x, y) if w is None else (x, y, w)
    try:
        history = xpnn.fit(net, data, 1, batch_size, validation=validation)
    except DivergenceError:
        pass
    except XpnnError as error:
        check_message(error)
        for key, value in net.state_dict().items():
            np.testing.assert_array_equal(value, old[key])
        assert net.steps == net.epochs == 0
    else:
        counted("a training", name, 1)
        assert math.isfinite(history["loss"][0])
        assert net.epochs == 1
        assert all(np.isfinite(value).all() for value in net.state_dict().values())
        assert np.isfinite(np.asarray(x, dtype=np.float64)).all()
        again = make(library, loss_name, lr=1e-3)
        xpnn.fit(again, data, 1, batch_size, validation=validation)
        for key, value in net.state_dict().items():
            np.testing.assert_array_equal(value, again.state_dict()[key])
    assert [frozen(value) for value in (x, y, w)] == before, "an argument was modified"


@needs_a_library
def test_trainings():
    @run("fit")
    @given(
        arguments(),
        st.sampled_from([1, 2, 4, 4, 0, -1, 2.5, None, True]),
        st.sampled_from([None, None, 0.5, 0.0, 1.5, math.nan]),
    )
    def check(given_arguments, batch_size, validation):
        on_every_library(try_a_training, given_arguments, batch_size, validation)

    check()


SCALARS = [0, 1, 3, -1, 0.5, 1.5, -0.5, 1e-9, 1e30, True, None, "3", math.nan, math.inf, 2j, [1]]
CONSTRUCTORS = {
    "Linear": (xpnn.Linear, ("input_dim", "output_dim")),
    "BatchNorm": (xpnn.BatchNorm, ("dim", "epsilon", "momentum")),
    "Dropout": (xpnn.Dropout, ("p",)),
    "LayerNorm": (xpnn.LayerNorm, ("dim", "epsilon")),
    "SGD": (xpnn.SGD, ("lr", "momentum")),
    "Adam": (xpnn.Adam, ("lr", "beta1", "beta2", "epsilon")),
    "RMSprop": (xpnn.RMSprop, ("lr", "rho", "epsilon")),
    "L2": (xpnn.L2, ("weight",)),
    "OneCycle": (xpnn.OneCycle, ("max_lr", "steps")),
    "ReduceOnPlateau": (xpnn.ReduceOnPlateau, ("lr", "factor", "patience")),
    "EarlyStopping": (xpnn.EarlyStopping, ("patience", "min_delta")),
    "SoftmaxCrossEntropy": (xpnn.SoftmaxCrossEntropy, ("label_smoothing", "ignore_index")),
}


def test_settings():
    @run("constructor")
    @given(st.sampled_from(sorted(CONSTRUCTORS)), st.lists(st.sampled_from(SCALARS), max_size=4))
    def check(name, values):
        counted("a setting", "the host")
        kind, names = CONSTRUCTORS[name]
        chosen = dict(zip(names, values, strict=False))
        try:
            thing = kind(**chosen)
        except XpnnError as error:
            check_message(error)
        except TypeError as error:  # an argument is missing
            check_message(error, "required")
        else:
            counted("a setting", "the host", 1)
            for key, value in chosen.items():
                kept = getattr(thing, key)
                assert kept == value
                assert not isinstance(kept, complex | str)
            copy.deepcopy(thing)

    check()


def test_enough_examples(tried):
    """After the others, in the same process."""
    if not COUNTS:
        pytest.skip("the examples were not made in this process")
    for kind, (count, results) in COUNTS.items():
        outcome = f"{results:,} right results, else a documented error"
        tried(f"{kind} with any arguments", count, outcome)
        assert results >= count // 10, f"{kind}: hardly any example made sense"
    for name in LIBRARIES:
        made = [
            n for kind, (n, _) in COUNTS.items() if kind.endswith((f"on {name}", "on the host"))
        ]
        if len(made) == len(EXAMPLES):  # else somebody has chosen some of the tests
            assert sum(made) >= 5000, f"{name}: too few examples"
