"""The commands that find tasks: what they ask for, what they print on terminals of any width, and elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from streaming.records import Progress, TaskStatus
from tests.scripted_server import TASK_ID, TIME, Answer, ScriptedServer, record, refused, said_json

Streaming = Callable[..., Result]
Script = Callable[..., ScriptedServer]

RECORDS = [record(id="a" * 32, progress=Progress(40.0, "2 of\t5")).as_json(), record(id="b" * 32).as_json()]
PAGE = said_json({"tasks": RECORDS, "next_cursor": None})
CHANGE = {"seq": 1, "from": None, "to": "pending", "time": TIME, "by": "anna", "reason": "", "lasted_s": 1.5}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make stdout a terminal of so many columns."""

    def make(width: int) -> None:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr("streaming.cli.finding.sys", Terminal())

    return make


class Terminal:
    """What is asked of `sys` about a terminal."""

    class stdout:
        encoding = "utf-8"

        @staticmethod
        def isatty() -> bool:
            return True


# -- list ------------------------------------------------------------------------------------------------------------


def test_list_asks_for_what_was_given(streaming: Streaming, script: Script) -> None:
    server = script(PAGE)
    words = [
        "--status",
        "running",
        "--status",
        "failed",
        "--type",
        "x",
        "--tag",
        "t",
        "-q",
        "a b",
        "--sort",
        "-created_at",
    ]
    streaming(
        "list", *words, "--filter", "created_at[gte]=2026-11-01", "--preset", "active", "--limit", "7", url=server.url
    )

    assert server.asked[0].target == (
        "/tasks?status=running%2Cfailed&type=x&tag=t&created_at%5Bgte%5D=2026-11-01T00%3A00%3A00Z&q=a+b"
        "&preset=active&sort=-created_at&limit=7"
    )


def test_elsewhere_than_on_a_terminal_a_list_is_columns_with_tabs(streaming: Streaming, script: Script) -> None:
    result = streaming("list", url=script(PAGE).url)

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{'a' * 32}\tcountdown\trunning\t40.0\t2 of�5\t{TIME}",
        f"{'b' * 32}\tcountdown\trunning\t\t\t{TIME}",
    ]
    assert result.stderr == ""


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_on_a_terminal_a_list_fits(
    width: int, streaming: Streaming, script: Script, terminal: Callable[[int], None]
) -> None:
    terminal(width)
    result = streaming("list", url=script(PAGE).url)

    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert all(len(line) <= max(width, 32) for line in lines)
    assert [line[:32] for line in lines if line[:1] in "ab"] == ["a" * 32, "b" * 32]
    assert len(lines) == (4 if width < 45 else 3)


def test_a_table_can_be_asked_for_anywhere(
    streaming: Streaming, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = streaming("list", "-o", "table", url=script(PAGE).url)

    assert result.stdout.split()[:2] == ["id", "status"]
    assert "████░░░░░░" in result.stdout


def test_programs_get_one_document_or_one_task_a_line(streaming: Streaming, script: Script) -> None:
    server = script(PAGE)
    document, lines = streaming("list", "-o", "json", url=server.url), streaming("list", "-o", "ndjson")

    assert json.loads(document.stdout) == RECORDS
    assert [json.loads(line) for line in lines.stdout.splitlines()] == RECORDS


def test_all_goes_through_all_pages(streaming: Streaming, script: Script) -> None:
    first = said_json({"tasks": RECORDS[:1], "next_cursor": "c"})
    server = script(first, said_json({"tasks": RECORDS[1:], "next_cursor": None}))
    result = streaming("list", "--all", "-o", "ndjson", url=server.url)

    assert len(result.stdout.splitlines()) == 2
    assert [asked.target for asked in server.asked] == ["/tasks?limit=100", "/tasks?cursor=c&limit=100"]


def test_a_list_that_was_cut_off_says_so_to_people(
    streaming: Streaming, script: Script, terminal: Callable[[int], None]
) -> None:
    terminal(80)
    assert "--all shows all" in streaming("list", "--limit", "2", url=script(PAGE).url).stderr
    assert streaming("list", "--limit", "3", url=script(PAGE).url).stderr == ""


@pytest.mark.parametrize("words", [["--all", "--limit", "3"], ["--limit", "0"], ["-f", "x"], ["-o", "xml"]])
def test_a_wrong_list_is_a_usage_error(words: list[str], streaming: Streaming) -> None:
    result = streaming("list", *words)

    assert (result.exit_code, result.stdout) == (2, "")


def test_what_the_server_does_not_know_is_a_usage_error_with_its_words(streaming: Streaming, script: Script) -> None:
    server = script(refused(400, "bad_filter", "There is no filter 'x'; possible: id, type."))
    result = streaming("list", "-f", "x=1", url=server.url)

    assert (result.exit_code, result.stderr) == (2, "streaming: There is no filter 'x'; possible: id, type.\n")


# -- count -----------------------------------------------------------------------------------------------------------


def test_a_count_is_a_number(streaming: Streaming, script: Script) -> None:
    server = script(said_json({"count": 7, "groups": []}))
    text, document = streaming("count", "--status", "running", url=server.url), streaming("count", "-o", "json")

    assert (text.exit_code, text.stdout) == (0, "7\n")
    assert json.loads(document.stdout) == {"count": 7, "groups": []}
    assert [asked.target for asked in server.asked] == ["/tasks/count?status=running", "/tasks/count"]


def test_groups_are_columns(streaming: Streaming, script: Script) -> None:
    groups = [{"status": "running", "error": None, "count": 6}, {"status": "failed", "error": "crash", "count": 1}]
    server = script(said_json({"count": 7, "groups": groups}))
    result = streaming("count", "--group-by", "status,error", url=server.url)

    assert result.stdout.splitlines() == ["running\t\t6", "failed\tcrash\t1"]
    assert server.asked[0].target == "/tasks/count?group_by=status%2Cerror"


# -- show ------------------------------------------------------------------------------------------------------------


def shown(children: int = 0) -> list[Answer]:
    task = record(TaskStatus.COMPLETED, result={"a": "é"}, progress=Progress(100.0)).as_json()
    below = [record(id=f"{number:032x}", parent=TASK_ID).as_json() for number in range(children)]
    return [
        _at(said_json({"changes": [CHANGE]}), "/history"),
        _at(said_json({"tasks": below, "next_cursor": None}), "parent="),
        said_json(task),
    ]


def _at(answer: Answer, at: str) -> Answer:
    return Answer(answer.raw, at=at)


def test_show_prints_what_is_known_the_history_and_the_children(streaming: Streaming, script: Script) -> None:
    server = script(*shown(children=2))
    result = streaming("show", TASK_ID, url=server.url)

    assert result.exit_code == 0
    assert 'result        {"a": "é"}\n' in result.stdout
    assert f"\npending\t{TIME}\tanna\t1.500 s\t\n" in result.stdout
    assert f"{1:032x}\trunning\tcountdown\n" in result.stdout
    assert server.asked[2].target == f"/tasks?parent={TASK_ID}&sort=created_at&limit=100"
    assert result.stderr == ""


def test_many_children_are_cut_off_with_a_word(streaming: Streaming, script: Script) -> None:
    result = streaming("show", TASK_ID, url=script(*shown(children=100)).url)

    assert f"streaming list --filter parent={TASK_ID} --all" in result.stderr


def test_show_gives_programs_the_task_with_more_in_it(streaming: Streaming, script: Script) -> None:
    result = streaming("show", TASK_ID, "-o", "json", url=script(*shown(children=1)).url)

    document = json.loads(result.stdout)
    assert document["result"] == {"a": "é"}
    assert document["history"] == [CHANGE]
    assert [child["id"] for child in document["children"]] == [f"{0:032x}"]
