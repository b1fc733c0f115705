"""Short-lived tokens for one stream: a browser's EventSource can send no header, and an address is not kept secret.

A token of this kind opens the events of one task, for some minutes, and nothing else. It ends with the credential that
has asked for it: `parent_of` says which that is.

Owns:   making and reading these tokens.
Never:  takes a token that was made for anything else: they have a key, a type and an audience of their own.
"""

from __future__ import annotations

import hmac
from typing import Any

import jwt

from streaming.access.refusals import expired, invalid
from streaming.errors import Forbidden
from streaming.rules.access import Credential, Principal, Scope

#: How the id of every credential begins that a stream token has shown; the id of the parent follows.
KIND = "stream:"

_AUDIENCE = "streaming/events"
_TYPE = "streaming-events+jwt"
_ALGORITHM = "HS256"
_WHAT = "The stream token"

#: The key is made with it, so that the secret may serve for something else as well.
_PURPOSE = b"streaming/events 1"

#: The times are compared here, with a clock that is given.
_OPTIONS: Any = {"verify_exp": False, "verify_iat": False, "require": ["exp", "aud", "sub", "task", "parent"]}


class StreamTokens:
    """Makes stream tokens, and reads them.

    Args:
        secret: of the server, the same in all processes that serve the same tasks.
    """

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), _PURPOSE, "sha256")

    def issue(self, credential: Credential, task_id: str, lifetime_s: float, now: float) -> tuple[str, float]:
        """Make a token.

        Args:
            credential: asks for it; its principal sees the task.
            task_id: whose events it opens.
            lifetime_s: how long, at most.
            now: seconds since 1970.

        Returns:
            The token, and when it is over, in seconds since 1970.

        Raises:
            Forbidden: this credential may not read tasks, or is a stream token itself.
        """
        if credential.task_id is not None or not credential.principal.may(Scope.TASKS_READ):
            raise Forbidden("A stream token needs the scope tasks:read, and is not given for another stream token.")
        end = now + lifetime_s if credential.expires_at is None else min(now + lifetime_s, credential.expires_at)
        payload = {
            "aud": _AUDIENCE,
            "sub": credential.principal.name,
            "tenant": credential.principal.tenant,
            "task": task_id,
            "parent": credential.id,
            "exp": end,
        }
        return jwt.encode(payload, self._key, _ALGORITHM, headers={"typ": _TYPE}), end

    def find(self, token: str, now: float) -> Credential:
        """The credential of a token: it may read one task.

        Args:
            token: as it came.
            now: seconds since 1970.

        Raises:
            Unauthenticated: it is not good, or not any more.
        """
        try:
            found = jwt.decode_complete(token, self._key, [_ALGORITHM], _OPTIONS, audience=_AUDIENCE)
        except (jwt.PyJWTError, ValueError, TypeError):
            raise invalid(_WHAT, "stream_token") from None
        if found["header"].get("typ") != _TYPE:
            raise invalid(_WHAT, "stream_token")
        said = found["payload"]
        if now >= said["exp"]:
            raise expired(_WHAT)
        principal = Principal(said["sub"], frozenset({Scope.TASKS_READ}), said.get("tenant"))
        return Credential(principal, KIND + said["parent"], said["exp"], said["task"])


def parent_of(credential_id: str) -> str | None:
    """The id of the credential that has asked for a stream token; None for a credential of another kind."""
    return credential_id.removeprefix(KIND) if credential_id.startswith(KIND) else None
