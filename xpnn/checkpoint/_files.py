"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from ..errors import CheckpointError

__all__ = ["Bytes", "sweep", "write_file"]

Bytes: TypeAlias = bytes | bytearray | memoryview

_PREFIX, _SUFFIX = ".xpnn-", ".tmp"


def write_file(path: str | os.PathLike[str], content: Bytes | Iterable[Bytes]) -> None:
    """Write a file whole, or leave what is there.

    The bytes go to a temporary file in the same folder and to the disk, and only then take the
    name; then the name goes to the disk. The mode follows the umask. A link is followed.

    Parameters
    ----------
    path : path-like
        The file.
    content : bytes, or iterable of bytes
        All of it, in pieces if it should not be in memory at once.

    Raises
    ------
    CheckpointError
        With the path and the cause.
    """
    target = Path(os.path.realpath(path))
    pieces = [content] if isinstance(content, bytes | bytearray | memoryview) else content
    try:
        temporary = target.parent / f"{_PREFIX}{os.getpid()}-{os.urandom(4).hex()}{_SUFFIX}"
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            try:
                for piece in pieces:
                    rest = memoryview(piece)
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


def sweep(folder: Path) -> None:
    """Remove what writers that died have left in a folder. Only for who alone writes there."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
                os.unlink(folder / name)


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
