"""The route of metrics: what Prometheus asks for, again and again.

Owns:   the two formats, and which one is wanted.
Uses:   observe.metrics (everything that is counted).
Never:  counts anything.
"""

from __future__ import annotations

from streaming.errors import NotFound
from streaming.web.events import accepted
from streaming.web.headers import SECURITY
from streaming.web.query import Query
from streaming.web.reply import Reply
from streaming.web.request import Request
from streaming.web.site import Site

#: https://prometheus.io/docs/instrumenting/exposition_formats/ and https://prometheus.io/docs/specs/om/open_metrics_spec/
TEXT, OPENMETRICS = "text/plain", "application/openmetrics-text"

_CONTENT_TYPES = {
    TEXT: f"{TEXT}; version=0.0.4; charset=utf-8",
    OPENMETRICS: f"{OPENMETRICS}; version=1.0.0; charset=utf-8",
}


async def show_metrics(site: Site, request: Request) -> Reply:
    """``GET /metrics``: what this server counts."""
    Query(request.query_string, ())
    if site.metrics is None:
        raise NotFound("Nothing is counted here: STREAMING_METRICS is off.")
    form = accepted(request, (TEXT, OPENMETRICS))
    body = site.metrics.exposition(openmetrics=form == OPENMETRICS)
    return Reply(200, {"content-type": _CONTENT_TYPES[form], "vary": "accept", **SECURITY}, body)
