"""The options of the command line."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from typing import NoReturn

from .._version import __version__
from ..errors import ConfigurationError
from ._settings import LR, OPTIMIZER, PENALTY, SCHEDULE, SETTINGS, Setting

_PARTS = ("test", "train", "all")


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as one line, like every other mistake."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{message} (try '{self.prog} --help')")


def parse(argv: Sequence[str]) -> argparse.Namespace | None:
    """Return the arguments of a command; None if help or version was asked for, and printed.

    Values are text still, but for options that are true or false: see `_configuration`.

    Raises
    ------
    ConfigurationError
        For an unknown command or option, or an option without its value.
    """
    parser = _Parser(
        prog="xpnn",
        description="Train neural networks on any array library: NumPy, CuPy, PyTorch, JAX, ...",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"xpnn {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    commands.add_parser(
        "info",
        help="say which array libraries work here, and why the others do not",
        description="Say which array libraries work here, and why the others do not.",
        allow_abbrev=False,
    )
    try:
        arguments, rest = parser.parse_known_args(list(argv))
    except SystemExit:
        sys.stdout.flush()
        return None
    if rest:
        command = commands.choices[arguments.command]
        near = difflib.get_close_matches(rest[0].split("=")[0], command._option_string_actions, n=1)
        question = f": did you mean {near[0]}?" if near else ""
        raise ConfigurationError(
            f"unknown argument {rest[0]!r}{question} (try '{command.prog} --help')"
        )
    return arguments


def _add_train(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "train",
        help="train a network",
        description="Train a network. Without options: a small one on handwritten digits.",
        epilog="The file is TOML with the sections [data], [model] and [training]; that of a run "
        "is in its folder, and the folder's name is enough. Options override the file. Relative "
        "paths, also those in the file, begin where the command runs.",
        allow_abbrev=False,
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="a configuration, or a run")
    parser.add_argument("--config", metavar="FILE", help="the same")
    for section, title in (("data", "data"), ("model", "network"), ("training", "training")):
        group = parser.add_argument_group(title)
        for setting in SETTINGS:
            if setting.section == section and setting.option:
                _add(group, setting)
        if section == "model":
            for setting in (PENALTY, OPTIMIZER, LR, SCHEDULE):
                _add(group, setting)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", metavar="FOLDER", help="folder of the run (default: runs/NAME-TIME)"
    )
    group.add_argument("--quiet", action="store_true", help="no progress and no curve")
    group.add_argument(
        "--resume", metavar="RUN", help="go on with a run that was interrupted, to the same result"
    )
    group.add_argument(
        "--force", action="store_true", help="resume although options or data have changed"
    )


def _add_evaluate(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="say how good a trained network is",
        description="Compute loss and metrics of a trained network, by default on the test part "
        "of the data that it was trained on.",
        allow_abbrev=False,
    )
    _add_run(parser)
    for key in ("name", "data_dir", "target", "header"):
        _add(parser, next(s for s in SETTINGS if s.key == key), defaults=False)
    parser.add_argument(
        "--part",
        choices=_PARTS,
        help="part of the data (default: test, but all of files given by --data)",
    )
    _add(parser, next(s for s in SETTINGS if s.key == "metrics"), defaults=False)
    _add_place(parser)


def _add_predict(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "predict",
        help="apply a trained network to samples",
        description="Apply a trained network to samples. Classes are written by their names.",
        allow_abbrev=False,
    )
    _add_run(parser)
    parser.add_argument(
        "--data",
        required=True,
        metavar="FILE",
        help="samples: a .npy file, a .npz file with x, a .csv file (columns are found by the "
        "names that the training data had); or the name of a data set, for its test part",
    )
    parser.add_argument("--data-dir", metavar="FOLDER", help="where the data lie")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="where to write: .csv or .npy (default: CSV to standard output)",
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="also the probability of each class; in a .npy file, only these",
    )
    _add_place(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder of a run, or a model file")


def _add_place(parser: argparse.ArgumentParser) -> None:
    for key in ("device", "backend", "threads"):
        _add(parser, next(s for s in SETTINGS if s.key == key))
    parser.add_argument(
        "--batch-size", metavar="N", default="256", help="rows computed at a time (default: 256)"
    )


def _add(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    setting: Setting,
    defaults: bool = True,
) -> None:
    text = setting.help
    if defaults and setting.default is not None:
        default = setting.default
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        text += f" (default: {'yes' if default is True else shown})"
    if setting.kind.expected == "true or false":
        parser.add_argument(
            setting.option,
            dest=setting.destination,
            action=argparse.BooleanOptionalAction,
            help=text,
        )
    else:
        parser.add_argument(
            setting.option, dest=setting.destination, metavar=setting.metavar, help=text
        )
