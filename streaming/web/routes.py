"""Which request goes where: read from top to bottom.

Owns:   paths, and the methods each of them knows.
Never:  looks up an id that cannot be one.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import structlog

from streaming.errors import MethodNotAllowed, NotFound, TaskNotFound
from streaming.web.audit import audit, show_diary
from streaming.web.bulk import cancel_tasks, delete_tasks
from streaming.web.events import follow_feed, read_log
from streaming.web.listing import count_tasks, list_tasks, show_history
from streaming.web.openapi.document import show_description
from streaming.web.reply import Reply, empty_reply
from streaming.web.reports import change_task, report_events
from streaming.web.request import Request
from streaming.web.site import Site
from streaming.web.statistics import show_statistics
from streaming.web.status import list_types, show_health, show_readiness
from streaming.web.steering import acknowledge_task, extend_task, retry_task, send_input
from streaming.web.stream import Stream
from streaming.web.tasks import cancel_task, delete_task, show_task, start_task

Handler = Callable[..., Awaitable[Reply | Stream]]
Methods = Mapping[str, Handler]

_ID = re.compile(r"[0-9a-f]{32}\Z", re.ASCII)


#: What there is beside the tasks.
PLACES: Mapping[tuple[str, ...], Methods] = MappingProxyType(
    {
        ("tasks",): {"GET": list_tasks, "POST": start_task, "DELETE": delete_tasks},
        ("tasks", "count"): {"GET": count_tasks},
        ("tasks", "cancel"): {"POST": cancel_tasks},
        ("events",): {"GET": follow_feed},
        ("stats",): {"GET": show_statistics},
        ("audit",): {"GET": audit},
        ("audit", "diary"): {"GET": show_diary},
        ("types",): {"GET": list_types},
        ("healthz",): {"GET": show_health},
        ("readyz",): {"GET": show_readiness},
        ("openapi.json",): {"GET": show_description},
    }
)

#: A task, and what there is below it.
TASK: Methods = {"GET": show_task, "DELETE": delete_task, "PATCH": change_task}
OF_TASK: Mapping[str, Methods] = MappingProxyType(
    {
        "cancel": {"POST": cancel_task},
        "retry": {"POST": retry_task},
        "extend": {"POST": extend_task},
        "input": {"POST": send_input},
        "ack": {"POST": acknowledge_task},
        "history": {"GET": show_history},
        "events": {"GET": read_log, "POST": report_events},
    }
)


def find(segments: tuple[str, ...]) -> tuple[Methods, str | None]:
    """The methods of a path, and the task id in it.

    Raises:
        NotFound: there is no such path.
        TaskNotFound: the path is one of a task, and no task can have this id.
    """
    if (methods := PLACES.get(segments)) is not None:
        return methods, None
    match segments:
        case ("tasks", task_id) if task_id:
            return TASK, _checked(task_id)
        case ("tasks", task_id, part) if part in OF_TASK:
            return OF_TASK[part], _checked(task_id)
        case _:
            raise NotFound("There is nothing here. Begin with /tasks, /events or /types.")


async def respond(site: Site, request: Request) -> Reply | Stream:
    """Answer a request.

    Returns:
        The reply; or a stream, the head of which has been sent.

    Raises:
        StreamingError: everything that is to become a problem.
    """
    methods, task_id = find(request.segments)
    possible = _possible(methods)
    if request.method == "OPTIONS":
        return empty_reply(204, {"allow": ", ".join(possible)})
    handler = methods.get("GET" if request.method == "HEAD" else request.method)
    if handler is None:
        raise MethodNotAllowed(request.method, possible)
    if task_id is None:
        return await handler(site, request)
    # For every log line from here on; the server runs each request in a task, so nobody else gets to see it.
    structlog.contextvars.bind_contextvars(task_id=task_id)
    return await handler(site, request, task_id)


def _checked(task_id: str) -> str:
    if not _ID.match(task_id):
        raise TaskNotFound(task_id)
    return task_id


def _possible(methods: Methods) -> list[str]:
    """HEAD goes wherever GET goes, OPTIONS everywhere."""
    return [*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"]
