"""What can be asked about many tasks: all of them, how many, and an end to them.

Owns:   the pages of a list.
Uses:   client.wire (one request and its answer), client.listing (filters, counts, bulk answers), client.feed (what
        happens to all of them).
Never:  takes all tasks for a bulk: the server wants a filter.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from streaming.client.answers import document_from, items_in, record_from
from streaming.client.feed import FeedReader
from streaming.client.feed_event import FeedEvent
from streaming.client.listing import Bulk, Count, Filters, Value, bulk_from, count_from, query_of, statistics_from
from streaming.client.patience import Patience
from streaming.client.wire import Wire
from streaming.records import Record
from streaming.rules.statistics import Statistics

PAGE = 100


class ManyTasks:
    """The half of the client that asks about many tasks."""

    _wire: Wire
    _patience: Patience

    async def feed(
        self,
        *,
        after: int | None = None,
        tail: int | None = None,
        event_type: str | Sequence[str] = (),
        task_type: str | Sequence[str] = (),
        tag: str | None = None,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[FeedEvent, None]:
        """Follow the events of all tasks in commit order, through lost connections and restarts of the server.

        It does not end. Who leaves closes the iterator:
        ``async with contextlib.aclosing(client.feed(...)) as events``.

        Args:
            after: the position behind which it begins; it wins over ``tail``.
            tail: begin so many events before the newest one; without it and ``after``, at the beginning of the feed.
                If a connection breaks before the first event, the next one begins at what is newest then.
            event_type: only events of these types.
            task_type: only of tasks of these types.
            tag: only of tasks with this tag.
            on_open: is called whenever a connection stands, the first time as well.

        Yields:
            Every event once, with its position. What was deleted with its task is missing without a notice.

        Raises:
            BadCursor: the feed has no position ``after``, or not any more: the server has another store.
            ServerUnreachable: no contact for `Patience.give_up_s`.
        """
        wanted = {"type": _words(event_type), "task_type": _words(task_type), "tag": tag or ""}
        query = {name: text for name, text in wanted.items() if text}
        reader = FeedReader(self._wire.http, query, after=after, tail=tail, on_open=on_open, patience=self._patience)
        async with aclosing(reader.items()) as items:
            async for item in items:
                yield item

    async def tasks(
        self,
        filters: Filters | None = None,
        /,
        *,
        limit: int | None = None,
        **fields: Value | Sequence[Value] | None,
    ) -> AsyncGenerator[Record, None]:
        """Go through the tasks that are asked for, page by page; newest first, unless ``sort`` says otherwise.

        Args:
            filters: by name, with operators: ``{"created_at[gte]": yesterday, "progress[lt]": 50}``.
            limit: stop after so many; None goes through all.
            fields: filters whose names are Python's as well, and ``q``, ``preset`` and ``sort``:
                ``status=["running", "failed"], sort="-created_at"``.

        Yields:
            Records.

        Raises:
            BadFilter: the server has no such field, operator or value; the detail lists the valid ones.
            QueryTooSlow: the question takes the server longer than it may.
            ValueError: a filter has no values, is given twice, or has several values of which one has a comma in it,
                or blanks at its ends: that one can only be asked for alone.
        """
        query = query_of(filters, fields)
        left = limit
        while left is None or left > 0:
            page = PAGE if left is None else min(left, PAGE)
            document = document_from(await self._wire.send("GET", "/tasks", query={**query, "limit": page}))
            records = [record_from(item) for item in items_in(document, "tasks")]
            for record in records:
                yield record
            cursor = document.get("next_cursor")
            if cursor is None:
                return
            query["cursor"] = str(cursor)
            left = None if left is None else left - len(records)

    async def list(
        self,
        *,
        status: str | Sequence[str] = (),
        type: str | Sequence[str] = (),
        tag: str | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Record, None]:
        """Go through the tasks, newest first: `tasks` for its commonest filters, of which an empty one means all."""
        given = {"status": status or None, "type": type or None, "tag": tag or None}
        async with aclosing(self.tasks(given, limit=limit)) as records:
            async for record in records:
                yield record

    async def count(
        self,
        filters: Filters | None = None,
        /,
        *,
        group_by: str | Sequence[str] | None = None,
        **fields: Value | Sequence[Value] | None,
    ) -> Count:
        """Count tasks; filters as in `tasks`.

        Args:
            filters: by name.
            group_by: count each combination of values of these fields, too: ``["status", "type"]``.
            fields: more filters.

        Raises:
            BadFilter: the server has no such field, operator or value.
            QueryTooSlow: the question takes the server longer than it may.
        """
        query = query_of(filters, fields, {"group_by": group_by})
        return count_from(document_from(await self._wire.send("GET", "/tasks/count", query=query)))

    async def statistics(
        self, *, window: str = "24h", type: str | Sequence[str] = (), by: str | None = None
    ) -> Statistics:
        """What tasks that have ended have done: counts, throughput, shares, and how long they waited and ran.

        Args:
            window: how far back, like ``15m``, ``24h`` or ``7d``.
            type: only tasks of these types.
            by: ``hour`` or ``day``: also of each of these.

        Raises:
            BadFilter: the window or ``by`` is none.
            QueryTooSlow: the question takes the server longer than it may.
        """
        query = query_of({"window": window, "type": type or None, "by": by})
        return statistics_from(document_from(await self._wire.send("GET", "/stats", query=query)))

    async def cancel_many(
        self,
        filters: Filters | None = None,
        /,
        *,
        reason: str = "",
        limit: int | None = None,
        dry_run: bool = False,
        **fields: Value | Sequence[Value] | None,
    ) -> Bulk:
        """Cancel those of the tasks asked for that have not ended and were not cancelled before; filters as in `tasks`.

        Args:
            filters: by name; there must be one.
            reason: shown to every reader.
            limit: so many at most; None as many as the server takes in one call.
            dry_run: only say how many there are.
            fields: more filters.

        Raises:
            BadFilter: there is no filter, or it is none that the server knows.
            StoreUnavailable: nothing was cancelled.
        """
        query = query_of(filters, fields, {"limit": limit, "dry_run": dry_run or None})
        body = {"reason": reason} if reason else None
        answer = await self._wire.send("POST", "/tasks/cancel", query=query, json=body)
        return bulk_from(document_from(answer), "cancelled")

    async def delete_many(
        self,
        filters: Filters | None = None,
        /,
        *,
        limit: int | None = None,
        dry_run: bool = False,
        **fields: Value | Sequence[Value] | None,
    ) -> Bulk:
        """Remove those of the tasks asked for that have ended; see `cancel_many`.

        Raises:
            BadFilter: there is no filter, or it is none that the server knows.
            StoreUnavailable: nothing was deleted.
        """
        query = query_of(filters, fields, {"limit": limit, "dry_run": dry_run or None})
        return bulk_from(document_from(await self._wire.send("DELETE", "/tasks", query=query)), "deleted")


def _words(values: str | Sequence[str]) -> str:
    return values if isinstance(values, str) else ",".join(values)
