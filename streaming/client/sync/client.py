# Written by `python -m tests.sync_client` from streaming/client/client.py: change that one.
"""The client: one method for each thing that can be asked of a server.

Owns:   what each request about one task asks.
Uses:   client.many (all tasks), client.steering (what else can be asked of one), client.watching (streams),
        client.credentials (who is calling).
Never:  starts a task twice: every start carries an Idempotency-Key.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from streaming.client.answers import bad_answer, document_from, event_from, items_in, record_from, successful
from streaming.client.auditing import Audit, audit_from
from streaming.client.insight import Why, why_from
from streaming.client.listing import history_from, query_of
from streaming.client.options import Started, StartOptions, start_body
from streaming.client.stream_token import StreamToken, stream_token_from
from streaming.client.sync.credentials import TokenSource
from streaming.client.sync.many import ManyTasks
from streaming.client.sync.patience import Patience
from streaming.client.sync.refusals import refusals
from streaming.client.sync.steering import Steering
from streaming.client.sync.watching import LogReader, OnGap
from streaming.client.sync.wire import Wire, path_of
from streaming.events import Event
from streaming.records import Record
from streaming.rules.history import Span
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.schedule import IfRunning

#: Seconds that one request waits for a task at most; longer waits are several requests, as proxies like it.
WAIT_ONCE_S = 30.0

#: An audit reads the logs of many tasks, and may have to wait for another one.
AUDIT_S = 120.0


class Client(ManyTasks, Steering):
    """A client of one server, to be used as ``with Client(url) as client``.

    Every method may raise, besides what it names itself: `ServerUnreachable` when no answer came,
    `StoreUnavailable`, `Draining` or `ServerError` when the server did not recover in time, `RateLimited` when
    it wants fewer requests for longer than that, `Unauthenticated` when the server wants a credential or not this one,
    `Forbidden` when this caller may not do it, and `ServerError` with code ``bad_answer`` when something else answers
    at this address.

    Args:
        url: of the server, with the prefix it is mounted under, for example ``http://127.0.0.1:8000``.
        headers: sent with every request.
        patience: how long to wait, and how often to try.
        token: an API key or a JWT, shown with every request; or a function that gives
            one. It is called before the first request, and once more after each 401: a token that has changed is
            tried, so that watching outlives a token. What it raises comes out of the method that needed the token.

    Raises:
        ValueError: ``url`` is no http or https address; ``token`` is none, or something else says who is calling, too.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        patience: Patience | None = None,
        token: TokenSource | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._wire = Wire(url, headers, self._patience, token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._wire.http.close()

    # -- one task ------------------------------------------------------------------------------------------------

    def start(
        self,
        type: str,
        params: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[StartOptions],
    ) -> Record:
        """Start a task.

        Args:
            type: name of the task type.
            params: its parameters, a JSON object.
            idempotency_key: the same key and task again give the task that was started first. Without one, a key is
                made up, so that a repeated request within this call cannot start two tasks.
            options: what else is asked for; see `StartOptions`.

        Returns:
            The record; the task is stored, and will run. With ``if_running="join"`` it may be one that runs already;
            `start_or_join` says whether it is.

        Raises:
            UnknownType: the server has no such task type.
            InvalidParams: ``errors`` names each wrong parameter.
            IdempotencyMismatch: the key was used for something else.
            TooManyTasks: the queue is full.
            ServerError: with code ``key_busy``: a task with this ``key`` goes on, and ``if_running`` is ``reject``.
        """
        return self.start_or_join(type, params, idempotency_key=idempotency_key, **options).record

    def start_or_join(
        self,
        type: str,
        params: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[StartOptions],
    ) -> Started:
        """Start a task, and learn whether it is a new one: `start` for ``if_running="join"``.

        Args:
            type: and the others, see `start`, which may raise the same.
            params: its parameters.
            idempotency_key: makes a start repeatable.
            options: what else is asked for.

        Returns:
            The record, and whether somebody else may have started the task.
        """
        body = start_body(type, params, options)
        key = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        response = self._wire.send("POST", "/tasks", json=body, headers=key)
        # Without a wish to join, a task that is not new is the one that was started under the same Idempotency-Key.
        joined = response.status_code == httpx.codes.OK and body.get("if_running") == IfRunning.JOIN
        return Started(record_from(document_from(response)), joined)

    def get(self, task_id: str, *, wait_s: float = 0) -> Record:
        """Look a task up.

        Args:
            task_id: which one.
            wait_s: seconds to wait for its end; infinity is possible.

        Returns:
            The record.

        Raises:
            TaskNotFound: there is none.
        """

        def ask(part_s: float) -> Record:
            return self._task("GET", task_id, wait_s=part_s)

        return _in_parts(wait_s, ask)

    def watch(self, task_id: str, *, after: int = 0, on_gap: OnGap = "raise") -> Generator[Event, None]:
        """Follow a task's log to its end, through lost connections and restarts of the server.

        Leaving does not touch the task. Who leaves before the end closes the iterator:
        ``with contextlib.closing(client.watch(...)) as events``.

        Args:
            task_id: whose log.
            after: seq of the last event that is known already; 0 begins with the first.
            on_gap: ``raise``, or ``yield`` the ``gap`` event and go on behind it.

        Yields:
            Every event once, in order, the terminal one last.

        Raises:
            TaskNotFound: there is no such task, or not any more.
            BadCursor: the log has no event ``after``.
            LogGap: events that were not read yet are gone.
            ServerUnreachable: no contact for `Patience.give_up_s`.
            Unauthenticated: the credential is over, and there is no fresh one.
        """
        reader = LogReader(
            self._wire.http, f"{path_of(task_id)}/events", task_id, after=after, on_gap=on_gap, patience=self._patience
        )
        with closing(reader.items()) as events:
            yield from events

    def events(self, task_id: str, *, after: int = 0, until: int | None = None) -> Generator[Event, None]:
        """Go through what is in a task's log already, page by page, without waiting for more.

        Args:
            task_id: whose log.
            after: seq of the last event that is not wanted any more.
            until: seq of the last one that is wanted; None goes to the end that the log has meanwhile.

        Yields:
            Events in order; a ``gap`` stands for those that are gone.

        Raises:
            TaskNotFound: there is no such task, or not any more.
            BadCursor: the log has no event ``after``.
        """
        cursor: int | None = after
        while cursor is not None and (until is None or cursor < until):
            document = document_from(self._page(task_id, cursor))
            for item in items_in(document, "events"):
                event = event_from(item)
                if until is not None and event.seq > until and event.type != "gap":
                    return
                yield event
            cursor = _further(cursor, document.get("next_cursor"))

    def run(
        self,
        type: str,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[StartOptions],
    ) -> Record:
        """Start a task and wait for its end.

        Args:
            type: and the others, see `start`.
            params: its parameters.
            options: what else is asked for.

        Returns:
            The record of the completed task, with its result.

        Raises:
            TaskFailed: the handler raised.
            TaskCancelled: somebody cancelled the task.
            TaskTimedOut: it took too long.
            TaskInterrupted: the server stopped under it.
        """
        record = self.start(type, params, **options)
        with closing(self.watch(record.id, on_gap="yield")) as events:
            for _ in events:
                pass
        return successful(self.get(record.id))

    def cancel(self, task_id: str, *, reason: str = "", wait_s: float = 0) -> Record:
        """Ask a task to stop.

        Args:
            task_id: which one.
            reason: shown to every reader.
            wait_s: seconds to wait for the stop; infinity is possible.

        Returns:
            The record; its ``cancel`` is the receipt. Cancelling again gives the same one.

        Raises:
            TaskNotFound: there is none.
            TaskTerminal: it ended in another way before.
        """
        body = {"reason": reason} if reason else None

        def ask(part_s: float) -> Record:
            return self._task("POST", task_id, "/cancel", wait_s=part_s, json=body)

        with refusals(self._wire, task_id):
            return _in_parts(wait_s, ask)

    def delete(self, task_id: str) -> None:
        """Remove the record and the log of a terminal task.

        Raises:
            TaskNotFound: there is none, or not any more.
            TaskActive: it has not ended.
        """
        with refusals(self._wire, task_id, "deleted"):
            self._wire.send("DELETE", path_of(task_id), task_id=task_id)

    def history(self, task_id: str) -> list[Span]:
        """Every status a task has had: when, for how long, and who had brought it about.

        Raises:
            TaskNotFound: there is none.
        """
        document = document_from(self._wire.send("GET", f"{path_of(task_id)}/history", task_id=task_id))
        return history_from(items_in(document, "changes"))

    def why(self, task_id: str) -> Why:
        """Why a task is still running, or how it has ended.

        Raises:
            TaskNotFound: there is none.
        """
        return why_from(document_from(self._wire.send("GET", f"{path_of(task_id)}/why", task_id=task_id)))

    def stream_token(self, task_id: str) -> StreamToken:
        """Get a credential for the events of one task that may stand in a URL, as a browser needs it.

        Raises:
            TaskNotFound: there is none.
        """
        path = path_of(task_id)
        answer = self._wire.send("POST", f"{path}/stream-token", task_id=task_id)
        return stream_token_from(document_from(answer), self._wire.address_of(f"{path}/events"))

    # -- the server ----------------------------------------------------------------------------------------------

    def types(self) -> Sequence[dict[str, Any]]:
        """The registered task types, as ``GET /types`` describes them: name, parameters as JSON Schema, and more."""
        return items_in(document_from(self._wire.send("GET", "/types")), "types")

    def ready(self) -> Sequence[str]:
        """Whether a start would be accepted, asked once; the warnings of the server.

        Raises:
            Draining: it is shutting down.
            StoreUnavailable: its store does not answer.
        """
        document = document_from(self._wire.send("GET", "/readyz", repeat=False))
        return [str(each) for each in document.get("warnings") or ()]

    def audit(self, *, limit: int | None = None, repair: bool = False) -> Audit:
        """Let the server look whether all is well there.

        Args:
            limit: live tasks whose logs it reads, at most, and as many that have ended; None leaves that to it.
            repair: let it put right what can be put right safely.

        Raises:
            BadFilter: it reads no more than a million.
        """
        query = query_of({"limit": limit, "repair": repair or None})
        answer = self._wire.send("GET", "/audit", query=query, wait_s=AUDIT_S)
        return audit_from(document_from(answer))

    def diary(self) -> dict[str, Any]:
        """What has happened last on the server, as ``GET /audit/diary`` tells it."""
        return document_from(self._wire.send("GET", "/audit/diary"))

    # -- the wire ------------------------------------------------------------------------------------------------

    def _page(self, task_id: str, cursor: int) -> httpx.Response:
        query, accept = {"last_event_id": cursor}, {"Accept": "application/json"}
        return self._wire.send("GET", f"{path_of(task_id)}/events", query=query, headers=accept, task_id=task_id)

    def _task(self, method: str, task_id: str, below: str = "", *, wait_s: float, json: object = None) -> Record:
        query = {"wait_s": wait_s} if wait_s else {}
        response = self._wire.send(
            method, path_of(task_id) + below, query=query, json=json, task_id=task_id, wait_s=wait_s
        )
        return record_from(document_from(response))


def _further(cursor: int, following: object) -> int | None:
    """Where the next page begins; None if there is none.

    Raises:
        ServerError: code ``bad_answer``; it does not lead on.
    """
    if following is None:
        return None
    if not isinstance(following, int) or following <= cursor:
        raise bad_answer(f"A page behind event {cursor} must lead on, not to {str(following)[:64]!r}.")
    return following


def _in_parts(wait_s: float, ask: Callable[[float], Record]) -> Record:
    """Ask until the task is terminal or the time is over, in parts that a server and a proxy allow."""
    left_s = wait_s
    while True:
        part_s = min(left_s, WAIT_ONCE_S)
        record = ask(part_s)
        left_s -= part_s
        if record.status in TERMINAL or left_s <= 0:
            return record
