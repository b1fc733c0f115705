"""Every route by every kind of credential: who gets in, who is asked who they are, and for whom nothing is there.

A route that is missing here is a failure; so is one whose scope is not the one that is written here.

Owns:   the matrix.
Never:  takes the scope of a route from the routes.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import jwt
import pytest

from streaming.access.gate import Gate
from streaming.access.keys import new_key
from streaming.config import Settings
from streaming.rules.access import SCOPES_DEFAULT, ApiKey, Principal, Scope
from streaming.store.memory import MemoryStore
from streaming.web.application import Application
from streaming.web.routes import ASSET, OF_TASK, PLACES, TASK
from tests.web.live import Live, live

#: No credential is needed.
OPEN = "open"
#: Any credential will do.
ANY = "any"

#: What each method of each path needs.
NEEDED = {
    ("GET", "/tasks"): "tasks:read",
    ("POST", "/tasks"): "tasks:write",
    ("DELETE", "/tasks"): "tasks:write",
    ("GET", "/tasks/count"): "tasks:read",
    ("POST", "/tasks/cancel"): "tasks:cancel",
    ("GET", "/events"): "feed:read",
    ("GET", "/watch"): "feed:read",  # of its feed; for its logs see test_watch
    ("GET", "/stats"): "tasks:read",
    ("GET", "/metrics"): "metrics:read",
    ("GET", "/server"): "metrics:read",
    ("GET", "/audit"): "admin",
    ("GET", "/audit/diary"): "admin",
    ("GET", "/types"): ANY,
    ("GET", "/beats"): ANY,
    ("GET", "/openapi.json"): ANY,
    ("GET", "/principal"): ANY,
    ("GET", "/"): OPEN,
    ("GET", "/docs"): OPEN,
    ("GET", "/page/{file}"): OPEN,
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/tasks/{id}"): "tasks:read",
    ("PATCH", "/tasks/{id}"): "tasks:write",
    ("DELETE", "/tasks/{id}"): "tasks:write",
    ("POST", "/tasks/{id}/cancel"): "tasks:cancel",
    ("POST", "/tasks/{id}/retry"): "tasks:write",
    ("POST", "/tasks/{id}/extend"): "tasks:write",
    ("POST", "/tasks/{id}/input"): "tasks:write",
    ("POST", "/tasks/{id}/ack"): "tasks:write",
    ("GET", "/tasks/{id}/history"): "tasks:read",
    ("GET", "/tasks/{id}/why"): "tasks:read",
    ("GET", "/tasks/{id}/events"): "tasks:read",
    ("POST", "/tasks/{id}/events"): "tasks:write",
    ("POST", "/tasks/{id}/stream-token"): "tasks:read",
}

#: What a request has to say so that nothing but its credential is in its way.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/tasks"): {"type": "count", "params": {"n": 1}},
    ("PATCH", "/tasks/{id}"): {"progress": {"percent": 5}},
    ("POST", "/tasks/{id}/extend"): {"timeout_s": 60},
    ("POST", "/tasks/{id}/input"): {"data": 1},
    ("POST", "/tasks/{id}/events"): {"type": "said", "data": 1},
}
QUERIES = {
    ("POST", "/tasks/cancel"): "?tag=none",
    ("DELETE", "/tasks"): "?tag=none",
    ("GET", "/events"): "?tail=0",
    ("GET", "/watch"): "?feed=1",
}

LATER = "2020-01-02T00:00:00.000000Z"
SECRET = "a secret of more than thirty-two bytes, for tests only"


def routes() -> Iterator[tuple[str, str]]:
    """All that there are, as the server has them."""
    for segments, methods in PLACES.items():
        yield from ((method, "/" + "/".join(segments)) for method in methods)
    yield from ((method, "/page/{file}") for method in ASSET)
    yield from ((method, "/tasks/{id}") for method in TASK)
    for part, methods in OF_TASK.items():
        yield from ((method, f"/tasks/{{id}}/{part}") for method in methods)


@dataclass(frozen=True)
class Caller:
    """Somebody with a credential, or without.

    Attributes:
        headers: what shows it.
        scopes: what it may do; None if the credential is none.
        sees: whether the task of the matrix is there for it.
        token: a stream token for the URL.
        of_task: whether it is good for the events of that task only.
    """

    headers: dict[str, str]
    scopes: frozenset[str] | None
    sees: bool = False
    token: str | None = None
    of_task: bool = False


class Keys(MemoryStore):
    """A memory store with API keys."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.rows: list[ApiKey] = []

    async def api_keys(self) -> list[ApiKey]:
        return self.rows

    def make(self, name: str, scopes: frozenset[Scope] = SCOPES_DEFAULT, tenant: str | None = None, **more: Any) -> str:
        """A new key of this store."""
        key, row = new_key(Principal(name, scopes, tenant), created_at="2020-01-01T00:00:00.000000Z")
        self.rows.append(replace(row, **more))
        return key


@asynccontextmanager
async def guarded(
    *, wrap: Callable[[Application], Any] = lambda app: app, **settings: Any
) -> AsyncIterator[tuple[Live, Keys, Gate]]:
    """A server that wants credentials, the store of its keys, and what knows them."""
    wanted = {"jwt_secret": SECRET, "trusted_proxies": "10.9.8.7", "proxy_user_header": "x-user", **settings}
    configured = Settings(store_url="memory://", **wanted)
    store = Keys(configured)
    store.make("nobody")
    gate = Gate(configured, secret="the secret of this server, thirty-two bytes", load=store.api_keys)
    await gate.refresh()
    async with live(journal=store, gate=gate, wrap=wrap, **wanted) as here:
        yield here, store, gate
    await gate.close()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def token(**claims: Any) -> str:
    return jwt.encode({"sub": "anna", "exp": time.time() + 60, **claims}, SECRET, "HS256")


async def callers(here: Live, store: Keys, gate: Gate, task_id: str, other_id: str, anna: str) -> dict[str, Caller]:
    """One of each kind; the task is anna's, who has no tenant."""
    everything = frozenset(map(str, SCOPES_DEFAULT))
    none: Caller = Caller({}, None)
    found = {
        "nobody": none,
        "a key that is none": Caller(bearer("strm_0123456789abcdef_" + "A" * 43), None),
        "a word": Caller(bearer("letmein"), None),
        "basic": Caller({"authorization": "Basic YW5uYTphbm5h"}, None),
        "a revoked key": Caller(bearer(store.make("anna", revoked_at=LATER)), None),
        "an expired key": Caller(bearer(store.make("anna", expires_at=LATER)), None),
        "two credentials": Caller({**bearer(anna), "x-api-key": anna}, None),
        "an expired token": Caller(bearer(token(exp=time.time() - 60)), None),
        "a token without a signature": Caller(bearer(jwt.encode({"sub": "anna", "exp": 2**33}, "", "none")), None),
        "a token of another server": Caller(bearer(jwt.encode({"sub": "anna", "exp": 2**33}, "x" * 40, "HS256")), None),
        "a header of a proxy that is none": Caller({"x-user": "anna"}, None),
        "one that says that it is one": Caller({"x-user": "anna", "x-forwarded-for": "10.9.8.7"}, None),
        "the owner": Caller(bearer(anna), everything, sees=True),
        "the owner by the other header": Caller({"x-api-key": anna}, everything, sees=True),
        "the owner by a token": Caller(bearer(token()), everything, sees=True),
        "somebody else": Caller(bearer(store.make("bob")), everything),
        "the same name in a tenant": Caller(bearer(store.make("anna", tenant="acme")), everything),
        "a tenant of the same name": Caller(bearer(store.make("bob", tenant="anna")), everything),
        "an admin": Caller(bearer(store.make("root", frozenset({Scope.ADMIN}))), frozenset(map(str, Scope)), sees=True),
        "nothing granted": Caller(bearer(store.make("anna", frozenset())), frozenset(), sees=True),
        **{
            f"only {scope}": Caller(bearer(store.make("anna", frozenset({scope}))), frozenset({str(scope)}), sees=True)
            for scope in Scope
            if scope is not Scope.ADMIN
        },
    }
    for name, of in (("the token of the stream", task_id), ("the token of another stream", other_id)):
        answer = await here.http.post(f"/tasks/{of}/stream-token", headers=bearer(anna))
        assert answer.status_code == 201, answer.text
        found[name] = Caller(
            {}, frozenset({"tasks:read"}), sees=of == task_id, token=answer.json()["token"], of_task=True
        )
    found["a stream token as a header"] = Caller(bearer(str(found["the token of the stream"].token)), None)
    found["a stream token that is none"] = Caller({}, None, token="a.b.c")
    await gate.refresh()
    return found


def expected(caller: Caller, method: str, path: str) -> set[int]:
    """The statuses of the answer: what has nothing to do with the credential is 2xx or 409."""
    needed = NEEDED[method, path]
    if needed == OPEN:
        return {200}
    if caller.scopes is None:
        return {401}
    if caller.of_task:
        return {200} if (method, path, caller.sees) == ("GET", "/tasks/{id}/events", True) else {403}
    if needed not in (ANY, *caller.scopes):
        return {403}
    if "{id}" in path and not caller.sees:
        return {404}
    return {200, 201, 202, 204, 409}


def test_the_matrix_has_every_route() -> None:
    assert set(routes()) == NEEDED.keys()


async def test_every_route_by_every_credential() -> None:
    async with guarded(
        rate_limit="10000/second", rate_limit_address="10000/second", rate_limit_failures="10000/second"
    ) as (
        here,
        store,
        gate,
    ):
        anna = store.make("anna")
        await gate.refresh()
        here.http.headers.update(bearer(anna))
        task_id = await here.start("sleeper")
        other_id = await here.start("sleeper")
        del here.http.headers["authorization"]
        holes = []
        everybody = await callers(here, store, gate, task_id, other_id, anna)
        for (method, path), (name, caller) in itertools.product(sorted(NEEDED, key=_destroys_last), everybody.items()):
            status, body = await asked(here, caller, method, path, task_id)
            if status not in expected(caller, method, path):
                holes.append(f"{method} {path} by {name}: {status}, not {expected(caller, method, path)}: {body}")
        assert holes == []


def _destroys_last(route: tuple[str, str]) -> tuple[bool, str, str]:
    return route[1].endswith("/cancel"), route[1], route[0]


async def asked(here: Live, caller: Caller, method: str, path: str, task_id: str) -> tuple[int, str]:
    """Ask, and leave a stream as soon as its head is there."""
    url = path.replace("{id}", task_id).replace("{file}", "page.css") + QUERIES.get((method, path), "")
    if caller.token is not None:
        url += f"{'&' if '?' in url else '?'}stream_token={caller.token}"
    body = BODIES.get((method, path))
    async with here.http.stream(method, url, headers=caller.headers, json=body) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return answer.status_code, ""
        text = (await answer.aread()).decode()
    check_refusal(answer, text, caller)
    return answer.status_code, text[:300]


def check_refusal(answer: httpx.Response, text: str, caller: Caller) -> None:
    """A refusal is a problem of the one shape, says how to do better, and none of what was sent."""
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert json.loads(text)["code"] == "unauthenticated"
    if answer.status_code == 403:
        assert json.loads(text)["code"] == "forbidden"
    for value in (*caller.headers.values(), caller.token or ""):
        secret = value.split(" ")[-1]
        assert len(secret) < 8 or answer.status_code < 400 or secret not in text


async def test_what_is_answered_of_a_foreign_task_is_what_is_answered_of_none() -> None:
    async with guarded() as (here, store, gate):
        anna, bob = store.make("anna"), store.make("bob")
        await gate.refresh()
        here.http.headers.update(bearer(anna))
        task_id = await here.start("sleeper")
        for path in {path for _, path in NEEDED if "{id}" in path}:
            for method in {method for method, known in NEEDED if known == path}:
                answers = []
                for asked_for in (task_id, "f" * 32):
                    answer = await here.http.request(
                        method,
                        path.replace("{id}", asked_for),
                        headers=bearer(bob),
                        json=BODIES.get((method, path)),
                    )
                    answers.append((answer.status_code, answer.text.replace(asked_for, "")))
                    assert {"date"} ^ answer.headers.keys() >= {"ratelimit"}
                assert answers[0] == answers[1]
                assert answers[0][0] == 404


@pytest.mark.parametrize("path", ["/nothing", "/tasks/" + "f" * 32 + "/nothing", "/tasks/x", "/page/x/y", "/page"])
async def test_whoever_has_not_said_who_they_are_learns_no_path(path: str) -> None:
    async with guarded() as (here, _, _):
        assert (await here.http.get(path)).status_code == 401
