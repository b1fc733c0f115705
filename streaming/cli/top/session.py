"""``streaming top`` at work: the feed, the list, the keys and the screen beside each other.

Rules of this file:

- The feed says when to ask again. Where nothing happens nothing is asked but, now and then, whether the server is
  ready.
- What cannot be reached is said on the screen, with what is shown there left as it was.
- The terminal is as it was on every way out.

Owns:   `Session`.
Uses:   client, cli.keyboard, cli.top.view (what keys do), cli.top.tasks (what events say), cli.top.screen (how it
        looks).
Never:  decides what a key does or how a task looks.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Coroutine, Mapping
from contextlib import aclosing
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleDimensions
from rich.live import Live

from streaming.cli.exits import Exit
from streaming.cli.keyboard import keyboard
from streaming.cli.output import receipt_words, say
from streaming.cli.table import Look
from streaming.cli.top.screen import Shown, draw, page_of
from streaming.cli.top.tasks import Rate, after_event, matches, stale
from streaming.cli.top.view import Action, Verb, View, press
from streaming.errors import BadCursor, Draining, StoreUnavailable, StreamingError
from streaming.records import Record

if TYPE_CHECKING:
    from streaming.client import Client
    from streaming.events import Event

#: The list is asked for again so often at most.
REFRESH_S = 1.0

#: Ages and ETAs move on so often, and this is how quickly a screen is drawn again at most.
TICK_S = 1.0
FRAME_S = 0.1

#: Where nothing happens, the server is asked so often whether it is ready.
READY_S = 10.0

#: Events of an opened task that are kept, and shown from the past.
EVENTS_MAX = 1000


class Matter(Enum):
    """What is wrong."""

    NONE = "nothing"
    CONTACT = "the server does not answer; it passes by itself"
    REFUSAL = "something was refused; it was seen with the next key"


class Session:
    """One sitting.

    Args:
        client: of the server; its pauses call `pause`.
        filters: which tasks.
        sort: in which order.
        limit: how many at most.
        url: of the server, for the screen.
    """

    def __init__(self, client: Client, filters: Mapping[str, str], sort: str | None, limit: int, url: str) -> None:
        self._client = client
        self._filters, self._sort, self._limit, self._url = filters, sort, limit, url
        self._view = View()
        self._records: dict[str, Record] = {}
        self._counts: dict[str, int] = {}
        self._events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._rate = Rate()
        self._store = ""
        self._notice, self._matter = "", Matter.NONE
        self._stale = asyncio.Event()
        self._left: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._live: Live | None = None
        self._drawing: asyncio.TimerHandle | None = None

    async def run(self) -> Exit:
        """Show the screen until somebody leaves.

        Returns:
            The exit status.

        Raises:
            StreamingError: the server does not let this caller look, or there was none at the beginning.
        """
        await self._list()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._leave, Exit.INTERRUPTED)
        loop.add_signal_handler(signal.SIGTERM, self._leave, Exit.TERMINATED)
        loop.add_signal_handler(signal.SIGWINCH, self._draw_soon)
        console = Console(highlight=False)
        try:
            with Live(
                console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            ) as live:
                self._live = live
                self._draw()
                with keyboard(self._press):
                    return await self._until_left()
        finally:
            self._live = None
            if self._drawing is not None:
                self._drawing.cancel()

    async def pause(self, seconds: float) -> None:
        """Wait until the next try, and say so."""
        self._say(f"no contact; trying again in {seconds:.0f} s", Matter.CONTACT)
        await asyncio.sleep(seconds)

    # -- what goes on beside each other ----------------------------------------------------------------------------

    async def _until_left(self) -> Exit:
        """Until somebody leaves, or one of the loops fails."""
        loops: set[asyncio.Future[Any]] = {
            asyncio.ensure_future(loop) for loop in (self._follow(), self._refresh(), self._tick(), self._watch_over())
        }
        try:
            await asyncio.wait({*loops, self._left}, return_when=asyncio.FIRST_COMPLETED)
            for loop in loops:
                if loop.done():
                    loop.result()
            return self._left.result()
        finally:
            rest = {*loops, *self._background, *([self._reading] if self._reading else [])}
            for each in rest:
                each.cancel()
            await asyncio.wait(rest)

    async def _follow(self) -> None:
        """Take what the feed says, from now on."""
        while True:
            try:
                async with aclosing(self._client.feed(tail=0, on_open=self._connected)) as feed:
                    async for item in feed:
                        self._take(item.event)
            except BadCursor:
                self._say("the server has another store now")

    async def _refresh(self) -> None:
        """Ask for the list again where it may be another one."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            if not self._view.paused:
                try:
                    await self._list()
                except StreamingError as error:
                    self._say(error.detail, Matter.CONTACT)
                    self._stale.set()
            await asyncio.sleep(REFRESH_S)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._draw_soon()

    async def _watch_over(self) -> None:
        """Ask whether the server is ready."""
        while True:
            try:
                await self._client.ready()
                self._store = "ready"
            except (Draining, StoreUnavailable) as error:
                self._store = error.code.replace("_", " ")
            except StreamingError:
                self._store = ""  # what is the matter is said by who needs an answer
            self._draw_soon()
            await asyncio.sleep(READY_S)

    # -- what comes in ---------------------------------------------------------------------------------------------

    def _connected(self) -> None:
        """A connection stands: what has happened before is only in the list."""
        if self._matter is Matter.CONTACT:
            self._say("connected again")
        self._stale.set()

    def _take(self, event: Event) -> None:
        self._rate.count(asyncio.get_running_loop().time())
        if self._view.paused:
            return
        if stale(self._records, event):
            self._stale.set()
        known = self._records.get(event.task_id)
        if known is not None:
            self._records[event.task_id] = after_event(known, event)
            self._draw_soon()

    async def _list(self) -> None:
        found = self._client.tasks(self._filters, sort=self._sort, limit=self._limit)
        async with aclosing(found) as records:
            listed = {record.id: record async for record in records}
        counted = await self._client.count(group_by="status")
        if self._matter is Matter.CONTACT:
            self._say("")
        if self._view.paused:
            return
        # An event may have come while the answer was on its way.
        for task_id, record in listed.items():
            known = self._records.get(task_id)
            self._records[task_id] = known if known is not None and known.last_seq > record.last_seq else record
        self._records = {task_id: self._records[task_id] for task_id in listed}
        self._counts = {str(group.get("status")): int(group.get("count", 0)) for group in counted.groups}
        self._draw_soon()

    async def _read(self, task_id: str) -> None:
        """Follow the log of the opened task."""
        known = self._records.get(task_id)
        after = max(0, known.last_seq - EVENTS_MAX) if known is not None else 0
        try:
            async with aclosing(self._client.watch(task_id, after=after, on_gap="yield")) as events:
                async for event in events:
                    self._events.append(event)
                    if self._view.back:
                        self._view = _further_back(self._view)
                    self._draw_soon()
        except StreamingError as error:
            self._say(error.detail, Matter.REFUSAL)

    async def _cancel(self, task_id: str) -> None:
        try:
            receipt = (await self._client.cancel(task_id, reason="streaming top", wait_s=REFRESH_S)).cancel
        except StreamingError as error:
            self._say(error.detail, Matter.REFUSAL)
        else:
            self._say(receipt_words(receipt) if receipt else "it has ended")

    # -- what is typed ---------------------------------------------------------------------------------------------

    def _press(self, key: str) -> None:
        ids = [record.id for record in self._found()]
        self._view, action = press(self._view, key, ids, page_of(_size().lines))
        if self._matter is not Matter.CONTACT:
            self._say("")
        if action is not None:
            self._do(action)
        self._draw_soon()

    def _do(self, action: Action) -> None:
        match action.verb:
            case Verb.QUIT:
                self._leave(Exit.OK)
            case Verb.OPEN:
                self._close()
                self._reading = asyncio.ensure_future(self._read(action.task_id))
            case Verb.CLOSE:
                self._close()
            case Verb.CANCEL:
                self._say(f"cancelling {action.task_id}")
                self._begin(self._cancel(action.task_id))
            case Verb.REFRESH:
                self._stale.set()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._reading = None
        self._events.clear()

    def _leave(self, status: Exit) -> None:
        if not self._left.done():
            self._left.set_result(status)

    # -- what is seen ----------------------------------------------------------------------------------------------

    def _say(self, text: str, matter: Matter = Matter.NONE) -> None:
        if self._live is None:
            if text:
                say(text)
            return
        self._notice, self._matter = " ".join(text.split()), matter
        self._draw_soon()

    def _found(self) -> list[Record]:
        return [record for record in self._records.values() if matches(record, self._view.search)]

    def _draw_soon(self) -> None:
        """Draw, but not more often than anybody sees."""
        if self._live is not None and self._drawing is None:
            self._drawing = asyncio.get_running_loop().call_later(FRAME_S, self._draw)

    def _draw(self) -> None:
        self._drawing = None
        live = self._live
        if live is None:
            return
        size = _size()
        live.console.size = ConsoleDimensions(size.columns, size.lines)
        ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
        look = Look(size.columns, time.time(), ascii_only)
        live.update(draw(self._shown(), look, size.lines), refresh=True)

    def _shown(self) -> Shown:
        return Shown(
            view=self._view,
            records=self._found(),
            counts=self._counts,
            events=tuple(self._events),
            url=self._url,
            rate=self._rate.per_s(asyncio.get_running_loop().time()),
            store=self._store,
            notice=self._notice,
            trouble=self._matter is not Matter.NONE,
        )


def _further_back(view: View) -> View:
    """Who looks at the past goes on looking at the same events."""
    return replace(view, back=view.back + 1)


def _size() -> os.terminal_size:
    """The terminal as it is now, whatever the environment said once."""
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        size = os.terminal_size((80, 24))
    return size if size.columns and size.lines else os.terminal_size((80, 24))
