"""Public keys: only those that can be used, fetched once for all, and known for a while without their server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from streaming.access.jwks import Jwks, KeySet
from streaming.errors import InvalidSettings, StoreUnavailable
from streaming.testing.settings import settings_of
from tests.access.clock import Clock
from tests.access.signing import ec_key, jwk, key_set, rsa_key

URL = "https://keys.example/jwks.json"


# -- a set of keys -----------------------------------------------------------------------------------------------------


def test_a_key_is_found_by_its_id_and_for_its_algorithm() -> None:
    keys = KeySet(key_set(jwk(rsa_key(), "a"), jwk(ec_key(), "b"), jwk(ec_key("two"), "a")))

    assert keys.find("a", "RS256") == rsa_key().public_key()
    assert keys.find("b", "ES256") == ec_key().public_key()
    assert keys.find("a", "ES256") == ec_key("two").public_key()
    assert [keys.find(*wanted) for wanted in (("b", "RS256"), ("c", "RS256"), ("a", "HS256"), ("", "RS256"))] == [
        None
    ] * 4


def test_without_an_id_the_only_key_for_the_algorithm_is_meant() -> None:
    assert KeySet(key_set(jwk(rsa_key()), jwk(ec_key(), "b"))).find(None, "RS256") == rsa_key().public_key()
    assert KeySet(key_set(jwk(rsa_key()), jwk(rsa_key("two")))).find(None, "RS256") is None
    assert KeySet(key_set(jwk(rsa_key()))).find("a", "RS256") is None
    assert KeySet(key_set()).find(None, "RS256") is None


def test_of_two_keys_with_one_id_the_first_counts() -> None:
    keys = KeySet(key_set(jwk(rsa_key(), "a"), jwk(rsa_key("two"), "a")))

    assert keys.find("a", "RS256") == rsa_key().public_key()


@pytest.mark.parametrize(
    "more",
    [
        {"use": "enc"},
        {"use": 1},
        {"alg": "RS512"},
        {"alg": "HS256"},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"kid": 7},
        {"kid": None},
        {"kty": "EC"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": ["RSA"]},
        {"kty": None},
        {"n": 7},
        {"n": ""},
        {"n": "!"},
        {"n": None},
        {"e": ""},
        {"e": "AQ"},
    ],
)
def test_a_key_for_something_else_or_none_at_all_is_left_out(more: dict[str, Any]) -> None:
    keys = KeySet(key_set({**jwk(rsa_key()), **more}, jwk(ec_key(), "good")))

    assert [keys.find(None, algorithm) for algorithm in ("RS256", "HS256")] == [None, None]
    assert keys.find("good", "ES256") == ec_key().public_key()


@pytest.mark.parametrize(
    "more", [{"x": ""}, {"x": 1}, {"y": "AA"}, {"x": base64.urlsafe_b64encode(b"x" * 32).decode()}, {"crv": "P-384"}]
)
def test_what_is_no_point_of_the_curve_is_left_out(more: dict[str, Any]) -> None:
    assert KeySet(key_set({**jwk(ec_key()), **more})).find(None, "ES256") is None


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1()])
def test_another_curve_is_left_out(curve: ec.EllipticCurve) -> None:
    assert KeySet(key_set(jwk(ec.generate_private_key(curve)))).find(None, "ES256") is None


@pytest.mark.parametrize(("bits", "usable"), [(2047, False), (2048, True)])
def test_an_rsa_key_has_2048_bits_at_least(bits: int, usable: bool) -> None:
    key = rsa_key("bits", bits)

    assert (KeySet(key_set(jwk(key))).find(None, "RS256") is not None) is usable


@pytest.mark.parametrize("more", [{"use": "sig"}, {"alg": "RS256"}, {"key_ops": ["verify"]}, {"d": "AQ"}, {"x5c": []}])
def test_what_says_that_it_is_for_this_is_taken(more: dict[str, Any]) -> None:
    assert KeySet(key_set(jwk(rsa_key(), **more))).find(None, "RS256") == rsa_key().public_key()


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b"1", b'{"keys": 1}', b'{"keys": {}}', b"\xff", b"[" * 5000, b'{"keys": null}', b"<html>"],
)
def test_what_is_no_set_of_keys_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match="no set of keys"):
        KeySet(document)


def test_what_is_no_key_is_left_out() -> None:
    document = json.dumps({"keys": [1, None, "key", [], {}, jwk(rsa_key(), "a")]}).encode()

    assert KeySet(document).find("a", "RS256") == rsa_key().public_key()


# -- fetching ----------------------------------------------------------------------------------------------------------


class Site:
    """Where keys are published: it may be slow, broken or away."""

    def __init__(self) -> None:
        self.document = key_set(jwk(rsa_key(), "one"))
        self.requests: list[httpx.Request] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.away = False
        self.slow: asyncio.Event | None = None
        self.asked = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.asked.set()
        if self.slow is not None:
            await self.slow.wait()
        if self.away:
            raise httpx.ConnectError("refused")
        return httpx.Response(self.status, headers=self.headers, stream=httpx.ByteStream(self.document))


class Keys(Jwks):
    """Keys of a site and a clock that are at hand."""

    def __init__(self, **settings: Any) -> None:
        self.site, self.ticks, self.fetched = Site(), Clock(0), asyncio.Event()
        super().__init__(URL, settings_of(**settings), self.ticks, httpx.MockTransport(self.site))

    async def _fetch(self) -> KeySet:
        try:
            return await super()._fetch()
        finally:
            self.fetched.set()

    async def has(self, kid: str) -> bool:
        return await self.find(kid, "RS256") is not None


async def test_keys_are_fetched_when_one_is_needed_and_again_when_they_are_old() -> None:
    keys = Keys(jwt_jwks_refresh_s=300)
    assert keys.site.requests == []
    assert await keys.has("one")
    keys.ticks.move(299)
    assert await keys.has("one")
    assert len(keys.site.requests) == 1
    keys.ticks.move(1)
    assert await keys.has("one")
    assert len(keys.site.requests) == 2
    assert (str(keys.site.requests[0].url), keys.generation) == (URL, 1)


async def test_a_hundred_tokens_fetch_keys_once() -> None:
    keys = Keys()
    keys.site.slow = asyncio.Event()
    asking = [asyncio.create_task(keys.has("one")) for _ in range(100)]
    await asyncio.sleep(0)
    keys.site.slow.set()

    assert all(await asyncio.gather(*asking))
    assert len(keys.site.requests) == 1


async def test_an_unknown_key_has_them_fetched_at_once_and_then_after_a_pause() -> None:
    keys = Keys()
    assert await keys.has("one")
    keys.site.document = key_set(jwk(rsa_key("two"), "two"))
    assert await keys.has("two")
    assert not await keys.has("one")
    assert (len(keys.site.requests), keys.generation) == (2, 2)

    for _ in range(50):
        assert not await keys.has("three")
    keys.ticks.move(9.9)
    assert not await keys.has("three")
    assert len(keys.site.requests) == 2
    keys.ticks.move(0.1)
    assert not await keys.has("three")
    assert len(keys.site.requests) == 3


async def test_known_keys_do_not_wait_for_an_unknown_one() -> None:
    keys = Keys()
    assert await keys.has("one")
    keys.site.slow = asyncio.Event()
    unknown = asyncio.create_task(keys.has("three"))
    await asyncio.sleep(0)

    assert await asyncio.wait_for(keys.has("one"), 10)
    assert not unknown.done()
    keys.site.slow.set()
    assert not await unknown


async def test_keys_stay_good_without_their_server_for_a_day() -> None:
    keys = Keys(jwt_jwks_stale_s=86_400)
    assert await keys.has("one")
    keys.site.away = True
    for after in (300, 3600, 86_399.9):
        keys.ticks.now = after
        assert await keys.has("one")
    keys.ticks.now = 86_400
    with pytest.raises(StoreUnavailable):
        await keys.has("one")


async def test_once_its_server_is_back_keys_are_fetched_after_the_pause() -> None:
    keys = Keys()
    keys.site.away = True
    with pytest.raises(StoreUnavailable):
        await keys.has("one")
    keys.site.away = False
    keys.ticks.move(9.9)
    with pytest.raises(StoreUnavailable):
        await keys.has("one")
    assert len(keys.site.requests) == 1
    keys.ticks.move(0.1)
    keys.fetched.clear()
    with pytest.raises(StoreUnavailable):
        await keys.has("one")  # it is fetched, and nobody waits
    await keys.fetched.wait()
    assert await keys.has("one")


@pytest.mark.parametrize("status", [204, 301, 302, 307, 400, 404, 500, 503])
async def test_any_other_answer_is_a_failure_and_nobody_is_sent_elsewhere(status: int) -> None:
    keys = Keys()
    keys.site.status, keys.site.headers = status, {"location": "https://elsewhere.example/"}
    with structlog.testing.capture_logs() as lines, pytest.raises(StoreUnavailable):
        await keys.has("one")

    assert len(keys.site.requests) == 1
    assert [line["reason"] for line in lines] == [f"ValueError: the answer has status {status}"]


async def test_a_broken_answer_leaves_the_keys_as_they_were() -> None:
    keys = Keys()
    assert await keys.has("one")
    keys.site.document = b"<html>"
    keys.ticks.move(300)
    with structlog.testing.capture_logs() as lines:
        assert await keys.has("one")
    assert [(line["what"], line["reason"]) for line in lines] == [
        ("public keys of keys.example", "ValueError: the answer is no set of keys")
    ]
    assert keys.generation == 1


async def test_an_empty_set_revokes_all_keys() -> None:
    keys = Keys()
    assert await keys.has("one")
    keys.site.document = key_set()
    keys.ticks.move(300)
    assert not await keys.has("one")


async def test_an_answer_has_a_largest_size() -> None:
    document = key_set(jwk(rsa_key(), "one"))
    for more, right in ((0, True), (-1, False)):
        keys = Keys(jwt_jwks_bytes_max=len(document) + more)
        if right:
            assert await keys.has("one")
        else:
            with pytest.raises(StoreUnavailable):
                await keys.has("one")


async def test_an_answer_that_does_not_end_is_given_up() -> None:
    keys = Keys(jwt_jwks_timeout_s=0.01)
    keys.site.slow = asyncio.Event()
    with pytest.raises(StoreUnavailable):
        await keys.has("one")


@asynccontextmanager
async def serving(document: bytes) -> AsyncIterator[int]:
    """A server on this machine that answers everybody the same."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(document), document)
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(key_set(jwk(rsa_key(), "one"))) as port:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        keys = Jwks(f"http://127.0.0.1:{port}/jwks.json", settings_of(), Clock(0))

        assert await keys.find("one", "RS256") == rsa_key().public_key()


async def test_what_is_closed_fetches_nothing_any_more() -> None:
    keys = Keys()
    keys.site.slow = asyncio.Event()
    asking = asyncio.create_task(keys.has("one"))
    await keys.site.asked.wait()
    await keys.close()
    with pytest.raises(StoreUnavailable):
        await asking


def test_an_address_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(InvalidSettings, match="STREAMING_JWT_JWKS_URL"):
        Jwks("https://keys.example\x00/", settings_of(), Clock(0))
