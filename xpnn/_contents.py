"""What a network holds: layers, their parameters, and what the optimizer remembers."""

from __future__ import annotations

import copy
import os
import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from ._checks import expect_kind
from ._standard import Array
from .backend import Backend
from .backend import backend as open_backend
from .errors import ConfigurationError, DataError, ShapeError, XpnnError, unknown
from .layers.layer import Layer, find_layers
from .parameters import Parameters, Parts
from .random import Stream
from .random.sketch import Sketch

__all__ = ["Contents"]


class Contents:
    """The part of a `Network` that finds its layers, and lays out, moves and copies arrays."""

    #: Writes model files; handed over by `xpnn`, so that nothing here knows of them.
    saver: ClassVar[Callable[..., None] | None] = None

    backend: Backend
    seed: int
    optimizer_state: dict[str, Array]
    _parameters: Parameters | None
    _places: list[tuple[str, Stream]]
    _plan: Any
    _healthy: Array | None

    def named_layers(self) -> Iterator[tuple[str, Layer]]:
        """Yield every layer with its key, composites after the layers that they are made of."""
        for name, value in vars(self).items():
            yield from find_layers(name, value)

    @property
    def parameters(self) -> Parameters:
        """The flat vectors. Asking for them draws the parameters that are still missing."""
        layers = dict(self.named_layers())
        known = self._parameters
        if known is None or known.layers != layers:
            return self._lay_out(layers)
        known.sync()
        for layer, place in zip(layers.values(), self._places, strict=True):
            layer.name, layer.stream = place  # another network may share the layer
        return self._lay_out(layers) if known.outdated else known

    def _lay_out(self, layers: dict[str, Layer]) -> Parameters:
        """Make new vectors, unless they would not fit to what the optimizer remembers."""
        known = self._parameters
        places = self._name_and_build(layers)
        with self.backend.scope():
            fresh = Parameters(layers, self.backend)
        if self.optimizer_state:
            if known is not None:
                # Others, such as an activation, may come and go.
                own = [(key, layer) for key, layer in known.layers.items() if layer.params]
                fits = all(layers.get(key) is layer for key, layer in own)
                fits = fits and known.values.parts == fresh.values.parts
            else:  # in a copy
                shape = fresh.values.array.shape
                fits = all(vector.shape == shape for vector in self.optimizer_state.values())
            if not fits:
                raise XpnnError(
                    "layers or parameters were added or removed after training had begun: what "
                    "the optimizer remembers does not fit. Assign network.optimizer to begin anew"
                )
        self._parameters, self._places = fresh, places
        return fresh

    def _name_and_build(self, layers: dict[str, Layer]) -> list[tuple[str, Stream]]:
        """Name the layers, draw what they lack, and return their names and random streams."""
        positions: dict[int, str] = {}
        places = []
        for number, (key, layer) in enumerate(layers.items()):
            if not hasattr(layer, "params"):
                raise ConfigurationError(
                    f"layer {key} ({type(layer).__name__}) has not called super().__init__()"
                )
            if id(layer) in positions:
                raise ConfigurationError(
                    f"layers {positions[id(layer)]} and {key} are one object: make two"
                )
            positions[id(layer)] = key
            layer.name = f"layer {key} ({type(layer).__name__})"
            own_seed = getattr(layer, "seed", None)
            seed = self.seed if own_seed is None else own_seed
            layer.stream = Stream(seed, 2 * number + 2)
            places.append((layer.name, layer.stream))
            _check_given(layer)
            layer.build(Stream(seed, 2 * number + 1))
        return places

    def reseed(self, seed: int) -> None:
        """Take another seed for what is still to be drawn: masks, and the order of the rows."""
        self.seed = Stream(seed).seed
        if self._parameters is not None:
            self._places = self._name_and_build(self._parameters.layers)

    def to(self, device: str | None = None, backend: str | Backend | None = None) -> Self:
        """Move parameters, buffers and optimizer state to another device or library.

        Random streams are integers, so training goes on with the same masks. Returns the network.
        """
        parameters = self.parameters
        target = (
            backend
            if isinstance(backend, Backend)
            else open_backend(backend, device, self.backend.dtype)
        )
        source = self.backend
        here = [(layer, layer.params, layer.buffers) for layer in parameters.layers.values()]
        try:
            for layer, params, buffers in here:
                layer.cache.clear()
                layer.params = {name: source.to_host(value) for name, value in params.items()}
                layer.buffers = {name: source.to_host(value) for name, value in buffers.items()}
            with target.scope():
                state = {
                    name: target.asarray(source.to_host(value), dtype=target.float_dtype)
                    for name, value in self.optimizer_state.items()
                }
                moved = Parameters(parameters.layers, target)
        except BaseException:  # such as too little memory there: stay here
            for layer, params, buffers in here:
                layer.params, layer.buffers = params, buffers
            raise
        self.backend, self.optimizer_state, self._parameters = target, state, moved
        self._healthy = self._plan = None
        return self

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return a copy of all parameters and buffers, on the host, named as in `summary`.

        Examples
        --------
        >>> import xpnn
        >>> net = xpnn.Sequential([xpnn.Linear(2, 1)], xpnn.MeanSquaredError(), lr=0.1)
        >>> {name: value.shape for name, value in net.state_dict().items()}
        {'0.W': (2, 1), '0.b': (1,)}
        """
        with self.backend.scope():
            named = self.parameters.named()
            return {key: np.array(self.backend.to_host(value)) for key, value in named.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give parameters and buffers other values, cast to the network's type.

        Parameters
        ----------
        state : mapping of str to array_like
            All of them, named as in `summary` and `state_dict`. What the optimizer remembers
            stays.

        Raises
        ------
        ConfigurationError, ShapeError, DataError
            For a name that is missing or unknown, another shape, and what is no numbers. Nothing
            has changed then.
        """
        expect_kind("state", state, Mapping)
        parameters = self.parameters
        shapes = {key: tuple(value.shape) for key, value in parameters.named().items()}
        for key in sorted(shapes.keys() ^ state.keys()):
            what = "is missing" if key in shapes else "is none of the network's"
            raise ConfigurationError(f"state: {key} {what}; expected {', '.join(shapes)}")
        arrays = {}
        for key, value in state.items():
            array = value if self.backend.owns(value) else self.backend.host_data(value)
            if tuple(array.shape) != shapes[key]:
                raise ShapeError(
                    f"state: {key} has shape {tuple(array.shape)}, expected {shapes[key]}"
                )
            arrays[key] = array
        parameters.assign(arrays)

    def save(self, path: str | os.PathLike[str], **more: Any) -> None:
        """Write the network to a model file: `xpnn.save`, which has the arguments and errors."""
        if self.saver is None:
            raise XpnnError("nobody has handed over a writer of model files: import xpnn")
        self.saver(path, **more)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the vectors out: a copy holds plain arrays and lays out vectors of its own."""
        host = self.backend.to_host
        state = {name: host(vector) for name, vector in self.optimizer_state.items()}
        gone = {"_parameters": None, "_healthy": None, "_plan": None}
        return {**vars(self), "optimizer_state": state, **gone}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Bring the optimizer's vectors back to the device."""
        vars(self).update(state)
        with self.backend.scope():
            self.optimizer_state = {
                name: self.backend.asarray(vector, dtype=self.backend.float_dtype)
                for name, vector in self.optimizer_state.items()
            }


def _check_given(layer: Layer) -> None:
    """Check the shapes of what somebody has given a layer of xpnn before the network was made.

    Kernels would read and write beyond the end of what is too small.
    """
    if type(layer).__module__.partition(".")[0] != __name__.partition(".")[0]:
        return  # only its author knows
    plain = {k: getattr(layer, k) for k in ("params", "buffers")}
    plain = {k: given for k, given in plain.items() if given and not isinstance(given, Parts)}
    if not plain:
        return
    drawn = copy.copy(layer)
    drawn.params, drawn.buffers = {}, {}
    drawn.build(Sketch())
    for kind, given in plain.items():
        expected = getattr(drawn, kind)
        for name, value in given.items():
            if name not in expected:
                what = "parameter" if kind == "params" else "buffer"
                raise ConfigurationError(f"{layer.name}: {unknown(what, name, expected)}")
            wanted = np.shape(expected[name])
            try:
                shape = np.shape(value)
            except ValueError:
                raise ShapeError(
                    f"{layer.name}: {name!r} has shape {wanted}, got rows of different lengths"
                ) from None
            foreign = hasattr(value, "dtype") and not isinstance(value, np.ndarray)
            if not foreign and np.asarray(value).dtype.kind not in "biuf":
                raise DataError(
                    f"{layer.name}: {name!r}: expected an array of real numbers of shape "
                    f"{wanted}, got {reprlib.repr(value)}"
                )
            if shape != wanted:
                raise ShapeError(
                    f"{layer.name}: {name!r} has shape {wanted}, got an array of shape {shape}"
                )
