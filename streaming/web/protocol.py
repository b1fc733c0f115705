"""What uvicorn answers by itself, in our shape.

A request that is no HTTP never reaches the application; uvicorn answers it with plain text. Under ``streaming serve``
it gets the same problem as every other mistake. Only `HttpToolsProtocol.send_400_response` is replaced; a test holds
this against the installed uvicorn.

Owns:   the answer to what is no HTTP.
Never:  touches a request that is.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streaming.errors import BadRequest
from streaming.web.problems import problem


class ProblemProtocol(HttpToolsProtocol):
    """uvicorn's protocol on httptools."""

    def send_400_response(self, msg: str) -> None:
        """Answer with a problem, and close the connection.

        Args:
            msg: uvicorn's words for what was wrong.
        """
        reply = problem(BadRequest(msg))
        lines = ["HTTP/1.1 400 Bad Request", *(f"{name}: {value}" for name, value in reply.headers.items())]
        head = "\r\n".join([*lines, f"content-length: {len(reply.body)}", "connection: close", "", ""])
        self.transport.write(head.encode("ascii") + reply.body)
        self.transport.close()
