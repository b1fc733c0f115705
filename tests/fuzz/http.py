"""Fuzz a server: ``python -m tests.fuzz.http --requests 50000``.

Owns:   the command line, the bar, and the summary at the end.
Never:  ends well if anything was found.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tests.fuzz.requests import Fuzz, Summary
from tests.fuzz.server import serving

console = Console(stderr=True)


def main() -> int:
    options = read_options()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), options.store) as server:
        summary = fuzz(server.url, options.requests, options.seed)
        status = server.end()
    broken = sum(count for answer, count in summary.by_status.items() if answer >= 500)
    if broken:
        summary.failures["5xx"] = f"{broken} answers had a status of 500 or more"
    if status or server.complaints:
        summary.failures["the server"] = f"it ended with {status} and said {server.complaints[:5]}"
    show(summary)
    if options.output:
        options.output.write_text(json.dumps(summary.as_json(), indent=2) + "\n", encoding="utf-8")
    return 1 if summary.failures else 0


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.http", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=50_000, help="how many to send (default: 50000)")
    parser.add_argument("--seed", type=int, default=0, help="the same one draws the same requests")
    parser.add_argument("--store", default="memory://", help="what keeps the tasks (default: memory://)")
    parser.add_argument("--output", type=Path, help="file for the summary, as JSON")
    return parser.parse_args()


def fuzz(url: str, count: int, number: int) -> Summary:
    columns = (TextColumn("fuzzing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    found = TextColumn("{task.fields[failures]} found")
    with Progress(*columns, found, console=console) as bar:
        row = bar.add_task("", total=count, failures=0)
        fuzzer = Fuzz(
            url, number, tell=lambda so_far: bar.update(row, completed=so_far.requests, failures=len(so_far.failures))
        )
        try:
            return fuzzer.run(count)
        finally:
            fuzzer.close()


def show(summary: Summary) -> None:
    for title, counted in (
        ("status", summary.by_status),
        ("refusal", summary.by_code),
        ("route", summary.by_route),
    ):
        table = Table(title, "requests", box=None)
        for name, count in sorted(counted.items(), key=lambda entry: str(entry[0])):
            table.add_row(str(name), f"{count:,}")
        console.print(table, "")
    for words in summary.failures.values():
        console.print(words, style="red", markup=False, soft_wrap=True)
    pace = summary.requests / max(summary.seconds, 0.001)
    console.print(
        f"{summary.requests:,} requests, {summary.streams:,} of them streams, in {summary.seconds:.0f} s "
        f"({pace:.0f} a second): {len(summary.failures)} kinds of failures",
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(main())
