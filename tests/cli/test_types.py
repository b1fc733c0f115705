"""Task types in few words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from streaming.cli.types import parameters, rows
from streaming.engine.registry import Registry, task


@task
async def example(
    url: str,
    count: Annotated[int, Field(ge=0)] = 10,
    how: Literal["fast", "slow"] = "fast",
    name: str | None = None,
    more: object = None,
) -> None:
    """Shows every kind of parameter."""


def test_a_real_schema_becomes_one_line() -> None:
    schema = Registry([example]).get("example").schema()

    assert parameters(schema) == (
        "url: string, count?: integer = 10, how?: fast or slow = fast, name?: string or null, more?: any"
    )


def test_a_row_has_name_parameters_and_description_even_where_a_server_leaves_something_out() -> None:
    assert rows([{"name": "x", "description": "Does.", "params_schema": {"properties": {"a": {}}}}, {}]) == [
        ("x", "a?: any", "Does."),
        ("None", "", ""),
    ]
