"""The door, on virtual time: where somebody comes from, how often, and what a wrong credential costs."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asgineer
import pytest
from structlog.testing import capture_logs

from streaming.access.gate import Gate
from streaming.config import Settings
from streaming.engine.limits import LimitsHit
from streaming.errors import Forbidden, RateLimited, Unauthenticated
from streaming.rules.access import SCOPES_DEFAULT, Credential, Principal, Scope
from streaming.web.door import HELD_MAX, HELD_S, PACE_S, WRONG_HELD_S, Door
from streaming.web.request import Request

pytestmark = pytest.mark.clock("virtual")

KEYS = "the-key-of-anna:anna,the-key-of-bob:bob,the-key-of-root:root:admin"
SECRET = "the secret of this server, thirty-two bytes"


class Connection:
    """What is behind a send."""

    def __init__(self) -> None:
        self.transport = self
        self.aborted = False
        self.peer: Any = None
        self.on_lost: Any = None

    async def send(self, message: Any) -> None:
        raise AssertionError("a door sends nothing")

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_extra_info(self, name: str) -> Any:
        return self.peer if name == "peername" else None


def request(
    *headers: tuple[str, str],
    method: str = "GET",
    path: str = "/tasks",
    query: str = "",
    client: str | None = "203.0.113.9",
    server: tuple[str, int | None] | None = ("127.0.0.1", 8000),
) -> Request:
    connection = Connection()
    scope: dict[str, Any] = {
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "server": server,
        "client": None if client is None else (client, 50000),
    }
    return Request(scope, None, connection.send)  # type: ignore[arg-type]  # nothing is received here


def key(name: str) -> tuple[str, str]:
    return "authorization", f"Bearer the-key-of-{name}"


def counted(hits: LimitsHit) -> dict[str, int]:
    return {name: count for name, count in hits.items() if count}


def made(hits: LimitsHit | None = None, **settings: Any) -> Door:
    configured = Settings(store_url="memory://", **settings)
    gate = Gate(configured, secret=SECRET)
    return Door(configured, gate, LimitsHit() if hits is None else hits, asyncio.get_running_loop().time, time.time)


# -- where from --------------------------------------------------------------------------------------------------------


async def test_without_credentials_whoever_is_on_this_machine_is_anonymous() -> None:
    door, asked = made(), request(("host", "localhost:8000"), client="127.0.0.1")
    await door.admit(asked)

    assert door.local_only
    assert asked.credential.principal.anonymous
    assert asked.address == "127.0.0.1"
    assert asked.answer_headers == {}


@pytest.mark.parametrize("host", ["elsewhere.example", "10.0.0.1:8000", "", "localhost.elsewhere.example"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_without_credentials_no_other_name_leads_here(host: str, method: str) -> None:
    with pytest.raises(Forbidden, match="STREAMING_INSECURE_PUBLIC"):
        await made().admit(request(("host", host), method=method))


@pytest.mark.parametrize("settings", [{"insecure_public": True}, {"api_keys": KEYS}])
async def test_an_open_server_and_a_guarded_one_have_any_name(settings: dict[str, Any]) -> None:
    door = made(**settings)
    await door.admit(
        request(("host", "api.example"), key("anna"), server=("10.0.0.1", 80))
        if "api_keys" in settings
        else request(("host", "api.example"), server=("10.0.0.1", 80))
    )

    assert not door.local_only


async def test_without_credentials_nobody_comes_over_an_address_that_others_reach() -> None:
    with pytest.raises(Forbidden):
        await made().admit(request(("host", "localhost"), server=("10.0.0.1", 80)))


async def test_a_unix_socket_has_no_name_and_no_page() -> None:
    asked = request(("host", "whatever"), ("origin", "http://elsewhere.example"), method="POST", client=None,
                    server=("/run/streaming.sock", None))  # fmt: skip
    await made().admit(asked)

    assert asked.credential.principal.anonymous


async def test_a_page_changes_something_only_where_its_origin_is_named() -> None:
    asked = ("host", "localhost"), ("origin", "https://app.example")
    with pytest.raises(Forbidden, match=r"app\.example"):
        await made().admit(request(*asked, method="POST"))
    await made(cors_origins="https://app.example").admit(request(*asked, method="POST"))


@pytest.mark.parametrize(
    ("headers", "served"),
    [
        ((), True),
        ((("sec-fetch-site", "same-origin"),), True),
        ((("sec-fetch-site", "none"),), True),
        ((("sec-fetch-site", "cross-site"),), False),
        ((("sec-fetch-site", "same-site"),), False),
        ((("origin", "https://tasks.example"),), True),
        ((("origin", "https://TASKS.example"),), True),
        ((("origin", "https://app.example"),), True),
        ((("origin", "https://elsewhere.example"),), False),
        ((("origin", "https://tasks.example:8443"),), False),
        ((("origin", "https://tasks.example.elsewhere.example"),), False),
        ((("origin", "null"),), False),
        ((("origin", "https://[::1"),), False),
    ],
)
async def test_who_is_known_by_a_proxy_changes_something_only_from_a_page_of_ours(
    headers: tuple[tuple[str, str], ...], served: bool
) -> None:
    door = made(trusted_proxies="127.0.0.1", proxy_user_header="x-user", cors_origins="https://app.example",
                proxy_scopes_header="x-scopes")  # fmt: skip
    asked = ("x-user", "anna"), ("x-scopes", "tasks:read tasks:write"), ("host", "tasks.example"), *headers
    await door.admit(request(*asked, client="127.0.0.1"))  # what changes nothing is only hidden from the page
    if served:
        await door.admit(request(*asked, client="127.0.0.1", method="POST"))
    else:
        with pytest.raises(Forbidden, match="STREAMING_CORS_ORIGINS"):
            await door.admit(request(*asked, client="127.0.0.1", method="POST"))
        asks_for_a_repair = request(*asked, client="127.0.0.1")
        await door.admit(asks_for_a_repair)
        with pytest.raises(Forbidden, match="STREAMING_CORS_ORIGINS"):
            door.require_own_page(asks_for_a_repair)


@pytest.mark.parametrize(("peer", "trusted"), [(("10.9.8.7", 1), True), (("203.0.113.5", 1), False), ("", False)])
async def test_the_peer_is_the_other_end_of_the_connection_whatever_the_server_says(peer: Any, trusted: bool) -> None:
    """uvicorn puts into the scope what X-Forwarded-For says, unless it is told not to."""
    door = made(trusted_proxies="10.9.8.7", proxy_user_header="x-user")
    asked = request(("x-user", "anna"), ("x-forwarded-for", "10.9.8.7"), client="203.0.113.9")
    asked.send.__self__.peer = peer  # type: ignore[attr-defined]  # the connection of this test
    if trusted:
        await door.admit(asked)
        assert asked.credential.principal.name == "anna"
    else:
        with pytest.raises(Unauthenticated):
            await door.admit(asked)


async def test_two_stream_tokens_are_none() -> None:
    with pytest.raises(Unauthenticated, match="one credential"):
        await made().admit(request(("host", "localhost"), query="stream_token=a.b.c&stream_token=a.b.c"))


async def test_who_brings_a_key_is_no_browser_that_somebody_leads() -> None:
    await made(api_keys=KEYS).admit(request(key("anna"), ("origin", "https://elsewhere.example"), method="POST"))


# -- how often ---------------------------------------------------------------------------------------------------------


async def test_a_principal_comes_as_often_as_it_may_and_not_once_more() -> None:
    door = made(api_keys=KEYS, rate_limit="3/second")
    for _ in range(3):
        await door.admit(request(key("anna")))
    asked = request(key("anna"))
    with pytest.raises(RateLimited, match="'anna' has sent 3 requests in 1 s") as refused:
        await door.admit(asked)

    assert refused.value.retry_after_s is not None
    assert 0 < refused.value.retry_after_s <= 2
    assert asked.answer_headers["ratelimit-policy"] == '"principal";q=3;w=1'
    assert asked.answer_headers["ratelimit"].startswith('"principal";r=0;t=')
    await door.admit(request(key("bob")))
    await asyncio.sleep(refused.value.retry_after_s)
    await door.admit(request(key("anna")))


async def test_an_address_comes_as_often_as_it_may_whoever_it_is() -> None:
    door = made(api_keys=KEYS, rate_limit_address="2/second")
    await door.admit(request(key("anna")))
    await door.admit(request(key("bob")))
    asked = request(key("anna"))
    with pytest.raises(RateLimited, match="This address has sent 2 requests in 1 s"):
        await door.admit(asked)
    assert asked.answer_headers["ratelimit-policy"] == '"address";q=2;w=1'
    assert asked.answer_headers["ratelimit"].startswith('"address";r=0;t=')
    await door.admit(request(key("anna"), client="203.0.113.10"))


@pytest.mark.parametrize("settings", [{"rate_limit": "1/second"}, {"rate_limit_address": "1/second"}])
async def test_whoever_comes_too_often_waits_for_the_refusal(settings: dict[str, Any]) -> None:
    hits, loop = LimitsHit(), asyncio.get_running_loop()
    door = made(hits, api_keys=KEYS, **settings)
    began = loop.time()
    await door.admit(request(key("anna")))
    assert loop.time() == began
    with pytest.raises(RateLimited) as refused:
        await door.admit(request(key("anna")))

    assert loop.time() == began + HELD_S
    assert counted(hits) == {"held_back": 1}
    assert refused.value.retry_after_s is not None
    await asyncio.sleep(refused.value.retry_after_s)
    await door.admit(request(key("anna")))


async def test_the_addresses_of_one_ipv6_subscriber_are_one() -> None:
    door = made(api_keys=KEYS, rate_limit_address="1/second")
    await door.admit(request(key("anna"), client="2001:db8::1"))
    with pytest.raises(RateLimited):
        await door.admit(request(key("anna"), client="2001:db8::2"))
    await door.admit(request(key("anna"), client="2001:db8:0:1::1"))


async def test_who_is_no_proxy_does_not_choose_the_address_it_is_counted_by() -> None:
    door = made(api_keys=KEYS, rate_limit_address="1/second", trusted_proxies="127.0.0.1")
    await door.admit(request(key("anna"), ("x-forwarded-for", "198.51.100.1")))
    with pytest.raises(RateLimited):
        await door.admit(request(key("anna"), ("x-forwarded-for", "198.51.100.2")))
    for address in ("198.51.100.1", "198.51.100.2"):
        asked = request(key("anna"), ("x-forwarded-for", address), client="127.0.0.1")
        await door.admit(asked)
        assert asked.address == address


@pytest.mark.parametrize(
    ("settings", "headers", "most"),
    [
        ({}, (("host", "localhost"),), None),
        ({"insecure_public": True}, (), 500),
        ({"api_keys": KEYS}, (key("anna"),), 100),
        ({"rate_limit": "7/second"}, (("host", "localhost"),), 7),
        ({"rate_limit_address": "8/second"}, (("host", "localhost"),), 8),
    ],
)
async def test_what_holds_where_nothing_else_is_said(
    settings: dict[str, Any], headers: tuple[tuple[str, str], ...], most: int | None
) -> None:
    door = made(**settings)
    granted = 0
    for _ in range(600):
        try:
            await door.admit(request(*headers))
        except RateLimited:
            break
        granted += 1

    assert granted == (most or 600)


# -- wrong credentials -------------------------------------------------------------------------------------------------


async def fail(door: Door, **more: Any) -> float:
    """Send a wrong credential; how long the answer took."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unauthenticated):
        await door.admit(request(("authorization", "Bearer wrong"), **more))
    return asyncio.get_running_loop().time() - began


async def test_a_wrong_credential_is_answered_at_once_as_long_as_there_are_few() -> None:
    hits = LimitsHit()
    door = made(hits, api_keys=KEYS, rate_limit_failures="3/minute")

    assert [await fail(door) for _ in range(4)] == [0, 0, 0, WRONG_HELD_S]
    assert counted(hits) == {"authentication_failed": 4, "held_back": 1}


async def test_whoever_comes_too_often_does_not_wait_behind_wrong_credentials() -> None:
    door = made(api_keys=KEYS, rate_limit_failures="1/minute", rate_limit="1/second")
    await fail(door)
    wrong = [asyncio.create_task(fail(door)) for _ in range(400)]
    await asyncio.sleep(0)
    await door.admit(request(key("anna")))
    began = asyncio.get_running_loop().time()
    with pytest.raises(RateLimited):
        await door.admit(request(key("anna")))
    assert asyncio.get_running_loop().time() == began + HELD_S
    await asyncio.gather(*wrong)


async def test_only_wrong_ones_are_held_back_and_only_from_that_address() -> None:
    door = made(api_keys=KEYS, rate_limit_failures="1/minute")
    await fail(door)
    assert await fail(door) == WRONG_HELD_S

    began = asyncio.get_running_loop().time()
    await door.admit(request(key("anna")))
    assert asyncio.get_running_loop().time() == began
    assert await fail(door, client="203.0.113.10") == 0


async def test_so_many_are_held_back_and_one_more_is_cut_off() -> None:
    door = made(api_keys=KEYS, rate_limit_failures="1/minute", rate_limit_address="100000/second")
    await fail(door)
    held = [asyncio.create_task(fail(door)) for _ in range(HELD_MAX)]
    await asyncio.sleep(HELD_S / 2)
    one_more = request(("authorization", "Bearer wrong"))
    with pytest.raises(asgineer.DisconnectedError):
        await door.admit(one_more)

    assert one_more.send.__self__.aborted  # type: ignore[attr-defined]  # the connection of this test
    waited = await asyncio.gather(*held)
    assert waited == pytest.approx([WRONG_HELD_S + number * PACE_S for number in range(HELD_MAX)]), "one by one"
    assert not door._held
    assert await fail(door) == WRONG_HELD_S


async def test_whoever_leaves_while_being_held_back_makes_room_at_once() -> None:
    door, loop = made(api_keys=KEYS, rate_limit_failures="1/minute"), asyncio.get_running_loop()
    await fail(door)
    began, asked = loop.time(), request(("authorization", "Bearer wrong"))
    leaving = asyncio.create_task(door.admit(asked))
    await asyncio.sleep(HELD_S / 2)
    assert sum(door._held.values()) == 1
    asked.send.__self__.on_lost()  # type: ignore[attr-defined]  # the connection of this test
    with pytest.raises(asgineer.DisconnectedError):
        await leaving

    assert loop.time() == began + HELD_S / 2
    assert not door._held


async def test_whoever_has_left_before_is_not_held_back() -> None:
    door, loop = made(api_keys=KEYS, rate_limit_failures="1/minute"), asyncio.get_running_loop()
    await fail(door)
    began, asked = loop.time(), request(("authorization", "Bearer wrong"))
    asked.send.__self__.aborted = True  # type: ignore[attr-defined]  # the connection of this test
    with pytest.raises(asgineer.DisconnectedError):
        await door.admit(asked)

    assert loop.time() == began
    assert not door._held


# -- what for ----------------------------------------------------------------------------------------------------------


def credential(*scopes: Scope, task_id: str | None = None) -> Credential:
    return Credential(Principal("anna", frozenset(scopes)), "key:1", task_id=task_id)


async def test_a_scope_that_is_missing_is_named_with_those_that_are_there() -> None:
    asked = request()
    asked.credential = credential(Scope.TASKS_READ)
    made().require(asked, Scope.TASKS_READ, task_id=None, logs=False)
    with pytest.raises(Forbidden, match="needs the scope tasks:write; the credential has tasks:read"):
        made().require(asked, Scope.TASKS_WRITE, task_id=None, logs=False)
    asked.credential = credential()
    with pytest.raises(Forbidden, match="has none"):
        made().require(asked, Scope.TASKS_READ, task_id=None, logs=False)
    made().require(asked, None, task_id=None, logs=False)


@pytest.mark.parametrize(("task_id", "logs", "served"), [("1", True, True), ("1", False, False), ("2", True, False),
                                                          (None, False, False)])  # fmt: skip
async def test_a_stream_token_opens_its_own_log_only(task_id: str | None, logs: bool, served: bool) -> None:
    asked = request()
    asked.credential = credential(Scope.TASKS_READ, task_id="1")
    if served:
        made().require(asked, Scope.TASKS_READ, task_id=task_id, logs=logs)
        return
    with pytest.raises(Forbidden, match="its own task"):
        made().require(asked, Scope.TASKS_READ, task_id=task_id, logs=logs)
    with pytest.raises(Forbidden, match="its own task"):
        made().require(asked, None, task_id=task_id, logs=logs)


# -- who is told -------------------------------------------------------------------------------------------------------


async def test_a_failure_is_told_without_what_was_sent() -> None:
    with capture_logs() as lines:
        await fail(made(api_keys=KEYS), path="/tasks/1", query="stream=abc", client="198.51.100.77")
    told = [line for line in lines if line["event"] == "authentication_failed"]

    assert [(line["address"], line["method"], line["path"]) for line in told] == [("198.51.100.77", "GET", "/tasks/1")]
    assert "wrong" not in str(told)
    assert "abc" not in str(told)


async def test_every_act_of_an_admin_is_told_however_many_there_are() -> None:
    asked = request(method="DELETE")
    asked.credential = Credential(Principal("root", frozenset({Scope.ADMIN})), "key:7")
    with capture_logs() as lines:
        for number in range(50):
            made().require(asked, Scope.TASKS_WRITE, task_id=str(number), logs=False)

    assert [line["task_id"] for line in lines] == [str(number) for number in range(50)]


async def test_what_an_admin_changes_is_told() -> None:
    asked = request(method="DELETE")
    asked.credential = Credential(Principal("root", frozenset({Scope.ADMIN})), "key:7")
    with capture_logs() as lines:
        made().require(asked, Scope.TASKS_WRITE, task_id="5", logs=False)
        asked.method = "GET"
        made().require(asked, Scope.TASKS_READ, task_id="5", logs=False)
        asked.credential = Credential(Principal("anna", SCOPES_DEFAULT), "key:8")
        asked.method = "DELETE"
        made().require(asked, Scope.TASKS_WRITE, task_id="5", logs=False)

    assert [(line["event"], line["principal"], line["task_id"], line["log_level"]) for line in lines] == [
        ("admin_act", "root", "5", "info")
    ]


async def test_a_credential_that_ends_while_its_request_waits_is_told() -> None:
    hits = LimitsHit()
    door, asked = made(hits, api_keys=KEYS), request(client="198.51.100.78")
    asked.address = "198.51.100.78"
    asked.credential = Credential(Principal("anna", SCOPES_DEFAULT), "jwt:anna:1", expires_at=1.0)
    with capture_logs() as lines, pytest.raises(Unauthenticated):
        await door.require_still_good(asked)

    assert [(line["event"], line["reason"], line["principal"]) for line in lines] == [
        ("authentication_failed", "over_meanwhile", "anna")
    ]
    assert counted(hits) == {"authentication_failed": 1}


async def test_a_queue_of_refusals_has_an_end() -> None:
    """Whoever comes behind very many waits at most twice as long as the first of them."""
    door = made(api_keys=KEYS, rate_limit_failures="1/minute")
    door._due[WRONG_HELD_S] = asyncio.get_running_loop().time() + 1000
    await fail(door)

    assert await fail(door) == 2 * WRONG_HELD_S
