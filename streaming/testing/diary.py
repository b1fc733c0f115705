"""A race diary, read: what of it can happen again, and when.

Rules of this file:

- Times count from the first fact. Facts of one moment keep their order: the next one comes a blink later.
- A deadline that has passed is as long as it was. All others are far away.
- A task of which the diary does not have the start is left out: it is older than the diary.

Owns:   `Diary`, `Life` and `Run`; `read_diary`.
Uses:   engine.diary (what a fact is).
Never:  lets anything happen: that is for testing.reenactment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streaming.engine.diary import KINDS
from streaming.engine.options import StartOptions
from streaming.events import BUILT_IN_TYPES
from streaming.records import Priority, TaskStatus
from streaming.rules.lifecycle import TERMINAL

#: Deadlines that have not passed in the diary: so many seconds.
FAR_S = 86_400.0

#: What lies between two facts at least: those of one moment keep their order.
TICK_S = 1e-7

#: How long after a recorded deadline its time may be set, so that it is never 0.
LEAST_S = 0.001

#: Facts that tell what somebody did from outside.
ACTS = frozenset({"start", "cancel", "subscribe", "unsubscribe", "drain"})

Fact = Mapping[str, Any]


@dataclass(slots=True)
class Run:
    """One attempt of a task.

    Attributes:
        begun: when.
        emits: when it emitted, and what.
        end: the status that it ended with; empty if the diary does not tell.
        ended: when.
        stopped: when it was stopped first; None if it was not.
    """

    begun: float
    emits: list[tuple[float, str]] = field(default_factory=list)
    end: str = ""
    ended: float = 0.0
    stopped: float | None = None


@dataclass(slots=True)
class Life:
    """What the diary tells of one task.

    Attributes:
        id: in the diary.
        start: its first fact.
        runs: its attempts.
        limits: how long each deadline was that has passed, by its name.
    """

    id: str
    start: Fact
    runs: list[Run] = field(default_factory=list)
    limits: dict[str, float] = field(default_factory=dict)

    @property
    def options(self) -> StartOptions:
        """How it is to be started again."""
        retries = max(0, len(self.runs) - 1)
        options: StartOptions = {
            "key": self.start["key"] or None,
            "priority": self.start["priority"],
            "retry": {"retries": retries, "backoff_s": LEAST_S},
            "timeout_s": self.limits.get("timeout_s", FAR_S),
            "queue_timeout_s": self.limits.get("queue_timeout_s"),
            "heartbeat_timeout_s": self.limits.get("heartbeat_timeout_s"),
            "total_timeout_s": self.limits.get("total_timeout_s"),
        }
        return options


@dataclass(frozen=True, slots=True)
class Diary:
    """A diary, read.

    Attributes:
        acts: what happened from outside, in order: when, and the fact.
        lives: the tasks, by their id in the diary.
        left_out: how many facts are about tasks that are older than the diary.
        ended: when its last fact was.
    """

    acts: Sequence[tuple[float, Fact]]
    lives: Mapping[str, Life]
    left_out: int
    ended: float


def read_diary(document: str | Mapping[str, Any] | Sequence[Fact]) -> Diary:
    """Read a diary.

    Args:
        document: the answer of ``GET /audit/diary``, a line ``what has happened before`` of a log in JSON, or the facts
            in one of them; as JSON text, or decoded.

    Raises:
        ValueError: it is none; the message says what is wrong.
    """
    try:
        return _read(_facts(document))
    except ValueError as error:
        raise ValueError(f"this is no diary: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no diary: {error!r}") from error


def _facts(document: Any) -> Sequence[Fact]:
    value = json.loads(document) if isinstance(document, str) else document
    if isinstance(value, Mapping) and "diary" in value:  # in the log it is a text in the line
        return _facts(value["diary"])
    facts: Sequence[Fact] = value["facts"] if isinstance(value, Mapping) else value
    return facts


def _read(facts: Sequence[Fact]) -> Diary:
    begin = float(facts[0]["at"]) if facts else 0.0
    lives: dict[str, Life] = {}
    acts: list[tuple[float, Fact]] = []
    left_out, at = 0, 0.0
    for place, fact in enumerate(facts):
        _check(place, fact)
        at = float(fact["at"]) - begin + place * TICK_S
        if not _note(lives, at, fact):
            left_out += 1
        elif fact["fact"] in ACTS:
            acts.append((at, fact))
    return Diary(acts, lives, left_out, at)


def _check(place: int, fact: Fact) -> None:
    """Look whether a fact has what belongs to its kind; one of a kind that is not known says nothing.

    Raises:
        ValueError: something is missing, or it is of another type.
    """
    number, *words = KINDS.get(fact["fact"], ("",))
    for name, type in [(number, int), *((word, str) for word in words)]:
        if name and not isinstance(fact.get(name), type):
            raise ValueError(f"fact {place} is a {fact['fact']!r} without a {name!r}")


def _note(lives: dict[str, Life], at: float, fact: Fact) -> bool:
    """Note what a fact says of its task; no if that is older than the diary."""
    task_id = fact["task_id"]
    if task_id is None:
        return True
    if fact["fact"] == "start":
        lives[task_id] = Life(task_id, {**fact, "at": at, "priority": Priority(fact["priority"])})
    life = lives.get(task_id)
    if life is None:
        return False
    if fact["fact"] == "event":
        _note_event(life, at, fact["type"])
    elif fact["fact"] == "stop" and life.runs and life.runs[-1].stopped is None:
        life.runs[-1].stopped = at
    elif fact["fact"] == "timeout":
        life.limits[fact["limit"]] = max(LEAST_S, at - _counted_from(life, fact["limit"]))
    return True


def _note_event(life: Life, at: float, type: str) -> None:
    if type == TaskStatus.RUNNING:
        life.runs.append(Run(at))
    elif life.runs and type in (*TERMINAL, TaskStatus.RETRYING, TaskStatus.PENDING):
        life.runs[-1].end, life.runs[-1].ended = type, at
    elif life.runs and type not in BUILT_IN_TYPES:
        life.runs[-1].emits.append((at, type))


def _counted_from(life: Life, limit: str) -> float:
    """When a limit began to be counted that has passed."""
    if limit in ("queue_timeout_s", "total_timeout_s") or not life.runs:
        return float(life.start["at"])
    run = life.runs[-1]
    return run.emits[-1][0] if limit == "heartbeat_timeout_s" and run.emits else run.begun
