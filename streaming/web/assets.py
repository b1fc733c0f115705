"""The page: files for a browser, as they stand in the folder ``page``.

They are the same for everybody and hold no secret, so nobody is asked for a credential: a browser cannot show one when
it opens a page. What the page asks for afterwards is asked for with the credential of whoever looks at it.

Owns:   which files there are, what a browser may do with them, when it may keep the ones that it has. Only these are
        compressed: they hold no secret, and are no stream.
Never:  reads a file that is asked for by name: all of them are read once, when the server starts.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from streaming.web.headers import SECURITY
from streaming.web.reply import Reply
from streaming.web.request import Request
from streaming.web.site import Site

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

#: A page runs scripts and styles of its own server, and nothing else; no text becomes markup (Trusted Types).
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)


class Asset(NamedTuple):
    """One file.

    Attributes:
        content_type: what it is.
        body: its bytes.
        packed: the same, compressed (RFC 1952).
        tag: changes with them (RFC 9110, 8.8.3), without its quotes.
    """

    content_type: str
    body: bytes
    packed: bytes
    tag: str


def asset_of(suffix: str, body: bytes) -> Asset:
    """Make a file.

    Args:
        suffix: the end of its name.
        body: its bytes.
    """
    return Asset(TYPES[suffix], body, gzip.compress(body, mtime=0), hashlib.sha256(body).hexdigest()[:32])


#: All of them by name.
ASSETS: Mapping[str, Asset] = MappingProxyType(
    {path.name: asset_of(path.suffix, path.read_bytes()) for path in sorted(FOLDER.iterdir())}
)


async def show_page(site: Site, request: Request) -> Reply:
    """``GET /``: the page; it names its files by where the server is mounted."""
    found = ASSETS[INDEX]
    if request.root:
        found = asset_of(".html", found.body.replace(b'="page/', f'="{request.root}/page/'.encode()))
    return answer_with(found, request)


async def show_asset(site: Site, request: Request) -> Reply:
    """``GET /page/{file}``: one file of the page."""
    return answer_with(ASSETS[request.segments[-1]], request)


def answer_with(asset: Asset, request: Request) -> Reply:
    """Answer with a file; or that the browser has it (RFC 9110, 13.1.2)."""
    packed = takes_gzip(request.header("accept-encoding"))
    tag = f'"{asset.tag}-gzip"' if packed else f'"{asset.tag}"'
    headers = {
        **SECURITY,
        "cache-control": "no-cache",
        "content-security-policy": POLICY,
        "etag": tag,
        "vary": "accept-encoding",
    }
    if _has(request.header("if-none-match"), tag):
        return Reply(304, headers, b"")
    headers["content-type"] = asset.content_type
    if not packed:
        return Reply(200, headers, asset.body)
    return Reply(200, {**headers, "content-encoding": "gzip"}, asset.packed)


def takes_gzip(accepted: str | None) -> bool:
    """Whether an ``Accept-Encoding`` has gzip, and not as the one that is not wanted (RFC 9110, 12.5.3)."""
    for each in (accepted or "").split(","):
        coding, _, weight = each.partition(";")
        if coding.strip().lower() in ("gzip", "x-gzip"):
            return not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight)
    return False


def _has(known: str | None, tag: str) -> bool:
    tags = [each.strip().removeprefix("W/") for each in (known or "").split(",")]
    return tag in tags or tags == ["*"]
