"""Run the operator's commands.

Owns:   the task type ``command``: its environment, its limits, its events and its result.
Uses:   tasks.template (which argument vectors may be run), tasks.program (the process and its limits), tasks.lines
        (lines of text), rules.drain (how long a stop may take).
Never:  runs anything that a client has put together, or hands the server's environment on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable
from types import MappingProxyType
from typing import Annotated, Any, NoReturn

from pydantic import Field

from streaming.config import Settings
from streaming.engine.context import TaskContext
from streaming.engine.registry import task
from streaming.errors import HandlerError
from streaming.rules.drain import plan_drain
from streaming.tasks.background import finish
from streaming.tasks.lines import Line, LineCutter
from streaming.tasks.program import GRACE_S, LINGER_S, Limits, Program
from streaming.tasks.template import VALUE_LENGTH_MAX, VALUES_MAX, Template, read_commands

#: All that a program inherits; ``HOME`` and ``TMPDIR`` are its own directory. The rest may hold the server's secrets.
ENVIRONMENT = ("PATH", "LANG")

#: Telling a line may take no time at all; after so many the loop gets its turn.
LINES_PER_TURN = 64

#: What a signal says about a limit.
_LIMITS = MappingProxyType(
    {signal.SIGXCPU: "STREAMING_COMMAND_CPU_S", signal.SIGXFSZ: "STREAMING_COMMAND_FILE_BYTES_MAX"}
)

Name = Annotated[str, Field(min_length=1, max_length=200, description="One of the operator's commands.")]
Value = Annotated[str, Field(max_length=VALUE_LENGTH_MAX, pattern=r"^[^\x00]*$")]
Values = Annotated[dict[str, Value], Field(max_length=VALUES_MAX, description="What stands in the command's places.")]


def command(settings: Settings, *, grace_s: float | None = None, linger_s: float = LINGER_S) -> Callable[..., Any]:
    """Build the handler of ``command``.

    Args:
        settings: its ``commands`` and ``command_...`` are used, and its graces.
        grace_s: see `Program`; None takes what a server that stops has time for.
        linger_s: see `Program`.

    Raises:
        InvalidSettings: a command cannot be one.
    """
    commands = read_commands(settings.commands)
    limits = Limits(
        cpu_s=settings.command_cpu_s,
        memory_bytes=settings.command_memory_bytes_max,
        file_bytes=settings.command_file_bytes_max,
        files=settings.command_files_max,
    )
    seconds = grace_for(settings) if grace_s is None else grace_s

    @task("command")
    async def run(ctx: TaskContext, name: Name, values: Values | None = None) -> dict[str, int]:
        """Run one of the commands that the operator has listed by name, with everything it starts.

        Emits ``stdout`` and ``stderr`` for each line; a long line comes in pieces marked ``more``. A cancel, like
        the end of the program, ends everything that the program has started.

        Returns:
            ``{"exit_status": 0}``; any other status is a failure.
        """
        argv = _chosen(commands, name).fill(values or {})
        environment = {key: os.environ[key] for key in ENVIRONMENT if key in os.environ}
        program = Program(
            argv, environment, limits=limits, folders=settings.command_dir, grace_s=seconds, linger_s=linger_s
        )
        transcript = _Transcript(ctx, program, settings.command_output_bytes_max, settings.command_lines_max)
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


def _chosen(commands: dict[str, Template], name: str) -> Template:
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
        known = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    return f"{known.name}, the limit of {_LIMITS[known]}" if known in _LIMITS else known.name


class _Transcript:
    """Tells what a program writes, line by line: no line twice, and none left out, a cancel in between or not.

    What is over a limit is an exception to this: it is told up to there, and the rest is not.
    """

    def __init__(self, ctx: TaskContext, program: Program, bytes_max: int, lines_max: int) -> None:
        self._ctx = ctx
        self._program = program
        self._bytes_left = bytes_max
        self._lines_left = lines_max
        self._full = False
        self._cutters = {"stdout": LineCutter(), "stderr": LineCutter()}
        self._pending: deque[tuple[str, Line]] = deque()
        self._told = 0

    async def follow(self) -> None:
        """Tell until the program has ended.

        Raises:
            HandlerError: ``output_too_large``.
        """
        while (chunk := await self._program.read()) is not None:
            await self._tell(*chunk)

    async def finish(self, cancelled_s: float) -> None:
        """Tell what is left: a program's last words are often the most useful ones.

        A task that is cancelled tries for so many seconds: the store may be away, and somebody waits for the stop.

        Raises:
            HandlerError: ``output_too_large``.
        """
        if self._full:
            return
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
        told, self._bytes_left = data[: self._bytes_left], self._bytes_left - len(data)
        self._pending.extend((stream, line) for line in self._cutters[stream].feed(told))
        await self._tell_pending()
        if self._bytes_left < 0:
            self._refuse("bytes", "STREAMING_COMMAND_OUTPUT_BYTES_MAX")

    def _refuse(self, what: str, setting: str) -> NoReturn:
        self._full = True
        raise HandlerError("output_too_large", f"The program has written more {what} than {setting} allows.")

    async def _tell_pending(self) -> None:
        while self._pending:
            if not self._lines_left:
                self._refuse("lines", "STREAMING_COMMAND_LINES_MAX")
            stream, line = self._pending[0]
            await self._ctx.emit(stream, line.as_json())
            self._pending.popleft()
            self._lines_left -= 1
            self._told += 1
            if self._told % LINES_PER_TURN == 0:
                await asyncio.sleep(0)
