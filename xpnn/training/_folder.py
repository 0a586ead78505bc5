"""The folder of a training's checkpoints: its lock, its files, and which of them stay."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..checkpoint import sweep, write_file
from ..errors import CheckpointError, ConfigurationError

__all__ = ["BEST", "Folder", "checkpoints", "is_in", "refuse_used"]

BEST = "best.safetensors"
_LOCK = "lock"
_NAME = re.compile(r"step-(\d+)\.safetensors")


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, in the order of their steps."""
    try:
        found = [(match, name) for name in os.listdir(folder) if (match := _NAME.fullmatch(name))]
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read: {error.strerror or error}") from error
    return [folder / name for match, name in sorted(found, key=lambda item: int(item[0][1]))]


def refuse_used(folder: Path) -> None:
    """Raise ConfigurationError if there are checkpoints in a folder, of another training then."""
    if folder.is_dir() and checkpoints(folder):
        raise ConfigurationError(
            f"{folder}: has checkpoints of a training in it: resume that, or choose another folder"
        )


def is_in(folder: Path, file: str | os.PathLike[str]) -> bool:
    """Tell whether a file is in a folder, whatever the two are called."""
    return folder.is_dir() and folder.samefile(Path(file).parent)


class Folder:
    """A folder that belongs to one training, as long as that lives.

    A file called "lock" in it is held by the system's lock on files, which ends with the process
    however that dies; the number of the process is in it. Where the system has no such lock
    (Windows, some network file systems) the folder is not locked.

    Parameters
    ----------
    path : path-like
        The folder; made if it is not there.

    Raises
    ------
    CheckpointError
        If it cannot be made or written to.
    ConfigurationError
        If another training writes to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._number = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise CheckpointError(
                f"{path}: cannot be written: {error.strerror or error}"
            ) from error
        try:
            self._lock()
        except BaseException:
            self.close()
            raise
        sweep(path)  # whoever wrote here before is dead

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:
            return
        try:
            fcntl.flock(self._number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = os.pread(self._number, 32, 0).decode(errors="replace").strip()
            raise ConfigurationError(
                f"{self.path}: another training writes there (process {process or 'unknown'})"
            ) from None
        except OSError:  # a file system without locks
            return
        with contextlib.suppress(OSError):  # the number is for people
            os.ftruncate(self._number, 0)
            os.pwrite(self._number, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let others write here."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def name(self, steps: int) -> Path:
        """Return the file of a checkpoint."""
        return self.path / f"step-{steps:09d}.safetensors"

    def prune(self, stay: set[str]) -> None:
        """Remove all checkpoints but some."""
        for path in checkpoints(self.path):
            if path.name not in stay:
                with contextlib.suppress(OSError):  # it will be there the next time
                    path.unlink()

    def mark_best(self, path: Path) -> None:
        """Give a checkpoint its second name; where a file system has none, a copy has it.

        Raises
        ------
        CheckpointError
            If that cannot be written.
        """
        best, temporary = self.path / BEST, self.path / f".xpnn-{os.getpid()}-best.tmp"
        try:
            if best.exists() and best.samefile(path):
                return
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            os.link(path, temporary)
            os.replace(temporary, best)
        except OSError:
            write_file(best, _pieces(path))


def _pieces(path: Path) -> Iterator[bytes]:
    """Read a file without having all of it in memory."""
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            yield piece
