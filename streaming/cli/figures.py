"""The command that shows statistics.

Owns:   its options, and the columns of its table.
Uses:   client (the question).
Never:  works anything out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from streaming.cli.asking import DEFAULT_URL, Format, Url, ask
from streaming.cli.filters import Types
from streaming.cli.output import Output, print_document, print_table, say

if TYPE_CHECKING:
    from streaming.client import Client
    from streaming.rules.statistics import Figures, Statistics

HEADINGS = (
    "of",
    "tasks",
    "completed",
    "repeated",
    "a minute",
    "waited p50",
    "p95",
    "ran mean",
    "p50",
    "p95",
    "p99",
)


def stats(
    window: Annotated[str, typer.Option(help="How far back: 15m, 24h, 7d; at most 90d.")] = "24h",
    type: Types = None,
    by: Annotated[str | None, typer.Option(help="hour or day: also of each of these.", show_default=False)] = None,
    url: Url = DEFAULT_URL,
    output: Format = Output.TEXT,
) -> None:
    """Show what tasks that have ended have done.

    Columns are tasks, share completed, share repeated, tasks a minute, and
    how long they waited and ran; rows are all, each type, each hour or day.

    Examples:
        streaming stats
        streaming stats --window 7d --by day --type http_fetch
        streaming stats -o json | jq .total.running.p95_s
    """

    async def work(client: Client) -> None:
        found = await client.statistics(window=window, type=type or (), by=by)
        if output is Output.JSON:
            print_document({"window": window, **found.as_json()})
            return
        print_table(HEADINGS, rows(found))
        if found.sampled:
            say(f"there are more: these are the newest {found.total.tasks}, that ended since {found.since}")

    ask(url, work)


def rows(found: Statistics) -> list[list[str]]:
    """The table: all, then each type, then each hour or day."""
    parts = {"all": found.total, **found.by_type, **found.by_time}
    return [[name, *_cells(figures)] for name, figures in parts.items()]


def _cells(figures: Figures) -> list[str]:
    waiting, running = figures.waiting, figures.running
    return [
        str(figures.tasks),
        _share(figures.success_share),
        _share(figures.retry_share),
        f"{figures.per_minute:.3g}",
        *map(length, (waiting.p50_s, waiting.p95_s, running.mean_s, running.p50_s, running.p95_s, running.p99_s)),
    ]


def _share(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}%"


def length(seconds: float | None) -> str:
    """Seconds in few letters, with two or three digits that count."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{1000 * seconds:.0f}ms"
    if seconds < 100:
        return f"{seconds:.3g}s"
    return f"{seconds / 60:.3g}m" if seconds < 6000 else f"{seconds / 3600:.3g}h"
