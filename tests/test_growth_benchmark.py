"""The cost of growth is measured, judged and drawn: the sums are right, and every series runs on a real server.

No number that comes out is looked at: a machine that has other work to do is no reason to fail.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks.figure import Flaw
from benchmarks.growing import handlers
from benchmarks.growing.claims import Below, Claim, Explained, Flat, Part, Points, two_costs, word
from benchmarks.growing.growth import FULL, QUICK, Growth, Panel, Scale
from benchmarks.growing.hall import stream
from benchmarks.growing.lineup import SERIES
from benchmarks.growing.logs import Returning
from benchmarks.growing.results import CALM_CORES, Report, Result, write
from benchmarks.growth import Scales, run
from benchmarks.speed.results import Cell
from benchmarks.speed.workload import Metric
from streaming.engine.context import TaskContext

TINY = Scale(seconds=0.2, append_events=300, tails=2, tail_events=100, whole_events=200, wholes=3)
SIZES = {"readers": 7, "tasks": 12, "log": 50, "size": 20_000}
COSTS = Explained("rate", "they share it", (Part("an event", -1), Part("a delivery", 0)))


@pytest.fixture(autouse=True)
def _own_cores() -> Iterator[None]:
    """The command keeps this process off the server's core."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def said(claim: Claim, *points: tuple[float, float]) -> str:
    return word(claim, claim.judge(points))


# -- what is expected --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1, 10), (10, 10), (100, 10)], "flat"),
        ([(1, 10), (10, 19.9), (100, 10)], "flat"),
        ([(1, 10), (10, 20.1), (100, 10)], "**not flat**"),
        ([(1, 10), (10, 7), (100, 4.9)], "**not flat**"),
        ([(1, 10), (10, 0)], "**not flat**"),
        ([(1, 10)], "not judged"),
        ([], "not judged"),
    ],
)
def test_flat_is_a_matter_of_the_least_and_the_greatest(points: Points, expected: str) -> None:
    assert said(Flat("rate", "nothing grows"), *points) == expected


def test_what_comes_before_does_not_count() -> None:
    claim = Flat("rate", "nothing grows", since=10)

    assert said(claim, (1, 1), (10, 100), (100, 150)) == "flat"
    assert said(claim, (1, 100), (10, 100), (100, 250)) == "**not flat**"
    assert said(claim, (1, 100), (3, 100), (10, 100)) == "not judged"
    assert claim.expected == "flat within a factor of 2 from 10 on"
    assert Flat("rate", "nothing grows", factor=3).expected == "flat within a factor of 3"


def rates(event_s: float, delivery_s: float, sizes: Sequence[int]) -> list[tuple[float, float]]:
    return [(size, 1 / (event_s / size + delivery_s)) for size in sizes]


def test_two_costs_are_found_again() -> None:
    verdict = COSTS.judge(rates(600e-6, 8e-6, [1, 10, 100, 10_000]))

    assert verdict.holds
    assert verdict.found == "600 µs an event + 8 µs a delivery, within a factor of 1.00"
    assert verdict.curve is not None
    assert verdict.curve(50) == pytest.approx(1 / 20e-6)


def test_a_cost_may_be_that_of_a_thousand() -> None:
    claim = Explained("rate", "bytes are copied", (Part("a delivery", 0), Part("a kB", 1, 1_000)))

    verdict = claim.judge([(size, 1 / (12e-6 + 0.5e-9 * size)) for size in (100, 10_000, 100_000)])

    assert verdict.found == "12 µs a delivery + 0.5 µs a kB, within a factor of 1.00"


def test_a_number_that_falls_where_it_has_to_rise_is_not_explained() -> None:
    assert said(COSTS, (1, 100), (10, 1_000), (100, 9_000), (1_000, 300)) == "**not as explained**"
    assert said(COSTS, (1, 100), (10, 90), (100, 0)) == "**not as explained**"
    assert said(COSTS, (1, 100), (10, 90)) == "not judged"


def test_no_cost_is_below_nothing() -> None:
    """A delivery that becomes ever cheaper would be explained by a negative one."""
    one, other = two_costs([(1 / size, 1.0, 1 / size**2) for size in (1.0, 10.0, 100.0)])
    assert (one >= 0, other) == (True, 0.0)

    one, other = two_costs([(1.0, size, 100 / size) for size in (1.0, 10.0, 100.0)])
    assert (one >= 0, other) == (True, 0.0)


def test_a_line_is_not_crossed() -> None:
    claim = Below("lag", "one after the other", fixed=10, each=0.1, unit="ms")

    assert said(claim, (1, 10), (100, 20), (1_000, 110)) == "grows as explained"
    assert said(claim, (1, 10), (100, 20.1), (1_000, 50)) == "**not as explained**"
    assert said(claim) == "not judged"
    assert claim.judge([(1, 10.1), (100, 10)]).found == "at most 100 % of that, at 1"
    assert claim.expected == "at most 10 ms and 100 ms for each 1,000"


def test_every_claim_is_about_something_that_is_measured() -> None:
    for growth in SERIES.values():
        keys = {metric.key for metric in growth.metrics}
        assert len(keys) == len(growth.metrics)
        assert {claim.key for claim in growth.claims} | set(growth.timed) <= keys
        assert {key for panel in growth.panels for key in panel.keys} <= keys
        assert all(claim.why for claim in growth.claims)
        assert 6 <= len(growth.full) <= 9
        assert max(growth.quick) <= max(growth.full)
    assert dataclasses.asdict(QUICK) != dataclasses.asdict(FULL)


# -- what comes out ----------------------------------------------------------------------------------------------------


async def as_large(size: int, scale: Scale) -> Mapping[str, float]:
    return {"rate": 1_000.0, "lag": float(size)}


async def broken(size: int, scale: Scale) -> Mapping[str, float]:
    if size == 10:
        raise Flaw("event 7 came | where 6 was due")
    return {"rate": 1_000.0, "lag": 1.0}


def growth_of(*claims: Claim, name: str = "some") -> Growth:
    return Growth(
        name,
        "Some of them",
        "things",
        (1, 10, 100),
        (1, 10),
        (Metric("rate", "what it gives", "1/s", "more"), Metric("lag", "how late", "ms", "less")),
        (Panel("What it gives", "1/s", ("rate",)), Panel("How late", "ms", ("lag",))),
        claims or (Flat("rate", "nothing grows"), Below("lag", "all of them", 1, 1, "ms")),
        ("lag",),
        as_large,
    )


def result_of(growth: Growth, *rounds: Mapping[int, Cell]) -> Result:
    result = Result(growth, growth.full)
    for cells in rounds:
        for size, cell in cells.items():
            result.of(size).cells.append(cell)
    return result


def lags(*values: float, others: float = 0.0) -> dict[int, Cell]:
    return {
        size: Cell({"rate": 1.0, "lag": lag}, foreign_cores=others)
        for size, lag in zip((1, 10, 100), values, strict=True)
    }


def test_the_clock_is_believed_only_while_the_machine_is_calm() -> None:
    growth = growth_of(Flat("lag", "nothing grows"))
    calm, busy = lags(1, 1, 1), lags(1, 50, 60, others=CALM_CORES + 0.1)
    mixed = {1: calm[1], 10: busy[10], 100: calm[100]}

    [(_, verdict)] = result_of(growth, calm, busy, busy).verdicts
    assert verdict.holds is True
    [(claim, verdict)] = result_of(growth, busy, busy).verdicts
    assert (verdict.holds, word(claim, verdict)) == (None, "not judged")
    assert verdict.found == "others were busy at 3 of 3 sizes"
    [(_, verdict)] = result_of(growth, mixed, mixed).verdicts
    assert (verdict.holds, verdict.found) == (True, "within a factor of 1.00, others were busy at 1 of 3 sizes")


def test_cpu_counts_in_any_case() -> None:
    result = result_of(growth_of(Flat("rate", "nothing grows")), lags(1, 1, 1, others=2.0))

    assert [verdict.holds for _, verdict in result.verdicts] == [True]


def report_of(*results: Result) -> Report:
    about: dict[str, str | int] = {"cpu": "one", "cores": 2, "cores_apart": 1, "memory_mb": 1_000, "system": "Linux"}
    return Report("today", False, 3, "uvloop", 0.1, about, {"python": "3"}, ["a note"], results)


def test_a_report_is_a_table_numbers_and_a_picture(tmp_path: Path) -> None:
    good = result_of(growth_of(), lags(1, 10, 100), lags(2, 11, 90), lags(3, 12, 80))
    bad = result_of(
        growth_of(Flat("lag", "nothing grows"), COSTS, name="bad"),
        {**lags(1, 10, 100), 10: Cell(flaw="event 7 came | where 6 was due")},
    )

    written = write(report_of(good, bad), tmp_path)

    assert [path.name for path in written] == ["growth.md", "growth.json", "growth.png"]
    table, numbers = written[0].read_text(), json.loads(written[1].read_text())
    assert "- today, 3 rounds, all points in turn; the median counts" in table
    assert (
        "| some | what it gives | flat within a factor of 2 | nothing grows | within a factor of 1.00 | flat |" in table
    )
    assert (
        "| bad | how late | flat within a factor of 2 | nothing grows | within a factor of 100.00 | **not flat** |"
        in (table)
    )
    assert "| bad | all streams | whole and in order | | 1 points | **broken** |" in table
    assert "| 100 | 1 | 90 (80 - 100) |" in table.replace("1 (1 - 1)", "1")
    assert "| 10 (**broken** in 1 of 1) | - | - |" in table
    assert "- a promise was broken at 10: event 7 came | where 6 was due" in table
    assert "![the cost of growth](growth.png)" in table
    assert [(each["name"], each["good"]) for each in numbers["series"]] == [("some", True), ("bad", False)]
    assert numbers["series"][1]["claims"][0]["verdict"] == "not flat"
    assert len(numbers["series"][0]["points"][2]["rounds"]) == 3
    assert written[2].read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_nothing_is_no_mistake(tmp_path: Path) -> None:
    path = write(report_of(result_of(growth_of(), {size: Cell(flaw="cut off") for size in (1, 10, 100)})), tmp_path)[2]

    assert path.read_bytes().startswith(b"\x89PNG")


# -- tasks and readers -------------------------------------------------------------------------------------------------


class Told:
    """What an event is for a handler."""

    def __init__(self) -> None:
        self.data: list[dict[str, Any]] = []

    async def emit(self, type: str, data: dict[str, Any]) -> int:
        self.data.append(data)
        return len(self.data)


@pytest.mark.parametrize("payload_bytes", [100, 3_000])
async def test_an_event_is_as_large_as_it_was_ordered(payload_bytes: int) -> None:
    told = Told()
    order = handlers._Order(events=20, rate=2_000.0, start_at=0.0, payload_bytes=payload_bytes, last=False)

    assert await handlers._emit(cast(TaskContext, told), order, 90, 0.5) == 110

    assert [data["n"] for data in told.data] == list(range(90, 110))
    assert all(abs(handlers._bytes_of(data) - payload_bytes) <= 16 for data in told.data)
    first, last = told.data[0]["at"], told.data[-1]["at"]
    assert last - first == pytest.approx(19 / 2_000, abs=1e-5)


async def test_without_a_size_there_is_nothing_but_a_counter_and_a_time() -> None:
    told = Told()

    await handlers._emit(cast(TaskContext, told), handlers._Order(2, 0.0, 0.0, 0, last=True), 0, 0.0)

    assert [sorted(data) for data in told.data] == [["at", "n"], ["at", "n"]]


def test_a_reader_that_comes_back_says_where_it_was() -> None:
    assert stream("abc", after=7).endswith(b"\r\nLast-Event-ID: 7\r\n\r\n")
    assert b"Last-Event-ID" not in stream("abc")


async def test_the_first_event_is_noticed_and_not_the_headers() -> None:
    reader = Returning(b"", after=7)
    body = b"id: 8\nevent: tick\ndata: {}\n\n"

    reader.data_received(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    assert reader.first_at == 0.0
    reader.data_received(b"%x\r\n%b\r\n" % (len(body), body))
    assert reader.first_at > 0.0


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_every_series_is_measured_on_a_real_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [dataclasses.replace(growth, full=(SIZES[name],)) for name, growth in SERIES.items()]

    run(["--rounds", "1"], results=tmp_path, scales=Scales(full=TINY), series=small)

    out, told = capsys.readouterr()
    assert "broken" not in told + out, told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["growth.json", "growth.md", "growth.png"]
    numbers = json.loads((tmp_path / "growth.json").read_text())
    for growth, series in zip(small, numbers["series"], strict=True):
        [point] = series["points"]
        [cell] = point["rounds"]
        assert point["size"] == SIZES[growth.name]
        assert set(cell["values"]) == {metric.key for metric in growth.metrics}
        assert all(value > 0 for value in cell["values"].values())
    assert "- smaller than usual: seconds 0.2, append_events 300" in out


@pytest.mark.process
def test_a_broken_promise_shows_in_the_exit_status_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = growth_of(name="good"), dataclasses.replace(growth_of(name="bad"), measure=broken)

    assert run(["good"], results=tmp_path, series=[good, bad]) == 0
    assert list(tmp_path.iterdir()) == []
    assert run(["--quick"], results=tmp_path, series=[good, bad]) == 1
    assert list(tmp_path.iterdir()) == []
    told = capsys.readouterr().err
    assert "1/1  bad             1  rate 1,000" in told
    assert "1/1  bad            10  broken: event 7 came" in told


@pytest.mark.parametrize("words", [["nothing"], ["readers", "W1"], ["--rounds", "0"], ["--rounds", "x"], ["--slow"]])
def test_what_is_not_understood_measures_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(words)

    assert stopped.value.code == 2
    assert "python -m benchmarks.growth: error:" in capsys.readouterr().err


def test_help_names_every_series(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(["--help"])

    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text and growth.title in text for name, growth in SERIES.items())
    assert "examples:" in text
