"""The headers that every answer has, whoever makes it: what a browser may do with it.

Nothing here is a page, so nothing may be done: an answer is taken for what it says to be, is kept nowhere, runs
nothing, stands in no frame, is embedded by no other site, and tells no other where the reader comes from.

Owns:   those headers; what more a stream has.
Never:  looks at a request (`web.cors` does).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: Of every answer; also of problems, and of those that are made below the application.
SECURITY: Mapping[str, str] = MappingProxyType(
    {
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }
)


def stream_headers(content_type: str, more: Mapping[str, str]) -> dict[str, str]:
    """The headers of a stream: no proxy may collect its bytes.

    Args:
        content_type: of the stream.
        more: what else there is to say.
    """
    return {"content-type": content_type, **SECURITY, "x-accel-buffering": "no", **more}
