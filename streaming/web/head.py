"""What the head of a request must say in one way only, though its parser would take more.

A proxy in front of us reads the same bytes. Where two readers can understand them in two ways, one of them is led past
the rules of the other: where a body ends, so that a part of it is the next request of somebody else; which host is
meant; which path, so that a rule about ``/audit`` is passed by ``/audit#x``. What could be read in two ways is refused.

Owns:   which framing, which Host and which target are beyond doubt; how long a target may be.
Never:  decodes, merges or resolves anything: paths are taken literally (`web.request`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from streaming.errors import BadRequest, UriTooLong

#: A value of ``Host`` (RFC 9110, 7.2); empty is possible.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(?::[0-9]*)?")

#: A target (RFC 9112, 3.2), without the fragment that it never has. In its path there is no backslash, which others
#: take for a slash; in its query may be bytes of UTF-8 as they are, as many clients send them.
_PATH = rb"/[!-\"$->@-\[\]-~]*(?:\?[!-\"$-~\x80-\xff]*)?"
_ORIGIN_FORM = re.compile(_PATH)
_ABSOLUTE_FORM = re.compile(rb"https?://([^/?#]+)" + _PATH, re.I)


def check_head(version: str, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Refuse a head that may be read in two ways.

    Args:
        version: of HTTP, as "1.1".
        target: undecoded.
        headers: with their names in lower case.

    Raises:
        BadRequest: what is in doubt.
    """
    hosts = [value for name, value in headers if name == b"host"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if version not in ("1.1", "1.0"):
        raise BadRequest(f"Version {version} of HTTP is not spoken here; 1.1 is.")
    if codings and (version == "1.0" or len(codings) > 1 or codings[0].strip(b" \t").lower() != b"chunked"):
        raise BadRequest("Transfer-Encoding may only be chunked, and only once; HTTP before 1.1 has none.")
    if len(hosts) != 1 and (hosts or version == "1.1"):
        raise BadRequest(f"A request has one Host header, not {len(hosts)}.")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise BadRequest("The Host header is no host.")
    _check_target(target, hosts[0] if hosts else b"")


def _check_target(target: bytes, host: bytes) -> None:
    if _ORIGIN_FORM.fullmatch(target):
        return
    found = _ABSOLUTE_FORM.fullmatch(target)
    if found is None:
        raise BadRequest("The target of a request is a path of printable ASCII, without # and backslashes.")
    if found[1].lower() != host.lower():
        raise BadRequest("The target of the request and its Host header name two hosts.")


def check_length(target_bytes: int, bytes_max: int) -> None:
    """Refuse a target that is too long.

    Args:
        target_bytes: what has come of it, path and query.
        bytes_max: the limit.

    Raises:
        UriTooLong: it is over the limit.
    """
    if target_bytes > bytes_max:
        raise UriTooLong(f"The path with its query has more than {bytes_max} bytes.")
