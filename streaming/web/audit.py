"""The routes of the audit: whether all is well here, and what has happened last.

A GET with ``repair=true`` changes something. So it does only for who asks for just that: not for HEAD, which asks for
headers, and not for a page of another site, which may make a browser send a GET without saying where it comes from, nor
for one that has given this machine a name of its own. And it is not stopped half-way if who has asked leaves.

Owns:   the parameters of the question, and who may ask for a repair.
Uses:   engine.audit, engine.diary.
Never:  looks at anything itself.
"""

from __future__ import annotations

from streaming.errors import Forbidden
from streaming.web.loopback import OWN_SITES, require_own_name, require_own_origin
from streaming.web.presence import while_present
from streaming.web.query import Query
from streaming.web.reply import Reply, json_reply
from streaming.web.request import Request
from streaming.web.site import Site

#: More than anybody should wait for one answer.
TASKS_MOST = 1_000_000


async def audit(site: Site, request: Request) -> Reply:
    """``GET /audit``: every violation of an invariant; with ``repair=true`` what is safe is mended."""
    query = Query(request.query_string, ("repair", "limit"))
    limit = query.whole("limit", least=0, most=TASKS_MOST)
    repair = query.yes("repair") and request.method == "GET"
    if repair:
        site.door.require_own_page(request)
        if request.credential.principal.anonymous and not site.settings.insecure_public:
            _require_own_page(request)
        site.door.tell_admin(request)
    auditing = site.coordinator.audit(limit, repair=repair)
    audited = await (auditing if repair else while_present(request, auditing))
    return json_reply(200, audited.as_json())


async def show_diary(site: Site, request: Request) -> Reply:
    """``GET /audit/diary``: the last facts that decide who comes first."""
    Query(request.query_string, ())
    return json_reply(200, {"time": site.coordinator.now(), **site.coordinator.diary.as_json()})


def _require_own_page(request: Request) -> None:
    require_own_origin("POST", request.header("origin"))
    require_own_name(request.header("host"))
    if request.header("sec-fetch-site") not in OWN_SITES:
        raise Forbidden("A page of another site may not have anything mended here.")
