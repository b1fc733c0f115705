"""Processes that attack a server while it is measured.

Owns:   their start, on a core that is not the server's; their end, and what they say then; what all of them are as
        programs: arguments, loop, how one hears that it is to end, and says what it has done.
Never:  is one itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import uvloop

from benchmarks import machine
from benchmarks.figure import Flaw

#: Seconds in which an attacker is connected, and in which it says what it has done.
READY_S, SAY_S = 60.0, 20.0

#: Whoever measures on the same core goes first.
NICE = 10


class Attacker:
    """One process that attacks.

    Attributes:
        said: what it has done, once it has ended.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.said: dict[str, Any] = {}
        self._process = process

    async def ready(self) -> None:
        """Wait until it attacks.

        Raises:
            Flaw: it does not.
        """
        if await self._line(READY_S) != b"ready\n":
            raise Flaw("an attacker has not begun")

    async def end(self) -> None:
        """Let it end, and hear what it has done.

        Raises:
            Flaw: it says nothing.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self.said = json.loads(await self._line(SAY_S))
        except ValueError:
            raise Flaw("an attacker has not said what it has done") from None

    async def kill(self) -> None:
        """End it, if it has not ended."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _line(self, within_s: float) -> bytes:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(within_s):
                return await self._process.stdout.readline()
        except TimeoutError:
            return b""


def parser_of(name: str, *, connections: int) -> argparse.ArgumentParser:
    """The arguments that all attackers have.

    Args:
        name: of the module, in this package.
        connections: what it has without that argument.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.security_figures.{name}")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=connections)
    parser.add_argument("--sources", type=int, default=1, help="addresses from which they come")
    parser.add_argument("--nice", type=int, default=NICE, help="whoever measures on the same core goes first")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def words_of(options: Mapping[str, object]) -> list[str]:
    """The command line with these options; a value may begin with a hyphen, as one key in 64 does."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


def sources_of(given: argparse.Namespace) -> list[str]:
    """The addresses from which an attacker comes."""
    return [f"127.0.1.{number}" for number in range(1, given.sources + 1)]


def be(attack: Callable[[argparse.Namespace], Awaitable[object]], parser: argparse.ArgumentParser) -> None:
    """Be an attacker, and say in the end what it has done: one line of JSON.

    Args:
        attack: ends when it is told to, and returns what it says.
        parser: of its command line.
    """
    given = parser.parse_args()
    os.nice(given.nice)
    machine.raise_limit_of_files()

    async def to_the_end() -> object:
        return await attack(given)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(to_the_end())), flush=True)


def until_told() -> asyncio.Future[object]:
    """Is done when whoever has started this process wants to hear what it has done."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[object] = loop.create_future()
    loop.add_reader(sys.stdin, _tell, loop, told)
    return told


def _tell(loop: asyncio.AbstractEventLoop, told: asyncio.Future[object]) -> None:
    loop.remove_reader(sys.stdin)
    told.set_result(None)


@asynccontextmanager
async def attacked(module: str, **options: object) -> AsyncIterator[Attacker]:
    """Attack a server; the attack is over with the block.

    Args:
        module: of this package, which is the attacker.
        options: of its command line.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"benchmarks.security_figures.{module}", *words_of(options)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    attacker = Attacker(process)
    try:
        await attacker.ready()
        yield attacker
        await attacker.end()
    finally:
        await attacker.kill()
