"""What an answer must not be, and must not say.

Owns:   everything that is wrong with the answer to whatever it was that came.
Uses:   streaming.web.problems (the codes, the titles), streaming.web.headers (what every answer has).
Never:  looks at what the answer means.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from streaming.web.assets import POLICY
from streaming.web.headers import SECURITY
from streaming.web.problems import CODES, TITLES
from tests.fuzz.described import PROBLEM, PROBLEM_FIELDS
from tests.fuzz.wire import Answered

#: Words of ours, or of what we stand on, that nobody outside has to know, and that no request here has.
WORDS = re.compile(
    rb"Traceback|site-packages|File \\?\"|\w\.py\b|\bat 0x[0-9a-f]|sqlalchemy|psycopg|uvicorn|httptools|asgineer|"
    rb"pydantic|starlette|asyncio|\b[a-z_]+\.[a-z_.]*[A-Z]\w*Error\b|Exception[:(]|<class |/usr/|/home/|/root/|/tmp/"
)

#: Where a handler stands: a file without its folder, which is told to those who may see the task.
PLACE = re.compile(rb"\b\w+\.py:\d+ in [\w.&;<>]+")

#: What a browser loads: the same for everybody, whatever is asked.
FILES = ("text/html", "text/css", "text/javascript", "image/svg+xml")

#: Headers that say what answers.
BANNERS = ("server", "x-powered-by", "via", "x-aspnet-version")


def wrong(answered: Answered) -> Iterator[str]:
    """Everything that is wrong with the shape of an answer."""
    status = answered.status
    if status == 304 and "etag" in answered.headers:
        return
    if not (200 <= status < 300 or 400 <= status < 500 or status == 503):
        yield f"an answer of {status}"
    yield from _wrong_headers(answered)
    if status >= 400:
        yield from _wrong_problem(answered)


def told(answered: Answered, secrets: Sequence[bytes]) -> Iterator[str]:
    """Everything that an answer says and should not.

    Args:
        answered: it.
        secrets: that no answer may have.
    """
    whole = answered.head + answered.body
    fixed = answered.media_type in FILES or answered.body.startswith(b'{"openapi"')
    looked_at = answered.head if fixed else PLACE.sub(b"", whole)
    found = WORDS.search(looked_at)
    if found is not None:
        yield f"it says {looked_at[max(0, found.start() - 60) : found.end() + 60]!r}"
    if any(secret in whole for secret in secrets):
        yield "it tells a secret"
    for name in BANNERS:
        if name in answered.headers:
            yield f"it says what answers, in {name}"


def _wrong_headers(answered: Answered) -> Iterator[str]:
    of_a_file = {"content-security-policy": POLICY, "cache-control": "no-cache"}
    for name, value in {**SECURITY, **(of_a_file if answered.media_type in FILES else {})}.items():
        if answered.headers.get(name) != value:
            yield f"its header {name} is {answered.headers.get(name)!r}"
    if "x-injected" in answered.headers:
        yield "a header of the request came back"
    if answered.status == 401 and "www-authenticate" not in answered.headers:
        yield "a 401 without a challenge"
    if answered.status == 405 and "allow" not in answered.headers:
        yield "a 405 that does not say what is allowed"


def _wrong_problem(answered: Answered) -> Iterator[str]:
    if answered.media_type != PROBLEM:
        yield f"{answered.media_type!r} is no problem"
        return
    if not answered.has_body:
        return
    try:
        body = json.loads(answered.body)
    except ValueError:
        yield "a problem that is no JSON"
        return
    if not isinstance(body, dict) or list(body) != PROBLEM_FIELDS:
        yield "a problem of another shape"
        return
    if body["status"] != answered.status or body["title"] != TITLES.get(answered.status):
        yield f"a problem that says {body['status']} {body['title']}"
    if body["code"] not in CODES or body["code"] == "internal" or not isinstance(body["detail"], str):
        yield f"the code {body['code']}"
    for each in body["errors"]:
        if not isinstance(each, dict) or not all(isinstance(value, str) for value in each.values()):
            yield f"an error of another shape: {each}"
