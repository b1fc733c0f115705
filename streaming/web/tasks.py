"""The routes of one task: start, look up, cancel, delete.

Owns:   which question to the coordinator a request is, and which answer its result.
Never:  decides about tasks.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext

from streaming.engine.view import View
from streaming.errors import BadRequest
from streaming.records import Record
from streaming.rules.access import Scope
from streaming.rules.lifecycle import TERMINAL
from streaming.web.body import needed, read_object
from streaming.web.events import accepted, place, watch_new
from streaming.web.fields import CancelFields, NoFields, StartFields, fingerprint, read_fields
from streaming.web.presence import while_present
from streaming.web.query import Query
from streaming.web.reply import JSON, SSE, Reply, empty_reply, json_reply
from streaming.web.request import Request
from streaming.web.shown import task_json
from streaming.web.site import Site
from streaming.web.stream import Stream

_KEY = re.compile(r"[\x20-\x7e]{1,255}\Z")


async def start_task(site: Site, request: Request) -> Reply | Stream:
    """``POST /tasks``: start a task; with ``Accept: text/event-stream``, answer with its stream."""
    form = accepted(request, (JSON, SSE))
    Query(request.query_string, ())
    key = idempotency_key(request)
    body = needed(await read_object(request, site.settings))
    if form == JSON:
        record, created = await _start(site, request, body, key)
        headers = {"location": location_of(record), "vary": "accept"}
        return json_reply(201 if created else 200, record.as_json(), headers=headers)
    site.door.require_scope(request, Scope.TASKS_READ)
    with place(site, request):
        record, _ = await _start(site, request, body, key)
        return await watch_new(site, request, record.id, {"location": location_of(record), "vary": "accept"})


async def _start(site: Site, request: Request, body: dict[str, object], key: str | None) -> tuple[Record, bool]:
    fields = read_fields(StartFields, body)
    options = fields.options(site.settings)
    options["trace"] = request.trace
    return await site.view(request).start(
        fields.type,
        fields.params,
        idempotency_key=key,
        fingerprint=fingerprint(body) if key is not None else "",
        **options,
    )


def location_of(record: Record) -> str:
    """Where a task is found."""
    return f"/tasks/{record.id}"


def idempotency_key(request: Request) -> str | None:
    """What a start carries so that it can be repeated.

    Raises:
        BadRequest: the header is no such key, or is given twice.
    """
    given = request.headers("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not _KEY.match(given[0]):
        raise BadRequest("The header Idempotency-Key is given once, with 1 to 255 printable ASCII characters.")
    return given[0]


async def show_task(site: Site, request: Request, task_id: str) -> Reply:
    """``GET /tasks/{id}``: the task, at once or when it has ended."""
    query = Query(request.query_string, ("wait_s",))
    wait_s = query.seconds("wait_s", most=site.settings.wait_max_s)
    with _place(site, request, wait_s):
        record = await _wait(site, request, site.view(request), task_id, wait_s)
    return json_reply(200, task_json(site, record))


def _place(site: Site, request: Request, wait_s: float) -> AbstractContextManager[None]:
    """Whoever waits takes as much as a stream."""
    return site.heartbeat.place(request.credential.principal) if wait_s > 0 else nullcontext()


async def cancel_task(site: Site, request: Request, task_id: str) -> Reply:
    """``POST /tasks/{id}/cancel``: the task with its receipt; 202 as long as it goes on."""
    query = Query(request.query_string, ("wait_s",))
    wait_s = query.seconds("wait_s", most=site.settings.wait_max_s)
    fields = read_fields(CancelFields, await read_object(request, site.settings) or {})
    with _place(site, request, wait_s):
        view = site.view(request)
        before = await view.get(task_id)
        await view.cancel_task(task_id, reason=fields.reason)
        record = await _wait(site, request, view, task_id, wait_s)
    stopped = before.status in TERMINAL or (wait_s > 0 and record.status in TERMINAL)
    return json_reply(200 if stopped else 202, task_json(site, record))


async def _wait(site: Site, request: Request, view: View, task_id: str, wait_s: float) -> Record:
    if wait_s == 0:
        return await view.get(task_id)
    record = await while_present(request, view.wait(task_id, wait_s))
    await site.door.require_still_good(request)
    return record


async def delete_task(site: Site, request: Request, task_id: str) -> Reply:
    """``DELETE /tasks/{id}``: forget a terminal task."""
    Query(request.query_string, ())
    read_fields(NoFields, await read_object(request, site.settings) or {})
    await site.view(request).delete(task_id)
    return empty_reply(204)
