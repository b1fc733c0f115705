"""A stream token opens one stream for a while, and neither it nor any other token passes for the other."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from streaming.access.stream_tokens import StreamTokens, parent_of
from streaming.access.tokens import Tokens
from streaming.errors import Forbidden, Unauthenticated
from streaming.rules.access import ANONYMOUS, SCOPES_DEFAULT, Credential, Principal, Scope
from streaming.testing.settings import settings_of
from tests.access.clock import NOW, Clock
from tests.access.signing import SECRET, claims, raw_token, token

ALICE = Credential(Principal("alice", SCOPES_DEFAULT, "acme"), "key:abc")
STREAMS = StreamTokens(SECRET)


def refused(text: str, now: float = NOW, streams: StreamTokens = STREAMS) -> str:
    with pytest.raises(Unauthenticated) as caught:
        streams.find(text, now)
    assert caught.value.challenge == 'Bearer realm="streaming", error="invalid_token"'
    return caught.value.reason


def test_it_may_read_one_task_and_no_more() -> None:
    text, end = STREAMS.issue(ALICE, "task-1", 300, NOW)

    assert end == NOW + 300
    assert STREAMS.find(text, NOW) == Credential(
        Principal("alice", frozenset({Scope.TASKS_READ}), "acme"), "stream:key:abc", NOW + 300, "task-1"
    )


@pytest.mark.parametrize("credential", [Credential(ANONYMOUS, "anonymous"), Credential(ANONYMOUS, "key:é€")])
def test_one_of_an_admin_is_none(credential: Credential) -> None:
    found = STREAMS.find(STREAMS.issue(credential, "t", 300, NOW)[0], NOW)

    assert not found.principal.admin
    assert (found.principal.tenant, parent_of(found.id)) == (None, credential.id)


def test_it_ends_with_its_time() -> None:
    text, end = STREAMS.issue(ALICE, "t", 0.5, NOW)

    STREAMS.find(text, end - 0.001)
    assert refused(text, end) == "expired"


def test_it_ends_with_the_credential_that_has_asked() -> None:
    short = Credential(ALICE.principal, "jwt:alice:7", NOW + 60)

    assert STREAMS.issue(short, "t", 300, NOW)[1] == NOW + 60
    assert STREAMS.issue(short, "t", 30, NOW)[1] == NOW + 30
    text, _ = STREAMS.issue(short, "t", 300, NOW + 60)
    assert refused(text, NOW + 60) == "expired"


def test_no_stream_token_asks_for_another_and_nobody_who_may_not_read() -> None:
    text, _ = STREAMS.issue(ALICE, "t", 300, NOW)
    writer = Credential(Principal("bob", frozenset({Scope.TASKS_WRITE, Scope.FEED_READ})), "key:abc")

    for credential in (STREAMS.find(text, NOW), writer):
        with pytest.raises(Forbidden):
            STREAMS.issue(credential, "t", 300, NOW)


def test_another_secret_makes_other_tokens() -> None:
    text, _ = StreamTokens(SECRET[::-1]).issue(ALICE, "t", 300, NOW)

    assert refused(text) == "stream_token"


async def test_it_is_no_ordinary_token_even_with_the_same_secret() -> None:
    text, _ = STREAMS.issue(ALICE, "t", 300, NOW)

    for settings in ({}, {"jwt_audience": "streaming/events"}):
        with pytest.raises(Unauthenticated):
            await Tokens(settings_of(jwt_secret=SECRET, **settings), Clock(0)).find(text, NOW)


SAID: dict[str, Any] = {
    "aud": "streaming/events",
    "task": "t",
    "parent": "key:abc",
    "tenant": None,
    "scope": "tasks:read",
}


@pytest.mark.parametrize("kind", ["JWT", "streaming-events+jwt"])
def test_an_ordinary_token_is_no_stream_token_even_with_the_same_secret(kind: str) -> None:
    assert refused(token(headers={"typ": kind}, **SAID)) == "stream_token"


def own(kind: str | None = "streaming-events+jwt", algorithm: str = "HS256", **changes: Any) -> str:
    """Signed with the right key, as a server of another version might."""
    said = {name: value for name, value in claims(**{**SAID, **changes}).items() if value is not None}
    return jwt.encode(said, STREAMS._key, algorithm, {"typ": kind})


def test_with_the_right_key_it_still_has_to_be_a_stream_token() -> None:
    STREAMS.find(own(), NOW)
    for changes in (
        {"aud": None},
        {"aud": "elsewhere"},
        {"task": None},
        {"parent": None},
        {"sub": None},
        {"exp": None},
    ):
        assert refused(own(**changes)) == "stream_token"
    for kind in (None, "JWT", "streaming-events"):
        assert refused(own(kind)) == "stream_token"


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_is_refused(algorithm: str) -> None:
    assert refused(own(algorithm=algorithm)) == "stream_token"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "a.b.c",
        "\ud800",
        "é",
        own() + "x",
        raw_token({"alg": "none"}, claims(**SAID), b""),
        raw_token("[" * 3000, {}),
    ],
)
def test_garbage_is_refused(text: str) -> None:
    assert refused(text) == "stream_token"


def test_only_a_stream_token_has_a_parent() -> None:
    assert [parent_of(id) for id in ("stream:key:abc", "key:abc", "stream:", "jwt:stream:1")] == [
        "key:abc",
        None,
        "",
        None,
    ]
