"""What looks like a secret is blotted out, in whichever text it stands.

Secrets should not get into a log line, and yet they do: in the message of a library's exception, in a URL that somebody
has sent, in what a handler writes. The text may also be a line of JSON, and is one afterwards.

Rules of this file:

- Every pattern takes time in proportion to the text: strangers write it.
- What begins like a secret and has no end is one: it may have been cut.

Owns:   how secrets look.
Never:  is the only thing between a secret and a log line.
"""

from __future__ import annotations

import re

BLOTTED = "***"

_WORDS = r"(?:authorization|cookie|password|passwd|secret|token|api[_-]?key|signature)"

#: What has such a name is a secret, whatever it looks like.
_NAME = re.compile(rf"(?:\A|[_-]){_WORDS}\Z", re.I)

#: What else is made of three such parts as a token is; the first one is no secret.
_PARTS = re.compile(r"\.(?<=[\w-]{16}\.)[\w-]{16,}\.[\w-]{16,}")

#: One of these is in whatever the patterns below find: most texts need no further look.
_HINTS = (
    *("strm_", "eyj", "bearer", "basic", "digest", "negotiate", "authorization", "cookie", "passw", "secret", "token"),
    *("api-key", "api_key", "apikey", "signature"),
)

_PATTERNS = (
    # keys of ours; JWTs, whole or cut
    (re.compile(r"strm_[\w.~+/=-]+", re.I), f"strm_{BLOTTED}"),
    (re.compile(r"\beyJ[\w=-]*(?:\.[\w=-]*)*"), BLOTTED),
    # what follows the name of a scheme; a header; a parameter of a URL; a name in JSON or in Python
    (re.compile(r"\b(bearer|basic|digest|negotiate)(\s+)[\w.~+/=-]{8,}", re.I), rf"\1\2{BLOTTED}"),
    (re.compile(r"\b(authorization|cookie|x-api-key)(\s*:\s*)[^\r\n\"'\\]+", re.I), rf"\1\2{BLOTTED}"),
    (re.compile(rf"({_WORDS}=)[^\s&;,\"'\\]+", re.I), rf"\1{BLOTTED}"),
    (re.compile(rf"([\"'](?:[a-z]+[_-])?{_WORDS}[\"']\s*:\s*([\"']))(?:(?!\2)[^\\]|\\.)+", re.I), rf"\1{BLOTTED}"),
)


def blot(text: str) -> str:
    """The same without whatever looks like a secret."""
    text = _PARTS.sub(f".{BLOTTED}", text)
    lowered = text.lower()
    if any(hint in lowered for hint in _HINTS):
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
    return text


def names_a_secret(name: str) -> bool:
    """Whether what has this name is a secret."""
    return _NAME.search(name) is not None
