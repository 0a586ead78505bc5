"""Neural networks on any array.

Layers are written once against the Python array API standard, with explicit forward and backward;
the arrays decide where they run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import (
    _on_demand,
    augmentation,
    data,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    schedules,
)

# Not in `__all__`: a star import must not hide the standard library's `random`.
from . import random as random
from ._version import __version__
from .augmentation import Augmentation, RandomCrop, RandomFlip, RandomShift
from .backend import Backend, backend
from .callbacks import Callback, CSVLog, EarlyStopping, Progress
from .errors import (
    BackendError,
    CheckpointError,
    ConfigurationError,
    DataError,
    DivergenceError,
    GradientError,
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
    Recompute,
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
from .network import Network
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
from .sequential import Sequential
from .training import Checkpoint, evaluate, fit, predict

if TYPE_CHECKING:
    from . import fusion
    from .checkpoint import Model, load, save
    from .description import register
    from .gradient_check import check_gradients

# What only type checkers see above, everybody else gets on demand.
del TYPE_CHECKING


def __getattr__(name: str) -> object:
    """Load what most programs do not need."""
    return _on_demand.fetch(name)


_on_demand.hand_down()

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
    "Augmentation",
    "AvgPool2d",
    "Backend",
    "BackendError",
    "BatchNorm",
    "BatchNorm2d",
    "Bidirectional",
    "BinaryCrossEntropy",
    "CSVLog",
    "Callback",
    "Checkpoint",
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
    "GradientError",
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
    "RandomCrop",
    "RandomFlip",
    "RandomShift",
    "ReLU",
    "Recompute",
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
    "augmentation",
    "backend",
    "check_gradients",
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
    "register",
    "save",
    "schedules",
]
