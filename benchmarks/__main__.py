"""The command: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import alone as apart
from .competitors import COMPETITORS
from .driver import Driver
from .machine import describe
from .report import Report, for_markdown, for_terminal, write_markdown
from .selection import ALONE, select
from .workload import Workload
from .workloads import WORKLOADS
from .workloads.epoch import Epoch, EpochFromFiles, prepare_files

#: Length of a slice, s, and the most rounds of a workload whose step is longer than a slice.
SLICE, QUICK_SLICE = 0.3, 0.02
ROUNDS_OF_EPOCHS = 3


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="xpnn against other libraries: the same results first, then the times.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="only show that everything works: tiny sizes"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAMES",
        help="workloads and competitors, as in --list, separated by commas; patterns like 'step-*'",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument(
        "--threads", type=int, help="of each competitor; default: 2, with --quick 1"
    )
    parser.add_argument("--rounds", type=int, default=7, help="slices of each; default: 7")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there, too")
    parser.add_argument("--list", action="store_true", help="list all names, measure nothing")
    options = parser.parse_args(arguments)
    if options.threads is None:
        # PyTorch's threads wait for each other, long if others are busy; a test has no time.
        options.threads = 1 if options.quick else 2
    if options.threads < 1 or options.rounds < 1:
        parser.error("--threads and --rounds must be at least 1")
    options.only = [name for names in options.only for name in names.split(",")]
    try:
        options.selected = select(options.only, options.device)
    except ValueError as error:
        parser.error(str(error))
    return options


def print_names(device: str) -> None:
    """Print what can be measured, and who takes part."""
    width = max(map(len, (*COMPETITORS, *WORKLOADS, *ALONE)))
    print("competitors")
    for key, kind in COMPETITORS.items():
        fault = kind.fault(device)
        print(f"  {key:{width}} {kind.title}{f' ({fault})' if fault else ''}")
    print("measurements")
    for name, workload in WORKLOADS.items():
        print(f"  {name:{width}} {workload.group}, {workload.column}")
    for name, title in ALONE.items():
        print(f"  {name:{width}} {title}")


def run(options: argparse.Namespace, folder: Path) -> tuple[Report, list[str]]:
    """Check and measure; return the report, and what should have worked and did not."""
    keys, names, alone = options.selected
    workloads = [WORKLOADS[name] for name in names]
    if options.quick:  # one of each kind
        workloads = list({workload.kind: workload for workload in reversed(workloads)}.values())
        workloads = [replace(w, column="tiny", goal=None) for w in reversed(workloads)]
    data, small_data = folder / "data", folder / "small"
    facts = describe(options.device, options.threads)
    if any(isinstance(workload, Epoch) for workload in workloads) or "memory" in alone:
        files = any(isinstance(workload, EpochFromFiles) for workload in workloads)
        full = None if options.quick else data
        facts["data of the epochs"] = prepare_files(full, small_data, files)
    kinds = [COMPETITORS[key] for key in keys]
    driver = Driver(kinds, options.device, options.threads, data, small_data)
    results = driver.results
    report = Report(
        facts=facts,
        competitors={kind.key: kind for kind in kinds},
        workloads=workloads,
        timings=results.timings,
        faults=results.faults,
        agreements=results.agreements,
        versions=results.versions,
    )
    try:
        _check_and_measure(driver, workloads, options)
        present = list(driver.processes)
    finally:
        driver.close()
    _measure_alone(report, results.failures, present, alone, options, data, small_data)
    return report, results.failures


def _check_and_measure(driver: Driver, workloads: list[Workload], options: Any) -> None:
    """Check each kind of work, and time each workload."""
    first: dict[tuple[str, str], Workload] = {}
    for workload in workloads:
        optimizer = getattr(workload, "optimizer", "")
        first.setdefault((workload.kind, optimizer), workload)
    for workload in first.values():
        keys = driver.can(workload)
        if options.quick:
            keys = [key for key in keys if driver.kinds[key].can_quickly(workload.kind)]
        ready = driver.check(workload, keys)
        if options.quick:
            driver.measure(workload, list(ready), 1, QUICK_SLICE, patient=False)
    if options.quick:
        return
    for workload in workloads:
        ready = driver.prepare(workload, driver.can(workload))
        print(f"measuring {workload.name}: {', '.join(ready)}", flush=True)
        rounds = options.rounds
        if isinstance(workload, Epoch):
            rounds = min(rounds, ROUNDS_OF_EPOCHS)
        driver.measure(workload, ready, rounds, SLICE)


def _measure_alone(
    report: Report,
    failures: list[str],
    present: list[str],
    alone: list[str],
    options: argparse.Namespace,
    data: Path,
    small_data: Path,
) -> None:
    """Measure what needs processes of its own."""
    kinds = [COMPETITORS[key] for key in present]
    if options.quick:  # that a process starts and can be asked is the same for all
        kinds = kinds[:1]
    device, threads = options.device, options.threads

    def fill(name: str, target: dict[str, Any], kinds: list[Any], measure: Any) -> None:
        if name not in alone:
            return
        print(f"measuring {name}: {', '.join(kind.key for kind in kinds)}", flush=True)
        for kind in kinds:
            what = f"{name}: {kind.key}"
            found = apart.attempt(lambda kind=kind: measure(kind), failures, what)
            if found is not None:
                target[kind.key] = found

    def start(kind: Any) -> Any:
        name = next(n for n in apart.FIRST_STEPS if kind.can(WORKLOADS[n].kind))
        if options.quick:  # it has just filled its caches
            return {"warm": apart.start(kind, device, threads, name, caches=None)}
        return apart.starts(kind, device, threads, name, rounds=3)

    steppers = [k for k in kinds if not k.floor and k.can("plain_training_step")]
    fill("start", report.starts, steppers, start)
    trainers = [kind for kind in kinds if kind.can("epoch")]
    place = small_data if options.quick else data
    fill(
        "memory",
        report.memory,
        trainers,
        lambda kind: apart.peak_above_data(kind, device, threads, place, options.quick),
    )
    fill("size", report.sizes, [k for k in kinds if not k.floor], apart.install_size)
    fill(
        "launches",
        report.launches,
        [kind for kind in kinds if kind.can("training_step")],
        lambda kind: apart.launches(kind, threads, apart.FIRST_STEPS[0], options.quick),
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if something failed or results differ."""
    options = parse(arguments)
    if options.list:
        print_names(options.device)
        return 0
    with tempfile.TemporaryDirectory(prefix="xpnn-benchmarks-") as folder:
        report, failures = run(options, Path(folder))
    print(for_terminal(report))
    if options.markdown is not None:
        write_markdown(options.markdown, for_markdown(report))
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
