"""Neural networks on any array.

Layers are written once against the Python array API standard, with explicit forward and backward;
the arrays decide where they run.
"""

from __future__ import annotations

from . import data, fusion, initializers, layers, losses, metrics, optimizers, random, schedules
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
from .kernels import cuda as _cuda
from .layers import (
    ELU,
    GELU,
    AvgPool2d,
    BatchNorm,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Dropout2d,
    Flatten,
    GlobalAvgPool2d,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool2d,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
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

# The one room that imports from all floors hands the kernels down to those that must not.
random.set_mask_maker("cupy", _cuda.mask)
Network.planner = fusion.plan

__all__ = [
    "ELU",
    "GELU",
    "L1",
    "L2",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AvgPool2d",
    "Backend",
    "BackendError",
    "BatchNorm",
    "BatchNorm2d",
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
    "Exponential",
    "Flatten",
    "GlobalAvgPool2d",
    "GroupNorm",
    "History",
    "Huber",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LinearWarmup",
    "Loss",
    "MaxPool2d",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Network",
    "OneCycle",
    "Optimizer",
    "OutOfMemoryError",
    "Progress",
    "RMSprop",
    "ReLU",
    "ReduceOnPlateau",
    "Regularization",
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
    "XpnnError",
    "__version__",
    "backend",
    "data",
    "evaluate",
    "fit",
    "fusion",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "predict",
    "random",
    "schedules",
]
