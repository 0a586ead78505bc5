"""Flat vectors with named, shaped parts.

All parameters of a network lie in one vector, all gradients in a second, all buffers in a third,
in the same order as each other: weights first, then biases, then scales, so that every role is
one slice. What acts on whole vectors (optimizers, clipping, regularization, checkpoints) sees the
vectors; a layer sees dictionaries of shaped arrays. Where a library has views, both are the same
memory; on an immutable library (JAX) the dictionaries hold fresh slices after every change.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._checks import ROLES
from ._standard import Array, is_immutable, vector_of_zeros
from .backend import Backend
from .errors import ConfigurationError, ShapeError, XpnnError, unknown
from .layers.layer import Layer

__all__ = ["FlatVector", "Parameters", "Part", "Parts", "ReadByItem"]


@dataclass(frozen=True)
class Part:
    """One named array in a flat vector."""

    layer: str  #: key of the layer in its network, such as "0" or "encoder.2"
    name: str  #: name in the layer's dictionary, such as "W"
    shape: tuple[int, ...]
    role: str
    start: int

    @property
    def key(self) -> str:
        """Layer and name, such as "0.W"."""
        return f"{self.layer}.{self.name}"

    @property
    def stop(self) -> int:
        """End of the part in the vector."""
        return self.start + math.prod(self.shape)


class Parts(dict[str, Array]):
    """A layer's dictionary whose arrays are parts of a `FlatVector`.

    Assigning to an entry writes into the vector. A name that the vector does not have is kept
    and remembered, as is one that is taken away, so that the network can lay its vectors out anew.
    """

    # Those of `dict` would go past `__setitem__` and `__delitem__`.
    update = MutableMapping.update
    setdefault = MutableMapping.setdefault
    pop = MutableMapping.pop
    popitem = MutableMapping.popitem
    clear = MutableMapping.clear

    def __init__(self, vector: FlatVector, parts: Iterable[Part], owner: str) -> None:
        super().__init__()
        self.vector = vector
        self.parts = {part.name: part for part in parts}
        self.owner = owner
        self.refresh()

    def refresh(self) -> None:
        """Take the shaped parts out of the vector."""
        for name in self.parts:
            self._show(name)

    def _show(self, name: str) -> Array:
        part, vector = self.parts[name], self.vector
        piece = vector.backend.xp.reshape(vector.array[part.start : part.stop], part.shape)
        super().__setitem__(name, piece)
        return piece

    def __setitem__(self, name: str, value: Any) -> None:
        part = self.parts.get(name)
        if part is None:
            super().__setitem__(name, value)
            self.vector.outdated = True
            return
        current = self[name] if name in self else self._show(name)
        if value is current:
            return
        if (
            type(value) is not type(current)
            or value.dtype != current.dtype
            # What jax.jit traces has no device.
            or getattr(value, "device", None) != getattr(current, "device", None)
        ):
            backend = self.vector.backend
            value = backend.asarray(value, backend.float_dtype, f"{self.owner}: {name!r}")
        if value.shape != part.shape:
            raise ShapeError(
                f"{self.owner}: {name!r} has shape {part.shape}, "
                f"got an array of shape {tuple(value.shape)}"
            )
        if self.vector.immutable:
            super().__setitem__(name, value)
            self.vector.stale = self.vector.shared = True
        else:
            current[...] = value

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self.vector.outdated = True

    def __ior__(self, other: Any) -> Parts:  # type: ignore[override, misc]
        self.update(other)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickle stands on its own: views would lose their vector, and arrays their device.
        host = self.vector.backend.to_host
        return dict, ({name: host(value) for name, value in self.items()},)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Array]:
        backend = self.vector.backend
        with backend.scope():
            return {name: backend.xp.asarray(v, copy=True) for name, v in self.items()}

    def peek(self) -> dict[str, Array]:
        """Return the arrays to somebody who keeps none of them."""
        return dict.copy(self)

    def put(self, arrays: dict[str, Array]) -> None:
        """Show these arrays, which are like those that are here and nobody else's."""
        dict.clear(self)
        dict.update(self, arrays)


class ReadByItem(dict[str, Array]):
    """A dictionary whose values are all got by ``__getitem__``, which `dict` passes by."""

    get = MutableMapping.get  # type: ignore[assignment]
    items = MutableMapping.items  # type: ignore[assignment]
    values = MutableMapping.values  # type: ignore[assignment]

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()  # for ``dict(...)`` and ``**``, which look whether it is there

    def copy(self) -> dict[str, Array]:
        """Return the values in a plain dictionary."""
        return dict(self)


class _WatchedParts(ReadByItem, Parts):
    """Notes when somebody gets an array, whose memory then must not be used for another one."""

    def __getitem__(self, name: str) -> Array:
        self.vector.shared = True
        return super().__getitem__(name)


class FlatVector:
    """A vector and the dictionaries that show its parts.

    Attributes
    ----------
    shared : bool
        Whether somebody may hold an array of a dictionary (immutable libraries only): a compiled
        step takes the memory of those that it replaces.
    """

    def __init__(self, backend: Backend, parts: list[Part]) -> None:
        self.backend = backend
        self.parts = parts
        # Weak, so that a network that nobody has any longer is gone at once, with its memory.
        self._shown: list[weakref.ref[Parts]] = []
        self._array = vector_of_zeros(parts[-1].stop if parts else 0, like=backend.zeros(0))
        self.immutable = is_immutable(self._array)
        self.stale = False  # entries were assigned that the vector has not seen (immutable only)
        self.outdated = False  # a dictionary has got a new name, or has lost one
        self.shared = True

    def show(self, layer: str, owner: str) -> Parts:
        """Make the dictionary of a layer."""
        kind = _WatchedParts if self.immutable else Parts
        view = kind(self, [part for part in self.parts if part.layer == layer], owner)
        self._shown.append(weakref.ref(view))
        return view

    @property
    def views(self) -> list[Parts]:
        """The dictionaries that are still in use."""
        return [view for shown in self._shown if (view := shown()) is not None]

    @property
    def array(self) -> Array:
        """The whole vector. Assign to it after changing it, even if it was changed in place."""
        if self.stale:
            xp = self.backend.xp
            self.shared = True  # of a single part, the vector is the part
            shown = {
                part.key: view[name]
                for view in self.views
                for name, part in view.parts.items()
                if name in view
            }
            pieces = [
                xp.reshape(shown[part.key], (-1,))
                if part.key in shown
                else self._array[part.start : part.stop]
                for part in self.parts
            ]
            self._array, self.stale = xp.concat(pieces), False
        return self._array

    @array.setter
    def array(self, value: Array) -> None:
        if self.immutable:
            self._array, self.stale, self.shared = value, False, True
            for view in self.views:
                view.refresh()
        elif value is not self._array:
            self._array[...] = value

    def zero(self) -> None:
        """Set every element to zero."""
        if self.immutable:
            self.array = self.backend.zeros(self._array.shape)
        else:
            self._array[...] = 0.0

    def copy(self) -> Array:
        """Return a copy of the vector."""
        return self.backend.xp.asarray(self.array, copy=True)

    def named(self, vector: Array | None = None) -> dict[str, Array]:
        """Return the parts by their keys; of another vector of the same layout if one is given."""
        source = self.array if vector is None else vector
        reshape = self.backend.xp.reshape
        return {p.key: reshape(source[p.start : p.stop], p.shape) for p in self.parts}


class Parameters:
    """The parameters, gradients and buffers of the layers of a network.

    Parameters
    ----------
    layers : dict of str to Layer
        The layers by their keys.
    backend : Backend
        Where the vectors live.
    """

    def __init__(self, layers: dict[str, Layer], backend: Backend) -> None:
        self.layers = layers
        self.backend = backend
        self.values = FlatVector(backend, _lay_out(layers, "params"))
        self.grads = FlatVector(backend, self.values.parts)
        self.buffers = FlatVector(backend, _lay_out(layers, "buffers"))
        self._shown = {
            key: {
                "params": self.values.show(key, layer.name),
                "grads": self.grads.show(key, layer.name),
                "buffers": self.buffers.show(key, layer.name),
            }
            for key, layer in layers.items()
        }
        self.sync()

    @property
    def outdated(self) -> bool:
        """Whether the layers have other parameters or buffers than the vectors."""
        return self.values.outdated or self.buffers.outdated

    def sync(self) -> None:
        """Bring home what somebody has put in the place of a layer's dictionaries."""
        for key, layer in self.layers.items():
            shown = self._shown[key]
            if layer.params is not shown["params"]:
                _adopt(layer, "params", shown["params"])
            if layer.buffers is not shown["buffers"]:
                _adopt(layer, "buffers", shown["buffers"])
            layer.grads = shown["grads"]

    def named(self) -> dict[str, Array]:
        """Return the parameters and the buffers by their keys, such as "0.W"."""
        return self.values.named() | self.buffers.named()

    def assign(self, arrays: Mapping[str, Any]) -> None:
        """Give parameters and buffers the values of arrays, which have their keys and shapes."""
        backend = self.backend
        with backend.scope():
            # All are on the device before the first is changed: it may have too little memory.
            moved = {k: backend.asarray(v, dtype=backend.float_dtype) for k, v in arrays.items()}
            for kind, vector in (("params", self.values), ("buffers", self.buffers)):
                for part in vector.parts:
                    self._shown[part.layer][kind][part.name] = moved[part.key]

    def restore_buffers(self, vector: Array) -> None:
        """Give the buffers the values of a vector of their layout, wherever they lie by now."""
        named = self.buffers.named(vector)
        for part in self.buffers.parts:
            self.layers[part.layer].buffers[part.name] = named[part.key]

    def gather_grads(self) -> Array:
        """Return the vector of gradients after a backward pass.

        Raises
        ------
        XpnnError
            If a layer has emptied or replaced its gradients and not written all of them.
        """
        for key, layer in self.layers.items():
            shown = self._shown[key]["grads"]
            if layer.grads is shown and shown.keys() == shown.parts.keys():
                continue
            missing = shown.parts.keys() - layer.grads.keys()
            if missing:
                raise XpnnError(f"{layer.name}: backward wrote no gradient of {min(missing)!r}")
            _adopt(layer, "grads", shown)
        return self.grads.array

    def parts(self, roles: Collection[str] | None) -> list[Part]:
        """Return the parameters of some roles (None: all)."""
        return [part for part in self.values.parts if roles is None or part.role in roles]

    def slices(self, roles: Collection[str] | None) -> list[slice]:
        """Return where some roles lie in the vectors (None: all), adjacent slices merged."""
        merged: list[slice] = []
        for part in self.parts(roles):
            if merged and merged[-1].stop == part.start:
                merged[-1] = slice(merged[-1].start, part.stop)
            else:
                merged.append(slice(part.start, part.stop))
        return merged


def _lay_out(layers: dict[str, Layer], kind: str) -> list[Part]:
    """Order the arrays of all layers by role, then by layer, and give each its place."""
    found = []
    for key, layer in layers.items():
        for name, value in getattr(layer, kind).items():
            role = layer.roles.get(name, "weight")
            if role not in ROLES:
                raise ConfigurationError(f"{layer.name}: {name!r}: {unknown('role', role, ROLES)}")
            shape = tuple(value.shape) if hasattr(value, "shape") else np.shape(value)
            found.append((ROLES.index(role), key, name, shape))
    # The sort is stable: within a role the order is the network's.
    parts: list[Part] = []
    for rank, key, name, shape in sorted(found, key=lambda item: item[0]):
        start = parts[-1].stop if parts else 0
        parts.append(Part(key, name, shape, ROLES[rank], start))
    return parts


def _adopt(layer: Layer, kind: str, shown: Parts) -> None:
    """Copy a layer's own dictionary into the vector and show the vector's parts instead."""
    current = getattr(layer, kind)
    if current is shown:
        return
    for name in shown.keys() - shown.parts.keys() - current.keys():
        del shown[name]
    for name, value in current.items():
        shown[name] = value
    setattr(layer, kind, shown)
