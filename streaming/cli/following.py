"""Start a task and stay with it: what Ctrl-C means, and which exit status the end has.

Rules of this file:

- Ctrl-C in ``run`` is a wish to cancel the task, and waits for the receipt. The second one leaves the task to itself.
- In ``watch`` it leaves at once: looking at a task is no reason to end it. So it does in a ``run`` that has joined one.

Owns:   `follow`, and `Run`.
Uses:   client (the events), cli.displays (how they look).
Never:  cancels a task that was not started here, or may not have been.
"""

from __future__ import annotations

import asyncio
import math
import signal
from contextlib import aclosing
from typing import Any, Unpack

from streaming.cli.displays import display
from streaming.cli.exits import Exit, discard_output
from streaming.cli.output import Output, hint, receipt_words, say
from streaming.client import Client, Started
from streaming.client.options import StartOptions
from streaming.errors import StreamingError, TaskTerminal
from streaming.events import Event
from streaming.records import TaskStatus
from streaming.rules.lifecycle import TERMINAL


async def follow(client: Client, task_id: str, *, after: int, output: Output, title: str) -> Exit:
    """Show a task's events until its terminal one.

    Args:
        client: of the server.
        task_id: which task.
        after: seq of the last event that is not wanted any more.
        output: how.
        title: stands before a progress bar.

    Returns:
        The exit status that the end of the task has.
    """
    last: Event | None = None
    try:
        with display(output, title) as show:
            async with aclosing(client.watch(task_id, after=after, on_gap="yield")) as events:
                async for last in events:
                    show(last)
    except asyncio.CancelledError:
        hint(f"streaming watch {task_id} --after {last.seq if last else after} goes on here")
        raise
    if last is not None and last.type in TERMINAL:
        return _ended(task_id, last.type, last.data.get("error"))
    document = (await client.get(task_id)).as_json()
    return _ended(task_id, document["status"], document["error"])


def _ended(task_id: str, status: str, error: dict[str, Any] | None) -> Exit:
    if status == TaskStatus.COMPLETED:
        return Exit.OK
    reason = f": {error['message']}" if error else ""
    say(f"task {task_id} is {status}{reason}")
    hint(f"streaming show {task_id} says more; streaming retry {task_id} starts it once more")
    return Exit.TASK_FAILED


class Run:
    """One task that was started here, or joined, with Ctrl-C at hand.

    Args:
        client: of the server.
        output: how events are shown.
    """

    def __init__(self, client: Client, output: Output) -> None:
        self._client = client
        self._output = output
        self._task_id = ""
        self._joined = False
        self._interrupts = 0
        self._cancelling: asyncio.Task[None] | None = None

    async def run(self, type: str, params: dict[str, Any], **options: Unpack[StartOptions]) -> Exit:
        """Start the task and follow it; see `Client.start` for the arguments."""
        story = asyncio.create_task(self._tell(type, params, options))
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupted, story)
        try:
            return await story
        except asyncio.CancelledError:
            return self._left()

    async def _tell(self, type: str, params: dict[str, Any], options: StartOptions) -> Exit:
        task_id = self._started(await self._client.start_or_join(type, params, **options))
        if self._joined and self._interrupts:
            return Exit.INTERRUPTED
        try:
            ended = await follow(self._client, task_id, after=0, output=self._output, title=type)
        except BrokenPipeError:
            if self._cancelling is None:
                self._left()
                raise
            discard_output()  # Ctrl-C has ended the reader of a pipe as well; the receipt still counts
            await self._client.get(task_id, wait_s=math.inf)
            return await self._receipt(task_id)
        return ended if self._cancelling is None else await self._receipt(task_id)

    def _started(self, started: Started) -> str:
        self._task_id, self._joined = started.record.id, started.joined
        if self._joined:
            say(f"joined task {self._task_id}; Ctrl-C leaves it to itself")
            return self._task_id
        say(f"started task {self._task_id}")
        hint(f"Ctrl-C cancels it; elsewhere: streaming watch {self._task_id}, streaming cancel {self._task_id}")
        if self._interrupts:
            self._begin_cancel(self._task_id)
        return self._task_id

    def _interrupted(self, story: asyncio.Task[Exit]) -> None:
        self._interrupts += 1
        if self._interrupts > 1 or self._joined:
            story.cancel()
        elif self._task_id:
            self._begin_cancel(self._task_id)
        else:
            say("the task is being started and will be cancelled then, if it is new; Ctrl-C again leaves it to itself")

    def _begin_cancel(self, task_id: str) -> None:
        say(f"cancelling task {task_id}; Ctrl-C again leaves it to itself")
        self._cancelling = asyncio.create_task(self._cancel(task_id))

    async def _cancel(self, task_id: str) -> None:
        try:
            await self._client.cancel(task_id, reason="Ctrl-C")
        except TaskTerminal:
            pass  # it was faster; the log says so in a moment
        except StreamingError as error:
            say(f"task {task_id} was not cancelled: {error.detail}")

    async def _receipt(self, task_id: str) -> Exit:
        receipt = (await self._client.get(task_id)).cancel
        say(receipt_words(receipt) if receipt else f"task {task_id} ended before it could be cancelled")
        return Exit.INTERRUPTED

    def _left(self) -> Exit:
        if self._joined:
            return Exit.INTERRUPTED  # that it stays was said when it was joined
        known = f"task {self._task_id} is left to itself" if self._task_id else "the task may have been started"
        say(f"{known}; nobody here watches it any more")
        return Exit.INTERRUPTED
