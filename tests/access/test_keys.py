"""API keys: nobody can make one from what is remembered of it, and no mistake shows one."""

from __future__ import annotations

import hashlib
import re

import pytest

from streaming.access.keys import ConfiguredKeys, hash_of, is_same, new_key, read_key
from streaming.errors import InvalidSettings
from streaming.rules.access import SCOPES_DEFAULT, Principal, Scope
from tests.access.signing import SECRET

ALICE = Principal("alice", frozenset({Scope.TASKS_READ}), "acme")
CREATED = "2027-01-15T08:00:00.000000Z"


def test_a_new_key_has_an_id_that_may_be_shown_and_a_secret_that_is_not_remembered() -> None:
    text, key = new_key(ALICE, created_at=CREATED)

    assert re.fullmatch(r"strm_[a-z2-7]{16}_[A-Za-z0-9_-]{43}", text)
    id, secret = read_key(text) or ("", "")
    assert (key.id, key.principal, key.created_at, key.expires_at, key.revoked_at) == (id, ALICE, CREATED, None, None)
    assert key.hash == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in repr(key)
    assert is_same(secret, key.hash)


def test_no_two_keys_are_the_same() -> None:
    made = [new_key(ALICE, created_at=CREATED, expires_at="2028-01-15T08:00:00.000000Z") for _ in range(100)]

    assert len({key.id for _, key in made}) == len({text[-43:] for text, _ in made}) == 100
    assert {key.expires_at for _, key in made} == {"2028-01-15T08:00:00.000000Z"}


@pytest.mark.parametrize("secret", ["", "x", "é"])
def test_another_secret_is_not_the_same(secret: str) -> None:
    assert not is_same(secret, hash_of("y"))
    assert not is_same(secret, "é")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "strm_",
        "strm_abcdefghijklmnop",
        "strm_abcdefghijklmnop_",
        f"strm_abcdefghijklmnop_{'x' * 42}",
        f"strm_abcdefghijklmnop_{'x' * 44}",
        f"strm_abcdefghijklmno1_{'x' * 43}",
        f"strm_ABCDEFGHIJKLMNOP_{'x' * 43}",
        f"STRM_abcdefghijklmnop_{'x' * 43}",
        f"strm_abcdefghijklmnop_{'x' * 42}é",
        f"strm_abcdefghijklmnop_{'x' * 43}\n",
        f" strm_abcdefghijklmnop_{'x' * 43}",
    ],
)
def test_what_has_another_form_is_no_key(text: str) -> None:
    assert read_key(text) is None


def test_configured_keys_have_a_principal_and_perhaps_scopes() -> None:
    keys = ConfiguredKeys("s3cret:alice, k2:ops:admin,\nk3:bob:tasks:read  feed:read,", SECRET)

    found = {text: keys.find(text) for text in ("s3cret", "k2", "k3")}
    principals = {text: credential.principal for text, credential in found.items() if credential is not None}
    assert principals == {
        "s3cret": Principal("alice", SCOPES_DEFAULT),
        "k2": Principal("ops", frozenset({Scope.ADMIN})),
        "k3": Principal("bob", frozenset({Scope.TASKS_READ, Scope.FEED_READ})),
    }
    assert not principals["s3cret"].admin
    assert {credential.id for credential in found.values() if credential is not None} == keys.ids
    assert [keys.find(text) for text in ("", "s3cre", "s3crets", "alice", "s3cret:alice", "é")] == [None] * 6


def test_every_configured_key_is_looked_at_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ConfiguredKeys("k1:a,k2:b,k3:c", SECRET)
    compared: list[bytes] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append(a)
        return a == b

    monkeypatch.setattr("streaming.access.keys.hmac.compare_digest", compare)

    for text in ("k1", "k3", "unknown"):
        compared.clear()
        keys.find(text)
        assert len(compared) == 3


def test_nothing_of_a_configured_key_is_kept_and_its_id_tells_nothing() -> None:
    keys = ConfiguredKeys("s3cret:alice", SECRET)
    again, elsewhere = ConfiguredKeys("s3cret:alice", SECRET), ConfiguredKeys("s3cret:alice", SECRET[::-1])

    assert "s3cret" not in repr(vars(keys))
    assert keys.ids == again.ids != elsewhere.ids
    assert hashlib.sha256(b"s3cret").hexdigest()[:12] not in "".join(keys.ids)


def test_short_keys_are_named_by_whom_they_are_for() -> None:
    assert ConfiguredKeys(f"{'x' * 15}:alice,{'x' * 16}:bob", SECRET).short == ["alice"]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("s3cret", "a name has"),
        ("s3cret:", "a name has"),
        (":alice", "a key has"),
        ("s3cret :alice", "a key has"),
        ("s3crét:alice", "a key has"),
        ("s3cret" + "x" * 251 + ":alice", "a key has"),
        ("s3cret:al ice", "a name has"),
        ("s3cret:" + "a" * 129, "a name has"),
        ("s3cret:alice:", "come scopes"),
        ("s3cret:alice: ", "come scopes"),
        ("s3cret:alice:everything", "come scopes"),
        ("alice:tasks:s3cret", "come scopes"),
        ("s3cret:alice:tasks:read|feed:read", "come scopes"),
        ("other:bob", "twice"),
    ],
)
def test_a_wrong_entry_is_named_by_its_number_and_not_quoted(entry: str, says: str) -> None:
    with pytest.raises(InvalidSettings, match=says) as caught:
        ConfiguredKeys(f"other:alice,{entry}", SECRET)

    told = f"{caught.value!r} {caught.value.errors}"
    assert "STREAMING_API_KEYS: entry 2: " in caught.value.detail
    assert "s3cr" not in told
    assert "other" not in told
    assert caught.value.__suppress_context__
