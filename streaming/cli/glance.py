"""A quick look at a server, for what may as well be left out: completions, and the parameters in a help.

Rules of this file:

- It takes `LIMIT_S` at most, whatever the server or the name service does, and never says a word.
- It needs next to nothing to be imported: somebody has pressed a key and waits.

Owns:   `glance`.
Uses:   secret_files (the credential).
Never:  follows a redirect: a credential is for this server.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

#: A person who has pressed a key waits no longer.
LIMIT_S = 1.0

#: Nothing that is looked at here is larger.
ANSWER_BYTES_MAX = 4_000_000

DEFAULT_URL = "http://127.0.0.1:8000"


def glance(path: str, *, url: str | None = None, limit_s: float = LIMIT_S) -> Any:
    """Ask a server for a JSON document.

    Args:
        path: below the server's address, with its query.
        url: of the server; None takes ``STREAMING_URL``, as all commands do.
        limit_s: seconds that it may take.

    Returns:
        The document; None if there is none in time.
    """
    found: list[Any] = []
    asking = threading.Thread(
        target=_ask, args=(url or os.environ.get("STREAMING_URL") or DEFAULT_URL, path, limit_s, found), daemon=True
    )
    asking.start()
    asking.join(limit_s)
    return found[0] if found else None


def _ask(url: str, path: str, limit_s: float, found: list[Any]) -> None:
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    from streaming.errors import StreamingError

    try:
        parts = urlsplit(url)
        kind = {"http": HTTPConnection, "https": HTTPSConnection}[parts.scheme]
        with closing(kind(parts.hostname or "", parts.port, timeout=limit_s)) as connection:
            connection.request("GET", parts.path.rstrip("/") + path, headers=_headers(os.environ))
            with connection.getresponse() as answer:
                if answer.status == 200:
                    found.append(json.loads(answer.read(ANSWER_BYTES_MAX)))
    except (OSError, HTTPException, StreamingError, ValueError, KeyError, RecursionError):
        return  # whoever asks does without; a command that needs the answer says what is wrong


def _headers(environ: Mapping[str, str]) -> dict[str, str]:
    from streaming.secret_files import read_secret_files

    token = environ.get("STREAMING_TOKEN") or read_secret_files(environ, ("token",)).get("token", "")
    known = {"Authorization": f"Bearer {token}"} if token else {}
    return {"Accept": "application/json", **known}
