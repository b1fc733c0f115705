"""A right signature is not enough: each claim is what it should be, or the token is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from streaming.access.claims import Claims, read_claims
from streaming.errors import Unauthenticated
from streaming.rules.access import SCOPES_DEFAULT, Principal, Scope
from streaming.testing.settings import settings_of
from tests.access.clock import NOW
from tests.access.signing import claims


def read(now: float = NOW, *, settings: Mapping[str, Any] | None = None, **said: Any) -> Claims:
    return read_claims(claims(**said), settings_of(**(settings or {})), now)


def reason(payload: dict[str, Any], now: float = NOW, **settings: Any) -> str:
    with pytest.raises(Unauthenticated) as caught:
        read_claims(payload, settings_of(**settings), now)
    assert caught.value.challenge == 'Bearer realm="streaming", error="invalid_token"'
    assert caught.value.detail in ("The token is not valid.", "The token has expired.")
    assert ("expired" in caught.value.detail) == (caught.value.reason == "expired")
    return caught.value.reason


def test_a_token_names_its_principal_and_its_end() -> None:
    assert read(jti="7") == Claims(Principal("alice", SCOPES_DEFAULT), NOW + 610, "7")


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        ("tasks:read", {Scope.TASKS_READ}),
        ("tasks:read tasks:write", {Scope.TASKS_READ, Scope.TASKS_WRITE}),
        (["tasks:read", "admin"], {Scope.TASKS_READ, Scope.ADMIN}),
        ("openid  tasks:read email", {Scope.TASKS_READ}),
        ("openid", set()),
        ("", set()),
        ([], set()),
        ("TASKS:READ", set()),
        (["tasks:read tasks:write"], set()),
    ],
)
def test_scopes_are_those_that_are_known_here(claim: Any, scopes: set[Scope]) -> None:
    assert read(scope=claim).principal.scopes == scopes


def test_a_token_without_scopes_is_no_admin() -> None:
    assert not read().principal.admin


def test_other_claims_may_be_meant() -> None:
    settings: dict[str, Any] = {
        "jwt_scope_claim": "https://example.com/roles",
        "jwt_tenant_claim": "org",
        "jwt_principal_claim": "email",
    }
    said: dict[str, Any] = {
        "https://example.com/roles": ["admin"],
        "org": "acme",
        "email": "a@example.com",
        "scope": "feed:read",
    }

    assert read(settings=settings, **said).principal == Principal("a@example.com", frozenset({Scope.ADMIN}), "acme")


def test_without_a_claim_for_tenants_there_are_none() -> None:
    assert read(tenant="acme", org="acme").principal.tenant is None


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    ["1800000600", "soon", True, False, [], {}, math.nan, math.inf, -math.inf, -1, 10**30, 1e30, 253_402_300_800],
)
def test_a_time_is_a_number_of_seconds(name: str, value: Any) -> None:
    assert reason(claims(**{name: value})) == "claim_type"


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_time_that_is_null_is_none(name: str) -> None:
    assert reason({**claims(), name: None}) == "claim_type"


def test_a_time_may_be_late_and_have_fractions() -> None:
    assert read(exp=253_402_300_799, nbf=0, iat=NOW - 0.5).expires_at == 253_402_300_809


@pytest.mark.parametrize(("leeway_s", "end"), [(0, 600), (10, 610)])
def test_a_token_is_over_at_its_end_and_the_leeway(leeway_s: float, end: float) -> None:
    settings: dict[str, Any] = {"jwt_leeway_s": leeway_s}

    assert read(NOW + end - 0.001, settings=settings).expires_at == NOW + end
    assert reason(claims(), NOW + end, **settings) == "expired"


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_token_from_the_future_is_refused_beyond_the_leeway(name: str) -> None:
    early: dict[str, Any] = {name: NOW + 10}
    read(**early)
    assert reason(claims(**{name: NOW + 10.001})) == "not_yet"


def test_claims_that_are_required_are_there() -> None:
    assert reason(claims(exp=None)) == "claim_missing"
    assert reason({**claims(), "exp": None}) == "claim_missing"
    assert reason(claims(), jwt_require=["exp", "iat"]) == "claim_missing"
    assert read(settings={"jwt_require": []}, exp=None).expires_at is None
    assert reason({**claims(), "exp": None}, jwt_require=[]) == "claim_type"


@pytest.mark.parametrize("value", ["here", ["here"], ["there", "here"]])
def test_a_token_for_this_server_is_taken(value: Any) -> None:
    read(settings={"jwt_audience": "here"}, aud=value)


@pytest.mark.parametrize("value", [None, "there", "her", "hereby", "", [], ["there"], "HERE", "here "])
def test_a_token_for_somebody_else_is_refused(value: Any) -> None:
    assert reason(claims(aud=value), jwt_audience="here") == "audience"


@pytest.mark.parametrize("value", ["there", ["there"], "", []])
def test_a_server_without_a_name_takes_no_token_for_somebody(value: Any) -> None:
    assert reason(claims(aud=value)) == "audience"


@pytest.mark.parametrize("settings", [{}, {"jwt_audience": "here"}])
@pytest.mark.parametrize("value", [1, True, {"here": 1}, ["here", 1], [["here"]]])
def test_an_audience_is_a_text_or_a_list_of_texts(value: Any, settings: dict[str, Any]) -> None:
    assert reason(claims(aud=value), **settings) == "claim_type"


def test_an_issuer_is_exactly_the_one_that_is_configured() -> None:
    read(iss="anybody")
    read(settings={"jwt_issuer": "https://a.example"}, iss="https://a.example")
    for value in (None, "", "https://a.exampl", "https://a.example/", "https://b.example", ["https://a.example"], 1):
        assert reason(claims(iss=value), jwt_issuer="https://a.example") == "issuer"


@pytest.mark.parametrize("value", [None, "", "al ice", "a,b", "a:b", "a\x00", "a" * 129])
def test_a_principal_has_a_name(value: Any) -> None:
    assert reason(claims(sub=value)) == "no_name"
    assert reason(claims(org=value), jwt_tenant_claim="org") == "no_name"


@pytest.mark.parametrize("value", [1, True, ["alice"], {"name": "alice"}])
def test_a_name_is_a_text(value: Any) -> None:
    assert reason(claims(sub=value)) == "claim_type"
    assert reason(claims(org=value), jwt_tenant_claim="org") == "no_name"
    assert reason(claims(jti=value)) == "claim_type"


@pytest.mark.parametrize("value", [1, True, {}, ["tasks:read", 1], [["admin"]]])
def test_scopes_are_a_text_or_a_list_of_texts(value: Any) -> None:
    assert reason(claims(scope=value)) == "claim_type"
    assert reason({**claims(), "scope": None}) == "claim_type"


@pytest.mark.parametrize("value", ["", "a b", "é", "x" * 65, "a\nb"])
def test_a_name_of_a_token_that_cannot_be_shown_is_left_out(value: str) -> None:
    assert read(jti=value).jti is None
