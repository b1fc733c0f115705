"""A handler gets what one validation of the client's JSON gives: in its first run, and after every restart."""

import asyncio
import dataclasses
import enum
import itertools
import json
import math
import warnings
from collections.abc import Callable, MutableMapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    FutureDate,
    FutureDatetime,
    HttpUrl,
    Json,
    PastDate,
    PastDatetime,
    PlainSerializer,
    PlainValidator,
    Secret,
    SecretBytes,
    SecretStr,
    Strict,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    create_model,
)
from pydantic.dataclasses import dataclass as checked_dataclass
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticOmit
from typing_extensions import TypedDict

from streaming import Registry, TaskType, task
from streaming.engine import parameters
from streaming.engine.parameters import ERRORS_MAX, MESSAGE_MAX
from streaming.errors import FieldError, InvalidParams, InvalidTaskType
from tests.kit import TestedStore, build

LogLines = list[MutableMapping[str, Any]]


def type_of(handler: Any) -> TaskType:
    return Registry([task("work", run_in="thread")(handler)]).get("work")


def taking(hint: Any, *default: Any) -> TaskType:
    """A task type with one parameter, ``value``."""

    def work(value: Any = None) -> None: ...

    work.__annotations__["value"] = hint
    work.__defaults__ = default or None
    return type_of(work)


def refused(task_type: TaskType, params: Any) -> InvalidParams:
    with pytest.raises(InvalidParams) as caught:
        task_type.validate(params)
    return caught.value


def stored(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters as they come back from a store."""
    kept: dict[str, Any] = json.loads(json.dumps(params))
    return kept


def validated_once(hint: Any) -> Callable[[Any], Any]:
    """What pydantic makes of JSON, without us."""
    model = create_model("once", __config__=ConfigDict(extra="forbid", allow_inf_nan=False), value=hint)
    return lambda value: vars(model.model_validate_json(json.dumps({"value": value})))["value"]


# -- one validation ----------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


def coloured(value: object) -> Colour:
    return Colour(value)


class Pair(NamedTuple):
    a: int
    b: str = "b"


class Named(TypedDict):
    a: date


@checked_dataclass
class Checked:
    a: Decimal


@dataclasses.dataclass
class Plain:
    a: timedelta
    b: list[int] = dataclasses.field(default_factory=list)


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    born: Annotated[date, Field(alias="birthday")]


class Tree(BaseModel):
    name: Annotated[str, Field(validation_alias="label", serialization_alias="shown")] = "leaf"
    below: "list[Tree]" = Field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Nowhere:
    """Has no JSON form that pydantic knows of."""

    place: Any = dataclasses.field(default_factory=object)


Own = Annotated[Nowhere, PlainValidator(Nowhere), PlainSerializer(lambda it: it.place), WithJsonSchema({})]


def double(value: int) -> int:
    return 2 * value


def spell(value: Any) -> str:
    return f"<{value}>"


TEXTS = ["", "a", "5", "-1.5", "true", "null", "red", "cat", "[1, 2]", '{"a": 1}', "2026-11-01", "2026-11-01T12:00:00Z"]
TEXTS += ["12:30", "P1DT2H", "127.0.0.1", "http://a.test/", "12345678-1234-5678-1234-567812345678", "1 KiB", "aGVsbG8="]
SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats(-9, 9) | st.sampled_from([*TEXTS, "é 😀", "\x00"])
)
NAMES = st.sampled_from(["a", "b", "kind", "lives", "birthday", "born", "label", "name", "below", "1", "2026-11-01"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)

#: An annotation, and JSON that fits it.
FITTING: list[tuple[Any, Any]] = [
    (Any, {"a": [1, None, 2.5, "x"]}),
    (int, "5"),
    (Annotated[int, Strict()], 5),
    (float, 1),
    (bool, "yes"),
    (str, "é 😀 \x00"),
    (bytes, "é"),
    (Annotated[bytes, Strict()], "b"),
    (Base64Bytes, "aGVsbG8="),
    (Decimal, 0.1),
    (Annotated[Decimal, Strict()], "0.1"),
    (date, "2026-11-01"),
    (Annotated[date, Strict()], "2026-11-01"),
    (datetime, 1_793_534_400),
    (Annotated[datetime, Strict()], "2026-11-01T12:00:00+02:00"),
    (time, "12:30"),
    (timedelta, "P1DT2H"),
    (Annotated[timedelta, PlainSerializer(spell)], 90),
    (UUID, "12345678-1234-5678-1234-567812345678"),
    (Annotated[UUID, Strict()], "12345678-1234-5678-1234-567812345678"),
    (Path, "a/b"),
    (IPv4Address, "127.0.0.1"),
    (HttpUrl, "http://a.test"),
    (ByteSize, "1 KiB"),
    (Json[list[int]], "[1, 2]"),
    (Json, '{"a": 1}'),
    (Colour, "red"),
    (Annotated[Colour, Strict()], 2),
    (Literal["red", 5, True], 5),
    (int | str, "5"),
    (date | int | None, None),
    (list[Annotated[int, AfterValidator(double)]], [1, 2]),
    (Annotated[int, AfterValidator(double)], 5),
    (Annotated[str, BeforeValidator(spell)], 5),
    (Annotated[int, PlainSerializer(spell)], 5),
    (tuple[int, str], [1, "a"]),
    (Annotated[tuple[int, ...], Strict()], [1, 2]),
    (set[int], [2, 1, 2]),
    (Annotated[frozenset[date], Strict()], ["2026-11-01"]),
    (dict[int, date], {"1": "2026-11-01"}),
    (dict[date, int], {"2026-11-01": 1}),
    (Pair, [1]),
    (Named, {"a": "2026-11-01"}),
    (Checked, {"a": "0.1"}),
    (Plain, {"a": "P1D"}),
    (Annotated[Cat | Dog, Field(discriminator="kind")], {"kind": "dog", "birthday": "2026-11-01"}),
    (Cat, {"kind": "cat"}),
    (list[Cat | Dog], [{"kind": "cat", "lives": "7"}, {"kind": "dog", "birthday": 0}]),
    (Tree, {"label": "a", "below": [{"label": "b"}, {}]}),
]
as_hint = pytest.mark.parametrize(("hint", "value"), FITTING, ids=lambda each: str(each)[:40])


def same(found: Any, expected: Any) -> None:
    assert (type(found), repr(found), found) == (type(expected), repr(expected), expected)


@as_hint
def test_whatever_a_client_sends_is_refused_or_reaches_the_handler_as_one_validation_gives_it(
    hint: Any, value: Any
) -> None:
    task_type, once = taking(hint), validated_once(hint)

    @settings(max_examples=40, deadline=None)
    @example(value)
    @given(VALUES)
    def check(value: Any) -> None:
        try:
            expected = once(value)
        except ValidationError:
            assert refused(task_type, {"value": value}).errors
            return
        kept = task_type.validate({"value": value})
        assert kept == {"value": value}
        for _ in range(2):
            same(task_type.arguments(stored(kept)), {"value": expected})

    check()


@as_hint
@pytest.mark.clock("virtual")
async def test_a_run_after_a_restart_gets_the_same(hint: Any, value: Any) -> None:
    seen: list[Any] = []
    begun = asyncio.Event()

    async def work(value: Any) -> None:
        seen.append(value)
        begun.set()
        if len(seen) == 1:
            await asyncio.get_running_loop().create_future()

    work.__annotations__["value"] = hint
    task(on_interrupt="restart")(work)
    first, store = build([work])
    async with first:
        record, _ = await first.start("work", {"value": value})
        await begun.wait()
        await first.shutdown(5)
    second, _ = build([work], store)
    async with second:
        record = await second.wait(record.id, 10)

    expected = validated_once(hint)(value)
    assert (record.status, record.attempt, record.params) == ("completed", 2, {"value": value})
    same(seen, [expected, expected])


def test_a_value_is_validated_once_for_the_refusal_and_once_for_each_run() -> None:
    calls: list[int] = []
    task_type = taking(Annotated[int, AfterValidator(calls.append)])

    kept = task_type.validate({"value": 5})
    assert calls == [5]

    task_type.arguments(kept)
    assert calls == [5, 5]


def test_a_parameter_is_stored_under_the_name_by_which_it_is_given() -> None:
    def work(
        a: Annotated[int, Field(alias="first")],
        b: Annotated[int, Field(validation_alias="second")] = 2,
        c: Annotated[int, Field(validation_alias=AliasChoices("third", "drei"))] = 3,
        d: Annotated[int, Field(serialization_alias="shown")] = 4,
    ) -> None: ...

    task_type = type_of(work)
    kept = task_type.validate({"first": 1})

    assert kept == {"first": 1, "second": 2, "third": 3, "d": 4}
    assert set(task_type.schema()["properties"]) == set(kept)
    assert task_type.arguments(stored(kept)) == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert task_type.validate({"first": 1, "drei": 5})["drei"] == 5
    assert [error.field for error in refused(task_type, {"a": 1}).errors] == ["params.first", "params.a"]
    assert refused(task_type, {"a": 1}).errors[1].message == (
        "There is no such parameter; possible: first, second, third, d."
    )


def test_a_parameter_may_look_at_those_before_it() -> None:
    def above(value: int, info: ValidationInfo) -> int:
        if value <= info.data["low"]:
            raise ValueError("more than low")
        return value

    def work(low: int, high: Annotated[int, AfterValidator(above)] = 9) -> None: ...

    assert refused(type_of(work), {"low": 3, "high": 2}).errors == (FieldError("params.high", "more than low"),)
    assert refused(type_of(work), {"low": 9}).errors == (
        FieldError("params.high", "Its default does not fit: more than low"),
    )


def test_a_value_that_a_validator_omits_is_left_to_the_handler() -> None:
    def omit(value: int) -> int:
        raise PydanticOmit

    assert taking(Annotated[int, AfterValidator(omit)], 3).arguments({"value": 5}) == {}


def test_a_deprecated_parameter_warns_nobody_who_runs_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert taking(Annotated[int, Field(deprecated=True)]).arguments({"value": 5}) == {"value": 5}


# -- defaults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "default", "kept", "expected"),
    [
        (int, 5, 5, 5),
        (int | None, None, None, None),
        (float, 1, 1, 1.0),
        (Path, Path("a"), "a", Path("a")),
        (Colour, Colour.RED, "red", Colour.RED),
        (tuple[int, ...], (1, 2), [1, 2], (1, 2)),
        (datetime, datetime(2026, 11, 1), "2026-11-01T00:00:00", datetime(2026, 11, 1)),
        (Json[list[int]], [1], "[1]", [1]),
        (Base64Bytes, b"hello", "aGVsbG8=", b"hello"),
        (Plain, Plain(timedelta(1), [2]), {"a": "P1D", "b": [2]}, Plain(timedelta(1), [2])),
        (
            Dog,
            Dog.model_validate({"kind": "dog", "birthday": "2026-11-01"}),
            {"kind": "dog", "birthday": "2026-11-01"},
            None,
        ),
        (Annotated[int, AfterValidator(double)], 5, 5, 10),
        (Annotated[int, AfterValidator(double)], Field(5, validate_default=True), 5, 10),
        (Annotated[list[int], Field(default=[1])], ..., [1], [1]),
        (Annotated[Colour, PlainValidator(coloured), WithJsonSchema({})], Colour.BLUE, 2, Colour.BLUE),
        (Own, Nowhere("here"), "here", Nowhere("here")),
    ],
)
def test_a_default_counts_like_a_value_that_was_sent(hint: Any, default: Any, kept: Any, expected: Any) -> None:
    task_type = taking(hint) if default is ... else taking(hint, default)

    assert task_type.validate({}) == {"value": kept}
    assert task_type.schema()["properties"]["value"]["default"] == kept
    same(task_type.arguments({"value": kept}), {"value": default if expected is None else expected})
    same(task_type.arguments({}), task_type.arguments({"value": kept}))


def test_a_default_that_was_handed_out_can_be_changed() -> None:
    task_type = taking(list[int], [1])

    task_type.validate({})["value"].append(2)
    task_type.arguments({})["value"].append(3)

    assert task_type.validate({}) == {"value": [1]}
    assert task_type.arguments({}) == {"value": [1]}


def test_a_factory_is_called_once_for_each_task() -> None:
    numbers = itertools.count(1)
    task_type = taking(Annotated[int, Field(default_factory=lambda: next(numbers))])

    kept = task_type.validate({})

    assert kept == {"value": 1}
    assert [task_type.arguments(stored(kept)) for _ in range(2)] == [{"value": 1}] * 2
    assert task_type.validate({"value": 9}) == {"value": 9}
    assert task_type.validate({}) == {"value": 2}
    assert "default" not in task_type.schema()["properties"]["value"]


def test_a_default_inside_a_value_is_made_by_each_run() -> None:
    assert taking(Cat).validate({"value": {"kind": "cat"}}) == {"value": {"kind": "cat"}}
    assert taking(Cat).arguments({"value": {"kind": "cat"}})["value"].model_fields_set == {"kind"}


def _breaks() -> int:
    raise ValueError("no id left in /etc/secret")


@pytest.mark.parametrize("factory", [_breaks, lambda: object(), lambda: math.inf, lambda: "\ud800"])
def test_a_factory_that_fails_asks_the_client_for_a_value(factory: Callable[[], Any], log_lines: LogLines) -> None:
    task_type = taking(Annotated[Any, Field(default_factory=factory)])
    error = refused(task_type, {})

    assert error.errors == (FieldError("params.value", "No default could be made for it: give a value."),)
    assert (log_lines[0]["event"], log_lines[0]["task_type"]) == ("a default could not be made", "work")
    assert log_lines[0]["exc_info"] is not None
    assert task_type.validate({"value": 1}) == {"value": 1}


def test_a_default_that_does_not_fit_today_is_refused_when_it_is_used() -> None:
    open_now: list[str] = []

    def is_open(value: str) -> str:
        if value not in open_now:
            raise ValueError("not open")
        return value

    task_type = taking(Annotated[str, AfterValidator(is_open)], "door")
    assert refused(task_type, {}).errors == (FieldError("params.value", "Its default does not fit: not open"),)

    open_now.append("door")
    assert task_type.validate({}) == {"value": "door"}


@pytest.mark.parametrize(
    ("hint", "default"),
    [
        (PastDate, date(9000, 1, 1)),
        (FutureDate, date(1900, 1, 1)),
        (PastDatetime, datetime(9000, 1, 1)),
        (FutureDatetime, datetime(1900, 1, 1)),
    ],
)
def test_a_default_that_depends_on_the_day_can_be_registered(hint: Any, default: Any) -> None:
    (wrong,) = refused(taking(hint, default), {}).errors

    assert wrong.message.startswith("Its default does not fit: ")


def test_a_default_whose_check_needs_what_is_not_there_yet_can_be_registered() -> None:
    def ask(value: str) -> str:
        return {"ready": value}["not yet"]

    assert refused(taking(Annotated[str, AfterValidator(ask)], "door"), {}).errors[0].field == "params.value"


@pytest.mark.parametrize(
    ("hint", "default", "said"),
    [
        (int, None, "default of parameter 'value' of work does not fit: Input should be a valid integer"),
        (Annotated[int, Field(ge=1)], 0, "does not fit: Input should be greater than or equal to 1"),
        (Annotated[int, PlainSerializer(spell)], 5, "does not fit: Input should be a valid integer"),
        (Tree, Tree.model_validate({"label": "a"}), None),
        (Any, Nowhere(), "default of parameter 'value' of work has no JSON form"),
        (float, math.inf, "has no JSON form"),
        (str, "\ud800", "has no JSON form"),
        (bytes, b"\xff", "has no JSON form"),
    ],
)
def test_a_default_that_never_fits_is_found_when_the_handler_is_registered(hint: Any, default: Any, said: Any) -> None:
    if said is None:
        assert taking(hint, default).validate({}) == {"value": {"shown": "a", "below": []}}
        return
    with pytest.raises(InvalidTaskType, match=said) as caught:
        taking(hint, default)

    assert "\n" not in caught.value.detail


# -- what cannot be a parameter ----------------------------------------------------------------------------------------


class Login(BaseModel):
    user: str
    password: SecretStr | None = None


class Token(SecretStr):
    """A secret of somebody's own."""


@checked_dataclass
class Account:
    login: list[Login]


class Chain(BaseModel):
    token: Token | None = None
    next: "Chain | None" = None


@pytest.mark.parametrize(
    "hint",
    [
        SecretStr,
        SecretBytes,
        Secret[int],
        Token,
        SecretStr | None,
        list[Secret[date]],
        dict[str, tuple[int, SecretBytes]],
        Annotated[SecretStr, Field(min_length=3), WithJsonSchema({})],
        Annotated[Secret[int], PlainSerializer(spell)],
        Login,
        Account,
        Chain,
        Annotated[str, Field(json_schema_extra={"writeOnly": True})],
        Annotated[str, Field(json_schema_extra={"format": "password"})] | None,
    ],
)
def test_a_secret_is_no_parameter(hint: Any) -> None:
    with pytest.raises(InvalidTaskType, match="Parameter 'value' of work is a secret, and parameters are stored"):
        taking(hint)


def test_a_word_that_looks_like_a_secret_is_none() -> None:
    default = {"format": "password", "writeOnly": True}

    assert taking(dict[str, Any], default).validate({}) == {"value": default}


def adds_a_value(schema: dict[str, Any]) -> None:
    schema["x"] = object()


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (Annotated[int, Field(exclude=True)], "is excluded"),
        (Annotated[int, Field(exclude_if=bool)], "is excluded"),
        (Annotated[int, Field(validation_alias=AliasPath("a", 0))], "is given by one name, not by a path"),
        (Annotated[int, Field(validation_alias=AliasChoices("a", AliasPath("b", 0)))], "not by a path"),
        (Annotated[int, Field(default_factory=lambda data: data["a"])], "default_factory .* takes no argument"),
        (Annotated[int, Field(alias="\ud800")], "The parameters of work cannot be validated"),
        (Annotated[int, Field(json_schema_extra=adds_a_value)], "of work has no JSON form: TypeError: Object"),
        (Annotated[int, Field(description="\ud800")], "schema of the parameters of work has no JSON form"),
        (Annotated[float, Field(examples=[math.inf])], "schema of the parameters of work has no JSON form"),
        (Callable[[], int], "cannot be validated"),
    ],
)
def test_what_a_record_cannot_keep_is_no_parameter(hint: Any, said: str) -> None:
    with pytest.raises(InvalidTaskType, match=said) as caught:
        taking(hint)

    assert "\n" not in caught.value.detail


def test_two_parameters_have_two_names() -> None:
    def work(a: int, b: Annotated[int, Field(alias="a")]) -> None: ...

    with pytest.raises(InvalidTaskType, match="Two parameters of work are given as 'a'"):
        type_of(work)


def test_an_annotation_whose_own_code_fails_is_one_clear_line() -> None:
    class Broken:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            raise KeyError

    with pytest.raises(InvalidTaskType, match="The parameters of work cannot be validated: KeyError"):
        taking(Broken)


def test_a_parameter_may_stay_out_of_the_schema() -> None:
    assert taking(SkipJsonSchema[int], 5).schema()["properties"] == {}


def test_a_schema_that_was_handed_out_can_be_changed() -> None:
    task_type = taking(int, 5)
    task_type.schema()["properties"].clear()

    assert task_type.schema()["properties"]["value"]["default"] == 5


# -- refusals ----------------------------------------------------------------------------------------------------------


class Hostile(ValueError):
    def __str__(self) -> str:
        raise RuntimeError("/etc/secret")


def raising(error: BaseException) -> Any:
    def check(value: int) -> int:
        raise error

    return Annotated[int, AfterValidator(check)]


FAILURES = [KeyError("/etc/secret"), ZeroDivisionError(), OSError("x"), RuntimeError(), SystemExit(3), Hostile()]
FAILURES += [RecursionError(), ValueError("caf\udce9")]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_a_validator_that_breaks_is_a_refusal_that_names_the_parameter(
    error: BaseException, log_lines: LogLines
) -> None:
    def work(first: int, second: Any, third: int = 3) -> None: ...

    work.__annotations__["second"] = raising(error)
    caught = refused(type_of(work), {"first": 1, "second": 2})

    assert caught.errors == (FieldError("params.second", "It could not be checked: the check itself failed."),)
    assert caught.detail == "The parameters of work are wrong."
    assert (log_lines[0]["event"], log_lines[0]["task_type"]) == ("a validator failed", "work")
    assert log_lines[0]["exc_info"] is not None


def test_a_parameter_that_is_only_wrong_is_not_called_broken() -> None:
    def work(first: int, second: Any, third: int = 3) -> None: ...

    work.__annotations__["second"] = raising(KeyError())
    caught = refused(type_of(work), {"first": "x", "second": 2})

    assert [error.field for error in caught.errors] == ["params.second"]


def test_a_validator_that_breaks_only_once_is_a_refusal_without_a_name() -> None:
    failures = [KeyError("once")]

    def check(value: int) -> int:
        if failures:
            raise failures.pop()
        return value

    task_type = taking(Annotated[int, AfterValidator(check)])
    assert [error.field for error in refused(task_type, {"value": 1}).errors] == ["params"]
    assert task_type.validate({"value": 1}) == {"value": 1}


def test_ctrl_c_in_a_validator_is_nobodys_mistake() -> None:
    with pytest.raises(KeyboardInterrupt):
        taking(raising(KeyboardInterrupt())).validate({"value": 1})


def test_the_words_of_a_refusal_have_a_limit() -> None:
    told = refused(taking(raising(ValueError("x" * 10_000))), {"value": 1}).errors

    assert told == (FieldError("params.value", "x" * MESSAGE_MAX),)


def test_an_assertion_is_told_like_any_refusal() -> None:
    told = refused(taking(raising(AssertionError("even"))), {"value": 1}).errors

    assert told == (FieldError("params.value", "Assertion failed, even"),)


def test_no_more_mistakes_are_told_than_anybody_reads() -> None:
    caught = refused(taking(list[int]), {"value": ["x"] * (ERRORS_MAX + 1)})

    assert len(caught.errors) == ERRORS_MAX
    assert caught.detail == f"The parameters of work are wrong; the first {ERRORS_MAX} of {ERRORS_MAX + 1} mistakes."


def test_an_unknown_name_inside_a_value_is_not_compared_with_the_parameters() -> None:
    class Strictly(BaseModel, extra="forbid"):
        a: int = 1

    assert refused(taking(Strictly), {"value": {"b": 2}}).errors == (
        FieldError("params.value.b", "Extra inputs are not permitted"),
    )


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({"value": object()}, ["params.value"]),
        ({"value": math.nan}, ["params.value"]),
        ({"value": "\ud800"}, ["params.value"]),
        ({"value": deep(100_000)}, ["params.value"]),
        ({"value": deep(300)}, ["params"]),
        ({"value": 1, "\ud800": 1}, ["params.\\ud800"]),
        ({"value": 1, ("a",): 1}, ["params.('a',)"]),
        ([1], ["params"]),
        (None, ["params"]),
    ],
)
def test_what_is_no_json_is_refused_and_named(params: Any, fields: list[str]) -> None:
    caught = refused(taking(Any), params)

    assert [error.field for error in caught.errors] == fields
    json.dumps(dataclasses.asdict(caught.errors[0]), ensure_ascii=False).encode()


def test_every_text_that_cannot_be_stored_is_named() -> None:
    parameters.refuse_unstorable({"a": "fine", "b": None})
    with pytest.raises(InvalidParams, match=r"Without a JSON form: a, c\.") as caught:
        parameters.refuse_unstorable({"a": "\ud800", "b": "fine", "c": math.nan})

    assert [error.field for error in caught.value.errors] == ["a", "c"]


# -- runs --------------------------------------------------------------------------------------------------------------


async def run_again(handlers: list[Any], changed: Callable[[], None], params: dict[str, Any]) -> tuple[str, str]:
    """Store a task, change the world, and run it."""
    first, store = build(handlers, max_running=1)
    async with first:
        assert isinstance(store, TestedStore)
        store.hold()
        starting = asyncio.create_task(first.start("work", params))
        await store.entered.wait()
        changed()
        store.release()
        record, _ = await starting
        record = await first.wait(record.id, 10)
    assert (record.status, record.error is None) == ("failed", False)
    assert record.error is not None
    return record.error.code, record.error.message


@pytest.mark.clock("virtual")
async def test_a_run_whose_parameters_fit_no_more_fails_and_says_which() -> None:
    allowed = [5]

    def check(value: int) -> int:
        if value not in allowed:
            raise ValueError("not allowed")
        return value

    @task
    async def work(value: Annotated[int, AfterValidator(check)]) -> None: ...

    assert await run_again([work], allowed.clear, {"value": 5}) == (
        "invalid_params",
        "The parameters of work no longer fit: params.value: not allowed",
    )


@pytest.mark.clock("virtual")
@pytest.mark.parametrize("error", [KeyError("/etc/secret"), SystemExit(3)])
async def test_a_run_whose_validator_breaks_fails_and_tells_nothing_of_the_inside(error: BaseException) -> None:
    broken: list[BaseException] = []

    def check(value: int) -> int:
        if broken:
            raise broken[0]
        return value

    @task
    async def work(value: Annotated[int, AfterValidator(check)]) -> None: ...

    assert await run_again([work], lambda: broken.append(error), {"value": 5}) == (
        "invalid_params",
        "The parameters of work no longer fit: params.value: It could not be checked: the check itself failed.",
    )


def test_a_run_of_older_parameters_gets_the_defaults_that_have_come_since() -> None:
    def work(old: int, new: int = 2) -> None: ...

    assert type_of(work).arguments({"old": 1}) == {"old": 1, "new": 2}
