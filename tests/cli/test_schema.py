"""What a command line sees in a JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from streaming.cli.schema import DEPTH_MAX, MISSING, Kind, Parameter, parameters_of, sample
from streaming.engine.registry import Registry, task


class Limits(BaseModel):
    """Nested."""

    per_host: Annotated[int, Field(ge=1, description="At once.")] = 2
    retry: bool = True


@task
async def example(
    url: str,
    count: Annotated[int, Field(ge=0, lt=100, examples=[7])] = 10,
    how: Literal["fast", "slow"] = "fast",
    level: Literal[1, 2] = 1,
    ratio: float | None = None,
    names: list[str] = [],  # noqa: B006  # pydantic copies it
    limits: Limits = Limits(),  # noqa: B008  # a value
    headers: dict[str, int] | None = None,
    verbose: bool = False,
    either: int | str = 1,
    more: object = None,
) -> None:
    """Shows every kind of parameter."""


def seen() -> dict[str, Parameter]:
    return {each.name: each for each in parameters_of(Registry([example]).get("example").schema())}


def test_every_kind_of_a_real_schema_is_seen() -> None:
    kinds = {name: parameter.placeholder for name, parameter in seen().items()}

    assert kinds == {
        "url": "TEXT",
        "count": "INTEGER",
        "how": "fast|slow",
        "level": "1|2",
        "ratio": "NUMBER",
        "names": "TEXT...",
        "limits": "JSON",
        "limits.per-host": "INTEGER",
        "limits.retry": "true|false",
        "headers": "JSON",
        "verbose": "true|false",
        "either": "VALUE",
        "more": "VALUE",
    }


def test_what_it_says_of_them_is_seen() -> None:
    found = seen()

    assert [name for name, parameter in found.items() if parameter.required] == ["url"]
    assert [name for name, parameter in found.items() if parameter.nullable] == ["ratio", "headers"]
    assert (found["count"].default, found["count"].bounds, found["url"].default) == (10, "from 0 below 100", MISSING)
    assert (found["limits.per-host"].description, found["limits.per-host"].path) == ("At once.", ("limits", "per_host"))
    assert found["headers"].open
    assert found["headers"].item is not None
    assert found["headers"].item.kind is Kind.INTEGER


def test_samples_are_of_the_kind() -> None:
    words = {name: sample(parameter) for name, parameter in seen().items()}

    assert (words["url"], words["count"], words["how"], words["names"]) == ("https://example.com/", "7", "fast", "[]")
    assert (words["ratio"], words["headers"], words["verbose"]) == ("1.0", "{}", "false")
    assert sample(Parameter(("x",), Kind.LIST, item=Parameter((), Kind.TEXT))) == "text"
    assert sample(Parameter(("x",), Kind.TEXT, choices=("a", "b"))) == "a"


def test_a_schema_that_refers_to_itself_ends() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    loop = {"$defs": {"node": node, "a": {"$ref": "#/$defs/a"}}}
    found = parameters_of({**loop, "properties": {"n": {"$ref": "#/$defs/node"}, "a": {"$ref": "#/$defs/a"}}})

    assert max(len(parameter.path) for parameter in found) == DEPTH_MAX
    assert [parameter.kind for parameter in found if parameter.path == ("a",)] == [Kind.ANY]


def test_a_list_of_types_is_one_that_may_be_null_or_anything() -> None:
    text, either = parameters_of(
        {"properties": {"a": {"type": ["string", "null"]}, "b": {"type": ["string", "integer"]}}}
    )

    assert (text.kind, text.nullable, either.kind, either.nullable) == (Kind.TEXT, True, Kind.ANY, False)


@pytest.mark.parametrize(
    "schema", [{}, {"properties": 1}, {"properties": {"a": 1, "b": {"$ref": 7}}}, {"required": 3, "properties": {}}]
)
def test_a_server_may_say_anything(schema: dict[str, Any]) -> None:
    assert {parameter.kind for parameter in parameters_of(schema)} <= {Kind.ANY}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["type", "properties", "required", "anyOf", "enum", "$ref", "items", "default"]), inner
            )
        ),
    )
)
def test_nonsense_is_no_traceback(part: Any) -> None:
    for parameter in parameters_of({"properties": {"a": part}}):
        assert parameter.placeholder
        assert isinstance(sample(parameter), str)
