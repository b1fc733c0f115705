"""The documentation is whole and true: what the code has, the pages name, and what they show works.

No list of names stands here: all of them are derived from the code, so that what is new and not documented is found.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.main

from streaming import errors
from streaming.cli.app import app
from streaming.cli.exits import Exit
from streaming.cli.tokens import VARIABLE as TOKEN
from streaming.client import Client, Patience
from streaming.config import Settings
from streaming.engine.context import TaskContext, ThreadContext
from streaming.engine.diary import KINDS
from streaming.engine.registry import TaskType
from streaming.events import BUILT_IN_TYPES
from streaming.observe.streams import FAILED
from streaming.records import CancelReceipt, Record, TaskStatus
from streaming.rules.deadlines import EXPIRED_CODES
from streaming.rules.drain import Outlook
from streaming.rules.fields import FIELDS, Operator
from streaming.rules.invariants import INVARIANTS
from streaming.rules.lifecycle import TERMINAL, TRANSITIONS
from streaming.rules.outcome import STOPPED_CODES
from streaming.rules.presets import Preset
from streaming.rules.waits import Wait
from streaming.rules.why import Hindrance, Seen, why
from streaming.secret_files import NAMES as SECRETS_IN_FILES
from streaming.tasks import built_in
from streaming.web.listing import GROUPS
from streaming.web.problems import INTERNAL, STATUSES
from tests.fuzz.described import all_routes
from tests.pages import Block
from tests.pages import blocks as blocks_of
from tests.serving import ROOT

DOCS = ROOT / "docs"
PACKAGE = Path(errors.__file__).parent
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("examples/*.md")])


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def rows(name: str) -> list[list[str]]:
    """The cells of all tables of a page."""
    lines = (line.strip() for line in page(name).splitlines() if line.startswith("| "))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def trees(*folders: str) -> Iterator[ast.AST]:
    for folder in folders:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            yield ast.parse(path.read_text(encoding="utf-8"))


def calls(name: str, *folders: str) -> Iterator[ast.Call]:
    """All calls of a function or class in these packages."""
    for tree in trees(*folders):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                yield node


def texts(node: ast.AST | None) -> set[str]:
    return (
        {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}
        if node
        else set()
    )


# -- settings ----------------------------------------------------------------------------------------------------------


def _shown(default: object) -> str:
    if isinstance(default, list):
        return ",".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described_with_its_default(name: str) -> None:
    field = Settings.model_fields[name]
    described = {cells[0].strip("`"): cells[1].strip("`") for cells in rows("settings")}
    default = field.get_default(call_default_factory=True)
    shown = {None: "none", False: "false", "True": "true", "": "none", "{}": "none"}.get(
        default if default is None or default is False else _shown(default), _shown(default)
    )

    assert described[f"STREAMING_{name.upper()}"] == shown


def test_no_page_names_a_setting_that_does_not_exist() -> None:
    known = {f"STREAMING_{name.upper()}" for name in Settings.model_fields} | {"STREAMING_URL"}
    known |= {f"STREAMING_{name.upper()}_FILE" for name in SECRETS_IN_FILES}
    known |= {TOKEN, f"{TOKEN}_FILE"}
    named = {
        word for path in PAGES for word in re.findall(r"STREAMING_[A-Z0-9_]*[A-Z0-9]", path.read_text(encoding="utf-8"))
    }

    assert named - known == set()


# -- traces ------------------------------------------------------------------------------------------------------------

#: What makes spans, and whatever stands in it that names one, an attribute, an event or an end.
SPANS = ("observe/spans.py", "observe/streams.py", "web/traced_stream.py")


def test_every_span_attribute_event_and_end_is_described() -> None:
    text = "".join((ROOT / "streaming" / path).read_text(encoding="utf-8") for path in SPANS)
    named = set(re.findall(r'"((?:streaming|code|http|url|error)\.[a-z_.]+)"', text))
    named |= set(re.findall(r'add_event\(\s*"([a-z ]+)"', text)) | set(re.findall(r'_end\("(\w+)"', text))
    named |= set(re.findall(r'else "(\w+)"\)', text)) | {FAILED}
    described = page("tracing")

    assert {"streaming.task.id", "error.type", "cancel requested", "end", "cut", "failed"} <= named
    assert {name for name in named if f"`{name}`" not in described} == set()
    for span in ("start <type>", "task <type>", "attempt", "stream"):
        assert f"| `{span}` |" in described


def test_no_page_names_an_attribute_of_a_span_that_there_is_not() -> None:
    text = "".join((ROOT / "streaming" / path).read_text(encoding="utf-8") for path in SPANS)
    named = set(re.findall(r"`(streaming\.(?:task|stream|section|retry_at)[a-z_.]*)`", page("tracing")))

    assert {name for name in named if f'"{name}"' not in text} == set()


# -- the audit ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INVARIANTS)
def test_every_invariant_is_described_with_what_to_do(name: str) -> None:
    (described,) = [cells for cells in rows("operations") if cells[0] == f"`{name}`"]

    assert described[1] == INVARIANTS[name]
    assert described[2]


def test_no_page_describes_an_invariant_that_does_not_exist() -> None:
    section = page("operations").split("\n## Audit\n")[1].split("\n## ")[0]

    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(INVARIANTS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_fact_of_the_diary_is_described_with_its_fields(kind: str) -> None:
    section = page("http").split("\n### The diary")[1].split("\n## ")[0]
    (described,) = [
        line for line in section.splitlines() if line.startswith("| ") and f"`{kind}`" in line.split("|")[1]
    ]

    assert set(re.findall(r"`(\w+)`", described.split("|")[2])) == {name for name in KINDS[kind] if name}


# -- HTTP --------------------------------------------------------------------------------------------------------------


def routes_of_the_server() -> set[str]:
    """``METHOD /path``, as the table of routes has them."""
    return {f"{method.upper()} {path}" for path, methods in all_routes().items() for method in methods}


def test_every_route_is_described_and_no_other() -> None:
    described = {cells[0].strip("`") for cells in rows("http") if re.match(r"`[A-Z]+ /", cells[0])}

    assert len(routes_of_the_server()) >= 10
    assert described == routes_of_the_server()


def test_every_query_parameter_is_described() -> None:
    known = {name for call in calls("Query", "web") for name in texts(call.args[1])}

    assert {"cursor", "tail"} <= known
    assert {name for name in known if f"`{name}`" not in page("http") and f"?{name}=" not in page("http")} == set()


SHOWN = Record("", "", TaskStatus.PENDING, {}, 1.0, "", "").as_json()


@pytest.mark.parametrize("field", SHOWN)
def test_every_field_of_a_task_is_shown(field: str) -> None:
    assert f'"{field}":' in page("http")


def test_the_task_that_is_shown_has_no_other_fields() -> None:
    section = page("http").split("\n## The task\n")[1]
    (shown,) = re.findall(r"^```json\n(.*?)^```$", section.split("\n## ")[0], re.MULTILINE | re.DOTALL)

    assert list(json.loads(shown)) == list(SHOWN)


@pytest.mark.parametrize("name", [*FIELDS, *Operator, *Preset, "q", "preset", "sort"])
def test_everything_that_tasks_can_be_found_by_is_described(name: str) -> None:
    section = page("http").split("\n## Finding tasks\n")[1].split("\n## ")[0]

    assert f"`{name}`" in section


@pytest.mark.parametrize("name", GROUPS)
def test_everything_that_tasks_are_counted_by_is_described(name: str) -> None:
    assert f"`{name}`" in page("http").split("\n## Counting")[1].split("\n## ")[0]


REASONS = [
    *Wait,
    *Hindrance,
    *(status for status in TaskStatus if status in TERMINAL),
    "stopping",
    "protected",
    "worker",
]


@pytest.mark.parametrize("word", REASONS)
def test_every_reason_why_a_task_is_still_running_is_described(word: str) -> None:
    assert f"`{word}`" in page("http").split("\n## Why: ")[1].split("\n## ")[0]


@pytest.mark.parametrize("field", why(Seen(Record("", "", TaskStatus.PENDING, {}, 1.0, "", ""), "")))
def test_every_field_of_the_answer_to_why_is_shown(field: str) -> None:
    assert f'"{field}":' in page("http").split("\n## Why: ")[1].split("\n## ")[0]


@pytest.mark.parametrize("word", Outlook)
def test_everything_that_may_become_of_a_task_is_described(word: str) -> None:
    assert f"`{word}`" in page("http").split("\n## Ready: ")[1].split("\n## ")[0]


@pytest.mark.parametrize("field", CancelReceipt.__dataclass_fields__)
def test_every_field_of_a_receipt_is_described(field: str) -> None:
    assert f"`{field}`" in page("http")


# -- events and errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", sorted(BUILT_IN_TYPES | set(TaskStatus)))
def test_every_event_type_is_described(type: str) -> None:
    assert f"`{type}`" in page("events")


@pytest.mark.parametrize("kind", STATUSES, ids=lambda kind: kind.__name__)
def test_every_error_code_is_described_with_its_status(kind: type[errors.StreamingError]) -> None:
    described = [cells for cells in rows("errors") if f"`{kind.code}`" in cells[0]]
    status = str(STATUSES[kind])

    assert described
    assert STATUSES[kind] == INTERNAL or status in {cells[1] for cells in described}


def task_error_codes() -> set[str]:
    """Codes that the engine gives to tasks."""
    made = [call.args[0] for name in ("TaskError", "_error") for call in calls(name, "rules", "engine") if call.args]
    raised = [call.args[0] for call in calls("HandlerError", "engine")]
    return set().union(*map(texts, made + raised)) | set(STOPPED_CODES.values()) | set(EXPIRED_CODES.values())


def test_every_code_that_a_task_may_fail_with_is_described() -> None:
    codes = task_error_codes()
    described = {code for cells in rows("errors") for code in re.findall(r"`(\w+)`", cells[0])}

    assert {"crash", "handler_error", "invalid_result", "handler_exit"} <= codes
    assert codes - described == set()


def test_no_page_describes_a_code_that_nothing_has() -> None:
    known = {kind.code for kind in STATUSES} | task_error_codes() | set(map(str, TERMINAL)) | {"bad_answer"}
    named = {code for cells in rows("errors") for code in re.findall(r"`([a-z_]+)`", cells[0])}

    assert named - known == set()


# -- task types --------------------------------------------------------------------------------------------------------


TYPES: list[TaskType] = [vars(handler)["__streaming_task_type__"] for handler in built_in(Settings())]


@pytest.mark.parametrize("task_type", TYPES, ids=lambda task_type: task_type.name)
def test_every_built_in_task_type_is_described_with_its_parameters(task_type: TaskType) -> None:
    section = page("task-types").split(f"\n## `{task_type.name}`\n")[1].split("\n## ")[0]

    assert {name for name in task_type.schema()["properties"] if f"| `{name}` |" not in section} == set()


def test_every_code_of_a_built_in_task_type_is_described() -> None:
    codes = {
        code
        for call in calls("HandlerError", "tasks")
        if isinstance(call.args[0], ast.Constant)
        for code in texts(call.args[0])
    }
    tables = [
        node
        for tree in trees("tasks")
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_FAILURES"
    ]
    codes |= {text for table in tables for text in texts(table.value) if re.fullmatch(r"[a-z_]+", text)}
    described = {cells[0].strip("`") for cells in rows("task-types")}

    assert {"address_not_allowed", "fetch_timeout", "command_failed"} <= codes
    assert codes - described == set()


# -- command line and client -------------------------------------------------------------------------------------------


def commands_of(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All commands, those of groups under two words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{name} ")
        else:
            yield f"{prefix}{name}", command


COMMANDS = dict(commands_of(typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_described_with_its_options(name: str) -> None:
    common, *sections = re.split(r"^## ", page("cli"), flags=re.MULTILINE)
    (described,) = [section for section in sections if re.search(rf"`streaming {name}\b", section.splitlines()[0])]
    section = common + described
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts if option.startswith("-")}

    assert {option for option in options if f"`{option}`" not in section} == set()


@pytest.mark.parametrize("status", Exit, ids=lambda status: status.name)
def test_every_exit_status_is_described(status: Exit) -> None:
    assert str(status.value) in {cells[0] for cells in rows("cli")}


def test_every_method_of_the_client_and_its_patience_is_described() -> None:
    methods = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    fields = {name for name in Patience.__dataclass_fields__ if name not in ("sleep", "clock", "chance")}

    assert {name for name in methods - {"aclose"} if f"| `{name}(" not in page("client")} == set()
    assert {name for name in fields if f"| `{name}` |" not in page("client")} == set()


@pytest.mark.parametrize("context", [TaskContext, ThreadContext], ids=lambda context: context.__name__)
def test_everything_that_a_context_can_do_is_described(context: type) -> None:
    public = {name for name in dir(context) if not name.startswith("_")}

    assert {name for name in public if f"ctx.{name}" not in page("handlers")} == set()


# -- design ------------------------------------------------------------------------------------------------------------


def life_cycle_table() -> str:
    """The table of ``rules.lifecycle`` as Markdown."""
    lines = ["| status | what happens | next status |", "|---|---|---|"]
    lines += [
        f"| `{status}` | {transition} | `{following}` |" for (status, transition), following in TRANSITIONS.items()
    ]
    lines += [f"| `{status}` | nothing any more: it is terminal | |" for status in TaskStatus if status in TERMINAL]
    return "\n".join(lines)


def test_the_life_cycle_in_the_design_is_that_of_the_code() -> None:
    assert life_cycle_table() in page("design")


# -- pages -------------------------------------------------------------------------------------------------------------


def blocks(*languages: str) -> list[Block]:
    return [block for path in PAGES for block in blocks_of(path, *languages)]


def block_id(block: Block) -> str:
    return f"{name_of(block.path)}:{block.line}"


@pytest.mark.parametrize("block", blocks("python"), ids=block_id)
def test_python_in_a_page_runs(block: Block) -> None:
    """But for what is not run, and programs that need a server: those are only compiled here."""
    code = compile("\n" * (block.line - 1) + block.code, str(block.path), "exec")
    if not block.note.startswith(("not run: ", "client: ", "tutorial: ", "from: ", "with a server")):
        exec(code, {"__name__": "example"})  # noqa: S102  # our own pages


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(path: Path) -> list[str]:
    """Where a page leads, pictures included: of links with words, of bare ones, and of those in HTML."""
    text = re.sub(r"`[^`\n]*`", "", prose(path))
    return re.findall(r"\]\(([^)\s]+)(?: [^)]*)?\)|<(https?:[^>\s]+)>|\b(?:href|src)=\"([^\"]+)\"", text)


def targets(path: Path) -> list[str]:
    return ["".join(found) for found in links(path)]


def is_broken(path: Path, target: str) -> bool:
    """Whether a link inside the project leads nowhere."""
    file, _, anchor = target.partition("#")
    goal = (path.parent / file).resolve() if file else path
    return not goal.exists() or bool(anchor and anchor not in anchors(goal))


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_link_inside_the_project_leads_somewhere(path: Path) -> None:
    """To a file or a picture that is there, and to a heading that it has."""
    assert [each for each in targets(path) if not re.match(r"[a-z]+:", each) and is_broken(path, each)] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    here = tmp_path / "here.md"
    here.write_text("# A heading\n[a](#a-heading) [b](#b) ![p](p.png) [c](http://x.example/) <http://y.example/>\n")

    assert targets(here) == ["#a-heading", "#b", "p.png", "http://x.example/", "http://y.example/"]
    assert [is_broken(here, each) for each in targets(here)[:3]] == [False, True, True]


def test_every_link_to_the_outside_can_be_one() -> None:
    """Nobody is asked: whether it is a URL of the web, written whole, is all that can be said here."""
    outside = {each for path in PAGES for each in targets(path) if re.match(r"[a-z]+:", each)}

    assert len(outside) > 10
    assert [each for each in outside if urlsplit(each).scheme not in ("http", "https", "mailto")] == []
    assert [each for each in outside if not re.fullmatch(r"https?://[\w.-]+(:\d+)?(/[^\s<>\"]*)?", each)] == []
    local = {each for each in outside if each.startswith("http:")}
    assert [each for each in local if urlsplit(each).hostname not in ("127.0.0.1", "localhost")] == [], "https"


def test_every_page_can_be_reached_from_the_index() -> None:
    """Link by link, beginning with the index, and without the way back through the README."""
    seen: set[Path] = set()
    waiting = [DOCS / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in seen or path.suffix != ".md" or not path.is_relative_to(DOCS):
            continue
        seen.add(path)
        inside = [each.partition("#")[0] for each in targets(path) if not re.match(r"[a-z]+:", each)]
        waiting += [(path.parent / each).resolve() for each in inside if each]

    assert {name_of(path) for path in set(DOCS.rglob("*.md")) - seen} == set()


def test_the_index_names_each_page_itself_but_the_decisions() -> None:
    named = {each.partition("#")[0] for each in targets(DOCS / "README.md")}
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} - {"README.md"}

    assert {each for each in pages if not each.startswith("decisions/")} - named == set()


def test_the_readme_leads_to_the_quick_start_the_page_and_the_index() -> None:
    assert {"docs/quickstart.md", "docs/page.md", "docs/README.md"} <= set(targets(ROOT / "README.md"))


# -- words -------------------------------------------------------------------------------------------------------------

RULED_OUT = sorted({word for cells in rows("glossary") for word in re.findall(r"\*\*(.+?)\*\*", cells[-1])})

#: Where such a word means something else, in a few words of the sentence.
OTHER_MEANINGS = ("RFC 3339 with any offset",)


def ruled_out(text: str) -> list[str]:
    """The words that are not used for a concept, but stand in a text."""
    for words in OTHER_MEANINGS:
        text = text.replace(words, "")
    text = re.sub(r"`[^`\n]*`", "", text)
    return [word for word in RULED_OUT if re.search(rf"\b{word}s?\b", text, re.IGNORECASE)]


@pytest.mark.parametrize("path", [path for path in PAGES if path.is_relative_to(DOCS)], ids=name_of)
def test_no_page_uses_a_word_that_the_glossary_rules_out(path: Path) -> None:
    if path.parent.name != "decisions" and path.name != "glossary.md":
        assert ruled_out(prose(path)) == []


def test_such_a_word_would_be_found() -> None:
    assert ruled_out("Start the jobs again from this offset.") == ["job", "offset"]
    assert ruled_out("A time is RFC 3339 with any offset; `job` is a name.") == []


def test_the_glossary_is_in_the_words_of_the_design() -> None:
    """Each status word and each concept once, none twice."""
    words = [cells[0] for cells in rows("glossary")][1:]

    assert len(words) == len(set(words)) >= 25
    assert "](glossary.md)" in page("design")
