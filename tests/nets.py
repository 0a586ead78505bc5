"""Small networks and data that several test files share."""

from __future__ import annotations

from typing import Any

import numpy as np

import xpnn


def classifier(backend: Any = None, *, seed: int = 0, optimizer: Any = None, **more: Any) -> Any:
    """A network with everything in it: two Linear layers, BatchNorm, ReLU and Dropout.

    There is no bias before BatchNorm: its gradient is zero but for rounding, and Adam makes steps
    of full size of that, other ones on every library.
    """
    return xpnn.Sequential(
        [
            xpnn.Linear(4, 8, bias=False),
            xpnn.BatchNorm(8),
            xpnn.ReLU(),
            xpnn.Dropout(0.3),
            xpnn.Linear(8, 3),
        ],
        xpnn.SoftmaxCrossEntropy(),
        optimizer=optimizer or xpnn.Adam(1e-2),
        backend=backend,
        seed=seed,
        **more,
    )


def blobs(rows: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points around three centres, and their classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    centres = np.asarray([[2.0, 0, 0, 1], [0, 2, 0, -1], [0, 0, 2, 0]])
    return centres[labels] + 0.7 * rng.standard_normal((rows, 4)), labels


def snapshot(net: Any) -> dict[str, Any]:
    """Everything that a step changes, as host data of its own."""
    host = net.backend.to_host
    arrays = {f"value {k}": v for k, v in net.parameters.values.named().items()}
    arrays |= {f"buffer {k}": v for k, v in net.parameters.buffers.named().items()}
    arrays |= {f"state {k}": v for k, v in net.optimizer_state.items()}
    return {k: np.array(host(v)) for k, v in arrays.items()} | {"steps": net.steps}


def assert_same(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare two snapshots bit for bit."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name, strict=True)


def values(net: Any) -> np.ndarray:
    """All parameters as one host vector of its own."""
    return np.array(net.backend.to_host(net.parameters.values.array))


def regression(rows: int = 20, outputs: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (rows, outputs) that follow from three features, with a little noise."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((rows, 3))
    noise = 0.1 * rng.standard_normal((rows, outputs))
    return x, np.tanh(x @ rng.standard_normal((3, outputs))) + noise


def regressor(backend: Any, outputs: int = 1, optimizer: Any = None, **more: Any) -> Any:
    """A small network for `regression`."""
    return xpnn.Sequential(
        [xpnn.Linear(3, 6), xpnn.Tanh(), xpnn.Linear(6, outputs)],
        xpnn.MeanSquaredError(),
        optimizer=optimizer or xpnn.SGD(0.1, momentum=0.5),
        backend=backend,
        seed=0,
        **more,
    )


def classifier_without_state(backend: Any, loss: Any = None) -> Any:
    """A network whose outputs depend on each row alone: no BatchNorm, no Dropout."""
    return xpnn.Sequential(
        [xpnn.Linear(4, 6), xpnn.Tanh(), xpnn.Linear(6, 3)],
        loss or xpnn.SoftmaxCrossEntropy(),
        0.3,
        backend=backend.plain,
        seed=0,
    )
