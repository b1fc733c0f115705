"""What a server says that has no store yet: it is alive, and not ready.

Owns:   the ASGI application of a server that waits for its database.
Uses:   web.problems, web.cors (pages of others), web.loopback (whom it tells more than that it lives).
Never:  starts, reads or changes anything.
"""

from __future__ import annotations

from streaming.config import Settings
from streaming.errors import Forbidden, StoreUnreachable
from streaming.observe.security import tell
from streaming.web.cors import cors_headers, preflight
from streaming.web.loopback import require_loopback
from streaming.web.problems import problem
from streaming.web.reply import Reply, json_reply
from streaming.web.request import Receive, Request, Scope, Send
from streaming.web.transport import peer_address

RETRY_AFTER_S = 2.0


class Waiting:
    """The ASGI application until the store answers.

    Args:
        settings: who may ask, and which store it is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
            return
        request = Request(scope, receive, send)
        reply = preflight(self._settings, request) or self._reply(request)
        headers = {**reply.headers, **cors_headers(self._settings, request)}
        if reply.status != 204:
            headers["content-length"] = str(len(reply.body))
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
        await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else reply.body})

    def _reply(self, request: Request) -> Reply:
        if request.segments == ("healthz",) and request.method in ("GET", "HEAD"):
            return json_reply(200, {"status": "ok"})
        try:
            if not (self._settings.insecure_public or self._settings.credentials):
                require_loopback(request.server)
        except Forbidden as error:
            tell("forbidden", principal=None, address=peer_address(request.send), reason=error.detail)
            return problem(error)
        away = "The store is not ready yet; the server goes on trying."
        return problem(StoreUnreachable(away, retry_after_s=RETRY_AFTER_S))
