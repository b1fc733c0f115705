"""Finding tasks among many.

Owns:   questions with four fields and an order; the pages that people look at every day; counts.
Uses:   benchmarks.records (which values there are).

A question is asked again and again with other values. One that was answered with less than a page, and yet not to the
end, has not shown all there is: how many were is told.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle, islice
from types import MappingProxyType
from typing import TypeAlias
from urllib.parse import urlencode

from benchmarks.calls import Address, Answer, call_all, get
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values, percentile
from benchmarks.records import CODES, COMMON_WORD, CUSTOMERS, PRINCIPALS, RARE_WORD, TEAMS
from benchmarks.stores import KINDS, serving_records

#: Makes one question, with values by chance.
Ask: TypeAlias = Callable[[random.Random], Mapping[str, object]]

SEED = 5
PAGE = 50
WARM_UP = 3
AT_ONCE = 8
#: How far the deep page is from the first: pages of the largest size.
DEEP_PAGES, DEEP_PAGE = 20, 1_000
GOAL = Goal("<", 100)


def _ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


#: Four fields and an order each: a common case, and what a list finds hard.
FOUR: Mapping[str, tuple[str, Ask]] = MappingProxyType(
    {
        "recent": (
            "status, type, priority, created_at; newest first",
            lambda chance: {
                "status": chance.choice(("failed", "completed")),
                "type": "http_fetch",
                "priority[gte]": chance.choice(("high", "urgent")),
                "created_at[gte]": _ago(chance.uniform(1, 25)),
                "sort": "-created_at",
            },
        ),
        "ended": (
            "status in, type, priority, finished_at; last end first",
            lambda chance: {
                "status": "failed,timed_out",
                "type": chance.choice(("http_fetch", "countdown", "command")),
                "priority[in]": "low,normal",
                "finished_at[lt]": _ago(chance.uniform(0, 25)),
                "sort": "-finished_at",
            },
        ),
        "tagged": (
            "tag, status, created_at, progress; by progress, then newest",
            lambda chance: {
                "tag": chance.choice(TEAMS),
                "status": "failed,cancelled",
                "created_at[gte]": _ago(chance.uniform(5, 29)),
                "progress[lt]": 90,
                "sort": "-progress,-created_at",
            },
        ),
        "keyed": (
            "key, type, status, tag; by priority, then oldest",
            lambda chance: {
                "key": f"customer-{chance.randrange(CUSTOMERS)}",
                "type": "http_fetch,countdown",
                "status[ne]": "failed",
                "tag[in]": "production,staging",
                "sort": "-priority,created_at",
            },
        ),
        "rare": (
            "created_by, error, priority, created_at, few of many; newest first",
            lambda chance: {
                "created_by": chance.choice(PRINCIPALS),
                "error": chance.choice(CODES),
                "priority": "high",
                "created_at[gte]": _ago(29),
                "sort": "-created_at",
            },
        ),
    }
)

#: Looked at every day.
PAGES: Mapping[str, tuple[str, Ask]] = MappingProxyType(
    {
        "all": ("no filter", lambda chance: {}),
        "active": ("preset active", lambda chance: {"preset": "active"}),
        "failed": ("preset failed", lambda chance: {"preset": "failed"}),
        "today": ("preset completed_today", lambda chance: {"preset": "completed_today"}),
        "high": ("preset high_priority", lambda chance: {"preset": "high_priority"}),
        "stale": ("preset stale", lambda chance: {"preset": "stale"}),
        "word_rare": ("q of a word of 1 in 20,000", lambda chance: {"q": RARE_WORD}),
        "word_common": ("q of a word of nearly half of them", lambda chance: {"q": COMMON_WORD}),
    }
)

COUNTS: Mapping[str, tuple[str, Ask]] = MappingProxyType(
    {
        "count_few": (
            "of one tag, by status and type",
            lambda chance: {"tag": chance.choice(TEAMS), "group_by": "status,type"},
        ),
        "count_live": ("of preset active, by type", lambda chance: {"preset": "active", "group_by": "type"}),
        "count_all": ("of all, by status and type", lambda chance: {"group_by": "status,type"}),
    }
)


async def measure_four(scale: Scale, *, kind: str) -> Values:
    """One question after the other; then some at once."""
    values: dict[str, float] = {}
    async with serving_records(kind, scale.records) as server:
        for key, (_, ask) in FOUR.items():
            answers = await _asked(server.address, "/tasks", [ask], scale.questions)
            values |= {f"{key}_{name}": value for name, value in _times(answers).items()}
            values[f"{key}_whole"] = sum(map(_whole, answers)) / len(answers)
        at_once = [ask for _, ask in FOUR.values()]
        answers = await _asked(server.address, "/tasks", at_once, 2 * scale.questions, connections=AT_ONCE)
    return {**values, "at_once_p95_ms": _times(answers)["p95_ms"]}


async def measure_pages(scale: Scale, *, kind: str) -> Values:
    """Each page again and again, and one that lies far behind the first."""
    values: dict[str, float] = {}
    async with serving_records(kind, scale.records) as server:
        for key, (_, ask) in PAGES.items():
            answers = await _asked(server.address, "/tasks", [ask], scale.questions)
            values[f"{key}_p95_ms"] = _times(answers)["p95_ms"]
        deep = await _deep_page(server.address)
        answers = await call_all(server.address, [deep] * scale.questions, status=200, connections=1)
    return {**values, "deep_p95_ms": _times(answers)["p95_ms"]}


async def measure_counts(scale: Scale, *, kind: str) -> Values:
    """A count of all looks at every record, and needs fewer repeats."""
    values: dict[str, float] = {}
    async with serving_records(kind, scale.records) as server:
        for key, (_, ask) in COUNTS.items():
            answers = await _asked(server.address, "/tasks/count", [ask], max(5, scale.questions // 5))
            values[f"{key}_p95_ms"] = _times(answers)["p95_ms"]
    return values


async def _asked(address: Address, path: str, asks: Sequence[Ask], count: int, *, connections: int = 1) -> list[Answer]:
    """The answers to questions by turns, without those of the warm-up."""
    chance = random.Random(SEED)
    questions = [ask(chance) for ask in islice(cycle(asks), WARM_UP + count)]
    requests = [get(f"{path}?{urlencode(question)}") for question in questions]
    answers = await call_all(address, requests, status=200, connections=connections)
    return answers[WARM_UP:]


def _times(answers: Sequence[Answer]) -> dict[str, float]:
    took_ms = [1_000 * answer.seconds for answer in answers]
    return {"p50_ms": percentile(took_ms, 50), "p95_ms": percentile(took_ms, 95)}


def _whole(answer: Answer) -> bool:
    """Whether a page is full, or there is nothing behind it."""
    page = answer.json()
    return len(page["tasks"]) == PAGE or page["next_cursor"] is None


async def _deep_page(address: Address) -> bytes:
    """The request for a page behind many others."""
    cursor = ""
    for _ in range(DEEP_PAGES):
        path = f"/tasks?{urlencode({'limit': DEEP_PAGE, **({'cursor': cursor} if cursor else {})})}"
        [answer] = await call_all(address, [get(path)], status=200)
        following = answer.json()["next_cursor"]
        if following is None:
            break  # a quick run has fewer records
        cursor = following
    if not cursor:
        raise Flaw("there is no second page")
    return get(f"/tasks?{urlencode({'cursor': cursor})}")


def _four_metrics() -> tuple[Metric, ...]:
    each = [
        (
            Metric(f"{key}_p95_ms", f"{title}: 95 of 100 within", "ms", GOAL),
            Metric(f"{key}_p50_ms", "half within", "ms"),
            Metric(f"{key}_whole", "pages that are full, or the last", "of 1"),
        )
        for key, (title, _) in FOUR.items()
    ]
    at_once = Metric("at_once_p95_ms", f"all of these, {AT_ONCE} at once: 95 of 100 within", "ms")
    return (*(metric for metrics in each for metric in metrics), at_once)


def _p95(questions: Mapping[str, tuple[str, Ask]]) -> tuple[Metric, ...]:
    return tuple(Metric(f"{key}_p95_ms", f"{title}: 95 of 100 within", "ms") for key, (title, _) in questions.items())


_DEEP = Metric("deep_p95_ms", f"no filter, {DEEP_PAGES * DEEP_PAGE:,} records behind the first: 95 of 100 within", "ms")

FIGURES = [
    figure
    for kind, title in KINDS.items()
    for figure in (
        Figure(
            f"list-{kind}",
            f"{title}: 1,000,000 records, a filter over four fields with an order, 50 on a page",
            _four_metrics(),
            partial(measure_four, kind=kind),
        ),
        Figure(
            f"pages-{kind}",
            f"{title}: 1,000,000 records, what is looked at every day, 50 on a page",
            (*_p95(PAGES), _DEEP),
            partial(measure_pages, kind=kind),
        ),
        Figure(
            f"count-{kind}",
            f"{title}: 1,000,000 records, counted",
            _p95(COUNTS),
            partial(measure_counts, kind=kind),
        ),
    )
]
