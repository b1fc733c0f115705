"""A stored key opens as long as it is known to be good, and not a moment on the word of a store that is away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming.access import ring as ring_module
from streaming.access.keys import ConfiguredKeys
from streaming.access.ring import KeyRing
from streaming.errors import StoreUnavailable, Unauthenticated
from streaming.events import rfc3339
from streaming.rules.access import SCOPES_DEFAULT, Principal
from streaming.testing.settings import settings_of
from tests.access.clock import NOW, Clock
from tests.access.signing import SECRET
from tests.access.stored import StoredKeys


class Ring(KeyRing):
    """A ring with a store and a clock that are at hand."""

    def __init__(self, configured: str = "", stored: bool = True, **settings: Any) -> None:
        self.store, self.ticks = StoredKeys(), Clock(0)
        super().__init__(
            ConfiguredKeys(configured, SECRET), self.store.load if stored else None, settings_of(**settings), self.ticks
        )

    async def opens(self, text: str) -> bool:
        try:
            await self.find(text, NOW)
        except Unauthenticated:
            return False
        return True


def id_of(text: str) -> str:
    return f"key:{text.split('_')[1]}"


async def test_a_stored_key_opens() -> None:
    ring = Ring()
    text = ring.store.add("alice", expires_at=NOW + 100)
    credential = await ring.find(text, NOW)

    assert credential.principal == Principal("alice", SCOPES_DEFAULT)
    assert (credential.id, credential.expires_at, credential.task_id) == (id_of(text), NOW + 100, None)
    assert text.split("_", 2)[2] not in repr(credential)
    assert (await ring.find(ring.store.add("bob"), NOW)).expires_at is None


async def test_a_configured_key_opens_without_a_store_and_while_it_is_away() -> None:
    without, away = Ring("s3cret:alice", stored=False), Ring("s3cret:alice")
    away.store.away = True

    for ring in (without, away):
        assert await ring.opens("s3cret")
    assert away.store.reads == 0


@pytest.mark.parametrize("change", ["id", "secret", "both", "form", "other"])
async def test_a_wrong_key_opens_nothing(change: str) -> None:
    ring = Ring()
    text, other = ring.store.add(), ring.store.add()
    prefix, id, secret = text.split("_", 2)
    wrong = {
        "id": f"{prefix}_{'a' * 16}_{secret}",
        "secret": f"{prefix}_{id}_{'A' * 43}",
        "both": f"{prefix}_{'a' * 16}_{'A' * 43}",
        "form": secret,
        "other": f"{prefix}_{id}_{other.split('_', 2)[2]}",
    }[change]

    with pytest.raises(Unauthenticated, match="The API key is not valid") as caught:
        await ring.find(wrong, NOW)
    assert (caught.value.reason, caught.value.challenge) == (
        "unknown_key",
        'Bearer realm="streaming", error="invalid_token"',
    )
    assert wrong not in str(caught.value)


async def test_an_unknown_id_costs_the_comparison_that_a_known_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, compared = Ring(), 0
    text = ring.store.add()

    def is_same(secret: str, hash: str) -> bool:
        nonlocal compared
        compared += 1
        return False

    monkeypatch.setattr(ring_module, "is_same", is_same)
    for wrong in (text, f"strm_{'a' * 16}_{'A' * 43}"):
        assert not await ring.opens(wrong)
    assert compared == 2


async def test_the_end_of_a_key_is_its_last_moment_and_may_be_told() -> None:
    ring = Ring()
    text = ring.store.add(expires_at=NOW + 1)

    await ring.find(text, NOW + 0.999)
    with pytest.raises(Unauthenticated, match="The API key has expired") as caught:
        await ring.find(text, NOW + 1)
    assert caught.value.reason == "expired"


async def test_a_key_that_was_revoked_looks_like_one_that_never_was() -> None:
    ring = Ring()
    text = ring.store.add()
    ring.store.change(text, revoked_at=rfc3339(NOW))

    with pytest.raises(Unauthenticated, match="The API key is not valid") as caught:
        await ring.find(text, NOW)
    assert caught.value.reason == "revoked_key"


async def test_a_key_that_was_revoked_elsewhere_opens_until_keys_are_read_again() -> None:
    ring = Ring(key_cache_s=5)
    text = ring.store.add()
    assert await ring.opens(text)
    ring.store.change(text, revoked_at=rfc3339(NOW))
    ring.ticks.move(4.9)
    assert await ring.opens(text)
    ring.ticks.move(0.1)
    assert not await ring.opens(text)
    assert ring.store.reads == 2


async def test_a_new_key_works_at_once_and_wrong_ones_have_keys_read_once_a_second() -> None:
    ring = Ring()
    await ring.refresh()
    assert await ring.opens(ring.store.add())
    assert ring.store.reads == 2

    for _ in range(50):
        assert not await ring.opens(f"strm_{'a' * 16}_{'A' * 43}")
    assert ring.store.reads == 2
    ring.ticks.move(1)
    assert not await ring.opens(f"strm_{'a' * 16}_{'A' * 43}")
    assert ring.store.reads == 3


async def test_a_wrong_secret_of_a_known_key_has_nothing_read() -> None:
    ring = Ring()
    text = ring.store.add()
    await ring.refresh()

    assert not await ring.opens(text[:-43] + "A" * 43)
    assert ring.store.reads == 1


async def test_a_hundred_requests_read_keys_once() -> None:
    ring = Ring()
    ring.store.slow = asyncio.Event()
    text = ring.store.add()
    asking = [asyncio.create_task(ring.opens(text)) for _ in range(100)]
    await asyncio.sleep(0)
    ring.store.slow.set()

    assert all(await asyncio.gather(*asking))
    assert ring.store.reads == 1


async def test_while_the_store_is_away_known_keys_open_for_their_time_and_then_nobody_knows() -> None:
    ring = Ring(key_stale_s=300)
    text = ring.store.add()
    credential = await ring.find(text, NOW)
    ring.store.away = True
    ring.ticks.move(299.9)
    assert await ring.opens(text)
    assert ring.good(credential.id, NOW)

    ring.ticks.move(0.1)
    for wanted in (text, f"strm_{'a' * 16}_{'A' * 43}"):
        with pytest.raises(StoreUnavailable):
            await ring.find(wanted, NOW)
    assert not ring.good(credential.id, NOW)
    with pytest.raises(StoreUnavailable):
        await ring.seek(credential.id)

    ring.store.away = False
    ring.ticks.move(1)
    await ring.refresh()
    assert await ring.opens(text)
    assert ring.good(credential.id, NOW)


async def test_before_keys_were_read_nobody_knows() -> None:
    ring = Ring()
    ring.store.away = True

    with pytest.raises(StoreUnavailable):
        await ring.find(ring.store.add(), NOW)
    assert (ring.was_read, ring.configured) == (False, False)


async def test_whether_a_credential_is_good_follows_what_was_read() -> None:
    ring = Ring("s3cret:alice")
    text = ring.store.add(expires_at=NOW + 10)
    configured, stored = await ring.find("s3cret", NOW), await ring.find(text, NOW)

    assert ring.good(configured.id, NOW)
    assert ring.good(stored.id, NOW + 9.9)
    assert not ring.good(stored.id, NOW + 10)
    assert not ring.good("key:unknown", NOW)
    assert not ring.good("key:configured-000000000000", NOW)

    ring.store.change(text, revoked_at=rfc3339(NOW))
    await ring.refresh()
    assert not ring.good(stored.id, NOW)
    assert ring.good(configured.id, NOW)


async def test_a_key_whose_row_is_gone_is_not_good() -> None:
    ring = Ring()
    stored = await ring.find(ring.store.add(), NOW)
    ring.store.keys.clear()
    await ring.refresh()

    assert not ring.good(stored.id, NOW)
    assert ring.configured


async def test_a_key_is_sought_where_it_may_be_new() -> None:
    ring = Ring("s3cret:alice")
    await ring.seek((await ring.find("s3cret", NOW)).id)
    assert ring.store.reads == 0
    await ring.refresh()
    text = ring.store.add()
    await ring.seek(id_of(text))
    assert ring.good(id_of(text), NOW)

    ring.ticks.move(5)
    await ring.seek("proxy:alice")
    assert ring.store.reads == 3


async def test_there_are_keys_once_there_was_one() -> None:
    ring = Ring()
    await ring.refresh()
    assert (ring.was_read, ring.configured) == (True, False)
    text = ring.store.add()
    ring.store.change(text, revoked_at=rfc3339(NOW))
    await ring.refresh()
    assert ring.configured


async def test_without_a_store_there_is_nothing_to_read() -> None:
    ring = Ring(stored=False)
    text = ring.store.add()

    assert (ring.was_read, ring.configured) == (True, False)
    assert not await ring.opens(text)
    await ring.renew()
    await ring.refresh()
    await ring.seek(id_of(text))
    await ring.close()
    assert ring.store.reads == 0
