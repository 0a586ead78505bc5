"""The command line in tests: run in this process or in one of its own, and what it has written."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from xpnn.cli import main
from xpnn.cli._configuration import resolve
from xpnn.cli._parser import parse

ROOT = Path(__file__).parents[1]
SMALL = ["--hidden", "16", "--epochs", "2"]


def train(*options, out="run"):
    """Train in this process, and return the folder of the run."""
    assert main(["train", *SMALL, "--quiet", "--out", out, *options]) == 0
    return Path(out)


def own_table(name="table.npz"):
    """Write data as a user has them: a process of its own reads them without scikit-learn, whose
    import takes longer than a small training.
    """
    rng = np.random.default_rng(0)
    y = np.arange(150) % 3
    np.savez(name, x=rng.normal(size=(150, 4)) + y[:, None], y=y)
    return name


def process(*arguments, code="from xpnn.cli import main; import sys; sys.exit(main())", **keywords):
    """Start the command line in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **{"stdout": subprocess.PIPE, **keywords},
    )


def run(*arguments, **keywords):
    """Run the command line in a process of its own; return exit code, output and errors."""
    with process(*arguments, **keywords) as started:
        output, errors = started.communicate(timeout=200)
    return started.returncode, output, without_notes(errors)


def without_notes(errors):
    """Leave out what the first training on a machine says."""
    lines = errors.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("xpnn: compiling kernels"))


def fails(capsys, *arguments, code=2):
    """Run in this process; expect an exit code and one line on standard error, and return it."""
    assert main(list(arguments)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    line = without_notes(captured.err).removesuffix("\n")
    assert "\n" not in line
    assert "Traceback" not in line
    assert line.startswith("xpnn: ")
    return line.removeprefix("xpnn: ")


def rows(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def configuration(*options):
    return resolve(parse(["train", *options]))


def result(capsys, *arguments):
    """Evaluate in this process; return the numbers, and of how many samples they are."""
    capsys.readouterr()
    assert main(["evaluate", *map(str, arguments)]) == 0
    line = capsys.readouterr().out
    pairs = re.findall(r"(\w+) (-?[\d.]+|nan)(?=,| \()", line)
    return {name: float(value) for name, value in pairs}, int(re.search(r"\((\d+)", line)[1])
