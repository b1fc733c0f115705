"""The house checks itself: floors, purity, heads, sizes and names."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import streaming
from tests.conftest import PROCESSES, pytest_xdist_auto_num_workers

ROOT = Path(streaming.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

#: All our Python, tests and tools included; this file quotes what is not allowed.
OURS = sorted(
    {ROOT.parent / "dev.py"}.union(
        *(ROOT.parent.joinpath(name).rglob("*.py") for name in ("streaming", "tests", "benchmarks", "examples"))
    )
    - {Path(__file__)}
)

#: The floors, from the ground up. A module imports from floors below its own, and from its own unit.
FLOORS: list[set[str]] = [
    {"words"},  # see WORDS
    {"rules"},
    {"engine"},
    {"store", "tasks", "observe", "access"},
    {"web"},
    {"exit", "heap", "listener", "privacy"},
    {"server"},
    {"cli"},
]
WORDS = {"errors", "events", "records", "config", "secret_files", "values"}

#: Beside the house: the floors they stand on at most, and who may import them. The test kit breaks the memory store.
BESIDE = {
    "client": (["words", "rules"], {"cli"}),
    "testing": (["words", "rules", "engine", "store"], {"cli"}),
}

#: Every file and folder of the package.
PARTS = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in MODULES} - {"__init__"}

#: All that a decision may need of the standard library; of datetime, the arithmetic.
PURE = {
    "__future__",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "heapq",
    "itertools",
    "json",
    "math",
    "re",
    "types",
    "typing",
}

#: What reads a clock, or the time zone of the machine.
CLOCKS = {"now", "today", "utcnow", "fromtimestamp"}

#: What the engine gets as arguments, so that a test can choose them. Threads are made in one place, and what a worker
#: process does is done outside of the server.
GIVEN = {"time", "uuid", "random", "secrets", "threading", "socket", "os", "subprocess", "sqlite3"}
NOT_GIVEN = {"streaming.engine.calls": {"threading"}, "streaming.engine.worker": {"threading", "os"}}

LINES_MAX, FUNCTION_LINES_MAX = 400, 60

#: A list, and to be read as one: the whole tree of errors stands in one place.
LISTS = {"streaming.errors"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def unit_of(name: str) -> str:
    """The part of the house that a name belongs to; what the package itself offers is the engine's."""
    part = f"{name}.".split(".")[1]
    if part in WORDS:
        return "words"
    return part if part in PARTS else "engine"


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def may_import(importer: str, imported: str) -> bool:
    if importer == imported:
        return True
    if importer in BESIDE:
        return imported in BESIDE[importer][0]
    if imported in BESIDE:
        return importer in BESIDE[imported][1]
    floor = {unit: number for number, units in enumerate(FLOORS) for unit in units}
    return floor[imported] < floor[importer]


def test_a_module_imports_only_from_floors_below() -> None:
    assert [
        (name_of(module), name)
        for module in MODULES
        for name in imports(module)
        if name.split(".")[0] == "streaming" and not may_import(unit_of(name_of(module)), unit_of(name))
    ] == []


def test_every_part_of_the_house_has_its_floor() -> None:
    assert {unit_of(f"streaming.{part}") for part in PARTS} <= set().union(*FLOORS, BESIDE)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("rules", "engine"), ("store", "tasks"), ("web", "server"), ("client", "engine"), ("engine", "client")],
)
def test_the_floors_are_closed_upwards_and_sideways(importer: str, imported: str) -> None:
    assert not may_import(importer, imported)


@pytest.mark.parametrize("module", sorted(ROOT.joinpath("rules").glob("*.py")), ids=name_of)
def test_a_decision_needs_no_loop_clock_chance_or_file(module: Path) -> None:
    outside = {name.split(".")[0] for name in imports(module)} - {"streaming"}

    assert outside <= PURE
    assert set() == {"open", "print", "input"} & calls(module)
    assert set() == CLOCKS & attributes(module)
    assert not [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]


#: What the routes may ask the coordinator past the view of a principal: nothing about a task.
OF_NO_TASK = {"registry", "draining", "ready", "now", "limits_hit", "drain_outlook"}
#: And those for admins only.
OF_THE_SERVER = {"audit", "diary"}


@pytest.mark.parametrize("module", sorted(ROOT.joinpath("web").rglob("*.py")), ids=name_of)
def test_no_route_reaches_a_task_past_the_view_of_its_principal(module: Path) -> None:
    asked = {
        node.attr
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr in ("coordinator", "_coordinator")
    }
    assert asked <= OF_NO_TASK | (OF_THE_SERVER if module.name == "audit.py" else set())


@pytest.mark.parametrize("module", sorted(ROOT.joinpath("engine").glob("*.py")), ids=name_of)
def test_the_engine_gets_its_clock_its_ids_and_its_store_as_arguments(module: Path) -> None:
    forbidden = GIVEN - NOT_GIVEN.get(name_of(module), set())

    assert set() == forbidden & {name.split(".")[0] for name in imports(module)}
    assert set() == {"open", "print", "input", "today", "utcnow", "datetime.now", "asyncio.wait_for"} & calls(module)


def attributes(path: Path) -> set[str]:
    """What a module takes of other things, called or not."""
    return {node.attr for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("text", ["datetime.now(UTC)", "clock = datetime.now", "date.today()", "d.fromtimestamp(0)"])
def test_a_clock_is_found_however_it_is_taken(text: str, tmp_path: Path) -> None:
    source = tmp_path / "decision.py"
    source.write_text(text, encoding="utf-8")

    assert CLOCKS & attributes(source)


def calls(path: Path) -> set[str]:
    """What a module calls: ``open`` for the built-in, ``datetime.now`` for a function of a module or class."""
    functions = [node.func for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
    return {ast.unparse(function) for function in functions} | {
        function.attr for function in functions if isinstance(function, ast.Attribute) and function.attr != "open"
    }


def missing_in_the_head(module: Path) -> list[str]:
    head = ast.get_docstring(tree_of(module)) or ""
    wanted = [] if module.name in ("__init__.py", "__main__.py") else ["Owns", "Never"]
    return [word for word in wanted if not re.search(rf"^{word}: +\S", head, re.MULTILINE)] if head else ["a head"]


def test_every_module_says_what_it_owns_and_what_it_never_does() -> None:
    assert {name_of(module): missing for module in MODULES if (missing := missing_in_the_head(module))} == {}


def test_no_module_is_longer_than_anybody_reads_in_one_sitting() -> None:
    lengths = {name_of(module): len(module.read_text(encoding="utf-8").splitlines()) for module in MODULES}

    assert {name: lines for name, lines in lengths.items() if lines > LINES_MAX and name not in LISTS} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    functions = [
        (name_of(module), node.name, (node.end_lineno or 0) - node.lineno + 1)
        for module in MODULES
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    assert [function for function in functions if function[-1] > FUNCTION_LINES_MAX] == []


def test_nothing_is_left_for_later() -> None:
    later = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

    assert [name_of(module) for module in MODULES if later.search(module.read_text(encoding="utf-8"))] == []


def test_every_module_has_a_name_that_says_what_it_is() -> None:
    nothing = {"utils", "util", "helpers", "helper", "common", "base", "misc"}

    assert [name_of(module) for module in MODULES if nothing & set(name_of(module).split("."))] == []


#: A comment that silences a checker for its line.
SILENCED = re.compile(r"# (type: ignore|noqa|pragma: no cover)")
#: The same, with what is silenced and a comment of its own that says why.
SILENCED_FOR_A_REASON = re.compile(
    r"# (type: ignore\[\w[\w, -]*\]|noqa: [A-Z]+\d+(, [A-Z]+\d+)*|pragma: no cover)  # \w"
)


def without_a_reason(lines: list[str]) -> list[str]:
    return [line for line in lines if SILENCED.search(line) and not SILENCED_FOR_A_REASON.search(line)]


def test_every_exception_to_the_checkers_gives_its_reason() -> None:
    found = {str(path): without_a_reason(path.read_text(encoding="utf-8").splitlines()) for path in OURS}

    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("comment", "fine"),
    [
        ("noqa: S101", False),
        ("noqa: S101, ASYNC109", False),
        ("noqa: S101 because", False),
        ("noqa", False),
        ("noqa  # because", False),
        ("type: ignore[misc]", False),
        ("pragma: no cover", False),
        ("noqa: S101, ASYNC109  # because", True),
        ("type: ignore[misc, arg-type]  # because", True),
        ("pragma: no cover  # because", True),
    ],
)
def test_a_reason_is_a_comment_of_its_own(comment: str, fine: bool) -> None:
    assert (without_a_reason([f"x = 1  # {comment}"]) == []) is fine


SURFACES = [path for path in MODULES if "__all__" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("package", SURFACES, ids=name_of)
def test_what_is_public_exists_and_says_what_it_is_for(package: Path) -> None:
    found = importlib.import_module(name_of(package))

    for name in found.__all__:
        value = getattr(found, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert inspect.getdoc(value), name


def test_the_public_surface_is_sorted_and_whole() -> None:
    assert sorted(streaming.__all__, key=str.casefold) == sorted(set(streaming.__all__), key=str.casefold)
    assert {"TaskCoordinator", "TaskContext", "ThreadContext", "Registry", "task", "Event"} <= set(streaming.__all__)


@pytest.mark.parametrize("unit", ["rules", "engine"])
def test_every_module_of_the_inner_house_has_its_own_test_file(unit: str) -> None:
    modules = {path.stem for path in ROOT.joinpath(unit).glob("*.py")} - {"__init__"}
    tests = {path.stem.removeprefix("test_") for path in Path(__file__).parent.joinpath(unit).glob("test_*.py")}

    assert set() == modules - tests


@pytest.mark.parametrize(
    ("named", "processes"),
    [
        (["tests"], PROCESSES),
        (["tests/store", "tests/test_house.py"], PROCESSES),
        (["tests/test_house.py"], 0),
        (["tests/test_dev.py", "tests/test_house.py::test_this[a]"], 0),
    ],
)
def test_the_suite_runs_in_two_processes_and_what_is_named_in_one(
    named: list[str], processes: int, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytestconfig, "args", named)

    assert pytest_xdist_auto_num_workers(pytestconfig) == processes
