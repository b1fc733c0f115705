"""What a proxy says counts if it is one that was named, and nobody chooses by it as whom he counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streaming.access.proxy import Proxies, bucket
from streaming.errors import InvalidSettings, Unauthenticated
from streaming.rules.access import SCOPES_DEFAULT, Principal, Scope
from streaming.testing.settings import settings_of

PROXY = "10.0.0.1"


def proxies(trusted: Sequence[str] = (PROXY,), **settings: Any) -> Proxies:
    return Proxies(settings_of(trusted_proxies=list(trusted), **settings))


ALL = {"proxy_user_header": "X-User", "proxy_scopes_header": "X-Scopes", "proxy_tenant_header": "X-Tenant"}


def headers(**named: str | Sequence[str]) -> Callable[[str], Sequence[str]]:
    found = {f"x-{name}": [value] if isinstance(value, str) else list(value) for name, value in named.items()}
    return lambda name: found.get(name, [])


@pytest.mark.parametrize(
    ("trusted", "peer", "yes"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.0/8", "10.9.9.9", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "::ffff:10.9.9.9", True),
        ("::ffff:10.0.0.0/104", "10.9.9.9", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("2001:db8::/32", "2001:db8::5", True),
        ("2001:db8::/32", "2001:db9::5", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("unix", "unix", True),
        ("10.0.0.1", "unix", False),
        ("unix", "10.0.0.1", False),
        ("unix", None, False),
        ("10.0.0.1", None, False),
        ("10.0.0.1", "", False),
        ("10.0.0.1", "proxy.example", False),
    ],
)
def test_only_a_peer_that_was_named_is_trusted(trusted: str, peer: str | None, yes: bool) -> None:
    assert proxies([trusted]).trusts(peer) is yes


@pytest.mark.parametrize("text", ["", "proxy.example", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "Unix", "*"])
def test_what_is_no_address_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(InvalidSettings, match="STREAMING_TRUSTED_PROXIES"):
        proxies([text])


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "::ffff:0:0/96"])
def test_nobody_trusts_everybody(text: str) -> None:
    with pytest.raises(InvalidSettings, match="everybody"):
        proxies([text])


@pytest.mark.parametrize(
    ("trusted", "named", "says"),
    [
        ([], {"proxy_user_header": "X-User"}, "STREAMING_TRUSTED_PROXIES: must name the proxy"),
        ([PROXY], {"proxy_scopes_header": "X-Scopes"}, "STREAMING_PROXY_USER_HEADER: must be set"),
        ([PROXY], {"proxy_tenant_header": "X-Tenant"}, "STREAMING_PROXY_USER_HEADER: must be set"),
        ([PROXY], {"proxy_user_header": "X-User", "proxy_scopes_header": "x-user"}, "a name of its own"),
    ],
)
def test_settings_that_leave_something_out_are_refused(trusted: list[str], named: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidSettings, match=says):
        proxies(trusted, **named)


def test_a_trusted_proxy_says_who_is_calling() -> None:
    found = proxies(**ALL).credential(
        PROXY, headers(user="alice", scopes="tasks:read,  feed:read staff", tenant="acme")
    )

    assert found is not None
    assert found.principal == Principal("alice", frozenset({Scope.TASKS_READ, Scope.FEED_READ}), "acme")
    assert (found.id, found.expires_at) == ("proxy:alice", None)


def test_without_a_header_for_scopes_and_tenants_there_are_the_usual_ones() -> None:
    found = proxies(["unix"], proxy_user_header="X-User").credential(
        "unix", headers(user="alice", scopes="admin", tenant="acme")
    )

    assert found is not None
    assert found.principal == Principal("alice", SCOPES_DEFAULT)


def test_a_header_for_scopes_that_does_not_come_allows_nothing() -> None:
    found = proxies(proxy_user_header="X-User", proxy_scopes_header="X-Scopes").credential(PROXY, headers(user="alice"))

    assert found is not None
    assert found.principal.scopes == frozenset()


@pytest.mark.parametrize("peer", ["10.0.0.2", "unix", None])
def test_the_headers_of_somebody_else_are_not_seen(peer: str | None) -> None:
    assert proxies(**ALL).credential(peer, headers(user="alice", scopes="admin", tenant="acme")) is None


def test_a_proxy_that_says_nothing_shows_nothing() -> None:
    assert proxies(**ALL).credential(PROXY, headers()) is None
    assert proxies().credential(PROXY, headers(user="alice")) is None
    assert (proxies(**ALL).configured, proxies().configured) == (True, False)


@pytest.mark.parametrize(
    "said",
    [
        {"user": ""},
        {"user": "al ice"},
        {"user": "alice,bob"},
        {"user": "a" * 129},
        {"user": "ali\xe7e"},
        {"user": "alice\n"},
        {"user": ["alice", "alice"]},
        {"tenant": ["acme", "acme"]},
        {"tenant": ""},
        {"tenant": "a:b"},
        {"tenant": []},
        {"scopes": ["tasks:read", "admin"]},
        {"scopes": "tasks:r\xe9ad"},
    ],
)
def test_what_a_proxy_says_twice_or_wrongly_is_refused(said: dict[str, Any]) -> None:
    right = {"user": "alice", "scopes": "tasks:read", "tenant": "acme"}

    with pytest.raises(Unauthenticated) as caught:
        proxies(**ALL).credential(PROXY, headers(**{**right, **said}))
    assert caught.value.reason == "proxy_headers"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["1.1.1.1"], "192.0.2.1"),
        (PROXY, [], PROXY),
        (PROXY, ["192.0.2.1"], "192.0.2.1"),
        (PROXY, ["1.1.1.1, 192.0.2.1"], "192.0.2.1"),
        (PROXY, ["1.1.1.1", "192.0.2.1"], "192.0.2.1"),
        (PROXY, ["1.1.1.1, 192.0.2.1, 10.0.0.7"], "192.0.2.1"),
        (PROXY, ["192.0.2.1", "10.0.0.7,10.0.0.8"], "192.0.2.1"),
        (PROXY, ["10.0.0.9, 10.0.0.7"], "10.0.0.9"),
        (PROXY, ["192.0.2.1:4711"], "192.0.2.1"),
        (PROXY, ["[2001:db8::1]:4711"], "2001:db8::1"),
        (PROXY, ["[2001:db8::1]"], "2001:db8::1"),
        (PROXY, ["2001:DB8:0:0:0:0:0:1"], "2001:db8::1"),
        (PROXY, ["::ffff:192.0.2.1"], "192.0.2.1"),
        ("::ffff:10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("unix", ["192.0.2.1"], "192.0.2.1"),
        (PROXY, ["192.0.2.1, unknown"], PROXY),
        (PROXY, ["192.0.2.1, 10.0.0.7, "], PROXY),
        (PROXY, ["192.0.2.1, unknown, 10.0.0.7"], "10.0.0.7"),
        (PROXY, ["unix"], PROXY),
        (PROXY, ["192.0.2.1:"], PROXY),
        (PROXY, ["192.0.2.999"], PROXY),
        (PROXY, ["fe80::1%1"], PROXY),
        (PROXY, ["[192.0.2.1"], PROXY),
        (PROXY, [""], PROXY),
        (None, ["192.0.2.1"], "unknown"),
        ("proxy.example", ["192.0.2.1"], "proxy.example"),
    ],
)
def test_a_client_is_the_nearest_address_that_is_not_trusted(
    peer: str | None, forwarded: list[str], address: str
) -> None:
    assert proxies(["10.0.0.0/8", "unix"]).client_address(peer, forwarded) == address


@given(st.lists(st.text(max_size=50), max_size=5))
@example(["9" * 5000])
@example(["[" * 50, "\x00", "\ud800"])
def test_nothing_that_a_client_writes_makes_it_somebody_else(written: list[str]) -> None:
    trusted = proxies(["10.0.0.0/8"])

    # A proxy that is trusted writes what it has seen behind what the client has sent.
    assert trusted.client_address(PROXY, [*written, "192.0.2.1"]) == "192.0.2.1"
    assert trusted.client_address(PROXY, [",".join([*written, "192.0.2.1"])]) == "192.0.2.1"
    assert trusted.client_address("192.0.2.1", written) == "192.0.2.1"
    trusted.client_address(PROXY, written)


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_one_client_is_one_address_or_one_network_of_ipv6(address: str, counts_as: str) -> None:
    assert bucket(address) == counts_as
