"""Neural networks on any array.

Layers are written once against the Python array API standard, with explicit forward and backward;
the arrays decide where they run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import data, initializers, layers, losses, metrics, optimizers, random, schedules
from ._version import __version__
from .backend import Backend, backend
from .callbacks import Callback, CSVLog, EarlyStopping, Progress
from .errors import (
    BackendError,
    CheckpointError,
    ConfigurationError,
    DataError,
    DivergenceError,
    OutOfMemoryError,
    ShapeError,
    XpnnError,
)
from .history import History
from .layers import (
    ELU,
    GELU,
    GRU,
    LSTM,
    RNN,
    AvgPool2d,
    BatchNorm,
    BatchNorm2d,
    Bidirectional,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Dropout2d,
    Embedding,
    Flatten,
    GlobalAvgPool2d,
    GroupNorm,
    LastStep,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    Masked,
    MaxOverTime,
    MaxPool2d,
    MeanOverTime,
    MultiHeadAttention,
    Parallel,
    PositionalEncoding,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    TransformerBlock,
)
from .losses import (
    BinaryCrossEntropy,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SoftmaxCrossEntropy,
)
from .metrics import Metric
from .network import Network, Sequential
from .optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from .regularization import L1, L2, ElasticNet, Regularization
from .schedules import (
    Constant,
    Cosine,
    Exponential,
    LinearWarmup,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    Step,
)
from .training import evaluate, fit, predict

if TYPE_CHECKING:
    from pathlib import Path

    from . import fusion
    from ._standard import Array
    from .checkpoint import Model, load, save
    from .description import register

#: What is loaded when it is first asked for, and the room that it comes from.
_ON_DEMAND = {
    "Model": "checkpoint",
    "load": "checkpoint",
    "save": "checkpoint",
    "register": "description",
}


def __getattr__(name: str) -> Any:
    """Load a name of `_ON_DEMAND`, or the room of that name."""
    if name == "fusion":
        return importlib.import_module(".fusion", __name__)
    if name in _ON_DEMAND:
        return getattr(importlib.import_module(f".{_ON_DEMAND[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# The one room that imports from all floors hands down what lower floors must not import. What it
# hands down loads the higher room when it is called.


def _plan(network: Network) -> fusion.Plan:
    from .fusion import plan

    return plan(network)


def _mask(stream: random.Stream, threshold: int, count: int, start: int, like: Array) -> Array:
    from .kernels.cuda import mask

    return mask(stream, threshold, count, start, like)


def _save(network: Network, path: str | Path, **description: Any) -> None:
    from .checkpoint import save

    save(network, path, **description)


random.set_mask_maker("cupy", _mask)
Network.planner = _plan
Network.saver = _save

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "L1",
    "L2",
    "LSTM",
    "RNN",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AvgPool2d",
    "Backend",
    "BackendError",
    "BatchNorm",
    "BatchNorm2d",
    "Bidirectional",
    "BinaryCrossEntropy",
    "CSVLog",
    "Callback",
    "CheckpointError",
    "ConfigurationError",
    "Constant",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Cosine",
    "DataError",
    "DivergenceError",
    "Dropout",
    "Dropout2d",
    "EarlyStopping",
    "ElasticNet",
    "Embedding",
    "Exponential",
    "Flatten",
    "GlobalAvgPool2d",
    "GroupNorm",
    "History",
    "Huber",
    "LastStep",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LinearWarmup",
    "Loss",
    "Masked",
    "MaxOverTime",
    "MaxPool2d",
    "MeanAbsoluteError",
    "MeanOverTime",
    "MeanSquaredError",
    "Metric",
    "Model",
    "MultiHeadAttention",
    "Network",
    "OneCycle",
    "Optimizer",
    "OutOfMemoryError",
    "Parallel",
    "PositionalEncoding",
    "Progress",
    "RMSprop",
    "ReLU",
    "ReduceOnPlateau",
    "Regularization",
    "Residual",
    "Schedule",
    "Sequential",
    "ShapeError",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "Step",
    "Tanh",
    "TransformerBlock",
    "XpnnError",
    "__version__",
    "backend",
    "data",
    "evaluate",
    "fit",
    "fusion",
    "initializers",
    "layers",
    "load",
    "losses",
    "metrics",
    "optimizers",
    "predict",
    "random",
    "register",
    "save",
    "schedules",
]
