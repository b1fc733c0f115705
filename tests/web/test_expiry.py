"""A stream ends within a second of its credential, and as soon as it is known to be revoked. On virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming.rules.access import SCOPES_DEFAULT, Credential, Principal
from streaming.web.expiry import LOOK_S, Expiry

pytestmark = pytest.mark.clock("virtual")


def credential(name: str, expires_at: float | None = None) -> Credential:
    return Credential(Principal(name, SCOPES_DEFAULT), f"key:{name}", expires_at)


class Judge:
    """Knows what is revoked once it is asked to learn it."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self.known: set[str] = set()
        self.refreshed_at: list[float] = []

    def still_good(self, credential: Credential, now: float) -> bool:
        over = credential.expires_at is not None and now >= credential.expires_at
        return not over and credential.id not in self.known

    async def refresh(self) -> None:
        self.refreshed_at.append(asyncio.get_running_loop().time())
        self.known = set(self.revoked)


class Reader:
    def __init__(self, expiry: Expiry, credential: Credential) -> None:
        self.credential = credential
        self.expired_at: float | None = None
        self._expiry = expiry
        expiry.add(self)

    def expire(self) -> None:
        self.expired_at = asyncio.get_running_loop().time()
        self._expiry.discard(self)


def made(judge: Judge, **more: Any) -> Expiry:
    loop = asyncio.get_running_loop()
    return Expiry(judge, loop.time, **{"refresh_s": 5.0, **more})


def looking() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "streaming-expiry"]


async def test_a_stream_ends_with_its_credential_and_not_before() -> None:
    expiry = made(Judge())
    reader, other = Reader(expiry, credential("a", 10.0)), Reader(expiry, credential("b", 20.0))
    await asyncio.sleep(15)

    assert reader.expired_at is not None
    assert 10 <= reader.expired_at <= 10 + LOOK_S
    assert other.expired_at is None
    expiry.discard(other)


async def test_all_streams_of_a_credential_end() -> None:
    expiry = made(Judge())
    shared = credential("a", 3.0)
    readers = [Reader(expiry, shared) for _ in range(3)]
    assert len(expiry) == 3
    await asyncio.sleep(5)

    assert all(reader.expired_at for reader in readers)
    assert len(expiry) == 0


async def test_what_is_revoked_ends_once_it_is_known() -> None:
    judge = Judge()
    expiry = made(judge)
    reader, other = Reader(expiry, credential("a")), Reader(expiry, credential("b"))
    await asyncio.sleep(7)
    judge.revoked.add("key:a")
    await asyncio.sleep(7)

    assert reader.expired_at is not None
    assert 7 <= reader.expired_at <= 7 + 5 + 2 * LOOK_S
    assert other.expired_at is None
    assert judge.refreshed_at == [5.0, 10.0]
    expiry.discard(other)


async def test_nobody_looks_where_there_is_no_stream() -> None:
    expiry = made(Judge())
    assert not looking()
    reader = Reader(expiry, credential("a"))
    assert len(looking()) == 1
    expiry.discard(reader)
    await asyncio.sleep(0)
    assert not looking()
    again = Reader(expiry, credential("a", asyncio.get_running_loop().time() + 1))
    await asyncio.sleep(3)
    assert again.expired_at is not None
    assert not looking()


async def test_the_last_stream_may_leave_while_what_is_revoked_is_being_learnt() -> None:
    class Slow(Judge):
        async def refresh(self) -> None:
            await super().refresh()
            await asyncio.sleep(100)

    expiry = made(Slow())
    reader = Reader(expiry, credential("a"))
    await asyncio.sleep(6)
    expiry.discard(reader)
    await asyncio.sleep(0)

    assert not looking()


async def test_a_store_that_hangs_holds_up_no_end_that_is_known() -> None:
    class Hanging(Judge):
        async def refresh(self) -> None:
            await super().refresh()
            await asyncio.Event().wait()

    judge = Hanging()
    expiry = made(judge)
    reader, other = Reader(expiry, credential("a", 10.0)), Reader(expiry, credential("b", 30.0))
    await asyncio.sleep(12)

    assert reader.expired_at is not None
    assert 10 <= reader.expired_at <= 10 + LOOK_S
    assert judge.refreshed_at == [5.0], "one at a time"
    expiry.discard(other)
