"""``streaming stats``: a table for people, a document for programs."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from streaming.cli.figures import length

Streaming = Callable[..., Result]


def test_all_then_types_then_buckets(streaming: Streaming, real_url: str) -> None:
    assert streaming("run", "countdown", "count=0", url=real_url).exit_code == 0

    result = streaming("stats", "--by", "day", "--type", "countdown")

    assert result.exit_code == 0, result.stderr
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[0] for row in rows[:2]] == ["all", "countdown"]
    assert rows[2][0].endswith("T00:00:00.000000Z")
    assert {len(row) for row in rows} == {11}
    assert int(rows[0][1]) >= 1


def test_a_document_for_programs(streaming: Streaming, real_url: str) -> None:
    found = json.loads(streaming("stats", "--window", "1h", "-o", "json", url=real_url).stdout)

    assert found["window"] == "1h"
    assert set(found["total"]) >= {"tasks", "by_status", "success_share", "waiting", "running"}


def test_a_window_that_is_none_is_refused(streaming: Streaming, real_url: str) -> None:
    result = streaming("stats", "--window", "1y", url=real_url)

    assert result.exit_code == 2
    assert "at most 90d" in result.stderr


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.0042, "4ms"), (0.9, "900ms"), (4.21, "4.21s"), (99, "99s"), (150, "2.5m"), (7200, "2h")],
)
def test_lengths_are_short(seconds: float | None, text: str) -> None:
    assert length(seconds) == text
