"""Which request goes where: read from top to bottom.

Owns:   paths, the methods each of them knows, and the scope that each of these needs.
Uses:   web.door (who is calling).
Never:  looks up an id that cannot be one; answers anybody who was not let in.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import structlog

from streaming.errors import MethodNotAllowed, NotFound, TaskNotFound
from streaming.rules.access import Scope
from streaming.web.assets import ASSETS, show_asset, show_page
from streaming.web.audit import audit, show_diary
from streaming.web.beats import follow_beats
from streaming.web.bulk import cancel_tasks, delete_tasks
from streaming.web.docs.page import show_docs
from streaming.web.events import follow_feed, read_log
from streaming.web.head import check_length
from streaming.web.listing import count_tasks, list_tasks, show_history, show_why
from streaming.web.metrics import show_metrics
from streaming.web.openapi.document import show_description
from streaming.web.principal import show_principal
from streaming.web.reply import Reply, empty_reply
from streaming.web.reports import change_task, report_events
from streaming.web.request import Request
from streaming.web.server import show_server
from streaming.web.site import Site
from streaming.web.statistics import show_statistics
from streaming.web.status import list_types, show_health, show_readiness
from streaming.web.steering import acknowledge_task, extend_task, retry_task, send_input
from streaming.web.stream import Stream
from streaming.web.stream_token import give_stream_token
from streaming.web.tasks import cancel_task, delete_task, show_task, start_task
from streaming.web.watch import watch

Handler = Callable[..., Awaitable[Reply | Stream]]


class Route(NamedTuple):
    """What one method of one path is.

    Attributes:
        handler: answers.
        scope: whoever calls has it; None: any credential will do.
        by_query: what is needed depends on the query, and the handler asks for it.
    """

    handler: Handler
    scope: Scope | None
    by_query: bool = False


Methods = Mapping[str, Route]

_ID = re.compile(r"[0-9a-f]{32}\Z", re.ASCII)

READ, WRITE, CANCEL = Scope.TASKS_READ, Scope.TASKS_WRITE, Scope.TASKS_CANCEL

#: What there is beside the tasks.
PLACES: Mapping[tuple[str, ...], Methods] = MappingProxyType(
    {
        ("tasks",): {
            "GET": Route(list_tasks, READ),
            "POST": Route(start_task, WRITE),
            "DELETE": Route(delete_tasks, WRITE),
        },
        ("tasks", "count"): {"GET": Route(count_tasks, READ)},
        ("tasks", "cancel"): {"POST": Route(cancel_tasks, CANCEL)},
        ("events",): {"GET": Route(follow_feed, Scope.FEED_READ)},
        ("watch",): {"GET": Route(watch, None, by_query=True)},
        ("stats",): {"GET": Route(show_statistics, READ)},
        ("metrics",): {"GET": Route(show_metrics, Scope.METRICS_READ)},
        ("server",): {"GET": Route(show_server, Scope.METRICS_READ)},
        ("audit",): {"GET": Route(audit, Scope.ADMIN)},
        ("audit", "diary"): {"GET": Route(show_diary, Scope.ADMIN)},
        ("types",): {"GET": Route(list_types, None)},
        ("principal",): {"GET": Route(show_principal, None)},
        ("beats",): {"GET": Route(follow_beats, None)},
        ("healthz",): {"GET": Route(show_health, None)},
        ("readyz",): {"GET": Route(show_readiness, None)},
        ("openapi.json",): {"GET": Route(show_description, None)},
        ("",): {"GET": Route(show_page, None)},
        ("docs",): {"GET": Route(show_docs, None)},
    }
)

#: What whoever looks whether the server lives asks without a credential.
PROBES = frozenset({("healthz",), ("readyz",)})

#: What a browser opens, which cannot show a credential then.
PAGES = frozenset({("",), ("docs",)})

#: A file of a page.
ASSET: Methods = {"GET": Route(show_asset, None)}

#: A task, and what there is below it.
TASK: Methods = {
    "GET": Route(show_task, READ),
    "DELETE": Route(delete_task, WRITE),
    "PATCH": Route(change_task, WRITE),
}
OF_TASK: Mapping[str, Methods] = MappingProxyType(
    {
        "cancel": {"POST": Route(cancel_task, CANCEL)},
        "retry": {"POST": Route(retry_task, WRITE)},
        "extend": {"POST": Route(extend_task, WRITE)},
        "input": {"POST": Route(send_input, WRITE)},
        "ack": {"POST": Route(acknowledge_task, WRITE)},
        "history": {"GET": Route(show_history, READ)},
        "why": {"GET": Route(show_why, READ)},
        "events": {"GET": Route(read_log, READ), "POST": Route(report_events, WRITE)},
        "stream-token": {"POST": Route(give_stream_token, READ)},
    }
)


def is_open(segments: tuple[str, ...]) -> bool:
    """Whether nobody is asked for a credential: by the probes, and by a browser that opens a page."""
    return segments in PROBES or segments in PAGES or (len(segments) == 2 and segments[0] == "page")


def find(segments: tuple[str, ...]) -> tuple[Methods, str | None]:
    """The methods of a path, and the task id in it.

    Raises:
        NotFound: there is no such path.
        TaskNotFound: the path is one of a task, and no task can have this id.
    """
    if (methods := PLACES.get(segments)) is not None:
        return methods, None
    match segments:
        case ("page", name) if name in ASSETS:
            return ASSET, None
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
    check_length(request.target_bytes, site.settings.url_bytes_max)  # a server of somebody else has not
    await _admit(site, request)
    methods, task_id = find(request.segments)
    possible = _possible(methods)
    if request.method == "OPTIONS":
        return empty_reply(204, {"allow": ", ".join(possible)})
    route = methods.get("GET" if request.method == "HEAD" else request.method)
    if route is None:
        raise MethodNotAllowed(request.method, possible)
    if not (route.by_query or is_open(request.segments)):
        site.door.require(request, route.scope, task_id=task_id, logs=route.handler is read_log)
    if task_id is None:
        return await route.handler(site, request)
    # For every log line from here on; the server runs each request in a task, so nobody else gets to see it.
    structlog.contextvars.bind_contextvars(task_id=task_id)
    return await route.handler(site, request, task_id)


async def _admit(site: Site, request: Request) -> None:
    """Let somebody in; some come where nobody has a credential, and a preflight request never carries one."""
    if is_open(request.segments) or request.method == "OPTIONS":
        site.door.admit_anybody(request)
    else:
        await site.door.admit(request)


def _checked(task_id: str) -> str:
    if not _ID.match(task_id):
        raise TaskNotFound(task_id)
    return task_id


def _possible(methods: Methods) -> list[str]:
    """HEAD goes wherever GET goes, OPTIONS everywhere."""
    return [*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"]
