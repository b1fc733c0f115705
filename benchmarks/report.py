"""What came out: medians over rounds, as Markdown for people and JSON for programs.

Owns:   the result of a figure, whether a goal was met, and the two files.
Never:  measures, or decides what is a goal (``benchmarks.figures``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figure import Figure, Metric, Values

_HEADER = ("| figure | goal | median | min | max | met |", "|---|---|---|---|---|---|")


@dataclass(slots=True)
class Result:
    """What the rounds of one figure gave; ``flaws`` are the rounds that broke a promise."""

    figure: Figure
    rounds: list[Values] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)

    def values(self, metric: Metric) -> list[float]:
        return [values[metric.key] for values in self.rounds]

    def met(self, metric: Metric) -> bool | None:
        """Whether the median keeps the goal, and no round broke a promise; None where there is no goal."""
        if metric.goal is None:
            return None
        values = self.values(metric)
        return bool(values) and not self.flaws and metric.goal.met(median(values))

    @property
    def reached(self) -> bool:
        """Whether everything is as it has to be."""
        return not self.flaws and all(self.met(metric) is not False for metric in self.figure.metrics)


@dataclass(frozen=True, slots=True)
class Run:
    """What every report says of its run.

    Attributes:
        date: RFC 3339.
        quick: whether it was short.
        rounds: of each number.
        loop: the server's event loop.
        foreign_cores: CPU that others used meanwhile; much of it spoils the numbers.
        machine: CPU, cores, memory.
        versions: of what the server stands on.
        notes: what has to be known about the numbers.
    """

    date: str
    quick: bool
    rounds: int
    loop: str
    foreign_cores: float
    machine: Mapping[str, str | int]
    versions: Mapping[str, str]
    notes: Sequence[str]

    def head_json(self) -> dict[str, Any]:
        return {
            "date": self.date,
            "quick": self.quick,
            "rounds": self.rounds,
            "loop": self.loop,
            "foreign_cores": round(self.foreign_cores, 3),
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "notes": list(self.notes),
        }

    def head_lines(self, how: str, *more: str) -> Iterator[str]:
        """Date, machine and versions, then what else there is to say.

        Args:
            how: the rounds were run and counted.
            more: before the notes.
        """
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        yield f"- {self.date}, {self.rounds} round{'s' if self.rounds > 1 else ''}{', quick' * self.quick}{how}"
        yield f"- {machine_line(self.machine)}"
        yield f"- others on this machine used {self.foreign_cores:.2f} cores meanwhile"
        yield f"- {versions}; the server runs on {self.loop}, the load client on uvloop"
        for note in (*more, *self.notes):
            yield f"- {note}"


def machine_line(machine: Mapping[str, str | int]) -> str:
    """The machine, and how it is shared."""
    apart = "one core each" if machine["cores_apart"] else "one core for both"
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_mb']:,} MB, {machine['system']}; "
        f"server and load client: {apart}"
    )


@dataclass(frozen=True, slots=True)
class Report(Run):
    """One run of the command.

    Attributes:
        results: one a figure.
    """

    results: Sequence[Result]

    @property
    def reached(self) -> bool:
        """Whether every figure has reached its goals."""
        return all(result.reached for result in self.results)

    def only(self, figures: Sequence[Figure]) -> Report:
        """The same run, with some of its figures."""
        return replace(self, results=[result for result in self.results if result.figure in figures])

    def as_json(self) -> dict[str, Any]:
        figures = [_figure_json(result) for result in self.results]
        return {**self.head_json(), "reached": self.reached, "figures": figures}

    def as_markdown(self) -> str:
        extra = "uvloop is an extra (`streaming[speedups]`): a plain install runs on the loop of asyncio"
        return "\n".join(
            [
                "# Figures",
                "",
                *self.head_lines("; the median counts", extra),
                "",
                *_HEADER,
                *(line for result in self.results for line in _figure_lines(result)),
                "",
            ]
        )


def write(report: Report, directory: Path, name: str) -> None:
    """Write ``name.md`` and ``name.json``."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.md").write_text(report.as_markdown())
    (directory / f"{name}.json").write_text(json.dumps(report.as_json(), indent=2) + "\n")


def number(value: float) -> str:
    """Three digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _figure_lines(result: Result) -> Iterator[str]:
    yield f"| **{result.figure.title}** | | | | | |"
    for metric in result.figure.metrics:
        values = result.values(metric)
        goal = f"{metric.goal.sign} {metric.goal.limit:,g} {metric.unit}" if metric.goal else ""
        met = {None: "", True: "yes", False: "**no**"}[result.met(metric)]
        if values:
            middle = f"{number(median(values))} {metric.unit}"
            yield f"| {metric.title} | {goal} | {middle} | {number(min(values))} | {number(max(values))} | {met} |"
        else:
            yield f"| {metric.title} | {goal} | - | - | - | {met} |"
    for flaw in result.flaws:
        yield f"| **broken:** {' '.join(flaw.split()).replace('|', '/')} | | | | | **no** |"


def _figure_json(result: Result) -> dict[str, Any]:
    return {
        "name": result.figure.name,
        "title": result.figure.title,
        "reached": result.reached,
        "flaws": result.flaws,
        "metrics": [_metric_json(result, metric) for metric in result.figure.metrics],
    }


def _metric_json(result: Result, metric: Metric) -> dict[str, Any]:
    values = result.values(metric)
    return {
        "key": metric.key,
        "title": metric.title,
        "unit": metric.unit,
        "goal": f"{metric.goal.sign} {metric.goal.limit:g}" if metric.goal else None,
        "median": median(values) if values else None,
        "min": min(values, default=None),
        "max": max(values, default=None),
        "rounds": values,
        "met": result.met(metric),
    }
