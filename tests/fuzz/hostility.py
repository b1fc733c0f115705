"""Send a server hostile requests: ``python -m tests.fuzz.hostility --requests 100000 --seed 0``.

Each request is drawn from its number and the seed: its path, query, headers, credentials, body, framing or bytes are
not as they should be. Every answer has to be a success or a problem of the one shape, and must tell nothing of the
server.

Owns:   the command line, the server, the bar, what is wrong with the server itself afterwards, and the summary.
Never:  ends well if anything was found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tests.fuzz.credentials import Secrets
from tests.fuzz.server import Served, serving
from tests.fuzz.siege import SETTINGS, Siege, Summary

#: Characters of a request that are shown.
SHOWN_MAX = 3_000

console = Console(stderr=True)


def main() -> int:
    options = read_options()
    numbers = [options.only] if options.only is not None else range(options.requests)
    summary = besiege(numbers, options.seed, options.store)
    show(summary)
    if options.output:
        options.output.write_text(json.dumps(summary.as_json(), indent=2) + "\n", encoding="utf-8")
    return 1 if summary.failures else 0


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.hostility", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=100_000, help="how many to send (default: 100000)")
    parser.add_argument("--seed", type=int, default=0, help="the same one draws the same requests")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="send this one only")
    parser.add_argument("--store", default="memory://", help="what keeps the tasks (default: memory://)")
    parser.add_argument("--output", type=Path, help="file for the summary, as JSON")
    return parser.parse_args()


def besiege(numbers: Iterable[int], seed: int = 0, store_url: str = "memory://", *, quiet: bool = False) -> Summary:
    """Start a server, send it the requests with these numbers, and end it.

    Args:
        numbers: of the requests.
        seed: of all of them.
        store_url: what keeps the tasks.
        quiet: show nothing meanwhile.

    Returns:
        What has come of it; what is wrong with the server itself is among the failures.
    """
    numbers, secrets = list(numbers), Secrets()
    columns = (TextColumn("hostile"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    found = TextColumn("{task.fields[failures]} found")
    with (
        tempfile.TemporaryDirectory() as folder,
        secrets.published() as url,
        serving(Path(folder), store_url, {**SETTINGS, **secrets.settings(url)}) as server,
        Progress(*columns, found, console=console, disable=quiet) as bar,
    ):
        row = bar.add_task("", total=len(numbers), failures=0)
        siege = Siege(
            server.url,
            secrets,
            seed,
            tell=lambda so_far: bar.update(row, completed=so_far.requests, failures=len(so_far.failures)),
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            summary = runner.run(siege.run(numbers))
            summary.failures |= runner.run(look(server, secrets))
    return summary


async def look(server: Served, secrets: Secrets) -> dict[str, str]:
    """What is wrong with a server afterwards; it is ended."""
    wrong = {}
    after = Siege(server.url, secrets)
    for path in ("/readyz", "/tasks"):
        status = await after.ask_plainly(path)
        if status != 200:
            wrong[f"{path} afterwards"] = f"the server answers {status}"
    status = await asyncio.to_thread(server.end)
    if status or server.complaints:
        wrong["the server"] = f"it ended with {status} and said {server.complaints[:5]}"
    log = json.dumps(server.entries).encode()
    if any(secret in log for secret in secrets.all):
        wrong["the log"] = "it has a secret in it"
    return wrong


def show(summary: Summary) -> None:
    for title, counted in (
        ("status", summary.by_status),
        ("refusal", summary.by_code),
        ("twist", summary.by_twist),
        ("wrong", summary.failed),
    ):
        table = Table(title, "requests", box=None)
        for name, count in sorted(counted.items(), key=lambda entry: str(entry[0])):
            table.add_row(str(name), f"{count:,}")
        console.print(table, "")
    for words in summary.failures.values():
        console.print(words[:SHOWN_MAX], style="red", markup=False, soft_wrap=True)
    pace = summary.requests / max(summary.seconds, 0.001)
    console.print(
        f"{summary.requests:,} hostile requests in {summary.seconds:.0f} s ({pace:.0f} a second): "
        f"{len(summary.failures)} kinds of failures",
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(main())
