"""Sends hostile requests to a server, and says what is wrong with what comes back.

Owns:   one connection for each request, reading as far as needed, tasks to be asked about, counting, and remembering
        each kind of failure once.
Uses:   tests.fuzz.hostile (what is sent), tests.fuzz.wire and tests.fuzz.leaks (what comes back).
Never:  waits for a stream that goes on, or for longer than the limits of the server.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.fuzz.credentials import Secrets
from tests.fuzz.described import PROBLEM
from tests.fuzz.hostile import Drawn, World, draw
from tests.fuzz.leaks import told, wrong
from tests.fuzz.wire import AnswerReader, NoHttp

#: What a server is given so that whoever sends too little does not have to be waited for, and nobody is held back.
SETTINGS = {
    "HEADER_TIMEOUT_S": "0.3",
    "BODY_TIMEOUT_S": "0.3",
    "RATE_LIMIT": "1000000/second",
    "RATE_LIMIT_ADDRESS": "1000000/second",
    "RATE_LIMIT_FAILURES": "1000000/second",
    "HEADERS_MAX": "100",
    "AUDIT_TASKS_MAX": "50",
    "HEADER_BYTES_MAX": "32768",
}

#: Requests that are on their way at the same time.
AT_ONCE = 24

#: Seconds that an answer may take, and in which more of one may come that nobody is sure of.
WITHIN_S, QUIET_S = 10.0, 0.02

#: Seconds between two pieces of a request.
PAUSE_S = 0.005

#: Requests after which there are new tasks to be asked about.
REFRESH_EVERY = 500
KINDS = ("sleeper", "echo", "outside", "listener", "failing", "pausing")


@dataclass
class Summary:
    """What has come of it.

    Attributes:
        requests: that were sent.
        seconds: it took.
        by_status: answers; 0 for a connection that was closed without one.
        by_code: of the answers that are problems.
        by_twist: requests that had it.
        leaks: answers that say what nobody has to know.
        failures: the first of each kind, with the request.
        failed: how many there were of each kind.
    """

    requests: int = 0
    seconds: float = 0.0
    by_status: Counter[int] = field(default_factory=Counter)
    by_code: Counter[str] = field(default_factory=Counter)
    by_twist: Counter[str] = field(default_factory=Counter)
    leaks: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def broken(self) -> int:
        """Answers that say that the server has failed, and not for how long."""
        return sum(count for status, count in self.by_status.items() if status >= 500 and status != 503)

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "seconds": round(self.seconds, 1),
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "by_code": dict(sorted(self.by_code.items())),
            "by_twist": dict(sorted(self.by_twist.items())),
            "leaks": self.leaks,
            "failures": self.failures,
        }


class _Try(asyncio.Protocol):
    """One connection."""

    def __init__(self, drawn: Drawn) -> None:
        self.reader = AnswerReader(head=drawn.head)
        self.flaw: str | None = None
        self.news = asyncio.Event()
        self.closed = False

    def data_received(self, data: bytes) -> None:
        self.news.set()
        if self.flaw is None and not self._over:
            try:
                self.reader.feed(data)
            except NoHttp as error:
                self.flaw = str(error)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self.news.set()

    @property
    def _over(self) -> bool:
        return bool(self.reader.answers) and self.reader.answers[-1].is_stream

    def done(self, drawn: Drawn) -> bool:
        """Whether nothing more has to be waited for."""
        if self.closed or self.flaw is not None or self._over:
            return True
        return drawn.answered and bool(self.reader.answers)


class Siege:
    """A series of hostile requests to one server.

    Args:
        url: of the server.
        secrets: of the server.
        seed: the same one draws the same requests.
        tell: called after each request.
    """

    def __init__(
        self, url: str, secrets: Secrets, seed: int = 0, *, tell: Callable[[Summary], None] = lambda _: None
    ) -> None:
        self.summary = Summary()
        self.world = World(secrets.good(), secrets.wrong())
        self._secrets, self._seed, self._tell = secrets, seed, tell
        address = urlsplit(url)
        self._address = address.hostname or "", address.port or 0

    async def run(self, numbers: Iterable[int]) -> Summary:
        """Send the requests with these numbers."""
        began = time.monotonic()
        waiting = iter(numbers)
        await self._refresh()
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work(waiting))
        self.summary.seconds = time.monotonic() - began
        return self.summary

    async def _work(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            if number and number % REFRESH_EVERY == 0:
                await self._refresh()
            drawn = draw(number, self._seed, self.world)
            await self._once(drawn)
            self._tell(self.summary)

    async def _once(self, drawn: Drawn) -> None:
        tried = await self._exchange(drawn)
        self.summary.requests += 1
        self.summary.by_twist.update(set(drawn.twists) or {"none"})
        for words in self._wrong(drawn, tried):
            kind = _kind(words)
            self.summary.failed[kind] += 1
            self.summary.failures.setdefault(kind, f"{words}\n{self._shown(drawn)}")

    def _wrong(self, drawn: Drawn, tried: _Try) -> Iterator[str]:
        answers = tried.reader.answers
        self.summary.by_status.update([answer.status for answer in answers] or [0])
        for answer in answers:
            leaks = list(told(answer, self._secrets.all))
            self.summary.leaks += bool(leaks)
            yield from (*wrong(answer), *leaks)
            if answer.media_type == PROBLEM and answer.has_body:
                with suppress(ValueError):
                    self.summary.by_code[f"{answer.status} {json.loads(answer.body)['code']}"] += 1
        if tried.flaw is not None:
            yield tried.flaw
        elif drawn.answered and not answers:
            yield "it has no answer"
        elif not answers and not tried.closed:
            yield "it is neither answered nor ended"
        elif tried.closed and not tried.reader.between:
            yield "half an answer"

    async def _exchange(self, drawn: Drawn) -> _Try:
        loop = asyncio.get_running_loop()
        transport, tried = await loop.create_connection(lambda: _Try(drawn), *self._address)
        try:
            async with asyncio.timeout(WITHIN_S):
                for piece in drawn.pieces:
                    if not tried.closed:
                        transport.write(piece)
                    if len(drawn.pieces) > 1:
                        await asyncio.sleep(PAUSE_S)
                await self._listen(drawn, tried)
        except TimeoutError:
            pass  # whatever has not come is missed
        finally:
            transport.abort()
        return tried

    async def _listen(self, drawn: Drawn, tried: _Try) -> None:
        """Until what has to come has come; where nobody knows what that is, until nothing more comes."""
        while not tried.done(drawn):
            tried.news.clear()
            quiet = QUIET_S if tried.reader.answers and tried.reader.between else None
            try:
                async with asyncio.timeout(quiet):
                    await tried.news.wait()
            except TimeoutError:
                return

    # -- tasks to be asked about ---------------------------------------------------------------------------------------

    async def _refresh(self) -> None:
        """Let there be tasks of alice, at work and ended, and stream tokens for two of them."""
        await self._ask("root", "POST", "/tasks/cancel?preset=active")
        ids = []
        for kind in KINDS:
            answer = await self._ask("alice", "POST", "/tasks", {"type": kind})
            ids.append(answer.get("id"))
        known = [id or before for id, before in zip(ids, self.world.ids[2:], strict=True)]
        self.world.ids[:] = [*self.world.ids[2:4], *known]
        for number, id in enumerate(self.world.ids[2:4]):
            answer = await self._ask("alice", "POST", f"/tasks/{id}/stream-token")
            self.world.tokens[number] = answer.get("token", self.world.tokens[number])

    async def ask_plainly(self, path: str) -> int:
        """The status that alice gets; 0 if she gets no answer."""
        return (await self._answer("alice", "GET", path))[0]

    async def _ask(self, name: str, method: str, path: str, body: object = None) -> dict[str, Any]:
        return (await self._answer(name, method, path, body))[1]

    async def _answer(self, name: str, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """What a client asks that means no harm."""
        head = [f"{method} {path} HTTP/1.1".encode(), b"Host: localhost", self._secrets.bearer(name)]
        data = b"" if body is None else json.dumps(body).encode()
        head += [b"Connection: close", b"Content-Type: application/json", b"Content-Length: %d" % len(data)]
        request = Drawn(-1, (), (b"\r\n".join([*head, b"", data]),), answered=True, head=False)
        answers = (await self._exchange(request)).reader.answers
        if not answers:
            return 0, {}
        try:
            found = json.loads(answers[0].body)
        except ValueError:
            found = {}
        return answers[0].status, found if isinstance(found, dict) else {}

    def _shown(self, drawn: Drawn) -> str:
        twists = ", ".join(drawn.twists) or "none"
        return f"request {drawn.number} of seed {self._seed}, twists: {twists}\n{drawn.pieces!r}"


def _kind(words: str) -> str:
    """The same for failures of one kind."""
    return re.sub(r"[0-9a-f]{32}|b?'.*'|\".*\"|[0-9]+", "...", words)[:120]
