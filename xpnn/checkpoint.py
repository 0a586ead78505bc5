"""Model files: a network with what it has learnt and what it needs to be used.

A model file is a safetensors file: a header of JSON, then the numbers. Its tensors are the
parameters and buffers under the keys that `Network.summary` shows, such as "0.W". Its metadata
are "format", "format_version", "content" (JSON: the description of the network, seed, counters,
class names, and of each tensor its kind, type, shape and SHA-256) and the SHA-256 of that.

A file is written whole or not at all, and everything in it is checked before a network is made of
it. No code comes from a file: see `xpnn.description`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .backend import Backend
from .data.batches import as_count
from .data.checks import as_host_array, check_finite
from .data.standardization import Standardization
from .description import build, describe
from .errors import BackendError, CheckpointError, ConfigurationError, XpnnError
from .losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from .network import Network, Sequential

__all__ = ["Model", "load", "save", "write_file"]

FORMAT = "xpnn"
VERSION = "1"
#: What the header of a file may take: that of a network of a million layers.
_HEADER_LIMIT = 1 << 28

_Path: TypeAlias = "str | os.PathLike[str]"
_Tensors: TypeAlias = dict[str, NDArray[Any]]


@dataclass
class Model:
    """A trained network with its preprocessing: what a model file holds.

    Parameters
    ----------
    network : Network
        Takes standardized samples.
    standardization : Standardization, optional
        Of the samples. By default they go to the network as they are.
    target_standardization : Standardization, optional
        Of the targets of a regression; undone on the outputs.
    class_names : tuple of str, optional
        K names of a classifier, the k-th for label k.
    extra : dict
        Whatever else was saved.

    Examples
    --------
    >>> import numpy as np, xpnn
    >>> net = xpnn.Sequential([xpnn.Linear(2, 2, seed=0)], xpnn.SoftmaxCrossEntropy(), lr=0.1)
    >>> net.layers[0].params["W"] = np.eye(2)
    >>> model = Model(net, class_names=("left", "right"))
    >>> model.predict([[3.0, 1.0], [1.0, 3.0]]).tolist()
    ['left', 'right']
    >>> model.probabilities([[3.0, 1.0]]).round(3).tolist()
    [[0.881, 0.119]]
    """

    network: Network
    standardization: Standardization | None = None
    target_standardization: Standardization | None = None
    class_names: tuple[str, ...] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def output(self, x: ArrayLike, batch_size: int = 256) -> NDArray[Any]:
        """Return the outputs: logits of a classifier, or values in the unit of the targets.

        Parameters
        ----------
        x : array_like, shape (N, ...)
            Samples in their own unit, on the host.
        batch_size : int
            Rows computed at a time, >= 1.

        Returns
        -------
        numpy.ndarray, shape (N, ...)
            On the host.

        Raises
        ------
        ConfigurationError, DataError, ShapeError
            If the samples cannot be used.
        """
        batch_size = as_count("batch_size", batch_size)
        backend = self.network.backend
        array = as_host_array(backend.host_data(x), "x")
        check_finite(array, "x")
        parts = []
        for start in range(0, max(1, array.shape[0]), batch_size):
            part = array[start : start + batch_size]
            if self.standardization is not None:
                part = self.standardization.transform(part, dtype=backend.dtype)
            parts.append(backend.to_host(self.network.eval(part)))
        output: NDArray[Any] = np.concatenate(parts)
        if self.target_standardization is not None:
            output = self.target_standardization.inverse_transform(output)
        return output

    def predict(self, x: ArrayLike, batch_size: int = 256) -> NDArray[Any]:
        """Return what a user wants to know: the classes, or the values of a regression.

        Parameters and exceptions are those of `output`.

        Returns
        -------
        numpy.ndarray
            (N,) names of classes, or labels if there are no names; or the outputs (N, ...) of a
            network whose loss is not a cross-entropy.
        """
        output = self.output(x, batch_size)
        if not self.classifies:
            return output
        labels = self.labels(output)
        return labels if self.class_names is None else np.asarray(self.class_names)[labels]

    def probabilities(self, x: ArrayLike, batch_size: int = 256) -> NDArray[np.float64]:
        """Return the probability of each class.

        Parameters and exceptions are those of `output`; and a ConfigurationError if the loss is
        not a cross-entropy.

        Returns
        -------
        numpy.ndarray, shape (N, K), float64
            Rows with a sum of 1. With one output a sample, the second of two classes is "yes".
        """
        if not self.classifies:
            loss = type(self.network.loss).__name__
            raise ConfigurationError(f"a network with the loss {loss} gives no probabilities")
        return self.class_probabilities(self.output(x, batch_size))

    @property
    def classifies(self) -> bool:
        """Whether the outputs are logits of classes."""
        return isinstance(self.network.loss, SoftmaxCrossEntropy | BinaryCrossEntropy)

    @staticmethod
    def labels(output: NDArray[Any]) -> NDArray[np.intp]:
        """Return the most probable class of each row of logits, (N,)."""
        rows = output.reshape(output.shape[0], -1)
        if rows.shape[1] == 1:
            return (rows[:, 0] > 0).astype(np.intp)
        return np.argmax(rows, axis=1)

    @staticmethod
    def class_probabilities(output: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probabilities of logits (N, K), or (N, K) with K = 2 of logits (N, 1)."""
        logits = output.reshape(output.shape[0], -1).astype(np.float64)
        if logits.shape[1] == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = exponential / exponential.sum(axis=1, keepdims=True)
        return probabilities


def save(
    network: Network,
    path: _Path,
    standardization: Standardization | None = None,
    class_names: Iterable[str] | None = None,
    extra: Mapping[str, Any] | None = None,
    *,
    target_standardization: Standardization | None = None,
) -> None:
    """Write a network to a model file.

    The file appears whole, on the disk, or not at all: what was there before stays until then.
    Its mode follows the umask. A network that is not a `Sequential` is written without its
    description: see ``network`` of `load`.

    Parameters
    ----------
    network : Network
        Of any back end. Not changed.
    path : path-like
        The file; replaced if it is there.
    standardization, target_standardization, class_names
        As in `Model`.
    extra : dict, optional
        Whatever else JSON can hold.

    Raises
    ------
    ConfigurationError
        If something cannot be written: a layer of a class that is not registered, an argument of
        a wrong kind.
    CheckpointError
        If the file cannot be written, or the package safetensors is missing.

    Examples
    --------
    >>> import tempfile, xpnn
    >>> net = xpnn.Sequential([xpnn.Linear(2, 1)], xpnn.MeanSquaredError(), lr=0.1, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(net, f"{folder}/model.safetensors")
    ...     again = load(f"{folder}/model.safetensors").network
    >>> bool((again.eval([[1.0, 2.0]]) == net.eval([[1.0, 2.0]])).all())
    True
    """
    codec = _safetensors(path)
    tensors, kinds = _tensors(network, standardization, target_standardization)
    content = {
        "model": describe(network) if type(network) is Sequential else None,
        "seed": network.seed,
        "steps": network.steps,
        "epochs": network.epochs,
        "total_steps": network.total_steps,
        "class_names": _names(class_names),
        "extra": {} if extra is None else dict(extra) if isinstance(extra, Mapping) else extra,
        "tensors": {key: _label(kinds[key], array) for key, array in tensors.items()},
        "xpnn_version": _version(),
    }
    try:
        text = json.dumps(content, allow_nan=False)
        faithful = json.loads(text)["extra"].keys() == content["extra"].keys()
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise ConfigurationError(f"extra: JSON cannot hold it: {error}") from error
    if not faithful:
        raise ConfigurationError("extra: expected a dict with keys that are text")
    metadata = {
        "format": FORMAT,
        "format_version": VERSION,
        "content": text,
        "content_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    write_file(path, codec.save(tensors, metadata=metadata))


def load(
    path: _Path,
    device: str | None = None,
    backend: str | Backend | None = None,
    *,
    network: Network | None = None,
) -> Model:
    """Read a model file.

    Parameters
    ----------
    path : path-like
        A file that `save` wrote, on any back end.
    device, backend
        Where the network shall live; as for `Sequential`.
    network : Network, optional
        Put the parameters into this network instead of making one: the only way for a network of
        a class of your own. It has to have the same layers; its loss, its optimizer and its seed
        stay.

    Returns
    -------
    Model
        The network, ready to be used or trained on, and its preprocessing. The state of the
        optimizer is not kept.

    Raises
    ------
    CheckpointError
        With the path and the cause, if the file cannot be read, is damaged, comes from another
        program or a later version of the format, or names a class that is not registered. No
        network has been changed then.
    ConfigurationError
        If both a place and a network are given.
    BackendError
        If the back end or the device cannot be used.

    Notes
    -----
    Every bit of the file counts: the tensors and what is said of them have SHA-256 digests. They
    guard against accidents, not against somebody who wants to deceive; but no file can make a
    program run code.
    """
    if network is not None and (device is not None or backend is not None):
        raise ConfigurationError("load: give either a network or a device and back end, not both")
    try:
        metadata, tensors = _read(path)
        content = _check_content(metadata)
        _check_tensors(content["tensors"], tensors)
        if network is None:
            network = _build(content["model"], device, backend)
            _grow(network, content["tensors"], tensors)
            dtype = content["model"].get("dtype", "float32")
        else:
            dtype = network.backend.dtype
        standardizations = [
            _take_standardization(name, tensors)
            for name in ("standardization", "target_standardization")
        ]
        _fill(network, content["tensors"], tensors, dtype)
    except BackendError:
        raise
    except (XpnnError, MemoryError, OverflowError, ValueError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{os.fspath(path)}: {text}") from error
    network.steps, network.epochs = content["steps"], content["epochs"]
    network.total_steps = content["total_steps"]
    names = content["class_names"]
    return Model(
        network, *standardizations, None if names is None else tuple(names), content["extra"]
    )


def write_file(path: _Path, content: bytes) -> None:
    """Write a file whole, or leave what is there.

    The bytes go to a temporary file in the same folder and to the disk, and only then take the
    name; then the name goes to the disk. The mode follows the umask. A link is followed.

    Parameters
    ----------
    path : path-like
        The file.
    content : bytes
        All of it.

    Raises
    ------
    CheckpointError
        With the path and the cause.
    """
    target = Path(os.path.realpath(path))
    # The number of the process tells who may remove the file, should the process die.
    temporary = target.parent / f".xpnn-{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(number, rest) :]
                os.fsync(number)
            finally:
                os.close(number)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(target.parent)
    except OSError as error:
        cause = error.strerror or error
        raise CheckpointError(f"{os.fspath(path)}: cannot be written: {cause}") from error


def _sync_folder(folder: Path) -> None:
    """Bring a name to the disk, where the system lets one."""
    if os.name == "nt":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(number)


def _safetensors(path: _Path) -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise CheckpointError(
            f"{os.fspath(path)}: model files need safetensors: pip install 'xpnn[cli]'"
        ) from error
    return safetensors.numpy


def _version() -> str:
    from . import __version__  # made after this module

    return __version__


# ---------------------------------------------------------------- what is written


def _tensors(
    network: Network,
    standardization: Standardization | None,
    target_standardization: Standardization | None,
) -> tuple[_Tensors, dict[str, str]]:
    """Return all arrays on the host, and the kind of each, by their names."""
    tensors: _Tensors = {}
    kinds: dict[str, str] = {}
    parameters = network.parameters
    for kind, vector in (("parameter", parameters.values), ("buffer", parameters.buffers)):
        for key, value in vector.named().items():
            if key in tensors:
                raise ConfigurationError(f"{key} is a parameter and a buffer: rename one of them")
            # In C order: safetensors takes no notice of strides.
            tensors[key] = np.asarray(network.backend.to_host(value), order="C")
            kinds[key] = kind
    for name, scaling in (
        ("standardization", standardization),
        ("target_standardization", target_standardization),
    ):
        if scaling is None:
            continue
        if not isinstance(scaling, Standardization):
            raise ConfigurationError(f"{name}: expected a Standardization, got {scaling!r}")
        for key, value in scaling.state().items():
            tensors[f"{name}/{key}"] = np.asarray(value, order="C")
            kinds[f"{name}/{key}"] = "standardization"
    return tensors, kinds


def _label(kind: str, array: NDArray[Any]) -> dict[str, Any]:
    """Say what a tensor is, and the digest of its numbers."""
    return {
        "kind": kind,
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "sha256": hashlib.sha256(array.reshape(-1).view(np.uint8)).hexdigest(),
    }


def _names(class_names: Iterable[str] | None) -> list[str] | None:
    if class_names is None:
        return None
    names = [] if isinstance(class_names, str) or not isinstance(class_names, Iterable) else None
    names = list(class_names) if names is None else names
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"class_names: expected a sequence of texts, got {class_names!r}")
    return [str(name) for name in names]


# ---------------------------------------------------------------- what is read


def _read(path: _Path) -> tuple[dict[str, str], _Tensors]:
    """Return the metadata and the tensors of a safetensors file."""
    codec = _safetensors(path)
    try:
        # Looked at before it is opened: opening a pipe would wait for its other end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError("cannot be read: not a file")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 10 or not 2 <= length <= min(size - 8, _HEADER_LIMIT):
                raise CheckpointError("not a safetensors file, or truncated")
            header = json.loads(file.read(length))
            metadata = header["__metadata__"]
            if metadata["format"] != FORMAT:
                raise KeyError
            version = metadata["format_version"]
            if version != VERSION:
                raise CheckpointError(
                    f"written in format {version}; this xpnn {_version()} reads format {VERSION}"
                )
            file.seek(0)
            content = file.read(size)
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror or error}") from error
    except (RecursionError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError("not a safetensors file, or damaged") from error
    except (KeyError, TypeError) as error:
        raise CheckpointError("not a model of xpnn") from error
    try:
        return metadata, codec.load(content)
    except MemoryError:
        raise
    except Exception as error:  # SafetensorError, or a type that NumPy does not have
        raise CheckpointError(f"damaged: {error}") from error


def _check_content(metadata: dict[str, str]) -> dict[str, Any]:
    """Return what the metadata say, after a look at all of it."""
    if set(metadata) != {"format", "format_version", "content", "content_sha256"}:
        raise CheckpointError("damaged: its metadata are incomplete, or too many")
    text = metadata["content"]
    if hashlib.sha256(text.encode()).hexdigest() != metadata["content_sha256"]:
        raise CheckpointError("damaged: the description does not agree with its SHA-256")
    content = json.loads(text)
    expected = ("class_names", "epochs", "extra", "model", "seed", "steps", "tensors")
    expected += ("total_steps", "xpnn_version")
    if not isinstance(content, dict) or set(content) != set(expected):
        raise CheckpointError(f"damaged: expected the entries {', '.join(expected)}")
    names, total = content["class_names"], content["total_steps"]
    labels = content["tensors"]
    sound = (
        all(_is_count(content[key]) for key in ("seed", "steps", "epochs"))
        and (total is None or _is_count(total))
        and (names is None or (isinstance(names, list) and all(type(n) is str for n in names)))
        and isinstance(content["extra"], dict)
        and isinstance(content["model"], dict | None)
        and isinstance(labels, dict)
        and all(isinstance(label, dict) for label in labels.values())
    )
    if not sound:
        raise CheckpointError("damaged: an entry of its description is of a wrong kind")
    return content


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _check_tensors(labels: dict[str, dict[str, Any]], tensors: _Tensors) -> None:
    for key in sorted(labels.keys() ^ tensors.keys()):
        place = "has no tensor" if key in labels else "says nothing of its tensor"
        raise CheckpointError(f"damaged: it {place} {key}")
    for key, array in tensors.items():
        kind = labels[key].get("kind")
        if kind not in ("parameter", "buffer", "standardization"):
            raise CheckpointError(f"damaged: tensor {key} is of the unknown kind {kind!r}")
        if array.dtype.name not in ("float32", "float64"):
            raise CheckpointError(f"tensor {key} has dtype {array.dtype}; expected floats")
        if _label(kind, array) != labels[key]:
            raise CheckpointError(f"damaged: tensor {key} does not agree with its description")


def _build(
    model: dict[str, Any] | None, device: str | None, backend: str | Backend | None
) -> Network:
    if model is None:
        raise CheckpointError(
            "its network is of a class of its own: make one, and give it to load as network=..."
        )
    return build(model, device, backend)


def _grow(network: Network, labels: dict[str, dict[str, Any]], tensors: _Tensors) -> None:
    """Give layers of a user's own the parameters that they make in their first forward pass."""
    parameters = network.parameters
    present = {part.key for part in (*parameters.values.parts, *parameters.buffers.parts)}
    for key in tensors.keys() - present:
        owner, _, name = key.rpartition(".")
        layer = parameters.layers.get(owner)
        if layer is None or type(layer).__module__.split(".")[0] == __name__.split(".")[0]:
            continue  # a layer of xpnn makes all of its parameters at once
        kept = layer.params if labels[key]["kind"] == "parameter" else layer.buffers
        kept[name] = tensors[key]


def _take_standardization(name: str, tensors: _Tensors) -> Standardization | None:
    prefix = f"{name}/"
    state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    try:
        return Standardization.from_state(state) if state else None
    except XpnnError as error:
        raise CheckpointError(f"{name}: {error}") from error


def _fill(
    network: Network, labels: dict[str, dict[str, Any]], tensors: _Tensors, dtype: str
) -> None:
    """Put the tensors into a network, after they have all been found to fit."""
    backend, parameters = network.backend, network.parameters
    vectors = {"parameter": parameters.values, "buffer": parameters.buffers}
    parts = {part.key: (k, part) for k, vector in vectors.items() for part in vector.parts}
    held = {key for key, label in labels.items() if label["kind"] != "standardization"}
    for key in sorted(held ^ parts.keys()):
        raise CheckpointError(
            f"it has no tensor {key}, which the network needs"
            if key in parts
            else f"it has a tensor {key}, which the network does not have"
        )
    for key, (kind, part) in parts.items():
        if labels[key]["kind"] != kind:
            raise CheckpointError(f"tensor {key} is a {labels[key]['kind']}, expected a {kind}")
        if tensors[key].shape != part.shape:
            raise CheckpointError(
                f"tensor {key} has shape {tensors[key].shape}, the network's has {part.shape}"
            )
        if tensors[key].dtype.name != dtype:
            raise CheckpointError(f"tensor {key} is {tensors[key].dtype}, the network is {dtype}")
    arrays = []
    with backend.scope():
        for vector in vectors.values():
            host = np.empty(vector.parts[-1].stop if vector.parts else 0, dtype=dtype)
            for part in vector.parts:
                host[part.start : part.stop] = tensors[part.key].reshape(-1)
            arrays.append(backend.asarray(host, dtype=backend.float_dtype))
        for vector, array in zip(vectors.values(), arrays, strict=True):
            vector.array = array
