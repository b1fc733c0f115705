"""One request shows one credential, and what is wrong is never taken for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from streaming.access.gate import Gate, Presented
from streaming.access.proxy import UNIX
from streaming.access.stream_tokens import StreamTokens
from streaming.errors import Forbidden, InvalidSettings, StoreUnavailable, Unauthenticated
from streaming.events import rfc3339
from streaming.rules.access import ANONYMOUS, SCOPES_DEFAULT, Credential, Principal, Scope
from streaming.testing.settings import settings_of
from tests.access.clock import NOW, Clock
from tests.access.signing import SECRET, jwk, key_set, rsa_key, token
from tests.access.stored import StoredKeys

SERVER = "the secret of the server, which it has made itself"
KEY = "a-key-that-is-configured"
KEYS: dict[str, Any] = {"api_keys": f"{KEY}:alice"}
JWTS: dict[str, Any] = {"jwt_secret": SECRET}
PROXY: dict[str, Any] = {"trusted_proxies": ["unix"], "proxy_user_header": "X-User"}


class Door(Gate):
    """A gate with a store and clocks that are at hand."""

    def __init__(self, stored: bool = False, secret: str = SERVER, **settings: Any) -> None:
        self.store, self.clock, self.ticks = StoredKeys(), Clock(), Clock(0)
        super().__init__(
            settings_of(**settings),
            secret=secret,
            load=self.store.load if stored else None,
            clock=self.clock,
            ticks=self.ticks,
            transport=httpx.MockTransport(self.publish),
        )

    def publish(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=httpx.ByteStream(key_set(jwk(rsa_key(), "one"))))

    def move(self, seconds: float) -> None:
        self.clock.move(seconds)
        self.ticks.move(seconds)

    async def reason(self, presented: Presented) -> str:
        with pytest.raises(Unauthenticated) as caught:
            await self.identify(presented)
        return caught.value.reason


def bearer(text: str) -> Presented:
    return Presented(authorization=[f"Bearer {text}"])


def header_of(name: str, *values: str) -> Callable[[str], Sequence[str]]:
    return lambda wanted: values if wanted == name else ()


def by_proxy(user: str = "carol", **more: Any) -> Presented:
    return Presented(peer=UNIX, header=header_of("x-user", user), **more)


# -- nothing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [False, True])
async def test_without_any_credentials_everybody_is_anonymous(stored: bool) -> None:
    door = Door(stored)
    await door.refresh()

    assert not door.configured
    assert await door.identify(Presented()) == Credential(ANONYMOUS, "anonymous")


@pytest.mark.parametrize("settings", [KEYS, JWTS, {"jwt_jwks_url": "https://keys.example"}, PROXY])
async def test_where_any_are_configured_nobody_is(settings: dict[str, Any]) -> None:
    door = Door(**settings)

    assert door.configured
    with pytest.raises(Unauthenticated) as caught:
        await door.identify(Presented())
    assert (caught.value.challenge, caught.value.reason) == ('Bearer realm="streaming"', "nothing")


async def test_what_is_wrong_is_not_nothing() -> None:
    door = Door(stored=True)
    for presented, reason in (
        (bearer("wrong"), "unknown_key"),
        (bearer(token()), "unknown_signer"),
        (Presented(api_key=["wrong"]), "unknown_key"),
        (Presented(stream_token="wrong"), "stream_token"),
        (Presented(authorization=[""]), "scheme"),
        (Presented(stream_token=""), "stream_token"),
    ):
        assert await door.reason(presented) == reason


async def test_the_first_key_in_the_store_closes_the_door_for_good() -> None:
    door = Door(stored=True, key_cache_s=5)
    anonymous = await door.identify(Presented())
    text = door.store.add()
    door.move(4.9)
    assert await door.identify(Presented()) == anonymous
    assert door.still_good(anonymous, NOW)
    door.move(0.1)
    assert await door.reason(Presented()) == "nothing"
    assert door.configured
    assert not door.still_good(anonymous, NOW)

    door.store.change(text, revoked_at=rfc3339(NOW))
    await door.refresh()
    assert await door.reason(Presented()) == "nothing"
    door.store.keys.clear()
    await door.refresh()
    assert await door.reason(Presented()) == "nothing"


async def test_before_the_store_was_read_nobody_knows_whether_a_credential_is_needed() -> None:
    door = Door(stored=True)
    door.store.away = True
    await door.refresh()

    assert door.configured
    with pytest.raises(StoreUnavailable):
        await door.identify(Presented())
    assert await Door(stored=True, **KEYS).reason(Presented()) == "nothing"


async def test_whoever_needed_none_needs_none_while_the_store_is_away() -> None:
    door = Door(stored=True)
    await door.identify(Presented())
    door.store.away = True
    door.move(1000)

    assert (await door.identify(Presented())).principal is ANONYMOUS
    assert (await door.identify(Presented())).principal is ANONYMOUS


# -- one ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
async def test_a_key_may_come_as_a_bearer_token_or_in_its_own_header(scheme: str) -> None:
    door = Door(stored=True, **KEYS)
    text = door.store.add("bob")

    for presented in (Presented(authorization=[scheme + KEY]), Presented(api_key=[KEY])):
        assert (await door.identify(presented)).principal == Principal("alice", SCOPES_DEFAULT)
    for presented in (Presented(authorization=[scheme + text]), Presented(api_key=[text])):
        assert (await door.identify(presented)).principal == Principal("bob", SCOPES_DEFAULT)


async def test_a_text_with_two_dots_is_a_token() -> None:
    door = Door(**JWTS)

    assert (await door.identify(bearer(token()))).id.startswith("jwt:alice:")
    assert await door.reason(bearer(token(SECRET[::-1]))) == "signature"
    assert await door.reason(Presented(api_key=[token()])) == "unknown_key"


async def test_a_key_with_two_dots_is_a_key() -> None:
    door = Door(api_keys="my.own.key:alice", **JWTS)

    assert (await door.identify(bearer("my.own.key"))).id.startswith("key:configured-")
    assert await door.reason(bearer("my.own.kez")) == "token_form"


async def test_public_keys_are_fetched_from_where_they_are() -> None:
    door = Door(jwt_jwks_url="https://keys.example")

    assert (await door.identify(bearer(token(rsa_key(), "RS256")))).principal.name == "alice"


async def test_a_trusted_proxy_says_who_it_is() -> None:
    door = Door(**PROXY)

    assert await door.identify(by_proxy()) == Credential(Principal("carol", SCOPES_DEFAULT), "proxy:carol")
    assert await door.reason(Presented(peer="192.0.2.1", header=header_of("x-user", "carol"))) == "nothing"
    assert await door.reason(Presented(peer=UNIX, header=header_of("x-user", "carol", "carol"))) == "proxy_headers"
    assert await door.reason(Presented(peer=UNIX)) == "nothing"


async def test_a_stream_token_opens_its_task() -> None:
    door = Door(**KEYS, stream_token_s=60)
    text, end = door.issue(await door.identify(bearer(KEY)), "task-1")
    found = await door.identify(Presented(stream_token=text))

    assert (end, found.task_id, found.principal.scopes) == (NOW + 60, "task-1", frozenset({Scope.TASKS_READ}))
    assert await door.reason(bearer(text)) == "token_type"
    assert await door.reason(Presented(api_key=[text])) == "unknown_key"
    with pytest.raises(Forbidden):
        door.issue(found, "task-1")
    door.move(60)
    assert await door.reason(Presented(stream_token=text)) == "expired"


async def test_no_other_credential_is_a_stream_token() -> None:
    door = Door(stored=True, **KEYS, **JWTS)
    for text in (KEY, door.store.add(), token()):
        assert await door.reason(Presented(stream_token=text)) == "stream_token"


async def test_without_credentials_a_stream_token_is_of_somebody_anonymous() -> None:
    door = Door(stored=True)
    text, _ = door.issue(await door.identify(Presented()), "task-1")
    assert (await door.identify(Presented(stream_token=text))).id == "stream:anonymous"
    door.store.add()
    await door.refresh()
    assert await door.reason(Presented(stream_token=text)) == "parent"


# -- more, or something else -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "presented",
    [
        Presented(authorization=[f"Bearer {KEY}"] * 2),
        Presented(api_key=[KEY] * 2),
        Presented(authorization=[f"Bearer {KEY}"], api_key=[KEY]),
        Presented(authorization=[f"Bearer {KEY}"], stream_token="x"),
        Presented(api_key=[KEY], stream_token="x"),
        by_proxy(authorization=[f"Bearer {KEY}"]),
        by_proxy(api_key=[KEY]),
        by_proxy(stream_token="x"),
        by_proxy(authorization=["Basic x"]),
    ],
)
async def test_more_than_one_credential_is_refused(presented: Presented) -> None:
    assert await Door(**KEYS, **PROXY).reason(presented) == "more_than_one"


async def test_a_header_of_somebody_who_is_not_trusted_is_no_second_credential() -> None:
    door = Door(**KEYS, **PROXY)
    presented = Presented(authorization=[f"Bearer {KEY}"], peer="192.0.2.1", header=header_of("x-user", "carol"))

    assert (await door.identify(presented)).principal.name == "alice"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer\t{KEY}",
        f"Bearer {KEY} ",
        f"Bearer {KEY}, Bearer {KEY}",
        f"Bearer {KEY} x",
        f"Bearer{KEY}",
        KEY,
        f" Bearer {KEY}",
        "Basic YWxpY2U6c2VjcmV0",
        "Digest x",
        f"Token {KEY}",
        "Bearer kéy",
        "Bearer k\x00y",
        f"Bearer {KEY}\n",
    ],
)
async def test_anything_but_a_bearer_token_is_refused(value: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await Door(**KEYS).identify(Presented(authorization=[value]))
    assert caught.value.reason == "scheme"
    assert "YWxp" not in str(caught.value)


@pytest.mark.parametrize("value", ["", " ", "kéy", "k\x00y", f" {KEY}", f"{KEY} ", f"{KEY}\n", "\ud800"])
async def test_a_key_in_its_own_header_is_a_key(value: str) -> None:
    assert await Door(stored=True, **KEYS).reason(Presented(api_key=[value])) == "unknown_key"


@pytest.mark.parametrize(("more", "reason"), [(0, "key"), (1, "too_large")])
async def test_a_credential_has_a_largest_size(more: int, reason: str) -> None:
    door = Door(stored=True, token_bytes_max=100, **KEYS, **JWTS)
    text, dotted = "x" * (100 + more), "x.y." + "z" * (96 + more)

    for presented in (bearer(text), Presented(api_key=[text]), bearer(dotted), Presented(stream_token=dotted)):
        found = await door.reason(presented)
        assert (found == "too_large") is (reason == "too_large"), found


# -- streams that are open ---------------------------------------------------------------------------------------------


async def test_a_stream_ends_with_its_key() -> None:
    door = Door(stored=True, **KEYS)
    text = door.store.add(expires_at=NOW + 1000)
    stored, configured = await door.identify(bearer(text)), await door.identify(bearer(KEY))
    stream = await door.identify(Presented(stream_token=door.issue(stored, "task-1")[0]))

    assert all(door.still_good(each, NOW) for each in (stored, configured, stream))
    assert not door.still_good(stream, NOW + 300)
    assert door.still_good(stored, NOW + 999)
    assert not door.still_good(stored, NOW + 1000)
    assert door.still_good(configured, NOW + 10**9)

    door.store.change(text, revoked_at=rfc3339(NOW))
    await door.refresh()
    assert [door.still_good(each, NOW) for each in (stored, configured, stream)] == [False, True, False]


async def test_a_stream_token_ends_with_the_key_that_has_asked_for_it() -> None:
    door = Door(stored=True)
    text = door.store.add()
    stream, _ = door.issue(await door.identify(bearer(text)), "task-1")
    await door.identify(Presented(stream_token=stream))
    door.store.change(text, revoked_at=rfc3339(NOW))
    door.move(5)

    assert await door.reason(Presented(stream_token=stream)) == "parent"


async def test_a_stream_token_of_a_key_that_is_new_elsewhere_is_good() -> None:
    here, there = Door(stored=True), Door(stored=True)
    await here.refresh()
    text = there.store.add()
    here.store.keys = there.store.keys
    stream, _ = there.issue(await there.identify(bearer(text)), "task-1")

    assert (await here.identify(Presented(stream_token=stream))).task_id == "task-1"


async def test_a_stream_token_is_good_for_no_other_server() -> None:
    stream, _ = Door(**KEYS, secret=SECRET).issue(await Door(**KEYS, secret=SECRET).identify(bearer(KEY)), "task-1")

    assert await Door(**KEYS).reason(Presented(stream_token=stream)) == "stream_token"
    await Door(**KEYS, secret=SECRET).identify(Presented(stream_token=stream))


async def test_a_secret_that_is_configured_wins() -> None:
    one, other = (Door(**KEYS, secret=secret, stream_token_secret=SECRET) for secret in (SERVER, SERVER[::-1]))
    stream, _ = one.issue(await one.identify(bearer(KEY)), "task-1")

    assert (await other.identify(Presented(stream_token=stream))).task_id == "task-1"
    assert StreamTokens(SECRET).find(stream, NOW).task_id == "task-1"


async def test_while_the_store_is_away_too_long_nobody_knows_whether_a_stream_token_is_good() -> None:
    door = Door(stored=True, key_stale_s=30, stream_token_s=60)
    stream, _ = door.issue(await door.identify(bearer(door.store.add())), "task-1")
    door.store.away = True
    door.move(31)

    with pytest.raises(StoreUnavailable):
        await door.identify(Presented(stream_token=stream))


async def test_a_stream_of_a_token_or_a_proxy_ends_where_they_count_no_more() -> None:
    door = Door(**JWTS, **PROXY)
    of_token, of_proxy = await door.identify(bearer(token())), await door.identify(by_proxy())

    assert door.still_good(of_token, NOW + 609)
    assert not door.still_good(of_token, NOW + 610)
    assert door.still_good(of_proxy, NOW + 10**9)
    assert not any(Door(**KEYS).still_good(each, NOW) for each in (of_token, of_proxy))


@pytest.mark.parametrize("id", ["", "other:alice", "stream:", "stream:other", "stream:stream:anonymous", "key:"])
async def test_a_credential_of_no_kind_is_not_good(id: str) -> None:
    assert not Door().still_good(Credential(ANONYMOUS, id), NOW)


# -- the start and the end ---------------------------------------------------------------------------------------------


async def test_refreshing_reads_now_and_does_not_mind_who_is_away() -> None:
    door = Door(stored=True, jwt_jwks_url="https://keys.example")
    await door.refresh()
    await door.refresh()
    assert door.store.reads == 2
    door.store.away = True
    await door.refresh()


async def test_closing_ends_what_is_read() -> None:
    door = Door(stored=True)
    door.store.slow = asyncio.Event()
    reading = asyncio.create_task(door.identify(Presented()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await door.close()

    with pytest.raises(StoreUnavailable):
        await reading
    await door.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"api_keys": "s3cret"},
        {"trusted_proxies": ["everybody"]},
        {"proxy_user_header": "X-User"},
        {"jwt_secret": "-----BEGIN PUBLIC KEY-----" + "x" * 40},
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings):
        Door(**settings)


def test_what_could_be_guessed_or_read_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    file.chmod(0o644)
    monkeypatch.setenv("STREAMING_JWT_SECRET_FILE", str(file))
    with structlog.testing.capture_logs() as lines:
        Door(api_keys="s3cret:alice,a-long-key-is-not-named:bob").warn()

    assert [(line["log_level"], line.get("principal"), line.get("variable")) for line in lines] == [
        ("warning", "alice", None),
        ("warning", None, "STREAMING_JWT_SECRET_FILE"),
    ]
    assert "s3cret" not in str(lines)
    assert SECRET not in str(lines)
    file.chmod(0o640)
    with structlog.testing.capture_logs() as lines:
        Door(**KEYS).warn()
    assert lines == []


async def test_no_secret_is_seen_in_what_a_gate_shows() -> None:
    door = Door(stored=True, **KEYS, **JWTS)
    shown = [await door.identify(bearer(text)) for text in (KEY, door.store.add(), token())]

    assert not any(secret in repr(shown) for secret in (KEY, SECRET, SERVER))
