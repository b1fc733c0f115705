"""A task type is what its handler's signature says; what does not fit is refused with one clear line."""

from __future__ import annotations

import math
import sys
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge
from pydantic import AfterValidator, BaseModel

from streaming import Registry, TaskContext, TaskType, ThreadContext, task
from streaming.errors import FieldError, InvalidParams, InvalidTaskType, UnknownType


class Point(BaseModel):
    x: int
    y: int = 0


@task
async def plain(ctx: TaskContext, count: Annotated[int, Ge(0)] = 10, name: str = "world") -> None:
    """Say the first paragraph
    on one line.

    And nothing of the second.
    """


def type_of(handler: Any) -> TaskType:
    return Registry([handler]).get(handler.__streaming_task_type__.name)


def test_a_decorated_function_stays_what_it_is() -> None:
    async def work() -> int:
        return 1

    assert task(work) is work
    assert task("other")(work) is work


def test_the_name_is_the_functions_or_the_one_that_is_given() -> None:
    @task("my.work-2")
    async def work() -> None: ...

    assert type_of(plain).name == "plain"
    assert type_of(work).name == "my.work-2"


def test_everything_said_to_the_decorator_is_kept() -> None:
    @task("work", run_in="thread", timeout_s=5, on_interrupt="restart", attempts_max=7)
    def work(ctx: ThreadContext) -> None: ...

    found = type_of(work)

    assert (found.run_in, found.timeout_s, found.on_interrupt, found.attempts_max) == ("thread", 5, "restart", 7)
    assert found.context_name == "ctx"
    assert found.handler is work


def test_without_arguments_the_defaults_hold() -> None:
    found = type_of(plain)

    assert (found.run_in, found.timeout_s, found.on_interrupt, found.attempts_max) == ("loop", None, "report", 3)


def test_the_description_is_the_first_paragraph() -> None:
    @task
    async def silent() -> None: ...

    assert type_of(plain).description == "Say the first paragraph on one line."
    assert type_of(silent).description == ""


def test_the_context_may_stand_anywhere_or_nowhere() -> None:
    @task
    async def last(count: int, it: TaskContext) -> None: ...

    @task
    async def without(count: int) -> None: ...

    @task(run_in="process")
    def process(count: int) -> None: ...

    assert [type_of(each).context_name for each in (last, without, process)] == ["it", None, None]
    assert [list(type_of(each).schema()["properties"]) for each in (last, without, process)] == [["count"]] * 3


# -- parameters ------------------------------------------------------------------------------------------------------


def test_what_is_stored_is_what_was_sent_and_the_defaults() -> None:
    assert type_of(plain).validate({"count": "3"}) == {"count": "3", "name": "world"}
    assert type_of(plain).arguments({"count": "3", "name": "world"}) == {"count": 3, "name": "world"}


def test_the_handler_gets_values_of_its_own_types() -> None:
    @task
    async def work(at: datetime, where: Point, mode: Literal["fast", "slow"] = "fast") -> None: ...

    stored = type_of(work).validate({"at": "2026-11-01T12:00:00Z", "where": {"x": 1}})
    arguments = type_of(work).arguments(stored)

    assert stored == {"at": "2026-11-01T12:00:00Z", "where": {"x": 1}, "mode": "fast"}
    assert isinstance(arguments["at"], datetime)
    assert arguments["where"] == Point(x=1)


def test_a_parameter_without_an_annotation_takes_any_json() -> None:
    @task
    async def work(value) -> None: ...  # type: ignore[no-untyped-def]  # the point

    assert type_of(work).validate({"value": [1, {"a": None}]}) == {"value": [1, {"a": None}]}


def test_every_wrong_parameter_is_named_with_its_path() -> None:
    @task
    async def work(where: Point, count: int) -> None: ...

    with pytest.raises(InvalidParams) as caught:
        type_of(work).validate({"where": {"x": "a", "y": []}, "cuont": 1})

    assert [error.field for error in caught.value.errors] == [
        "params.where.x",
        "params.where.y",
        "params.count",
        "params.cuont",
    ]
    assert caught.value.errors[-1].message == "There is no such parameter; possible: where, count."


def test_a_type_without_parameters_says_that_there_are_none() -> None:
    @task
    async def work() -> None: ...

    with pytest.raises(InvalidParams) as caught:
        type_of(work).validate({"x": 1})

    assert caught.value.errors[0].message == "There is no such parameter; possible: none."


def test_the_path_of_a_wrong_parameter_has_a_limit() -> None:
    with pytest.raises(InvalidParams) as caught:
        type_of(plain).validate({"x" * 10_000: 1})

    assert len(caught.value.errors[0].field) == 200


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_cannot_carry_is_no_parameter(value: float) -> None:
    @task
    async def work(ratio: float) -> None: ...

    with pytest.raises(InvalidParams):
        type_of(work).validate({"ratio": value})


@pytest.mark.parametrize("value", ["\ud800", {"a": "\udfff"}, [["\ud800"]]])
def test_a_parameter_that_cannot_be_stored_is_refused_before_it_is(value: object) -> None:
    @task
    async def work(anything: Any) -> None: ...

    with pytest.raises(InvalidParams, match=r"Without a JSON form: params\.anything\."):
        type_of(work).validate({"anything": value})


def test_the_schema_describes_the_parameters_and_not_the_context() -> None:
    schema = type_of(plain).schema()

    assert set(schema["properties"]) == {"count", "name"}
    assert schema["properties"]["count"] == {"default": 10, "minimum": 0, "title": "Count", "type": "integer"}
    assert schema["additionalProperties"] is False


# -- what cannot be a task type ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "A", "1a", "a b", "a/b", "ä", "a" * 65, "a\n", "_a"])
def test_a_name_is_lower_case_and_short(name: str) -> None:
    async def work() -> None: ...

    with pytest.raises(InvalidTaskType, match="is no name for a task type"):
        task(name)(work)


def test_a_lambda_has_no_name_of_its_own() -> None:
    with pytest.raises(InvalidTaskType, match="is no name"):
        task(run_in="thread")(lambda: None)


def test_a_plain_function_in_the_loop_would_block_it() -> None:
    def work() -> None: ...

    with pytest.raises(InvalidTaskType, match="make it 'async def', or say run_in='thread' or 'process'"):
        task(work)


@pytest.mark.parametrize("run_in", ["in a thread", "in a process", "outside"])
def test_a_coroutine_function_runs_in_the_loop(run_in: str) -> None:
    async def work() -> None: ...

    with pytest.raises(InvalidTaskType, match=f"not {run_in}"):
        task(run_in=run_in.removeprefix("in a "))(work)  # type: ignore[call-overload]  # one of them


@pytest.mark.parametrize("run_in", ["fibre", "", None])
def test_there_are_four_places_to_run(run_in: Any) -> None:
    def work() -> None: ...

    with pytest.raises(InvalidTaskType, match="run_in of work is one of loop, thread, process, outside, not"):
        task(run_in=run_in)(work)


@pytest.mark.parametrize("timeout_s", [0, -1, math.inf, math.nan])
def test_a_timeout_is_a_positive_number(timeout_s: float) -> None:
    async def work() -> None: ...

    with pytest.raises(InvalidTaskType, match="timeout_s of work must be a positive number"):
        task(timeout_s=timeout_s)(work)


def test_at_least_one_attempt() -> None:
    async def work() -> None: ...

    with pytest.raises(InvalidTaskType, match="attempts_max of work must be at least 1"):
        task(attempts_max=0)(work)


def test_no_more_retries_than_a_start_may_ask_for() -> None:
    async def work() -> None: ...

    with pytest.raises(InvalidTaskType, match="retries of work must be at most 1000"):
        task(retries=1001)(work)
    assert Registry([task(retries=1000)(work)]).get("work").policy.retry.retries == 1000


def test_an_interruption_is_reported_or_restarted_and_nothing_else() -> None:
    async def work() -> None: ...

    with pytest.raises(InvalidTaskType, match="on_interrupt"):
        task(on_interrupt="again")(work)  # type: ignore[call-overload]  # the point


def test_a_thread_takes_the_context_of_a_thread() -> None:
    def work(ctx: TaskContext) -> None: ...

    with pytest.raises(InvalidTaskType, match="work runs in a thread and takes one ThreadContext"):
        task(run_in="thread")(work)


@pytest.mark.parametrize("context", [TaskContext, ThreadContext])
def test_what_is_done_elsewhere_takes_no_context(context: Any) -> None:
    def work(ctx: Any) -> None: ...

    work.__annotations__["ctx"] = context

    with pytest.raises(InvalidTaskType, match="work runs outside and takes no context"):
        task(run_in="outside")(work)


def test_what_is_done_elsewhere_may_take_any_parameters() -> None:
    @task(run_in="outside")
    def work(path: str, **others: Any) -> None: ...

    task_type = Registry([work]).get("work")

    assert task_type.outside
    assert task_type.validate({"path": "x", "model_dump": 1, "a b": [{}]}) == {
        "path": "x",
        "model_dump": 1,
        "a b": [{}],
    }
    assert task_type.schema()["additionalProperties"] is True
    with pytest.raises(InvalidParams, match="work are wrong"):
        task_type.validate({"other": 1})


def test_the_loop_takes_the_context_of_the_loop() -> None:
    async def work(ctx: ThreadContext) -> None: ...

    with pytest.raises(InvalidTaskType, match="work runs in a loop and takes one TaskContext"):
        task(work)


def test_a_process_takes_no_context() -> None:
    def work(ctx: ThreadContext) -> None: ...

    with pytest.raises(InvalidTaskType, match="takes no context"):
        task(run_in="process")(work)


def test_one_context_is_enough() -> None:
    async def work(one: TaskContext, two: TaskContext) -> None: ...

    with pytest.raises(InvalidTaskType, match="takes one TaskContext"):
        task(work)


async def _positional(a: int, /) -> None: ...
async def _args(*a: int) -> None: ...
async def _kwargs(**a: int) -> None: ...


@pytest.mark.parametrize("work", [_positional, _args, _kwargs])
def test_every_parameter_has_a_name_to_be_given_by(work: Any) -> None:
    with pytest.raises(InvalidTaskType, match="has no name to be given by"):
        task("work")(work)


async def _unknown(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # the point
async def _missing(a: math.Nowhere) -> None: ...  # type: ignore[name-defined]  # the point
async def _no_expression(a: "1 +") -> None: ...  # type: ignore[valid-type]  # noqa: F722  # the point


@pytest.mark.parametrize("work", [_unknown, _missing, _no_expression])
def test_an_annotation_that_does_not_exist_is_named(work: Any) -> None:
    with pytest.raises(InvalidTaskType, match=r"An annotation of work cannot be resolved: .+"):
        task("work")(work)


def test_an_object_that_can_be_called_is_no_handler() -> None:
    class Work:
        def __call__(self) -> None: ...

    with pytest.raises(InvalidTaskType, match="work is no function"):
        task("work", run_in="thread")(Work())


def test_a_type_that_pydantic_cannot_validate_is_one_clear_line() -> None:
    async def work(a: ModuleType) -> None: ...

    with pytest.raises(InvalidTaskType, match="The parameters of work cannot be validated") as caught:
        task(work)

    assert "\n" not in caught.value.detail


async def _private(_a: int) -> None: ...
async def _config(model_config: int) -> None: ...
async def _copy(copy: int) -> None: ...


@pytest.mark.parametrize("work", [_private, _config, _copy])
def test_a_name_that_pydantic_would_lose_is_refused(work: Any) -> None:
    with pytest.raises(InvalidTaskType, match="has a name that pydantic keeps for itself"):
        task("work")(work)


# -- the registry ------------------------------------------------------------------------------------------------------


def test_a_registry_lists_its_types_by_name() -> None:
    @task
    async def another() -> None: ...

    registry = Registry([plain, another])

    assert [task_type.name for task_type in registry] == ["another", "plain"]
    assert "plain" in registry
    assert "nothing" not in registry


def test_an_unknown_type_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UnknownType, match=r"There is no task type 'x{64}'; possible: plain"):
        Registry([plain]).get("x" * 10_000)
    with pytest.raises(UnknownType, match="possible: none"):
        Registry().get("x")


def test_a_function_that_is_not_decorated_is_refused() -> None:
    async def work() -> None: ...

    with pytest.raises(InvalidTaskType, match="'work' is not decorated with @task"):
        Registry([work])
    with pytest.raises(InvalidTaskType, match="is not decorated"):
        Registry([7])  # type: ignore[list-item]  # the point


def test_one_name_belongs_to_one_handler_and_both_are_named() -> None:
    @task("plain")
    async def other() -> None: ...

    registry = Registry([plain])
    registry.add(plain)

    with pytest.raises(InvalidTaskType, match=r"Two handlers are named 'plain': .*:\d+ and .*:\d+"):
        registry.add(other)


def test_a_handler_that_is_a_class_is_named_too() -> None:
    class First: ...

    class Second: ...

    first, second = (task("work", run_in="thread")(each) for each in (First, Second))

    with pytest.raises(InvalidTaskType, match=r"Two handlers are named 'work': .*First.* and .*Second"):
        Registry([first, second])


def test_a_module_gives_all_its_handlers() -> None:
    module = ModuleType("mine")
    module.plain = plain  # type: ignore[attr-defined]  # a module made by hand
    module.other = print  # type: ignore[attr-defined]  # a name that is no handler

    assert [task_type.name for task_type in Registry().add_module(module)] == ["plain"]


def test_a_module_without_handlers_is_a_mistake() -> None:
    with pytest.raises(InvalidTaskType, match="Module 'mine' has no function decorated"):
        Registry().add_module(ModuleType("mine"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


GOOD = "from streaming import task\n@task\nasync def {name}() -> None: ...\n"


def test_a_module_in_the_current_directory_is_found(here: Path) -> None:
    (here / "mine_a.py").write_text(GOOD.format(name="one"))
    (here / "mine_b.py").write_text(GOOD.format(name="two"))
    registry = Registry()

    registry.load("mine_a")
    registry.load("mine_b")

    assert [task_type.name for task_type in registry] == ["one", "two"]
    assert sys.path[0] == ""
    assert sys.path.count("") == 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 +", "SyntaxError: invalid syntax"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise ValueError('first\\nsecond')", "ValueError: first$"),
        ("raise ValueError", "ValueError: no message"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_a_module_that_does_not_import_is_one_clear_line(here: Path, source: str, said: str) -> None:
    (here / "mine_broken.py").write_text(source)

    with pytest.raises(InvalidTaskType, match=f"Module 'mine_broken' cannot be imported: {said}") as caught:
        Registry().load("mine_broken")

    assert "\n" not in caught.value.detail


def test_a_wrong_task_type_in_a_module_says_what_is_wrong_with_it(here: Path) -> None:
    (here / "mine_wrong.py").write_text("from streaming import task\n@task\ndef work() -> None: ...\n")

    with pytest.raises(InvalidTaskType, match="work is a plain function"):
        Registry().load("mine_wrong")


def test_ctrl_c_while_importing_ends_the_start(here: Path) -> None:
    (here / "mine_slow.py").write_text("raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        Registry().load("mine_slow")


@pytest.mark.parametrize("name", ["", ".relative", "no such module", "a..b"])
def test_a_name_that_is_no_module_is_one_clear_line(here: Path, name: str) -> None:
    with pytest.raises(InvalidTaskType, match="cannot be imported"):
        Registry().load(name)


def test_a_file_instead_of_a_module_is_told_how_a_module_is_called(here: Path) -> None:
    (here / "mine.py").write_text("")

    with pytest.raises(InvalidTaskType, match="a module has no suffix: say 'mine'"):
        Registry().load("mine.py")


def even(value: int) -> int:
    if value % 2:
        raise ValueError("an even number")
    return value


@task
async def pairs(count: Annotated[int, AfterValidator(even)]) -> None: ...


def test_a_reason_comes_in_the_words_of_the_handler_s_author() -> None:
    with pytest.raises(InvalidParams) as refused:
        Registry([pairs]).get("pairs").validate({"count": 3})

    assert refused.value.errors == (FieldError("params.count", "an even number"),)
