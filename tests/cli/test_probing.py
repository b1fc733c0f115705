"""What ``streaming doctor --url`` sees: each kind of proxy, and each kind of answer."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from email.utils import formatdate
from typing import Any

import pytest

from streaming.cli import probing
from streaming.cli.probing import probe
from streaming.rules.finding import Finding, Verdict
from tests.nginx import NoNginx, nginx
from tests.ports import reserve_port
from tests.proxy import Proxy
from tests.scripted_server import LOST, Answer, said, said_json, scripted
from tests.web.live import Live, live

OK, WARNING, PROBLEM, UNREACHABLE = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM, Verdict.UNREACHABLE

KEY = "0123456789abcdef0123456789abcdef"

#: All that is looked at; the servers of these tests send no ``Date``, those of people do.
CHECKS = ["server", "encryption", "readiness", "door", "metrics", "stream"]


def bad(findings: list[Finding]) -> dict[str, Verdict]:
    """What is not well."""
    return {finding.check: finding.verdict for finding in findings if finding.verdict is not OK}


def stream_of(findings: list[Finding]) -> Finding:
    (found,) = [finding for finding in findings if finding.check == "stream"]
    return found


@asynccontextmanager
async def answering(**settings: Any) -> AsyncIterator[tuple[Live, str]]:
    async with live(**settings) as here:
        yield here, f"http://127.0.0.1:{here.port}"


@contextmanager
def behind_nginx(server_port: int, rules: str) -> Iterator[str]:
    """nginx with these rules around one that passes everything on."""
    location = f"location / {{ proxy_pass http://localhost; {rules} }}"
    try:
        with nginx(server_port, location) as port:
            yield f"http://127.0.0.1:{port}"
    except NoNginx as reason:
        pytest.skip(str(reason))


async def test_a_good_server() -> None:
    async with answering() as (_, url):
        findings = await probe(url, None)

    assert [finding.check for finding in findings] == CHECKS
    assert bad(findings) == {}
    assert "each one came by itself" in stream_of(findings).found


# -- proxies -----------------------------------------------------------------------------------------------------------


async def test_a_proxy_that_collects_is_found() -> None:
    async with answering() as (here, _):
        with Proxy(here.port, collect_s=0.7) as proxy:
            findings = await probe(f"http://127.0.0.1:{proxy.port}", None)

    assert bad(findings) == {"stream": PROBLEM}
    assert "proxy_buffering off" in stream_of(findings).advice


@pytest.mark.parametrize(
    ("rules", "verdict", "words"),
    [
        ("proxy_http_version 1.1; proxy_buffering off;", OK, "by itself"),
        # It passes on what comes in chunks, whatever its name says.
        ("proxy_http_version 1.1; proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;", OK, "by itself"),
        ("proxy_buffering on;", PROBLEM, "HTTP/1.0"),
        (
            "proxy_http_version 1.1; proxy_buffering on; proxy_ignore_headers X-Accel-Buffering; gzip on; "
            "gzip_types text/event-stream; gzip_min_length 0;",
            PROBLEM,
            "compressed with gzip",
        ),
        (
            "proxy_http_version 1.1; gzip on; gzip_types text/event-stream; gzip_min_length 0;",
            WARNING,
            "compressed with gzip",
        ),
    ],
)
async def test_what_nginx_does(rules: str, verdict: Verdict, words: str) -> None:
    async with answering() as (here, _):
        with behind_nginx(here.port, rules) as url:
            findings = await probe(url, None)

    assert bad(findings) == ({} if verdict is OK else {"stream": verdict})
    assert words in stream_of(findings).found


async def test_a_proxy_without_a_server_behind_it() -> None:
    port, reserved = reserve_port()
    with reserved, behind_nginx(port, "") as url:
        findings = await probe(url, None)

    assert bad(findings) == {"server": UNREACHABLE}
    assert "502" in findings[0].found


async def test_nobody_is_there() -> None:
    port, reserved = reserve_port()
    with reserved:
        assert bad(await probe(f"http://127.0.0.1:{port}", None)) == {"server": UNREACHABLE}


# -- credentials and states --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "expected", "words"),
    [
        (KEY, {}, "by itself"),
        (None, {"stream": PROBLEM}, "None was sent"),
        ("f" * 32, {"stream": PROBLEM}, "not good"),
        ((lambda: "f" * 32), {"stream": PROBLEM}, "not good"),
    ],
)
async def test_a_server_that_wants_a_credential(token: Any, expected: dict[str, Verdict], words: str) -> None:
    async with answering(api_keys=f"{KEY}:anna") as (_, url):
        findings = await probe(url, token)

    assert bad(findings) == expected
    assert words in stream_of(findings).found
    assert [finding.found for finding in findings if finding.check == "door"] == [
        "Nobody gets in without a credential."
    ]
    assert KEY not in str(findings)


async def test_seen_from_elsewhere_an_open_server_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "is_loopback", lambda host: False)
    async with answering() as (_, url):
        findings = bad(await probe(url, None))

    assert findings["door"] is PROBLEM
    assert findings["encryption"] is WARNING


async def test_a_server_that_has_no_place_for_one_more_stream() -> None:
    async with answering(max_streams=1) as (here, url), here.sse("/beats?interval_s=10") as events:
        await anext(events)
        findings = await probe(url, None)

    assert bad(findings) == {"stream": WARNING}
    assert "too_many_streams" in stream_of(findings).found


# -- answers -----------------------------------------------------------------------------------------------------------


def at(path: str, answer: Answer) -> Answer:
    return Answer(answer.raw, answer.then, answer.gate, at=path)


HEALTHY = at("/healthz", said_json({"status": "ok"}))
READY = at("/readyz", said_json({"status": "ready", "warnings": []}))
TYPES = at("/types", said_json({"types": []}))
NO_METRICS = at("/metrics", said(404))


def beat(number: int) -> bytes:
    time = f"2026-11-20T21:53:03.{number}00000Z"
    return f'id: {number}\nevent: beat\ndata: {{"n":{number},"time":"{time}"}}\n\n'.encode()


async def probed(*answers: Answer) -> list[Finding]:
    async with scripted(*answers) as server:
        return await probe(server.url, None)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (said(200, b"hello"), PROBLEM),
        (said_json(["ok"]), PROBLEM),
        (said_json({"status": "fine"}), PROBLEM),
        (said(302, location="https://login.example"), PROBLEM),
        (said(503, b"<html>"), UNREACHABLE),
        (LOST, UNREACHABLE),
        (Answer(b"no HTTP at all\r\n\r\n"), UNREACHABLE),
    ],
)
async def test_something_else_answers(answer: Answer, verdict: Verdict) -> None:
    assert bad(await probed(answer)) == {"server": verdict}


@pytest.mark.parametrize("ahead_s", [-7200, 7200])
async def test_a_clock_that_is_wrong(ahead_s: float) -> None:
    health = at("/healthz", said_json({"status": "ok"}, date=formatdate(time.time() + ahead_s, usegmt=True)))
    whole = at("/beats", said(200, b"".join(map(beat, range(1, 7))), content_type="text/event-stream"))
    findings = await probed(health, READY, TYPES, NO_METRICS, whole)

    assert bad(findings)["clock"] is PROBLEM
    assert ("ahead of" if ahead_s > 0 else "behind") in findings[1].found


@pytest.mark.parametrize("date", [None, "yesterday"])
async def test_a_date_that_is_none_tells_nothing(date: str | None) -> None:
    dated = HEALTHY if date is None else at("/healthz", said_json({"status": "ok"}, date=date))
    findings = await probed(dated, READY, TYPES, NO_METRICS, LOST)
    assert "clock" not in [finding.check for finding in findings]


async def test_a_stream_that_breaks_off() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    torn = Answer(head + f"{len(beat(1)):x}\r\n".encode() + beat(1) + b"\r\n", at="/beats")
    findings = await probed(HEALTHY, READY, TYPES, NO_METRICS, torn)

    assert bad(findings) == {"stream": PROBLEM}
    assert "1 of 6 beats" in stream_of(findings).found


async def test_a_coding_that_is_none() -> None:
    torn = at("/beats", said(200, b"no gzip", content_type="text/event-stream", content_encoding="gzip"))
    assert bad(await probed(HEALTHY, READY, TYPES, NO_METRICS, torn)) == {"stream": PROBLEM}


async def test_a_server_that_goes_away_meanwhile() -> None:
    findings = await probed(HEALTHY, at("/readyz", LOST))
    assert [finding.verdict for finding in findings][-1] is UNREACHABLE


async def test_what_a_server_says_of_itself() -> None:
    warns = at("/readyz", said_json({"status": "ready", "warnings": ["insecure_public: open."]}))
    whole = at("/beats", said(404, json.dumps({"code": "not_found"}).encode()))
    findings = await probed(HEALTHY, warns, TYPES, at("/metrics", said(200)), whole)

    assert bad(findings) == {"readiness": WARNING, "stream": PROBLEM}
    odd = at("/readyz", said_json({"status": "ready", "warnings": "many"}))
    assert bad(await probed(HEALTHY, odd, TYPES, NO_METRICS, whole)) == {"stream": PROBLEM}


async def test_a_server_that_drains() -> None:
    drains = at("/readyz", said_json({"code": "draining"}, 503))
    findings = await probed(HEALTHY, drains, TYPES, NO_METRICS, at("/beats", said(503)))
    assert bad(findings)["readiness"] is WARNING


@pytest.mark.parametrize("url", ["ftp://x", "localhost:8000", "http://"])
async def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        await probe(url, None)
