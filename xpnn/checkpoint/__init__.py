"""Model files: a network with what it has learnt and what it needs to be used.

A model file is a safetensors file: a header of JSON, then the numbers. Its tensors are the
parameters and buffers under the keys that `Network.summary` shows, such as "0.W". Its metadata
are "format", "format_version", "content" (JSON: the description of the network, seed, counters,
class names, and of each tensor its kind, type, shape and SHA-256) and the SHA-256 of that.

A checkpoint is a model file that also has a training in it: the state of the optimizer and of the
schedule, and what `xpnn.fit` needs to go on. `load` reads the network of both.

A file is written whole or not at all, and everything in it is checked before a network is made of
it. No code comes from a file: see `xpnn.description`.
"""

from __future__ import annotations

from ._files import sweep, write_file
from ._loading import load
from ._model import Model
from ._saving import save
from ._training import Stored, read_training, restore_network, write_training

__all__ = [
    "Model",
    "Stored",
    "load",
    "read_training",
    "restore_network",
    "save",
    "sweep",
    "write_file",
    "write_training",
]
