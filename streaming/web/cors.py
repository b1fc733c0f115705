"""Which pages of others may call this server from a browser (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol).

Off unless ``STREAMING_CORS_ORIGINS`` names their origins. An origin is compared as a whole and as it is; ``null``,
which is what many pages have that are no site's, is never one of them.

Owns:   the answer to the question in front of a request, and what every other answer says to the browser.
Never:  lets a request in or keeps it out: a browser that is told nothing hides the answer from its page.
"""

from __future__ import annotations

from streaming.config import Settings
from streaming.errors import Forbidden
from streaming.web.problems import problem
from streaming.web.reply import Reply, empty_reply
from streaming.web.request import Request

#: What a page may send beyond what it always may.
METHODS = "GET, HEAD, POST, PATCH, DELETE, OPTIONS"
HEADERS = "authorization, content-type, idempotency-key, last-event-id, traceparent, tracestate, x-api-key"

#: What a page may read beyond what it always may.
EXPOSED = "location, retry-after, ratelimit, ratelimit-policy, www-authenticate"

#: So long a browser need not ask again.
MAX_AGE_S = 600

#: Also what else our answers depend on: whoever puts headers together may keep this one alone.
_VARY = {"vary": "accept, origin"}


def preflight(settings: Settings, request: Request) -> Reply | None:
    """Answer a browser that asks whether a page may send a request, before there is a credential.

    Returns:
        None if this is no such question, or no page of others may call.
    """
    if not (
        settings.cors_origins
        and request.method == "OPTIONS"
        and request.headers("origin")
        and request.headers("access-control-request-method")
    ):
        return None
    headers = cors_headers(settings, request)
    if "access-control-allow-origin" not in headers:
        refused = problem(Forbidden("STREAMING_CORS_ORIGINS does not name the origin of this page."))
        return refused._replace(headers={**refused.headers, **headers})
    may = {
        "access-control-allow-methods": METHODS,
        "access-control-allow-headers": HEADERS,
        "access-control-max-age": str(MAX_AGE_S),
    }
    return empty_reply(204, {**headers, **may})


def cors_headers(settings: Settings, request: Request) -> dict[str, str]:
    """What an answer says to the browser of whoever asks, also a stream or a problem."""
    if not settings.cors_origins:
        return {}
    origin = _allowed(settings, request)
    if origin is None:
        return dict(_VARY)
    headers = {**_VARY, "access-control-allow-origin": origin, "access-control-expose-headers": EXPOSED}
    if origin != "*":  # a browser may send what its proxy knows it by
        headers["access-control-allow-credentials"] = "true"
    return headers


def _allowed(settings: Settings, request: Request) -> str | None:
    """The origin of the page, as the settings have it."""
    origins = request.headers("origin")
    if len(origins) != 1 or origins[0] == "null":
        return None
    if settings.cors_origins == ["*"]:
        return "*"
    return next((origin for origin in settings.cors_origins if origin == origins[0]), None)
