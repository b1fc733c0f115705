"""The routes that find tasks: the list, counts, and the history of one, and why it is still running.

Owns:   what a query string asks of the list; the pages; which fields are counted by.
Uses:   rules.query (filters, presets and orders), web.paging (cursors).
Never:  decides which record a filter means.
"""

from __future__ import annotations

from collections.abc import Sequence

from streaming.engine.journal import RecordQuery
from streaming.errors import BadFilter
from streaming.rules.filters import FilterLimits
from streaming.rules.history import spans
from streaming.rules.query import SORT, Question, parse_question
from streaming.rules.why import why
from streaming.web.paging import read_cursor, write_cursor
from streaming.web.query import Query
from streaming.web.reply import Reply, json_reply
from streaming.web.request import Request
from streaming.web.shown import task_json
from streaming.web.site import Site

PAGE_DEFAULT = 50

#: The fields that tasks are counted by: those with few values.
GROUPS = ("status", "type", "priority", "created_by", "error")


def read_question(site: Site, query: Query) -> Question:
    """The question in those parameters of a query that are not named in it.

    Raises:
        BadFilter: a name or a value is none; the detail lists the valid ones.
    """
    return parse_question(
        query.others,
        FilterLimits(site.settings.filter_terms_max, site.settings.filter_values_max),
        now=site.coordinator.now(),
        stale_s=site.settings.external_stale_s,
        besides=query.names,
    )


async def list_tasks(site: Site, request: Request) -> Reply:
    """``GET /tasks``: one page of the tasks that are asked for."""
    query = Query(request.query_string, ("limit", "cursor"), with_filter=True)
    limit = query.whole("limit", least=1, most=site.settings.page_max)
    question = read_question(site, query)
    cursor = query.text("cursor")
    after = None if cursor is None else read_cursor(cursor, question.order, question.asked)
    limit = min(PAGE_DEFAULT, site.settings.page_max) if limit is None else limit
    page = await site.view(request).list(RecordQuery(question.filter, question.order, after, limit))
    more = None if page.more is None else write_cursor(page.more, question.order, question.asked)
    return json_reply(200, {"tasks": [task_json(site, record) for record in page], "next_cursor": more})


async def count_tasks(site: Site, request: Request) -> Reply:
    """``GET /tasks/count``: how many tasks there are, in all and for each combination of values."""
    query = Query(request.query_string, ("group_by",), with_filter=True)
    fields = _groups(query)
    question = read_question(site, query)
    if any(name == SORT for name, _ in query.others):
        raise BadFilter("A count has no sort order.")
    counted = await site.view(request).count(question.filter, fields)
    groups = [{**dict(zip(fields, values, strict=True)), "count": count} for values, count in counted]
    return json_reply(200, {"count": sum(count for _, count in counted), "groups": groups if fields else []})


def _groups(query: Query) -> Sequence[str]:
    fields = query.words("group_by")
    for field in fields:
        if field not in GROUPS:
            raise BadFilter(f"Tasks are not counted by {field[:64]!r}; possible: {', '.join(GROUPS)}.")
        if fields.count(field) > 1:
            raise BadFilter(f"group_by has {field} twice; once is possible.")
    return fields


async def show_history(site: Site, request: Request, task_id: str) -> Reply:
    """``GET /tasks/{id}/history``: every status the task had, who had brought it about, and how long it lasted."""
    Query(request.query_string, ())
    changes = await site.view(request).changes(task_id)
    return json_reply(200, {"changes": [span.as_json() for span in spans(changes)]})


async def show_why(site: Site, request: Request, task_id: str) -> Reply:
    """``GET /tasks/{id}/why``: what the task waits for, where, and how long such tasks take."""
    Query(request.query_string, ())
    return json_reply(200, why(await site.view(request).why(task_id)))
