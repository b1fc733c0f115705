"""The race diary: the last facts that decide who comes first, in the order in which they happened.

An ordinary log line tells what somebody found worth telling. When two things that happen at the same moment go wrong
together, what is needed is their order, of everything, just before: which start, event, reader, cancel, deadline,
signal and commit came first. That is little for each fact, so it is always kept, for the last few thousand.

Rules of this file:

- A fact has no payload: a time, what happened, a task, a number, a few short words. So the diary has a fixed size.
- To note an event costs one tuple: it keeps the time that the event has anyway, and not one of its own.
- Nothing is written anywhere before somebody asks, or a violation is found: then once, and not again for a while.

Owns:   the facts, their JSON form, the dump.
Never:  decides or checks anything.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, islice
from types import MappingProxyType
from typing import Any, TypeAlias

import structlog

from streaming.events import seconds_of

#: When (loop time; of an event its own time), what, which task, a number, words.
Fact: TypeAlias = tuple[float | str, str, str, int, str | tuple[str, ...]]

#: What the number and the words of each kind of fact are; a number without a name says nothing.
KINDS = MappingProxyType(
    {
        "start": ("", "type", "key", "priority"),
        "event": ("seq", "type"),
        "commit": ("events", "lost"),
        "store": ("", "is"),
        "subscribe": ("cursor",),
        "unsubscribe": ("cursor",),
        "cancel": ("", "by"),
        "stop": ("deliveries", "cause"),
        "timeout": ("", "limit"),
        "lost": ("",),
        "end": ("",),
        "signal": ("", "name"),
        "drain": ("", "phase"),
        "audit": ("violations",),
    }
)

#: Characters of a word at most: some are chosen by clients.
WORD_MAX = 64

#: Bytes of the facts in one log line at most, the newest ones; and seconds until there may be another such line.
DUMP_BYTES_MAX = 65_536
DUMP_EVERY_S = 60.0

#: Bytes that a fact takes in JSON at least.
FACT_BYTES_MIN = 32

_NONE_LOST = ("0",)

_log = structlog.get_logger(__name__)


class Diary:
    """The newest facts of one coordinator.

    Args:
        facts_max: how many are kept; 0 keeps none.
        wall: seconds since 1970.

    Attributes:
        facts_max: as given.
        note: notes a fact, the cheapest way; who notes an event gives its time, its seq and its type.
    """

    def __init__(self, facts_max: int, wall: Callable[[], float]) -> None:
        self.facts_max = facts_max
        self._facts: deque[Fact] = deque(maxlen=facts_max)
        self._wall = wall
        self._dumped_at = -math.inf
        self.note: Callable[[Fact], None] = self._facts.append

    def __len__(self) -> int:
        return len(self._facts)

    def tell(self, kind: str, task_id: str = "", number: int = 0, *words: str) -> None:
        """Note something that happens now.

        Args:
            kind: one of `KINDS`.
            task_id: the task; empty if it is about the instance.
            number: see `KINDS`.
            words: see `KINDS`; only their beginning is kept.
        """
        self.note((_now(), kind, task_id, number, tuple([word[:WORD_MAX] for word in words])))

    def stored(self, events: int, lost: int) -> None:
        """Note a commit with events; it may be one for each of them, so this is cheap, too."""
        self.note((_now(), "commit", "", events, (str(lost),) if lost else _NONE_LOST))

    def as_json(self) -> dict[str, Any]:
        """The diary as it goes over the wire; times are those of the loop, seconds with six digits."""
        return {"facts_max": self.facts_max, "now": round(_now(), 6), "facts": self._newest(self.facts_max)}

    def _newest(self, facts_max: int) -> list[dict[str, Any]]:
        facts = [*islice(reversed(self._facts), facts_max)][::-1]
        times = in_loop_time([fact[0] for fact in facts], self._wall() - _now())
        return [_as_json(at, fact) for at, fact in zip(times, facts, strict=True)]

    def dump(self, why: str, task_id: str | None = None) -> None:
        """Write the newest facts as one log line, unless that was done just now.

        Args:
            why: what was found.
            task_id: of which task, if it is about one.
        """
        now = _now()
        if not self._facts or now < self._dumped_at + DUMP_EVERY_S:
            return
        self._dumped_at = now
        kept = newest(self._newest(DUMP_BYTES_MAX // FACT_BYTES_MIN), DUMP_BYTES_MAX)
        about = {} if task_id is None else {"task_id": task_id}
        diary = json.dumps(kept, separators=(",", ":"), ensure_ascii=False)
        _log.warning(
            "what has happened before",
            why=why,
            facts=len(kept),
            left_out=len(self._facts) - len(kept),
            diary=diary,
            **about,
        )


def in_loop_time(times: Sequence[float | str], offset_s: float) -> list[float]:
    """Bring the times of facts to one clock, in the order of the facts.

    Args:
        times: loop times, and times of events, RFC 3339: the clock on the wall may have been set between them.
        offset_s: by how much that clock is ahead of the loop now.

    Returns:
        Loop times; one that was worked out lies between those of its neighbours.
    """
    worked_out = [time if isinstance(time, float) else seconds_of(time) - offset_s for time in times]
    latest = math.inf
    for place in reversed(range(len(times))):
        if isinstance(times[place], str):
            worked_out[place] = min(worked_out[place], latest)
        latest = worked_out[place]
    return [*accumulate(worked_out, max)]


def newest(facts: Sequence[dict[str, Any]], bytes_max: int) -> list[dict[str, Any]]:
    """As many of the last facts as fit into so many bytes of JSON, about."""
    kept: list[dict[str, Any]] = []
    for fact in reversed(facts):
        bytes_max -= len(json.dumps(fact, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")) + 1
        if bytes_max < 0:
            break
        kept.append(fact)
    return kept[::-1]


def _as_json(at: float, fact: Fact) -> dict[str, Any]:
    _, kind, task_id, number, said = fact
    return {"at": round(at, 6), "fact": kind, "task_id": task_id or None, **dict(_named(kind, number, said))}


def _named(kind: str, number: int, said: str | tuple[str, ...]) -> Iterator[tuple[str, int | str]]:
    name, *names = KINDS[kind]
    if name:
        yield name, number
    yield from zip(names, (said[:WORD_MAX],) if isinstance(said, str) else said, strict=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
