"""API keys: what they look like, how they are made, and what is remembered of them.

A key that is made here is ``strm_<id>_<secret>``. The id is public: it stands in lists and in the audit log. The secret
has 256 random bits, so its plain SHA-256 tells nobody anything: a slow hash is for secrets that people think of.

Keys that the operator configures are any text, perhaps a short one. They are remembered as an HMAC under the secret of
the server, so that neither memory nor the id of such a key is of use to somebody who guesses.

Owns:   the format; making keys; reading and finding configured ones.
Never:  keeps a key, logs one or puts one into an error; reads a store (``access.ring``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence

from streaming.errors import FieldError, InvalidSettings
from streaming.rules.access import SCOPES_DEFAULT, ApiKey, Credential, Principal, Scope, read_name, read_scopes

#: How the id of every credential begins that is an API key.
KIND = "key:"

_VARIABLE = "STREAMING_API_KEYS"
_FORM = re.compile(r"strm_([a-z2-7]{16})_([A-Za-z0-9_-]{43})\Z")

#: What a header can carry, without the signs that separate keys and their parts here.
_CONFIGURED = re.compile(r"[!-+\--9;-~]{1,256}\Z")

#: A configured key that has fewer characters can be guessed by somebody who is patient.
SHORT = 16


def new_key(principal: Principal, *, created_at: str, expires_at: str | None = None) -> tuple[str, ApiKey]:
    """Make a key.

    Args:
        principal: who it is for; its scopes and tenant are those of the key.
        created_at: RFC 3339.
        expires_at: RFC 3339; None for a key that has no end.

    Returns:
        The key itself, which is to be shown once and then forgotten, and what is to be remembered of it.
    """
    id = base64.b32encode(secrets.token_bytes(10)).decode().lower()
    secret = secrets.token_urlsafe(32)
    return f"strm_{id}_{secret}", ApiKey(id, hash_of(secret), principal, created_at, expires_at)


def read_key(text: str) -> tuple[str, str] | None:
    """The id and the secret of a key; None if the text has another form."""
    found = _FORM.match(text)
    return None if found is None else (found[1], found[2])


def hash_of(secret: str) -> str:
    """What is remembered of the secret part of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


#: Takes the place of a hash that there is not, so that an unknown id costs what a known one does.
NO_HASH = hash_of("")


def is_same(secret: str, hash: str) -> bool:
    """Whether this secret has that hash; it takes as long to say no as to say yes."""
    return hmac.compare_digest(hash_of(secret).encode(), hash.encode())


class ConfiguredKeys:
    """The keys of the operator's settings.

    Args:
        text: ``key:principal`` or ``key:principal:scope scope ...``, separated by commas.
        secret: of the server.

    Raises:
        InvalidSettings: it says which entry is wrong, by number, and quotes none.
    """

    def __init__(self, text: str, secret: str) -> None:
        self._pepper = hmac.digest(secret.encode(), b"configured api keys", "sha256")
        self._credentials: dict[bytes, Credential] = {}
        #: Principals whose keys are short.
        self.short: list[str] = []
        for number, entry in enumerate(filter(None, map(str.strip, text.split(","))), 1):
            try:
                self._add(entry)
            except ValueError as error:
                message = f"entry {number}: {error}"
                raise InvalidSettings(f"{_VARIABLE}: {message}", errors=[FieldError(_VARIABLE, message)]) from None
        self.ids = frozenset(credential.id for credential in self._credentials.values())

    def find(self, text: str) -> Credential | None:
        """The credential of a key; every one is looked at, whichever it is."""
        wanted, found = self._digest(text), None
        for digest, credential in self._credentials.items():
            if hmac.compare_digest(digest, wanted):
                found = credential
        return found

    def _add(self, entry: str) -> None:
        key, _, rest = entry.partition(":")
        name, named, words = rest.partition(":")
        if not _CONFIGURED.match(key):
            raise ValueError("a key has 1 to 256 characters of ASCII that can be seen, then come a colon and a name")
        digest = self._digest(key)
        if digest in self._credentials:
            raise ValueError("this key is there twice")
        principal = Principal(read_name(name), _scopes(words.split()) if named else SCOPES_DEFAULT)
        self._credentials[digest] = Credential(principal, f"{KIND}configured-{digest.hex()[:12]}")
        if len(key) < SHORT:
            self.short.append(name)

    def _digest(self, key: str) -> bytes:
        return hmac.digest(self._pepper, key.encode(), "sha256")


def _scopes(words: Sequence[str]) -> frozenset[Scope]:
    try:
        if words:
            return read_scopes(words)
    except ValueError:  # its message has the word, which is a secret if the parts are in another order
        pass
    raise ValueError(f"behind the second colon come scopes, with blanks between them; possible: {', '.join(Scope)}")
