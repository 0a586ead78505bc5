"""The layers, one file for each or for each family."""

from __future__ import annotations

from .activations import ELU, LeakyReLU, ReLU, Sigmoid, Tanh
from .attention import MultiHeadAttention
from .batchnorm import BatchNorm, BatchNorm2d
from .bidirectional import Bidirectional
from .composites import Parallel, Residual
from .convolution import Conv1d, Conv2d
from .convtranspose import ConvTranspose2d
from .dropout import Dropout, Dropout2d
from .embedding import Embedding
from .flatten import Flatten
from .gelu import GELU, SiLU, Softplus
from .groupnorm import GroupNorm
from .gru import GRU
from .layer import Layer
from .layernorm import LayerNorm
from .linear import Linear
from .lstm import LSTM
from .masked import Masked
from .overtime import LastStep, MaxOverTime, MeanOverTime
from .pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from .positional import PositionalEncoding
from .recompute import Recompute
from .recurrent import RNN
from .softmax import Softmax
from .transformer import TransformerBlock

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "AvgPool2d",
    "BatchNorm",
    "BatchNorm2d",
    "Bidirectional",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Dropout2d",
    "Embedding",
    "Flatten",
    "GlobalAvgPool2d",
    "GroupNorm",
    "LastStep",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Masked",
    "MaxOverTime",
    "MaxPool2d",
    "MeanOverTime",
    "MultiHeadAttention",
    "Parallel",
    "PositionalEncoding",
    "ReLU",
    "Recompute",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "TransformerBlock",
]
