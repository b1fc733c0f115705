"""The routes about the server itself: task types, alive, ready.

Owns:   what is said about this instance.
Uses:   rules.drain (what becomes of the tasks of a server that stops).
Never:  counts what is over (that is for metrics).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from streaming.config import Settings
from streaming.engine.registry import TaskType
from streaming.errors import Draining, StoreUnavailable
from streaming.records import retry_json
from streaming.rules.access import Credential, Scope
from streaming.rules.breaker import Circuit
from streaming.rules.drain import Outlook
from streaming.web.problems import problem
from streaming.web.reply import Reply, json_reply
from streaming.web.request import Request
from streaming.web.site import Site

VERSION = version("streaming")

#: Tasks that a server which stops tells of, at most.
TASKS_MAX = 1000


async def list_types(site: Site, request: Request) -> Reply:
    """``GET /types``: what can be started, and with which parameters."""
    types = [_type_json(task_type, site.settings) for task_type in site.coordinator.registry]
    return json_reply(200, {"types": types})


def _type_json(task_type: TaskType, settings: Settings) -> dict[str, Any]:
    policy = task_type.policy
    return {
        "name": task_type.name,
        "description": task_type.description,
        "run_in": task_type.run_in,
        "timeout_s": min(task_type.timeout_s or settings.timeout_default_s, settings.timeout_max_s),
        "on_interrupt": task_type.on_interrupt,
        "attempts_max": task_type.attempts_max,
        "max_running": settings.type_limits.get(task_type.name) or task_type.max_running,
        "retry": retry_json(policy.retry),
        "queue_timeout_s": policy.queue_timeout_s,
        "heartbeat_timeout_s": policy.heartbeat_timeout_s,
        "total_timeout_s": policy.total_timeout_s,
        "params_schema": task_type.schema(),
    }


async def show_health(site: Site, request: Request) -> Reply:
    """``GET /healthz``: the process is alive; and what it is, where nobody is asked for a credential."""
    if site.door.gate.configured:
        return json_reply(200, {"status": "ok"})
    return health(site.settings, site.circuit())


def health(settings: Settings, circuit: Circuit | None) -> Reply:
    """The answer of a process that is alive.

    Args:
        settings: which store it has.
        circuit: of the breaker in front of the store; None where there is none, or no store yet.
    """
    store = _store_json(settings)
    if circuit is not None:
        store["breaker"] = circuit.value
    return json_reply(200, {"status": "ok", "version": VERSION, "store": store})


def _store_json(settings: Settings) -> dict[str, Any]:
    kind = settings.store_url.partition(":")[0]
    if kind == "memory":
        return {"kind": kind, "durable": False, "survives": "nothing"}
    if kind != "sqlite":
        return {"kind": "postgresql", "durable": True, "survives": "a crash of the process"}
    survives = {"normal": "a crash of the process", "full": "a power cut"}[settings.sqlite_synchronous]
    return {"kind": kind, "durable": True, "survives": survives, "synchronous": settings.sqlite_synchronous}


async def show_readiness(site: Site, request: Request) -> Reply:
    """``GET /readyz``: whether a start would be accepted."""
    if site.coordinator.draining:
        return problem(Draining(), drain=await _drain_json(site, request))
    if not site.coordinator.ready:
        raise StoreUnavailable("The store cannot be written at the moment; tasks wait for it.")
    return json_reply(200, {"status": "ready", "warnings": warnings(site.settings, site.door.gate.configured)})


async def _drain_json(site: Site, request: Request) -> dict[str, Any]:
    """What becomes of the running tasks; of which ones, only to who may see them."""
    found: dict[str, Any] = outlook_json(site)
    if not await site.door.recognize(request) or not _may_read(request.credential):
        return found
    seen = site.view(request).outlooks()
    types = sorted({record.type for record, _ in seen})
    of_type = {type: Counter(outlook for record, outlook in seen if record.type == type) for type in types}
    found["types"] = {type: _counted(counts) for type, counts in of_type.items()}
    found["tasks"] = [
        {"id": record.id, "type": record.type, "outlook": outlook.value} for record, outlook in seen[:TASKS_MAX]
    ]
    return found


def outlook_json(site: Site) -> dict[str, Any]:
    """What becomes of how many running tasks of a server that drains, and in how many seconds the rest is stopped."""
    stops_in_s, counts = site.coordinator.drain_outlook()
    return {"stops_in_s": round(stops_in_s, 3), **_counted(counts)}


def _counted(counts: Mapping[Outlook, int]) -> dict[str, int]:
    return {outlook.value: counts.get(outlook, 0) for outlook in Outlook}


def _may_read(credential: Credential) -> bool:
    return credential.task_id is None and credential.principal.may(Scope.TASKS_READ)


def warnings(settings: Settings, guarded: bool) -> list[str]:
    """What whoever runs this server ought to know.

    Args:
        settings: whether it is open to everybody.
        guarded: whether a credential is needed.
    """
    if settings.insecure_public and not guarded:
        return ["insecure_public: no credentials are configured, and whoever reaches this server may do everything."]
    return []
