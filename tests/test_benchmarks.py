"""The benchmarks work, and what they say is what they measured. No time is asserted here."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import alone, launches, report
from benchmarks.__main__ import parse
from benchmarks.agreement import Agreement
from benchmarks.clock import EventClock
from benchmarks.competitor import Competitor
from benchmarks.competitors import COMPETITORS
from benchmarks.driver import Driver
from benchmarks.machine import describe
from benchmarks.process import Process, WorkerError
from benchmarks.report import Report, for_markdown, for_terminal, write_markdown
from benchmarks.selection import select
from benchmarks.timing import Timing, fastest, quartiles, ratio
from benchmarks.workloads import MODULES, WORKLOADS
from benchmarks.workloads.epoch import prepare_files
from benchmarks.workloads.training_step import TrainingStep

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# -------------------------------------------------------------------- the whole


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_quick_run_of_everything_that_is_installed(tmp_path):
    keys = [key for key in COMPETITORS if key != "torch-compile" or shutil.which("g++")]
    path = tmp_path / "tables.md"
    result = run("--quick", "--only", ",".join(keys), "--markdown", str(path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "DO NOT AGREE" not in result.stdout
    assert "FAILED" not in result.stdout + result.stderr
    tables = path.read_text(encoding="utf-8")
    for key in keys:
        kind = COMPETITORS[key]
        rows = [line for line in tables.splitlines() if line.startswith(f"| {kind.title} |")]
        assert rows, f"no row of {key}"
        assert ("not installed" in rows[0]) == (kind.fault("cpu") is not None), rows[0]
    groups: dict[str, set[str]] = {}  # of each kind, of which one is run
    for workload in WORKLOADS.values():
        groups.setdefault(workload.kind, set()).add(workload.group)
    for kind, names in groups.items():
        if any(COMPETITORS[key].can(kind) for key in ("xpnn", "products")):
            assert sum(f"### {name}\n" in tables for name in names) == 1, kind


def test_list_names_everything():
    result = run("--list")
    assert result.returncode == 0, result.stderr
    names = [*COMPETITORS, *WORKLOADS, "start", "memory", "size"]
    width = max(map(len, names))
    for name in names:
        assert re.search(f"^  {name}{' ' * (width - len(name))} [^ ]", result.stdout, re.M), name


def test_an_unknown_name_is_an_error(capsys):
    with pytest.raises(SystemExit) as raised:
        parse(["--only", "step-sgd-64x128,stepp"])
    assert raised.value.code == 2
    assert "there is nothing named 'stepp'" in capsys.readouterr().err


def test_selection():
    competitors, workloads, apart = select(["step-sgd-*"])
    assert competitors == list(COMPETITORS)
    assert workloads == ["step-sgd-64x128", "step-sgd-128x512", "step-sgd-256x1024"]
    assert apart == []
    assert select(["torch", "size"]) == (["torch"], [], ["size"])
    assert select([], "cpu")[2] == ["start", "memory", "size"]
    assert select([], "cuda")[2] == ["start", "launches"]
    assert select(["torch", "jax"]) == (["torch", "jax"], list(WORKLOADS), list(select([])[2]))


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=list(WORKLOADS))
def test_every_workload_has_xpnn_and_a_rival(workload):
    able = [key for key, kind in COMPETITORS.items() if kind.can(workload.kind)]
    assert any(COMPETITORS[key].rival for key in able)
    assert "xpnn" in able or workload.kind == "products"
    small = workload.small()
    assert small.kind == workload.kind
    assert getattr(small, "dropout", 0.0) == 0.0, "the check must be free of chance"


def test_names_are_unique():
    assert len(WORKLOADS) == sum(len(module.WORKLOADS) for module in MODULES)
    assert not set(WORKLOADS) & set(COMPETITORS)


def test_inputs_and_weights_are_not_the_same_numbers():
    work = WORKLOADS["step-sgd-64x128"]
    assert isinstance(work, TrainingStep)
    x, y = work.inputs()
    weights = work.weights()
    assert [w.shape for w in weights] == [(784, 128), (128, 128), (128, 10)]
    assert abs(np.corrcoef(x.ravel()[:1000], weights[0].ravel()[:1000])[0, 1]) < 0.1
    assert x.dtype == weights[0].dtype == np.float32
    assert y.dtype == np.int64
    assert work.weights()[0].tobytes() == weights[0].tobytes()


# -------------------------------------------------------------------- workers


@pytest.fixture
def process(monkeypatch, tmp_path):
    """A worker that needs NumPy alone."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    worker = Process("products", "cpu", 1, patience=60.0)
    worker.greet()
    yield worker
    worker.close()


def test_worker_measures(process):
    assert process.about["versions"] == {"numpy": np.__version__}
    if hasattr(os, "sched_setaffinity"):
        assert len(process.about["processors"]) == 1
    answer = process.ask("prepare", workload="products-64x128", small=True, watch=2)
    first, second = answer["numbers"]
    assert first == second > 0
    samples = process.ask("slice", seconds=0.01)["samples"]
    assert samples
    assert all(0 < sample < 1 for sample in samples)


def test_worker_reports_its_own_peak_and_not_its_parents(process):
    ballast = np.ones(50_000_000)  # 400 MB
    second = Process("products", "cpu", 1)
    second.greet()
    peak = second.ask("memory")["peak"]
    second.close()
    assert 5e6 < peak < ballast.nbytes


def test_worker_gets_no_settings_of_the_shell(process):
    environment = Path(f"/proc/{process.pid}/environ")
    if not environment.exists():
        pytest.skip("only Linux shows the variables of a process")
    names = {line.partition("=")[0] for line in environment.read_text().split("\0")}
    assert "PATH" in names
    assert not names & {"OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "JAX_ENABLE_X64"}
    assert "NUMBA_CACHE_DIR" in names


def test_a_worker_that_cannot_start_says_why():
    worker = Process("nobody", "cpu", 1)
    with pytest.raises(WorkerError, match="KeyError: 'nobody'"):
        worker.greet()
    worker.close()


def test_a_failed_request_leaves_the_worker_usable(process):
    with pytest.raises(WorkerError, match="AttributeError"):
        process.ask("prepare", workload="epoch")
    assert process.ask("prepare", workload="products-64x128", small=True)["first_seconds"] > 0


def test_a_dead_worker_is_noticed(process):
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"ended with status -9"):
        process.ask("memory")


def test_a_worker_that_does_not_answer_is_ended(process):
    process.ask("prepare", workload="products-64x128", small=True)
    process.patience = 0.05
    with pytest.raises(WorkerError, match=r"no answer within 0\.05 s"):
        process.ask("slice", seconds=30.0)


# -------------------------------------------------------------------- the driver


class Missing(Competitor):
    """A library that nobody has."""

    key = "missing"
    title = "Missing"
    modules = ("a_module_that_is_not_there",)
    distributions = ("a-module-that-is-not-there",)
    rival = True

    def products(self, work):
        raise AssertionError("it is not there")


@pytest.fixture
def driver(tmp_path):
    said: list[str] = []
    made = Driver([COMPETITORS["products"], Missing], "cpu", 1, tmp_path, tmp_path, say=said.append)
    made.said = said
    yield made
    made.close()


def test_driver_measures_who_is_there(driver):
    workload = WORKLOADS["products-64x128"]
    assert driver.results.faults == {"missing": "not installed: a_module_that_is_not_there"}
    keys = driver.can(workload)
    assert keys == ["products"]
    driver.check(workload, keys)
    driver.measure(workload, keys, rounds=2, seconds=0.01)
    assert len(driver.results.timings[workload.name]["products"].rounds) == 2
    assert driver.results.failures == []
    assert "nothing to compare with" in driver.said[0]


def test_driver_goes_on_without_a_worker_that_died(driver):
    workload = WORKLOADS["products-64x128"]
    keys = driver.prepare(workload, driver.can(workload))
    os.kill(driver.processes["products"].pid, signal.SIGKILL)
    driver.measure(workload, keys, rounds=2, seconds=0.01)
    assert driver.results.timings[workload.name] == {}
    assert driver.results.faults["products"].startswith("lost: ended with status -9")
    assert len(driver.results.failures) == 1
    assert driver.prepare(workload, ["products"]) == []


# -------------------------------------------------------------------- numbers


WORK = WORKLOADS["step-sgd-64x128"]


@pytest.mark.parametrize(
    ("numbers", "difference"),
    [
        ({"a": [1.0, 2.0], "b": [1.0, 2.0]}, 0.0),
        ({"a": [1.0, 2.0], "b": [1.0, 2.5]}, 0.2),
        ({"a": [1.0], "b": [math.nan]}, math.inf),
        ({"a": [math.nan], "b": [math.nan]}, math.inf),
        ({"a": [0.0], "b": [0.0]}, 0.0),
        ({"a": [-1.0], "b": [1.0]}, 2.0),
    ],
)
def test_agreement(numbers, difference):
    found = Agreement(WORK, numbers)
    assert found.difference == pytest.approx(difference)
    assert found.holds == (difference <= WORK.tolerance)
    assert ("DO NOT AGREE" in str(found)) == (not found.holds)


@pytest.mark.parametrize("change", ["l2", "lr", "momentum", "dropout"])
def test_the_check_would_see_a_wrong_setting(change):
    small = WORK.small()
    other = replace(small, **{change: 0.9 * getattr(small, change) or 0.1})

    def losses(work: TrainingStep) -> list[float]:
        task = COMPETITORS["xpnn-layers"]("cpu", 1).training_step(work)
        return [task.numbers(task.step())[0] for _ in range(work.steps_to_check)]

    assert Agreement(small, {"a": losses(small), "b": losses(small)}).difference == 0.0
    assert not Agreement(small, {"a": losses(small), "b": losses(other)}).holds


def test_timing_takes_the_median_of_the_rounds():
    timing = Timing([[1.0, 2.0, 9.0], [3.0], [4.0]])
    assert timing.medians == [2.0, 3.0, 4.0]
    assert timing.median == 3.0
    assert timing.quartiles == quartiles([1.0, 2.0, 9.0, 3.0, 4.0]) == (2.0, 4.0)
    assert quartiles([5.0]) == (5.0, 5.0)


def test_disturbed_rounds_count_only_if_there_are_no_others():
    timing = Timing([[9.0], [1.0], [2.0]], disturbed={0})
    assert timing.median == 1.5
    assert timing.quartiles == (1.25, 1.75)
    assert ratio(timing, Timing([[1.0], [1.0], [1.0]], disturbed={2})).value == 1.0
    assert ratio(timing, Timing([[1.0], [1.0], [1.0]], disturbed={1, 2})).value == 2.0
    assert Timing([[9.0], [1.0]], disturbed={0, 1}).median == 5.0


def test_ratio_compares_round_by_round():
    slow, fast = Timing([[2.0], [20.0], [4.0]]), Timing([[1.0], [10.0], [1.0]])
    found = ratio(slow, fast)
    assert (found.value, found.low, found.high) == (2.0, 2.0, 3.0)


def test_fastest():
    timings = {"a": Timing([[3.0]]), "b": Timing([[2.0]]), "c": Timing([[1.0]])}
    assert fastest(timings, ["a", "b", "absent"]) == "b"
    assert fastest(timings, []) is None


def test_event_clock_waits_before_and_after():
    log: list[str] = []

    class Event:
        def record(self):
            log.append("record")

        def synchronize(self):
            log.append("wait for event")

    def milliseconds(start, stop):
        log.append("read")
        assert start is not stop
        return 1500.0

    clock = EventClock(Event, milliseconds, lambda: log.append("wait for device"))
    clock.begin()
    assert clock.end() == 1.5
    assert log == ["wait for device", "record", "record", "wait for event", "read"]


def test_launches_are_an_average(monkeypatch):
    launched = 0

    def step():
        nonlocal launched
        launched += 3

    pretend = types.SimpleNamespace(stats=lambda: {"launches": launched})
    monkeypatch.setitem(sys.modules, "cupy_on_cpu", pretend)
    monkeypatch.setenv("CUPY_ON_CPU", "1")
    assert launches.count(step) == 3.0


def test_install_size_has_what_is_required():
    class Small(Missing):
        distributions = ("numpy",)

    class Large(Missing):
        distributions = ("matplotlib",)  # requires numpy

    numpy_size = alone.install_size(Small)
    files = sum(f.stat().st_size for f in Path(np.__file__).parent.rglob("*.py"))
    assert numpy_size > files
    assert alone.install_size(Large) > numpy_size
    assert alone.install_size(Missing) == 0
    sources = sum(f.stat().st_size for f in (ROOT / "xpnn").rglob("*.py"))
    assert alone.install_size(type("P", (Missing,), {"packages": ("xpnn",)})) >= sources


def test_data_files_are_read_back(tmp_path):
    prepare_files(None, tmp_path, files=True)
    work = WORKLOADS["epoch-from-files"].placed(str(tmp_path)).small()
    parts = work.read()
    assert parts["x_train"].shape == (136, 28, 28)
    x, y = work.arrays()
    assert y.tolist() == parts["y_train"].tolist()
    assert x.mean() == pytest.approx(0.0, abs=1e-3)
    assert x.std() == pytest.approx(1.0, abs=1e-3)
    white = parts["x_train"].reshape(136, -1) == 0
    assert np.ptp(x[white]) == 0.0


# -------------------------------------------------------------------- the report


@pytest.fixture
def made_report():
    kinds = {key: COMPETITORS[key] for key in ("xpnn", "torch", "jax", "thinc", "products")}
    timings = {
        "xpnn": Timing([[0.001], [0.001], [0.002]]),
        "torch": Timing([[0.002], [0.003], [0.002]], disturbed={1}),
        "jax": Timing([[0.0015], [0.0015], [0.0045]]),
        "products": Timing([[0.0005], [0.0005], [0.0005]]),
    }
    work = replace(WORK, goal=1.4)
    plain = WORKLOADS["plain-adam-128x512"]
    return Report(
        facts=describe("cpu", 2),
        competitors=kinds,
        workloads=[work, plain],
        timings={work.name: timings, plain.name: {"xpnn": Timing([[0.01]])}},
        faults={"thinc": "not installed: thinc"},
        agreements=[Agreement(work, {"xpnn": [1.0], "torch": [1.0]})],
        versions={"torch": {"torch": "2.13.0"}},
        starts={"xpnn": {"cold": alone.Start(9.0, 1.0, 7.0), "warm": alone.Start(1.0, 0.5, 0.3)}},
        memory={"xpnn": 100_000_000},
    )


def test_terminal_has_times_and_lead(made_report):
    text = re.sub(" +", " ", for_terminal(made_report))
    assert "xpnn is 1.50 (1.50 to 1.88) times as fast as JAX jit; the goal is 1.4" in text
    assert "PyTorch eager 2.00 ms (2.00 to 2.00) 1.50 times the time of xpnn" in text
    assert "thinc: not installed: thinc" in text
    assert "1 of 13 rounds were disturbed by other programs" in text
    assert "cold start, xpnn: 9.00 s (import 1.00 s, first step 7.00 s)" in text


def test_markdown_has_a_row_for_each_and_no_ragged_table(made_report):
    text = for_markdown(made_report)
    assert "| JAX jit | 1.50 (1.50 to 3.00), 1.50 x |" in text
    assert "| **times as fast as the fastest rival** | **1.50 (1.50 to 1.88)**, JAX jit |" in text
    assert "| thinc | not installed: thinc |" in text
    assert "| xpnn | 9.00 | 1.00 | 0.50 | 100 | - |" in text
    assert "- threads: 2" in text
    assert "torch 2.13.0" in text
    widths: dict[str, set[int]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("### "):
            heading = line
        elif line.startswith("|"):
            widths.setdefault(heading, set()).add(line.count("|"))
    assert widths
    assert all(len(found) == 1 for found in widths.values())


@pytest.mark.parametrize(
    ("goal", "against", "text"),
    [
        (1.4, (), "1.4"),
        (1.6, (), "1.6, missed"),
        (1.5, ("torch",), "1.5 against PyTorch eager, 1.50 (1.25 to 1.75) found"),
        (2.5, ("torch",), "2.5 against PyTorch eager, 1.50 (1.25 to 1.75) found, missed"),
        (2.0, ("thinc",), "2"),  # not there
        (None, (), "-"),
    ],
)
def test_leads_and_goals_are_in_one_table(made_report, goal, against, text):
    made_report.workloads[0] = replace(WORK, goal=goal, against=against)
    row = f"| {WORK.group}, {WORK.column} | 1.50 (1.50 to 1.88) | JAX jit | {text} |"
    assert row in for_markdown(made_report).splitlines()


def test_a_group_with_several_agreements_names_each(made_report):
    made_report.agreements = [
        Agreement(WORKLOADS[name], {"xpnn": [1.0]})
        for name in ("step-sgd-64x128", "step-sgd-128x512", "plain-adam-128x512")
    ]
    text = for_markdown(made_report)
    assert "| Training step, SGD with momentum, 64 x 128 | 1 | 0.0e+00 |" in text
    assert "| Training step, SGD with momentum, 128 x 512 | 1 | 0.0e+00 |" in text
    assert "| Training step of a plain network, Adam | 1 | 0.0e+00 |" in text


def test_goals_for_several_workloads_together(made_report):
    """Twelve shapes of Conv2d: a rival half and twice as fast in turn, and two slower paths."""
    names = [name for name in WORKLOADS if name.startswith("conv-")]
    assert len(names) == 12
    keys = ("xpnn", "torch", "im2col", "xpnn-portable")
    made_report.competitors = {key: COMPETITORS[key] for key in keys}
    made_report.workloads = [WORKLOADS[name] for name in names]
    seconds = {"xpnn": 0.001, "im2col": 0.004, "xpnn-portable": 0.003}
    made_report.timings = {
        name: {key: Timing([[time]]) for key, time in (seconds | {"torch": torch}).items()}
        for name, torch in zip(names, [0.0005, 0.002] * 6, strict=True)
    }
    ours = "Conv2d, forward and backward, geometric mean"
    portable = "Conv2d without Numba, geometric mean"
    text = for_markdown(made_report)
    assert f"| {ours} | 1.00 | the fastest | 1 |" in text
    assert f"| {portable} | 1.33 | NumPy, im2col | 1.5, missed |" in text
    text = for_terminal(made_report)
    assert f"{ours}: 1.00 times as fast as the fastest; the goal is 1\n" in text
    assert f"{portable}: 1.33 times as fast as NumPy, im2col; the goal is 1.5, missed" in text
    del made_report.timings[names[0]]["torch"], made_report.timings[names[1]]["im2col"]
    assert made_report.aims() == []  # half of the shapes say nothing


@pytest.mark.parametrize(("last", "goal"), [(0.0025, "0.8"), (0.0015, "0.8, missed")])
def test_a_goal_for_each_workload_is_about_the_slowest(made_report, last, goal):
    names = [name for name in WORKLOADS if name.startswith("step-")]
    made_report.competitors = {key: COMPETITORS[key] for key in ("xpnn-portable", "torch")}
    made_report.timings = {
        name: {"xpnn-portable": Timing([[0.002]]), "torch": Timing([[0.004]])} for name in names
    }
    made_report.timings[names[-1]]["torch"] = Timing([[last]])
    what = "Training step without Numba, the least"
    assert made_report.aims() == [(what, f"{last / 0.002:.2f}", "PyTorch eager", goal)]


def test_times_of_a_busy_machine_come_with_a_caution(made_report):
    assert report.CAUTION not in for_terminal(made_report) + for_markdown(made_report)
    made_report.timings[WORK.name]["jax"].disturbed = {0, 1, 2}
    assert report.CAUTION in for_terminal(made_report)
    assert report.CAUTION in for_markdown(made_report)


def test_markdown_replaces_only_what_is_between_the_marks(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    for text in ("first", "second"):
        write_markdown(path, text)
        assert path.read_text() == (f"before\n{report.BEGIN}\n\n{text}\n\n{report.END}\nafter\n")
    fresh = tmp_path / "fresh.md"
    write_markdown(fresh, "text")
    assert fresh.read_text() == f"{report.BEGIN}\n\ntext\n\n{report.END}\n"


def test_the_page_has_the_marks():
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert text.count(report.BEGIN) == text.count(report.END) == 1
