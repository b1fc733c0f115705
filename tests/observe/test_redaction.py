"""What looks like a secret does not get into a log line, and what looks like none stays readable."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.observe.redaction import BLOTTED, blot, names_a_secret

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
KEY = "strm_3f2a9c_c2VjcmV0LW9mLXRoZS1rZXk"

SECRET = [
    KEY,
    f"the key {KEY}, which is old",
    JWT,
    JWT.rpartition(".")[0] + ".",
    JWT[:30],
    "a" * 20 + "." + "b" * 20 + "." + "c" * 20,
    f"Authorization: Bearer {JWT}",
    "Authorization: Bearer c2VjcmV0",
    "authorization: Basic YWxpY2U6c2VjcmV0",
    "Bearer c2VjcmV0c2VjcmV0",
    "Cookie: session=c2VjcmV0; other=c2VjcmV0",
    "X-Api-Key: c2VjcmV0",
    "GET /tasks/1/events?token=c2VjcmV0&last_event_id=1",
    "/events?stream_token=c2VjcmV0",
    "/events?access_token=c2VjcmV0#x",
    "password=c2VjcmV0",
    '{"token": "c2VjcmV0"}',
    '{"stream_token": "c2VjcmV0\\"c2VjcmV0"}',
    "{'api_key': 'c2VjcmV0'}",
    "{'api_key': 'c2VjcmV0\"c2VjcmV0'}",
]
NO_SECRET = [
    "key:3f2a9c",
    "jwt:alice",
    "alice@example.com",
    "streaming.example.company",
    "2001:db8::1",
    "the token is expired",
    "token: expired",
    "no such key: it was revoked",
    "Bearer token expected",
    "a basic mistake",
    "tasks:read",
    "/tasks?key=customer-1&tag=a",
    "streaming.web.application",
    'File "streaming/web/application.py", line 144, in _reply',
    "0" * 32,
]


@pytest.mark.parametrize("text", SECRET)
def test_what_looks_like_a_secret_is_blotted_out(text: str) -> None:
    quoted = json.dumps({"event": text}) if '"' not in text else text
    for shown in (blot(text), blot(quoted)):
        assert BLOTTED in shown
        for part in ("c2VjcmV0", "eyJhbGci", "eyJzdWIi", "YWxpY2U6", "b" * 16, "strm_3f"):
            assert part not in shown


@pytest.mark.parametrize("text", NO_SECRET)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert blot(text) == text


@given(
    st.recursive(
        st.text() | st.sampled_from(SECRET),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text() | st.sampled_from([*SECRET, "token", "api_key", "a_secret"]), inner, max_size=3)
        ),
        max_leaves=6,
    )
)
def test_json_is_json_afterwards(value: object) -> None:
    line = json.dumps(value, ensure_ascii=False)
    shown = json.loads(blot(line))

    assert type(shown) is type(value)


@pytest.mark.parametrize(
    "piece",
    ["a", "a-", "a.", "eyJ", "eyJ.", "token", "token=", "'token", '"', '\\"', "bearer ", "cookie : ", " ", "strm_"],
)
def test_a_long_text_takes_no_longer_than_its_length(piece: str) -> None:
    """In a time that grew with the square of it this test would not end."""
    blot(piece * (1_000_000 // len(piece)))


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("authorization", True),
        ("Authorization", True),
        ("token", True),
        ("stream_token", True),
        ("x-api-key", True),
        ("token_id", False),
        ("key", False),
        ("credential", False),
        ("tokens", False),
    ],
)
def test_a_name_tells_of_a_secret(name: str, secret: bool) -> None:
    assert names_a_secret(name) is secret
