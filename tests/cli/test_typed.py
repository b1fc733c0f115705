"""``run`` and ``start`` with the options of a task type: what is asked, sent and shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.scripted_server import ScriptedServer, record, refused, said_json

Streaming = Callable[..., Result]
Script = Callable[..., ScriptedServer]

TYPES = said_json(
    {
        "types": [
            {
                "name": "fetch",
                "description": "Gets [it].",
                "params_schema": {
                    "additionalProperties": False,
                    "required": ["url"],
                    "properties": {
                        "url": {"type": "string", "description": "From [where]."},
                        "count": {"type": "integer", "default": 3, "minimum": 1},
                        "names": {"type": "array", "items": {"type": "string"}},
                        "fast": {"type": "boolean"},
                    },
                },
            },
            {"name": "any", "params_schema": {"additionalProperties": True}},
            {"name": "none", "params_schema": {"additionalProperties": False}},
        ]
    }
)
STARTED = said_json(record().as_json(), 201)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of a busy machine says nothing."""
    monkeypatch.setattr("streaming.cli.typed.HELP_S", 30.0)


def words_of(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def test_options_words_and_documents_are_put_together(streaming: Streaming, script: Script) -> None:
    server = script(TYPES, STARTED)
    words = ["--count", "5", "names=[1]", "--fast", "--timeout-s", "9", "--params", '{"x": 1}']
    result = streaming("start", "fetch", *words, url=server.url)

    assert result.exit_code == 0
    assert [asked.target for asked in server.asked] == ["/types", "/tasks"]
    assert server.asked[1].json == {
        "type": "fetch",
        "params": {"count": 5, "fast": True, "names": [1], "x": 1},
        "timeout_s": 9.0,
    }


def test_without_options_the_server_is_not_asked_for_a_schema(streaming: Streaming, script: Script) -> None:
    server = script(STARTED)
    streaming("start", "fetch", "count=5", url=server.url)

    assert [asked.target for asked in server.asked] == ["/tasks"]


@pytest.mark.parametrize("name", ["--params", "--param-json"])
def test_a_document_comes_from_a_file_or_the_input(
    name: str, streaming: Streaming, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = script(STARTED)
    (tmp_path / "p.json").write_text('{"a": "ü"}', encoding="utf-8")
    streaming("start", "x", name, f"@{tmp_path}/p.json", url=server.url)
    assert server.asked[0].json["params"] == {"a": "ü"}

    monkeypatch.setattr("streaming.cli.words._input", lambda: '{"b": 2}')
    streaming("start", "x", name, "-", url=server.url)
    assert server.asked[1].json["params"] == {"b": 2}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["fetch", "--cuont", "5"], "--cuont: there is no such option. Did you mean --count?"),
        (["fetch", "--count", "x"], "--count: 'x' is not a whole number like 5."),
        (["fetch", "--count", "5", "count=6"], "--count: 'count' is given twice."),
        (["fecth", "--count", "5"], "TYPE: There is no task type 'fecth'; did you mean fetch?"),
        (["zzzzzz", "--count", "5"], "there are any, fetch, none."),
        (["--count", "5", "fetch"], "The task type comes first"),
        (["fetch", "--params", "@/nowhere"], "'@/nowhere' cannot be read"),
        (["fetch", "--params", "[]"], "--params: a JSON object was expected"),
    ],
)
def test_what_cannot_be_is_said_with_what_would_be_right(
    words: list[str], complaint: str, streaming: Streaming, script: Script
) -> None:
    result = streaming("run", *words, url=script(TYPES).url)

    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in words_of(result.stderr)


def test_what_the_server_refuses_is_named_by_its_option(streaming: Streaming, script: Script) -> None:
    wrong: Any = [{"field": f"params.{name}", "message": "no"} for name in ("url", "count", "x")]
    wrong.append({"field": "timeout_s", "message": "no"})
    server = script(TYPES, refused(422, "invalid_params", "Wrong.", errors=wrong))
    result = streaming("run", "fetch", "--count", "0", url=server.url)

    assert result.exit_code == 2
    fields = [line.split()[1] for line in result.stderr.splitlines() if line.endswith(": no")]
    assert fields == ["--params.url:", "--count:", "params.x:", "timeout_s:"]


# -- help --------------------------------------------------------------------------------------------------------------


def test_the_help_of_a_type_shows_its_parameters_and_an_example(streaming: Streaming, script: Script) -> None:
    server = script(TYPES)
    result = streaming("run", "--timeout-s", "5", "fetch", "--url", server.url, "--help")

    assert result.exit_code == 0
    text = words_of(result.stdout)
    assert "Gets [it]." in text
    assert "--params.url TEXT From [where]. [required]" in text
    assert "--count INTEGER [from 1] [default: 3]" in text
    assert "--names TEXT... [may be repeated, or a JSON list]" in text
    assert "--fast/--no-fast" in text
    assert "streaming run fetch --params.url https://example.com/" in text.replace("root ", "streaming ")
    assert "run --help" in text


def test_types_with_any_or_no_parameters_say_so(streaming: Streaming, script: Script) -> None:
    server = script(TYPES)

    assert "It takes any parameters" in streaming("start", "any", "-h", url=server.url).stdout
    assert "It has no parameters" in streaming("start", "none", "-h").stdout


@pytest.mark.parametrize("answer", [TYPES, said_json([]), said_json({"types": 7}), refused(401, "unauthenticated")])
def test_without_the_type_there_is_the_help_of_the_command(answer: Any, streaming: Streaming, script: Script) -> None:
    result = streaming("run", "unknown", "--help", url=script(answer).url)

    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    assert "The parameters of unknown are not shown" in words_of(result.stdout)


# -- a real server -----------------------------------------------------------------------------------------------------


def test_a_countdown_runs_with_options_and_its_own_example_is_right(streaming: Streaming, real_url: str) -> None:
    ran = streaming("run", "countdown", "--count", "2", "--interval", "0", "-o", "json", url=real_url)
    assert ran.exit_code == 0
    assert json.loads(ran.stdout.splitlines()[-1])["data"] == {"result": {"count": 2}}

    shown = streaming("run", "countdown", "--help").stdout
    line = next(line.split() for line in shown.splitlines() if "--count 10 --interval 1.0" in line)
    begin = line.index("run")
    assert streaming(*["start", *line[begin + 1 :]]).exit_code == 0

    wrong = streaming("run", "countdown", "--count", "-1")
    assert wrong.exit_code == 2
    assert "--count: Input should be greater than or equal to 0" in wrong.stderr
