"""Pictures of a run: one a workload, a panel for each of its numbers.

Owns:   the bars, their whiskers from the least to the most of the rounds, the order: the best at the top.
Never:  measures, or reads a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.contenders.contender import Contender
from benchmarks.report import number
from benchmarks.speed.results import Results
from benchmarks.speed.workload import Metric, Workload

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS = "streaming"
#: From so many times the least on, bars are drawn on a logarithmic scale.
_WIDE = 30


def draw(
    results: Results, contenders: Sequence[Contender], date: str, directory: Path, name: str
) -> list[tuple[Workload, Path]]:
    """Draw what was measured, and return where each picture is."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn: list[tuple[Workload, Path]] = []
    for workload in results.workloads:
        present = [each for each in contenders if results.of(workload.name, each.name).cells]
        height = 1.2 + (0.7 + 0.34 * len(present)) * len(workload.metrics)
        figure = Figure(figsize=(11, height), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(
            f"{workload.number}: {workload.title}\n{date}; bars are medians, whiskers min and max", fontsize=12
        )
        for place, metric in enumerate(workload.metrics, 1):
            _panel(figure.add_subplot(len(workload.metrics), 1, place), results, workload, metric, present)
        path = directory / f"{name}_{workload.number.lower()}_{workload.name}.png"
        figure.savefig(path, dpi=80)
        drawn.append((workload, path))
    return drawn


def _panel(panel: Axes, results: Results, workload: Workload, metric: Metric, contenders: Sequence[Contender]) -> None:
    found = [(each, results.of(workload.name, each.name)) for each in contenders]
    rows = [(each, series, values) for each, series in found if (values := series.values(metric.key))]
    rows.sort(key=lambda row: median(row[2]), reverse=metric.better == "less")
    middles = [median(values) for _, _, values in rows]
    whiskers = (
        [middle - min(values) for middle, (_, _, values) in zip(middles, rows, strict=True)],
        [max(values) - middle for middle, (_, _, values) in zip(middles, rows, strict=True)],
    )
    colours = ["tab:blue" if each.name.startswith(_OURS) else "0.65" for each, _, _ in rows]
    places = list(range(len(rows)))
    panel.barh(places, middles, xerr=whiskers, color=colours, capsize=3, error_kw={"linewidth": 1, "ecolor": "0.2"})
    panel.set_yticks(places, [f"{each.name}{' (durable)' if each.durable else ''}" for each, _, _ in rows], fontsize=9)
    most, scale = max((max(values) for _, _, values in rows), default=1.0), ""
    if middles and min(middles) > 0 and max(middles) > _WIDE * min(middles):
        panel.set_xscale("log")
        panel.set_xlim(min(min(values) for _, _, values in rows) / 2, 12 * most)
        scale = "logarithmic"
    else:
        panel.set_xlim(0, 1.35 * most)
    for place, (_, series, values) in enumerate(rows):
        remark = f" ({series.remark.replace('*', '')})" if series.remark else ""
        said = f" {number(median(values))}{remark}"
        panel.annotate(said, (max(values), place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    better = "less is better" if metric.better == "less" else "more is better"
    panel.set_title(f"{metric.title} ({better})", fontsize=10, loc="left")
    panel.set_xlabel(", ".join(word for word in (metric.unit, scale) if word), fontsize=8)
    panel.grid(axis="x", alpha=0.3)
