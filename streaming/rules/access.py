"""Who may do what, and whose tasks are whose.

Rules of this file:

- Who may not see a task must not be able to tell that it exists: for them it is one that is not there.
- A tenant and a principal of the same name are not the same: their tasks never mix.

Owns:   scopes, principals, what a credential and an API key are, whether one of them is over.
Never:  reads a secret, a clock, a header or a store (``access``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

#: Longest name of a principal or a tenant, in characters.
NAME_MAX = 128

#: Who calls where nobody has to say who it is.
ANONYMOUS_NAME = "anonymous"

#: Names that stand for somebody else in the history of a task.
RESERVED = frozenset({ANONYMOUS_NAME, "server", "handler"})

_NAME = re.compile(rf"[^\s\x00-\x1f\x7f-\x9f,:]{{1,{NAME_MAX}}}\Z")


class Scope(StrEnum):
    """What a principal may do; see ``docs/security.md``."""

    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    TASKS_CANCEL = "tasks:cancel"
    FEED_READ = "feed:read"
    METRICS_READ = "metrics:read"
    ADMIN = "admin"


_SCOPES = frozenset(map(str, Scope))

#: What somebody has whose credential names no scopes: everything about tasks of their own, nothing about the others.
SCOPES_DEFAULT = frozenset(Scope) - {Scope.METRICS_READ, Scope.ADMIN}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling.

    Attributes:
        name: ``created_by`` of the tasks that it starts.
        scopes: what it may do; ``admin`` holds all the others, and sees the tasks of everybody.
        tenant: principals of one tenant see each other's tasks; None sees its own only.
    """

    name: str
    scopes: frozenset[Scope]
    tenant: str | None = None

    @property
    def anonymous(self) -> bool:
        """Whether it stands for everybody who has no credential."""
        return self.name == ANONYMOUS_NAME and self.tenant is None

    @property
    def owner(self) -> str:
        """Whose its tasks are; see `owner_of`."""
        return owner_of(self.name, self.tenant)

    @property
    def admin(self) -> bool:
        """Whether it sees and may do everything."""
        return Scope.ADMIN in self.scopes

    def may(self, scope: Scope) -> bool:
        """Whether it has this scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def sees(self, created_by: str, tenant: str | None) -> bool:
        """Whether a task of this principal and tenant is there for it."""
        if Scope.ADMIN in self.scopes:
            return True
        return tenant == self.tenant if self.tenant is not None else tenant is None and created_by == self.name


#: Who calls where no credentials are configured.
ANONYMOUS = Principal(ANONYMOUS_NAME, frozenset(Scope))


@dataclass(frozen=True, slots=True)
class Credential:
    """What has shown who is calling; the secret itself is no part of it.

    Attributes:
        principal: who it is.
        id: which credential, for the audit log and for revoking: ``key:...``, ``jwt:...``, ``proxy:...``.
        expires_at: seconds since 1970 at which it is over; None for one that has no end.
        task_id: the only task that it is good for; None for one that is good for all of the principal.
    """

    principal: Principal
    id: str
    expires_at: float | None = None
    task_id: str | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, as it is remembered; the secret is not.

    Attributes:
        id: its public part.
        hash: SHA-256 of the secret part, hexadecimal.
        principal: who it is for.
        created_at: and the other times, RFC 3339.
        expires_at: when it is over; None for never.
        revoked_at: when somebody has revoked it.
    """

    id: str
    hash: str
    principal: Principal
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None

    def good_at(self, time: str) -> bool:
        """Whether it opens anything at this time, RFC 3339."""
        return self.revoked_at is None and (self.expires_at is None or time < self.expires_at)


def owner_of(created_by: str, tenant: str | None) -> str:
    """Whose a task is, as one text: for what everybody names anew, such as keys.

    Args:
        created_by: the principal who started it.
        tenant: its tenant.

    Returns:
        The principal itself where it has no tenant; else both, with the end of a line between, which is in no name.
    """
    return created_by if tenant is None else f"{tenant}\n{created_by}"


def read_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """The scopes with these names.

    Raises:
        ValueError: there is no such scope; the message lists those that there are.
    """
    try:
        return frozenset(map(Scope, words))
    except ValueError:
        unknown = sorted(set(words) - set(Scope))
        raise ValueError(f"there is no scope {unknown[0][:64]!r}; possible: {', '.join(Scope)}") from None


def known_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """The scopes among these words; others are for somebody else."""
    return frozenset(Scope(word) for word in words if word in _SCOPES)


def read_name(text: str) -> str:
    """The name of a principal or a tenant.

    Raises:
        ValueError: it is none.
    """
    if not (_NAME.match(text) and text.isprintable()):
        raise ValueError(f"a name has 1 to {NAME_MAX} printable characters, and no blank, comma or colon")
    if text in RESERVED:
        raise ValueError(f"the name {text} is taken by the server itself")
    return text
