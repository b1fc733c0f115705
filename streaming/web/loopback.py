"""Whether a request came in over an address that only this machine has.

Without credentials everybody who reaches the server may run tasks on it. So it answers on loopback addresses only,
whatever the process that owns the socket listens on, unless the operator says otherwise.

A web page of somebody else may still send requests from a browser on this machine, even under a name that leads here
(DNS rebinding). Its browser says so in ``Origin``, so what changes something is refused to it; and under which name it
asks in ``Host``, which must be one that only this machine has.

Owns:   the questions "is this address ours alone?" and "does a page of somebody else ask?".
Never:  lets a header open what the address has closed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from streaming.errors import Forbidden
from streaming.values import is_loopback_address

#: What a browser says of a request that no page of another site has made (W3C Fetch Metadata).
OWN_SITES = (None, "none", "same-origin")

#: A value of ``Host`` (RFC 9110, 7.2), of which the first part is the name.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:[0-9]*)?")


def require_loopback(server: tuple[str, int | None] | None) -> None:
    """Refuse what did not come in over loopback or a unix socket.

    Args:
        server: the local address of the connection, from the ASGI scope.

    Raises:
        Forbidden: it can be reached from elsewhere, or nobody knows where it is.
    """
    if server is not None and (server[1] is None or is_loopback_address(server[0])):
        return
    raise Forbidden(
        "This server has no credentials configured and answers on loopback addresses only. "
        "STREAMING_INSECURE_PUBLIC=true opens it to everybody who can reach it."
    )


def require_own_origin(method: str, origin: str | None, site: str | None = None) -> None:
    """Refuse a change that a web page of somebody else asks for.

    Args:
        method: of the request.
        origin: the ``Origin`` header (RFC 6454); None from whatever is no browser.
        site: the ``Sec-Fetch-Site`` header (W3C Fetch Metadata).

    Raises:
        Forbidden: the page does not come from this machine.
    """
    if method in ("GET", "HEAD", "OPTIONS"):
        return
    if site in OWN_SITES if origin is None else _is_local_name(_host(origin)):
        return
    raise Forbidden(
        f"A page of {(origin or 'another site')[:100]!r} may not change anything here. This server has no credentials "
        "configured; STREAMING_INSECURE_PUBLIC=true opens it to everybody who can reach it."
    )


def require_own_name(host: str | None) -> None:
    """Refuse what asks for this machine under a name that may be that of a page of somebody else.

    Args:
        host: the ``Host`` header (RFC 9110, 7.2).

    Raises:
        Forbidden: the name is none that only this machine has.
    """
    found = _HOST.fullmatch(host or "")
    if found is not None and _is_local_name(found[1].strip("[]").lower()):
        return
    raise Forbidden(
        f"This server has no credentials configured and answers only under the name localhost or a loopback address, "
        f"not {(host or '')[:100]!r}. STREAMING_INSECURE_PUBLIC=true opens it to everybody who can reach it."
    )


def require_same_origin(origin: str | None, host: str | None, site: str | None, allowed: Sequence[str]) -> None:
    """Refuse a change that a page of another site asks for, where a browser may be known without its doing (CSRF).

    Args:
        origin: the ``Origin`` header; None from whatever is no browser.
        host: the ``Host`` header.
        site: the ``Sec-Fetch-Site`` header (W3C Fetch Metadata).
        allowed: origins whose pages may.

    Raises:
        Forbidden: the page is of another site.
    """
    if origin in allowed or (origin is None and site in OWN_SITES):
        return
    if origin is not None and host is not None and _netloc(origin) == host.lower():
        return
    raise Forbidden(
        f"A page of {(origin or 'another site')[:100]!r} may not change anything here, unless STREAMING_CORS_ORIGINS "
        "names it."
    )


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # brackets that do not close
        return ""


def _host(origin: str) -> str:
    found = _HOST.fullmatch(_netloc(origin))
    return found[1].strip("[]") if found else ""


def _is_local_name(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost") or is_loopback_address(host)
