"""``xpnn info``."""

from __future__ import annotations

import argparse
import os
import platform
from importlib import metadata
from typing import Any

from .._version import __version__
from ..backend import BACKENDS
from ..backend import backend as open_backend
from ..errors import XpnnError

#: Packages that make more possible, and the extra of xpnn that brings them.
_PACKAGES = {
    "numba": "fast",
    "scikit-learn": "cli",
    "tqdm": "cli",
    "matplotlib": "plots",
    "pooch": "download",
}
_VARIABLES = ("XPNN_BACKEND", "XPNN_DEVICE", "XPNN_DATA_DIR")


def info(arguments: argparse.Namespace) -> int:
    """Print versions, the back ends that work here, and why the others do not."""
    print(f"xpnn {__version__}, Python {platform.python_version()}, {platform.platform()}")
    settings = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    for name, value in settings.items():
        print(f"{name}={value}")
    print("\nback ends")
    # What works is asked for without the user's defaults: they name one device for all libraries.
    hidden = {name: os.environ.pop(name) for name in _VARIABLES[:2] if name in os.environ}
    try:
        for name in BACKENDS:
            print(f"  {name:<17} {_describe(name)}", flush=True)
    finally:
        os.environ.update(hidden)
    from ..fusion import threads  # what it is about is loaded with it

    print(f"\nthreads\n  {threads.describe()}")
    print("\npackages")
    for name, extra in _PACKAGES.items():
        try:
            print(f"  {name:<17} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            print(f"  {name:<17} not installed: pip install 'xpnn[{extra}]'")
    return 0


def _describe(name: str) -> str:
    """Return one line on a back end."""
    try:
        opened = open_backend(name)
        library = __import__(name)
        devices = ", ".join(_devices(name, library)) or opened.device_name
        return f"works: version {library.__version__}, {devices}"
    except XpnnError as error:
        return f"no: {' '.join(str(error).split())}"
    except Exception as error:  # a broken installation may raise anything
        return f"no: {type(error).__name__}: {' '.join(str(error).split())}"


def _devices(name: str, library: Any) -> list[str]:
    """List the devices of a library by the names that ``--device`` takes."""
    if name == "numpy":
        return ["cpu"]
    if name == "cupy":
        return [f"cuda:{index}" for index in range(library.cuda.runtime.getDeviceCount())]
    if name == "torch":
        return ["cpu", *(f"cuda:{index}" for index in range(library.cuda.device_count()))]
    if name == "jax":
        kinds = {"gpu": "cuda:{0.id}", "cuda": "cuda:{0.id}", "cpu": "cpu"}
        found = [*library.devices(), *library.devices("cpu")]
        names = (kinds.get(d.platform, str(d)).format(d) for d in found)
        return list(dict.fromkeys(names))
    return ["cpu", "device1", "device2"] if name == "array_api_strict" else []
