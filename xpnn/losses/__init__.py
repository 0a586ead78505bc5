"""Losses: how wrong an output is, and the gradient of that.

Every loss is a mean over the samples of the batch, weighted if the samples have weights, and
`Loss.backward` returns the gradient of exactly the number that `Loss.forward` returned.
"""

from __future__ import annotations

from .binary_cross_entropy import BinaryCrossEntropy
from .loss import Loss
from .regression import Huber, MeanAbsoluteError, MeanSquaredError
from .softmax_cross_entropy import SoftmaxCrossEntropy

__all__ = [
    "BinaryCrossEntropy",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SoftmaxCrossEntropy",
]
