"""Who is calling, told to whoever asks: a page shows only what its reader may do.

Owns:   that answer.
Never:  tells anything of a credential but until when it is good.
"""

from __future__ import annotations

from streaming.events import rfc3339
from streaming.rules.access import Principal, Scope
from streaming.web.reply import Reply, json_reply
from streaming.web.request import Request
from streaming.web.site import Site


async def show_principal(site: Site, request: Request) -> Reply:
    """``GET /principal``: name, tenant and scopes of whoever calls."""
    credential = request.credential
    principal = credential.principal
    return json_reply(
        200,
        {
            "name": principal.name,
            "tenant": principal.tenant,
            "anonymous": principal.anonymous,
            "scopes": _granted(principal),
            "expires_at": None if credential.expires_at is None else rfc3339(credential.expires_at),
        },
    )


def _granted(principal: Principal) -> list[str]:
    """All that it may do, also what another scope holds."""
    return [scope.value for scope in Scope if principal.may(scope)]
