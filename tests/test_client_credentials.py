"""Who the client says that is calling: with every request, to nobody else, and with a fresh token when one is over."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from streaming import errors
from streaming.client import Client, Patience, StreamToken
from streaming.client.credentials import Bearer
from streaming.events import Event
from tests.scripted_server import (
    LOST,
    TASK_ID,
    TIME,
    Answer,
    ScriptedServer,
    block,
    record,
    refused,
    said,
    said_json,
    scripted,
    streamed,
)
from tests.test_client import VirtualTime

pytestmark = pytest.mark.usefixtures("each_client")

SECRET = "strm_aaaaaaaaaaaaaaaa_" + "s3cr3t" * 7 + "x"
STALE, FRESH = "stale.token.one", "fresh.token.two"
FOUND = said_json(record().as_json())
NOT_GOOD = refused(401, "unauthenticated", "The token is over.", www_authenticate='Bearer error="invalid_token"')
#: A server ends a stream so whose credential is over.
FAREWELL = b": unauthenticated: the credential of this stream is over\n\n"


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


@pytest.fixture
def patience(time: VirtualTime) -> Patience:
    return time.patience()


class Giver:
    """Gives one token after the other, and the last one again and again."""

    def __init__(self, *tokens: object) -> None:
        self.tokens = [*tokens]
        self.asked = 0

    def __call__(self) -> Any:
        self.asked += 1
        return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]


def shown(server: ScriptedServer) -> list[str | None]:
    """What each request has said of who is calling."""
    return [asked.headers.get("authorization") for asked in server.asked]


async def watched(client: Client) -> list[Event]:
    return [event async for event in client.watch(TASK_ID)]


# -- what is sent, and to whom -----------------------------------------------------------------------------------------


async def test_a_token_is_shown_with_every_request_and_stream(patience: Patience) -> None:
    answers = [said_json(record().as_json(), 201), LOST, FOUND, streamed(block(1, "completed"))]
    async with scripted(*answers) as server, Client(server.url, patience=patience, token=SECRET) as client:
        await client.start("countdown")
        await client.get(TASK_ID)
        await watched(client)

    assert shown(server) == [f"Bearer {SECRET}"] * 4


async def test_without_a_token_nothing_is_shown(patience: Patience) -> None:
    async with scripted(FOUND) as server, Client(server.url, patience=patience) as client:
        await client.get(TASK_ID)

    assert shown(server) == [None]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("watching", [False, True])
async def test_a_token_does_not_go_where_an_answer_says(status: int, watching: bool, patience: Patience) -> None:
    async with scripted(FOUND) as other, scripted(said(status, location=f"{other.url}/tasks")) as server:
        async with Client(server.url, patience=patience, token=SECRET) as client:
            with pytest.raises(errors.ServerError, match="redirects to"):
                await (watched(client) if watching else client.get(TASK_ID))

        assert len(server.asked) == 1
        assert other.asked == []


@pytest.mark.parametrize(
    "answer", [NOT_GOOD, refused(403, "forbidden"), LOST, said(200, b"<html>"), said(500, b"<html>")],
    ids=["401", "403", "lost", "no answer", "500"],
)  # fmt: skip
@pytest.mark.parametrize("watching", [False, True])
async def test_a_token_is_in_no_text_that_somebody_reads(answer: Answer, watching: bool, time: VirtualTime) -> None:
    patience = time.patience(retry_s=0, give_up_s=1)
    async with scripted(answer) as server, Client(server.url, patience=patience, token=SECRET) as client:
        with pytest.raises(errors.StreamingError) as caught:
            await (watched(client) if watching else client.get(TASK_ID))

        told = "".join(traceback.format_exception(caught.value))
        assert SECRET not in told + repr(caught.value) + repr(client) + repr(vars(client)) + repr(Bearer(SECRET))
        assert shown(server)[0] == f"Bearer {SECRET}"


@pytest.mark.parametrize("watching", [False, True])
@pytest.mark.parametrize("answer", [LOST, said(502, b"<html>"), said(404), streamed(content_type="text/html")])
async def test_a_password_in_the_address_is_in_no_error(answer: Answer, watching: bool, time: VirtualTime) -> None:
    patience = time.patience(retry_s=0, give_up_s=1)
    async with scripted(answer) as server:
        url = server.url.replace("//", "//me:passw0rd@")
        async with Client(url, patience=patience) as client:
            with pytest.raises(errors.StreamingError) as caught:
                await (watched(client) if watching else client.get(TASK_ID))

    assert (shown(server)[0] or "").startswith("Basic ")
    assert "passw0rd" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("wrong", ["", "a b", "a\n", "\u00e9", "a\x00b", b"bytes", None, 5])
async def test_what_is_no_token_is_refused_and_not_quoted(wrong: Any, patience: Patience) -> None:
    if wrong is not None:
        with pytest.raises(ValueError, match="a token is one word of ASCII") as caught:
            Client("http://127.0.0.1:1", token=wrong)
        assert wrong == "" or str(wrong) not in str(caught.value)

    async with scripted(FOUND) as server, Client(server.url, patience=patience, token=lambda: wrong) as client:
        with pytest.raises(ValueError, match="a token is one word of ASCII"):
            await client.get(TASK_ID)
    assert server.asked == []


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://me:word@127.0.0.1:1", None),
        ("http://127.0.0.1:1", {"authorization": "Basic x"}),
        ("http://127.0.0.1:1", {"X-API-Key": "x"}),
    ],
)
def test_only_one_thing_says_who_is_calling(url: str, headers: dict[str, str] | None) -> None:
    with pytest.raises(ValueError, match="only one of them can be sent"):
        Client(url, headers=headers, token=SECRET)


# -- a fresh one -------------------------------------------------------------------------------------------------------


def later(giver: Giver) -> Callable[[], Any]:
    async def give() -> str:
        await asyncio.sleep(0)
        return str(giver())

    return give


@pytest.mark.parametrize("how", [lambda giver: giver, later], ids=["a function", "a coroutine function"])
async def test_whoever_gives_tokens_is_asked_again_after_a_401_and_the_request_is_sent_once_more(
    how: Callable[[Giver], Any], patience: Patience
) -> None:
    giver = Giver(STALE, FRESH)
    async with (
        scripted(NOT_GOOD, said_json(record().as_json(), 201), FOUND) as server,
        Client(server.url, patience=patience, token=how(giver)) as client,
    ):
        assert giver.asked == 0
        await client.start("countdown", {"count": 3})
        await client.get(TASK_ID)

    assert shown(server) == [f"Bearer {STALE}", f"Bearer {FRESH}", f"Bearer {FRESH}"]
    assert giver.asked == 2
    first, second = server.asked[:2]
    assert (first.json, first.headers["idempotency-key"]) == (second.json, second.headers["idempotency-key"])


async def test_a_fresh_token_that_is_refused_as_well_is_the_end(patience: Patience, time: VirtualTime) -> None:
    giver = Giver("a", "b", "c", "d")
    async with scripted(NOT_GOOD) as server, Client(server.url, patience=patience, token=giver) as client:
        with pytest.raises(errors.Unauthenticated, match="The token is over") as caught:
            await client.get(TASK_ID)

    assert (len(server.asked), giver.asked, time.pauses_s) == (2, 2, [])
    assert caught.value.challenge == 'Bearer error="invalid_token"'


async def test_the_same_token_is_not_tried_again(patience: Patience) -> None:
    giver = Giver(STALE)
    async with scripted(NOT_GOOD) as server, Client(server.url, patience=patience, token=giver) as client:
        with pytest.raises(errors.Unauthenticated):
            await client.get(TASK_ID)

    assert (len(server.asked), giver.asked) == (1, 2)


async def test_requests_of_one_moment_ask_for_one_token(patience: Patience) -> None:
    """All were sent with the one that is over: the first refusal brings a fresh one, and the others find it."""
    giver = Giver(STALE, FRESH)
    gate = asyncio.Event()
    late = [Answer(NOT_GOOD.raw, gate=gate) for _ in range(3)]
    async with (
        scripted(*late, FOUND) as server,
        Client(server.url, patience=patience, token=later(giver)) as client,
    ):
        asking = [asyncio.create_task(client.get(TASK_ID)) for _ in range(3)]
        while len(server.asked) < 3:
            server.changed.clear()
            await server.changed.wait()
        gate.set()
        await asyncio.gather(*asking)

    assert sorted(filter(None, shown(server))) == [f"Bearer {FRESH}"] * 3 + [f"Bearer {STALE}"] * 3
    assert giver.asked == 2


async def test_an_input_that_was_refused_goes_out_again_as_nothing_was_done_with_it(patience: Patience) -> None:
    answers = [NOT_GOOD, said_json({"seq": 7}, 202)]
    async with (
        scripted(*answers) as server,
        Client(server.url, patience=patience, token=Giver(STALE, FRESH)) as client,
    ):
        assert await client.send_input(TASK_ID, {"a": 1}) == 7

    assert [asked.json for asked in server.asked] == [{"data": {"a": 1}}] * 2


async def test_what_a_giver_raises_comes_out_and_nothing_is_sent(patience: Patience) -> None:
    def broken() -> str:
        raise KeyError("vault")

    async with scripted(FOUND) as server, Client(server.url, patience=patience, token=broken) as client:
        with pytest.raises(KeyError, match="vault"):
            await client.get(TASK_ID)

    assert server.asked == []


# -- watching ----------------------------------------------------------------------------------------------------------


async def test_a_stream_that_ends_with_its_credential_is_resumed_with_a_fresh_one_and_nothing_is_lost(
    patience: Patience,
) -> None:
    over = streamed(block(1, "pending"), block(2, "running"), FAREWELL)
    rest = streamed(block(3, "tick"), block(4, "completed"))
    giver = Giver(STALE, FRESH)
    async with (
        scripted(over, NOT_GOOD, rest) as server,
        Client(server.url, patience=patience, token=giver) as client,
    ):
        events = await watched(client)

    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert shown(server) == [f"Bearer {STALE}", f"Bearer {STALE}", f"Bearer {FRESH}"]
    assert [asked.headers.get("last-event-id") for asked in server.asked] == [None, "2", "2"]


async def test_a_stream_whose_credential_is_over_is_not_asked_for_again_and_again(
    patience: Patience, time: VirtualTime
) -> None:
    over = streamed(block(1, "pending"), FAREWELL)
    async with scripted(over, NOT_GOOD) as server, Client(server.url, patience=patience, token=STALE) as client:
        async with aclosing(client.watch(TASK_ID)) as events:
            assert (await anext(events)).seq == 1
            with pytest.raises(errors.Unauthenticated):
                await anext(events)

        assert (len(server.asked), len(time.pauses_s)) == (2, 1)


# -- how often ---------------------------------------------------------------------------------------------------------


async def test_a_server_that_wants_fewer_requests_is_given_the_time_that_it_names(time: VirtualTime) -> None:
    limited = refused(429, "rate_limited", retry_after="3")
    patience = time.patience(chance=0.0)
    async with scripted(limited, FOUND) as server, Client(server.url, patience=patience) as client:
        await client.get(TASK_ID)
    async with scripted(limited, streamed(block(1, "completed"))) as server, Client(server.url, patience=patience) as c:
        await watched(c)

    assert time.pauses_s == [3.25, 3.25]


@pytest.mark.parametrize("watching", [False, True])
async def test_a_server_that_wants_fewer_requests_for_too_long_is_told_as_it_is(
    watching: bool, time: VirtualTime
) -> None:
    patience = time.patience(give_up_s=10)
    answer = refused(429, "rate_limited", "Too often.", retry_after="60")
    async with scripted(answer) as server, Client(server.url, patience=patience) as client:
        with pytest.raises(errors.RateLimited, match="Too often") as caught:
            await (watched(client) if watching else client.get(TASK_ID))

    assert (caught.value.retry_after_s, time.pauses_s) == (60, [])


@pytest.mark.parametrize(
    ("status", "kind"), [(401, errors.Unauthenticated), (403, errors.Forbidden), (429, errors.RateLimited)]
)
async def test_a_proxy_that_names_no_code_means_the_usual_one(
    status: int, kind: type[errors.StreamingError], time: VirtualTime
) -> None:
    patience = time.patience(retry_s=0)
    async with scripted(said(status, b"<html>")) as server, Client(server.url, patience=patience) as client:
        with pytest.raises(kind, match=f"answered {status}") as caught:
            await client.get(TASK_ID)

    assert caught.value.code == kind.code


async def test_a_code_that_is_not_known_stays_what_it_is(patience: Patience) -> None:
    async with scripted(refused(403, "teapot")) as server, Client(server.url, patience=patience) as client:
        with pytest.raises(errors.ServerError) as caught:
            await client.get(TASK_ID)

    assert (caught.value.status, caught.value.code) == (403, "teapot")


# -- a credential for a URL --------------------------------------------------------------------------------------------

GIVEN = {"token": "t.o.k", "expires_at": TIME, "url": f"/elsewhere/tasks/{TASK_ID}/events?stream_token=t.o.k"}


async def test_a_stream_token_has_the_address_that_its_client_knows_the_server_by(patience: Patience) -> None:
    async with scripted(said_json(GIVEN, 201)) as server:
        async with Client(f"{server.url}/below", patience=patience, token=SECRET) as client:
            given = await client.stream_token(TASK_ID)

        assert given == StreamToken("t.o.k", TIME, f"{server.url}/below/tasks/{TASK_ID}/events?stream_token=t.o.k")
        assert (server.asked[0].method, server.asked[0].target) == ("POST", f"/below/tasks/{TASK_ID}/stream-token")
        assert "t.o.k" not in repr(given)


async def test_a_stream_token_does_not_carry_the_password_of_its_client(patience: Patience) -> None:
    async with (
        scripted(said_json(GIVEN, 201)) as server,
        Client(server.url.replace("//", "//me:passw0rd@"), patience=patience) as client,
    ):
        assert "passw0rd" not in (await client.stream_token(TASK_ID)).url


@pytest.mark.parametrize("missing", GIVEN)
async def test_an_answer_without_a_stream_token_is_an_error(missing: str, patience: Patience) -> None:
    answer = said_json({**GIVEN, missing: None}, 201)
    async with scripted(answer) as server, Client(server.url, patience=patience) as client:
        with pytest.raises(errors.ServerError, match="A token for a stream was expected") as caught:
            await client.stream_token(TASK_ID)

    assert caught.value.code == "bad_answer"


async def test_a_stream_token_for_no_task_is_not_found(patience: Patience) -> None:
    async with scripted(refused(404, "not_found")) as server, Client(server.url, patience=patience) as client:
        with pytest.raises(errors.TaskNotFound):
            await client.stream_token("a/b")

    assert server.asked[0].target == "/tasks/a%2Fb/stream-token"


async def test_a_task_has_the_tenant_of_who_started_it(patience: Patience) -> None:
    answer = said_json(json.loads(json.dumps(record(created_by="ci", tenant="acme").as_json())))
    async with scripted(answer) as server, Client(server.url, patience=patience) as client:
        found = await client.get(TASK_ID)

    assert (found.created_by, found.tenant) == ("ci", "acme")
