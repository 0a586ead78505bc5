"""What a training is to do: the defaults, over them a file, over that the options."""

from __future__ import annotations

import argparse
import copy
import os
import tomllib
from pathlib import Path
from typing import Any

from ..data import names
from ..errors import ConfigurationError, unknown
from ._inputs import SUFFIXES
from ._kinds import Kind
from ._models import MODELS, SHORT, Model
from ._runs import CONFIGURATION
from ._settings import (
    DEFAULT_SCHEDULE,
    L2,
    LR,
    OPTIMIZER,
    PENALTY,
    RATE,
    RATES,
    SCHEDULE,
    SECTIONS,
    SETTINGS,
    Setting,
)

#: "data", "model" and "training" with their settings.
Configuration = dict[str, dict[str, Any]]


def read_configuration(path: str) -> Configuration:
    """Read a configuration file, or that of a run.

    Raises
    ------
    ConfigurationError
        With the path, for a file that cannot be read or is no TOML, unknown sections and keys,
        and values of a wrong kind.
    """
    file = Path(path)
    if file.is_dir():
        file /= CONFIGURATION
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        hint = f": for data, give --data {path}" if path in names() else ""
        raise ConfigurationError(f"{file}: {error.strerror or error}{hint}") from error
    except ValueError as error:  # no UTF-8, no TOML
        if file.suffix.lower() in SUFFIXES:
            hint = f"for data, give --data {path}"
            raise ConfigurationError(f"{file}: no configuration: {hint}") from error
        if isinstance(error, UnicodeDecodeError):
            raise ConfigurationError(f"{file}: no configuration: not a text in UTF-8") from error
        raise ConfigurationError(f"{file}: {error}") from error
    configuration: Configuration = {section: {} for section in SECTIONS}
    for section, table in found.items():
        if section not in SECTIONS:
            raise ConfigurationError(f"{file}: {unknown('section', section, SECTIONS)}")
        if not isinstance(table, dict):
            raise ConfigurationError(f"{file}: {section}: expected a table, got {table!r}")
        known = {setting.key: setting for setting in SETTINGS if setting.section == section}
        for key, value in table.items():
            if key not in known:
                raise ConfigurationError(f"{file}: {section}.{key}: {unknown('key', key, known)}")
            place = f"{file}: {section}.{key}"
            configuration[section][key] = known[key].kind.check(place, value)
    if "layers" in configuration["model"]:
        for key in SHORT:
            if key in configuration["model"]:
                raise ConfigurationError(
                    f"{file}: model.{key} means nothing beside model.layers: remove one of them"
                )
    return configuration


def configuration_file(arguments: argparse.Namespace) -> str | None:
    """Return the path of the configuration file that was given, None if there is none."""
    given = (arguments.resume, arguments.file, arguments.config)
    return next((file for file in given if file is not None), None)


def resolve(arguments: argparse.Namespace) -> Configuration:
    """Return the complete configuration of a training.

    Raises
    ------
    ConfigurationError
        For options with bad values or that contradict each other or the file.
    """
    configuration: Configuration = {section: {} for section in SECTIONS}
    if arguments.file is not None and arguments.config is not None:
        raise ConfigurationError("give the configuration once: as FILE or as --config FILE")
    if arguments.resume is not None:
        for name, shown in (("file", "FILE"), ("config", "--config"), ("out", "--out")):
            if getattr(arguments, name) is not None:
                raise ConfigurationError(f"--resume RUN says all of that: do not give {shown}")
    elif arguments.force:
        raise ConfigurationError("--force needs --resume RUN")
    file = configuration_file(arguments)
    if file is not None:
        configuration = read_configuration(file)
    options = read_options(arguments, SETTINGS)
    model = configuration["model"]
    for setting, value in options:
        if "layers" in model and setting.section == "model" and setting.key in SHORT:
            raise ConfigurationError(
                f"{setting.option}: the layers are those of the file, model.layers"
            )
        configuration[setting.section][setting.key] = value
    known = None if "layers" in model else _complete_model(model, file)
    if known is not None and known.layout is not None:
        configuration["data"].setdefault("layout", known.layout)
    _set_regularization(model, arguments)
    _set_optimizer(model, arguments, known)
    for setting in SETTINGS:
        if not ("layers" in model and setting.section == "model" and setting.key in SHORT):
            default = copy.deepcopy(setting.default)
            table = configuration[setting.section]
            if default is not None:
                table.setdefault(
                    setting.key, list(default) if isinstance(default, tuple) else default
                )
    if "patience" in configuration["training"] and not configuration["data"]["validation"]:
        raise ConfigurationError("--patience needs validation data: --validation is 0")
    configuration["data"] = located(configuration["data"])
    return _in_order(configuration)


def read_options(
    arguments: argparse.Namespace, settings: tuple[Setting, ...]
) -> list[tuple[Setting, Any]]:
    """Return the settings whose options were given, with their values."""
    found = []
    for setting in settings:
        text = getattr(arguments, setting.destination, None) if setting.option else None
        if text is not None:
            found.append((setting, _read(setting.kind, setting.option, text)))
    return found


def located(data: dict[str, Any]) -> dict[str, Any]:
    """Tie a path to where it was given, so that the data are found from everywhere."""
    if data["name"].lower().replace("_", "-") in names() and "data_dir" not in data:
        return data
    return data | {"data_dir": os.path.abspath(data.get("data_dir", ""))}


def _read(kind: Kind, option: str, given: Any) -> Any:
    """Return the value of an option: text, but for those that are true or false."""
    return kind.from_text(option, given) if isinstance(given, str) else given


def _complete_model(model: dict[str, Any], file: str | None) -> Model:
    """Set what is not said of a network by a word, and refuse what means nothing to it."""
    kind = model.setdefault("type", "mlp")
    for key in SHORT:
        if key in model and key != "type" and key not in MODELS[kind].settings:
            place = "" if file is None else f"{file}: "
            raise ConfigurationError(f"{place}model.{key} means nothing for the model {kind}")
    for key, default in MODELS[kind].settings.items():
        model.setdefault(key, copy.deepcopy(default))
    return MODELS[kind]


def _set_regularization(model: dict[str, Any], arguments: argparse.Namespace) -> None:
    given = read_options(arguments, (PENALTY,))
    weight = given[0][1] if given else None
    if weight is None and ("regularization" in model or "layers" in model):
        return
    weight = L2 if weight is None else weight
    model["regularization"] = {"type": "L2", "weight": weight, "roles": ["weight"]}


def _set_optimizer(
    model: dict[str, Any], arguments: argparse.Namespace, known: Model | None
) -> None:
    """Complete the optimizer: without a learning rate it gets one that suits it."""
    given = {setting.key: value for setting, value in read_options(arguments, (OPTIMIZER, LR))}
    given |= {s.key: value for s, value in read_options(arguments, (SCHEDULE,))}
    optimizer = model.get("optimizer", OPTIMIZER.default)
    optimizer = {"type": optimizer} if isinstance(optimizer, str) else dict(optimizer)
    if "optimizer" in given:
        optimizer = {"type": given["optimizer"]}
        if given["optimizer"] == "SGD":
            optimizer["momentum"] = 0.9
    if known is not None and known.clip_norm is not None:
        optimizer.setdefault("clip_norm", known.clip_norm)
    rate, schedule = given.get("lr"), given.get("schedule")
    if "lr" not in optimizer or schedule is not None:
        if rate is None:
            rate = _highest(optimizer.get("lr"))
        if rate is None:
            rate = RATES.get(str(optimizer.get("type")), RATE)
            rate *= 1.0 if known is None else known.rate
        optimizer["lr"] = {
            "one-cycle": {"type": "OneCycle", "max_lr": rate},
            "cosine": {"type": "Cosine", "lr": rate},
            "constant": rate,
        }[schedule or DEFAULT_SCHEDULE]
    elif rate is not None:
        optimizer["lr"] = _with_highest(optimizer["lr"], rate)
    model["optimizer"] = optimizer


def _highest(lr: Any) -> Any:
    """Return the highest rate of a number or a schedule, None if that is not to be seen."""
    if isinstance(lr, dict):
        return _highest(lr.get("max_lr", lr.get("lr", lr.get("schedule"))))
    return lr


def _with_highest(lr: Any, rate: float) -> Any:
    """Return a number or a schedule with another highest rate."""
    if not isinstance(lr, dict):
        return rate
    for key in ("max_lr", "lr"):
        if key in lr:
            return lr | {key: rate}
    if "schedule" in lr:
        return lr | {"schedule": _with_highest(lr["schedule"], rate)}
    return lr | {"max_lr" if lr.get("type") == "OneCycle" else "lr": rate}


def _in_order(configuration: Configuration) -> Configuration:
    """Sort the settings as the table has them."""
    ordered: Configuration = {section: {} for section in SECTIONS}
    for setting in SETTINGS:
        if setting.key in configuration[setting.section]:
            ordered[setting.section][setting.key] = configuration[setting.section][setting.key]
    return ordered
