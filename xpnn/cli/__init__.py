"""The command line: ``xpnn train``, ``xpnn evaluate``, ``xpnn predict`` and ``xpnn info``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import DivergenceError, XpnnError
from ._output import BROKEN_PIPE, complain, ensure_streams, settle_output
from ._parser import parse

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Its arguments, without the name of the program; by default those of the process.

    Returns
    -------
    int
        The exit code: 0 done; 2 wrong usage, or something that cannot be used (a device, a file,
        data), with one line on standard error; 3 the training diverged; 130, 143 and 129 stopped by
        SIGINT, SIGTERM and SIGHUP; 141 whoever read the output went away.

    Examples
    --------
    >>> main(["train", "--epochs", "0"])
    2
    """
    ensure_streams()
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except DivergenceError as error:
        return complain(str(error), 3)
    except XpnnError as error:
        return complain(str(error), 2)
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    except BrokenPipeError:
        settle_output()
        return BROKEN_PIPE
    except OSError as error:
        settle_output()
        place = "" if error.filename is None else f"{error.filename}: "
        return complain(f"{place}{error.strerror or error}", 2)
    except MemoryError as error:
        return complain(f"out of memory: {str(error) or 'try a smaller batch or network'}", 2)
    return code


def _run(argv: Sequence[str]) -> int:
    arguments = parse(argv)
    if arguments is None:  # --help or --version: they have been printed
        return 0
    # Each command imports what it needs: `xpnn --help` and a mistyped option answer at once.
    if arguments.command == "train":
        from ._train import train

        return train(arguments)
    if arguments.command == "evaluate":
        from ._evaluate import evaluate

        return evaluate(arguments)
    if arguments.command == "predict":
        from ._predict import predict

        return predict(arguments)
    from ._info import info

    return info(arguments)
