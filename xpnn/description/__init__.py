"""A network as plain data, and back.

A description is what JSON and TOML can hold: tables, lists, text, numbers. A thing in it is a
table with the name of its class under "type" and its constructor arguments beside it::

    {
        "layers": [{"type": "Linear", "input_dim": 64, "output_dim": 10}],
        "loss": {"type": "SoftmaxCrossEntropy"},
        "optimizer": {"type": "Adam", "lr": {"type": "OneCycle", "max_lr": 0.01}},
        "regularization": {"type": "L2", "weight": 1e-5, "roles": ["weight"]},
        "dtype": "float32",
        "seed": 0,
    }

A name alone, "ReLU", stands for a table with nothing but a type. Names are looked up in a fixed
table: the classes that xpnn exports, and those that the program has given to `register`. Nothing
is ever imported, and no code is run, because a description says so.
"""

from __future__ import annotations

from .reading import build, make
from .table import known, register
from .writing import describe

__all__ = ["build", "describe", "known", "make", "register"]
