"""What a shell gets for the line that is typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from streaming.cli.completion.answer import VARIABLE, answer
from tests.scripted_server import LOST, TASK_ID, Answer, ScriptedServer, record, refused, said_json

Script = Callable[..., ScriptedServer]
Streaming = Callable[..., Result]

TYPES = said_json(
    {
        "types": [
            {
                "name": "countdown",
                "description": "Counts.",
                "params_schema": {
                    "properties": {
                        "count": {"type": "integer", "description": "From where."},
                        "how": {"enum": ["fast", "slow"]},
                        "dry": {"type": "boolean"},
                        "names": {"type": "array", "items": {"type": "string"}},
                    }
                },
            },
            {"name": "two words"},
            {"name": "bad\x1b"},
            7,
        ]
    }
)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of a busy machine says nothing."""
    monkeypatch.setattr("streaming.cli.glance.glance.__kwdefaults__", {"url": None, "limit_s": 30.0})


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    def ask(*words: str, of: str = "fish", url: str = "http://127.0.0.1:1") -> list[str]:
        monkeypatch.setenv("STREAMING_URL", url)
        return answer(words, {VARIABLE: of, "XDG_CACHE_HOME": str(tmp_path)}).splitlines()

    return ask


Offered = Callable[..., list[str]]


def test_words_have_a_help_where_the_shell_shows_it(offered: Offered, script: Script) -> None:
    url = script(TYPES).url

    assert offered("run", "c", url=url) == ["countdown\tCounts."]
    assert offered("run", "c", url=url, of="zsh") == ["countdown\tCounts."]
    assert offered("run", "c", url=url, of="bash") == ["countdown"]
    assert offered("run", "c", url=url, of="tcsh") == []
    assert all(len(line) < 100 for line in offered(""))


def test_what_cannot_be_typed_as_one_word_is_not_offered(offered: Offered, script: Script) -> None:
    assert offered("run", "", url=script(TYPES).url, of="bash") == ["countdown"]


def test_parameters_of_a_type_are_options_and_have_their_values(offered: Offered, script: Script) -> None:
    url = script(TYPES).url

    assert offered("run", "countdown", "--co", url=url) == ["--count\tFrom where."]
    assert offered("run", "countdown", "--count", "1", "--co", url=url) == []
    assert offered("run", "countdown", "--names", "1", "--na", url=url) == ["--names\t"]
    assert offered("run", "countdown", "--no-d", url=url) == ["--no-dry\t"]
    assert offered("run", "countdown", "--how", "", url=url, of="bash") == ["fast", "slow"]
    assert offered("run", "countdown", "--params.how", "s", url=url, of="bash") == ["slow"]
    assert offered("run", "countdown", "--dry=", url=url) == ["--dry=true\t", "--dry=false\t"]
    assert offered("run", "unknown", "--co", url=url) == []


def test_a_value_in_the_word_of_its_option_is_completed_as_each_shell_cuts_words(offered: Offered) -> None:
    assert offered("list", "--status=ru") == ["--status=running\t"]
    assert offered("list", "--status", "=", "ru", of="bash") == ["running"]
    assert len(offered("list", "--status", "=", of="bash")) == 8
    assert offered("list", "--filter", "a", "=", "b", of="bash") == []


def test_several_values_in_one_word(offered: Offered) -> None:
    assert offered("list", "--status", "failed,ca") == ["failed,cancelled\t"]


def test_ids_are_those_that_the_command_is_about(offered: Offered, script: Script) -> None:
    server = script(said_json({"tasks": [record().as_json()]}))

    assert offered("cancel", "", url=server.url) == [f"{TASK_ID}\tcountdown running"]
    assert offered("retry", "", "--url", server.url) == []  # no word of a task
    assert offered("retry", TASK_ID[:4], url=server.url) == [f"{TASK_ID}\tcountdown running"]
    assert offered("show", "x", url=server.url) == []
    assert [asked.target for asked in server.asked] == [
        "/tasks?status=pending,running,retrying&limit=100",
        "/tasks?status=completed,failed,cancelled,timed_out,interrupted&limit=100",
        "/tasks?limit=100",
    ]


def test_the_server_on_the_line_is_the_one_that_is_asked(offered: Offered, script: Script) -> None:
    assert offered("run", "--url", script(TYPES).url, "c") == ["countdown\tCounts."]


@pytest.mark.parametrize("said", [LOST, refused(401, "unauthenticated"), said_json([]), said_json({"types": {}})])
def test_a_server_that_does_not_help_offers_nothing_and_says_nothing(
    said: Answer, offered: Offered, script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    url = script(said).url

    assert offered("run", "", url=url) == []
    assert offered("run", "x", "--co", url=url) == []
    assert capfd.readouterr() == ("", "")


def test_fields_are_offered_for_orders_and_filters(offered: Offered) -> None:
    assert "created_at\t" in offered("list", "--sort", "crea")
    assert offered("list", "--filter", "external", of="bash") == ["external_id="]
    assert offered("count", "--group-by", "status,t") == ["status,type\t"]


def test_keys_come_from_a_database_and_revoked_ones_do_not(
    offered: Offered, streaming: Streaming, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made: list[dict[str, Any]] = [
        json.loads(streaming("key", "create", name, "-o", "json", "--store", "sqlite:///a.db").stdout)
        for name in ("ada", "bob")
    ]
    assert streaming("key", "revoke", made[1]["id"], "--store", "sqlite:///a.db").exit_code == 0

    assert offered("key", "revoke", "--store", "sqlite:///a.db", "") == [f"{made[0]['id']}\tada"]
    assert offered("key", "revoke", "--store", "sqlite:///none.db", "") == []
    assert not (tmp_path / "none.db").exists()
    assert offered("key", "revoke", "--store", "postgresql+psycopg://x/y", "") == []
    (tmp_path / "streaming.db").write_text("no database")
    assert offered("key", "revoke", "") == []
