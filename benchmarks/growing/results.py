"""What the rounds gave, and the report about it: Markdown for people, JSON for programs.

Owns:   `Result` (one series), `Report` (one run), the tables, the files, whether all claims hold.
Uses:   benchmarks.growing.claims (the verdicts), benchmarks.growing.plots (the picture).
Never:  measures, or decides what is expected.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.growing import plots
from benchmarks.growing.claims import Claim, Points, Verdict, word
from benchmarks.growing.growth import Growth
from benchmarks.report import Run, number
from benchmarks.speed.results import Series

NAME = "growth"

#: What the clock says is judged only by rounds in which others used at most so many cores.
CALM_CORES = 0.3


@dataclass(slots=True)
class Result:
    """All rounds of all sizes of one series."""

    growth: Growth
    sizes: Sequence[int]
    points: dict[int, Series] = field(default_factory=dict)

    def of(self, size: int) -> Series:
        return self.points.setdefault(size, Series())

    def medians(self, key: str, *, foreign_cores: float = math.inf) -> Points:
        """Sizes that have values, and their medians; of rounds in which others used at most so many cores."""
        found = (
            (
                size,
                [
                    cell.values[key]
                    for cell in self.of(size).cells
                    if key in cell.values and cell.foreign_cores <= foreign_cores
                ],
            )
            for size in sorted(self.sizes)
        )
        return [(float(size), median(values)) for size, values in found if values]

    @property
    def verdicts(self) -> list[tuple[Claim, Verdict]]:
        return [(claim, self._verdict(claim)) for claim in self.growth.claims]

    def _verdict(self, claim: Claim) -> Verdict:
        points = self.medians(claim.key)
        if claim.key not in self.growth.timed:
            return claim.judge(points)
        calm = self.medians(claim.key, foreign_cores=CALM_CORES)
        verdict, left_out = claim.judge(calm), len(points) - len(calm)
        if 2 * left_out > len(points):
            return replace(verdict, holds=None, found=f"others were busy at {left_out} of {len(points)} sizes")
        more = f", others were busy at {left_out} of {len(points)} sizes" if left_out else ""
        return replace(verdict, found=f"{verdict.found}{more}")

    @property
    def flaws(self) -> list[str]:
        return [f"at {size:,}: {flaw}" for size in self.sizes for flaw in self.of(size).flaws]

    @property
    def good(self) -> bool:
        """Whether nothing was broken, and no claim is wrong."""
        return not self.flaws and all(verdict.holds is not False for _, verdict in self.verdicts)


@dataclass(frozen=True, slots=True)
class Report(Run):
    """One run.

    Attributes:
        results: one a series.
    """

    results: Sequence[Result]

    @property
    def good(self) -> bool:
        """Whether everything is flat or explained."""
        return all(result.good for result in self.results)

    def as_json(self) -> dict[str, Any]:
        return {**self.head_json(), "good": self.good, "series": [_series_json(result) for result in self.results]}

    def as_markdown(self) -> str:
        return "\n".join(
            [
                "# The cost of growth",
                "",
                *self.head_lines(", all points in turn; the median counts"),
                "",
                "## Flat or explained",
                "",
                "| series | number | expected | because | came out | |",
                "|---|---|---|---|---|---|",
                *(line for result in self.results for line in _claim_lines(result)),
                "",
                *(line for result in self.results for line in _section(result)),
            ]
        )


def write(report: Report, directory: Path) -> list[Path]:
    """Write the table, the numbers and the picture, and return where they are."""
    directory.mkdir(parents=True, exist_ok=True)
    table, numbers, picture = (directory / f"{NAME}.{ending}" for ending in ("md", "json", "png"))
    plots.draw([_drawn(result) for result in report.results], report.date, picture)
    table.write_text("\n".join([report.as_markdown(), f"![the cost of growth]({picture.name})", ""]))
    numbers.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    return [table, numbers, picture]


def _drawn(result: Result) -> plots.Drawn:
    lines = {
        metric.key: [(size, values) for size in sorted(result.sizes) if (values := result.of(size).values(metric.key))]
        for metric in result.growth.metrics
    }
    return plots.Drawn(result.growth, lines, result.verdicts)


def _claim_lines(result: Result) -> Iterator[str]:
    for claim, verdict in result.verdicts:
        title = result.growth.metric(claim.key).title
        said = " | ".join((title, claim.expected, claim.why, verdict.found, word(claim, verdict)))
        yield f"| {result.growth.name} | {said} |"
    if result.flaws:
        yield f"| {result.growth.name} | all streams | whole and in order | | {len(result.flaws)} points | **broken** |"


def _section(result: Result) -> Iterator[str]:
    growth = result.growth
    yield f"## {growth.title}"
    yield ""
    yield f"| {growth.size} |" + "".join(f" {metric.title}, {metric.unit} |" for metric in growth.metrics)
    yield "|---|" + "---|" * len(growth.metrics)
    for size in result.sizes:
        point = result.of(size)
        cells = (_cell(point.values(metric.key)) for metric in growth.metrics)
        yield f"| {size:,}{f' ({point.remark})' if point.remark else ''} | {' | '.join(cells)} |"
    yield ""
    if result.flaws:
        yield from (f"- a promise was broken {' '.join(flaw.split())[:300]}" for flaw in result.flaws)
        yield ""


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    around = f" ({number(min(values))} - {number(max(values))})" if len(values) > 1 else ""
    return f"{number(median(values))}{around}"


def _series_json(result: Result) -> dict[str, Any]:
    growth = result.growth
    return {
        "name": growth.name,
        "title": growth.title,
        "size": growth.size,
        "good": result.good,
        "metrics": {metric.key: f"{metric.title}, {metric.unit}" for metric in growth.metrics},
        "claims": [
            {
                "key": claim.key,
                "since": claim.since,
                "expected": claim.expected,
                "because": claim.why,
                "found": verdict.found,
                "verdict": word(claim, verdict).replace("*", ""),
                "holds": verdict.holds,
            }
            for claim, verdict in result.verdicts
        ],
        "flaws": result.flaws,
        "points": [{"size": size, "rounds": [asdict(cell) for cell in result.of(size).cells]} for size in result.sizes],
    }
