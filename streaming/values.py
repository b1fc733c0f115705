"""The values of settings: what is one, and what is wrong with one that is none.

Owns:   how texts of the environment are read, and checked, where a type does not say it all.
Never:  knows a setting by name; quotes a value that may be secret.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import urlsplit

from pydantic import SecretStr

#: Bytes of a secret that signs something, at least: as many as HMAC-SHA256 gives (RFC 7518, 3.2).
SECRET_BYTES_MIN = 32

#: An origin (RFC 6454, 6.2) as browsers write it: the names of hosts are in ASCII.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_ORIGIN = re.compile(
    rf"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:]+\])(?::(?P<port>[1-9][0-9]{{0,4}}))?"
)
_USUAL_PORTS = MappingProxyType({"http": ":80", "https": ":443"})

#: The longest window of a rate.
RATE_WINDOW_MAX_S = 86_400


def read_rate(notation: str) -> tuple[int, int]:
    """Read a rate as ``limits`` notes it: ``20/second``, ``1000 per 2 hours``.

    Returns:
        How many, in how many seconds.

    Raises:
        ValueError: it is none.
    """
    import limits  # takes a tenth of a second, and most servers set no rate

    try:
        item = limits.parse(notation)
    except ValueError:
        item = None
    if item is None or item.amount < 1 or item.get_expiry() > RATE_WINDOW_MAX_S:
        raise ValueError(f"{notation[:64]!r} is no rate of at least one in at most a day, like 20/second or 1000/hour")
    return item.amount, item.get_expiry()


def check_rate(value: str) -> str:
    """A rate, as it is written.

    Raises:
        ValueError: it is none.
    """
    read_rate(value)
    return value


def split(value: object) -> object:
    """Accept ``a, b`` where a list is asked for."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def check_store_url(value: str) -> str:
    """Where a store may be.

    Raises:
        ValueError: it is none.
    """
    if value == "memory://" or value.startswith(("sqlite:///", "postgresql+psycopg://")):
        return value
    raise ValueError(
        "possible are memory://, sqlite:///path/to/file.db (four slashes for an absolute path), and "
        "postgresql+psycopg://user@host/database"
    )


def check_signing_secret(value: SecretStr) -> SecretStr:
    """A secret that is long enough to sign something.

    Raises:
        ValueError: it is none.
    """
    if len(_utf8(value)) < SECRET_BYTES_MIN:
        raise ValueError(f"a secret has at least {SECRET_BYTES_MIN} bytes; `openssl rand -base64 48` makes one")
    return value


def check_not_empty(value: SecretStr) -> SecretStr:
    """A secret that says something.

    Raises:
        ValueError: it is none.
    """
    if not _utf8(value).strip(b", \t\r\n"):
        raise ValueError("is empty: unset it where there are no keys")
    return value


def _utf8(value: SecretStr) -> bytes:
    try:
        return value.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("is no UTF-8") from None


def check_key_set_url(value: str) -> str:
    """An address that public keys may come from.

    Raises:
        ValueError: it is none.
    """
    url = urlsplit(value)
    if url.port == 0 or url.username is not None or url.password is not None or not url.hostname or url.fragment:
        raise ValueError("a URL with a host, and without user, password and fragment")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname)):
        raise ValueError("https:// only, because what it answers opens this server; http:// on this machine")
    return value


def read_header_name(value: str) -> str:
    """The name of a header that means nothing else here, in lower case.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", value):
        raise ValueError("no name of a header")
    if value.lower() in ("authorization", "x-api-key", "x-forwarded-for", "host", "cookie"):
        raise ValueError("this header says something else already")
    return value.lower()


def check_origins(values: list[str]) -> list[str]:
    """Origins of pages (RFC 6454), as browsers write them.

    Raises:
        ValueError: it is none.
    """
    if values == ["*"]:
        return values
    for value in values:
        found = _ORIGIN.fullmatch(value)
        if not found or found[0].endswith(_USUAL_PORTS.get(found["scheme"], "/")) or int(found["port"] or 0) > 65_535:
            raise ValueError(
                f"{value[:100]!r} is no origin: scheme://host, or scheme://host:port where it is not the usual port, "
                "in lower case and without a slash at the end, as browsers write it; or * alone"
            )
    return values


def is_loopback(host: str) -> bool:
    """Whether an address, or ``localhost``, is this machine only."""
    return host == "localhost" or is_loopback_address(host)


@lru_cache(maxsize=256)
def is_loopback_address(text: str) -> bool:
    """Whether this IP address is loopback; an IPv4 address may be written as an IPv6 one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback if mapped is None else bool(mapped.is_loopback)
