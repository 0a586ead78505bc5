"""The layers, one file for each or for each family."""

from __future__ import annotations

from .activations import ELU, LeakyReLU, ReLU, Sigmoid, Tanh
from .batchnorm import BatchNorm
from .convolution import Conv1d, Conv2d, ConvTranspose2d
from .dropout import Dropout
from .flatten import Flatten
from .gelu import GELU, SiLU, Softplus
from .layer import Layer
from .layernorm import LayerNorm
from .linear import Linear
from .softmax import Softmax

__all__ = [
    "ELU",
    "GELU",
    "BatchNorm",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Flatten",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]
