"""The routes of external workers: what they report about the work that they do.

Owns:   which report a request is; its answer, the task as it is stored, so that a worker learns of a cancel.
Never:  decides what may be reported (``rules.reporting``).
"""

from __future__ import annotations

from streaming.rules.reporting import Report
from streaming.web.body import needed, read_object
from streaming.web.fields import EventFields, EventsFields, ReportFields, read_fields, read_said
from streaming.web.query import Query
from streaming.web.reply import Reply, json_reply
from streaming.web.request import Request
from streaming.web.site import Site


async def report_events(site: Site, request: Request, task_id: str) -> Reply:
    """``POST /tasks/{id}/events``: one event, or several."""
    Query(request.query_string, ())
    body = needed(await read_object(request, site.settings))
    if "events" in body:
        return await _report(site, request, task_id, read_fields(EventsFields, body).report())
    return await _report(site, request, task_id, Report(events=[read_fields(EventFields, body).event()]))


async def change_task(site: Site, request: Request, task_id: str) -> Reply:
    """``PATCH /tasks/{id}``: progress, steps, a sign of life, or how the work has ended."""
    Query(request.query_string, ())
    fields = read_said(ReportFields, needed(await read_object(request, site.settings)))
    return await _report(site, request, task_id, fields.report())


async def _report(site: Site, request: Request, task_id: str, report: Report) -> Reply:
    record = await site.view(request).report(task_id, report)
    return json_reply(200, record.as_json())
