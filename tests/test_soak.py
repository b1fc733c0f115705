"""The soak tells a flat line from one that grows, and has its files whatever happens."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.calls import Address
from benchmarks.soak import Sampler, run
from benchmarks.soak_load import Load
from benchmarks.soak_verdict import LINES, QUIET_CORES, Line, Sample, Soak, as_markdown, draw, trend_of

MEMORY = Line("rss_mb", "memory", "MB", share=0.05, least=5)


@pytest.fixture(autouse=True)
def _own_cores() -> Iterator[None]:
    """The command keeps this process off the server's core."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def samples(value: Callable[[float], float], *, minutes: int = 30) -> list[Sample]:
    """One every five seconds, with all lines alike, on a machine that does nothing else."""
    times = range(0, minutes * 60, 5)
    return [{"at_s": at_s, **{line.key: value(at_s) for line in LINES}, "others": 0.0} for at_s in times]


def soak(value: Callable[[float], float], *, flaws: tuple[str, ...] = ()) -> Soak:
    return Soak("2026-01-01T00:00:00Z", 30, False, 360, samples(value), flaws)


def test_a_line_that_leaks_is_not_flat_though_it_is_noisy() -> None:
    chance = random.Random(1)
    leaking = samples(lambda at_s: 100 + 20 * at_s / 1800 + chance.uniform(-3, 3))

    trend = trend_of(MEMORY, leaking)
    assert not trend.flat
    assert trend.per_hour == pytest.approx(40, rel=0.1)
    assert trend.change == pytest.approx(20, rel=0.1)


def test_a_line_of_noise_with_a_bad_minute_is_flat() -> None:
    chance = random.Random(2)
    trend = trend_of(MEMORY, samples(lambda at_s: 900.0 if 1700 < at_s < 1760 else 100 + chance.uniform(-10, 10)))

    assert trend.flat
    assert abs(trend.change) < 2


@pytest.mark.parametrize(("rise", "good"), [(0.0, True), (50.0, False), (-50.0, False)])
def test_a_run_is_good_if_all_lines_are_flat(rise: float, good: bool) -> None:
    assert soak(lambda at_s: 100 + rise * at_s / 1800).good is good


def test_what_rises_in_the_warm_up_only_is_flat() -> None:
    assert soak(lambda at_s: min(100.0, at_s)).good


def test_a_broken_promise_or_too_few_samples_are_not_good() -> None:
    assert not soak(lambda _: 1.0, flaws=("an event was lost",)).good
    assert not Soak("2026-01-01T00:00:00Z", 30, True, 360, [], ()).good


@pytest.mark.parametrize(
    ("busy_from_s", "good", "said"),
    [
        (9999, False, "those of 100 % of the samples"),
        (1085, True, "those of 50 % of the samples"),
        (1075, True, "nothing is said about times"),
    ],
)
def test_times_are_judged_while_the_machine_is_left_to_the_run(busy_from_s: float, good: bool, said: str) -> None:
    """Slower by and by from the moment on at which others begin; where they never do, the machine is no excuse."""
    samples: list[Sample] = []
    for at_s in range(0, 1800, 5):
        busy = at_s >= busy_from_s
        value = at_s if busy or busy_from_s > 1800 else 50.0
        lines = {line.key: float(value) if line.timed else 50.0 for line in LINES}
        samples.append({"at_s": at_s, **lines, "others": QUIET_CORES + 0.1 * busy})

    found = Soak("2026-01-01T00:00:00Z", 30, False, 360, samples, ())

    assert found.good is good
    assert said in as_markdown(found, "x.png")


def test_the_lines_are_drawn(tmp_path: Path) -> None:
    draw(soak(lambda _: 50.0), tmp_path / "lines.png")
    assert (tmp_path / "lines.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--minutes", "x"], ["--minutes", "nan"], ["--fast"], ["1"]])
def test_what_is_not_understood_puts_no_load_on_anything(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(words)

    assert stopped.value.code == 2
    assert "python -m benchmarks.soak: error:" in capsys.readouterr().err


@pytest.mark.process
def test_a_soak_breaks_no_promise_and_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["--minutes", "0.1", "--out", str(tmp_path / "new" / "soak")])

    assert {path.name for path in (tmp_path / "new").iterdir()} == {"soak.md", "soak.json", "soak.png"}
    told = (tmp_path / "new" / "soak.md").read_text()
    assert "No promise was broken." in told
    assert told in capsys.readouterr().out
    found = json.loads((tmp_path / "new" / "soak.json").read_text())["samples"]
    assert len(found) >= 3
    assert {line.key for line in LINES} <= set().union(*found)
    assert found[-1]["events_s"] > 0

    (tmp_path / "new" / "soak.md").unlink()
    run(["--again", "--out", str(tmp_path / "new" / "soak")])
    assert (tmp_path / "new" / "soak.md").read_text() == told


async def test_a_reader_that_has_not_begun_when_the_end_comes_leaves_nothing() -> None:
    load = Load(Address("127.0.0.1", 1))

    async def begin() -> None:
        async with asyncio.TaskGroup() as group:
            load._group = group
            load._begin(load._read, "x", None)
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        await begin()
    gc.collect()  # what was made and never awaited complains here
    assert (load.flaws, load.open) == ([], 0)


@pytest.mark.process
def test_a_soak_that_is_interrupted_writes_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = Sampler.sample

    async def sample(self: Sampler) -> Sample:
        found = await once(self)
        os.kill(os.getpid(), signal.SIGINT)
        return found

    monkeypatch.setattr(Sampler, "sample", sample)

    assert run(["--minutes", "60", "--out", str(tmp_path / "soak")]) == 1
    told = (tmp_path / "soak.md").read_text()
    assert "(interrupted)" in told
    assert "**too short to tell**" in told
    assert len(json.loads((tmp_path / "soak.json").read_text())["samples"]) == 1
    assert (tmp_path / "soak.png").exists()
