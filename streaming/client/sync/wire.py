# Written by `python -m tests.sync_client` from streaming/client/wire.py: change that one.
"""One request and its answer, again if need be.

Owns:   the connections to one server, and the repetition of a request whose answer was lost.
Uses:   client.answers (what an answer means), client.credentials (who is calling), client.patience (when to try again).
Never:  repeats what must not be: reading changes nothing, a start has its key, a report its numbers, and to cancel,
        extend, acknowledge or delete again ends in the same place. An input is tried once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from streaming.client.answers import LOST, PASSING, problem, unreachable
from streaming.client.sync.credentials import Bearer, TokenSource
from streaming.client.sync.patience import Attempts, Patience
from streaming.client.sync.reading import CONNECT_S
from streaming.errors import InvalidParams, NotFound, StreamingError, TaskNotFound
from streaming.events import encode_payload
from streaming.rules.outcome import describe

#: Seconds that an answer may take which waits for nothing.
ANSWER_S = 20.0

_DIRECT = ("all://localhost", "all://127.0.0.1", "all://[::1]")


class Wire:
    """The way to one server.

    Args:
        url: of the server.
        headers: sent with every request.
        patience: how long to wait, and how often to try.
        token: shown with every request; see `Bearer`.

    Attributes:
        http: the connections.

    Raises:
        ValueError: ``url`` is no http or https address; ``token`` is none, or not the only credential.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None,
        patience: Patience,
        token: TokenSource | None = None,
    ) -> None:
        self._patience = patience
        base_url = _checked(url)
        if token is not None:
            _check_alone(base_url, headers or {})
        self.http = httpx.Client(
            base_url=base_url,
            headers=headers,
            auth=None if token is None else Bearer(token),
            follow_redirects=False,  # what is sent, and a token above all, is for this server
            timeout=CONNECT_S,
            limits=httpx.Limits(max_connections=None),
            # Whatever proxy the environment names is not for this machine.
            mounts=dict.fromkeys(_DIRECT),
        )

    def address_of(self, path: str) -> httpx.URL:
        """The whole address of a path below the server's."""
        return self.http.build_request("GET", path).url

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        task_id: str | None = None,
        wait_s: float = 0,
        repeat: bool = True,
    ) -> httpx.Response:
        """Send a request, again if need be, and return its successful answer.

        Args:
            method: of HTTP.
            path: below the server's address.
            query: parameters of the URL.
            json: the body.
            headers: more of them.
            task_id: the task that the path names, for a 404.
            wait_s: seconds that the server may wait before it answers.
            repeat: whether it may be sent again; if not, it is tried once.

        Raises:
            InvalidParams: the body has no JSON form.
            TaskNotFound: there is no such task.
            StreamingError: whatever else the answer says.
        """
        content = _body(json)
        headers = {**(headers or {}), **({} if content is None else {"Content-Type": "application/json"})}
        attempts = Attempts(self._patience, self._patience.retry_s)
        timeout = httpx.Timeout(CONNECT_S, read=ANSWER_S + wait_s)
        while True:
            trouble: StreamingError
            try:
                response = self.http.request(
                    method, path, params=query, content=content, headers=headers, timeout=timeout
                )
            except LOST as error:
                trouble = unreachable(self.http.base_url, error)
            else:
                if response.is_success:
                    return response
                trouble = problem(response)
                if task_id is not None and isinstance(trouble, NotFound):
                    raise TaskNotFound(task_id) from trouble
                if response.status_code not in PASSING:
                    raise trouble
            if not repeat:
                raise trouble
            attempts.pause(trouble)


def path_of(task_id: str) -> str:
    """The path of a task."""
    return f"/tasks/{quote(task_id, safe='')}"


def _body(document: object) -> bytes | None:
    """A request's body.

    Raises:
        InvalidParams: it has no JSON form.
    """
    try:
        return None if document is None else encode_payload(document).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidParams(f"What is to be sent has no JSON form: {describe(error)}.") from error


def _checked(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is no address of a server: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is no address of a server: http://host:port was expected.")
    return parsed


def _check_alone(url: httpx.URL, headers: Mapping[str, str]) -> None:
    """A server refuses a request that says in two ways who is calling.

    Raises:
        ValueError: something else than the token does.
    """
    if url.userinfo:
        raise ValueError("a token, and a user in the address: only one of them can be sent")
    if shown := {name.lower() for name in headers} & {"authorization", "x-api-key"}:
        raise ValueError(f"a token, and the header {min(shown)}: only one of them can be sent")
