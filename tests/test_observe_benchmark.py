"""The figures of metrics measure: their servers count, or do not, and all readers get every event in any case.

No number that comes out is looked at: a machine that has other work to do is no reason to fail.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import observe, uncounted
from benchmarks.command import run
from benchmarks.figure import Flaw, Scale
from benchmarks.observe_figures import FIGURES, scrape
from streaming.engine import fanout
from streaming.engine.log import Log
from streaming.rules.log import Batch
from tests.engine.hubs import Desk

TINY = Scale(duration_s=0.4, readers=20, pairs=3, live_tasks=30, scrapes=3)
COMMAND = dataclasses.replace(observe.COMMAND, quick=TINY)


@pytest.fixture(autouse=True)
def _own_cores() -> Iterator[None]:
    """The command keeps this process off the server's core."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.process
def test_figures_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(COMMAND, ["--quick"], results=tmp_path)

    out, told = capsys.readouterr()
    assert [figure.name for figure in FIGURES if figure.title in out] == ["deliveries", "scrape"]
    assert "broken" not in told + out, told
    assert [line for line in out.splitlines() if "| - |" in line] == []
    assert list(tmp_path.iterdir()) == []


def test_a_scrape_that_misses_tasks_is_none() -> None:
    body = b'streaming_tasks{status="running",type="bench_wait"} 3.0\nstreaming_tasks{status="running",type="x"} 4.0\n'
    scrape._check(body, 3)
    with pytest.raises(Flaw, match="7 tasks are live, and 3 are told of"):
        scrape._check(body, 7)


@pytest.mark.clock("virtual")
async def test_a_pass_that_counts_nothing_tells_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, plain = fanout._tell, uncounted.tell_uncounted

    seen = [await _told(monkeypatch, tell) for tell in (counted, plain)]

    assert seen[0][0] == seen[1][0]
    assert (seen[0][1], seen[1][1]) == (6, 0)


async def _told(monkeypatch: pytest.MonkeyPatch, tell: object) -> tuple[list[object], int]:
    """What readers of each kind get, and how many events were counted."""
    monkeypatch.setattr(fanout, "_tell", tell)
    got: list[object] = []
    async with Desk() as desk:
        log: Log = await desk.log()

        def take(batch: Batch) -> int:
            got.append([event.seq for event in batch.events])
            return len(batch.sse)

        at_the_head, busy, behind = (desk.hub.read(log, cursor) for cursor in (2, 2, 1))
        at_the_head.push, busy.push, behind.push = take, lambda batch: 0, take
        for reader in (at_the_head, busy, behind):
            reader.on_news = lambda: got.append("woken")
        await desk.emit(log, 3)
        await desk.hub.committed()
        await desk.emit(log, 3)
        await desk.hub.committed()
        seen = [*got, at_the_head.cursor, busy.cursor, behind.cursor]  # what comes with the end of the hub is not
    return seen, desk.hub.observed.deliveries.events
