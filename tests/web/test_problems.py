"""Every error has its place on the wire, and nothing internal leaves."""

from __future__ import annotations

import inspect
import json
from http import HTTPStatus
from typing import Any

import pytest

from streaming import errors
from streaming.errors import FieldError
from streaming.web.problems import INTERNAL, STATUSES, TITLES, WRONG_MAX, internal_problem, problem, status_of

CONTRACT = {
    400: {"bad_request", "bad_json", "bad_cursor", "bad_filter"},
    401: {"unauthenticated"},
    403: {"forbidden"},
    404: {"not_found"},
    405: {"method_not_allowed"},
    406: {"not_acceptable"},
    408: {"request_timeout"},
    409: {
        "task_terminal",
        "task_active",
        "illegal_transition",
        "time_over",
        "not_external",
        "key_busy",
        "too_many_events",
        "log_too_large",
    },
    413: {"body_too_large"},
    414: {"uri_too_long"},
    415: {"unsupported_media_type"},
    422: {"invalid_params", "unknown_type", "idempotency_mismatch"},
    426: {"upgrade_required"},
    429: {"rate_limited", "too_many_tasks", "too_many_keys", "too_many_inputs", "too_many_streams"},
    431: {"headers_too_large"},
    500: {"record_damaged"},
    503: {"draining", "store_unavailable", "query_too_slow"},
}


def all_classes() -> list[type[errors.StreamingError]]:
    return [
        cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.StreamingError) and cls.__module__ == errors.__name__
    ]


def test_every_error_class_has_a_status_of_its_own() -> None:
    assert set(all_classes()) == set(STATUSES)


def test_the_codes_of_the_contract_have_the_statuses_of_the_contract() -> None:
    found: dict[int, set[str]] = {}
    for cls, status in STATUSES.items():
        if status is not INTERNAL:
            found.setdefault(status, set()).add(cls.code)

    assert found == CONTRACT


def test_every_status_has_the_phrase_of_rfc_9110() -> None:
    assert set(TITLES) == set(STATUSES.values()) - {INTERNAL}
    renamed = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}
    assert {status: renamed.get(status, HTTPStatus(status).phrase) for status in TITLES} == dict(TITLES)


def test_a_problem_names_some_wrong_fields_and_no_more() -> None:
    wrong = [FieldError(f"params.x{number}", "no such parameter") for number in range(WRONG_MAX + 1)]
    named = json.loads(problem(errors.InvalidParams("No.", errors=wrong)).body)["errors"]

    assert [each["field"] for each in named] == [each.field for each in wrong[:WRONG_MAX]]


def test_a_problem_has_always_the_same_shape() -> None:
    reply = problem(errors.InvalidParams("No.", errors=[FieldError("params.count", "too small")]))

    assert reply.status == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["cache-control"] == "no-store"
    assert json.loads(reply.body) == {
        "type": "about:blank",
        "title": "Unprocessable Content",
        "status": 422,
        "code": "invalid_params",
        "detail": "No.",
        "errors": [{"field": "params.count", "message": "too small"}],
    }


@pytest.mark.parametrize(
    ("seconds", "header"),
    [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (30.0, "30"), (None, "5")],
)
def test_retry_after_is_whole_seconds_rounded_up(seconds: float | None, header: str) -> None:
    assert problem(errors.TooManyTasks("Full.", retry_after_s=seconds)).headers["retry-after"] == header


@pytest.mark.parametrize("cls", [errors.TooManyTasks, errors.TooManyStreams, errors.StoreUnavailable])
def test_what_passes_says_when_to_come_back(cls: Any) -> None:
    assert "retry-after" in problem(cls("Later.")).headers
    assert "retry-after" in problem(errors.Draining()).headers


def test_a_wrong_method_names_the_right_ones() -> None:
    assert problem(errors.MethodNotAllowed("PUT", ["GET", "HEAD"])).headers["allow"] == "GET, HEAD"


def test_an_upgrade_that_is_required_is_named_as_rfc_9110_says() -> None:
    headers = problem(errors.UpgradeRequired("Newer.")).headers

    assert (headers["upgrade"], headers["connection"]) == ("HTTP/1.1", "upgrade")


def test_a_class_of_somebody_else_counts_as_its_nearest_known_parent() -> None:
    class Odd(errors.TaskNotFound):
        pass

    assert status_of(Odd("x")) == 404


@pytest.mark.parametrize("error", [errors.IllegalTransition("secret"), errors.StreamingError("secret")])
def test_what_is_a_bug_of_ours_has_no_words_for_a_client(error: errors.StreamingError) -> None:
    assert status_of(error) is INTERNAL
    with pytest.raises(ValueError, match="nothing to tell"):
        problem(error)


def test_an_internal_problem_names_the_request_and_nothing_else() -> None:
    reply = internal_problem("abc123")

    assert reply.status == 500
    body = json.loads(reply.body)
    assert (body["code"], body["errors"]) == ("internal", [])
    assert "abc123" in body["detail"]


def test_text_that_is_no_unicode_still_makes_a_problem() -> None:
    assert json.loads(problem(errors.NotFound("a\ud800b")).body)["detail"] == "a?b"
