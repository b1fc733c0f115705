"""Run the operator's commands.

Owns:   the task type ``command``: which argument vectors may be run, their events and their result.
Uses:   tasks.program (the process group), tasks.lines (lines of text), rules.drain (how long a stop may take).
Never:  runs anything that a client has put together, or hands the server's environment on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from collections import deque
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from streaming.config import Settings
from streaming.engine.context import TaskContext
from streaming.engine.registry import task
from streaming.errors import HandlerError
from streaming.rules.drain import plan_drain
from streaming.tasks.background import finish
from streaming.tasks.lines import Line, LineCutter
from streaming.tasks.program import GRACE_S, LINGER_S, Program

#: All that a program inherits. The rest may hold the server's secrets.
ENVIRONMENT = ("PATH", "HOME", "LANG", "TMPDIR")

#: Telling a line may take no time at all; after so many the loop gets its turn.
LINES_PER_TURN = 64

Name = Annotated[str, Field(min_length=1, max_length=200, description="One of the operator's commands.")]


def command(settings: Settings, *, grace_s: float | None = None, linger_s: float = LINGER_S) -> Callable[..., Any]:
    """Build the handler of ``command``.

    Args:
        settings: its ``commands`` are used, and its graces.
        grace_s: see `Program`; None takes what a server that stops has time for.
        linger_s: see `Program`.
    """
    commands = {name: shlex.split(line) for name, line in settings.commands.items()}
    seconds = grace_for(settings) if grace_s is None else grace_s

    @task("command")
    async def run(ctx: TaskContext, name: Name) -> dict[str, int]:
        """Run one of the commands that the operator has listed by name, with everything it starts.

        Emits ``stdout`` and ``stderr`` for each line; a long line comes in pieces marked ``more``. A cancel, like
        the end of the program, ends the whole process group.

        Returns:
            ``{"exit_status": 0}``; any other status is a failure.
        """
        argv = _chosen(commands, name)
        environment = {key: os.environ[key] for key in ENVIRONMENT if key in os.environ}
        program = Program(argv, environment, grace_s=seconds, linger_s=linger_s)
        transcript = _Transcript(ctx, program)
        try:
            try:
                await _start(program, name)
                await transcript.follow()
            finally:
                status = await finish(program.end())
        finally:
            await transcript.finish(seconds / 2)  # both together leave some of the time for everything else
        return {"exit_status": _judged(status, name)}

    return run


def grace_for(settings: Settings) -> float:
    """Seconds between TERM and KILL: at most half of what a handler has when the server stops."""
    return min(GRACE_S, plan_drain(settings.grace_s, settings.cancel_grace_s).stop_s / 2)


def _chosen(commands: dict[str, list[str]], name: str) -> list[str]:
    if not commands:
        raise HandlerError(
            "not_configured", "This server runs no commands: the operator has to list them in STREAMING_COMMANDS."
        )
    if name not in commands:
        raise HandlerError("unknown_command", f"There is no command {name!r}; possible: {', '.join(sorted(commands))}.")
    return commands[name]


async def _start(program: Program, name: str) -> None:
    try:
        await program.start()
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "its name is not valid"
        raise HandlerError("command_not_started", f"The program of {name!r} cannot be started: {reason}.") from error


def _judged(status: int | None, name: str) -> int:
    if status == 0:
        return status
    if status is None or status > 0:
        raise HandlerError("command_failed", f"The command {name!r} ended with exit status {status}.")
    raise HandlerError("command_failed", f"The command {name!r} was ended by {_signal_name(-status)}.")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _Transcript:
    """Tells what a program writes, line by line: no line twice, and none left out, a cancel in between or not."""

    def __init__(self, ctx: TaskContext, program: Program) -> None:
        self._ctx = ctx
        self._program = program
        self._cutters = {"stdout": LineCutter(), "stderr": LineCutter()}
        self._pending: deque[tuple[str, Line]] = deque()
        self._told = 0

    async def follow(self) -> None:
        """Tell until the program has ended."""
        while (chunk := await self._program.read()) is not None:
            await self._tell(*chunk)

    async def finish(self, cancelled_s: float) -> None:
        """Tell what is left: a program's last words are often the most useful ones.

        A task that is cancelled tries for so many seconds: the store may be away, and somebody waits for the stop.
        """
        task = asyncio.current_task()
        cancelled = task is not None and task.cancelling() > 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(cancelled_s if cancelled else None):
                await self._tell_rest()

    async def _tell_rest(self) -> None:
        while (chunk := self._program.take()) is not None:
            await self._tell(*chunk)
        for stream, cutter in self._cutters.items():
            self._pending.extend((stream, line) for line in cutter.end())
        await self._tell_pending()

    async def _tell(self, stream: str, data: bytes) -> None:
        self._pending.extend((stream, line) for line in self._cutters[stream].feed(data))
        await self._tell_pending()

    async def _tell_pending(self) -> None:
        while self._pending:
            stream, line = self._pending[0]
            await self._ctx.emit(stream, line.as_json())
            self._pending.popleft()
            self._told += 1
            if self._told % LINES_PER_TURN == 0:
                await asyncio.sleep(0)
