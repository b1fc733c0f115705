"""The commands as data: the same as the command line has, kept in a file, made again when that is of no use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from streaming.cli.completion import tree
from streaming.cli.completion.tree import KINDS, build, load
from streaming.cli.completion.values import _SOURCES, values_at


def test_all_commands_and_their_options_are_in_it() -> None:
    found = build()

    assert {"serve", "run", "top", "completion", "key", "db"} <= set(found["commands"])
    run = found["commands"]["run"]
    assert (run["typed"], run["arguments"][0]["values"], run["arguments"][1]["many"]) == (True, "types", True)
    options = {name: option for option in run["options"] for name in option["names"]}
    assert options["--keep-until-ack"]["takes"] is False
    assert options["--priority"]["values"] == ["low", "normal", "high", "urgent"]
    assert found["commands"]["audit"]["help"]


def test_every_kind_of_values_has_its_source_and_is_used() -> None:
    assert set(KINDS.values()) <= _SOURCES.keys()
    text = json.dumps(build())
    assert [kind for kind in _SOURCES if f'"values": "{kind}"' not in text] == []


def test_it_is_kept_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    first = load(environ)
    monkeypatch.setattr(tree, "build", lambda: {"made": "again"})

    assert load(environ) == first == build()
    assert load({"HOME": str(tmp_path)}) == {"made": "again"}
    assert (tmp_path / ".cache/streaming/completion.json").exists()


@pytest.mark.parametrize("kept", ["", "[]", "{}", '{"version": []}', "\xff", '{"version": 1, "tree": 5}'])
def test_a_file_that_is_of_no_use_is_made_again(kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "build", lambda: {"made": "again"})
    path = tmp_path / "streaming/completion.json"
    path.parent.mkdir()
    path.write_bytes(kept.encode("latin-1"))

    assert load({"XDG_CACHE_HOME": str(tmp_path)}) == {"made": "again"}
    assert json.loads(path.read_text())["tree"] == {"made": "again"}


def test_another_version_makes_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    load(environ)
    monkeypatch.setattr(tree, "_version", lambda: ["another"])
    monkeypatch.setattr(tree, "build", lambda: {"made": "again"})

    assert load(environ) == {"made": "again"}


def test_a_place_where_nothing_can_be_written_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "build", lambda: {"made": "again"})
    (tmp_path / "file").write_text("")

    assert load({"XDG_CACHE_HOME": str(tmp_path / "file")}) == {"made": "again"}


def test_presets_and_groups_are_those_of_this_version() -> None:
    from streaming.cli.completion.line import Place
    from streaming.records import TaskStatus
    from streaming.rules.presets import Preset

    assert [each for each, _ in values_at(Place("", values="presets"))] == [preset.value for preset in Preset]
    assert {each for each, _ in values_at(Place("", values="statuses"))} == {status.value for status in TaskStatus}


def test_an_answer_imports_neither_the_command_line_nor_the_client(tmp_path: Path) -> None:
    """Time is measured in modules: the clock of a busy machine says nothing."""
    load({"XDG_CACHE_HOME": str(tmp_path)})
    code = (
        "import sys; sys.argv = ['streaming', 'run', 'x']; from streaming.cli import main; main(); print(*sys.modules)"
    )
    environ = {"STREAMING_COMPLETE": "bash", "XDG_CACHE_HOME": str(tmp_path), "STREAMING_URL": "http://127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)

    heavy = {"typer", "rich", "pydantic", "httpx", "asyncio", "sqlalchemy", "streaming.client", "streaming.cli.app"}
    assert heavy.isdisjoint(done.stdout.split())
    assert done.stderr == ""
