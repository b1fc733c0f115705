"""A request as somebody types it: a call of curl.

Owns:   the quoting for a shell; which options of curl a request needs.
Never:  has a credential: it names the variable that has it.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from streaming.web.reply import JSON, SSE

#: Where the server is, as all examples have it; the script of the page puts the real address in its place.
ADDRESS = "http://127.0.0.1:8000"

#: Who is calling, on a server that asks for it.
_CREDENTIAL = '-H "Authorization: Bearer $STREAMING_TOKEN"'


def curl(method: str, path: str, *, body: Any = ..., accept: str = JSON, guarded: bool = False) -> str:
    """Write a request.

    Args:
        method: upper case.
        path: with its query, below the address.
        body: any JSON value; without one there is none.
        accept: the media type that is asked for.
        guarded: whether a credential is needed.
    """
    parts = ["curl", "-sN" if accept == SSE else "-s"]
    sends = body is not ...
    if method not in ("GET", "POST") or (method == "POST" and not sends):
        parts += ["-X", method]
    if sends:
        parts += ["--json", shlex.quote(json.dumps(body, ensure_ascii=False))]
    if accept != JSON:
        parts += ["-H", shlex.quote(f"Accept: {accept}")]
    if guarded:
        parts.append(_CREDENTIAL)
    return " ".join([*parts, shlex.quote(ADDRESS + path) if "?" in path else ADDRESS + path])
