"""Every wrong field is named at once."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from streaming.config import Settings
from streaming.errors import InvalidParams
from streaming.web.fields import (
    CancelFields,
    EventFields,
    EventsFields,
    ReportFields,
    StartFields,
    fingerprint,
    read_fields,
)

SETTINGS = Settings(store_url="memory://")


def wrong(body: dict[str, object], model: type[BaseModel] = StartFields) -> dict[str, str]:
    with pytest.raises(InvalidParams) as caught:
        read_fields(model, body)
    return {error.field: error.message for error in caught.value.errors}


def test_the_defaults_are_no_parameters_no_timeout_no_tags() -> None:
    fields = read_fields(StartFields, {"type": "x"})

    assert (fields.params, fields.timeout_s, fields.tags) == ({}, None, [])


def test_all_wrong_fields_are_named_at_once() -> None:
    assert set(wrong({"type": 1, "params": [], "timeout_s": "5", "tags": "x", "more": 1})) == {
        "type",
        "params",
        "timeout_s",
        "tags",
        "more",
    }


def test_an_unknown_field_is_told_the_known_ones() -> None:
    assert "possible: type, params, timeout_s, queue_timeout_s, " in wrong({"type": "x", "parms": {}})["parms"]


def test_an_unknown_field_inside_of_another_is_told_the_fields_there() -> None:
    assert wrong({"type": "x", "retry": {"x": 1}})["retry.x"].endswith(
        "possible: retries, backoff_s, backoff_max_s, on."
    )
    assert wrong({"events": [{"type": "a", "x": 1}]}, EventsFields)["events.0.x"].endswith(
        "possible: type, data, client_seq."
    )
    assert wrong({"progress": {"x": 1}}, ReportFields)["progress.x"].endswith("possible: percent, message.")


@pytest.mark.parametrize("number", [2, 2.0])
def test_a_whole_number_may_have_a_point(number: float) -> None:
    body = {"steps": {"completed": number, "total": number}}
    assert read_fields(ReportFields, body).report().steps == (2, 2, None)
    assert str(read_fields(EventFields, {"type": "a", "client_seq": number}).client_seq) == "2"
    assert str(read_fields(StartFields, {"type": "x", "retry": {"retries": number}}).options(SETTINGS)["retry"]) == (
        "{'retries': 2}"
    )


@pytest.mark.parametrize("number", [2.5, True, "2", None])
def test_what_has_a_fraction_is_no_whole_number(number: Any) -> None:
    assert set(wrong({"steps": {"completed": 1, "total": number}}, ReportFields)) == {"steps.total"}
    assert set(wrong({"type": "x", "retry": {"retries": number}})) == {"retry.retries"}


def test_what_is_no_object_is_told_so_without_names_from_the_code() -> None:
    assert wrong({"type": "x", "retry": 5}) == {"retry": "Input should be an object"}
    assert wrong({"events": [1]}, EventsFields) == {"events.0": "Input should be an object"}


def test_a_missing_type_is_named() -> None:
    assert "type" in wrong({})


@pytest.mark.parametrize("timeout_s", [0, -1, -0.5, True, "1", [], float("inf"), float("nan")])
def test_a_timeout_is_a_positive_number(timeout_s: Any) -> None:
    assert "timeout_s" in wrong({"type": "x", "timeout_s": timeout_s})


@pytest.mark.parametrize("timeout_s", [1, 0.5, None])
def test_a_timeout_may_be_whole_or_absent(timeout_s: Any) -> None:
    assert read_fields(StartFields, {"type": "x", "timeout_s": timeout_s}).timeout_s == timeout_s


@pytest.mark.parametrize("tag", ["", " x", "x ", "a,b", "a\nb", "\x00", "x" * 65, 1, None])
def test_a_tag_is_one_printable_word(tag: Any) -> None:
    found = wrong({"type": "x", "tags": ["good", tag]})

    assert set(found) == {"tags.1"}
    assert "Value error" not in found["tags.1"]


def test_tags_are_not_endless() -> None:
    assert "tags" in wrong({"type": "x", "tags": [str(number) for number in range(33)]})
    assert len(read_fields(StartFields, {"type": "x", "tags": [str(n) for n in range(32)]}).tags) == 32


def test_a_reason_has_at_most_a_thousand_characters() -> None:
    assert read_fields(CancelFields, {"reason": "é" * 1000}).reason == "é" * 1000
    assert "reason" in wrong({"reason": "é" * 1001}, CancelFields)
    assert "reason" in wrong({"reason": None}, CancelFields)


def test_a_fingerprint_does_not_depend_on_the_order_of_names() -> None:
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})
    assert fingerprint({"a": "é"}) != fingerprint({"a": "e"})
