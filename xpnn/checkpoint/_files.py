"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from ..errors import CheckpointError

__all__ = ["write_file"]


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
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
    temporary = target.parent / f".xpnn-{os.getpid()}-{os.urandom(4).hex()}.tmp"
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
