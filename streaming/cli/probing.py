"""A look at a server through its public URL, and so through whatever lies in front of it.

Owns:   collecting: which questions are asked, and when each beat of a stream arrives.
Uses:   rules.reach and rules.arrivals (what the answers mean), client.wire (the way there).
Never:  starts or changes a task; sends its credential where it is not needed.
"""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from streaming.cli.tokens import Token
from streaming.client.patience import Patience
from streaming.client.wire import Wire
from streaming.config import Settings
from streaming.rules import reach
from streaming.rules.arrivals import Passage, judge_beats, judge_clock
from streaming.rules.finding import Finding
from streaming.values import is_loopback

#: So many beats, and so far apart: a second in all.
COUNT, INTERVAL_S = 6, 0.2

#: Seconds after the last beat until a stream is given up.
PATIENCE_S = 10.0

#: What browsers take; whatever compresses may do it.
_HEADERS = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, deflate"}

_BEAT = re.compile(rb'^data: \{"n":\d+,"time":"([^"]+)"\}$', re.MULTILINE)


async def probe(url: str, token: Token) -> list[Finding]:
    """Look at a server from outside.

    Args:
        url: of the server.
        token: its credential; None has none.

    Raises:
        ValueError: ``url`` is none.
    """
    wire = Wire(url, None, Patience(retry_s=0), token)
    try:
        before = time.time()
        try:
            health = await wire.http.get("/healthz")
        except httpx.TransportError as error:
            return [reach.judge_silence(str(error) or type(error).__name__)]
        took_s = time.time() - before
        alive = reach.judge_health(health.status_code, ours=_document(health).get("status") == "ok")
        if alive.advice:
            return [alive]
        return [alive, *_clock(health, before, took_s), *await _asked(wire, token)]
    finally:
        await wire.http.aclose()


async def _asked(wire: Wire, token: Token) -> list[Finding]:
    """What a server says that is alive."""
    local = is_loopback(wire.http.base_url.host)
    try:
        return [
            reach.judge_scheme(wire.http.base_url.scheme, local=local, token=token is not None),
            await _readiness(wire),
            reach.judge_openness(await _status_without_credential(wire, "/types"), local=local),
            reach.judge_metrics(await _status_without_credential(wire, "/metrics"), local=local),
            await _beats(wire, token),
        ]
    except httpx.TransportError as error:
        return [reach.judge_silence(str(error) or type(error).__name__)]


async def _readiness(wire: Wire) -> Finding:
    ready = await wire.http.get("/readyz")
    document = _document(ready)
    warnings = document.get("warnings", [])
    return reach.judge_readiness(
        ready.status_code, str(document.get("code", "")), [str(each) for each in warnings if isinstance(warnings, list)]
    )


async def _status_without_credential(wire: Wire, path: str) -> int:
    """What whoever has no credential gets."""
    async with wire.http.stream("GET", path, auth=None) as answer:
        return answer.status_code


def _clock(health: httpx.Response, before: float, took_s: float) -> list[Finding]:
    """``Date`` is cut to whole seconds."""
    try:
        theirs = parsedate_to_datetime(health.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return []
    leeway_s = Settings.model_fields["jwt_leeway_s"].default
    return [judge_clock(theirs + 0.5 - before - took_s / 2, 0.5 + took_s / 2, "the server", leeway_s)]


async def _beats(wire: Wire, token: Token) -> Finding:
    """Follow some beats, and note when each of them arrives."""
    arrived: list[tuple[float, float]] = []
    body, whole, encoding = b"", True, ""
    timeout = httpx.Timeout(PATIENCE_S, read=COUNT * INTERVAL_S + PATIENCE_S)
    query = {"count": COUNT, "interval_s": INTERVAL_S}
    try:
        async with wire.http.stream("GET", "/beats", params=query, headers=_HEADERS, timeout=timeout) as answer:
            if answer.status_code != httpx.codes.OK:
                await answer.aread()
                code = str(_document(answer).get("code", ""))
                return reach.judge_refusal(answer.status_code, code, token=token is not None)
            encoding = answer.headers.get("content-encoding", "")
            async for piece in answer.aiter_bytes():
                now = time.monotonic()
                body += piece
                sent = _BEAT.findall(body)
                arrived += [(_seconds(each), now) for each in sent[len(arrived) :]]
    except (httpx.TransportError, httpx.DecodingError):
        whole = False
    return judge_beats(Passage(COUNT, INTERVAL_S, arrived, encoding, whole))


def _seconds(time: bytes) -> float:
    return datetime.fromisoformat(time.decode()).timestamp()


def _document(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer; empty if it is none."""
    try:
        found = json.loads(answer.content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
