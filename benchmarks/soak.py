"""The command ``python -m benchmarks.soak``: steady load for a long time, and whether anything grows.

Owns:   its arguments, the server, the samples, the files, the exit status.
Uses:   benchmarks.soak_load (what clients do), benchmarks.soak_verdict (what is flat, the report and the figure).
Never:  starts a server with other settings than the defaults, but for what is kept: a store has to be able to be flat.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import math
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
import uvloop
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import calls, machine
from benchmarks.calls import connect
from benchmarks.command import RESULTS
from benchmarks.figure import Flaw, percentile
from benchmarks.server import COMMAND, Server, running
from benchmarks.soak_load import Load
from benchmarks.soak_verdict import Sample, Soak, as_markdown, draw

MINUTES = 30.0

#: Ended tasks are kept so long, and looked for so often: far less than the warm-up.
KEPT_S, EVERY_S = 60, 5

#: What is left out: until the store has as much to remove as comes in, and all caches are full.
WARM_UP_SHARE, WARM_UP_MIN_S = 0.2, 120.0

#: So many samples a run, but not more often than each second.
SAMPLES = 400

_EPILOG = f"""
examples:
  python -m benchmarks.soak                  {MINUTES:g} minutes; writes benchmarks/results/soak.png, .md and .json
  python -m benchmarks.soak --minutes 480    a night
  python -m benchmarks.soak --minutes 5 --out /tmp/soak
                                             a short one, somewhere else
  python -m benchmarks.soak --again          no run: the report and the figure from the samples of the last one

Ctrl-C ends it early, and writes what it has. The exit status is 0 if all lines are flat and no promise was broken,
1 if not, 2 if the command was not understood.
"""

_told = Console(stderr=True, highlight=False, soft_wrap=True)


class Sampler:
    """Looks at the server, and at what its clients have measured, again and again."""

    def __init__(self, server: Server, load: Load, begin_s: float) -> None:
        self.samples: list[Sample] = []
        self._server = server
        self._load = load
        self._begin_s = begin_s
        self._process = psutil.Process(server.process.pid)
        self._last_s, self._last_cpu_s, self._last_foreign_s = begin_s, server.cpu_s, machine.foreign_cpu_s()

    async def sample(self) -> Sample:
        """One look at everything."""
        if self._server.process.returncode is not None:
            raise Flaw(f"the server has ended:\n{self._server.log_lines}")
        now_s, cpu_s, measured = time.monotonic(), self._server.cpu_s, self._load.take()
        passed_s, foreign_s = max(now_s - self._last_s, 1e-9), machine.foreign_cpu_s()
        ours_s = cpu_s - self._last_cpu_s  # what is not over yet counts as foreign
        sample = {
            "at_s": now_s - self._begin_s,
            "rss_mb": self._server.rss_bytes / 2**20,
            "files": float(self._process.num_fds()),
            "threads": float(self._process.num_threads()),
            "live": await self._live(),
            "store_mb": sum(path.stat().st_size for path in self._server.directory.glob("streaming.db*")) / 2**20,
            "cpu": ours_s / passed_s,
            "others": max(0.0, foreign_s - self._last_foreign_s - ours_s) / passed_s,
            "readers": float(self._load.open),
            "events_s": measured.events / passed_s,
        }
        for name, values, percent in (
            ("p50_ms", measured.lags_s, 50),
            ("p99_ms", measured.lags_s, 99),
            ("start_ms", measured.starts_s, 99),
            ("question_ms", measured.questions_s, 99),
        ):
            if values:
                sample[name] = 1000 * percentile(values, percent)
        self._last_s, self._last_cpu_s, self._last_foreign_s = now_s, cpu_s, foreign_s
        self.samples.append(sample)
        return sample

    async def _live(self) -> float:
        connection = await connect(self._load.address)
        try:
            answer = await connection.call(calls.get("/tasks/count?status=pending,running,retrying"))
            if answer.status != 200:
                raise Flaw(f"the live tasks cannot be counted: {answer.status}")
            return float(answer.json()["count"])
        finally:
            connection.close()


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    given = _parser().parse_args(arguments)
    if given.again:
        soak = Soak(**json.loads(given.out.with_suffix(".json").read_text()))
        _write(soak, given.out)
        return 0 if soak.good else 1
    machine.pin_client()
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    samples: list[Sample] = []
    flaws: list[str] = []
    interrupted = False
    begin_s, begin_foreign_s = time.monotonic(), machine.foreign_cpu_s()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_soak(given.minutes * 60, samples, flaws))
        except KeyboardInterrupt:
            interrupted = True
        except Flaw as flaw:
            flaws.append(str(flaw))
    foreign_cores = (machine.foreign_cpu_s() - begin_foreign_s) / (time.monotonic() - begin_s)
    warm_up_s = _warm_up_s(given.minutes * 60)
    soak = Soak(
        date, given.minutes, interrupted, warm_up_s, samples, flaws, machine.describe(), machine.versions(),
        max(0.0, foreign_cores),
    )  # fmt: skip
    _write(soak, given.out)
    return 0 if soak.good else 1


def _warm_up_s(seconds: float) -> float:
    return min(max(WARM_UP_SHARE * seconds, WARM_UP_MIN_S), seconds / 2)


async def _soak(seconds: float, samples: list[Sample], flaws: list[str]) -> None:
    retention = json.dumps({"*": {"records": {"age_s": KEPT_S}}})
    settings = (f"STREAMING_RETENTION={retention}", f"STREAMING_RETENTION_EVERY_S={EVERY_S}")
    async with running(command=("env", *settings, *COMMAND)) as server:
        load = Load(server.address)
        load.flaws = flaws
        sampler = Sampler(server, load, time.monotonic())
        sampler.samples = samples
        working = asyncio.create_task(load.run())
        try:
            await _watch(sampler, working, seconds)
        finally:
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working


async def _watch(sampler: Sampler, working: asyncio.Task[None], seconds: float) -> None:
    """Sample until the time is over, and show it."""
    every_s, begin_s = max(1.0, seconds / SAMPLES), time.monotonic()
    columns = TextColumn("soak"), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
    with Progress(*columns, console=_told, transient=True) as progress:
        bar = progress.add_task("", total=seconds)
        while (passed_s := time.monotonic() - begin_s) < seconds:
            await asyncio.wait({working}, timeout=min(every_s, seconds - passed_s))
            if working.done():
                working.result()
            sample = await sampler.sample()
            said = (
                f"{sample['rss_mb']:.0f} MB, {sample['files']:.0f} files, {sample['live']:.0f} live, "
                f"p99 {sample.get('p99_ms', math.nan):.0f} ms, store {sample['store_mb']:.0f} MB"
            )
            progress.update(bar, completed=time.monotonic() - begin_s, description=said)


def _write(soak: Soak, out: Path) -> None:
    text = as_markdown(soak, f"{out.name}.png")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(text)
    out.with_suffix(".json").write_text(json.dumps(dataclasses.asdict(soak)) + "\n")
    draw(soak, out.with_suffix(".png"))
    if sys.stdout.isatty():
        Console().print(Markdown(text))
    else:
        print(text)
    _told.print(f"wrote {out}.md, .json and .png")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description="Put steady mixed load on a server for a long time, and see whether memory, open files, threads, "
        "tasks, latency or the store grow.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=_minutes, default=MINUTES, metavar="N", help=f"{MINUTES:g} by default")
    parser.add_argument("--again", action="store_true", help="report on the samples of the last run")
    parser.add_argument("--out", type=Path, default=RESULTS / "soak", metavar="PATH", help="files without their ending")
    return parser


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0.05 <= minutes <= 10_080:
        raise argparse.ArgumentTypeError("must be a number from 0.05 (three seconds) to 10080 (a week)")
    return minutes


if __name__ == "__main__":
    sys.exit(run())
