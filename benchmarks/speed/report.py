"""The report about one run: Markdown for people, JSON for programs.

Owns:   the tables, the two files, and which contender the ratios of a table are about.
Uses:   benchmarks.speed.plots (the pictures).
Never:  measures, or decides what a goal is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contenders.contender import Contender
from benchmarks.report import machine_line, number
from benchmarks.speed import plots
from benchmarks.speed.goals import Verdict, verdicts
from benchmarks.speed.results import Results
from benchmarks.speed.workload import Metric, Scale, Workload

NAME = "speed"
BESIDE = ("sse-starlette", "protocol")


@dataclass(frozen=True, slots=True)
class Report:
    """One run.

    Attributes:
        date: RFC 3339.
        quick: whether it was short.
        rounds: of each cell.
        scale: how large it was.
        results: of all cells.
        contenders: who took part.
        left_out: who did not, and why.
        notes: what has to be known about the numbers.
        machine: CPU, cores, memory.
        versions: of everybody.
        foreign_cores: CPU that others used meanwhile.
    """

    date: str
    quick: bool
    rounds: int
    scale: Scale
    results: Results
    contenders: Sequence[Contender]
    left_out: Sequence[str]
    notes: Sequence[str]
    machine: Mapping[str, str | int]
    versions: Mapping[str, str]
    foreign_cores: float

    @property
    def verdicts(self) -> list[Verdict]:
        """About the goals of which something was measured, or had to be."""
        return verdicts(self.results)

    @property
    def reached(self) -> bool:
        """Whether every goal that was asked for was reached."""
        return all(each.met is not False for each in self.verdicts)

    def as_json(self) -> dict[str, Any]:
        return {
            "date": self.date,
            "quick": self.quick,
            "rounds": self.rounds,
            "scale": asdict(self.scale),
            "foreign_cores": round(self.foreign_cores, 3),
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "contenders": {each.name: {"about": each.about, "durable": each.durable} for each in self.contenders},
            "left_out": list(self.left_out),
            "notes": list(self.notes),
            "reached": self.reached,
            "goals": [_goal_json(each) for each in self.verdicts],
            "workloads": [_workload_json(workload, self) for workload in self.results.workloads],
        }

    def as_markdown(self) -> str:
        return "\n".join(
            [
                "# Speed, beside others",
                "",
                *self._head(),
                "",
                "## Goals",
                "",
                "| goal | limit | median | min | max | met |",
                "|---|---|---|---|---|---|",
                *(_goal_line(each) for each in self.verdicts),
                "",
                "## Who",
                "",
                "| name | durable | how |",
                "|---|---|---|",
                *(f"| {each.name} | {'yes' if each.durable else 'no'} | {each.about} |" for each in self.contenders),
                "",
                *(line for workload in self.results.workloads for line in self._section(workload)),
            ]
        )

    def _head(self) -> Iterator[str]:
        yield (
            f"- {self.date}, {self.rounds} round{'s' if self.rounds > 1 else ''}{', quick' * self.quick}, all of them "
            "in turn; a fresh server for each cell"
        )
        yield f"- {machine_line(self.machine)}"
        yield f"- others on this machine used {self.foreign_cores:.2f} cores meanwhile"
        yield "- " + ", ".join(f"{name} {version}" for name, version in self.versions.items())
        yield from (f"- {note}" for note in self.notes)
        yield from (f"- left out: {line}" for line in self.left_out)

    def _section(self, workload: Workload) -> Iterator[str]:
        yield f"## {workload.number}: {workload.title}"
        yield ""
        for metric in workload.metrics:
            unit = f", {metric.unit}" if metric.unit else ""
            yield f"| {metric.title}{unit} | median | min | max | to sse-starlette | to protocol | |"
            yield "|---|---|---|---|---|---|---|"
            yield from (
                _line(self.results, workload, metric, each)
                for each in self.contenders
                if self.results.of(workload.name, each.name).cells
            )
            yield ""
        flaws = [
            f"- {each.name} broke a promise: {' '.join(flaw.split()).replace('|', '/')[:300]}"
            for each in self.contenders
            for flaw in self.results.of(workload.name, each.name).flaws
        ]
        yield from [*flaws, *([""] if flaws else [])]


def write(report: Report, directory: Path) -> list[Path]:
    """Write the table, the numbers and the pictures, and return where they are."""
    directory.mkdir(parents=True, exist_ok=True)
    pictures = plots.draw(report.results, report.contenders, report.date, directory, NAME)
    shown = [f"![{workload.title}]({path.name})" for workload, path in pictures]
    table, numbers = directory / f"{NAME}.md", directory / f"{NAME}.json"
    table.write_text("\n".join([report.as_markdown(), "## Pictures", "", *shown, ""]))
    numbers.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    return [table, numbers, *(path for _, path in pictures)]


def _goal_line(each: Verdict) -> str:
    limit = f"{each.goal.limit.sign} {each.goal.limit.limit:g}"
    if not each.values:
        return f"| {each.goal.title} | {limit} | - | - | - | {'**no**' if each.asked else 'not measured'} |"
    middle, least, most = (number(value) for value in (median(each.values), min(each.values), max(each.values)))
    met = "yes" if each.met else "**no**"
    return f"| {each.goal.title} | {limit} | {middle} | {least} | {most} | {met} |"


def _line(results: Results, workload: Workload, metric: Metric, contender: Contender) -> str:
    series = results.of(workload.name, contender.name)
    values = series.values(metric.key)
    name = f"{contender.name}{' (durable)' if contender.durable else ''}"
    if not values:
        return f"| {name} | - | - | - | | | {series.remark} |"
    shown = " | ".join(number(value) for value in (median(values), min(values), max(values)))
    beside = (results.ratios(workload.name, metric.key, contender.name, peer) for peer in BESIDE)
    ratios = " | ".join(f"{number(median(each))} x" if each else "" for each in beside)
    return f"| {name} | {shown} | {ratios} | {series.remark} |"


def _goal_json(each: Verdict) -> dict[str, Any]:
    goal = each.goal
    return {
        "title": goal.title,
        "limit": f"{goal.limit.sign} {goal.limit.limit:g}",
        "rounds": list(each.values),
        "median": each.middle,
        "met": each.met,
    }


def _workload_json(workload: Workload, report: Report) -> dict[str, Any]:
    cells = {
        each.name: [asdict(cell) for cell in report.results.of(workload.name, each.name).cells]
        for each in report.contenders
    }
    return {
        "name": workload.name,
        "number": workload.number,
        "title": workload.title,
        "metrics": {metric.key: f"{metric.title}, {metric.unit}" for metric in workload.metrics},
        "rounds": {name: each for name, each in cells.items() if each},
    }
