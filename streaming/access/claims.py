"""What a token says whose signature is right: who it is for, and from when until when.

A signature says who has written a token, not that it is for this server, nor that its writer has thought of everything:
each claim that is looked at has the type that RFC 7519 gives it, or the token is refused.

Owns:   the meaning of claims.
Never:  looks at a signature or a clock; grants ``admin`` to a token that does not name it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streaming.access.refusals import expired, invalid
from streaming.config import Settings
from streaming.errors import Unauthenticated
from streaming.rules.access import SCOPES_DEFAULT, Principal, Scope, known_scopes, read_name

#: How refusals of a token begin.
WHAT = "The token"

#: The end of the year 9999: what is later is no time here.
_LAST = 253_402_300_799

_JTI = re.compile(r"[!-~]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says.

    Attributes:
        principal: who it is for.
        expires_at: seconds since 1970 when it is over here, with the leeway; None if it has no end.
        jti: its own name, if it has one that can be shown.
    """

    principal: Principal
    expires_at: float | None
    jti: str | None


def read_claims(payload: Mapping[str, Any], settings: Settings, now: float) -> Claims:
    """Read the claims of a token.

    Args:
        payload: its claims.
        settings: all that begin with ``jwt_``.
        now: seconds since 1970.

    Raises:
        Unauthenticated: the token is not good here, or not now.
    """
    for name in settings.jwt_require:
        if payload.get(name) is None:
            raise _wrong("claim_missing")
    _check_address(payload, settings)
    expires_at = _check_times(payload, settings.jwt_leeway_s, now)
    if not isinstance(payload.get("sub", ""), str) or not isinstance(payload.get("jti", ""), str):
        raise _wrong("claim_type")
    jti = payload.get("jti", "")
    return Claims(_principal(payload, settings), expires_at, jti if _JTI.match(jti) else None)


def _check_address(payload: Mapping[str, Any], settings: Settings) -> None:
    """For whom it is, and from whom. A token for somebody who is named is not for a server without a name."""
    audience = payload.get("aud", [])
    names = [audience] if isinstance(audience, str) else audience
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _wrong("claim_type")
    if ("aud" in payload) if settings.jwt_audience is None else (settings.jwt_audience not in names):
        raise _wrong("audience")
    if settings.jwt_issuer is not None and payload.get("iss") != settings.jwt_issuer:
        raise _wrong("issuer")


def _check_times(payload: Mapping[str, Any], leeway_s: float, now: float) -> float | None:
    end, begin, written = (_time(payload, name) for name in ("exp", "nbf", "iat"))
    if max(begin or 0, written or 0) > now + leeway_s:
        raise _wrong("not_yet")
    if end is None:
        return None
    if now >= end + leeway_s:
        raise expired(WHAT)
    return end + leeway_s


def _time(payload: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519, 2)."""
    if name not in payload:
        return None
    value = payload[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST:  # NaN is not, either
        raise _wrong("claim_type")
    return float(value)


def _principal(payload: Mapping[str, Any], settings: Settings) -> Principal:
    tenant_claim = settings.jwt_tenant_claim
    return Principal(
        _name(payload, settings.jwt_principal_claim),
        _scopes(payload, settings.jwt_scope_claim),
        None if tenant_claim is None else _name(payload, tenant_claim),
    )


def _name(payload: Mapping[str, Any], claim: str) -> str:
    value = payload.get(claim)
    if not isinstance(value, str):
        raise _wrong("no_name")
    try:
        return read_name(value)
    except ValueError:
        raise _wrong("no_name") from None


def _scopes(payload: Mapping[str, Any], claim: str) -> frozenset[Scope]:
    """Those that are known here; others are for somebody else. A token without the claim is not restricted by it."""
    if claim not in payload:
        return SCOPES_DEFAULT
    value = payload[claim]
    words = value.split(" ") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _wrong("claim_type")
    return known_scopes(words)


def _wrong(reason: str) -> Unauthenticated:
    return invalid(WHAT, reason)
