"""Regularization: penalties and their gradients, and what is refused."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest

import xpnn
from tolerances import assert_close
from xpnn.errors import ConfigurationError
from xpnn.regularization import L1, L2, ElasticNet, Regularization

VALUES = np.random.default_rng(0).normal(size=(4, 3, 2))
VALUES[1, 2, 0] = 0.0
PENALTIES = [L2(0.3), L1(0.3), ElasticNet(0.2, 0.7)]


def _oracle(torch: Any, penalty: Regularization, host: np.ndarray) -> tuple[float, np.ndarray]:
    """Write the penalty in PyTorch and let it find the gradient."""
    p = torch.tensor(host, dtype=torch.float64, requires_grad=True)
    if isinstance(penalty, ElasticNet):
        value = penalty.l1 * p.abs().sum() + penalty.l2 * (p**2).sum()
    elif isinstance(penalty, L1):
        value = penalty.weight * p.abs().sum()
    else:
        value = penalty.weight * (p**2).sum()
    value.backward()
    return value.item(), p.grad.numpy()


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@pytest.mark.parametrize("shape", [(24,), (6, 4), (4, 3, 2), (1, 1)], ids=str)
def test_value_and_gradient_against_torch(
    backend_each_dtype: Any, penalty: Regularization, shape: tuple[int, ...]
) -> None:
    torch = pytest.importorskip("torch")
    backend = backend_each_dtype
    host = VALUES.reshape(-1)[: math.prod(shape)].reshape(shape).astype(backend.dtype)
    expected, gradient = _oracle(torch, penalty, host)
    param = backend.asarray(host)
    value, result = penalty.forward(param), penalty.backward(param)
    assert value.shape == ()
    assert value.dtype == result.dtype == param.dtype
    assert backend.plain.owns(result)
    assert_close(backend.to_host(value), expected, backend.dtype)
    assert_close(backend.to_host(result), gradient, backend.dtype)
    np.testing.assert_array_equal(backend.to_host(param), host)


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_gradient_against_central_differences(penalty: Regularization) -> None:
    gradient = penalty.backward(VALUES)
    rng = np.random.default_rng(1)
    for _ in range(4):
        direction = rng.normal(size=VALUES.shape) * (VALUES != 0)
        ahead = penalty.forward(VALUES + 1e-6 * direction)
        slope = (ahead - penalty.forward(VALUES - 1e-6 * direction)) / 2e-6
        np.testing.assert_allclose(slope, (gradient * direction).sum(), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_non_contiguous_parameters(backend: Any, penalty: Regularization) -> None:
    param, view = backend.asarray(VALUES), backend.strided(VALUES)
    value = backend.to_host(penalty.forward(param))
    assert_close(backend.to_host(penalty.forward(view)), value, "float32")
    np.testing.assert_array_equal(
        backend.to_host(penalty.backward(view)), backend.to_host(penalty.backward(param))
    )


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_elementwise_penalties_add_up(penalty: Regularization) -> None:
    assert penalty.elementwise
    flat = VALUES.reshape(-1)
    parts = [flat[:5], flat[5:5], flat[5:]]
    total = sum(penalty.forward(part) for part in parts)
    np.testing.assert_allclose(total, penalty.forward(flat), rtol=1e-12)
    gradients = np.concatenate([penalty.backward(part) for part in parts])
    np.testing.assert_array_equal(gradients, penalty.backward(flat))


def test_l2_is_that_of_the_tutorial() -> None:
    w = np.asarray([[1.0, -2.0], [3.0, 0.5]])
    assert L2(0.1).forward(w) == pytest.approx(0.1 * np.sum(w * w))
    np.testing.assert_allclose(L2(0.1).backward(w), 0.2 * w)


def test_weight_of_an_elastic_net_scales_all_of_it() -> None:
    net, twice = ElasticNet(0.5, 0.25), copy.copy(ElasticNet(1.0, 0.5))
    net.weight = 2.0
    assert net.forward(VALUES) == pytest.approx(twice.forward(VALUES))
    np.testing.assert_allclose(net.backward(VALUES), twice.backward(VALUES))


def test_settings_are_attributes() -> None:
    assert L2(1).roles is None
    assert L2(1, {"scale", "weight"}).roles == ("weight", "scale")
    assert L1(np.float32(0.5), ["bias"]).weight == 0.5
    assert repr(L2(0.1, {"weight"})) == "L2(0.1, roles=('weight',))"
    assert repr(ElasticNet(0.1, 0.2, ["bias"])) == "ElasticNet(0.1, 0.2, roles=('bias',))"


def test_the_base_class_leaves_the_work_to_others() -> None:
    penalty = Regularization(1.0)
    assert not penalty.elementwise
    with pytest.raises(NotImplementedError, match=r"Regularization does not define forward"):
        penalty.forward(VALUES)
    with pytest.raises(NotImplementedError, match=r"Regularization does not define backward"):
        penalty.backward(VALUES)


@pytest.mark.parametrize("weight", [-1e-9, math.nan, math.inf, "1", None, True, 1j, [1.0]])
def test_bad_weights(weight: Any) -> None:
    for kind in (L1, L2, Regularization):
        message = rf"^{kind.__name__}: weight must be a number in \[0, inf\), got "
        with pytest.raises(ConfigurationError, match=message):
            kind(weight)
    with pytest.raises(ConfigurationError, match=r"^ElasticNet: l1 must be"):
        ElasticNet(weight, 1.0)
    with pytest.raises(ConfigurationError, match=r"^ElasticNet: l2 must be"):
        ElasticNet(1.0, weight)


@pytest.mark.parametrize("weight", [-1.0, math.nan, "x", None])
def test_bad_weights_are_not_assigned(weight: Any) -> None:
    penalties = [(L1(0.5), "weight"), (L2(0.5), "weight"), (ElasticNet(0.5, 0.5), "weight")]
    for penalty, name in [*penalties, (ElasticNet(0.5, 0.5), "l1"), (ElasticNet(0.5, 0.5), "l2")]:
        before = dict(vars(penalty))
        message = rf"^{type(penalty).__name__}: {name} must be a number in \[0, inf\), got "
        with pytest.raises(ConfigurationError, match=message):
            setattr(penalty, name, weight)
        assert vars(penalty) == before


def test_roles_may_be_assigned() -> None:
    penalty = L2(0.5, {"weight"})
    penalty.roles = {"scale", "weight"}
    assert penalty.roles == ("weight", "scale")
    with pytest.raises(ConfigurationError, match=r"^L2: unknown role 'weights'"):
        penalty.roles = {"weights"}
    penalty.roles = None
    assert penalty.roles is None


def test_a_subclass_that_leaves_out_the_constructor() -> None:
    class Own(Regularization):
        def __init__(self) -> None:
            pass

    with pytest.raises(ConfigurationError, match=r"^Own: no weight: has it called super\(\)"):
        xpnn.Sequential([xpnn.Linear(1, 1)], xpnn.MeanSquaredError(), lr=0.1, regularization=Own())


def test_bad_roles() -> None:
    with pytest.raises(
        ConfigurationError, match=r"L2: unknown role 'weights': did you mean 'weight'"
    ):
        L2(1.0, {"weights"})
    with pytest.raises(ConfigurationError, match=r"L1: roles must be a set of .*, got 'weight'"):
        L1(1.0, "weight")
    with pytest.raises(ConfigurationError, match=r"ElasticNet: roles must be a set of .*, got 3"):
        ElasticNet(1.0, 1.0, 3)
