"""Flat lines or a bug: what the samples of a soak say, as a table for people and a figure to look at.

Owns:   which lines there are, when one is flat, the Markdown, the PNG.
Never:  samples, or puts load on anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

Sample = Mapping[str, float]

#: A sample while others used more cores than that says nothing about times; of the rest there must be so many.
QUIET_CORES = 0.3
QUIET_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Line:
    """Something that is looked at all the time.

    Attributes:
        key: in a sample.
        title: for people.
        unit: of its values.
        share: of its median that it may change by between the warm-up and the end, ...
        least: ... or so much of its unit, if that is more; a line of noise is flat.
        judged: whether it has to be flat.
        timed: it says as much about the machine as about the server: only samples count while that was quiet.
    """

    key: str
    title: str
    unit: str
    share: float = 0.1
    least: float = 0.0
    judged: bool = True
    timed: bool = False


LINES = (
    Line("rss_mb", "resident memory", "MB", 0.05, 5),
    Line("files", "open files", "", 0.1, 5),
    Line("threads", "threads", "", 0.1, 1),
    Line("live", "tasks that have not ended", "", 0.2, 5),
    Line("p50_ms", "due to reader, median", "ms", 0.5, 1, timed=True),
    Line("p99_ms", "due to reader, 99 %", "ms", 0.5, 10, timed=True),
    Line("start_ms", "start, 99 %", "ms", 0.5, 10, timed=True),
    Line("question_ms", "list, count, statistics, 99 %", "ms", 0.5, 20, timed=True),
    Line("store_mb", "store with its log", "MB", 0.1, 5),
    Line("cpu", "CPU of the server", "cores", 0.2, 0.05, timed=True),
    Line("readers", "readers of single tasks", "", judged=False),
    Line("others", "CPU of others on this machine", "cores", judged=False),
    Line("events_s", "events that readers got", "per s", judged=False),
)


@dataclass(frozen=True, slots=True)
class Trend:
    """What became of one line after the warm-up."""

    line: Line
    middle: float
    first: float
    last: float
    change: float
    per_hour: float
    limit: float

    @property
    def flat(self) -> bool:
        """Whether it has stayed where it was."""
        return abs(self.change) <= self.limit


@dataclass(frozen=True, slots=True)
class Soak:
    """One run.

    Attributes:
        date: RFC 3339.
        minutes: that were wanted.
        interrupted: somebody did not wait for the end.
        warm_up_s: what the trends leave out.
        samples: each with its ``at_s``.
        flaws: promises that were broken.
        machine: CPU, cores, memory.
        versions: of what the server stands on.
        foreign_cores: CPU that others used meanwhile.
    """

    date: str
    minutes: float
    interrupted: bool
    warm_up_s: float
    samples: Sequence[Sample]
    flaws: Sequence[str]
    machine: Mapping[str, str | int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    foreign_cores: float = 0.0

    @property
    def measured(self) -> list[Sample]:
        """The samples after the warm-up."""
        return [sample for sample in self.samples if sample["at_s"] >= self.warm_up_s]

    @property
    def trends(self) -> list[Trend]:
        """One a line; none without enough samples."""
        found, quiet = self.measured, self.quiet if self.enough_quiet else self.measured
        return [trend_of(line, quiet if line.timed else found) for line in LINES] if len(found) >= 4 else []

    @property
    def quiet(self) -> list[Sample]:
        """The samples after the warm-up while the machine was left to this run."""
        return [sample for sample in self.measured if sample.get("others", 0.0) <= QUIET_CORES]

    @property
    def enough_quiet(self) -> bool:
        """Whether these say enough about times."""
        return len(self.quiet) >= QUIET_SHARE * len(self.measured)

    def judges(self, line: Line) -> bool:
        """Whether a line has to be flat in this run."""
        return line.judged and (self.enough_quiet or not line.timed)

    @property
    def good(self) -> bool:
        """Whether all lines are flat, and nothing was broken."""
        trends = self.trends
        return bool(trends) and not self.flaws and all(trend.flat for trend in trends if self.judges(trend.line))


def trend_of(line: Line, samples: Sequence[Sample]) -> Trend:
    """How a line goes: the median of all slopes between two samples, which one bad minute does not turn."""
    points = [(sample["at_s"], sample[line.key]) for sample in samples if line.key in sample]
    points = points[:: max(1, len(points) // 300)]
    slopes = [(b - a) / (t - s) for n, (s, a) in enumerate(points) for t, b in points[n + 1 :] if t > s]
    slope = median(slopes) if slopes else 0.0
    values = [value for _, value in points]
    quarter = max(1, len(values) // 4)
    middle = median(values) if values else 0.0
    span_s = points[-1][0] - points[0][0] if points else 0.0
    return Trend(
        line=line,
        middle=middle,
        first=median(values[:quarter]) if values else 0.0,
        last=median(values[-quarter:]) if values else 0.0,
        change=slope * span_s,
        per_hour=slope * 3600,
        limit=max(line.least, line.share * abs(middle)),
    )


def as_markdown(soak: Soak, picture: str) -> str:
    """The report."""
    machine, trends = soak.machine, soak.trends
    lasted = soak.samples[-1]["at_s"] / 60 if soak.samples else 0.0
    ended = " (interrupted)" if soak.interrupted else ""
    versions = ", ".join(f"{name} {version}" for name, version in soak.versions.items())
    verdict = "**all lines are flat**" if soak.good else "**not all is well**" if trends else "**too short to tell**"
    about = f"{machine.get('cpu')}, {machine.get('cores')} cores, {machine.get('memory_mb', 0):,} MB"
    return "\n".join(
        [
            "# Soak",
            "",
            f"- {soak.date}, {lasted:.1f} of {soak.minutes:g} minutes{ended}: {verdict}",
            f"- {about}, {machine.get('system')}; others on this machine used {soak.foreign_cores:.2f} cores meanwhile",
            f"- {versions}",
            "- steady mixed load on SQLite: starts of five types, readers of whole logs, readers that leave and come "
            "back, a reader that never takes a byte, one of everything, cancels, lists and statistics; ended tasks are "
            "kept for a minute",
            f"- the first {soak.warm_up_s:.0f} s are warm-up; a line is flat if it changes less than its limit from "
            "there to the end, by the median of all slopes between two samples",
            _about_times(soak),
            "",
            f"![the lines of this soak]({picture})",
            "",
            "| line | median | first quarter | last quarter | per hour | change | limit | flat |",
            "|---|---|---|---|---|---|---|---|",
            *(_row(soak, trend) for trend in trends),
            "",
            *_flaws(soak),
        ]
    )


def _about_times(soak: Soak) -> str:
    if not soak.enough_quiet:
        return "- others used so much of this machine that nothing is said about times and CPU"
    share = 100 * len(soak.quiet) / max(1, len(soak.measured))
    return f"- times and CPU are those of {share:.0f} % of the samples, while others used {QUIET_CORES:g} cores at most"


def _row(soak: Soak, trend: Trend) -> str:
    line = trend.line
    flat = ("yes" if trend.flat else "**no**") if soak.judges(line) else ""
    limit = f"{trend.limit:.3g}" if soak.judges(line) else ""
    shown = (trend.first, trend.last, trend.per_hour, trend.change)
    first, last, per_hour, change = (f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}" for value in shown)
    middle = f"{trend.middle:,.3g} {line.unit}".strip()
    return f"| {line.title} | {middle} | {first} | {last} | {per_hour} | {change} | {limit} | {flat} |"


def _flaws(soak: Soak) -> list[str]:
    if not soak.flaws:
        return ["No promise was broken.", ""]
    listed = [f"- {' '.join(flaw.split())[:300]}" for flaw in soak.flaws[:20]]
    return [f"**{len(soak.flaws)} promises were broken:**", "", *listed, ""]


def draw(soak: Soak, path: Path) -> None:
    """One panel for each line, with its trend, and the warm-up in grey."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    trends = {trend.line.key: trend for trend in soak.trends}
    figure = Figure(figsize=(15, 13), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"Soak of {soak.minutes:g} minutes, {soak.date}", fontsize=14)
    for place, line in enumerate(LINES, 1):
        panel = figure.add_subplot(-(-len(LINES) // 3), 3, place)
        points = [(sample["at_s"] / 60, sample[line.key]) for sample in soak.samples if line.key in sample]
        panel.plot([at for at, _ in points], [value for _, value in points], color="tab:blue", linewidth=0.9)
        panel.axvspan(0, soak.warm_up_s / 60, color="0.92")
        panel.set_title(line.title, fontsize=11)
        panel.set_xlabel("minutes", fontsize=8)
        panel.set_ylabel(line.unit, fontsize=8)
        panel.set_ylim(bottom=0, top=1.25 * max([value for _, value in points], default=1) or 1)
        panel.grid(alpha=0.3)
        trend = trends.get(line.key)
        if trend is not None and soak.judges(line):
            said = f"{trend.per_hour:+,.3g} {line.unit} per hour: {'flat' if trend.flat else 'NOT FLAT'}"
            colour = "tab:green" if trend.flat else "tab:red"
            panel.text(0.98, 0.95, said, transform=panel.transAxes, ha="right", va="top", fontsize=9, color=colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
