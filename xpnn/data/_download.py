"""Where downloaded data sets are kept, and the download."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import DataError


def cache_folder() -> Path:
    """Return the folder of downloaded data: XPNN_DATA_DIR, or `xpnn` in the user's cache."""
    if chosen := os.environ.get("XPNN_DATA_DIR"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "xpnn/Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/xpnn"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xpnn"


def download(mirrors: Sequence[str], destination: Path, verify: Callable[[Path], object]) -> None:
    """Download a file from the first mirror that gives one which `verify` does not refuse.

    The file appears at `destination` whole and verified, or not at all.

    Raises
    ------
    DataError
        If pooch is not installed, no mirror answers, the file is not the right one, or it
        cannot be written.
    """
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise DataError("to download it, pip install pooch") from error
    failures = []
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent) as folder:
            for i, url in enumerate(mirrors):
                try:
                    # A name of its own: pooch keeps a file that is there.
                    file = Path(pooch.retrieve(url, known_hash=None, fname=f"{i}", path=folder))
                    verify(file)
                except (OSError, ValueError) as error:  # DataError is a ValueError
                    failures.append(f"{url}: {error}")
                    continue
                os.replace(file, destination)
                return
    except OSError as error:
        raise DataError(f"{destination}: {error.strerror or error}") from error
    raise DataError(f"download failed: {'; '.join(failures)}")
