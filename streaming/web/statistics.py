"""The route of statistics: what tasks that have ended have done, in a few numbers.

Owns:   the parameters of the question.
Uses:   rules.statistics (what the numbers mean), rules.fields (what a type may be).
Never:  looks at a task.
"""

from __future__ import annotations

from streaming.errors import BadFilter, QueryTooLarge
from streaming.rules.fields import FIELDS
from streaming.rules.statistics import Bucket, StatisticsQuery, read_window
from streaming.rules.times import earlier
from streaming.web.query import Query
from streaming.web.reply import Reply, json_reply
from streaming.web.request import Request
from streaming.web.site import Site

WINDOW_DEFAULT = "24h"


async def show_statistics(site: Site, request: Request) -> Reply:
    """``GET /stats``: counts, throughput, shares and times, in all, by type, and by hour or day."""
    query = Query(request.query_string, ("window", "type", "by"))
    window = query.word("window") or WINDOW_DEFAULT
    until = site.coordinator.now()
    settings = site.settings
    question = StatisticsQuery(
        since=earlier(until, read_window(window)),
        until=until,
        types=_types(query, settings.filter_values_max),
        by=_bucket(query.word("by")),
        tasks_max=settings.stats_tasks_max,
    )
    found = await site.view(request).statistics(question)
    return json_reply(200, {"window": window, **found.as_json()})


def _types(query: Query, most: int) -> tuple[str, ...]:
    types = query.words("type")
    if len(types) > most:
        raise QueryTooLarge(f"type has {len(types)} values; at most {most} are possible.")
    try:
        for type in types:
            FIELDS["type"].read(type)
    except ValueError as error:
        raise BadFilter(f"The value of type is wrong: {error}.") from None
    return tuple(dict.fromkeys(types))


def _bucket(text: str | None) -> Bucket | None:
    if text is None:
        return None
    try:
        return Bucket(text)
    except ValueError:
        raise BadFilter(f"by must be {' or '.join(Bucket)}, not {text[:64]!r}.") from None
