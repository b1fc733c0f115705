"""What is written on a command line is what the server is asked for."""

from __future__ import annotations

import pytest
import typer

from streaming.cli.filters import fields_from, filters_from


def test_every_option_is_a_filter() -> None:
    assert filters_from(["running", "failed"], ["x"], ["a", "b"], "some words", ["progress[lt]=50"], "active") == {
        "status": "running,failed",
        "type": "x",
        "tag": "a,b",
        "q": "some words",
        "progress[lt]": "50",
        "preset": "active",
    }
    assert filters_from() == {}


@pytest.mark.parametrize(
    ("term", "name", "value"),
    [
        ("key=a=b", "key", "a=b"),
        ("key=", "key", ""),
        ("created_at[gte]=2026-11-01", "created_at[gte]", "2026-11-01T00:00:00Z"),
        (
            "created_at[between]=2026-11-01, 2026-11-02",
            "created_at[between]",
            "2026-11-01T00:00:00Z,2026-11-02T00:00:00Z",
        ),
        ("created_at[gte]=2026-11-01T12:00:00Z", "created_at[gte]", "2026-11-01T12:00:00Z"),
        ("key=2026-11-01", "key", "2026-11-01"),
        ("nonsense[x]=2026-11-01", "nonsense[x]", "2026-11-01"),
    ],
)
def test_a_term_is_a_name_and_a_value_and_a_day_its_beginning(term: str, name: str, value: str) -> None:
    assert filters_from(terms=[term]) == {name: value}


def test_what_is_given_several_times_means_any_of_it() -> None:
    assert filters_from(status=["running"], terms=["status=failed", "key=a", "key=b"]) == {
        "status": "running,failed",
        "key": "a,b",
    }


@pytest.mark.parametrize(
    "given",
    [
        {"terms": ["progress"]},
        {"terms": ["=5"]},
        {"terms": [""]},
        {"terms": ["progress[lt]=5", "progress[lt]=6"]},
        {"terms": ["key= a", "key[eq]=b"]},
        {"terms": ["q=a"], "query": "b"},
        {"terms": ["preset=active"], "preset": "failed"},
        {"terms": ["sort=id"]},
        {"terms": ["limit=3"]},
        {"terms": ["group_by=type"]},
    ],
)
def test_a_term_that_is_none_is_a_usage_error(given: dict[str, object]) -> None:
    with pytest.raises(typer.BadParameter):
        filters_from(**given)  # type: ignore[arg-type]  # one of several kinds


def test_fields_have_commas_between_or_are_repeated() -> None:
    assert fields_from(["status, type", "error", ""]) == ["status", "type", "error"]
