"""Cancel or delete many tasks at once.

Rules of this file:

- What is to be done is found first, and then done: so nothing that the doing changes is passed over.
- A bulk cancel takes tasks that have not ended and that nobody has cancelled yet; a bulk delete those that have ended,
  but for those that are kept until somebody has acknowledged their result. So a bulk that is repeated as long as there
  are more comes to an end.
- A task that changes its place while it is looked for is taken once.
- One task that refuses stops no other. A store that goes away stops the rest.

Owns:   which tasks a bulk takes, and what became of each.
Uses:   engine.view (the tasks of who asks).
Never:  takes more than it was told to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from streaming.engine.journal import RecordQuery
from streaming.engine.view import View
from streaming.errors import (
    Draining,
    RecordDamaged,
    StoreUnavailable,
    StreamingError,
    TaskActive,
    TaskNotFound,
    TaskTerminal,
)
from streaming.records import Record, TaskStatus
from streaming.rules.fields import Operator
from streaming.rules.filters import Filter, Term
from streaming.rules.lifecycle import LIVE, TERMINAL
from streaming.rules.sorting import DEFAULT_ORDER, Order

#: Tasks that are taken at the same time: their commits are one transaction, and not everybody else waits for them.
AT_ONCE = 50

#: Records of one look at the list.
PAGE = 200


#: How a single task says that it is not to be had.
_REFUSALS = (TaskNotFound, TaskTerminal, TaskActive, RecordDamaged, StoreUnavailable, Draining)


@dataclass(frozen=True, slots=True)
class Found:
    """The tasks of one bulk.

    Attributes:
        ids: in the order that was asked for.
        more: whether there are others behind them.
    """

    ids: tuple[str, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """A task that was left as it is, and why."""

    task_id: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a bulk.

    Attributes:
        done: tasks with which it was done.
        refused: those with which it was not.
        untried: so many were not tried any more, because the store had gone away.
    """

    done: int
    refused: tuple[Refusal, ...] = ()
    untried: int = 0


async def find_live(view: View, filter: Filter, limit: int, order: tuple[Order, ...] = DEFAULT_ORDER) -> Found:
    """The first tasks that can be cancelled.

    Args:
        view: where they are.
        filter: which tasks are meant.
        limit: so many at most.
        order: which are the first.

    Raises:
        BadFilter: this order needs a filter that leaves fewer records.
        StoreUnavailable: the store cannot be read.
    """
    query = RecordQuery(filter.narrowed(_of_status(LIVE)), order, limit=PAGE)
    return await _find(view, query, limit, lambda record: record.cancel is None)


async def find_ended(view: View, filter: Filter, limit: int, order: tuple[Order, ...] = DEFAULT_ORDER) -> Found:
    """The first tasks that can be deleted; see `find_live`.

    Raises:
        BadFilter: this order needs a filter that leaves fewer records.
        StoreUnavailable: the store cannot be read.
    """
    query = RecordQuery(filter.narrowed(_of_status(TERMINAL)), order, limit=PAGE)
    return await _find(view, query, limit, lambda record: not record.awaits_ack)


def _of_status(statuses: frozenset[TaskStatus]) -> Filter:
    return Filter((Term("status", Operator.IN, tuple(sorted(statuses))),))


async def _find(view: View, query: RecordQuery, limit: int, wanted: Callable[[Record], bool]) -> Found:
    ids: dict[str, None] = {}
    while len(ids) <= limit:
        page = await view.list(query)
        ids |= dict.fromkeys(record.id for record in page if wanted(record))
        if page.more is None:
            break
        query = replace(query, after=page.more)
    return Found(tuple(ids)[:limit], len(ids) > limit)


async def cancel_each(view: View, ids: Sequence[str], *, reason: str = "") -> Report:
    """Cancel these tasks; see `View.cancel_task`.

    Args:
        view: whose they are.
        ids: which.
        reason: shown to every reader.

    Raises:
        InvalidParams: the reason is too long, or cannot be stored.
        StoreUnavailable: none of them was cancelled.
        Draining: the same, and the server is shutting down.
    """
    return await _each(ids, partial(view.cancel_task, reason=reason))


async def delete_each(view: View, ids: Sequence[str]) -> Report:
    """Forget these tasks; see `View.delete`.

    Raises:
        StoreUnavailable: none of them was deleted.
    """
    return await _each(ids, view.delete)


async def _each(ids: Sequence[str], act: Callable[[str], Awaitable[object]]) -> Report:
    done, tried = 0, 0
    refused: list[Refusal] = []
    away: StoreUnavailable | Draining | None = None
    while tried < len(ids) and away is None:
        some = ids[tried : tried + AT_ONCE]
        tried += len(some)
        for task_id, error in zip(some, await _together(some, act), strict=True):
            if error is None:
                done += 1
                continue
            refused.append(Refusal(task_id, error.code, error.detail))
            if isinstance(error, StoreUnavailable | Draining):
                away = error
    if away is not None and not done:
        raise away
    return Report(done, tuple(refused), len(ids) - tried)


async def _together(ids: Sequence[str], act: Callable[[str], Awaitable[object]]) -> list[StreamingError | None]:
    """Try all of them at the same time; what no task can refuse with is raised when all have been tried."""
    results = await asyncio.gather(*map(act, ids), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, _REFUSALS):
            raise result
    return [result if isinstance(result, _REFUSALS) else None for result in results]
