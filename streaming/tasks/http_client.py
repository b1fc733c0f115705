"""Ask for one URL, and hand over what is answered, piece by piece.

Owns:   httpx: no other module of the built-in tasks knows it, so that the client could be swapped here.
Uses:   tasks.dialer (which connections may be opened).
Never:  follows a redirect, unpacks or keeps a body, or lets an exception of the library out.

httpx is given a transport of our own, because only httpcore's pool takes a network backend.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import CookieJar

import httpcore
import httpx

from streaming.errors import HandlerError
from streaming.tasks.background import finish
from streaming.tasks.dialer import Dialer
from streaming.tasks.inflate import ACCEPTED

URL_LENGTH_MAX = 8192

_HOST = re.compile(rb"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\Z|[0-9a-f:.]*:[0-9a-f:.]*\Z")
_HEADERS = {"User-Agent": "streaming http_fetch", "Accept": "*/*", "Accept-Encoding": ACCEPTED}


def check_url(text: str) -> str:
    """Check what can be said of a URL without looking its host up.

    Args:
        text: an absolute URL.

    Returns:
        The URL in its normal form: host in lower case and IDNA, without a dot at its end, without a fragment.

    Raises:
        ValueError: it cannot be fetched; the message says why.
    """
    if len(text) > URL_LENGTH_MAX:
        raise ValueError(f"a URL may have at most {URL_LENGTH_MAX} characters")
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError):
        raise ValueError("this is not a URL") from None
    if url.scheme not in ("http", "https"):
        raise ValueError("only http:// and https:// can be fetched")
    if url.userinfo:
        raise ValueError("a URL with a user name or password is refused, because URLs are stored and shown")
    host = url.raw_host.decode().removesuffix(".")
    if not _HOST.match(host.encode()):
        raise ValueError("the URL names no valid host")
    if url.port is not None and not 0 < url.port <= 65535:
        raise ValueError("the port must be from 1 to 65535")
    return str(url.copy_with(host=host, fragment=None))


def tls_context() -> ssl.SSLContext:
    """Verify certificates with certifi's roots, or with those in the operator's SSL_CERT_FILE or SSL_CERT_DIR."""
    return httpx.create_ssl_context()


class _NoCookies(CookieJar):
    """Neither keeps a cookie nor reads one: what reads them takes time by the square of their length."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Keep nothing."""

    def add_cookie_header(self, request: object) -> None:
        """Send nothing."""


class Answer:
    """The answer to one request, its body not read yet.

    Attributes:
        status: HTTP status.
        headers: by name in lower case.
        redirect_to: the URL that the server sends us to; None if it does not.
    """

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._chunks: AsyncIterator[bytes] = response.aiter_raw()
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.redirect_to = str(response.next_request.url) if response.next_request else None

    async def read(self) -> bytes:
        """The next bytes of the body as they came over the wire; none at its end.

        Raises:
            HandlerError: ``fetch_timeout``, ``incomplete``, ``connection_lost`` or ``bad_response``.
        """
        with _failures(self._response.request.url):
            return await anext(self._chunks, b"")

    async def aclose(self) -> None:
        """Close the connection."""
        await self._response.aclose()


class HttpClient:
    """Sends the requests of one fetch, and closes its connections.

    Args:
        dialer: opens the connections.
        tls: for https.
        connect_s: seconds for the look-up, for the connection and for the TLS handshake, each.
        read_s: seconds of silence before the server is given up.
        head_s: seconds within which an answer must have begun, however many bytes keep coming.
    """

    def __init__(self, dialer: Dialer, tls: ssl.SSLContext, *, connect_s: float, read_s: float, head_s: float) -> None:
        self._dialer = dialer
        self._head_s = head_s
        pool = httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=dialer, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(
            transport=_PooledTransport(pool),
            headers=_HEADERS,
            cookies=_NoCookies(),  # what a server sets goes to no server
            timeout=httpx.Timeout(read_s, connect=connect_s),
            trust_env=False,
            follow_redirects=False,
        )

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for a URL that `check_url` has passed.

        Args:
            url: where.
            headers: more of them, of this request.

        Raises:
            HandlerError: ``dns_failed``, ``address_not_allowed``, ``connect_failed``, ``tls_failed``,
                ``fetch_timeout``, ``connection_lost``, ``bad_response`` or ``bad_url``.
        """
        request = self._client.build_request("GET", url, headers=headers)
        with _failures(request.url):
            try:
                async with asyncio.timeout(self._head_s):
                    answer = Answer(await self._client.send(request, stream=True))
            except (httpx.InvalidURL, httpx.UnsupportedProtocol):  # of the next request, which httpx prepares at once
                raise HandlerError("bad_url", "A redirect leads to a URL that is not followed.") from None
            except TimeoutError:
                raise HandlerError(
                    "fetch_timeout", f"{request.url.netloc.decode()} took too long to begin its answer."
                ) from None
        self._dialer.answered()
        return answer

    async def aclose(self) -> None:
        """Close every connection, to the end even if the caller is cancelled again."""
        await finish(self._close())

    async def _close(self) -> None:
        # httpcore forgets a connection that is cancelled in its TLS handshake; the dialer does not.
        await self._dialer.aclose()
        await self._client.aclose()


class _PooledTransport(httpx.AsyncBaseTransport):
    """Hands httpx's requests to a pool of httpcore's."""

    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                extensions=request.extensions,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer))

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of a response of httpcore's, as httpx wants it."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.aiter_stream():
            yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()


#: The first line that an exception fits says what a reader is told; ``{reason}`` is a system's or protocol's word.
_FAILURES: tuple[tuple[type[Exception], str, str], ...] = (
    (httpcore.ConnectTimeout, "fetch_timeout", "{host} did not accept a connection in time."),
    (httpcore.TimeoutException, "fetch_timeout", "{host} went silent for too long."),
    (httpcore.ConnectError, "connect_failed", "{host} cannot be reached: {reason}."),
    (httpcore.NetworkError, "connection_lost", "The connection to {host} broke: {reason}."),
    (httpcore.ProtocolError, "bad_response", "The answer of {host} is not valid HTTP: {reason}."),
    (httpx.ProtocolError, "bad_response", "The answer of {host} is not valid HTTP: {reason}."),
)


@contextmanager
def _failures(url: httpx.URL) -> Iterator[None]:
    """Turn the libraries' exceptions into a task's failures."""
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpx.ProtocolError) as error:
        host = url.netloc.decode()
        cause = _system_error(error)
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "verify_message", None) or cause.reason or "handshake failed"
            raise HandlerError("tls_failed", f"TLS with {host} failed: {reason}.") from error
        if str(error).startswith("peer closed connection without"):
            raise HandlerError("incomplete", f"{host} ended the connection before the end of the body.") from error
        reason = str(error) if cause is None else os.strerror(cause.errno or 0)
        code, text = next((code, text) for kind, code, text in _FAILURES if isinstance(error, kind))
        raise HandlerError(
            code, text.format(host=host, reason=reason[:200].rstrip(".") or "no reason given")
        ) from error


def _system_error(error: BaseException) -> OSError | None:
    """What the system or TLS said first; the libraries wrap it, and cut the explicit chain."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno:
            return found
        found = found.__cause__ or found.__context__
    return None
