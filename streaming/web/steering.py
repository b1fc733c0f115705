"""The routes that ask something of one task: once more, more time, an input, and that its result was seen.

Owns:   which question to the coordinator a request is, and which answer its result.
Never:  decides about tasks.
"""

from __future__ import annotations

from streaming.web.body import needed, read_object
from streaming.web.fields import ExtendFields, InputFields, NoFields, read_fields, read_said
from streaming.web.query import Query
from streaming.web.reply import Reply, json_reply
from streaming.web.request import Request
from streaming.web.shown import task_json
from streaming.web.site import Site
from streaming.web.tasks import idempotency_key, location_of


async def retry_task(site: Site, request: Request, task_id: str) -> Reply:
    """``POST /tasks/{id}/retry``: start a task that has ended once more, as a new one."""
    await _read_nothing(site, request)
    key = idempotency_key(request)
    record, created = await site.view(request).retry(task_id, idempotency_key=key, trace=request.trace)
    return json_reply(201 if created else 200, record.as_json(), headers={"location": location_of(record)})


async def extend_task(site: Site, request: Request, task_id: str) -> Reply:
    """``POST /tasks/{id}/extend``: move the deadlines of a task that goes on."""
    Query(request.query_string, ())
    fields = read_said(ExtendFields, needed(await read_object(request, site.settings)))
    record = await site.view(request).extend(task_id, fields.limits())
    return json_reply(200, task_json(site, record))


async def send_input(site: Site, request: Request, task_id: str) -> Reply:
    """``POST /tasks/{id}/input``: send something into a task; 202, as nobody knows when its handler reads it."""
    Query(request.query_string, ())
    fields = read_fields(InputFields, needed(await read_object(request, site.settings)))
    event = await site.view(request).send_input(task_id, fields.data)
    return json_reply(202, {"seq": event.seq})


async def acknowledge_task(site: Site, request: Request, task_id: str) -> Reply:
    """``POST /tasks/{id}/ack``: the result was seen, and need not be kept for that any more."""
    await _read_nothing(site, request)
    record = await site.view(request).acknowledge(task_id)
    return json_reply(200, record.as_json())


async def _read_nothing(site: Site, request: Request) -> None:
    """Refuse what would have no meaning."""
    Query(request.query_string, ())
    read_fields(NoFields, await read_object(request, site.settings) or {})
