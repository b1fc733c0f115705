"""The picture of a run: a row for each series, what CPU gives on the left, something else on the right.

Owns:   the lines with their whiskers from the least to the most of the rounds, what was expected behind them.
Never:  measures, or judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.growing.claims import Claim, Flat, Verdict, word
from benchmarks.growing.growth import Growth, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("tab:blue", "tab:orange", "tab:purple")
_STEPS = 100
#: Room left and right of a line.
_AROUND = 1.5
#: And below and above it: enough to see that what stays within a factor of 2 is flat.
_OVER = 3


@dataclass(frozen=True, slots=True)
class Drawn:
    """What there is to be drawn of a series: the values of all rounds by metric and size, and the verdicts."""

    growth: Growth
    lines: Mapping[str, Sequence[tuple[int, Sequence[float]]]]
    verdicts: Sequence[tuple[Claim, Verdict]]


def draw(series: Sequence[Drawn], date: str, path: Path) -> None:
    """Draw all series into one picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 1 + 4.6 * len(series)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"The cost of growth, {date}\nlines are medians, whiskers min and max; bands and broken lines are expected",
        fontsize=13,
    )
    rows = figure.subfigures(len(series), 1, squeeze=False)
    for drawn, (row,) in zip(series, rows, strict=True):
        row.suptitle(drawn.growth.title, fontsize=11, fontweight="bold")
        for place, panel in enumerate(drawn.growth.panels, 1):
            _panel(row.add_subplot(1, 2, place), drawn, panel)
    figure.savefig(path, dpi=80)


def _panel(axes: Axes, drawn: Drawn, panel: Panel) -> None:
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:,.12g}"))
        axis.set_minor_formatter(NullFormatter())
    said: list[str] = []
    for key, colour in zip(panel.keys, _COLOURS, strict=False):
        line = drawn.lines[key]
        if not line:
            continue
        sizes = [size for size, _ in line]
        middles = [median(values) for _, values in line]
        whiskers = (
            [middle - min(values) for middle, (_, values) in zip(middles, line, strict=True)],
            [max(values) - middle for middle, (_, values) in zip(middles, line, strict=True)],
        )
        title = drawn.growth.metric(key).title
        axes.errorbar(sizes, middles, yerr=whiskers, color=colour, marker="o", markersize=4, capsize=3, label=title)
        for claim, verdict in drawn.verdicts:
            if claim.key == key:
                _expected(axes, claim, verdict, line, colour)
                which = f"{title}: " if len(panel.keys) > 1 else ""
                said.append(f"{which}{claim.expected}: {word(claim, verdict).replace('*', '')}")
    axes.set_title("\n".join([panel.title, *said]), fontsize=8 if len(panel.keys) > 1 else 9, loc="left")
    axes.set_xlabel(drawn.growth.size, fontsize=9)
    axes.set_ylabel(panel.unit, fontsize=9)
    axes.grid(which="major", alpha=0.4)
    axes.grid(which="minor", alpha=0.12)
    sizes = [size for line in drawn.lines.values() for size, _ in line]
    if sizes:
        axes.set_xlim(min(sizes) / _AROUND, max(sizes) * _AROUND)
    shown = [value for key in panel.keys for _, values in drawn.lines[key] for value in values if value > 0]
    if shown:
        axes.set_ylim(min(shown) / _OVER, max(shown) * _OVER)
    if len(panel.keys) > 1:
        axes.legend(fontsize=8)


def _expected(
    axes: Axes, claim: Claim, verdict: Verdict, line: Sequence[tuple[int, Sequence[float]]], colour: str
) -> None:
    """A band as high as its factor for what is flat, a broken line for what has a curve."""
    sizes = [size for size, _ in line if size >= claim.since]
    if len(sizes) < 2:
        return
    if isinstance(claim, Flat):
        most = max(median(values) for size, values in line if size >= claim.since)
        axes.fill_between([sizes[0], sizes[-1]], most / claim.factor, most, color=colour, alpha=0.1, linewidth=0)
    elif verdict.curve is not None:
        ratio = sizes[-1] / sizes[0]
        steps = [sizes[0] * ratio ** (step / _STEPS) for step in range(_STEPS + 1)]
        axes.plot(steps, [verdict.curve(size) for size in steps], color=colour, linestyle="--", linewidth=1, alpha=0.8)
