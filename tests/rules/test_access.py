"""Who may do what, and whose tasks are whose: as values."""

from __future__ import annotations

import itertools

import pytest

from streaming.rules.access import (
    ANONYMOUS,
    SCOPES_DEFAULT,
    ApiKey,
    Principal,
    Scope,
    owner_of,
    read_name,
    read_scopes,
)


def test_the_scopes_of_the_contract() -> None:
    assert set(Scope) == {"tasks:read", "tasks:write", "tasks:cancel", "feed:read", "metrics:read", "admin"}
    assert set(Scope) - SCOPES_DEFAULT == {Scope.METRICS_READ, Scope.ADMIN}


@pytest.mark.parametrize("scope", list(Scope))
def test_a_principal_may_what_its_scopes_say_and_an_admin_everything(scope: Scope) -> None:
    only = Principal("anna", frozenset({scope}))

    assert [each for each in Scope if only.may(each)] == (list(Scope) if scope is Scope.ADMIN else [scope])
    assert only.admin is (scope is Scope.ADMIN)
    assert not Principal("anna", frozenset()).may(scope)


#: Principal by (tenant, name), and the tasks that it sees by (tenant, creator).
OWNERS = [(tenant, name) for tenant in (None, "a", "b") for name in ("a", "b")]


@pytest.mark.parametrize(("mine", "theirs"), list(itertools.product(OWNERS, OWNERS)))
def test_a_principal_sees_its_own_tasks_or_those_of_its_tenant(
    mine: tuple[str | None, str], theirs: tuple[str | None, str]
) -> None:
    tenant, name = mine
    same = mine == theirs if tenant is None else tenant == theirs[0]

    assert Principal(name, SCOPES_DEFAULT, tenant).sees(theirs[1], theirs[0]) is same
    assert Principal(name, frozenset(Scope), tenant).sees(theirs[1], theirs[0])


@pytest.mark.parametrize(("mine", "theirs"), list(itertools.product(OWNERS, OWNERS)))
def test_two_owners_have_two_names(mine: tuple[str | None, str], theirs: tuple[str | None, str]) -> None:
    owners = [Principal(name, SCOPES_DEFAULT, tenant).owner for tenant, name in (mine, theirs)]

    assert (owners[0] == owners[1]) is (mine == theirs)
    assert owners[0] == owner_of(mine[1], mine[0])


def test_who_has_no_credential_is_anonymous_whatever_it_may() -> None:
    assert ANONYMOUS.anonymous
    assert ANONYMOUS.admin
    assert Principal("anonymous", frozenset()).anonymous
    assert not Principal("anonymous", SCOPES_DEFAULT, "acme").anonymous
    assert not Principal("anna", SCOPES_DEFAULT).anonymous


@pytest.mark.parametrize(
    ("expires_at", "revoked_at", "good"),
    [(None, None, True), ("2020-01-02", None, False), ("2020-01-03", None, False), ("2020-01-04", None, True),
     (None, "2020-01-01", False), ("2020-01-04", "2020-01-04", False)],
)  # fmt: skip
def test_a_key_is_good_until_it_expires_or_is_revoked(
    expires_at: str | None, revoked_at: str | None, good: bool
) -> None:
    key = ApiKey("1", "", ANONYMOUS, "2020-01-01", expires_at, revoked_at)

    assert key.good_at("2020-01-03") is good


def test_scopes_are_read_by_their_names() -> None:
    assert read_scopes([]) == frozenset()
    assert read_scopes(["tasks:read", "admin", "admin"]) == {Scope.TASKS_READ, Scope.ADMIN}


@pytest.mark.parametrize("word", ["", "tasks", "Tasks:read", "tasks:*", "*", " admin", "admin\n", "x" * 1000])
def test_what_is_no_scope_is_refused_with_those_that_are(word: str) -> None:
    with pytest.raises(ValueError, match="possible: tasks:read, tasks:write, tasks:cancel, feed:read") as refused:
        read_scopes(["admin", word])
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", ["anna", "a", "x" * 128, "anna@example.org", "auth0|5f7c", "Zoë", "a/b"])
def test_names(name: str) -> None:
    assert read_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 129,
        "a b",
        "a\nb",
        "a\n",
        "a\x00",
        "a,b",
        "a:b",
        "\x7f",
        "\x85",
        "\u2028",
        "\t",
        "a\u00a0b",
        "\ud83d",
        "a\u202eb",
        "a\u200bb",
    ],
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="no blank, comma or colon"):
        read_name(name)


@pytest.mark.parametrize("name", ["anonymous", "server", "handler"])
def test_nobody_is_called_what_stands_for_somebody_else(name: str) -> None:
    with pytest.raises(ValueError, match="taken by the server"):
        read_name(name)
