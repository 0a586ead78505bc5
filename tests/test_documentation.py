"""The examples in docstrings, in the README and in docs/ run, and print what they say."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

import modules
from xpnn.description import table

ROOT = Path(__file__).parents[1]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def docstring_examples() -> list[doctest.DocTest]:
    """All docstrings of the package that hold an example."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = []
    for name, module in modules.importable().items():
        found += finder.find(module, name)
    return [test for test in found if test.examples]


def python_blocks(path: Path) -> list[tuple[int, str]]:
    """The blocks of Python in a Markdown file, with the line that each begins at."""
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(r"^```(?:python|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, m.start()) + 2, m[1]) for m in pattern.finditer(text)]


def run_doctest(test: doctest.DocTest) -> None:
    """Run the examples of one docstring, and fail with what doctest reports."""
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    runner.run(test, out=report.append)
    assert not report, "".join(report)


@pytest.fixture(autouse=True)
def without_traces(tmp_path, monkeypatch):
    """Examples may write files and register classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(table, "_own", {kind: {} for kind in table._own})


@pytest.mark.parametrize("test", docstring_examples(), ids=lambda test: test.name)
def test_docstring(test):
    run_doctest(test)


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_page(path):
    """The blocks of a page run in order, as one program; blocks with >>> also compare output."""
    scope: dict[str, object] = {"__name__": "__main__"}
    for line, block in python_blocks(path):
        if ">>>" in block:
            parsed = doctest.DocTestParser().get_doctest(block, scope, path.name, str(path), line)
            report: list[str] = []
            runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
            runner.run(parsed, out=report.append, clear_globs=False)
            assert not report, "".join(report)
            scope |= parsed.globs
        else:
            # Blank lines before it give the right line number in a traceback.
            exec(compile("\n" * (line - 1) + block, str(path), "exec"), scope)


@pytest.mark.parametrize("last", ["xpnn train", "python -m pytest"])
def test_readme_has_the_lines_that_ci_runs(last):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(rf"^pip install .* && {last}$", text, re.MULTILINE)) == 1


def test_index_links_every_page():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", index))
    assert linked == {path.name for path in ROOT.glob("docs/*.md")} - {"index.md"}


def anchors(path: Path) -> list[str]:
    """What the headings of a page are linked by, in their order."""
    prose = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_headings_differ_and_links_lead_somewhere(path):
    own = anchors(path)
    assert sorted(set(own)) == sorted(own)
    broken = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", path.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        target = path if not file else path.parent / file
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_guide_lists_its_sections():
    text = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[([^]]+)\]\(#", text, re.MULTILINE)
    assert listed == re.findall(r"^## (.+)$", text, re.MULTILINE)
