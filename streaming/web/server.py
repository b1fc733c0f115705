"""The route about the server as a whole, in one look, for people and pages.

Owns:   which figures are shown, and to whom.
Uses:   observe.overview (all but the streams).
Never:  shows a task, or who has one.
"""

from __future__ import annotations

from typing import Any

from streaming.web.query import Query
from streaming.web.reply import Reply, json_reply
from streaming.web.request import Request
from streaming.web.site import Site
from streaming.web.status import VERSION, outlook_json, warnings

#: Principals whose streams are shown: those that have most.
PRINCIPALS_MAX = 100


async def show_server(site: Site, request: Request) -> Reply:
    """``GET /server``: how this server is, in one look."""
    Query(request.query_string, ())
    overview = site.overview
    return json_reply(
        200,
        {
            "version": VERSION,
            **overview.times(),
            "ready": site.coordinator.ready,
            "warnings": warnings(site.settings, site.door.gate.configured),
            "tasks": overview.tasks(),
            "streams": _streams(site, everybody=request.credential.principal.admin),
            **overview.measured(),
            **overview.memory(),
            "limits_hit": overview.limits_hit(),
            "store": overview.store(),
            "drain": {**overview.drain(), "outlook": outlook_json(site) if site.coordinator.draining else None},
        },
    )


def _streams(site: Site, *, everybody: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "open": site.heartbeat.open,
        "open_max": site.settings.max_streams,
        "behind": site.overview.readers_behind(),
    }
    if everybody:
        most = sorted(site.heartbeat.by_owner.items(), key=lambda each: -each[1])[:PRINCIPALS_MAX]
        found["by_principal"] = [_owner_json(owner) | {"open": count} for owner, count in most]
    return found


def _owner_json(owner: str) -> dict[str, Any]:
    tenant, _, name = owner.rpartition("\n")
    return {"principal": name, "tenant": tenant or None}
