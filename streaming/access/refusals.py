"""Refusing a credential, in few words.

A client learns that its credential is not good, and whether that is because its time is over: no more, since who asks
may be somebody who tries. Those who run the server get a word more, in ``reason``.

Owns:   the challenges, and the words of refusals.
Never:  quotes a credential, or says what would have been right.
"""

from __future__ import annotations

from streaming.errors import Unauthenticated

#: A credential is asked for (RFC 6750, 3).
CHALLENGE = 'Bearer realm="streaming"'

#: The one that came is not good (RFC 6750, 3.1).
INVALID = f'{CHALLENGE}, error="invalid_token"'


def invalid(what: str, reason: str) -> Unauthenticated:
    """Something is not good; ``what`` begins a sentence."""
    return Unauthenticated(f"{what} is not valid.", challenge=INVALID, reason=reason)


def expired(what: str) -> Unauthenticated:
    """Something was good once; ``what`` begins a sentence."""
    return Unauthenticated(f"{what} has expired.", challenge=INVALID, reason="expired")
