"""The route of stream tokens: how a browser watches a task whose server wants credentials.

``EventSource`` sends no headers. So whoever has a credential asks for a token that opens the events of one task, for
some minutes, and that may stand in a URL.

Owns:   the route.
Uses:   access.gate (the tokens).
Never:  gives a token for a task that is not there for whoever asks.
"""

from __future__ import annotations

from streaming.events import rfc3339
from streaming.web.body import read_object
from streaming.web.fields import NoFields, read_fields
from streaming.web.query import STREAM_TOKEN, Query
from streaming.web.reply import Reply, json_reply
from streaming.web.request import Request
from streaming.web.site import Site


async def give_stream_token(site: Site, request: Request, task_id: str) -> Reply:
    """``POST /tasks/{id}/stream-token``: a credential for the events of this task, and the URL with it."""
    Query(request.query_string, ())
    read_fields(NoFields, await read_object(request, site.settings) or {})
    await site.view(request).get(task_id)
    token, expires_at = site.door.gate.issue(request.credential, task_id)
    url = f"{request.root}/tasks/{task_id}/events?{STREAM_TOKEN}={token}"
    return json_reply(201, {"token": token, "expires_at": rfc3339(expires_at), "url": url})
