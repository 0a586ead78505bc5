"""What `import xpnn` costs and loads, and what is public."""

from __future__ import annotations

import builtins
import importlib.metadata
import inspect
import os
import pkgutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import modules
import xpnn
from xpnn import _on_demand

ROOT = Path(__file__).parents[1]

HEAVY = {
    "array_api_strict",
    "cupy",
    "dpnp",
    "jax",
    "matplotlib",
    "mpi4py",
    "numba",
    "pandas",
    "pooch",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
    "tqdm",
}


def run_python(code: str, **environment: str) -> str:
    """Run a program in a fresh interpreter, in this tree, and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    variables = {**os.environ, **environment}
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


#: All modules that a user may import: no part of the name begins with an underscore.
MODULES = {
    name: module
    for name, module in modules.importable().items()
    if not any(part.startswith("_") for part in name.split("."))
}
each_module = pytest.mark.parametrize("name", MODULES)


def public_members(owner: types.ModuleType | type) -> dict[str, object]:
    """The public functions and classes that are defined in a module or a class."""
    return {
        name: value
        for name, value in vars(owner).items()
        if not name.startswith("_")
        and isinstance(value, type | types.FunctionType | property | classmethod | staticmethod)
        and (not isinstance(owner, types.ModuleType) or value.__module__ == owner.__name__)
    }


def test_import_loads_no_heavy_package():
    code = "import sys, xpnn; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    assert set(run_python(code).split()) & HEAVY == set()


def test_import_takes_at_most_50_ms_more_than_numpy(tmp_path):
    """Of processor time, and the best of several: what else the machine does is left out."""
    code = (
        "from time import thread_time as now; import numpy; start = now(); import xpnn; "
        "print(1000 * (now() - start))"
    )
    # As after an installation, which compiles. An empty variable is one that is not set.
    compiled = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    run_python(code, **compiled)
    extra = min(float(run_python(code, **compiled)) for _ in range(7))
    assert extra <= 50.0


def test_import_is_quiet():
    assert run_python("import xpnn") == ""


def test_version_is_the_one_of_the_distribution():
    assert xpnn.__version__.split(".")[:1] == ["0"]
    try:
        installed = importlib.metadata.version("xpnn")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("xpnn is not installed: the tests run from the source tree")
    assert installed == xpnn.__version__


def test_type_information_ships():
    assert (Path(xpnn.__file__).parent / "py.typed").is_file()


def test_installed_size_is_under_5_mb():
    files = [p for p in Path(xpnn.__file__).parent.rglob("*") if "__pycache__" not in p.parts]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 5_000_000


def test_top_level_offers_what_its_all_lists():
    """Everything that is there or comes on demand is listed, but for rooms that imports bind."""
    rooms = {module.name for module in pkgutil.iter_modules(xpnn.__path__)}
    visible = {name for name in vars(xpnn) if not name.startswith("_")} - {"annotations"}
    hidden = {name for name in rooms if isinstance(vars(xpnn).get(name), types.ModuleType)}
    offered = (visible | set(_on_demand.NAMES)) - hidden
    assert offered == set(xpnn.__all__) - hidden - {"__version__", "fusion"}
    assert [name for name in xpnn.__all__ if not hasattr(xpnn, name)] == []


def test_a_star_import_hides_nothing_of_python():
    assert set(xpnn.__all__) & (sys.stdlib_module_names | set(dir(builtins))) == set()
    assert xpnn.random.Stream(0)


@each_module
def test_all_is_complete_and_true(name):
    module = MODULES[name]
    listed = list(module.__all__)
    assert len(set(listed)) == len(listed)
    assert [entry for entry in listed if not hasattr(module, entry)] == []
    assert set(public_members(module)) - set(listed) == set()


@each_module
def test_public_names_have_docstrings(name):
    module = MODULES[name]
    missing = [] if module.__doc__ else [name]
    for member_name, member in public_members(module).items():
        if not inspect.getdoc(member):
            missing.append(f"{name}.{member_name}")
        if isinstance(member, type):
            missing += [
                f"{name}.{member_name}.{attribute}"
                for attribute in public_members(member)
                if not inspect.getdoc(getattr(member, attribute))
            ]
    assert missing == []


def exported_classes(*rooms: str) -> list[type]:
    """The classes that some rooms list in `__all__`."""
    classes = {}
    for room in rooms:
        module = MODULES[f"xpnn.{room}"]
        members = {name: getattr(module, name) for name in module.__all__}
        classes |= {n: value for n, value in members.items() if isinstance(value, type)}
    return list(classes.values())


@pytest.mark.parametrize(
    "exported",
    exported_classes(
        "layers", "losses", "regularization", "initializers", "optimizers", "schedules", "metrics"
    ),
    ids=lambda exported: exported.__name__,
)
def test_docstrings_describe_each_argument_and_show_an_example(exported):
    """STYLE.md's docstring: one sentence, each argument of the constructor, a running example."""
    text = inspect.getdoc(exported)
    assert text.splitlines()[0].endswith("."), "the first line is one sentence"
    assert ">>>" in text, "no example"
    described = [part.strip() for part in _section(text, "Parameters").split("\n")]
    names = {name.strip() for line in described for name in line.split(":")[0].split(",")}
    arguments = set(inspect.signature(exported).parameters)
    assert {a for a in arguments if a not in ("args", "kwargs")} - names == set()


def _section(text: str, title: str) -> str:
    """Return a section of a numpydoc docstring, empty if there is none."""
    _, found, rest = text.partition(f"{title}\n{'-' * len(title)}\n")
    lines = rest.splitlines() if found else []
    underlines = [i for i, line in enumerate(lines) if line and set(line) == {"-"}]
    return "\n".join(lines[: underlines[0] - 1] if underlines else lines)
