"""What a workload is, how large it is, and what one run of it says.

Owns:   `Workload`, `Scale`, `Outcome`.
Never:  measures, or names a contender.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.contenders.contender import Contender


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a run is.

    Attributes:
        readers, rate, live_s: of W1: readers of one channel, events per second, seconds.
        burst_s: of W2 and W3: seconds of emission at full speed.
        streams: of W4.
        tasks, task_rate, tasks_s, lead_s: of W5: channels, events per second of each, seconds, seconds to open them.
        log_events, log_readers, replay_s: of W6; who needs longer than that is stopped.
        starts, connections: of W7.
        shorts: whole short tasks.
        canned_events: with which the load client itself is measured.
        tries: of a cell, while others are busy on this machine.
        cell_s: that a cell may take.
        run_s: after which no cell begins.
    """

    readers: int = 1_000
    rate: float = 100.0
    live_s: float = 5.0
    burst_s: float = 3.0
    streams: int = 10_000
    tasks: int = 1_000
    task_rate: float = 10.0
    tasks_s: float = 5.0
    lead_s: float = 6.0
    log_events: int = 100_000
    log_readers: int = 100
    replay_s: float = 30.0
    starts: int = 3_000
    connections: int = 32
    shorts: int = 2_000
    canned_events: int = 200
    tries: int = 3
    cell_s: float = 150.0
    run_s: float = math.inf


FULL = Scale()
QUICK = Scale(
    live_s=2.0,
    burst_s=1.0,
    streams=2_000,
    tasks=300,
    tasks_s=2.0,
    lead_s=2.5,
    log_events=20_000,
    replay_s=5.0,
    starts=1_000,
    shorts=600,
    canned_events=100,
    tries=1,
    cell_s=20.0,
    run_s=95.0,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: its values, and a word if they are not what they seem."""

    values: Mapping[str, float]
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a workload; ``better`` says which end of a plot is the good one."""

    key: str
    title: str
    unit: str
    better: Literal["less", "more"]


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that all of them have to do.

    Attributes:
        name: on the command line.
        number: in the table, also on the command line.
        title: what has to be done.
        metrics: what is said about it.
        contenders: who can do it.
        quick: who does it in a quick run.
        measure: lets one of them do it once.
    """

    name: str
    number: str
    title: str
    metrics: Sequence[Metric]
    contenders: Sequence[str]
    quick: Sequence[str]
    measure: Callable[[Contender, Scale], Awaitable[Outcome]]
