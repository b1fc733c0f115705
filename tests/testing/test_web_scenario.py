"""The whole stack lives through bad networks, crashes and drains; and what is broken on purpose is found."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from streaming.engine.starts import Starts
from streaming.rules.sse import KEEPALIVE
from streaming.testing.choices import Trace
from streaming.testing.explore import attempt, explore, replay
from streaming.testing.order import order_of
from streaming.testing.world import World
from streaming.web import events
from streaming.web.heartbeat import Beating, Heartbeat
from streaming.web.request import Request
from streaming.web.stream import Stream
from tests.testing.web_scenario import web_scenario

#: About how often one of several ready tasks is chosen in one life.
DECISIONS = 100


def test_the_whole_stack_keeps_its_promises_in_every_schedule() -> None:
    explored = explore(web_scenario, schedules=200, seed=1)

    assert explored.failure is None, explored.failure


def told(seed: int) -> str:
    """A life in one line: its choices, and all that was stored and seen."""
    worlds: list[World] = []

    async def scenario(world: World) -> None:
        worlds.append(world)
        await web_scenario(world)

    lived = attempt(scenario, seed, order_of("mixed", seed, DECISIONS))
    world = worlds[0]
    seen = [getattr(reader, "_seen", []) for reader in world.readers]
    stored = [(key, event) for key, event in world.disk.events.items()]
    digest = hashlib.sha256(repr((seen, stored, world.loop.time(), world.loop.steps)).encode()).hexdigest()
    return f"{lived.trace} {lived.error} {digest}"


SEEDS = range(1, 13)


def test_a_seed_is_one_life_in_every_process() -> None:
    script = "\n".join(
        [
            "import warnings; warnings.simplefilter('ignore')",
            "from tests.testing.test_web_scenario import SEEDS, told",
            "_spoil = [object() for _ in range(12345)]",  # addresses are others as well
            "print('\\n'.join(told(seed) for seed in SEEDS))",
        ]
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    other = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment, timeout=50
    )

    ours = [told(seed) for seed in SEEDS]
    assert ours == other.stdout.splitlines()
    assert len(set(ours)) == len(ours)


def test_a_trace_is_the_same_life_again() -> None:
    for seed in SEEDS:
        lived = attempt(web_scenario, seed, order_of("mixed", seed, DECISIONS))
        again = replay(web_scenario, Trace.parse(str(lived.trace)))

        assert (again.trace, str(again.error)) == (lived.trace, str(lived.error))


# -- broken on purpose ------------------------------------------------------------------------------------------------


def forget_the_cursor(patch: pytest.MonkeyPatch) -> None:
    """Last-Event-ID is ignored, and every reader begins at the first event."""
    patch.setattr(events, "_beginning", lambda request, query: (0, query.whole("tail")))


def skip_one(patch: pytest.MonkeyPatch) -> None:
    """Last-Event-ID is taken for the first event that is wanted, less one too few."""
    beginning = events._beginning

    def wrong(request: Request, query: Any) -> tuple[int, int | None]:
        cursor, tail = beginning(request, query)
        return (cursor - 1 if cursor else 0), tail

    patch.setattr(events, "_beginning", wrong)


def write_the_keepalive_from_the_timer(patch: pytest.MonkeyPatch) -> None:
    """An event goes out in two pieces, and the timer writes between them if the reader hangs just there."""
    pump = Stream._pump

    async def in_pieces(self: Stream) -> None:
        send = self._request.channel.send

        async def halves(data: bytes, more: bool = True) -> None:
            self.sending = False
            await send(data[: len(data) // 2])
            await send(data[len(data) // 2 :])

        self._request.channel.send = halves  # type: ignore[method-assign]  # that is the bug
        await pump(self)

    def at_once(self: Stream) -> None:
        self._request.send.__self__.transport.write(b"%x\r\n%s\r\n" % (len(KEEPALIVE), KEEPALIVE))  # type: ignore[attr-defined]  # uvicorn's

    patch.setattr(Stream, "_pump", in_pieces)
    patch.setattr(Stream, "nudge", at_once)


def leave_the_timer_running(patch: pytest.MonkeyPatch) -> None:
    """The timer of the streams does not stop with the last one."""

    def discard(self: Heartbeat, stream: Beating) -> None:
        self._streams.pop(stream, None)

    patch.setattr(Heartbeat, "discard", discard)


def start_in_the_drain(patch: pytest.MonkeyPatch) -> None:
    """The door stays open when the server drains."""
    patch.setattr(Starts, "close", lambda self: None)


def forget_the_key(patch: pytest.MonkeyPatch) -> None:
    """A start that is repeated is another one."""
    start_once = Starts.start_once

    async def twice(self: Starts, wanted: Any, key: str, fingerprint: str) -> Any:
        twice.count += 1  # type: ignore[attr-defined]  # it is here for nobody else
        return await start_once(self, wanted, f"{key} {twice.count}", fingerprint)  # type: ignore[attr-defined]  # same

    twice.count = 0  # type: ignore[attr-defined]  # the same
    patch.setattr(Starts, "start_once", twice)


def end_a_broken_stream(patch: pytest.MonkeyPatch) -> None:
    """A stream that is cut off looks like one that has come to its end."""
    pump = Stream._pump

    async def short(self: Stream) -> None:
        batches = 0
        take = self._subscription.next

        async def few() -> Any:
            nonlocal batches
            batches += 1
            return None if batches > 2 else await take()

        self._subscription = type("Short", (), {"next": staticmethod(few), "close": self._subscription.close})()  # type: ignore[assignment]  # that is the bug
        await pump(self)

    patch.setattr(Stream, "_pump", short)


BUGS: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    forget_the_cursor: "reader_saw_prefix",
    skip_one: "reader_saw_prefix",
    write_the_keepalive_from_the_timer: "",
    leave_the_timer_running: "timer is left",
    start_in_the_drain: "starts a task",
    forget_the_key: "one task",
    end_a_broken_stream: "a stream ends before its log",
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_what_is_broken_on_purpose_is_found(
    bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bug(monkeypatch)

    explored = explore(web_scenario, schedules=300, seed=1, shrink_runs_max=60)

    assert explored.failure is not None
    assert BUGS[bug] in str(explored.failure.error)
