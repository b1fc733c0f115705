"""A token is taken if who signs for this server has signed exactly it, and for no other reason."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import httpx
import jwt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from streaming.access import tokens as tokens_module
from streaming.access.tokens import REMEMBERED, Tokens
from streaming.errors import InvalidSettings, StoreUnavailable, Unauthenticated
from streaming.rules.access import SCOPES_DEFAULT, Principal
from streaming.testing.settings import settings_of
from tests.access.clock import NOW, Clock
from tests.access.signing import SECRET, claims, ec_key, jwk, key_set, public_pem, raw_token, rsa_key, token

URL = "https://keys.example/jwks.json"


class Published:
    """Public keys that somebody publishes."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.fetches = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.fetches += 1
        return httpx.Response(200, stream=httpx.ByteStream(key_set(*self.keys)))


def secret_tokens(**more: Any) -> Tokens:
    return Tokens(settings_of(jwt_secret=SECRET, **more), Clock(0))


def public_tokens(*keys: dict[str, Any], **more: Any) -> Tokens:
    published = Published(*(keys or (jwk(rsa_key(), "one"), jwk(ec_key(), "two"))))
    return Tokens(settings_of(jwt_jwks_url=URL, **more), Clock(0), httpx.MockTransport(published))


def both_tokens() -> Tokens:
    return public_tokens(jwt_secret=SECRET)


async def reason(tokens: Tokens, text: str, now: float = NOW) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await tokens.find(text, now)
    assert caught.value.challenge == 'Bearer realm="streaming", error="invalid_token"'
    assert caught.value.detail in ("The token is not valid.", "The token has expired.")
    return caught.value.reason


def name_of_key(algorithm: str) -> tuple[Any, str]:
    return (rsa_key(), "one") if algorithm == "RS256" else (ec_key(), "two")


# -- what is taken -----------------------------------------------------------------------------------------------------


async def test_a_token_with_the_secret_is_taken() -> None:
    text = token()
    found = await secret_tokens().find(text, NOW)

    assert (found.principal, found.expires_at, found.task_id) == (Principal("alice", SCOPES_DEFAULT), NOW + 610, None)
    assert found.id == f"jwt:alice:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    assert (await secret_tokens().find(token(jti="seven"), NOW)).id == "jwt:alice:seven"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_token_with_a_published_key_is_taken(algorithm: str) -> None:
    key, kid = name_of_key(algorithm)

    assert (await public_tokens().find(token(key, algorithm, {"kid": kid}), NOW)).principal.name == "alice"
    assert (await public_tokens().find(token(key, algorithm), NOW)).principal.name == "alice"
    assert (await both_tokens().find(token(key, algorithm, {"kid": kid}), NOW)).principal.name == "alice"


async def test_where_both_are_configured_the_secret_counts_as_well() -> None:
    assert (await both_tokens().find(token(headers={"kid": "one"}), NOW)).principal.name == "alice"


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+JWT", ""])
async def test_an_access_token_may_say_that_it_is_one(kind: str) -> None:
    await secret_tokens().find(token(headers={"typ": kind}), NOW)


# -- who has signed ----------------------------------------------------------------------------------------------------


async def test_another_secret_is_refused() -> None:
    assert await reason(secret_tokens(), token(SECRET[::-1])) == "signature"
    assert await reason(both_tokens(), token(SECRET[::-1])) == "signature"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_another_key_under_the_same_name_is_refused(algorithm: str) -> None:
    key = {"RS256": rsa_key("two"), "ES256": ec_key("two")}[algorithm]

    assert await reason(public_tokens(), token(key, algorithm, {"kid": name_of_key(algorithm)[1]})) == "signature"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_public_key_is_no_secret(algorithm: str) -> None:
    key, kid = name_of_key(algorithm)
    header, payload = {"alg": "HS256", "kid": kid, "typ": "JWT"}, claims(scope="admin")
    for secret in (public_pem(key), public_pem(key).rstrip(b"\n"), json.dumps(jwk(key, kid)).encode()):
        signed = raw_token(header, payload).rpartition(".")[0]
        mac = hmac.digest(secret, signed.encode(), "sha256")
        forged = f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

        assert await reason(public_tokens(), forged) == "unknown_signer"
        assert await reason(both_tokens(), forged) == "signature"


@pytest.mark.parametrize("pem", [lambda: public_pem(rsa_key()), lambda: public_pem(ec_key())])
def test_a_public_key_cannot_be_configured_as_the_secret(pem: Any) -> None:
    with pytest.raises(InvalidSettings, match="STREAMING_JWT_SECRET") as caught:
        Tokens(settings_of(jwt_secret=pem().decode()), Clock(0))
    assert "BEGIN" not in f"{caught.value} {caught.value.errors}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
async def test_no_signature_is_refused(algorithm: str) -> None:
    for signature in (b"", b"x"):
        forged = raw_token({"alg": algorithm}, claims(), signature)
        assert await reason(both_tokens(), forged) in ("algorithm", "token_form")


@pytest.mark.parametrize(
    "algorithm",
    ["HS384", "HS512", "RS384", "RS512", "PS256", "ES384", "ES256K", "EdDSA", "hs256", "", None, 1, ["HS256"]],
)
async def test_other_algorithms_are_refused(algorithm: Any) -> None:
    assert await reason(both_tokens(), raw_token({"alg": algorithm}, claims())) == "algorithm"


async def test_a_longer_hash_under_the_same_secret_is_refused() -> None:
    assert await reason(secret_tokens(), jwt.encode(claims(), SECRET * 2, "HS512")) == "algorithm"


async def test_an_algorithm_without_its_keys_is_refused() -> None:
    assert await reason(public_tokens(), token()) == "unknown_signer"
    for algorithm in ("RS256", "ES256"):
        key, kid = name_of_key(algorithm)
        assert await reason(secret_tokens(), token(key, algorithm, {"kid": kid})) == "unknown_signer"
    assert await reason(Tokens(settings_of(), Clock(0)), token()) == "unknown_signer"


async def test_a_key_is_good_for_its_own_algorithm_only() -> None:
    assert await reason(public_tokens(), token(rsa_key(), "RS256", {"kid": "two"})) == "unknown_signer"
    assert await reason(public_tokens(), token(ec_key(), "ES256", {"kid": "one"})) == "unknown_signer"


async def test_an_unknown_key_is_refused_and_a_nameless_one_where_there_are_more() -> None:
    several = (jwk(rsa_key(), "one"), jwk(rsa_key("two"), "two"))

    assert await reason(public_tokens(*several), token(rsa_key(), "RS256", {"kid": "three"})) == "unknown_signer"
    assert await reason(public_tokens(*several), token(rsa_key(), "RS256")) == "unknown_signer"
    await public_tokens(*several).find(token(rsa_key("two"), "RS256", {"kid": "two"}), NOW)


async def test_a_weak_key_is_refused() -> None:
    weak = rsa_key("weak", 1024)

    assert await reason(public_tokens(jwk(weak, "one")), token(weak, "RS256", {"kid": "one"})) == "unknown_signer"


# -- what a header may say ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": True},
        {"jku": URL},
        {"x5u": URL},
        {"x5c": []},
        {"jwk": jwk(rsa_key())},
        {"zip": "DEF"},
        {"enc": "A128GCM"},
        {"b64": True},
    ],
)
async def test_a_header_does_not_say_where_keys_are_or_how_to_read_on(header: dict[str, Any]) -> None:
    payload = {"alg": "RS256", "kid": "one", **header}

    assert await reason(public_tokens(), raw_token(payload, claims())) in ("header", "token_form")


@pytest.mark.parametrize("kid", [1, None, True, ["one"], {"kid": "one"}])
async def test_the_name_of_a_key_is_a_text(kid: Any) -> None:
    assert await reason(public_tokens(), raw_token({"alg": "RS256", "kid": kid}, claims())) in ("token_form", "header")


@pytest.mark.parametrize("kind", ["logout+jwt", "dpop+jwt", "id+jwt", "JWE", "streaming-events+jwt", 1, ["JWT"]])
async def test_a_token_for_another_purpose_is_refused(kind: Any) -> None:
    assert await reason(secret_tokens(), token(headers={"typ": kind})) == "token_type"


# -- what is no token at all -------------------------------------------------------------------------------------------

DEEP = "[" * 3000


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d.e",
        token() + ".",
        token() + "=",
        " " + token(),
        token() + "\n",
        token().replace(".", "..", 1),
        token()[:-1] + "é",
        token()[:-1] + "\ud800",
        token().rpartition(".")[0],
        token().rpartition(".")[0] + ".",
        raw_token([], claims()),
        raw_token("alg", claims()),
        raw_token("{", claims()),
        raw_token('{"alg":"HS256"', claims()),
        raw_token(DEEP, claims()),
        raw_token('{"a":' * 1500, claims()),
        raw_token({"alg": "HS256", "b64": False}, claims()),
    ],
)
async def test_garbage_is_refused(text: str) -> None:
    assert await reason(both_tokens(), text) == "token_form"


def signed(payload: str) -> str:
    """With the right secret, whatever it is."""
    return jwt.PyJWS().encode(payload.encode("utf-8", "surrogatepass"), SECRET, "HS256")


@pytest.mark.parametrize(
    "payload",
    [
        "[]",
        "1",
        "null",
        '"alice"',
        "{",
        DEEP,
        '{"a":' * 1500,
        "\ud800",
        f'{{"exp": {"9" * 5000}}}',
        '{"exp": 1e999',
    ],
)
async def test_what_is_signed_must_be_claims(payload: str) -> None:
    assert await reason(secret_tokens(), signed(payload)) == "signature"


@pytest.mark.parametrize("number", ["1e999", "NaN", "Infinity", "-1", "9" * 400, '"1800000600"', "true", "null", "[]"])
async def test_a_time_of_a_wrong_type_is_refused(number: str) -> None:
    wanted = "claim_missing" if number == "null" else "claim_type"

    assert await reason(secret_tokens(), signed(f'{{"sub": "alice", "exp": {number}}}')) == wanted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2), st.integers(0, 200), st.characters(min_codepoint=33, max_codepoint=126))
@example(2, 42, "A")
async def test_nobody_can_change_a_sign_of_a_token(part: int, place: int, sign: str) -> None:
    parts = token(rsa_key(), "RS256", {"kid": "one"}).split(".")
    place %= len(parts[part])
    if parts[part][place] == sign:
        return
    parts[part] = parts[part][:place] + sign + parts[part][place + 1 :]

    await reason(PUBLIC, ".".join(parts))


PUBLIC = public_tokens()


@given(st.text(alphabet="abcXYZ019-_.=", max_size=60))
async def test_nothing_but_a_refusal_comes_of_garbage(text: str) -> None:
    with pytest.raises(Unauthenticated):
        await secret_tokens().find(text, NOW)


async def test_claims_count_as_they_are_read() -> None:
    assert await reason(secret_tokens(), token(exp=NOW - 60)) == "expired"
    assert await reason(secret_tokens(jwt_audience="here"), token()) == "audience"


# -- what is remembered ------------------------------------------------------------------------------------------------


class Counted:
    """How many signatures were checked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.checks = 0
        monkeypatch.setattr(tokens_module, "_signed", self._check)

    def _check(self, text: str, key: Any, algorithm: str) -> dict[str, Any]:
        self.checks += 1
        return jwt.decode(text, key, [algorithm], {"verify_exp": False, "verify_iat": False})


async def test_a_good_token_is_checked_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, tokens, text = Counted(monkeypatch), secret_tokens(), token()
    found = [await tokens.find(text, NOW + after) for after in (0, 1, 59.9)]

    assert counted.checks == 1
    assert found[0] is found[2]
    await tokens.find(text, NOW + 60)
    await tokens.find(text, NOW + 59)  # the clock was put back: nobody knows since when it is remembered
    assert counted.checks == 3


async def test_a_token_is_remembered_no_longer_than_it_is_good() -> None:
    tokens, text = secret_tokens(jwt_leeway_s=0), token(exp=NOW + 5)
    await tokens.find(text, NOW + 4.9)

    assert await reason(tokens, text, NOW + 5) == "expired"


async def test_a_token_without_an_end_is_remembered_for_a_minute_too(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, tokens, text = Counted(monkeypatch), secret_tokens(jwt_require=[]), token(exp=None)
    for after in (0, 59, 60):
        assert (await tokens.find(text, NOW + after)).expires_at is None
    assert counted.checks == 2


async def test_a_refused_token_is_not_remembered_and_no_good_one_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, good = secret_tokens(), token()
    await tokens.find(good, NOW)
    head, payload, _ = good.split(".")

    for forged in (f"{head}.{payload}.{'A' * 43}", good[:-4] + "AAAA"):
        assert await reason(tokens, forged) == "signature"


async def test_a_bounded_number_is_remembered_and_the_one_that_is_used_least_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted, tokens = Counted(monkeypatch), secret_tokens()
    texts = [token(jti=str(number)) for number in range(REMEMBERED + 1)]
    for text in texts[:-1]:
        await tokens.find(text, NOW)
    await tokens.find(texts[0], NOW)
    await tokens.find(texts[-1], NOW)
    assert counted.checks == REMEMBERED + 1

    await tokens.find(texts[0], NOW)
    assert counted.checks == REMEMBERED + 1
    await tokens.find(texts[1], NOW)
    assert counted.checks == REMEMBERED + 2


async def test_with_other_public_keys_nothing_is_remembered() -> None:
    published, ticks = Published(jwk(rsa_key(), "one")), Clock(0)
    tokens = Tokens(settings_of(jwt_jwks_url=URL), ticks, httpx.MockTransport(published))
    text = token(rsa_key(), "RS256", {"kid": "one"})
    await tokens.find(text, NOW)
    published.keys = [jwk(rsa_key("two"), "two")]
    await tokens.find(text, NOW)
    ticks.move(300)
    await tokens.renew()

    assert await reason(tokens, text) == "unknown_signer"


async def test_with_the_same_public_keys_tokens_stay_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, published, ticks = Counted(monkeypatch), Published(jwk(rsa_key(), "one")), Clock(0)
    tokens = Tokens(settings_of(jwt_jwks_url=URL), ticks, httpx.MockTransport(published))
    text = token(rsa_key(), "RS256", {"kid": "one"})
    await tokens.find(text, NOW)
    ticks.move(300)
    await tokens.renew()
    await tokens.find(text, NOW)

    assert (published.fetches, counted.checks) == (2, 1)


# -- all together ------------------------------------------------------------------------------------------------------


def test_whether_tokens_are_configured() -> None:
    assert [each.configured for each in (Tokens(settings_of(), Clock(0)), secret_tokens(), public_tokens())] == [
        False,
        True,
        True,
    ]


async def test_while_nobody_knows_the_keys_it_is_no_fault_of_the_token() -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    tokens = Tokens(settings_of(jwt_jwks_url=URL, jwt_secret=SECRET), Clock(0), httpx.MockTransport(away))
    with pytest.raises(StoreUnavailable):
        await tokens.find(token(rsa_key(), "RS256", {"kid": "one"}), NOW)
    await tokens.find(token(), NOW)


async def test_closing_and_renewing_without_public_keys_is_nothing() -> None:
    for tokens in (secret_tokens(), public_tokens()):
        await tokens.renew()
        await tokens.close()
        await tokens.close()
