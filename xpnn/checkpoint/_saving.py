"""Writing model files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .._checks import checked_path, expect_kind
from .._standard import Array
from .._version import __version__
from ..data.standardization import Standardization
from ..description import describe
from ..errors import ConfigurationError
from ..network import Network
from ..sequential import Sequential
from ._container import Path
from ._format import encode

__all__ = ["save", "write"]


def save(
    network: Network,
    path: Path,
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
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, xpnn
    >>> from xpnn.checkpoint import load, save
    >>> net = xpnn.Sequential([xpnn.Linear(2, 1)], xpnn.MeanSquaredError(), lr=0.1, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(net, f"{folder}/model.safetensors")
    ...     again = load(f"{folder}/model.safetensors").network
    >>> bool((again.eval([[1.0, 2.0]]) == net.eval([[1.0, 2.0]])).all())
    True
    """
    expect_kind("network", network, Network)
    write(
        network,
        checked_path("save: path", path),
        {
            "standardization": standardization,
            "target_standardization": target_standardization,
            "class_names": class_names,
            "extra": extra,
        },
    )


def write(
    network: Network,
    path: Path,
    model: Mapping[str, Any],
    training: dict[str, Any] | None = None,
    arrays: Mapping[str, tuple[str, Array]] | None = None,
) -> None:
    """Write a model file, or a checkpoint: a model file that also has a training in it.

    Parameters
    ----------
    network, path
        As for `save`.
    model : dict
        The other arguments of `save`, by their names.
    training : dict, optional
        What JSON can hold of the training.
    arrays : dict of str to (str, array)
        Kinds and numbers of the training's own tensors.
    """
    tensors, kinds = _gather(network)
    for name in ("standardization", "target_standardization"):
        scaling = model.get(name)
        if scaling is None:
            continue
        if not isinstance(scaling, Standardization):
            raise ConfigurationError(f"{name}: expected a Standardization, got {scaling!r}")
        for key, value in scaling.state().items():
            tensors[f"{name}/{key}"], kinds[f"{name}/{key}"] = value, "standardization"
    for key, (kind, array) in (arrays or {}).items():
        tensors[key], kinds[key] = array, kind
    extra = model.get("extra")
    content = {
        "model": _described(network, training is not None),
        "seed": network.seed,
        "steps": network.steps,
        "epochs": network.epochs,
        "total_steps": network.total_steps,
        "class_names": _checked_names(model.get("class_names")),
        "extra": _checked_extra({} if extra is None else extra),
        "training": training,
        "xpnn_version": __version__,
    }
    encode(path, content, tensors, kinds)


def _described(network: Network, is_checkpoint: bool) -> dict[str, Any] | None:
    """Describe a network, if it can be: a checkpoint is read into the program's own network."""
    if type(network) is not Sequential:
        return None
    try:
        return describe(network)
    except ConfigurationError:
        if is_checkpoint:
            return None
        raise


def _gather(network: Network) -> tuple[dict[str, Array], dict[str, str]]:
    """Return parameters and buffers where they are, and which of the two each is."""
    tensors: dict[str, Array] = {}
    kinds: dict[str, str] = {}
    parameters = network.parameters
    for kind, vector in (("parameter", parameters.values), ("buffer", parameters.buffers)):
        for key, value in vector.named().items():
            if key in tensors:
                raise ConfigurationError(f"{key} is a parameter and a buffer: rename one of them")
            tensors[key], kinds[key] = value, kind
    return tensors, kinds


def _checked_names(names: Any) -> list[str] | None:
    if names is None:
        return None
    listed = [] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
    if not listed or not all(isinstance(name, str) for name in listed):
        raise ConfigurationError(f"class_names: expected a sequence of texts, got {names!r}")
    return [str(name) for name in listed]


def _checked_extra(extra: Any) -> dict[str, Any]:
    if not isinstance(extra, Mapping) or not all(isinstance(key, str) for key in extra):
        raise ConfigurationError(f"extra: expected a dict whose keys are text, got {extra!r}")
    return dict(extra)
