"""One timer serves all streams: none is silent for too long, none hangs for ever. On virtual time."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVarTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streaming.errors import TooManyStreams
from streaming.rules.access import ANONYMOUS, SCOPES_DEFAULT, Credential, Principal
from streaming.web.expiry import Expiring, Expiry
from streaming.web.heartbeat import LOOKS, Heartbeat
from tests.virtual import VirtualLoop


class Reader:
    """A stream that notes what happens to it; a nudge makes it write at once."""

    def __init__(self, heartbeat: Heartbeat, principal: Principal = ANONYMOUS) -> None:
        self.heartbeat = heartbeat
        self.credential = Credential(principal, "test")
        self.sending = False
        self.wrote_at = 0.0
        self.nudged_at: list[float] = []
        self.dropped_at: list[float] = []
        heartbeat.add(self)
        self.write()

    def write(self) -> None:
        self.wrote_at = self.heartbeat.now

    def expire(self) -> None:
        raise AssertionError("nothing expires here")

    def nudge(self) -> None:
        self.nudged_at.append(asyncio.get_running_loop().time())
        self.write()

    def drop(self) -> None:
        self.dropped_at.append(asyncio.get_running_loop().time())
        self.heartbeat.discard(self)


def made(*, streams_max: int = 10, keepalive_s: float = 15.0, send_timeout_s: float = 30.0, **more: Any) -> Heartbeat:
    return Heartbeat(
        streams_max=streams_max,
        principal_max=3,
        keepalive_s=keepalive_s,
        send_timeout_s=send_timeout_s,
        expiry=Timeless(Everlasting(), lambda: 0.0, 5.0),
        **more,
    )


class Timeless(Expiry):
    """It looks at nothing: whatever is timed in these tests is the heartbeat's."""

    def add(self, stream: Expiring) -> None:
        """Nothing expires here."""

    def discard(self, stream: Expiring) -> None:
        """Nothing was added."""


class Everlasting:
    """What knows credentials that never end."""

    def still_good(self, credential: Credential, now: float) -> bool:
        return True

    async def refresh(self) -> None:
        """Nothing is revoked."""


def on_virtual_time(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


def test_a_silent_stream_is_nudged_well_within_its_time_and_never_much_too_early() -> None:
    async def main() -> None:
        reader = Reader(made())
        await asyncio.sleep(120)
        silences = [later - sooner for sooner, later in zip([0, *reader.nudged_at], reader.nudged_at, strict=False)]
        assert len(silences) > 6
        assert all(7.5 <= silence <= 15 for silence in silences)
        reader.heartbeat.discard(reader)

    on_virtual_time(main)


Args = TypeVarTuple("Args")


class LateLoop(VirtualLoop):
    """Each timer is late, as those of a busy loop are: by the next of ``late_s``."""

    def __init__(self, late_s: Iterable[float]) -> None:
        super().__init__()
        self._late_s = iter(late_s)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Args], object],
        *args: *Args,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return super().call_later(delay + next(self._late_s), callback, *args, context=context)


parts = st.floats(0, 1)


@given(offset=parts, late=st.lists(parts, min_size=12, max_size=12), send_timeout_s=st.sampled_from([1.0, 15.0, 60.0]))
@example(offset=0.0, late=[0.0] * 12, send_timeout_s=60.0)
@example(offset=0.0, late=[0.01] * 12, send_timeout_s=60.0)  # the smallest delay would be too much
@example(offset=0.0, late=[0.9, *[0.0] * 4, *[1.0] * 7], send_timeout_s=60.0)  # just not silent enough, then late
def test_no_stream_is_silent_for_longer_than_promised_even_if_every_look_is_late(
    offset: float, late: list[float], send_timeout_s: float
) -> None:
    """By up to one period; and wherever in its period the last write was."""
    period_s = min(15.0, send_timeout_s) / LOOKS

    async def main() -> None:
        loop, nudged = asyncio.get_running_loop(), asyncio.Event()

        class Waiting(Reader):
            def nudge(self) -> None:
                super().nudge()
                nudged.set()

        reader = Waiting(made(keepalive_s=15.0, send_timeout_s=send_timeout_s))
        loop.call_at(offset * period_s, reader.write)
        await nudged.wait()
        assert reader.nudged_at[0] - offset * period_s <= 15.0 + 1e-9  # of rounding
        reader.heartbeat.discard(reader)

    with asyncio.Runner(loop_factory=lambda: LateLoop(part * period_s for part in itertools.cycle(late))) as runner:
        runner.run(main())


@pytest.mark.parametrize("pause_s", [0.5, 1.9, 7.0])
def test_a_stream_that_writes_is_not_nudged(pause_s: float) -> None:
    async def main() -> None:
        reader = Reader(made())
        for _ in range(100):
            await asyncio.sleep(pause_s)
            reader.write()
        assert reader.nudged_at == []
        reader.heartbeat.discard(reader)

    on_virtual_time(main)


@pytest.mark.parametrize("began_s", [0.0, 0.1, 1.8, 3.3])
def test_a_write_that_hangs_is_cut_after_its_time_and_not_before(began_s: float) -> None:
    async def main() -> None:
        reader = Reader(made())
        await asyncio.sleep(began_s)
        reader.write()
        reader.sending = True
        await asyncio.sleep(100)
        assert len(reader.dropped_at) == 1
        assert 30 <= reader.dropped_at[0] - began_s <= 30 + 3 * 15 / 8
        assert reader.nudged_at == []

    on_virtual_time(main)


def test_a_write_does_not_hang_while_the_loop_itself_stands_still() -> None:
    """As in a process that was stopped: nobody could say that there is room again."""

    async def main() -> None:
        dropped = asyncio.Event()

        class Waiting(Reader):
            def drop(self) -> None:
                super().drop()
                dropped.set()

        reader = Waiting(made())
        reader.sending = True
        await dropped.wait()
        assert 600 + 30 <= reader.dropped_at[0] <= 600 + 30 + 3 * 15 / 8

    with asyncio.Runner(loop_factory=lambda: LateLoop(itertools.chain([0, 0, 600], itertools.repeat(0)))) as runner:
        runner.run(main())


def test_each_stream_is_judged_by_itself() -> None:
    async def main() -> None:
        heartbeat = made()
        silent, frozen = Reader(heartbeat), Reader(heartbeat)
        frozen.sending = True
        await asyncio.sleep(60)
        assert (silent.dropped_at, frozen.nudged_at) == ([], [])
        assert silent.nudged_at
        assert frozen.dropped_at
        heartbeat.discard(silent)

    on_virtual_time(main)


def test_the_timer_stops_with_the_last_stream_and_starts_again_with_the_next() -> None:
    async def main() -> None:
        heartbeat = made()
        first, second = Reader(heartbeat), Reader(heartbeat)
        heartbeat.discard(first)
        heartbeat.discard(first)
        heartbeat.discard(second)
        await asyncio.sleep(1000)  # a timer left behind would move the clock
        moved = heartbeat.now
        third = Reader(heartbeat)
        assert (moved, heartbeat.now) == (0, 1000)
        await asyncio.sleep(16)
        assert len(third.nudged_at) == 1
        heartbeat.discard(third)

    on_virtual_time(main)


def test_the_timer_knows_nothing_of_the_request_that_has_started_it() -> None:
    somebody: contextvars.ContextVar[str] = contextvars.ContextVar("somebody", default="nobody")
    seen = set()

    class Asking(Reader):
        def nudge(self) -> None:
            super().nudge()
            seen.add(somebody.get())

    async def main() -> None:
        somebody.set("the first")
        reader = Asking(made())
        await asyncio.sleep(40)
        reader.heartbeat.discard(reader)

    on_virtual_time(main)

    assert seen == {"nobody"}


def test_all_can_be_cut_at_once() -> None:
    async def main() -> None:
        heartbeat = made()
        readers = [Reader(heartbeat) for _ in range(3)]
        assert heartbeat.abort_all() == 3
        assert all(len(reader.dropped_at) == 1 for reader in readers)
        assert heartbeat.abort_all() == 0

    on_virtual_time(main)


@pytest.mark.parametrize("way", ["they end", "they are cut"])
def test_it_is_told_once_that_the_last_stream_has_ended(way: str) -> None:
    async def main() -> None:
        told: list[int] = []
        heartbeat: Heartbeat = made(on_last=lambda: told.append(heartbeat.open))
        first, second = Reader(heartbeat), Reader(heartbeat)
        if way == "they end":
            heartbeat.discard(first)
            assert told == []
            heartbeat.discard(second)
            heartbeat.discard(second)
        else:
            heartbeat.abort_all()
        assert told == [0]
        heartbeat.discard(Reader(heartbeat))
        assert told == [0, 0]

    on_virtual_time(main)


def test_a_stream_that_was_dropped_in_a_look_is_not_looked_at_any_more() -> None:
    async def main() -> None:
        heartbeat = made()
        first, second = Reader(heartbeat), Reader(heartbeat)
        for reader in (first, second):
            reader.sending = True
        await asyncio.sleep(100)
        assert [len(reader.dropped_at) for reader in (first, second)] == [1, 1]
        assert (heartbeat.open, heartbeat._timer) == (0, None)

    on_virtual_time(main)


def test_a_place_is_held_until_its_stream_has_it() -> None:
    async def main() -> None:
        heartbeat = made(streams_max=1)
        with heartbeat.place():
            assert heartbeat.open == 1
            reader = Reader(heartbeat)
        assert heartbeat.open == 1
        with pytest.raises(TooManyStreams), heartbeat.place():
            raise AssertionError
        heartbeat.discard(reader)
        assert heartbeat.open == 0

    on_virtual_time(main)


def test_one_stream_too_many_is_refused_and_a_place_comes_back() -> None:
    heartbeat = made(streams_max=2)
    with heartbeat.place():
        with heartbeat.place():
            assert heartbeat.open == 2
            with pytest.raises(TooManyStreams, match="2 streams"), heartbeat.place():
                raise AssertionError
        with heartbeat.place():
            assert heartbeat.open == 2
    assert heartbeat.open == 0


def test_a_place_comes_back_after_an_error() -> None:
    heartbeat = made()
    with pytest.raises(ZeroDivisionError), heartbeat.place():
        raise ZeroDivisionError
    assert heartbeat.open == 0


def test_a_principal_has_as_many_streams_as_it_may_and_not_one_more() -> None:
    async def main() -> None:
        heartbeat = made()
        anna, tenant = Principal("anna", SCOPES_DEFAULT), Principal("anna", SCOPES_DEFAULT, "acme")
        readers = [Reader(heartbeat, anna) for _ in range(2)]
        with heartbeat.place(anna):
            assert heartbeat.open_of(anna) == 3
            with pytest.raises(TooManyStreams, match="'anna' has 3 open streams"), heartbeat.place(anna):
                pass
            with heartbeat.place(tenant), heartbeat.place():
                pass
        readers.append(Reader(heartbeat, anna))
        with pytest.raises(TooManyStreams), heartbeat.place(anna):
            pass
        with pytest.raises(TooManyStreams), heartbeat.place(Principal("anna", frozenset())):  # whatever its scopes
            pass
        heartbeat.discard(readers.pop())
        heartbeat.discard(readers[0])
        heartbeat.discard(readers[0])  # once is enough
        assert heartbeat.open_of(anna) == 1
        heartbeat.discard(readers[1])
        assert heartbeat.open_of(anna) == 0
        assert not heartbeat._of

    on_virtual_time(main)


def test_everybody_who_has_no_name_shares_all_streams() -> None:
    async def main() -> None:
        heartbeat = made(streams_max=5)
        readers = [Reader(heartbeat) for _ in range(5)]
        with pytest.raises(TooManyStreams, match="5 streams are open"), heartbeat.place():
            pass
        for reader in readers:
            heartbeat.discard(reader)

    on_virtual_time(main)
