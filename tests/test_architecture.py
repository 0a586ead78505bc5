"""The house keeps its floors: DESIGN.md's rules, as far as a machine can read them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "xpnn"

LIBRARIES = {"numpy", "cupy", "cupyx", "dpnp", "jax", "numba", "torch", "array_api_strict"}
#: Rooms that know the array API standard and no one library.
MATHEMATICS = [
    "_standard",
    "augmentation",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "regularization",
    "schedules",
]
#: What may import the package as its users do, through its front door.
DOORS = {"__main__.py", "cli", "onnx.py", "sklearn.py"}


def sources(*rooms: str) -> list[Path]:
    """List the files of some rooms; a room is a file or a folder."""
    files = []
    for room in rooms:
        found = [*PACKAGE.glob(f"{room}.py"), *PACKAGE.glob(f"{room}/**/*.py")]
        assert found, f"there is no room {room}"
        files += found
    return sorted(files)


def imports(path: Path) -> list[tuple[str, str | None]]:
    """List the (module, name) pairs that a file imports, also inside of functions.

    ``import a.b`` gives ("a.b", None) and ``from .b import c`` gives ("xpnn.b", "c").
    """
    package = path.relative_to(ROOT).parent.parts
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [(module, alias.name) for alias in node.names]
    return found


def modules(path: Path) -> set[str]:
    """Name the modules that a file may import: a name that it takes may be a module too."""
    return {m for m, _ in imports(path)} | {f"{m}.{name}" for m, name in imports(path)}


def test_contracts_of_pyproject_are_kept():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize("room", MATHEMATICS)
def test_mathematics_imports_no_array_library(room):
    guilty = {
        str(path.relative_to(ROOT)): sorted(used)
        for path in sources(room)
        if (used := {name.split(".")[0] for name in modules(path)} & LIBRARIES)
    }
    assert guilty == {}


@pytest.mark.parametrize("room", MATHEMATICS)
def test_mathematics_knows_no_back_end(room):
    guilty = [str(p.relative_to(ROOT)) for p in sources(room) if "xpnn.backend" in modules(p)]
    assert guilty == []


def test_no_room_uses_the_front_door():
    """`xpnn/__init__.py` imports every room, so a room that imports from it closes a circle."""
    rooms = {path.stem for path in PACKAGE.iterdir()}
    guilty = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path == PACKAGE / "__init__.py" or path.relative_to(PACKAGE).parts[0] in DOORS:
            continue
        used = {name for module, name in imports(path) if module == "xpnn"} - rooms
        guilty += [f"{path.relative_to(ROOT)}: {name or 'import xpnn'}" for name in used]
    assert guilty == []


def test_creation_functions_respect_the_device():
    """CuPy ignores the `device` of `zeros` and others, and synchronises in `clip` and `sign`.

    `xpnn._standard` has replacements that do neither.
    """
    forbidden = {"arange", "clip", "empty", "full", "linspace", "ones", "sign", "zeros"}
    forbidden |= {"nonzero", "unique_values", "unique_counts", "unique_all", "unique_inverse"}
    guilty = []
    for path in sources(*(room for room in MATHEMATICS if room != "_standard")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "xp"
                and node.attr in forbidden
            ):
                guilty.append(f"{path.relative_to(ROOT)}:{node.lineno}: xp.{node.attr}")
    assert guilty == []


def test_loops_over_parts_say_where_they_begin():
    """Otherwise all that they call is compiled twice, as `kernels.numba._compile` says."""
    loops = [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node)
        for path in sources("kernels/numba")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("prange")
    ]
    assert loops
    assert [place for place, node in loops if len(node.args) != 2] == []
