"""Optimizers: how parameters follow from gradients.

An optimizer holds settings only. Parameters, gradients and the optimizer's state are flat vectors
that the network owns and passes in, so that one update is a few passes over whole vectors.
"""

from __future__ import annotations

from .adagrad import Adagrad
from .adam import Adam, AdamW
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop"]
