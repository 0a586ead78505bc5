"""The table of settings: what a configuration file may say, and the option for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..data.layouts import LAYOUTS
from ..description import known
from ._kinds import (
    COLUMN,
    FLAG,
    LIST,
    NAMES,
    SEED,
    TEXT,
    THING,
    WIDTHS,
    Kind,
    choice,
    integer,
    number,
)
from ._models import MODELS


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes
    ----------
    section, key : str
        Where it stands in a configuration file.
    kind : Kind
        What it may be.
    default : object
        Its value if nothing is said; None if there is none, or if it depends on the data.
    option : str
        The option of the command line, empty if there is none.
    metavar : str
        How the help calls its value.
    help : str
        What the help says of it.
    """

    section: str
    key: str
    kind: Kind
    default: Any = None
    option: str = ""
    metavar: str = ""
    help: str = ""

    @property
    def place(self) -> str:
        """Its name in messages about files, such as "training.epochs"."""
        return f"{self.section}.{self.key}"

    @property
    def destination(self) -> str:
        """The attribute that holds its option after parsing."""
        return self.place.replace(".", "_")


def _defaults(key: str) -> str:
    """Write the defaults of a setting that depends on the model."""
    found: dict[str, list[str]] = {}
    for name, model in MODELS.items():
        if key in model.settings:
            value = model.settings[key]
            shown = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            found.setdefault("yes" if value is True else shown, []).append(name)
    if len(found) == 1:
        return f" (default: {next(iter(found))})"
    each = "; ".join(f"{', '.join(names)} {value}" for value, names in found.items())
    return f" (default: {each})"


ACTIVATIONS = ("ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Softplus", "Tanh", "Sigmoid")
OPTIMIZERS = tuple(known("optimizer"))
#: Peak learning rates by the optimizer, for networks with batch normalization.
RATES = {"SGD": 0.1, "Adagrad": 0.03, "RMSprop": 0.003}
RATE = 0.01
L2 = 1e-5
SCHEDULES = ("one-cycle", "cosine", "constant")
DEFAULT_SCHEDULE = SCHEDULES[0]

_DATA = (
    Setting(
        "data",
        "name",
        TEXT,
        "digits",
        "--data",
        "NAME",
        "a name of xpnn.data.load (digits, wine, breast-cancer, iris, diabetes, mnist, "
        "fashion-mnist, cifar-10), or a path: data.npz, data.csv, 'x.npy,y.npy', a folder",
    ),
    Setting("data", "data_dir", TEXT, None, "--data-dir", "FOLDER", "where the data lie"),
    Setting(
        "data", "target", COLUMN, None, "--target", "COLUMN", "name or number of a CSV's target"
    ),
    Setting(
        "data",
        "task",
        choice(("classification", "regression")),
        None,
        "--task",
        "TASK",
        "classification or regression, if a file leaves it open",
    ),
    Setting("data", "header", FLAG, None, "--header", "", "whether a CSV's first row has names"),
    Setting(
        "data",
        "test_fraction",
        number(0, 1, above=True, below=True),
        0.2,
        "--test-fraction",
        "P",
        "share of the test part of data that have none",
    ),
    Setting("data", "seed", SEED, 0, "--split-seed", "N", "seed of the split into parts"),
    Setting(
        "data",
        "validation",
        number(0, 1, below=True),
        0.1,
        "--validation",
        "P",
        "share of the training part that is only evaluated, after each epoch; 0 for none",
    ),
    Setting(
        "data",
        "layout",
        choice(LAYOUTS),
        None,
        "--layout",
        "NAME",
        "axes of a sample: flat; images, channels first; sequences, steps first (default: what "
        "the model wants)",
    ),
    Setting(
        "data",
        "standardize",
        choice(("auto", "feature", "set", "none")),
        "auto",
        "--standardize",
        "HOW",
        "shift and scale each feature, or the set as a whole (auto: whichever suits the data)",
    ),
    Setting(
        "data",
        "standardize_target",
        FLAG,
        True,
        "--standardize-target",
        "",
        "shift and scale the targets of a regression",
    ),
)
_MODEL = (
    Setting("model", "layers", LIST),
    Setting(
        "model",
        "type",
        choice(MODELS),
        "mlp",
        "--model",
        "NAME",
        "mlp; cnn, for images; lstm or gru, for sequences, as which rows of images will do",
    ),
    Setting(
        "model",
        "channels",
        WIDTHS,
        None,
        "--channels",
        "N,N",
        f"filters of convolutions, with pooling after each{_defaults('channels')}",
    ),
    Setting(
        "model",
        "hidden",
        WIDTHS,
        None,
        "--hidden",
        "N,N",
        f"widths of hidden layers{_defaults('hidden')}",
    ),
    Setting(
        "model",
        "activation",
        choice(ACTIVATIONS),
        None,
        "--activation",
        "NAME",
        f"after each hidden layer: {', '.join(ACTIVATIONS)}{_defaults('activation')}",
    ),
    Setting(
        "model",
        "batch_norm",
        FLAG,
        None,
        "--batch-norm",
        "",
        f"batch normalization before it{_defaults('batch_norm')}",
    ),
    Setting(
        "model",
        "dropout",
        number(0, 1),
        None,
        "--dropout",
        "P",
        f"probability of dropping, after it{_defaults('dropout')}",
    ),
    Setting("model", "loss", THING),
    Setting("model", "optimizer", THING),
    Setting("model", "regularization", THING),
    Setting(
        "model",
        "dtype",
        choice(("float32", "float64")),
        "float32",
        "--dtype",
        "TYPE",
        "float32 or float64",
    ),
    Setting(
        "model", "seed", SEED, 0, "--seed", "N", "seed of weights, dropout and order of the rows"
    ),
)
_TRAINING = (
    Setting("training", "epochs", integer(1), 30, "--epochs", "N", "passes over the data"),
    Setting("training", "batch_size", integer(1), 64, "--batch-size", "N", "rows of a step"),
    Setting(
        "training",
        "patience",
        integer(1),
        None,
        "--patience",
        "N",
        "stop after so many epochs without a lower validation loss, and take the best weights",
    ),
    Setting(
        "training",
        "metrics",
        NAMES,
        None,
        "--metrics",
        "NAMES",
        "accuracy, top5, r2, mae, rmse; by default the one that suits the task",
    ),
    Setting(
        "training",
        "augment",
        LIST,
        None,
        "--augment",
        "NAMES",
        "random changes of the images that are trained with: flip, shift (by 2 pixels)",
    ),
    Setting(
        "training", "device", TEXT, None, "--device", "DEVICE", "cpu, cuda, cuda:1 (default: cpu)"
    ),
    Setting(
        "training",
        "backend",
        TEXT,
        None,
        "--backend",
        "NAME",
        "array library: numpy, cupy, torch, jax, dpnp, array_api_strict (default: the device's)",
    ),
    Setting(
        "training",
        "threads",
        integer(1),
        None,
        "--threads",
        "N",
        "threads that compute on NumPy (default: what XPNN_NUM_THREADS says, or a thread for each "
        "core)",
    ),
)
SETTINGS = (*_DATA, *_MODEL, *_TRAINING)
SECTIONS = ("data", "model", "training")

#: Options that change a part of a setting.
OPTIMIZER = Setting(
    "model",
    "optimizer",
    choice(OPTIMIZERS),
    "Adam",
    "--optimizer",
    "NAME",
    ", ".join(OPTIMIZERS) + " (SGD with momentum 0.9)",
)
LR = Setting(
    "model", "lr", number(0, above=True), None, "--lr", "RATE", "learning rate: its highest value"
)
SCHEDULE = Setting(
    "model",
    "schedule",
    choice(SCHEDULES),
    DEFAULT_SCHEDULE,
    "--schedule",
    "NAME",
    "its course: " + ", ".join(SCHEDULES),
)
PENALTY = Setting(
    "model", "l2", number(0), L2, "--l2", "WEIGHT", "weight of the L2 penalty on the weights"
)
