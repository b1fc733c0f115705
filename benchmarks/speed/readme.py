"""The three lines of figures in the README, out of ``benchmarks/results/speed.json``.

    python -m benchmarks.speed.readme

Owns:   which figures stand there, and beside whom.
Never:  measures, or changes a file: a test holds the README to what this prints.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from benchmarks.command import RESULTS
from benchmarks.report import number

#: Who stands there, and under which name.
COLUMNS = {
    "streaming": "`streaming`",
    "protocol": "raw `asyncio.Protocol`",
    "nchan": "nginx with Nchan",
    "node": "Node.js http",
    "uvicorn": "bare uvicorn",
    "sse-starlette": "sse-starlette",
}

#: The workload, its metric, and what it is.
ROWS = (
    ("live", "cpu_us", "CPU of the server for one delivery, 1,000 readers at 100 events/s, µs"),
    ("saturation", "deliveries_s", "deliveries/s to 1,000 readers, as fast as possible"),
    ("idle", "stream_kb", "memory of one of 10,000 idle streams, kB"),
)


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The table, line by line.

    Args:
        report: what the command ``python -m benchmarks`` has written.
    """
    yield "| median | " + " | ".join(COLUMNS.values()) + " |"
    yield "|---|" + "---|" * len(COLUMNS)
    workloads = {workload["name"]: workload["rounds"] for workload in report["workloads"]}
    for workload, key, title in ROWS:
        cells = (_middle(workloads[workload].get(name, ()), key) for name in COLUMNS)
        yield f"| {title} | " + " | ".join(cells) + " |"


def _middle(rounds: list[Mapping[str, Any]], key: str) -> str:
    values = [each["values"][key] for each in rounds if key in each.get("values", {})]
    return number(median(values)) if values else "-"


if __name__ == "__main__":
    print("\n".join(lines(json.loads((RESULTS / "speed.json").read_text()))))
