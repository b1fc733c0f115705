"""``streaming key``: a key is shown once, and what is done to keys holds for a server that runs."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import aclosing, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import Result

from streaming.access.keys import hash_of, read_key
from streaming.client import Client, Patience
from streaming.config import Settings
from streaming.errors import Unauthenticated
from streaming.events import Event
from streaming.rules.access import SCOPES_DEFAULT, ApiKey, Principal
from streaming.store import open_database, open_key_store
from tests.real_server import command
from tests.serving import serving
from tests.store.test_migrate import make_first

Streaming = Callable[..., Result]

#: Longer than any of this takes, on a machine that is busy.
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def _lines_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_LOG_FORMAT", "json")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'tasks.db'}"


def kept(url: str) -> list[ApiKey]:
    with closing(open_key_store(Settings(store_url=url))) as store:
        return store.all()


def id_of(key: str) -> str:
    parts = read_key(key.strip())
    assert parts is not None
    return parts[0]


def told(result: Result) -> list[dict[str, Any]]:
    """Lines of the security log, without what is different each time."""
    lines = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert all(line.pop("timestamp") and line.pop("logger") == "streaming.security" for line in lines)
    return lines


def said(result: Result) -> list[str]:
    return [line for line in result.stderr.splitlines() if not line.startswith("{")]


USER = pwd.getpwuid(os.getuid()).pw_name


# -- create ------------------------------------------------------------------------------------------------------------


def test_a_key_stands_alone_on_stdout_and_only_its_hash_is_kept(streaming: Streaming, url: str, tmp_path: Path) -> None:
    result = streaming("key", "create", "ci", "--store", url)

    assert result.exit_code == 0
    id, secret = read_key(result.stdout.removesuffix("\n")) or ("", "")
    assert secret not in result.stderr
    (found,) = kept(url)
    assert found.principal == Principal("ci", SCOPES_DEFAULT)
    assert (found.id, found.hash, found.expires_at) == (id, hash_of(secret), None)
    assert said(result) == [
        f"streaming: key {id} of ci: feed:read, tasks:cancel, tasks:read, tasks:write; it has no end",
        f"streaming: it is kept in {tmp_path / 'tasks.db'}, and is not shown again",
        "streaming: from now on, a server on this database wants a credential from everybody",
    ]
    assert told(result) == [
        {
            "event": "key_created",
            "level": "info",
            "by": f"user:{USER}",
            "key_id": f"key:{id}",
            "holder": "ci",
            "scopes": "feed:read tasks:cancel tasks:read tasks:write",
        }
    ]


def test_a_key_has_the_scopes_the_tenant_and_the_end_that_are_asked_for(streaming: Streaming, url: str) -> None:
    words = ["--scope", "tasks:read", "--scope", "admin", "--tenant", "acme", "--expires-in", "30d", "-o", "json"]
    before = time.time()
    result = streaming("key", "create", "ann@acme", "--store", url, *words)

    shown = json.loads(result.stdout)
    (found,) = kept(url)
    assert found.principal == Principal("ann@acme", frozenset({"tasks:read", "admin"}), "acme")  # type: ignore[arg-type]  # a scope is its word
    assert found.expires_at is not None
    lasts = datetime.fromisoformat(found.expires_at) - datetime.fromtimestamp(before, UTC)
    assert 30 * 86_400 <= lasts.total_seconds() < 30 * 86_400 + PATIENCE_S
    assert id_of(shown.pop("key")) == found.id
    assert shown == {
        "id": found.id,
        "principal": "ann@acme",
        "tenant": "acme",
        "scopes": ["admin", "tasks:read"],
        "state": "active",
        "created_at": found.created_at,
        "expires_at": found.expires_at,
        "revoked_at": None,
    }
    assert said(result)[0].endswith(f"of ann@acme: admin, tasks:read; until {found.expires_at}")
    (line,) = told(result)
    assert (line["tenant"], line["expires_at"]) == ("acme", found.expires_at)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["a b"], "a name has 1 to 128 printable characters"),
        (["a:b"], "a name has 1 to 128 printable characters"),
        ([""], "a name has 1 to 128 printable characters"),
        (["x" * 129], "a name has 1 to 128 printable characters"),
        (["anonymous"], "the name anonymous is taken by the server itself"),
        (["ci", "--tenant", "a,b"], "--tenant"),
        (["ci", "--scope", "task:read"], "there is no scope 'task:read'; possible: tasks:read, tasks:write"),
        (["ci", "--scope", "tasks:read,admin"], "there is no scope"),
        (["ci", "--expires-in", "1y"], "like 15m, 24h or 7d"),
        (["ci", "--expires-in", "0d"], "like 15m, 24h or 7d"),
        (["ci", "--expires-in", "999999999d"], "Times end with the year 9999"),
        (["ci", "--store", "mysql://x"], "possible are memory://, sqlite:///path"),
        ([], "Missing argument"),
    ],
)
def test_what_is_wrong_is_named_and_makes_no_database(
    words: list[str], hint: str, streaming: Streaming, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = streaming("key", "create", *words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert hint in " ".join(result.stderr.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


def test_the_longest_name_is_taken(streaming: Streaming, url: str) -> None:
    assert streaming("key", "create", "x" * 128, "--store", url).exit_code == 0


# -- list --------------------------------------------------------------------------------------------------------------


def test_a_list_says_of_each_key_what_it_is_and_never_a_secret(streaming: Streaming, url: str) -> None:
    store = ["--store", url]
    keys = [streaming("key", "create", name, *store).stdout for name in ("first", "second")]
    keys.append(streaming("key", "create", "third", "--tenant", "acme", "--scope", "admin", *store).stdout)
    with closing(open_key_store(Settings(store_url=url))) as there:
        past = ApiKey("a" * 16, hash_of("x"), Principal("past", frozenset()), *["2020-01-01T00:00:00.000000Z"] * 2)
        there.add(past)
    assert streaming("key", "revoke", id_of(keys[1]), *store).exit_code == 0

    text, document = streaming("key", "list", *store), streaming("key", "list", "-o", "json", *store)
    lines = [line.split("\t") for line in text.stdout.splitlines()]
    assert [(line[0], line[1], line[2], line[4]) for line in lines] == [
        (past.id, "past", "", "expired"),
        (id_of(keys[0]), "first", "", "active"),
        (id_of(keys[1]), "second", "", "revoked"),
        (id_of(keys[2]), "third", "acme", "active"),
    ]
    assert [line[3] for line in lines] == ["", *[" ".join(sorted(SCOPES_DEFAULT))] * 2, "admin"]
    assert lines[0][5:] == ["2020-01-01T00:00:00.000000Z"] * 2
    shown = json.loads(document.stdout)
    assert [(each["id"], each["principal"], each["tenant"] or "", each["state"]) for each in shown] == [
        (line[0], line[1], line[2], line[4]) for line in lines
    ]
    assert [each["revoked_at"] is None for each in shown] == [True, True, False, True]
    everything = text.output + document.output
    for key in keys:
        secret = (read_key(key.strip()) or ("", ""))[1]
        assert secret not in everything
        assert hash_of(secret) not in everything


@pytest.mark.parametrize("words", [["list"], ["revoke", "a" * 16]])
def test_a_database_that_is_not_there_is_not_made_by_a_look(
    words: list[str], streaming: Streaming, url: str, tmp_path: Path
) -> None:
    result = streaming("key", *words, "--store", url)

    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr == f"streaming: There is no database at {tmp_path / 'tasks.db'}, or an empty one.\n"
    assert not list(tmp_path.iterdir())


# -- revoke ------------------------------------------------------------------------------------------------------------


def test_a_revoked_key_stays_in_the_list_and_revoking_twice_is_said(streaming: Streaming, url: str) -> None:
    id = id_of(streaming("key", "create", "ci", "--store", url).stdout)
    first = streaming("key", "revoke", id, id, "--store", url)

    assert (first.exit_code, first.stdout) == (0, "")
    assert said(first) == [f"streaming: key {id} of ci is revoked"]
    assert [(line["event"], line["by"], line["key_id"], line["holder"]) for line in told(first)] == [
        ("key_revoked", f"user:{USER}", f"key:{id}", "ci")
    ]
    revoked_at = kept(url)[0].revoked_at
    assert revoked_at is not None

    again = streaming("key", "revoke", id, "--store", url)
    assert (again.exit_code, told(again)) == (0, [])
    assert said(again) == [f"streaming: key {id} was revoked before, at {revoked_at}"]
    assert kept(url)[0].revoked_at == revoked_at


def test_one_that_there_is_not_is_named_and_the_others_are_revoked(streaming: Streaming, url: str) -> None:
    ids = [id_of(streaming("key", "create", "ci", "--store", url).stdout) for _ in range(2)]
    result = streaming("key", "revoke", ids[0], "nobody", f"key:{ids[1]}", "--store", url)

    assert result.exit_code == 3
    assert "streaming: there is no key 'nobody'" in said(result)
    assert all(key.revoked_at for key in kept(url))


def test_a_whole_key_is_revoked_by_its_id_and_not_repeated(streaming: Streaming, url: str) -> None:
    """It was on a command line: now everybody may know it."""
    key = streaming("key", "create", "ci", "--store", url).stdout.strip()
    result = streaming("key", "revoke", key, "--store", url)

    assert result.exit_code == 0
    assert kept(url)[0].revoked_at is not None
    assert (read_key(key) or ("", ""))[1] not in result.output


def test_what_is_no_id_at_all_is_not_repeated_if_it_looks_like_a_secret(streaming: Streaming, url: str) -> None:
    key = streaming("key", "create", "ci", "--store", url).stdout.strip()
    result = streaming("key", "revoke", f"{key}x", "--store", url)

    assert result.exit_code == 3
    assert said(result) == ["streaming: there is no key 'strm_***'"]


def test_each_of_many_has_its_line_in_the_security_log(streaming: Streaming, url: str) -> None:
    ids = [id_of(streaming("key", "create", f"ci-{n}", "--store", url).stdout) for n in range(12)]
    result = streaming("key", "revoke", *ids, "--store", url)

    assert [line["key_id"] for line in told(result)] == [f"key:{id}" for id in ids]


# -- where -------------------------------------------------------------------------------------------------------------

ALL = [["create", "ci"], ["list"], ["revoke", "a" * 16]]


@pytest.mark.parametrize("words", ALL, ids=lambda words: words[0])
def test_memory_keeps_no_keys(words: list[str], streaming: Streaming, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_STORE_URL", "memory://")
    result = streaming("key", *words)

    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr == (
        "streaming: STREAMING_STORE_URL=memory:// keeps no API keys: name a database, or put keys into "
        "STREAMING_API_KEYS.\n"
    )


@pytest.mark.parametrize("words", ALL, ids=lambda words: words[0])
def test_an_older_schema_is_refused_and_left_alone(
    words: list[str], streaming: Streaming, url: str, tmp_path: Path
) -> None:
    make_first(tmp_path / "tasks.db")
    result = streaming("key", *words, "--store", url)

    assert (result.exit_code, result.stdout) == (5, "")
    assert "streaming db upgrade" in result.stderr
    with closing(open_database(Settings(store_url=url))) as database:
        assert database.inspect().revision == "0001"


def test_a_user_without_a_name_is_its_number(streaming: Streaming, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    (line,) = told(streaming("key", "create", "ci", "--store", url))

    assert line["by"] == f"user:{2**31 - 7}"


@pytest.mark.process
def test_on_postgres_it_is_the_same_and_no_password_is_shown(
    streaming: Streaming, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMING_STORE_URL", f"{postgres_url}{'&' if '?' in postgres_url else '?'}password=s3cr3t")
    made = streaming("key", "create", "ci")
    assert made.exit_code == 0
    assert "password=***" in said(made)[1]
    assert "s3cr3t" not in made.output
    assert streaming("key", "revoke", id_of(made.stdout)).exit_code == 0
    assert "\trevoked\t" in streaming("key", "list").stdout


# -- beside a server ---------------------------------------------------------------------------------------------------


def key_command(folder: Path, *words: str) -> str:
    with command("key", *words, folder=folder, STREAMING_STORE_URL="sqlite:///streaming.db") as process:
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
    return out.strip()


async def until_answered(url: str, status: int, **headers: str) -> httpx.Response:
    """Ask until the answer has this status."""
    async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient(headers=headers) as http:
        while True:
            answer = await http.get(f"{url}/tasks")
            if answer.status_code == status:
                return answer


@pytest.mark.process
async def test_a_running_server_learns_of_a_key_and_of_its_end(tmp_path: Path) -> None:
    with serving(tmp_path, STREAMING_KEY_CACHE_S="0.2") as url:
        async with Client(url) as client:
            task = await client.start("countdown", {"count": 100_000, "interval": 0.05})
        admin = await asyncio.to_thread(key_command, tmp_path, "create", "boss", "--scope", "admin")
        refused = await until_answered(url, 401)
        assert refused.json()["code"] == "unauthenticated"
        assert re.match("bearer", refused.headers["www-authenticate"], re.IGNORECASE)
        other = await asyncio.to_thread(key_command, tmp_path, "create", "boss2", "--scope", "admin")

        # The first key is given until it is refused: then the watch goes on with the other one.
        given = [admin, other]
        async with Client(url, token=lambda: given.pop(0), patience=Patience(pause_first_s=0.1)) as client:
            async with aclosing(client.watch(task.id)) as events:
                seen = [await anext(events) for _ in range(5)]
                await asyncio.to_thread(key_command, tmp_path, "revoke", id_of(admin))
                while given:
                    seen.append(await anext(events))
                seen += [await anext(events) for _ in range(3)]
            assert [event.seq for event in seen] == [*range(1, len(seen) + 1)]

        assert (await until_answered(url, 401, authorization=f"Bearer {admin}")).status_code == 401
        await until_the_watch_ends(url, other, task.id, tmp_path)


async def until_the_watch_ends(url: str, key: str, task_id: str, folder: Path) -> None:
    """A watch without another credential is over when that is revoked, and says so."""
    seen: list[Event] = []
    begun = asyncio.Event()

    async def watch() -> None:
        async with Client(url, token=key, patience=Patience(pause_first_s=0.1)) as client:
            async for event in client.watch(task_id):
                seen.append(event)
                begun.set()

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(PATIENCE_S):
        await begun.wait()
        await asyncio.to_thread(key_command, folder, "revoke", id_of(key))
        with pytest.raises(Unauthenticated):
            await watching
    assert [event.seq for event in seen] == [*range(1, len(seen) + 1)]


@pytest.mark.process
def test_a_command_takes_its_credential_from_the_environment_or_a_file(tmp_path: Path) -> None:
    key = key_command(tmp_path, "create", "ci")
    (tmp_path / "key").write_text(f"{key}\n")
    with serving(tmp_path) as url:
        assert list_as(url, tmp_path).returncode == 4
        wrong = list_as(url, tmp_path, STREAMING_TOKEN="wrong")
        assert (wrong.returncode, "STREAMING_TOKEN can have it" in wrong.stderr) == (4, False)
        assert list_as(url, tmp_path, STREAMING_TOKEN=key).returncode == 0
        assert list_as(url, tmp_path, STREAMING_TOKEN_FILE="key").returncode == 0


def list_as(url: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    with command("list", folder=folder, STREAMING_URL=url, **environment) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess([], process.returncode, out, err)
