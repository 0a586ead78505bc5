"""Results for the terminal and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from .agreement import Agreement
from .alone import Start
from .competitor import Competitor
from .timing import Ratio, Timing, fastest, ratio
from .workload import Workload
from .workloads import WORKLOADS

BEGIN = "<!-- benchmarks: begin. Written by python -m benchmarks --markdown; not by hand. -->"
END = "<!-- benchmarks: end -->"
XPNN = "xpnn"
CAUTION = "The machine was busy with other things: do not quote these times."


@dataclass(frozen=True)
class Aim:
    """A goal for several workloads together.

    Attributes
    ----------
    what : str
        What the report calls it.
    works : str
        A pattern of the workloads' names.
    goal : float
        How many times as fast it is meant to be.
    who, against : str
        Keys of competitors: who is meant to be as fast, and as whom; "" is the fastest rival.
    each : bool
        Whether each workload is meant, rather than their geometric mean.
    """

    what: str
    works: str
    goal: float
    who: str = XPNN
    against: str = ""
    each: bool = False


AIMS = (
    Aim("Conv2d, forward and backward", "conv-*", 1.0),
    Aim("Conv2d without Numba", "conv-*", 1.5, "xpnn-portable", "im2col"),
    Aim("Training step, SGD with momentum", "step-sgd-*", 1.6),
    Aim("Training step without Numba", "step-*", 0.8, "xpnn-portable", "torch", each=True),
)


@dataclass
class Report:
    """Everything that was found out.

    Attributes
    ----------
    facts : dict of str to str
        Machine, date, versions.
    competitors : dict
        Key to class, of all that were asked for.
    workloads : list of Workload
        What was measured.
    timings, faults, agreements, versions
        As in `driver.Results`.
    starts, memory, sizes, launches : dict
        By competitor's key; empty if not asked for.
    """

    facts: dict[str, str]
    competitors: dict[str, type[Competitor]]
    workloads: list[Workload]
    timings: dict[str, dict[str, Timing]]
    faults: dict[str, str]
    agreements: list[Agreement]
    versions: dict[str, dict[str, str]]
    starts: dict[str, dict[str, Start]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    launches: dict[str, float] = field(default_factory=dict)

    def rivals(self) -> list[str]:
        """Return whom xpnn is compared with when it says "fastest"."""
        return [key for key, kind in self.competitors.items() if kind.rival]

    def lead(self, workload: Workload, over: Sequence[str] = ()) -> tuple[str, Ratio] | None:
        """Return the fastest rival, or of some others, and how many times as fast xpnn is."""
        timings = self.timings[workload.name]
        rival = fastest(timings, over or self.rivals())
        if rival is None or XPNN not in timings:
            return None
        return rival, ratio(timings[rival], timings[XPNN])

    def groups(self) -> dict[str, list[Workload]]:
        """Return what was measured by the headings of its tables."""
        groups: dict[str, list[Workload]] = {}
        for workload in self.workloads:
            if self.timings.get(workload.name):
                groups.setdefault(workload.group, []).append(workload)
        return groups

    def mean_lead(self, workloads: Sequence[Workload]) -> float | None:
        """Return the geometric mean of the leads; None if there are not three."""
        leads = [lead for lead in map(self.lead, workloads) if lead is not None]
        if len(leads) < 3:
            return None
        return statistics.geometric_mean(value.value for _, value in leads)

    def aims(self) -> list[tuple[str, str, str, str]]:
        """Return what, how many times as fast, as whom, and the goal, where all was measured."""
        rows = []
        for aim in AIMS:
            rivals = [aim.against] if aim.against else self.rivals()
            values = []
            for name in (name for name in WORKLOADS if fnmatch(name, aim.works)):
                timings = self.timings.get(name, {})
                rival = fastest(timings, rivals)
                if rival is None or aim.who not in timings:
                    break
                values.append(ratio(timings[rival], timings[aim.who]).value)
            else:
                value = min(values) if aim.each else statistics.geometric_mean(values)
                what = f"{aim.what}, {'the least' if aim.each else 'geometric mean'}"
                rival = self.competitors[aim.against].title if aim.against else "the fastest"
                missed = "" if value >= aim.goal else ", missed"
                rows.append((what, f"{value:.2f}", rival, f"{aim.goal:g}{missed}"))
        return rows

    def disturbed(self) -> tuple[int, int]:
        """Return how many rounds were disturbed by other programs, and of how many."""
        every = [timing for timings in self.timings.values() for timing in timings.values()]
        return sum(len(t.disturbed) for t in every), sum(len(t.rounds) for t in every)


def for_terminal(report: Report) -> str:
    """Return the results workload by workload."""
    lines = [f"{name}: {value}" for name, value in report.facts.items()]
    lines += [f"{key}: {reason}" for key, reason in report.faults.items()]
    for title, workloads in report.groups().items():
        for workload in workloads:
            lines += _workload_lines(report, workload)
        mean = report.mean_lead(workloads)
        if mean is not None:
            lines += ["", f"{title}: geometric mean {mean:.2f}"]
    lines += [
        f"{what}: {value} times as fast as {rival}; the goal is {goal}"
        for what, value, rival, goal in report.aims()
    ]
    lines += ["", *_alone_lines(report)]
    bad, every = report.disturbed()
    if every:
        lines.append(f"{bad} of {every} rounds were disturbed by other programs")
        lines += [CAUTION] if bad > every / 4 else []
    return "\n".join(lines)


def _workload_lines(report: Report, workload: Workload) -> list[str]:
    """Return a line for each competitor, and one for the lead of xpnn."""
    timings = report.timings[workload.name]
    width = max(len(report.competitors[key].title) for key in timings)
    lines = ["", f"{workload.name}: {workload.group}, {workload.column}"]
    own = timings.get(XPNN)
    for key, timing in timings.items():
        title = report.competitors[key].title
        low, high = timing.quartiles
        line = f"  {title:{width}}  {_cell(timing.median)} ({_time(low)} to {_time(high)})"
        if own is not None and key != XPNN:
            line += f"  {ratio(timing, own).value:6.2f} times the time of xpnn"
        lines.append(line)
    lead = report.lead(workload)
    if lead is not None:
        rival, value = lead
        goal = _goal(report, workload)
        told = f"; the goal is {goal}" if goal else ""
        name = report.competitors[rival].title
        lines.append(f"  xpnn is {_ratio(value)} times as fast as {name}{told}")
    return lines


def _label(workload: Workload) -> str:
    return f"{workload.group}, {workload.column}"


def _goal(report: Report, workload: Workload) -> str:
    """Say how far ahead xpnn was meant to be, of whom, and whether it is; "" if nobody said."""
    if workload.goal is None:
        return ""
    text = f"{workload.goal:g}"
    lead = report.lead(workload, workload.against)
    if lead is None:
        return text
    rival, value = lead
    if workload.against:
        text += f" against {report.competitors[rival].title}, {_ratio(value)} found"
    return text if value.value >= workload.goal else f"{text}, missed"


def _alone_lines(report: Report) -> list[str]:
    lines = []
    for key, found in report.starts.items():
        for state, start in found.items():
            lines.append(
                f"{state} start, {key}: {start.whole:.2f} s "
                f"(import {start.importing:.2f} s, first step {start.first_step:.2f} s)"
            )
    lines += [f"peak memory above the data, {k}: {_mb(n)} MB" for k, n in report.memory.items()]
    lines += [f"install size, {k}: {_mb(n)} MB" for k, n in report.sizes.items()]
    lines += [f"launches of a step, {k}: {n:g}" for k, n in report.launches.items()]
    return [*lines, ""] if lines else []


def for_markdown(report: Report) -> str:
    """Return the results as tables, a row for each competitor."""
    bad, every = report.disturbed()
    facts = dict(report.facts)
    versions: dict[str, str] = {}
    for found in report.versions.values():
        versions |= found
    facts["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    if every:
        facts["disturbed"] = f"{bad} of {every} rounds by other programs"
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    if bad > every / 4:
        lines += ["", f"**{CAUTION}**"]
    leads = _leads_table(report)
    if leads:
        lines += ["", "### xpnn against the fastest rival", "", *leads]
    lines += ["", "### Same results", "", *_agreement_table(report.agreements)]
    for title, workloads in report.groups().items():
        lines += ["", f"### {title}", "", *_group_table(report, workloads)]
    lines += _alone_table(report)
    return "\n".join(lines)


def _leads_table(report: Report) -> list[str]:
    """Return a row for each workload with a rival: how far xpnn is ahead, and was meant to be."""
    rows = []
    for workloads in report.groups().values():
        for workload in workloads:
            lead = report.lead(workload)
            if lead is None:
                continue
            rival, value = lead
            name = report.competitors[rival].title
            goal = _goal(report, workload) or "-"
            rows.append([_label(workload), _ratio(value), name, goal])
    rows += map(list, report.aims())
    heads = ["work", "times as fast", "the fastest rival", "goal"]
    return _table(heads, rows) if rows else []


def _group_table(report: Report, workloads: Sequence[Workload]) -> list[str]:
    """Return a table of times with a column for each workload."""
    kinds = {workload.kind for workload in workloads}
    rows = []
    for key, kind in report.competitors.items():
        if not any(map(kind.can, kinds)):
            continue
        if key in report.faults:
            cells = [report.faults[key]] + [""] * (len(workloads) - 1)
        else:
            found = [report.timings[workload.name].get(key) for workload in workloads]
            own = [report.timings[workload.name].get(XPNN) for workload in workloads]
            cells = [_spread(*pair) for pair in zip(found, own, strict=True)]
        rows.append([kind.title, *cells])
    leads = [report.lead(workload) for workload in workloads]
    if any(leads):
        titles = report.competitors
        cells = [f"**{_ratio(x[1])}**, {titles[x[0]].title}" if x else "-" for x in leads]
        rows.append(["**times as fast as the fastest rival**", *cells])
    table = _table(["", *(f"{workload.column}, ms" for workload in workloads)], rows)
    mean = report.mean_lead(workloads)
    return table if mean is None else [*table, "", f"Geometric mean of the last row: {mean:.2f}."]


def _agreement_table(agreements: Sequence[Agreement]) -> list[str]:
    groups = [a.workload.group for a in agreements]
    rows = [
        [
            _label(a.workload) if groups.count(a.workload.group) > 1 else a.workload.group,
            f"{len(a.numbers)}",
            f"{a.difference:.1e}",
            f"{a.workload.tolerance:.0e}",
        ]
        for a in agreements
    ]
    return _table(["work", "competitors", "relative difference", "allowed"], rows)


def _alone_table(report: Report) -> list[str]:
    """Return the table of start, memory and size."""
    keys = [
        key
        for key in report.competitors
        if key in report.starts or key in report.memory or key in report.sizes
    ]
    lines = []
    if keys:
        rows = []
        for key in keys:
            found = report.starts.get(key, {})
            cells = [f"{found[s].whole:.2f}" if s in found else "-" for s in ("cold", "warm")]
            warm = found.get("warm")
            cells.append(f"{warm.importing:.2f}" if warm else "-")
            cells += [_mb(d[key]) if key in d else "-" for d in (report.memory, report.sizes)]
            rows.append([report.competitors[key].title, *cells])
        heads = ["cold start, s", "warm start, s", "of which import, s"]
        heads += ["peak memory above the data, MB", "installed, MB"]
        lines += ["", "### Start, memory, size", "", *_table(["", *heads], rows)]
    if report.launches:
        rows = [[report.competitors[k].title, f"{n:g}"] for k, n in report.launches.items()]
        lines += ["", "### Kernel launches of a step", "", *_table(["", "launches"], rows)]
    return lines


def write_markdown(path: Path, text: str) -> None:
    """Write a file; where it has the marks of a generated part, only that part."""
    whole = f"{BEGIN}\n\n{text}\n\n{END}"
    if path.exists():
        old = path.read_text(encoding="utf-8")
        if BEGIN in old and END in old:
            before, _, rest = old.partition(BEGIN)
            path.write_text(before + whole + rest.partition(END)[2], encoding="utf-8")
            return
    path.write_text(whole + "\n", encoding="utf-8")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] + ["--:"] * (len(heads) - 1), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _time(seconds: float) -> str:
    """Milliseconds to three figures."""
    milliseconds = seconds * 1e3
    digits = (
        0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 2 if milliseconds >= 1 else 3
    )
    return f"{milliseconds:.{digits}f}"


def _cell(seconds: float) -> str:
    return f"{_time(seconds):>8} ms"


def _spread(timing: Timing | None, own: Timing | None) -> str:
    """Return median and quartiles, and the ratio to xpnn's own."""
    if timing is None:
        return "-"
    low, high = timing.quartiles
    text = f"{_time(timing.median)} ({_time(low)} to {_time(high)})"
    if own is None or own is timing:
        return text
    return f"{text}, {ratio(timing, own).value:.2f} x"


def _ratio(value: Ratio) -> str:
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"


def _mb(size: float) -> str:
    return f"{size / 1e6:.0f}"
