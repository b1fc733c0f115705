"""What is no HTTP gets the shape of every other mistake, and only the mistakes of uvicorn are touched."""

from __future__ import annotations

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.web.live import live
from tests.web.test_routes import check_problem

NO_HTTP = [
    b"garbage\r\n\r\n",
    b"FROBNICATE / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", NO_HTTP)
async def test_what_is_no_http_is_answered_with_a_problem_and_the_connection_ends(request_bytes: bytes) -> None:
    async with live() as here:
        answer = await here.exchange(request_bytes)

        check_problem(answer, 400, "bad_request")
        assert answer.headers["connection"] == "close"


def test_uvicorn_still_has_the_method_that_is_replaced() -> None:
    assert callable(HttpToolsProtocol.send_400_response)
