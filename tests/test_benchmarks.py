"""The benchmark commands measure: every figure runs against real servers, on a scale where its numbers mean nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import spine, status, stores
from benchmarks.command import Command, run
from benchmarks.figure import FULL, QUICK, Figure, Flaw, Goal, Metric, Scale
from benchmarks.records import LIVE_EVERY
from benchmarks.server import CALM_S, calm_before
from streaming.config import Settings
from streaming.records import TaskStatus
from streaming.rules.filters import EVERYTHING
from streaming.store import open_store

TINY = Scale(
    clients=10,
    calls=40,
    records=3_000,
    records_few=500,
    questions=3,
    pairs=1,
    pair_starts=10,
    progress_events=200,
    reported_events=4_000,
    memory_tasks=400,
)
COMMANDS = (spine.COMMAND, status.COMMAND)


@pytest.fixture(autouse=True)
def _own_cores() -> Iterator[None]:
    """A command keeps this process off the server's core."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def figure(name: str, measure: Callable[[Scale], Awaitable[Mapping[str, float]]], goal: Goal | None = None) -> Figure:
    return Figure(name, f"What {name} is", (Metric("value", "its value", "ms", goal),), measure)


async def of_one(scale: Scale) -> Mapping[str, float]:
    return {"value": 1.0}


async def broken(scale: Scale) -> Mapping[str, float]:
    raise Flaw("an event was lost")


def command(*figures: Figure, others: tuple[Figure, ...] = ()) -> Command:
    return Command("some", "Measure something.", {"some": figures, "others": others})


def _skip_without_postgres() -> None:
    from tests.postgres import NoPostgres, programs

    try:
        programs(16)
    except NoPostgres as reason:
        pytest.skip(str(reason))


@pytest.mark.process
@pytest.mark.parametrize(
    ("kind", "names"),
    [("sqlite", ["sqlite", "memory-sqlite"]), ("postgres", ["create-postgres", "count-postgres"])],
    ids=list(stores.KINDS),
)
def test_figures_of_status_tracking_are_measured(
    kind: str, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flaw is a broken promise; whether a goal is reached cannot be said of so little.

    All on one database, and on the other one an empty store and a full one: it is the server that differs there.
    """
    if kind == "postgres":
        _skip_without_postgres()
    small = dataclasses.replace(status.COMMAND, quick=TINY)

    run(small, ["--quick", *names], results=tmp_path)

    out, told = capsys.readouterr()
    assert "broken" not in told, told
    assert [line for line in out.splitlines() if "| - |" in line] == []
    assert f"**{stores.KINDS[kind]}:" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_a_full_run_writes_the_files_of_which_it_has_all_figures(tmp_path: Path) -> None:
    some = command(figure("first", of_one), figure("second", of_one), others=(figure("apart", of_one),))

    assert run(some, ["first", "apart", "--rounds", "2"], results=tmp_path) == 0
    assert {"others.md", "others.json"} == {path.name for path in tmp_path.iterdir()}
    assert run(some, ["--rounds", "1"], results=tmp_path) == 0

    written = json.loads((tmp_path / "some.json").read_text())
    assert [each["name"] for each in written["figures"]] == ["first", "second"]
    assert json.loads((tmp_path / "others.json").read_text())["figures"][0]["metrics"][0]["rounds"] == [1.0, 1.0]


@pytest.mark.process
def test_a_missed_goal_and_a_broken_promise_show_in_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missed, flawed = figure("missed", of_one, Goal("<", 1)), figure("flawed", broken)

    assert run(command(missed), ["--quick"], results=tmp_path) == 1
    assert "| its value | < 1 ms | 1 ms | 1 | 1 | **no** |" in capsys.readouterr().out
    assert run(command(flawed), ["--quick"], results=tmp_path) == 1
    assert "| **broken:** an event was lost |" in capsys.readouterr().out


@pytest.mark.clock("virtual")
async def test_a_measurement_begins_in_the_calm_before_the_first_event_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = asyncio.get_running_loop().time
    monkeypatch.setattr("benchmarks.server.time", SimpleNamespace(time=now))
    start_at = now() + 3.0

    await calm_before(start_at)

    assert now() == start_at - CALM_S
    await calm_before(now() + CALM_S / 2)
    with pytest.raises(Flaw, match="it began before"):
        await calm_before(now())


@pytest.mark.parametrize("words", [["nothing"], ["--rounds", "0"], ["--rounds", "x"], ["--slow"]])
@pytest.mark.parametrize("which", COMMANDS, ids=lambda which: which.name)
def test_what_is_not_understood_measures_nothing(
    which: Command, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(which, words)

    assert stopped.value.code == 2
    assert f"python -m benchmarks.{which.name}: error:" in capsys.readouterr().err


@pytest.mark.parametrize("which", COMMANDS, ids=lambda which: which.name)
def test_names_of_figures_and_metrics_are_used_once(which: Command) -> None:
    figures = [figure for figures in which.files.values() for figure in figures]

    assert len(figures) == len(which.figures)
    assert all(len(each.metrics) == len({metric.key for metric in each.metrics}) for each in figures)


@pytest.mark.process
def test_a_quick_run_says_how_much_less_it_does_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert FULL != QUICK
    run(command(figure("first", of_one)), ["--quick"], results=tmp_path)

    assert "- quick: duration_s 3, burst_events 20,000, " in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


async def test_a_filled_store_is_one_of_ours() -> None:
    """The server finds in it what was written: so many records, with their logs, and some that have not ended."""
    with closing(stores.Stores()) as made:
        store = open_store(Settings(store_url=made.filled("sqlite", 1_000)))
        await store.open()
        try:
            counted = await store.count(EVERYTHING, ["status"])
            unfinished = await store.unfinished()
            record = unfinished[-1]
            events = await store.events_after(record.id, 0, last_seq=record.last_seq, limit=10)
        finally:
            await store.close()

    assert sum(count for _, count in counted) == 1_000
    assert len(unfinished) == 1_000 // LIVE_EVERY
    assert {TaskStatus.RUNNING, TaskStatus.PENDING} == {each.status for each in unfinished}
    assert record.last_seq == len(events)
