"""One random life of the whole stack: tasks, readers over a bad network, cancels, crashes, and drains at any time.

Owns:   `web_scenario`, and who takes part: clients, readers, and the operator who runs one process after the other.
Never:  asks the coordinator for anything that a client could ask the server for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol
from unittest import mock

import httpx

import streaming.client as library
from streaming import TaskContext, task
from streaming.client.patience import Patience
from streaming.errors import TaskTerminal
from streaming.events import Event
from streaming.rules.evidence import ReaderEvidence
from streaming.rules.invariants import check_reader
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.sse import KEEPALIVE, RETRY, frame
from streaming.testing.choices import Stream
from streaming.testing.faults import CALM, Faults
from streaming.testing.instance import Killed
from streaming.testing.loop import SimulatedLoop
from streaming.testing.weather import FAIR, FOUL, Weather
from streaming.testing.world import World, settings_of
from tests.leftovers import RESIDENT, leftovers
from tests.testing.simulated_site import HOST, PORT, Head, Lost, SimulatedSite, Visit

PAUSES_S = (0.0, 0.001, 0.3, 1.0, 20.0)

#: Bytes of an event. Some of the largest fill every buffer between a handler and a reader that reads nothing.
SIZES = (0, 0, 10, 5_000, 200_000)

CALM_WEATHERS = (FAIR, Weather(late=0.3, split=0.2))
WEATHERS = (*CALM_WEATHERS, FOUL, replace(FOUL, half_open=0.05, stall=0.1))

#: How streams come to their connections; see `SimulatedSite`.
PATHS = ("direct", "direct", "portable", "waiting")
STORES = (
    CALM,
    Faults(store_delay=0.3, crash=0.02),
    Faults(store_delay=0.3, store_refuses=0.1, store_forgets_to_answer=0.1, crash=0.05),
)

SETTINGS = {"cancel_grace_s": 2.0, "grace_s": 4.0, "send_timeout_s": 10.0, "max_running": 3}

#: Who has tried so often in vain has found a bug.
TRIES_MAX = 80

#: A life has some hundred steps.
STEPS_MAX = 100_000

#: Made once: loading certificates takes longer than many lives.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

#: Answers of a server that cannot do it now: come again.
LATER = frozenset({429, 503})


@task
async def reported(ctx: TaskContext, pauses: list[float], sizes: list[int]) -> str:
    """A crash ends it."""
    return await _work(ctx, pauses, sizes)


@task(on_interrupt="restart", attempts_max=5)
async def restarted(ctx: TaskContext, pauses: list[float], sizes: list[int]) -> str:
    """After a crash it begins again."""
    return await _work(ctx, pauses, sizes)


async def _work(ctx: TaskContext, pauses: list[float], sizes: list[int]) -> str:
    for number, (pause_s, size) in enumerate(zip(pauses, sizes, strict=True)):
        await ctx.emit("tick", {"n": number, "filling": "x" * size})
        await asyncio.sleep(pause_s)
    return "done"


#: The last line of a stream whose log goes on.
_PARTING = re.compile(rb"retry: [0-9]+\n")


class Acting(Protocol):
    """A client."""

    async def act(self) -> None:
        """Do what it has come for."""


class Stack:
    """One run.

    Args:
        world: where it is played.

    Attributes:
        tasks: ids of the tasks that were acknowledged to a client.
        calm: no connection breaks, as long as no process is killed.
        site: of the process that is up, or was last.
    """

    def __init__(self, world: World) -> None:
        assert isinstance(world.loop, SimulatedLoop)
        self.world = world
        self.tasks: dict[str, None] = {}
        self.chance = world.stream("life")
        self.network = world.network
        weather = self.chance.draw(WEATHERS)
        self.network.turn(weather)
        self._path = world.stream("path").draw(PATHS)
        self.site: SimulatedSite | None = None
        self._over = asyncio.Event()
        self._settings: dict[str, Any] = {
            **SETTINGS,
            "window_events_max": self.chance.draw((1024, 4, 1)),
            "keepalive_s": self.chance.draw((15.0, 3.0)),
        }
        world.faults = self.chance.draw(STORES)
        self.calm = weather in CALM_WEATHERS and not world.faults.crash

    @property
    def closed(self) -> bool:
        """Whether the process that is up, or was last, may take in nothing new any more."""
        return self.site is not None and self.site.closed

    async def play(self, clients: Sequence[Acting]) -> None:
        """Processes come and go until all clients have what they want."""
        acting = asyncio.create_task(_all(clients))
        for _ in range(self.chance.pick(3)):
            await self._live(self.chance.draw((5.0, 0.3, 1.0, 30.0)))
            await self.world.sometime(self.chance)
        self.network.turn(FAIR)
        self.world.faults = CALM
        last = asyncio.create_task(self._live(math.inf))
        await asyncio.wait({acting, last}, return_when=asyncio.FIRST_COMPLETED)
        self._over.set()
        if not acting.done():
            await last  # it says why it has ended
        await acting
        await last

    async def _live(self, seconds: float) -> None:
        """One process: it ends by a crash, or by a drain."""
        instance = self.world.instance([reported, restarted], mortal=True, **self._settings)
        site = self.site = SimulatedSite(self.network, instance, settings_of(**self._settings), self._path)
        try:
            async with instance:
                await site.open()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if seconds == math.inf else seconds):
                        await instance.ask(self._over.wait())
                if seconds < math.inf and self.chance.happens(0.4):
                    self.chance.note("the instance is killed")
                    self.calm = False
                    instance.kill()
                    raise Killed
                instance.store.steady = True
                await site.drain()
                self._check_empty(
                    site, {**leftovers(instance.coordinator), "asyncio tasks": _tasks_of(instance.number)}
                )
        except Killed:
            if hasattr(site, "application"):
                site.bury()
        for complaint in site.complaints.errors:
            self.world.must(False, f"uvicorn says: {complaint}")

    def _check_empty(self, site: SimulatedSite, held: dict[str, object]) -> None:
        for table, content in {**site.leftovers(), **held}.items():
            self.world.must(not content, f"{table} is left after the drain: {content!r:.200}")


def _tasks_of(process: int) -> list[str]:
    """What a process still runs that is not to live as long as itself, and is not being cancelled."""
    own = [each for each in asyncio.all_tasks() if getattr(each, "process", 0) == process]
    names = [each.get_name() for each in own if not each.cancelling()]
    return [name for name in names if name.startswith("streaming-") and name not in RESIDENT]


class Client:
    """Somebody who starts a task, watches it with some others, and may cancel it."""

    def __init__(self, stack: Stack, number: int) -> None:
        self._stack = stack
        self._world = stack.world
        self._number = number
        self._chance = stack.world.stream(f"client-{number}")

    async def act(self) -> None:
        await self._world.sometime(self._chance)
        task_id = await self._start()
        readers = [WebReader(self._stack, task_id, f"reader-{self._number}-{each}") for each in range(2)]
        self._world.readers.extend(readers)  # type: ignore[arg-type]  # it is asked for its problems only
        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reader.follow(), name=reader.name)
            if self._chance.happens(0.3):
                self._chance.note("the task is cancelled")
                group.create_task(self._cancel(task_id), name=f"canceller-{self._number}")
        head, body = await self._insist("GET", f"/tasks/{task_id}")
        self._world.must(head.status == 200 and json.loads(body)["status"] in TERMINAL, "a task that is over looks so")

    async def _start(self) -> str:
        """The same request again, until there is an answer: it starts one task."""
        type, params = _wish(self._chance)
        body = {"type": type, "params": params}
        head, answer = await self._insist("POST", "/tasks", body, Idempotency_Key=f"client {self._number}")
        assert head.status in (200, 201), f"a start is answered with {head.status} {answer!r:.200}"
        task_id: str = json.loads(answer)["id"]
        self._world.must((task_id, 1) in self._world.disk.events, "a start that was acknowledged is stored")
        self._stack.tasks[task_id] = None
        return task_id

    async def _cancel(self, task_id: str) -> None:
        await self._world.sometime(self._chance)
        head, body = await self._insist("POST", f"/tasks/{task_id}/cancel", {"reason": "enough"})
        self._world.must(head.status in (200, 202, 409), f"a cancel is answered with {head.status} {body!r:.200}")
        if head.status == 202:
            events = [event.type for event in self._world.disk.log(task_id)]
            self._world.must({"cancel_requested", *TERMINAL} & set(events), "a cancel that was acknowledged is stored")

    async def _insist(self, method: str, path: str, body: object = None, **headers: str) -> tuple[Head, bytes]:
        """Ask until there is an answer that is no excuse."""
        visit: Visit | None = None
        for _ in range(TRIES_MAX):
            try:
                visit = visit or await Visit.begin()
                drained = self._stack.closed
                head = await visit.ask(method, path, body, **headers)
                answer = await visit.body(head)
            except Lost:
                if visit is not None:
                    visit.leave()
                visit = None
            else:
                self._world.must(head.status != 500, f"{method} {path} is answered with 500")
                self._world.must(head.status != 201 or not drained, "a server that drains starts a task")
                if head.status not in LATER and head.status != 500:
                    visit.leave()
                    return head, answer
                self._world.must("retry-after" in head.headers, f"{head.status} without a time to come again")
            await asyncio.sleep(1 + self._chance.pick(2))
        raise AssertionError(f"{method} {path} was asked {TRIES_MAX} times in vain")


async def _all(clients: Sequence[Acting]) -> None:
    async with asyncio.TaskGroup() as group:
        for number, client in enumerate(clients):
            group.create_task(client.act(), name=f"client-{number}")


class WebReader:
    """Somebody who watches a task over the network, leaves and comes back, and remembers every byte."""

    def __init__(self, stack: Stack, task_id: str, name: str) -> None:
        self.name = name
        self._task_id = task_id
        self._stack = stack
        self._world = stack.world
        self._chance = stack.world.stream(name)
        self._seen: list[tuple[int, bytes]] = []
        self._early: list[int] = []
        self._problems: list[str] = []
        self._ended = self._slow = False
        self._tries = 0

    async def follow(self) -> None:
        """Until the end of the log."""
        await self._world.sometime(self._chance)
        while not self._ended:
            self._tries += 1
            if self._tries > TRIES_MAX:
                raise AssertionError(f"{self.name} came {TRIES_MAX} times in vain")
            visit: Visit | None = None
            try:
                visit = await Visit.begin()
                again_s = await self._read(visit, self._stack.site)
            except Lost:
                self._must(not self._left_open(), "a stream is not ended behind its log")
                again_s = 1.0
            finally:
                if visit is not None:
                    visit.leave()
            if not self._ended:
                await asyncio.sleep(again_s + self._chance.pick(2))

    async def _read(self, visit: Visit, site: SimulatedSite | None) -> float:
        """One stream; seconds after which to come again."""
        resumed = {"Last_Event_ID": str(self._seen[-1][0])} if self._seen else {}
        head = await visit.ask("GET", f"/tasks/{self._task_id}/events", Accept="text/event-stream", **resumed)
        if head.status == 204:
            self._ended = True
            return 0
        if head.status != 200:
            self._must(head.status in LATER, f"it is answered with {head.status} {await visit.body(head)!r:.200}")
            return 1
        self._must(head.headers["content-type"].startswith("text/event-stream"), "it gets no stream")
        first, held, stays = True, b"", self._chance.draw((1 << 30, 1, 3))
        async for chunk in visit.chunks():
            *blocks, held = _blocks(held + chunk)
            for block in blocks:
                first = self._take(block, first)
            stays -= 1
            if not stays:
                return 0  # it leaves in the middle
            if self._chance.happens(0.1):
                self._chance.note("a reader is slow")
                self._slow = True
                await asyncio.sleep(self._chance.draw((0.2, 5.0, 30.0)))
        parted = _PARTING.fullmatch(held) is not None and not self._ended
        self._must(parted or not held, f"a stream ends in the middle of a block: {held[:80]!r}")
        self._must(parted or self._ended, "a stream whose log goes on ends without a word of when to come back")
        self._must(self._ended or (site and site.draining), "a stream ends before its log, and no server drains")
        return 1

    def _left_open(self) -> bool:
        """Whether the log has ended, and nothing was in the way of the end of the stream."""
        return self._ended and self._stack.calm and not self._slow

    def _take(self, block: bytes, first: bool) -> bool:
        """A block of a stream; whether the first event is still to come."""
        if block == KEEPALIVE:
            return first
        if first:
            self._must(block.startswith(RETRY), "a stream does not begin with the time to come again")
            block = block.removeprefix(RETRY)
        self._must(not self._ended, f"something follows the terminal event: {block[:80]!r}")
        seq = int(block[4 : block.index(b"\n")])
        stored: Event | None = self._world.disk.events.get((self._task_id, seq))
        if stored is None:
            self._early.append(seq)
        else:
            self._must(frame(stored) == block, f"event {seq} has other bytes than those stored")
            self._ended = stored.type in TERMINAL
        self._seen.append((seq, block))
        self._tries = 0
        return False

    def _must(self, holds: object, words: str) -> None:
        if not holds:
            self._problems.append(f"{self.name}: {words}")

    def problems(self) -> list[str]:
        """What must not be of what it has seen."""
        evidence = ReaderEvidence(
            task_id=self._task_id,
            seen=self._seen,
            log=[(event.seq, frame(event)) for event in self._world.disk.log(self._task_id)],
            early=self._early,
            to_the_end=self._ended,
        )
        return [*self._problems, *(f"{self.name}: {violation}" for violation in check_reader(evidence))]


def _blocks(data: bytes) -> list[bytes]:
    """The whole blocks of a stream, and what is left; a keepalive is a line of its own."""
    found: list[bytes] = []
    while True:
        if data.startswith(KEEPALIVE):
            end = len(KEEPALIVE)
        else:
            end = data.find(b"\n\n") + 2
            if end < 2:
                return [*found, data]
        found.append(data[:end])
        data = data[end:]


class LibraryClient:
    """Somebody who uses the package's own client, which resumes and repeats by itself."""

    def __init__(self, stack: Stack, number: int) -> None:
        self._stack = stack
        self._world = stack.world
        self._number = number
        self._chance = stack.world.stream(f"client-{number}")

    async def act(self) -> None:
        patience = Patience(give_up_s=1000, retry_s=1000, clock=self._world.loop.time, chance=self._chance.fraction)
        await self._world.sometime(self._chance)
        async with library.Client(f"http://{HOST}:{PORT}", patience=patience) as client:
            record = await client.start(*_wish(self._chance), idempotency_key=f"client {self._number}")
            self._world.must((record.id, 1) in self._world.disk.events, "a start that was acknowledged is stored")
            self._stack.tasks[record.id] = None
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch(client, record.id))
                if self._chance.happens(0.3):
                    self._chance.note("the task is cancelled")
                    group.create_task(self._cancel(client, record.id))
            ended = await client.get(record.id, wait_s=self._chance.draw((0, 100)))
            self._world.must(ended.status in TERMINAL, "a task that is over looks so")

    async def _watch(self, client: library.Client, task_id: str) -> None:
        seen = []
        async with contextlib.aclosing(client.watch(task_id)) as events:
            async for event in events:
                stored = self._world.disk.events.get((task_id, event.seq))
                self._world.must(stored == event, f"event {event.seq} is not what is stored")
                seen.append(event.seq)
        log = [event.seq for event in self._world.disk.log(task_id)]
        self._world.must(seen == log, f"the client has seen {seen} of {log}")

    async def _cancel(self, client: library.Client, task_id: str) -> None:
        await self._world.sometime(self._chance)
        with contextlib.suppress(TaskTerminal):
            record = await client.cancel(task_id, wait_s=self._chance.draw((0, 5)))
            self._world.must(record.cancel, "a cancel that was acknowledged has its receipt")


def _wish(chance: Stream) -> tuple[str, dict[str, Any]]:
    """A type, and parameters."""
    emits = chance.pick(6)
    pauses, sizes = ([chance.draw(each) for _ in range(emits)] for each in (PAUSES_S, SIZES))
    return chance.draw(("reported", "restarted")), {"pauses": pauses, "sizes": sizes}


async def web_scenario(world: World) -> None:
    """Play one life of clients that speak HTTP by hand; the world looks at the rest."""
    await _play(Stack(world), Client)


async def client_scenario(world: World) -> None:
    """Play one life of clients that use the package's own."""
    with mock.patch.object(httpx._transports.default, "create_ssl_context", return_value=NO_TLS):
        await _play(Stack(world), LibraryClient)


async def _play(stack: Stack, kind: Callable[[Stack, int], Acting]) -> None:
    world = stack.world
    world.loop.steps_max = STEPS_MAX
    await stack.play([kind(stack, number) for number in range(1 + stack.chance.pick(2))])
    for task_id in stack.tasks:
        record = next((each for each in world.disk.records() if each.id == task_id), None)
        world.must(record is not None and record.status in TERMINAL, "a task that was acknowledged has come to an end")
    world.must(len(world.disk.records()) == len(stack.tasks), "a start that is repeated starts one task")
    for context in world.loop.complaints:
        world.must(False, f"the loop complains: {context['message']} {context.get('exception')!r}")
