"""The routes that change many tasks at once.

Owns:   which bulk a request is, and what its answer says.
Uses:   web.listing (filters), engine.bulk (the work).
Never:  takes all tasks because no filter was given.
"""

from __future__ import annotations

from streaming.engine.bulk import Found, Report, cancel_each, delete_each, find_ended, find_live
from streaming.errors import BadFilter
from streaming.rules.query import Question
from streaming.web.body import read_object
from streaming.web.fields import CancelFields, NoFields, read_fields
from streaming.web.listing import read_question
from streaming.web.presence import while_present
from streaming.web.query import Query
from streaming.web.reply import Reply, json_reply
from streaming.web.request import Request
from streaming.web.site import Site

_NAMES = ("limit", "dry_run")


async def cancel_tasks(site: Site, request: Request) -> Reply:
    """``POST /tasks/cancel``: cancel those of the tasks asked for that have not ended."""
    query = Query(request.query_string, _NAMES, with_filter=True)
    view = site.view(request)
    question, limit, dry_run = _question(site, query), _limit(site, query), query.yes("dry_run")
    fields = read_fields(CancelFields, await read_object(request, site.settings) or {})
    found = await while_present(request, find_live(view, question.filter, limit, question.order))
    if dry_run:
        return _answer("cancelled", found, Report(0))
    report = await cancel_each(view, found.ids, reason=fields.reason)
    return _answer("cancelled", found, report)


async def delete_tasks(site: Site, request: Request) -> Reply:
    """``DELETE /tasks``: forget those of the tasks asked for that have ended."""
    query = Query(request.query_string, _NAMES, with_filter=True)
    view = site.view(request)
    question, limit, dry_run = _question(site, query), _limit(site, query), query.yes("dry_run")
    read_fields(NoFields, await read_object(request, site.settings) or {})
    found = await while_present(request, find_ended(view, question.filter, limit, question.order))
    report = Report(0) if dry_run else await delete_each(view, found.ids)
    return _answer("deleted", found, report)


def _question(site: Site, query: Query) -> Question:
    question = read_question(site, query)
    if not question.restricted:
        raise BadFilter("Many tasks at once need a filter, or a preset, that says which: ?tag=nightly, for example.")
    return question


def _limit(site: Site, query: Query) -> int:
    most = site.settings.bulk_max
    return query.whole("limit", least=1, most=most) or most


def _answer(done: str, found: Found, report: Report) -> Reply:
    refused = [{"id": each.task_id, "code": each.code, "detail": each.detail} for each in report.refused]
    more = found.more or report.untried > 0
    return json_reply(200, {"matched": len(found.ids), done: report.done, "refused": refused, "more": more})
