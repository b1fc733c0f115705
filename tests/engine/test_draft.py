"""A start is checked before anything is stored: every limit at its edge and beyond it."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest

from streaming import Registry, task
from streaming.config import Settings
from streaming.engine.draft import (
    NAME_MAX,
    RETRY_NAMES_MAX,
    Draft,
    check_seconds,
    draft,
    options_of,
    scoped_key,
)
from streaming.engine.options import StartOptions
from streaming.errors import InvalidParams
from streaming.records import Policy, Priority, Record, RetryPolicy, TaskStatus
from streaming.rules.retry import RETRIES_MAX
from streaming.rules.schedule import IfRunning

SETTINGS = Settings(timeout_max_s=100, timeout_default_s=50)


@task
async def plain(n: int = 1) -> None: ...


@task(retries=2, backoff_s=3, backoff_max_s=9, retry_on=["oops"], timeout_s=7, queue_timeout_s=11)
async def careful() -> None: ...


@task(total_timeout_s=7 * 86_400, backoff_max_s=86_400, retries=1)
async def patient() -> None: ...


def drafted(type: str = "plain", **options: Any) -> Draft:
    given = cast(StartOptions, options)
    return draft(Registry([plain, careful, patient]).get(type), options.pop("params", {}), given, SETTINGS)


def test_a_start_that_asks_for_nothing_is_as_its_type_says() -> None:
    wanted = drafted()
    assert wanted.record == Record(
        "", "plain", TaskStatus.PENDING, {"n": 1}, 50, "", "", "anonymous", Priority.NORMAL, policy=Policy()
    )
    assert (wanted.key, wanted.if_running, wanted.parent_attempt) == (None, IfRunning.ENQUEUE, 0)
    record = drafted("careful").record
    assert record.policy == Policy(RetryPolicy(2, 3, 9, ("oops",)), queue_timeout_s=11)
    assert (record.timeout_s, record.retries_left) == (7, 2)


def test_a_start_may_ask_for_something_else_than_its_type_says() -> None:
    wanted = drafted(
        "careful",
        timeout_s=1,
        queue_timeout_s=2,
        heartbeat_timeout_s=3,
        total_timeout_s=4,
        cancel_unwatched_s=5,
        retry={"retries": 9, "on": ["KeyError", "KeyError", "oops"]},
        priority="urgent",
        key="k",
        if_running="join",
        external_id="x",
        keep_until_ack=True,
        tags=["a", "b", "a"],
        created_by="anna",
        tenant="acme",
    )
    record = wanted.record
    retry = RetryPolicy(9, 3, 9, ("KeyError", "oops"))
    assert record.policy == Policy(retry, 2, 3, 4, 5, keep_until_ack=True)
    assert (record.timeout_s, record.retries_left, record.priority) == (1, 9, Priority.URGENT)
    assert (record.key, record.external_id, record.tags, record.created_by) == ("k", "x", ("a", "b"), "anna")
    assert record.tenant == "acme"
    assert (wanted.key, wanted.owner, wanted.if_running) == ("acme\nanna\nk", "acme\nanna", IfRunning.JOIN)


def test_what_is_none_is_left_to_the_type() -> None:
    nothing = dict.fromkeys(("timeout_s", "queue_timeout_s", "heartbeat_timeout_s", "total_timeout_s", "retry", "key"))
    assert drafted("careful", **nothing) == drafted("careful")
    assert drafted("careful", retry={"retries": None, "backoff_s": None, "on": None}) == drafted("careful")


def test_a_start_under_another_task_knows_its_parent_and_the_attempt() -> None:
    parent = Record("p", "plain", TaskStatus.RUNNING, {}, 60, "", "", attempt=3)
    wanted = draft(Registry([plain]).get("plain"), {}, {}, SETTINGS, parent=parent)
    assert (wanted.record.parent, wanted.record.retry_of, wanted.parent_attempt) == ("p", None, 3)


SECONDS = ("timeout_s", "queue_timeout_s", "heartbeat_timeout_s", "total_timeout_s", "cancel_unwatched_s")


@pytest.mark.parametrize("name", SECONDS)
def test_every_time_has_its_limits(name: str) -> None:
    for right in (1e-9, 100):
        record = drafted(**dict[str, Any]({name: right})).record
        assert (record.timeout_s if name == "timeout_s" else getattr(record.policy, name)) == right
    for wrong in (0, -1, 100.001, float("inf"), float("nan")):
        with pytest.raises(InvalidParams) as refused:
            drafted(**dict[str, Any]({name: wrong}))
        assert [error.field for error in refused.value.errors] == [name]


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("retries", [0, RETRIES_MAX], [-1, RETRIES_MAX + 1]),
        ("backoff_s", [1e-9, 100], [0, -1, 100.1, float("nan")]),
        ("backoff_max_s", [1e-9, 100], [0, -1, 100.1, float("inf")]),
        (
            "on",
            [[], ["x"] * 99, [str(n) for n in range(RETRY_NAMES_MAX)], ["x" * NAME_MAX]],
            [[str(n) for n in range(RETRY_NAMES_MAX + 1)], [""], ["x" * (NAME_MAX + 1)], ["a\nb"], ["x\x7f"]],
        ),
    ],
)
def test_every_part_of_a_retry_has_its_limits(name: str, right: list[Any], wrong: list[Any]) -> None:
    for each in right:
        drafted(retry={name: each})
    for each in wrong:
        with pytest.raises(InvalidParams) as refused:
            drafted(retry={name: each})
        assert [error.field for error in refused.value.errors] == [f"retry.{name}"]


@pytest.mark.parametrize("name", ["key", "external_id", "created_by", "tenant"])
def test_a_name_is_short_and_printable(name: str) -> None:
    for right in ("x", "x" * NAME_MAX, "schlüssel 🔑"):
        assert getattr(drafted(**dict[str, Any]({name: right})).record, name) == right
    for wrong in ("", "x" * (NAME_MAX + 1), "a\nb", "x\n", "\x00", "\ud800", "right\u202eleft", "\u2028", "\u200b"):
        with pytest.raises(InvalidParams) as refused:
            drafted(**dict[str, Any]({name: wrong}))
        assert name in str(refused.value.errors)


def test_both_names_that_are_wrong_are_named() -> None:
    with pytest.raises(InvalidParams) as refused:
        drafted(key="", external_id="\n")
    assert [error.field for error in refused.value.errors] == ["key", "external_id"]


@pytest.mark.parametrize(
    ("name", "wrong"), [("priority", "hgih"), ("priority", 3), ("if_running", "wait"), ("if_running", None)]
)
def test_a_word_that_is_none_of_those_that_are_known_is_refused(name: str, wrong: object) -> None:
    given: dict[str, Any] = {name: wrong}
    with pytest.raises(InvalidParams) as refused:
        drafted(**given)
    assert [error.field for error in refused.value.errors] == [name]


@pytest.mark.parametrize(
    "wrong", [{"tags": ["\ud800"]}, {"created_by": "\ud800"}, {"retry": {"on": ["\ud800"]}}, {"params": {"n": "x"}}]
)
def test_what_cannot_be_stored_or_is_no_parameter_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams):
        drafted(**wrong)


@pytest.mark.parametrize("seconds", [None, 1e-9, 1, 100])
def test_seconds_within_the_limits_are_floats(seconds: float | None) -> None:
    found = check_seconds("x", seconds, SETTINGS)
    assert found == seconds
    assert found is None or type(found) is float


def repeated(old: Record, settings: Settings = SETTINGS) -> Record:
    """The record of a task that repeats another one."""
    of_type = Registry([plain, careful, patient]).get(old.type)
    return draft(of_type, old.params, options_of(old), settings, retry_of=old).record


def test_what_was_asked_for_can_be_asked_for_again() -> None:
    wanted = drafted(
        "careful",
        timeout_s=3,
        total_timeout_s=4,
        cancel_unwatched_s=5,
        retry={"retries": 9, "on": ["KeyError"]},
        priority=Priority.LOW,
        key="k",
        external_id="x",
        keep_until_ack=True,
        tags=["a"],
    )
    old = dataclasses.replace(wanted.record, id="old", retries_left=0)
    assert repeated(old) == dataclasses.replace(wanted.record, retry_of="old")


@pytest.mark.parametrize("type", ["plain", "patient"])
def test_what_a_type_says_is_no_wish_that_could_be_too_much(type: str) -> None:
    """Nobody has asked for it, and a first start with it is not refused."""
    old = dataclasses.replace(drafted(type).record, id="old")
    assert repeated(old) == dataclasses.replace(old, id="", retry_of="old")


def test_a_run_takes_no_longer_than_it_may_now() -> None:
    old = dataclasses.replace(drafted(timeout_s=100).record, id="old")
    assert repeated(old, Settings(timeout_max_s=20, timeout_default_s=10)).timeout_s == 20


def test_what_a_parent_had_left_is_no_limit_of_what_is_repeated_without_it() -> None:
    for type, total_s in (("plain", None), ("patient", 7 * 86_400)):
        old = dataclasses.replace(drafted(type, total_timeout_s=8).record, id="old", parent="p")
        assert (repeated(old).policy.total_timeout_s, repeated(old).parent) == (total_s, None)


def test_work_that_is_done_elsewhere_is_not_tried_again() -> None:
    @task("there", run_in="outside")
    def there() -> None: ...

    for right in ({}, {"retry": {"retries": 0}}):
        assert draft(Registry([there]).get("there"), {}, cast(StartOptions, right), SETTINGS).record.retries_left == 0
    with pytest.raises(InvalidParams) as refused:
        draft(Registry([there]).get("there"), {}, {"retry": {"retries": 1}}, SETTINGS)
    assert [error.field for error in refused.value.errors] == ["retry.retries"]


def test_a_key_is_that_of_its_principal() -> None:
    anna, bert = drafted(key="k", created_by="anna"), drafted(key="k", created_by="bert")
    assert anna.key == scoped_key(anna.record) != bert.key
    assert scoped_key(drafted().record) is None


def test_a_key_is_that_of_its_tenant_too_and_without_one_as_it_was_before_there_were_any() -> None:
    plain, acme, anna = (
        drafted(key="k", created_by=name, tenant=tenant)
        for name, tenant in (("anna", None), ("anna", "acme"), ("acme", "anna"))
    )
    assert (plain.owner, plain.key) == ("anna", "anna\nk")
    assert len({plain.owner, acme.owner, anna.owner}) == len({plain.key, acme.key, anna.key}) == 3


@pytest.mark.parametrize("name", ["a\nb", "a\n", "\nb", ""])
def test_no_name_can_look_like_that_of_a_principal_of_a_tenant(name: str) -> None:
    for given in ({"created_by": name}, {"tenant": name}):
        with pytest.raises(InvalidParams):
            drafted(**given)
