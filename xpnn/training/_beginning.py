"""Where a training begins: at its beginning, or at a checkpoint."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .._checks import checked_path
from ..errors import ConfigurationError
from ..network import Network
from ._checkpoint import Checkpoint
from ._loop import Loop

if TYPE_CHECKING:
    from ..checkpoint import Stored
    from ._folder import Folder

__all__ = ["Beginning", "start"]


class Beginning:
    """Where a training begins.

    Attributes
    ----------
    seed : int
        That of the network, or of the checkpoint.
    resumed : bool
        Whether there is a checkpoint.
    """

    def __init__(
        self,
        network: Network,
        settings: Checkpoint | None,
        folder: Folder | None = None,
        stored: Stored | None = None,
    ) -> None:
        self._network = network
        self._settings = settings
        self._folder = folder
        self._stored = stored
        self.resumed = stored is not None
        self.seed = network.seed if stored is None else int(stored.content["seed"])

    def prepare(
        self, loop: Loop, made_of: dict[str, Any], data: Any, validation: Any, force: bool
    ) -> None:
        """Give a loop what writes its checkpoints, and put it where it goes on.

        Raises
        ------
        ConfigurationError
            If the training is not what it was, with the list of differences.
        CheckpointError
            If the checkpoint does not fit. Nothing has changed then.
        """
        if self._settings is None and self._stored is None:
            return
        # Not for those who write and read no checkpoint.
        from ._differences import describe_callbacks, describe_data, describe_network
        from ._folder import is_in, refuse_used
        from ._keeper import Writer, check_same, restore

        settings, stored = self._settings, self._stored
        if settings is not None and (stored is None or not is_in(settings.folder, stored.path)):
            refuse_used(settings.folder)
        made_of = made_of | {
            "network": describe_network(self._network),
            "callbacks": describe_callbacks(loop.callbacks),
            "data": describe_data(data, self._network.backend),
            "validation_data": describe_data(validation, self._network.backend),
        }
        writer = None
        if settings is not None:
            writer = Writer(settings, loop.run, loop.callbacks, made_of, self._folder)
        if stored is not None:
            if not force:
                check_same(stored, made_of)
            restore(loop, stored)
            if writer is not None:
                writer.go_on(stored)
        loop.keeper = writer


@contextlib.contextmanager
def start(
    network: Network,
    checkpoint: Checkpoint | str | os.PathLike[str] | None,
    resume: str | os.PathLike[str] | bool,
) -> Iterator[Beginning]:
    """Find out where a training begins, and hold the folder of its checkpoints meanwhile.

    Raises
    ------
    ConfigurationError
        If there is nothing to resume, or another training holds the folder.
    CheckpointError
        If no checkpoint can be read.
    """
    settings = checkpoint
    if settings is not None and not isinstance(settings, Checkpoint):
        settings = Checkpoint(checked_path("checkpoint", settings))
    if resume is False:
        yield Beginning(network, settings)
        return
    if resume is not True:
        resume = checked_path("resume", resume)
    elif settings is None:
        raise ConfigurationError("resume: True needs checkpoint: the folder to resume from")
    from ._folder import Folder, checkpoints
    from ._keeper import find

    # Held before it is read, so that nobody writes there meanwhile.
    folder = None if settings is None else Folder(settings.folder)
    try:
        report = None if settings is None else settings.report
        if resume is not True:
            stored = find(resume, report)
        elif folder is not None and checkpoints(folder.path):
            stored = find(folder.path, report)
        else:
            stored = None
        yield Beginning(network, settings, folder, stored)
    finally:
        if folder is not None:
            folder.close()
